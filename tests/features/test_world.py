import json
import tomllib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from features.simulation.behaviour import draw_orders, draw_visits
from features.simulation.customers import draw_customers
from features.simulation.decisions import Decisions
from features.simulation.response import (
    MARGIN_RATE,
    REPURCHASE_DAYS,
    UPTAKE_DAYS,
    WEEK_SWING,
    YEAR_SWING,
    Answer,
    respond,
)
from features.tables import load_tables
from features.world import HELD_OUT_SHARE, WORLD_ENDS, World, make_world, write_world
from offers.settings import parse_settings

N_USERS, N_SERVICES, N_DAYS = 3000, 12, 180


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(N_USERS, N_SERVICES, N_DAYS, np.random.default_rng(5))


def day_of(world: World, times: pd.Series) -> np.ndarray:
    return ((times - world.starts_at) / pd.Timedelta(days=1)).to_numpy()


def number_of(ids: pd.Series) -> np.ndarray:
    return ids.str[1:].astype(int).to_numpy() - 1


def margin_after(world: World) -> np.ndarray:
    """Margin in the window of each decision, from the table of orders."""
    user, day = number_of(world.orders["user_id"]), day_of(world, world.orders["ordered_at"])
    order = np.lexsort((day, user))
    key = user[order] * 1000.0 + day[order]
    total = np.concatenate([[0.0], np.cumsum(world.orders["amount"].to_numpy()[order])])
    start = world.decisions.user * 1000.0 + world.decisions.day
    first, after = np.searchsorted(key, start), np.searchsorted(key, start + REPURCHASE_DAYS)
    return MARGIN_RATE * (total[after] - total[first])


def by_pair(world: World, column: str) -> np.ndarray:
    return world.effects[column].to_numpy().reshape(N_USERS, N_SERVICES)


def net_value(world: World) -> np.ndarray:
    cost = by_pair(world, "uptake") * world.offering.unit_cost + world.offering.contact_cost
    return by_pair(world, "uplift_margin") - cost


def test_every_row_is_accepted_by_the_contract(world, tmp_path):
    write_world(world, tmp_path, seed=5)
    settings = parse_settings(tomllib.loads((tmp_path / "perkwise.toml").read_text()))
    tables = load_tables(tmp_path, settings.money)
    assert tables.quarantine.empty
    for count in tables.counts:
        assert count.accepted == len(getattr(world, count.table)) > 0
    assert tables.counts[0].unknown_columns == ("age", "region", "plan", "interest")


def test_the_folder_s_settings_are_those_of_the_world(world, tmp_path):
    write_world(world, tmp_path)
    settings = parse_settings(tomllib.loads((tmp_path / "perkwise.toml").read_text()))
    assert settings.windows.uptake_days == UPTAKE_DAYS
    assert settings.windows.repurchase_days == REPURCHASE_DAYS
    assert pd.Timestamp(settings.windows.complete_until) == WORLD_ENDS
    assert settings.money.margin_rate == MARGIN_RATE
    assert settings.training.test_share == HELD_OUT_SHARE


def test_the_truth_beside_the_tables_is_that_of_the_world(world, tmp_path):
    write_world(world, tmp_path, seed=5)
    truth = json.loads((tmp_path / "truth" / "world.json").read_text())
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "truth" / "effects.parquet"), world.effects)
    assert pd.Timestamp(truth["held_out_from"]) == world.held_out_from
    assert (truth["n_users"], truth["n_services"], truth["n_days"], truth["seed"]) == (3000, 12, 180, 5)
    assert (truth["choice_load"], truth["uptake_days"], truth["repurchase_days"]) == (0.35, 7, 14)


def test_one_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_world(make_world(80, 6, 120, np.random.default_rng(seed)), tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 9
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    orders = "orders.parquet"
    assert (tmp_path / "one" / orders).read_bytes() != (tmp_path / "other" / orders).read_bytes()


def test_sizes_that_are_too_small_are_refused_all_at_once():
    with pytest.raises(
        ValueError, match=r"n_services must be at least 2, got 1\. n_days must be at least 100, got 30\."
    ):
        make_world(10, 1, 30, np.random.default_rng(0))


def test_progress_ends_at_its_total():
    calls = []
    make_world(20, 3, 120, np.random.default_rng(0), lambda *call: calls.append(call))
    assert [call[1] for call in calls] == list(range(1, len(calls) + 1))
    assert calls[-1] == ("world", len(calls), len(calls))


def test_the_held_out_share_of_the_decisions_comes_after_the_truth_s_time(world):
    shown_at = world.exposures.drop_duplicates("slate_id")["shown_at"]
    assert (shown_at >= world.held_out_from).mean() == pytest.approx(HELD_OUT_SHARE, abs=0.001)


def test_the_truth_is_the_response_at_the_start_of_the_held_out_period(world):
    rows = np.array([0, 17, 12 * 100 + 3, len(world.effects) - 1])
    user, service = number_of(world.effects["user_id"][rows]), number_of(world.effects["service_id"][rows])
    day = np.full(4, day_of(world, pd.Series([world.held_out_from]))[0])
    truth = respond(world.customers, world.offering, user, service, day)
    for name in ("uptake", "uplift_repurchase", "uplift_margin"):
        np.testing.assert_allclose(world.effects[name][rows], getattr(truth, name), rtol=1e-6)


def test_responses_are_heterogeneous_and_some_services_harm_some_users(world):
    uptake, uplift = by_pair(world, "uptake"), by_pair(world, "uplift_repurchase")
    assert uptake.min() >= 0.01 and uptake.max() <= 0.6
    assert (uplift.std(axis=0) > 0.01).all()
    harmed = (world.effects["uplift_margin"] < 0).mean()
    assert 0.15 < harmed < 0.45
    assert world.truth()["harmed_share"] == pytest.approx(harmed)


def test_the_best_for_each_beats_the_best_for_all_and_the_most_taken_is_a_trap(world):
    value = net_value(world)
    oracle = np.maximum(value.max(axis=1), 0).mean()
    constant = value.mean(axis=0).max()
    response = value[np.arange(N_USERS), by_pair(world, "uptake").argmax(axis=1)].mean()
    assert 1.5 * constant < oracle < 4 * constant
    assert response < 0.5 * oracle
    assert len(np.unique(value.argmax(axis=1))) >= 6


def test_rare_services_have_few_rows(world):
    rows = world.exposures["service_id"].value_counts()
    rare = world.truth()["rare"]
    assert len(rare) == 2
    assert rows[rare].max() < 0.2 * rows.drop([*rare, ""]).min()


def test_exposures_hold_one_row_for_each_service_shown(world):
    exposures = world.exposures
    sizes = exposures.groupby("slate_id").agg(rows=("position", "size"), last=("position", "max"))
    assert (sizes["rows"] == sizes["last"]).all()
    assert not exposures.duplicated(["slate_id", "service_id"]).any()
    assert ((exposures["service_id"] == "") == (exposures["arm"] == "holdout")).all()
    assert sizes["rows"].value_counts().index.sort_values().tolist() == [1, 2, 3, 4]
    assert (exposures["slate_propensity"] <= exposures["propensity"] * (1 + 1e-12)).all()


def test_the_inverse_propensities_of_each_offer_average_to_one(world):
    decisions = world.decisions
    for service in range(-1, N_SERVICES):
        shown = (decisions.slates[:, 0] == service) & (decisions.length <= 1)
        weight = shown / decisions.slate_propensity
        assert abs(weight.mean() - 1) < 4 * weight.std() / np.sqrt(len(weight))


@pytest.mark.parametrize("young, old", [(0, 0), (3, 7), (-1, 5)])
def test_ips_of_a_fixed_policy_agrees_with_the_truth(world, young, old):
    decisions, customers = world.decisions, world.customers
    chosen = np.where(customers.age[decisions.user] < 45, young, old)
    followed = (decisions.slates[:, 0] == chosen) & (decisions.length <= 1)
    ips = followed / decisions.slate_propensity * margin_after(world)
    truth = respond(customers, world.offering, decisions.user, np.maximum(chosen, 0), decisions.day)
    expected = truth.margin_per_order * truth.orders + np.where(chosen >= 0, truth.uplift_margin, 0)
    error = ips - expected
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(len(error))


def test_uses_within_the_window_follow_the_true_uptake(world):
    decisions = world.decisions
    uses = world.events[world.events["event"] == "used"]
    used = pd.DataFrame(
        {
            "user": number_of(uses["user_id"]),
            "service": number_of(uses["service_id"]),
            "at": day_of(world, uses["at"]),
        }
    )
    single = np.flatnonzero(decisions.length == 1)
    shown = pd.DataFrame(
        {"user": decisions.user[single], "service": decisions.slates[single, 0], "day": decisions.day[single]}
    ).reset_index(names="row")
    both = shown.merge(used, on=["user", "service"])
    within = both[(both["at"] >= both["day"]) & (both["at"] < both["day"] + UPTAKE_DAYS)]
    taken = np.isin(shown["row"], within["row"])
    p = respond(
        world.customers,
        world.offering,
        shown["user"].to_numpy(),
        shown["service"].to_numpy(),
        shown["day"].to_numpy(),
    ).uptake
    assert within["row"].is_unique
    assert abs((taken - p).mean()) < 4 * np.sqrt((p * (1 - p)).sum()) / len(p)


def test_orders_and_visits_follow_the_week_and_the_year():
    rng = np.random.default_rng(8)
    everyone = draw_customers(2000, 365, rng)
    steady = replace(everyone, joined_day=np.full(2000, -1.0), lapse_day=np.full(2000, np.inf))
    users = np.arange(2000)
    nothing = Decisions(
        users, np.full(2000, 40.0), np.full((2000, 1), -1), users, np.ones(2000), np.ones((2000, 1))
    )
    calm = Answer(taken=np.full(2000, -1), multiplier=np.ones(2000))
    for happened in (draw_orders(steady, nothing, calm, 365, rng), draw_visits(steady, 365, rng)):
        for swing, period in ((WEEK_SWING, 7), (YEAR_SWING, 365)):
            seen = 2 * np.sin(2 * np.pi * happened.day / period)
            assert abs(seen.mean() - swing) < 4 * seen.std() / np.sqrt(len(seen))


def test_nps_is_higher_where_the_used_service_fits_the_taste(world):
    user, service = number_of(world.feedback["user_id"]), number_of(world.feedback["service_id"])
    taste = world.customers.taste[user, world.offering.topic[service]]
    nps = world.feedback["nps"]
    assert nps.between(0, 10).all()
    assert nps[taste > 1].mean() > nps[taste < -1].mean() + 2


def test_what_the_shop_sees_tells_of_what_it_does_not(world):
    customers = world.customers
    named = customers.taste[np.arange(N_USERS), customers.interest]
    assert named.mean() > 0.7
    orders = np.bincount(number_of(world.orders["user_id"]), minlength=N_USERS)
    assert np.corrcoef(orders, customers.activity)[0, 1] > 0.4
    late = day_of(world, world.events["at"]) > N_DAYS - 30
    recent = np.bincount(number_of(world.events["user_id"])[late], minlength=N_USERS)
    lapsed = customers.lapse_day < N_DAYS - 30
    assert recent[lapsed].mean() < 0.6 * recent[~lapsed].mean()


def test_ids_are_text_in_the_order_of_their_numbers(world):
    for frame, column in (
        (world.users, "user_id"),
        (world.services, "service_id"),
        (world.orders, "order_id"),
    ):
        assert frame[column].dtype == "str"
        assert frame[column].is_monotonic_increasing and frame[column].is_unique
