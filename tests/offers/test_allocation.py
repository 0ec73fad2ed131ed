"""Lists within budgets are judged by linear programming over every list there is."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from offers.allocation import Case, allocate
from offers.budget import Budget, usage
from offers.catalog import Catalog
from offers.policy import decide
from offers.settings import DecisionSettings
from offers.types import AtMost, Estimates, ListRules, Service, Slates

COSTS = [(0.0, 0.0), (2.0, 0.0), (1.0, 0.2), (4.0, 0.05)]  # unit, contact
CATALOG = Catalog.of([Service(f"s{n}", "S", f"c{n % 2}", "", *cost) for n, cost in enumerate(COSTS)])
DECISION = DecisionSettings(max_services=2)


def case_of(n_users, seed, catalog=CATALOG, longest=2, **more):
    rng = np.random.default_rng(seed)
    uptake = rng.beta(1.5, 6, (n_users, len(catalog)))
    margin = uptake * catalog.unit_cost + rng.normal(0.2, 0.6, uptake.shape)
    return Case(
        Estimates(uptake, uptake, margin),
        rng.random(uptake.shape) < 0.9,
        catalog,
        DecisionSettings(max_services=longest),
        rng.integers(-1, 2, n_users),
        np.full(n_users, longest),
        **more,
    )


def unlimited(case):
    """What the lists use of money and contacts where nothing limits them."""
    found = allocate(
        case, [Budget("m", "money", 1e15), Budget("c", "contacts", 1e15)], np.random.default_rng(0)
    )
    return found.used


def every_list(case, budgets):
    """Worth and use of every list of every user; −inf where it may not be shown."""
    worths, uses = [], []
    n_users = len(case.eligible)
    for n in range(3):
        for chosen in combinations(range(len(case.catalog)), n):
            only = np.zeros_like(case.eligible)
            only[:, list(chosen)] = True
            may = case.eligible[:, list(chosen)].all(axis=1)
            padded = np.full((n_users, 2), -1)
            padded[:, :n] = chosen
            slates = Slates(padded, np.full(n_users, n), np.zeros((n_users, 3)))
            found = decide(  # its worth: the best of these services, all of which must be shown
                case.estimates,
                only,
                case.catalog,
                case.settings,
                2,
                list_rules=ListRules((), only),
            )
            worth = found.worth_by_length[:, n]
            worths.append(np.where(may, worth, -np.inf))
            uses.append(usage(budgets, slates, case.estimates, case.catalog, case.settings, case.tracks))
    return np.stack(worths, axis=1), np.stack(uses, axis=1).astype(float)


def optimum(case, budgets):
    """Of the linear programme in which each user has a mixture of lists."""
    worth, used = every_list(case, budgets)
    n_users, n_lists = worth.shape
    may = np.isfinite(worth).ravel()
    solved = linprog(
        -worth.ravel()[may],
        A_ub=used.reshape(-1, len(budgets)).T[:, may],
        b_ub=[one.amount for one in budgets],
        A_eq=np.kron(np.eye(n_users), np.ones(n_lists))[:, may],
        b_eq=np.ones(n_users),
    )
    assert solved.success
    return -solved.fun


def budgets_of_many_kinds(used):
    money, contacts = used
    return [
        Budget("all", "money", money * 0.6),
        Budget("contacts", "contacts", contacts * 0.8),
        Budget("track", "money", money * 0.15, track=0),
        Budget("one", "contacts", contacts * 0.05, service=1),
        Budget("another", "money", money * 0.1, service=3),
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_budgets", [1, 5])
def test_lists_are_within_a_percent_of_the_linear_programme(seed, n_budgets):
    case = case_of(400, seed)
    budgets = budgets_of_many_kinds(unlimited(case))[:n_budgets]
    best = optimum(case, budgets)
    found = allocate(case, budgets, np.random.default_rng(1))
    assert (found.used <= [one.amount for one in budgets]).all()
    assert best * 0.99 <= found.worth <= best * (1 + 1e-6)
    assert best <= found.bound * (1 + 1e-6)  # the certificate is true


def test_what_is_said_to_be_used_and_earned_is_that_of_the_lists():
    case = case_of(500, 4)
    budgets = budgets_of_many_kinds(unlimited(case))
    found = allocate(case, budgets, np.random.default_rng(1))
    used = usage(budgets, found.slates, case.estimates, case.catalog, DECISION, case.tracks).sum(axis=0)
    np.testing.assert_allclose(found.used, used, rtol=1e-5)
    worth, _ = every_list(case, budgets)
    lists = [chosen for n in range(3) for chosen in combinations(range(4), n)]
    rows = [
        lists.index(tuple(sorted(row[:n])))
        for row, n in zip(found.slates.services.tolist(), found.slates.length)
    ]
    np.testing.assert_allclose(found.worth, worth[np.arange(500), rows].sum(), rtol=1e-5)


def test_a_sample_is_enough_and_the_gap_says_so():
    catalog = Catalog.of([Service(f"s{n:02}", "S", "", "", n % 5, 0.02 * (n % 3)) for n in range(12)])
    case = case_of(50_000, 0, catalog, 3)
    found = allocate(
        case, [Budget("all", "money", 0.4 * unlimited(case)[0])], np.random.default_rng(0), workers=2
    )
    assert found.used[0] <= found.budgets[0].amount
    assert 0 <= found.gap < 0.01 and found.price[0] > 0


def test_the_same_seed_gives_the_same_lists_with_any_number_of_workers():
    case = case_of(20_000, 3)
    budgets = [Budget("all", "money", 500.0)]
    one, two = (allocate(case, budgets, np.random.default_rng(2), workers=n) for n in (1, 2))
    assert (one.slates.services == two.slates.services).all() and one.price.tolist() == two.price.tolist()


def test_of_nothing_only_free_services_are_shown():
    case = case_of(300, 5)
    found = allocate(case, [Budget("all", "money", 0.0)], np.random.default_rng(0))
    assert set(found.slates.services.ravel().tolist()) == {-1, 0}  # s0 costs nothing
    assert found.used.tolist() == [0] and found.price.tolist() == [np.inf]
    none = allocate(case, [Budget("all", "contacts", 0.0)], np.random.default_rng(0))
    assert not none.slates.length.any()


def test_a_budget_that_does_not_bind_has_no_price():
    found = allocate(case_of(300, 5), [Budget("all", "money", 1e9)], np.random.default_rng(0))
    assert found.price.tolist() == [0] and found.gap == pytest.approx(0)


@pytest.mark.parametrize("amount", [-1.0, np.nan, np.inf])
def test_an_amount_that_is_none_is_refused(amount):
    with pytest.raises(ValueError, match="The budget 'all' must have an amount of 0 or more, got"):
        Budget("all", "money", amount)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(0, 60),
    st.lists(
        st.tuples(
            st.sampled_from(["money", "contacts"]),
            st.floats(0, 20),
            st.integers(-1, 3),
            st.integers(-1, 1),
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_no_budget_is_ever_exceeded_and_no_rule_broken(seed, n_users, limits, must_show):
    rules = ListRules((AtMost((0, 1), 1),), np.zeros((n_users, 4), dtype=bool))
    rules.must_show[:, 2] = must_show
    case = case_of(n_users, seed, list_rules=rules)
    budgets = [
        Budget(str(n), kind, amount, service, track if service < 0 else -1)
        for n, (kind, amount, service, track) in enumerate(limits)
    ]
    found = allocate(case, budgets, np.random.default_rng(0))
    used = usage(budgets, found.slates, case.estimates, case.catalog, DECISION, case.tracks)
    assert (used.sum(axis=0) <= np.array([one.amount for one in budgets]) + 1e-3).all()
    for user, row in enumerate(found.slates.services.tolist()):
        shown = [service for service in row if service >= 0]
        assert len(shown) == found.slates.length[user] == len(set(shown))
        assert case.eligible[user, shown].all() and not {0, 1} <= set(shown)
