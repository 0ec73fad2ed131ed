from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offers.policy import decide
from offers.portfolio import best_core, grown_core, worth_with
from offers.settings import DecisionSettings
from tests.offers.brute import random_case


def worth_of(seed, n_users, n_services):
    rng = np.random.default_rng(seed)
    catalog, estimates, eligible, _ = random_case(rng, n_users, n_services, bound=False)

    def worth(services):
        return worth_with(services, estimates, eligible, catalog, DecisionSettings(max_services=3))

    return worth, catalog, estimates, eligible


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1_000), n_services=st.integers(2, 6), size=st.integers(1, 2))
def test_cores_of_small_catalogues_equal_brute_force(seed, n_services, size):
    worth, *_ = worth_of(seed, 15, n_services)
    best = max(worth(services).mean() for services in combinations(range(n_services), size))
    assert best_core(worth, n_services, size).worth.mean() == pytest.approx(best, abs=1e-12)
    assert grown_core(worth, n_services, size).worth.mean() >= best * 0.98


@pytest.mark.slow
def test_six_of_twelve_by_exchanges_equal_brute_force():
    """All 924 sets, at once with what additions and exchanges find."""
    worth, *_ = worth_of(3, 40, 12)
    tried, grown = best_core(worth, 12, 6), grown_core(worth, 12, 6)
    assert len(tried.services) == 6 and grown.services == tried.services


def test_all_services_are_worth_what_is_decided():
    worth, catalog, estimates, eligible = worth_of(4, 10, 7)
    slates = decide(estimates, eligible, catalog, DecisionSettings(max_services=3))
    assert worth(tuple(range(7))).tolist() == slates.worth_by_length.max(axis=1).tolist()
    assert best_core(worth, 7, 7).services == tuple(range(7))


@pytest.mark.parametrize("size", [0, 8])
def test_a_core_of_none_or_of_more_than_there_are_is_refused(size):
    with pytest.raises(ValueError, match=f"core must be between 1 and the 7 services, got {size}"):
        best_core(lambda services: np.zeros(3), 7, size)
