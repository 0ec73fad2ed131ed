"""The bounds hold at every look, and are what a calculation by hand says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.confidence_sequence import Spread

UNSURE = np.tile([-9.0, 11.0], 750)  # 1,500 values of mean 1, each 10 away from it
USERS = np.arange(1500)


def spread_of(values, users=USERS, least=-9.0, most=11.0):
    return Spread.of(np.asarray(values, float), np.asarray(users), least, most)


def test_the_bounds_are_those_calculated_by_hand():
    # The clock stands at 1,500, which is the constant r: 1 + r / c = 2 and (c + r) / r = 2.
    deviations = math.sqrt(2 * 2 * math.log(1 + math.sqrt(2) / (2 * 0.05)))
    low_half = deviations * math.sqrt(1500 * 100 * 1500 / 1499 + 10**2) / 1500  # at worst 10 below
    high_half = deviations * math.sqrt(1500 * 100 * 1500 / 1499 + 29**2) / 1500
    spread = spread_of(UNSURE, most=30.0)
    assert deviations == pytest.approx(3.29696, abs=1e-5)
    assert spread.low(0.05) == pytest.approx(1 - low_half)
    assert spread.high(0.05) == pytest.approx(1 + high_half)


def test_a_loss_that_was_possible_but_not_seen_lowers_the_bound():
    lows = [spread_of(UNSURE, least=least).low(0.05) for least in (-9, -100, -1000)]
    assert lows == sorted(lows, reverse=True) and lows[0] > lows[2] + 1


def test_copies_of_a_users_values_add_no_certainty():
    once, tenfold = spread_of(UNSURE), spread_of(np.repeat(UNSURE, 10), np.repeat(USERS, 10))
    assert tenfold.variance / tenfold.row_variance == pytest.approx(10 * 15_000, rel=1e-3)
    assert math.sqrt(tenfold.variance) / tenfold.n == pytest.approx(
        math.sqrt(once.variance) / once.n, rel=1e-3
    )


def test_users_whose_values_cancel_are_no_reason_for_more_certainty():
    paired = spread_of(UNSURE, USERS // 2)  # each user has one of -9 and one of 11
    assert paired.variance == pytest.approx(spread_of(UNSURE).variance)


def test_values_that_never_vary_leave_only_what_was_possible():
    spread = spread_of(np.full(1500, 2.0), least=2.0, most=2.0)
    assert spread.low(0.05) == spread.high(0.05) == 2


def test_after_so_many_of_the_kind_it_is_as_if_they_were_there():
    promised, there = spread_of(UNSURE).after(6000), spread_of(np.tile(UNSURE, 4), np.arange(6000))
    assert promised.low(0.05) == pytest.approx(there.low(0.05), rel=1e-3)


VALUES = st.lists(st.floats(-100, 100), min_size=10, max_size=60)


@given(VALUES, st.floats(0.01, 0.49), st.floats(1.01, 2))
def test_more_certainty_costs_width(values, error, times):
    spread = spread_of(values, np.arange(len(values)), -100, 100)
    assert spread.low(error) <= spread.low(error * times) <= spread.mean + 1e-9
    assert spread.high(error) >= spread.high(error * times) >= spread.mean - 1e-9


@given(VALUES, st.floats(0.01, 1000), st.randoms(use_true_random=False))
def test_neither_the_currency_nor_the_order_of_the_users_matters(values, rate, random):
    values, users = np.array(values), np.arange(len(values)) // 3
    order = random.sample(range(len(values)), len(values))
    renamed = np.unique((users.max() - users)[order], return_inverse=True)[1]
    spread = spread_of(values, users, -100, 100)
    changed = spread_of(rate * values[order], renamed, -100 * rate, 100 * rate)
    assert changed.low(0.05) == pytest.approx(rate * spread.low(0.05), abs=1e-7 * rate)
    assert changed.high(0.05) == pytest.approx(rate * spread.high(0.05), abs=1e-7 * rate)


def test_the_mean_of_chance_alone_is_below_the_low_at_some_look_no_more_often_than_the_error():
    rng = np.random.default_rng(4)
    looks = np.arange(1, 31) * 200
    failed = 0
    for _ in range(1000):
        sums = np.cumsum(rng.normal(size=(30, 200)).sum(axis=1))
        spreads = [Spread(total / n, n, float(n), 1.0, -4.0, 4.0) for total, n in zip(sums, looks)]
        failed += any(spread.low(0.05) > 0 for spread in spreads)
    assert 1 <= failed <= 50


def test_customers_who_come_back_with_gains_of_their_own_do_not_break_the_bounds():
    """A hundred exposures a day, of 400 customers: their mean is uncertain by who they are."""
    failed = {"by user": 0, "by exposure": 0}
    for world in range(200):
        rng = np.random.default_rng([6, world])
        users = rng.integers(0, 400, 30 * 100)
        values = rng.normal(size=400)[users] + rng.normal(size=len(users))
        failed["by user"] += any_low_above_zero(values, users)
        failed["by exposure"] += any_low_above_zero(values, np.arange(len(users)))
    assert failed["by user"] <= 10  # 5 % of 200
    assert failed["by exposure"] > 10


def any_low_above_zero(values, users):
    for n in range(100, len(values) + 1, 100):
        numbered = np.unique(users[:n], return_inverse=True)[1]
        if Spread.of(values[:n], numbered, -6, 6).low(0.05) > 0:
            return True
    return False
