"""Each sentence that says why a list has its length."""

from dataclasses import replace

import numpy as np
import pytest

from offers.allocation import Case, allocate
from offers.budget import Budget
from offers.catalog import Catalog
from offers.decision import make_decisions
from offers.eligibility import eligible
from offers.length_reasons import Bounds, n_reason
from offers.settings import DecisionSettings, ExplorationSettings, Settings
from offers.types import AtMost, Estimates, ListRules, Prices, Service

NO_COST = "is expected to earn more than it costs."
CATALOG = Catalog.of([Service("a", "Gift"), Service("b", "Car"), Service("c", "Meal", unit_cost=1.0)])
SETTINGS = Settings(
    decision=DecisionSettings(max_services=3, choice_load=0.1),
    exploration=replace(ExplorationSettings(), explore=0.0, holdout=0.0),
)


def reason(uplift, uptake=0.2, **options):
    """Why the list of one user has its length, who may see three services."""
    one = np.full((1, 3), uptake)
    estimates = Estimates(one, one, np.array([uplift], dtype=float))
    allowed = eligible(CATALOG, ["gold"], 0)
    return make_decisions(estimates, allowed, SETTINGS, np.array([False]), [1], **options).n_reason(0)


@pytest.mark.parametrize(
    "worth, length, n_eligible, sentence",
    [
        ([0.0, -np.inf], 0, 0, "Nothing: no service may be offered to this user now."),
        ([0.0], 0, 3, "Nothing: this user's list may hold no service."),
        ([0.0, -np.inf], 0, 3, f"Nothing: none of 3 eligible services {NO_COST}"),
        ([0.0, 0.5], 1, 3, "1 service, worth 0.50: the longest list allowed here."),
        ([0.0, 0.5, -np.inf], 1, 3, f"1 service, worth 0.50: no other eligible service {NO_COST}"),
        (
            [0.0, 0.5, 0.4],
            1,
            3,
            "1 service, worth 0.50: a list of 2 would be harder to choose from and worth 0.40.",
        ),
    ],
)
def test_the_length_is_told_by_what_lists_are_worth(worth, length, n_eligible, sentence):
    assert n_reason(worth, length, n_eligible) == sentence


def test_a_users_own_longest_list_is_told():
    assert reason([1.0, 1.0, 1.5], max_services=np.array([1])) == (
        "1 service, worth 1.30: the longest list of this user; others may see 3."
    )
    assert reason([1.0, 1.0, 1.5], max_services=np.array([0])) == (
        "Nothing: this user's list may hold no service."
    )


def test_the_rule_that_limits_a_list_is_named_by_its_services():
    nobody = np.zeros((1, 3), dtype=bool)
    rules = ListRules((AtMost((0, 1), 1),), nobody)
    assert reason([1.0, 0.9, -1.0], list_rules=rules) == (
        "1 service, worth 1.00: the rules allow no longer list. A list may hold no more than 1 of Gift, Car."
    )
    # where the rule keeps nothing of value out it is not named
    assert reason([1.0, -0.9, -1.0], list_rules=rules) == (
        f"1 service, worth 1.00: no other eligible service {NO_COST}"
    )
    assert reason([1.0, 0.9, -1.0], list_rules=ListRules((AtMost((0, 1), 0),), nobody)) == (
        "Nothing: no list of 3 eligible services keeps to the rules. "
        "A list may hold no more than 0 of Gift, Car."
    )


def test_a_service_that_must_be_shown_is_named_with_what_it_loses():
    must = ListRules((), np.array([[False, True, False]]))
    found = reason([-1.0, -0.3, -1.0], list_rules=must)
    assert found.startswith("1 service, worth -0.30: ")
    assert found.endswith("Car must be shown, though it alone loses 0.30.")
    assert "must be shown" not in reason([1.0, 0.3, -1.0], list_rules=must)


def test_the_prices_of_a_budget_are_told():
    money = Prices(np.array([0.4]), np.zeros((1, 3)))
    assert reason([0.0, 0.0, 0.25], prices=money) == (
        f"Nothing: none of 3 eligible services {NO_COST} "
        "A budget binds: money spent must earn 1.40 times itself."
    )
    both = Prices(np.array([0.4]), np.array([[0.0, 0.05, 0.0]]))
    assert reason([1.0, 0.0, 0.0], prices=both) == (
        f"1 service, worth 1.00: no other eligible service {NO_COST} "
        "A budget binds: money spent must earn 1.40 times itself and showing a service is charged up to 0.05."
    )


def test_all_values_negative_and_estimates_unknown_show_nothing_and_say_so():
    assert reason([-1.0, -0.1, -2.0]) == f"Nothing: none of 3 eligible services {NO_COST}"
    assert reason([np.nan, np.nan, np.inf]) == "Nothing: no service may be offered to this user now."
    assert reason([1.0, 1.0, 1.0], uptake=np.nan) == "Nothing: no service may be offered to this user now."


def test_a_budget_of_nothing_shows_what_is_free_or_nothing_and_each_refusal_says_why():
    """Its price is infinite: what would use it is refused, and no infinity stands in the sentences."""
    one = np.full((1, 3), 0.2)
    why = "the budgets have no room left for it"
    allowed = eligible(CATALOG, ["gold"], 0)
    for kind, refused, sentence in (
        # b = 1 / 0.8 of each, a = 0.25, A0 = 1.1: 2.5 / 1.6
        ("money", ["c"], f"2 services, worth 1.56: no other eligible service {NO_COST}"),
        ("contacts", ["a", "b", "c"], "Nothing: no service may be offered to this user now."),
    ):
        estimates = Estimates(one, one, np.full((1, 3), 1.0))
        nobody, longest = np.array([-1]), np.array([3])
        case = Case(estimates, allowed.mask, CATALOG, SETTINGS.decision, nobody, longest)
        found = allocate(case, [Budget("all", kind, 0.0)], np.random.default_rng(0))
        assert found.price.tolist() == [np.inf]
        kept = allowed.without(found.barred, lambda user, place: why, "budget")
        made = make_decisions(estimates, kept, SETTINGS, np.array([False]), [1])
        assert made.refusals(0) == {CATALOG.position_of[service_id]: why for service_id in refused}
        assert made.n_reason(0) == sentence


def test_what_binds_nobody_is_left_out():
    assert n_reason([0.0, 0.5], 1, 3, Bounds()) == n_reason([0.0, 0.5], 1, 3)
