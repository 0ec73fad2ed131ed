"""A shop is simulated by the hour: visitors, lists within the room there is, and uses that come later."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offers.calendar import DAY_US, HOUR_US
from offers.pacing import Account, Shift, forecast, is_throttled, period_of
from offers.settings import PacingSettings

UNIT_COST, UPTAKE = 2.0, 0.15
MONDAY = 4 * DAY_US  # 1970-01-05


@dataclass(frozen=True)
class World:
    """Visitors by the hour, and how much likelier they use a service than was estimated."""

    visitors: np.ndarray
    eagerness: np.ndarray


def calm(rng, hours, demand=30.0):
    day = 1 + 0.8 * np.sin(np.arange(hours) / 24 * 2 * np.pi)
    return World(rng.poisson(demand * day), np.ones(hours))


def shocked(rng, hours):
    """Demand that jumps up to twentyfold, or nearly ends; users up to 40 % more eager from then on."""
    world = calm(rng, hours, 10 ** rng.uniform(0, 2))
    begins = rng.integers(0, hours)
    ends = begins + rng.integers(1, hours)
    visitors, eagerness = world.visitors.copy(), world.eagerness.copy()
    visitors[begins:ends] = visitors[begins:ends] * 20 ** rng.uniform(-1, 1)
    eagerness[begins:ends] = rng.uniform(0.5, 1.4)
    return World(visitors, eagerness)


def hold_of(account, expected, full):
    return float(account.holds_of(np.array([expected]), np.array([full]))[0])


def live(account, world, rng, shift=None):
    """What a period of offers of one service really cost, uses until their windows closed included."""
    coming, cost = {}, 0.0
    for hour, (n, eager) in enumerate(zip(world.visitors.tolist(), world.eagerness.tolist())):
        now = MONDAY + hour * HOUR_US
        account.advance(now)
        for offered_at, n_used in coming.pop(hour, {}).items():
            for _ in range(n_used):
                account.use(offered_at, UNIT_COST, UPTAKE * UNIT_COST)
        if shift is not None and hour == shift:
            account.declare(Shift(account.name, now, "shop", "a sale"))
        expected = UPTAKE * UNIT_COST
        value = rng.exponential(0.6, int(n))
        wanted = int((value > (1 + account.price) * expected).sum())
        shown = min(wanted, max(0, int(account.room(now) / hold_of(account, expected, UNIT_COST))))
        if shown:
            account.offer(now, 0.0, shown * expected, shown * UNIT_COST, shown)
        n_used = rng.binomial(shown, UPTAKE * eager)
        cost += n_used * UNIT_COST
        delays = np.ceil(
            np.minimum(rng.exponential(account.window_us / 4, n_used), account.window_us) / HOUR_US
        )
        for at in (hour + delays).astype(int).tolist():
            uses = coming.setdefault(at, {})
            uses[now] = uses.get(now, 0) + 1
    return cost


def account_of(amount=600.0, period="week", window_days=2, **settings):
    account = Account("all", amount, period, int(window_days * DAY_US), PacingSettings(**settings))
    account.advance(MONDAY)
    return account


def shares_spent(n_worlds, make, **more):
    shares = []
    for seed in range(n_worlds):
        rng = np.random.default_rng(seed)
        account = account_of(**more)
        shares.append(live(account, make(rng, 168), rng) / account.open_amount)
    return np.array(shares)


def test_no_shock_of_demand_exceeds_what_may_be_spent():
    assert shares_spent(60, shocked).max() <= 1


@pytest.mark.slow
def test_no_shock_of_a_thousand_exceeds_what_may_be_spent():
    assert shares_spent(1_000, shocked).max() <= 1


def test_calm_weeks_spend_nine_tenths():
    shares = shares_spent(10, lambda rng, hours: calm(rng, hours, 300.0), amount=6000.0)
    assert shares.mean() >= 0.9 and shares.max() <= 1


def test_the_price_spreads_the_spending_over_the_period():
    rng = np.random.default_rng(0)
    account = account_of()
    world = calm(rng, 84)
    assert live(account, world, rng) <= 0.65 * account.open_amount  # half of the week
    assert account.price > 0


def test_whoever_covers_every_offer_cannot_overspend_whatever_users_do():
    rng = np.random.default_rng(1)
    account = account_of(use_cover=1000)
    world = calm(rng, 168)
    spent = live(account, World(world.visitors, np.full(168, 1 / UPTAKE)), rng)  # every offer is used
    assert 0.9 * account.open_amount <= spent <= account.open_amount


def test_the_reserve_opens_by_a_declared_shift_alone():
    rng = np.random.default_rng(2)
    rush = World(calm(rng, 168, 200).visitors, np.ones(168))
    closed, opened = account_of(), account_of()
    assert live(closed, rush, np.random.default_rng(3)) <= 480
    assert 480 < live(opened, rush, np.random.default_rng(3), shift=100) <= 600
    assert opened.is_reserve_open and not closed.is_reserve_open
    opened.advance(MONDAY + 7 * DAY_US)
    assert not opened.is_reserve_open  # a new period keeps its own reserve


def test_a_shift_of_another_budget_or_period_opens_nothing():
    account = account_of()
    assert not account.declare(Shift("other", MONDAY, "shop", "a sale"))
    assert not account.declare(Shift("all", MONDAY - 1, "shop", "a sale"))
    assert account.open_amount == pytest.approx(480)


@pytest.mark.parametrize(
    "who, why, missing", [("", "a sale", "who"), ("shop", " ", "why"), ("", "", "who and why")]
)
def test_a_shift_without_a_name_or_reason_is_refused(who, why, missing):
    with pytest.raises(ValueError, match=f"must say for which budget, .*, {missing} is empty"):
        Shift("all", 0, who, why)


def test_what_is_held_is_released_when_the_window_closes_and_spent_when_used():
    account = account_of(amount=100, reserve_share=0, window_days=1)
    account.offer(MONDAY, 1.0, expected=4.0, full=20.0)
    assert account.room(MONDAY) == pytest.approx(100 - 1 - 20)  # chance would take more than all
    account.use(MONDAY, 5.0, expected=1.0)
    assert account.spent == 6 and account.room(MONDAY) == pytest.approx(100 - 6 - 15)  # all that can be used
    account.advance(MONDAY + DAY_US + 2 * HOUR_US)
    assert account.room(MONDAY + DAY_US + 2 * HOUR_US) == pytest.approx(94)
    account.advance(MONDAY + 7 * DAY_US)
    account.use(MONDAY, 5.0, expected=1.0)  # of last week's offers
    assert account.spent == 0


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 5), st.floats(0, 1)), max_size=60))
def test_what_is_covered_in_full_and_fits_never_exceeds_the_budget(steps):
    account = account_of(amount=30, use_cover=1000)
    now, offers, n_used = MONDAY, [], 0
    for wait, cost, chance in [*steps, (10_000, 0.0, 0.0)]:
        now = min(now + wait * HOUR_US // 4, MONDAY + 7 * DAY_US - 1)
        while n_used < len(offers) and (offers[n_used][0] + account.window_us <= now or wait == 10_000):
            at, spent, p = offers[n_used]  # at the last moment
            account.use(at, spent, spent * p)
            n_used += 1
        account.advance(now)
        if hold_of(account, cost * chance, cost) <= account.room(now):
            account.offer(now, 0.0, cost * chance, cost)
            offers.append((now, cost, chance))
    assert account.spent == pytest.approx(sum(cost for _, cost, _ in offers))
    assert account.spent <= account.open_amount + 1e-9


def test_a_budget_of_nothing_has_no_room():
    account = account_of(amount=0.0)
    assert account.room(MONDAY) == 0
    account.advance(MONDAY + DAY_US)
    assert np.isfinite(account.price)


def test_services_are_throttled_at_the_limit_and_reopened_below_another():
    costs = [60, 69, 70, 65, 61, 59, 65, 71]
    seen, throttled = [], False
    for cost in costs:
        throttled = is_throttled(cost, 1000, throttled, PacingSettings())
        seen.append(throttled)
    assert seen == [False, False, True, True, True, False, False, True]


def test_without_revenue_nothing_that_costs_is_shown():
    assert is_throttled(1.0, 0.0, False, PacingSettings()) and not is_throttled(0, 0, True, PacingSettings())


def test_a_warning_comes_before_the_limit():
    account = account_of(amount=100)
    account.offer(MONDAY + DAY_US, 20.0)
    found = forecast(account, MONDAY + DAY_US, revenue_a_day=100)
    assert found.projected == pytest.approx(140) and found.share_of_revenue == pytest.approx(0.2)
    assert "140.00 are projected to the end of the week, 80.00 may be spent" in found.warnings[0]
    assert "20.0% of revenue is projected to go to services, at 7.0% only free" in found.warnings[1]
    assert forecast(account, MONDAY + 6 * DAY_US, 1000).warnings == ()


def test_periods_are_those_of_the_calendar():
    wednesday = MONDAY + 2 * DAY_US + 5
    assert period_of(wednesday, "day") == (MONDAY + 2 * DAY_US, MONDAY + 3 * DAY_US)
    assert period_of(wednesday, "week") == (MONDAY, MONDAY + 7 * DAY_US)
    assert period_of(wednesday, "month") == (0, 31 * DAY_US)
