"""Policies of lists on logged rows: who shows what was shown, what is expected, what could not be logged."""

from itertools import permutations

import numpy as np
import pytest

from offers.catalog import Catalog
from offers.policy import decide
from offers.settings import DecisionSettings
from offers.types import Estimates, Service
from training.list_policies import ListCase, popular_lists, shown_lists

SERVICES = (
    Service("a", "Delivery", category="home", unit_cost=1.0, contact_cost=0.1),
    Service("b", "Warranty", category="home", contact_cost=0.2),
    Service("c", "Lounge"),
)
DECISION = DecisionSettings(max_services=3, choice_load=0.5, similarity_load=1.0)
UPTAKE = np.array([0.5, 0.2, 0.25])
UPLIFT = np.array([3.0, 1.0, 2.0])
# nothing, a alone, c alone, a then b, b then a, a then c, then all three
SHOWN = [[-1] * 3, [0, -1, -1], [2, -1, -1], [0, 1, -1], [1, 0, -1], [0, 2, -1], [0, 1, 2]]


def case_of(make_log, shown, may=None, **estimates):
    lists = np.array(shown)
    n, length = len(lists), (lists >= 0).sum(axis=1)
    rows = make_log(
        np.select([length > 1, length == 1], [-2, lists[:, 0]], -1),
        0.1,
        np.full(n, 9.0),
        uptake=length == 1,
        services=SERVICES,
        listed=np.where(length[:, None] > 1, lists, -1).astype(np.int16),
        listed_uptake=(np.arange(3) == 0) * (length[:, None] > 1) * np.ones((n, 3), np.float32),
    )
    wide = {"uptake": UPTAKE, "uplift_margin": UPLIFT, **estimates}
    found = {name: np.tile(values, (n, 1)) for name, values in wide.items()}
    return ListCase.of(
        rows,
        Estimates(found["uptake"], found["uplift_margin"], found["uplift_margin"]),
        np.full(n, 10.0),
        np.ones((n, 3), bool) if may is None else may,
        DECISION,
        "EUR",
    )


@pytest.fixture
def case(make_log):
    return case_of(make_log, SHOWN)


def test_what_was_shown_is_read_of_single_offers_nothing_and_lists(case):
    assert case.shown.tolist() == SHOWN and case.length.tolist() == [0, 1, 1, 2, 2, 2, 3]


def test_a_list_costs_each_use_and_each_contact(case):
    # a used and contacted costs 1.1, c nothing; of lists the first was used.
    assert case.log.value == pytest.approx([9, 7.9, 9, 9 - 1.3, 9 - 0.3, 9 - 1.1, 9 - 1.3])


def test_the_worth_of_a_list_is_that_of_the_decision(case):
    one = Estimates(UPTAKE[None], UPLIFT[None], UPLIFT[None])
    slates = decide(one, np.ones((1, 3), bool), Catalog(SERVICES), DECISION)
    for n in range(1, 4):
        only = [list(one) for one in permutations(range(3), n)]
        expected = [case.policy(np.tile(one, (7, 1))).expected[0] - 10 for one in only]
        assert max(expected) == pytest.approx(slates.worth_by_length[0, n])


def test_expected_of_what_was_shown_is_by_the_choice_model(case):
    # a alone: 3 - 0.5 - 0.1. a and b, both of home: odds 1 and 0.25 beside an effort of 1 + 0.5 (1 + 1).
    assert case.log.expected[:2] == pytest.approx([10, 12.4])
    pair = (2.5 / 0.5 + 1.0 / 0.8) / (2 + 1.25) - 0.3
    assert case.log.expected[3:5] == pytest.approx([10 + pair] * 2)


def test_a_policy_of_lists_shows_what_it_shows(case):
    found = case.policy(np.tile([0, 1], (7, 1)))
    assert found.shows.tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert found.any_order.tolist() == [0, 0, 0, 0.5, 0.5, 0, 0]
    part_a, part_b = 2 / 3.25, 1.25 / 3.25
    assert found.part == pytest.approx([1 - part_a - part_b, part_a, 0, 0, 0, 0, 0])
    assert found.length.tolist() == [2] * 7 and not found.impossible.any()
    nothing = case.nothing()
    assert nothing.shows.tolist() == nothing.part.tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert nothing.expected.tolist() == [10] * 7


def test_random_lists_are_as_likely_as_there_are_lists_of_that_length(case):
    found = case.random_lists(np.full(7, 2), np.random.default_rng(0))
    assert found.shows.tolist() == [0, 0, 0, 1 / 6, 1 / 6, 1 / 6, 0]
    worths = [case.policy(np.tile(one, (7, 1))).expected[0] for one in permutations(range(3), 2)]
    assert found.expected.mean() == pytest.approx(np.mean(worths), abs=0.3)


def test_random_lists_hold_what_may_be_offered_and_no_more(make_log):
    may = np.tile([True, False, True], (7, 1))
    case = case_of(make_log, SHOWN, may)
    found = case.random_lists(np.full(7, 3), np.random.default_rng(0))
    assert found.shows.tolist() == [0, 0, 0, 0, 0, 0.5, 0] and found.length.tolist() == [2] * 7
    none = case_of(make_log, SHOWN, ~np.ones((7, 3), bool)).random_lists(
        np.full(7, 2), np.random.default_rng(0)
    )
    assert none.shows.tolist() == [1, 0, 0, 0, 0, 0, 0]


def test_what_the_log_cannot_have_shown_is_counted_and_named(make_log):
    case = case_of(make_log, [[-1] * 3, [0, -1, -1], [2, -1, -1], [0, 1, -1]])
    lists = np.array([[1, -1, -1], [0, 2, -1], [0, 1, 2], [1, 0, -1]])
    assert case.is_impossible(lists).tolist() == [True, True, True, False]
    assert case.impossible_by_cause(lists) == {
        "Lounge was never shown in a list of several": 2,
        "longer than 2, the longest logged": 1,
        "Warranty was never shown alone": 1,
    }
    assert case.policy(lists).impossible.tolist() == [1, 1, 1, 0]


def test_services_without_a_sound_estimate_earn_nothing_and_are_not_drawn(make_log):
    case = case_of(make_log, SHOWN, uptake=np.array([0.5, np.nan, 0.25]))
    assert np.isfinite(case.log.expected).all() and not case.may[:, 1].any()


def test_lists_as_popular_as_can_be():
    may = np.array([[True, True, True], [False, True, True], [False, False, False]])
    found = popular_lists(np.array([0.3, 0.1, 0.2]), may, np.array([2, 3, 1]))
    assert found.tolist() == [[0, 2, -1], [2, 1, -1], [-1, -1, -1]]


def test_a_log_without_lists_has_lists_of_one(make_log):
    rows = make_log([-1, 1, 0], 0.3, np.ones(3))
    assert shown_lists(rows).tolist() == [[-1], [1], [0]]


def test_an_estimated_propensity_of_a_list_is_refused(make_log):
    rows = make_log([-2, 0], 0.5, np.ones(2), estimated=np.array([[0.25] * 4, [np.nan] * 4], np.float32))
    one = np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="slate_propensity of every list of several, 1 do not"):
        ListCase.of(rows, Estimates(one, one, one), np.zeros(2), one > 0, DECISION, "EUR")
