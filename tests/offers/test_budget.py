import numpy as np
import pytest

from offers.budget import solve_price

VALUE = np.array([9.0, 6.0, 3.0, 1.0])
COST = np.array([3.0, 3.0, 3.0, 0.0])  # worth 3, 2, 1 times their cost, and one that is free


def spend_at(price):
    return COST[VALUE - price * COST > 0].sum()


@pytest.mark.parametrize("budget, price, spent", [(9, 0, 9), (100, 0, 9), (6, 1, 6), (5, 2, 3), (0, 3, 0)])
def test_the_price_is_the_lowest_that_keeps_the_budget(budget, price, spent):
    found = solve_price(spend_at, budget)
    assert found == pytest.approx(price, abs=1e-9)
    assert spend_at(found) == spent


def test_the_spend_comes_within_the_tolerance_of_the_budget():
    rng = np.random.default_rng(0)
    value, cost = rng.uniform(0, 5, 100_000), rng.uniform(0.1, 1, 100_000)

    def spend(price):
        return cost[value - price * cost > 0].sum()

    assert 0.999 * 10_000 <= spend(solve_price(spend, 10_000)) <= 10_000


def test_a_negative_budget_is_refused():
    with pytest.raises(ValueError, match="budget must be 0 or more, got -1"):
        solve_price(spend_at, -1)


def test_a_spend_that_no_price_moves_is_refused():
    with pytest.raises(ValueError, match="No price of money brings the spend down to 1"):
        solve_price(lambda price: 2.0, 1)
