import numpy as np

from offers.budget import Budget, budgets_of, prices_of, usage, without_money
from offers.catalog import Catalog
from offers.settings import BudgetLimit, DecisionSettings
from offers.types import Estimates, Service, Slates

CATALOG = Catalog.of([Service("free", "Free"), Service("gift", "Gift", unit_cost=4.0, contact_cost=0.5)])
HALF = np.full((2, 2), 0.5)
ESTIMATES = Estimates(HALF, HALF, HALF)
TRACKS = np.array([0, -1])
SLATES = Slates(np.array([[1, -1], [0, -1]]), np.array([1, 1]), np.zeros((2, 3)))
BUDGETS = (
    Budget("all", "money", 10.0),
    Budget("all", "contacts", 10.0),
    Budget("track", "money", 10.0, track=0),
    Budget("gift", "contacts", 10.0, service=1),
    Budget("gift", "money", 10.0, service=1),
)


def test_each_budget_is_used_by_what_it_covers():
    used = usage(BUDGETS, SLATES, ESTIMATES, CATALOG, DecisionSettings(), TRACKS)
    assert used.tolist() == [[2.5, 1, 2.5, 1, 2.5], [0, 1, 0, 0, 0]]


def test_prices_add_up_for_whom_and_what_they_cover():
    prices = prices_of(np.array([1.0, 0.1, 2.0, 0.3, 1.0]), BUDGETS, ESTIMATES, CATALOG, TRACKS)
    assert prices.money.tolist() == [3, 1]
    np.testing.assert_allclose(prices.showing, [[0.1, 0.1 + 0.3 + 2.5], [0.1, 0.1 + 0.3 + 2.5]])


def test_of_an_empty_budget_only_what_would_use_it_is_barred():
    empty = [Budget("track", "money", 0.0, track=0)]
    assert without_money(empty, CATALOG, TRACKS).tolist() == [[False, True], [False, False]]
    assert without_money([Budget("free", "contacts", 0.0, service=0)], CATALOG, TRACKS)[:, 0].all()


def test_an_entry_of_the_settings_is_a_budget_of_money_and_one_of_contacts():
    limits = [BudgetLimit("all", money=5.0, contacts=7.0), BudgetLimit("gift", money=1.0, service="gift")]
    made = budgets_of([*limits, BudgetLimit("t", contacts=2.0, track="high")], CATALOG, ("low", "high"))
    assert made == (
        Budget("all", "money", 5.0),
        Budget("all", "contacts", 7.0),
        Budget("gift", "money", 1.0, service=1),
        Budget("t", "contacts", 2.0, track=1),
    )
