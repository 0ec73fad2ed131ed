from collections import Counter
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offers.exploration import Draw, chances, draw, in_holdout, propensity
from offers.list_counts import FeasibleLists
from offers.settings import ExplorationSettings
from offers.types import AtMost

ELIGIBLE = (1, 3, 4)
SETTINGS = ExplorationSettings(holdout=0.2, explore=0.5)
RULES = {  # eligible, longest list, groups, must show
    "free": (range(4), 3, [], []),
    "shorter than allowed": (range(2), 5, [], []),
    "exclusive": (range(5), 3, [AtMost((0, 1, 2), 1)], []),
    "two groups": (range(5), 4, [AtMost((0, 1), 1), AtMost((2, 3, 4), 2)], []),
    "overlapping": (range(5), 3, [AtMost((0, 1, 2), 1), AtMost((2, 3), 1), AtMost((3, 4), 1)], []),
    "must show": (range(5), 3, [AtMost((0, 1), 1)], [1]),
    "two must show": (range(5), 4, [AtMost((2, 3), 1)], [4, 2]),
}


def lists_of(name):
    eligible, longest, groups, must_show = RULES[name]
    return FeasibleLists.of(eligible, longest, groups, must_show)


def written_out(lists):
    """Every list that may be drawn, in every order."""
    return [
        shown
        for n in range(1, lists.longest + 1)
        for shown in permutations(lists.eligible, n)
        if set(lists.required) <= set(shown)
        and all(len(set(shown) & set(group.services)) <= group.most for group in lists.groups)
    ]


def policies_of(lists):
    return [(), written_out(lists)[0], written_out(lists)[-1]]


def excess(observed, expected):
    """How far a chi-square statistic is above its mean, in standard deviations."""
    observed, expected = np.array(observed), np.array(expected)
    statistic = ((observed - expected) ** 2 / expected).sum()
    freedom = len(expected) - 1
    return (statistic - freedom) / np.sqrt(2 * freedom)


def drawn(policy_list, lists, n_draws, seed=7):
    """Lists shown over many salts (the holdout) and many draws."""
    rng = np.random.default_rng(seed)
    shown = Counter()
    for held_out in (rng.random(n_draws) < SETTINGS.holdout).tolist():
        shown[draw(policy_list, lists, held_out, SETTINGS, rng).services] += 1
    return shown


def check_draws(policy_list, lists, n_draws):
    shown = drawn(policy_list, lists, n_draws)
    possible = [(), *written_out(lists)]
    assert set(shown) <= set(possible)
    found = {one: propensity(one, policy_list, lists, SETTINGS) for one in possible}
    assert sum(one.slate for one in found.values()) == pytest.approx(1)
    assert excess([shown[one] for one in possible], [n_draws * found[one].slate for one in possible]) < 4.5
    # of each position, and of inclusion, one service after another: shown there or not
    for one in written_out(lists):
        for place, service in enumerate(one):
            at = found[one].positions[place]
            n_at = sum(n for other, n in shown.items() if len(other) > place and other[place] == service)
            n_in = sum(n for other, n in shown.items() if service in other)
            for n, p in ((n_at, at), (n_in, found[one].inclusions[place])):
                assert 0 < p <= 1
                spread = np.sqrt(n_draws * p * (1 - p))
                assert abs(n - n_draws * p) < 5 * spread + 1e-9


@pytest.mark.parametrize("rules", RULES)
def test_propensities_of_lists_pass_a_chi_square_against_draws(rules):
    lists = lists_of(rules)
    check_draws(policies_of(lists)[1], lists, 8_000)


@pytest.mark.slow
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("policy", range(3))
def test_propensities_pass_a_chi_square_against_a_million_draws(rules, policy):
    lists = lists_of(rules)
    check_draws(policies_of(lists)[policy], lists, 1_000_000)


@pytest.mark.parametrize("rules", RULES)
def test_a_uniform_draw_sums_to_one_exactly(rules):
    lists = lists_of(rules)
    possible = written_out(lists)
    length, of_list = Fraction(1, len(lists.lengths)), Counter()
    for shown in possible:
        of_list[shown] = length / lists.n_lists(len(shown))
    assert sum(of_list.values()) == 1
    for service in lists.eligible:
        included = sum(p for shown, p in of_list.items() if service in shown)
        exact = sum(length * Fraction(lists.n_sets(n, [service]), lists.n_sets(n)) for n in lists.lengths)
        assert included == exact
        for position in range(1, lists.longest + 1):
            placed = sum(p for shown, p in of_list.items() if shown[position - 1 : position] == (service,))
            at, anywhere = chances(service, position, lists)
            assert at == pytest.approx(float(placed)) and anywhere == pytest.approx(float(included))


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("policy", range(3))
def test_the_propensity_of_a_position_is_the_sum_over_all_lists_with_the_service_there(rules, policy):
    lists = lists_of(rules)
    policy_list = policies_of(lists)[policy]
    of_list = {
        shown: propensity(shown, policy_list, lists, SETTINGS).slate for shown in [(), *written_out(lists)]
    }
    for shown in written_out(lists):
        found = propensity(shown, policy_list, lists, SETTINGS)
        for place, service in enumerate(shown):
            placed = sum(p for other, p in of_list.items() if other[place : place + 1] == (service,))
            included = sum(p for other, p in of_list.items() if service in other)
            assert found.positions[place] == pytest.approx(placed)
            assert found.inclusions[place] == pytest.approx(included)


@given(
    st.floats(0, 0.5),
    st.floats(0, 1),
    st.integers(1, 10),
    st.integers(0, 35),
    st.lists(
        st.builds(AtMost, st.lists(st.integers(0, 34), unique=True).map(tuple), st.integers(0, 4)), max_size=2
    ),
    st.lists(st.integers(0, 34), unique=True, max_size=4),
    st.integers(0, 1000),
)
def test_what_is_drawn_has_propensities_above_0_and_at_most_1(
    holdout, explore, longest, n_eligible, groups, must_show, seed
):
    settings = ExplorationSettings(holdout=holdout, explore=explore)
    lists = FeasibleLists.of(range(n_eligible), longest, groups, must_show)
    policy_list = tuple(lists.required) or tuple(range(n_eligible))[: min(1, longest)]
    rng = np.random.default_rng(seed)
    shown = draw(policy_list, lists, in_holdout(str(seed), settings), settings, rng)
    found = propensity(shown.services, policy_list, lists, settings)
    assert len(found.positions) == len(found.inclusions) == len(shown.services)
    assert all(0 < p <= 1 for p in (found.slate, *found.positions, *found.inclusions))
    assert all(found.slate <= p + 1e-12 for p in found.positions)
    assert all(at <= anywhere + 1e-12 for at, anywhere in zip(found.positions, found.inclusions))


def test_nothing_eligible_means_nothing_is_shown_for_certain():
    settings = ExplorationSettings(holdout=0.1, explore=1.0)
    nothing = FeasibleLists.of((), 5)
    assert draw((), nothing, False, settings, np.random.default_rng(0)) == Draw("policy", ())
    assert propensity((), (), nothing, settings).slate == pytest.approx(1)


def test_a_list_of_the_policy_that_cannot_be_drawn_has_the_policys_share():
    lists = FeasibleLists.of(range(3), 2, [AtMost((0, 1), 1)])
    assert propensity((0, 1), (0, 1), lists, SETTINGS).slate == pytest.approx(0.8 * 0.5)


def test_several_holdouts_of_everything_count_together():
    lists = FeasibleLists.of(range(3), 2)
    assert propensity((), (1,), lists, SETTINGS, nothing_share=0.28).slate == pytest.approx(0.28)


def test_any_text_is_a_user_id():
    assert in_holdout("\ud800", ExplorationSettings(holdout=0.5)) in (True, False)


def test_the_same_seed_draws_the_same_list():
    settings = ExplorationSettings(holdout=0.0, explore=1.0)
    lists = FeasibleLists.of(ELIGIBLE, 3, [AtMost((1, 3), 1)])
    first, second = (draw((3,), lists, False, settings, np.random.default_rng(11)) for _ in range(2))
    assert first == second and first.arm == "explore"
