"""A shop that lives on week by week: its log is that of its tables, its answers are those of the world."""

import numpy as np
import pandas as pd
import pytest

from features.history import History
from features.pipeline import Layout, compute
from features.simulation.decisions import Decisions
from features.simulation.response import respond
from features.simulation.shop import HISTORY_DAYS, WEEK_DAYS, Shop, shifted
from features.simulation.tables import events_table, exposures_table, feedback_table
from features.tables import load_tables, write_table
from features.world import WORLD_ENDS, responses_at
from offers.settings import MoneySettings

N_USERS, N_SERVICES = 400, 6


def shop_of(n_users=N_USERS, seed=1):
    return Shop.open(n_users, N_SERVICES, 3, WORLD_ENDS, np.random.default_rng(seed))


def everybody_sees(shop, slates):
    n = len(shop.customers)
    whole = np.broadcast_to(np.asarray(slates), (n, np.shape(slates)[-1])).copy()
    return Decisions(
        user=np.arange(n),
        day=np.full(n, shop.day),
        slates=whole,
        arm=np.full(n, 2),
        slate_propensity=np.ones(n),
        propensity=np.ones(whole.shape),
    )


def two_weeks(shop):
    shop = shop.step(everybody_sees(shop, [0, 3]), np.random.default_rng(2))
    return shop.step(everybody_sees(shop, [-1, -1]), np.random.default_rng(3))


def test_the_history_is_that_of_the_tables(tmp_path):
    shop = two_weeks(shop_of())
    happened = shop.happenings
    kinds = {"visited": "visits", "viewed": "views", "clicked": "clicks", "used": "uses"}
    frames = {
        **shop.tables(),
        "events": events_table({event: happened[name] for event, name in kinds.items()}, shop.labels),
        "exposures": pd.concat([exposures_table(week, shop.labels) for week in shop.decisions]).assign(
            slate_id=lambda rows: np.arange(len(rows)).astype(str)
        ),
        "feedback": feedback_table(happened["feedback"], shop.labels),
    }
    for name, frame in frames.items():
        write_table(tmp_path, name, frame)
    tables = load_tables(tmp_path, MoneySettings())
    assert tables.quarantine.empty
    layout = Layout.of(tables)
    users, now = np.arange(N_USERS), np.full(N_USERS, shop.at_us(shop.day))
    by_tables = compute(History.of(tables, layout, WEEK_DAYS), layout, users, now)
    np.testing.assert_array_equal(compute(shop.history(layout), layout, users, now), by_tables)


def test_a_week_only_adds_to_what_happened():
    before = shop_of()
    after = two_weeks(before)
    assert after.day == before.day + 2 * WEEK_DAYS == HISTORY_DAYS + 2 * WEEK_DAYS
    for name, rows in after.happenings.items():
        old = len(before.happenings[name].user)
        np.testing.assert_array_equal(rows.day[:old], before.happenings[name].day)
        assert (rows.day[old:] >= before.day).all() and (rows.day[old:] < after.day + 1e-9).all()


def test_the_same_luck_befalls_shops_that_decide_otherwise():
    shop = shop_of()
    one, other = (shop.step(everybody_sees(shop, slates), np.random.default_rng(4)) for slates in ([0], [1]))
    np.testing.assert_array_equal(one.happenings["visits"].day, other.happenings["visits"].day)
    assert len(one.happenings["uses"].day) != len(other.happenings["uses"].day)


def test_answers_are_those_of_the_world():
    shop = shop_of(n_users=20_000)
    after = shop.step(everybody_sees(shop, [2]), np.random.default_rng(5))
    truth = responses_at(shop.customers, shop.offering, shop.day, WEEK_DAYS)[2]
    taken = len(after.happenings["clicks"].day)
    uses = after.happenings["uses"]
    used = ((uses.day >= shop.day) & (uses.service == 2)).sum()
    assert used == pytest.approx(truth.uptake.sum(), abs=4 * np.sqrt(truth.uptake.sum()))
    orders = (after.happenings["orders"].day >= shop.day).sum()
    expected = (truth.orders * (1 + truth.direct + truth.uptake * truth.through)).sum()
    assert orders == pytest.approx(expected, abs=5 * np.sqrt(expected))
    assert taken >= used


def test_a_shift_moves_effects_between_some_services_and_leaves_costs():
    shop = shop_of()
    after = shifted(shop.offering, 1 / 3, np.random.default_rng(0))
    moved = (after.uptake != shop.offering.uptake).any(axis=1)
    assert moved.sum() == 2
    assert (after.role[moved] != shop.offering.role[moved]).all()
    assert sorted(after.role) == sorted(shop.offering.role)
    np.testing.assert_array_equal(after.unit_cost, shop.offering.unit_cost)
    users = np.arange(N_USERS)
    one = int(np.flatnonzero(moved)[0])
    before, now = (
        respond(shop.customers, offering, users, np.full(N_USERS, one), np.full(N_USERS, 120.0)).uplift_margin
        for offering in (shop.offering, after)
    )
    assert np.abs(before - now).mean() > 0.05


def test_decisions_of_another_day_are_refused():
    shop = shop_of()
    late = everybody_sees(shop, [0])
    late = Decisions(late.user, late.day + 1, late.slates, late.arm, late.slate_propensity, late.propensity)
    with pytest.raises(ValueError, match="decisions must be sorted by user, one a user, all on day 112"):
        shop.step(late, np.random.default_rng(0))


def test_sizes_that_are_too_small_are_told_all_at_once():
    with pytest.raises(
        ValueError, match=r"users must be at least 200, got 10\. services must be at least 2, got 1"
    ):
        Shop.open(10, 1, 3, WORLD_ENDS, np.random.default_rng(0))
