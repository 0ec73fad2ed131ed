from copy import copy
from dataclasses import replace

import numpy as np
import pytest

from features.tables import load_tables, write_table
from offers.settings import DecisionSettings, ExplorationSettings, Settings, parse_settings
from serving.deletion import DeletedUsers
from serving.recommender import Asked, recommend
from serving.scoring import score
from serving.state import State

NOW = 1_790_000_000_000_000
EXPLORING = Settings(exploration=ExplorationSettings(holdout=0.2, explore=0.3))


def test_every_user_has_a_list_or_a_row_of_nothing(tables, bundle):
    scores = score(tables, bundle, EXPLORING, NOW, seed=1)
    assert set(scores.rows["user_id"]) == set(tables.users["user_id"])
    assert set(scores.rows["arm"]) == {"policy", "explore", "holdout"}
    assert (scores.rows.loc[scores.rows["arm"] == "holdout", "service_id"] == "").all()
    assert scores.rows["propensity"].between(0, 1, inclusive="right").all()


def test_the_batch_shows_what_the_service_would(tables, bundle):
    settings = Settings(exploration=ExplorationSettings(holdout=0.3, explore=0.0))
    rows = score(tables, bundle, settings, NOW, seed=1).rows
    state = State(tables, bundle.layout, bundle.tiers, 7, DeletedUsers(b"key", set()))
    users = tables.users["user_id"].tolist()[:60]
    profiles = [state.profile(user_id, NOW) for user_id in users]
    asked = [
        Asked(user_id, profile.features, profile.tier, NOW, 0, settings.decision.max_services)
        for user_id, profile in zip(users, profiles)
    ]
    for user_id, decision in zip(users, recommend(bundle, settings, asked, NOW)):
        mine = rows[(rows["user_id"] == user_id) & (rows["service_id"] != "")]
        assert mine["service_id"].tolist() == [bundle.catalog.ids[one.position] for one in decision.offered]
        np.testing.assert_allclose(mine["value"], [one.value for one in decision.offered])
        np.testing.assert_allclose(mine["propensity"], [one.propensity for one in decision.offered])


def test_long_work_tells_how_far_it_is(tables, bundle, settings):
    seen = []
    n_users = (
        score(tables, bundle, settings, NOW, seed=1, progress=lambda *step: seen.append(step))
        .rows["user_id"]
        .nunique()
    )
    assert seen[-1] == ("uplift", n_users, n_users)


def test_the_same_seed_draws_the_same_lists(tables, bundle):
    first, second, third = (score(tables, bundle, EXPLORING, NOW, seed=seed).rows for seed in (1, 1, 2))
    assert first.equals(second) and not first.equals(third)


def test_the_rows_are_exposures_of_the_contract(tables, bundle, data, settings, tmp_path):
    rows = score(tables, bundle, EXPLORING, NOW - 10**13, seed=1).rows
    for name in ("users", "services", "orders"):
        (tmp_path / f"{name}.parquet").write_bytes((data / f"{name}.parquet").read_bytes())
    write_table(tmp_path, "exposures", rows.drop(columns=["uptake", "uplift", "value", "cost", "cold"]))
    read = load_tables(tmp_path, settings.money)
    assert len(read.exposures) == len(rows)


def test_rows_say_which_services_are_cold(tables, bundle):
    hardly = copy(bundle.uplift_margin)
    hardly.cold_ = np.array([True, False, False, True])
    rows = score(tables, replace(bundle, uplift_margin=hardly), EXPLORING, NOW, seed=1).rows
    expected = rows["service_id"].isin([bundle.catalog.ids[0], bundle.catalog.ids[3]])
    assert rows["cold"].equals(expected.rename("cold")) and rows["cold"].any() and not rows["cold"].all()


def test_a_budget_is_kept_and_nearly_used(tables, bundle):
    settings = Settings(
        exploration=ExplorationSettings(holdout=0.0, explore=0.0), decision=DecisionSettings(max_services=2)
    )
    free = score(tables, bundle, settings, NOW, seed=1)
    assert free.money_price == 0
    half = score(tables, bundle, settings, NOW, seed=1, budget=free.expected_cost / 2)
    assert half.money_price > 0
    assert half.expected_cost <= free.expected_cost / 2
    assert score(tables, bundle, settings, NOW, seed=1, budget=0).expected_cost == pytest.approx(0)


def test_budgets_tracks_and_holdouts_of_the_settings_are_kept(tables, bundle):
    first, second = bundle.catalog.ids[:2]
    names = bundle.tiers.names
    settings = parse_settings(
        {
            "tiers": {"names": list(names)},
            "exploration": {"holdout": 0.0, "explore": 0.5},
            "tracks": [{"name": "high", "tiers": list(names[3:]), "services": [first], "max_services": 1}],
            "holdouts": [{"name": "not the second", "share": 1.0, "service": second}],
            "budgets": [{"name": "few", "contacts": 50}],
        }
    )
    scores = score(tables, bundle, settings, NOW, seed=1)
    rows = scores.rows[scores.rows["service_id"] != ""]
    assert second not in set(rows["service_id"])
    assert 0 < scores.allocation.used[0] <= 50
    assert (rows["arm"] == "policy").sum() <= 50
    in_track = rows[rows["service_id"] == first]
    assert (in_track["position"] == 1).all()


def test_an_unknown_service_of_the_settings_is_named(tables, bundle):
    settings = parse_settings({"budgets": [{"name": "a", "money": 1, "service": "nope"}]})
    with pytest.raises(ValueError, match=r"budgets.a.service must be in the catalogue, got 'nope'; "):
        score(tables, bundle, settings, NOW, seed=1)
