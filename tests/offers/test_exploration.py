from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offers.exploration import Draw, draw, in_holdout, propensity
from offers.settings import ExplorationSettings

ELIGIBLE = (1, 3, 4)
SETTINGS = ExplorationSettings(holdout=0.2, explore=0.5)


def every_list(max_services):
    longest = min(max_services, len(ELIGIBLE))
    return [(), *(chosen for n in range(1, longest + 1) for chosen in permutations(ELIGIBLE, n))]


def drawn(policy_list, max_services, n_draws):
    """Lists shown over many salts (the holdout) and many draws."""
    rng = np.random.default_rng(7)
    shown = Counter()
    for salt in range(n_draws):
        settings = ExplorationSettings(SETTINGS.holdout, SETTINGS.explore, f"salt {salt}")
        held_out = in_holdout("u1", settings)
        shown[draw(policy_list, ELIGIBLE, max_services, held_out, settings, rng).services] += 1
    return shown


@pytest.mark.parametrize("policy_list", [(), (3,), (3, 1)])
@pytest.mark.parametrize("max_services", [2, 5])
def test_propensities_of_lists_pass_a_chi_square_against_draws(policy_list, max_services):
    n_draws = 20_000
    shown = drawn(policy_list, max_services, n_draws)
    lists = every_list(max_services)
    expected = np.array(
        [propensity(a, policy_list, len(ELIGIBLE), max_services, SETTINGS).slate for a in lists]
    )
    assert expected.sum() == pytest.approx(1)
    assert set(shown) <= set(lists)
    observed = np.array([shown[one] for one in lists])
    statistic = ((observed - n_draws * expected) ** 2 / (n_draws * expected)).sum()
    freedom = len(lists) - 1
    assert statistic < freedom + 4.5 * np.sqrt(2 * freedom)  # far beyond the 99.9th percentile


@pytest.mark.parametrize("policy_list", [(), (3,), (3, 1)])
def test_the_propensity_of_a_position_is_the_sum_over_all_lists_with_the_service_there(policy_list):
    lists = every_list(3)
    for shown in lists:
        found = propensity(shown, policy_list, len(ELIGIBLE), 3, SETTINGS)
        for position, service in enumerate(shown):
            by_lists = sum(
                propensity(other, policy_list, len(ELIGIBLE), 3, SETTINGS).slate
                for other in lists
                if len(other) > position and other[position] == service
            )
            assert found.positions[position] == pytest.approx(by_lists)


@given(st.floats(0, 0.5), st.floats(0, 1), st.integers(1, 10), st.integers(0, 35), st.integers(0, 1000))
def test_what_is_drawn_has_propensities_above_0_and_at_most_1(holdout, explore, longest, n_eligible, seed):
    settings = ExplorationSettings(holdout=holdout, explore=explore)
    eligible = range(n_eligible)
    policy_list = tuple(eligible)[: min(2, longest)]
    shown = draw(
        policy_list, eligible, longest, in_holdout(str(seed), settings), settings, np.random.default_rng(seed)
    )
    found = propensity(shown.services, policy_list, n_eligible, longest, settings)
    assert len(found.positions) == len(shown.services)
    assert all(0 < p <= 1 for p in (found.slate, *found.positions))


def test_nothing_eligible_means_nothing_is_shown_for_certain():
    settings = ExplorationSettings(holdout=0.1, explore=1.0)
    assert draw((), (), 5, False, settings, np.random.default_rng(0)) == Draw("policy", ())
    assert propensity((), (), 0, 5, settings).slate == pytest.approx(1)


def test_the_holdout_has_its_share_and_grows_without_a_reshuffle():
    users = [f"user {number}" for number in range(20_000)]
    small = {user for user in users if in_holdout(user, ExplorationSettings(holdout=0.05))}
    large = {user for user in users if in_holdout(user, ExplorationSettings(holdout=0.10))}
    assert small < large
    assert len(small) / len(users) == pytest.approx(0.05, abs=0.006)
    other = {user for user in users if in_holdout(user, ExplorationSettings(holdout=0.05, salt="2"))}
    assert len(other & small) < 0.2 * len(small)


def test_any_text_is_a_user_id():
    assert in_holdout("\ud800", ExplorationSettings(holdout=0.5)) in (True, False)


def test_the_same_seed_draws_the_same_list():
    settings = ExplorationSettings(holdout=0.0, explore=1.0)
    first, second = (draw((3,), ELIGIBLE, 3, False, settings, np.random.default_rng(11)) for _ in range(2))
    assert first == second and first.arm == "explore"
