"""The baselines choose what their names say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from offers.catalog import Catalog
from offers.types import Service
from training.evaluation.baselines import baseline_policies, constant_values, popularity

POPULAR = np.array([0.1, 0.5])
UPTAKE = np.array([[0.9, 0.1], [0.2, 0.3], [0.5, 0.4]])
EVERYTHING = np.ones((3, 2), bool)


def chosen(policies, name):
    return (policies[name].argmax(axis=1) - 1).tolist()


def test_each_baseline_chooses_as_it_is_named():
    policies = baseline_policies(np.array([1.0, 3.0, 2.0]), POPULAR, UPTAKE, EVERYTHING)
    assert chosen(policies, "nothing") == [-1, -1, -1]
    assert chosen(policies, "best_constant") == [0, 0, 0]
    assert chosen(policies, "popularity") == [1, 1, 1]
    assert chosen(policies, "response") == [0, 1, 0]
    assert policies["random"].tolist() == [[0, 0.5, 0.5]] * 3


def test_the_best_constant_is_nothing_where_every_service_loses():
    policies = baseline_policies(np.array([1.0, 0.5, -2.0]), POPULAR, UPTAKE, EVERYTHING)
    assert chosen(policies, "best_constant") == [-1, -1, -1]


def test_a_service_that_may_not_be_offered_gives_way_to_the_next_best():
    eligible = np.array([[False, True], [True, False], [False, False]])
    policies = baseline_policies(np.array([1.0, 3.0, 2.0]), POPULAR, UPTAKE, eligible)
    assert chosen(policies, "best_constant") == [1, 0, -1]
    assert chosen(policies, "popularity") == [1, 0, -1]
    assert chosen(policies, "response") == [1, 0, -1]
    assert policies["random"].tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


@given(hnp.arrays(bool, (5, 3)), st.integers(0, 2**32 - 1))
def test_baselines_are_probabilities_of_what_may_be_offered(eligible, seed):
    rng = np.random.default_rng(seed)
    policies = baseline_policies(rng.normal(size=4), rng.random(3), rng.random((5, 3)), eligible)
    for policy in policies.values():
        np.testing.assert_allclose(policy.sum(axis=1), 1)
        assert not policy[:, 1:][~eligible].any()


def test_a_constant_is_worth_its_average_uplift_less_what_it_costs():
    catalog = Catalog.of([Service("a", "A", unit_cost=4.0, contact_cost=0.5), Service("b", "B")])
    values = constant_values(np.array([3.0, 1.0]), np.array([0.25, 0.5]), catalog)
    assert values.tolist() == [0.0, 3.0 - 0.25 * 4.0 - 0.5, 1.0]


def test_popularity_counts_uses_an_offer_and_leans_on_the_average_where_offers_are_few(make_log):
    service = np.repeat([0, 1], [980, 1])
    uptake = np.concatenate([np.repeat([1, 0], [98, 882]), [1]])
    rates = popularity(make_log(service, 0.5, np.zeros(981), uptake=uptake))
    assert rates[0] == pytest.approx(0.1, abs=0.001)
    # One offer, one use: (1 + 20 * 0.1) / 21.
    assert rates[1] == pytest.approx(3 / 21, abs=0.001)
