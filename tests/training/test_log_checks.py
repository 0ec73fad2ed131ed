"""The checks of a whole log on simulated shops: silent on sound ones, and each planted fault found."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.world import make_world, write_world
from offers.catalog import Catalog
from offers.settings import parse_settings
from offers.types import Service
from training.evaluation.checks import Finding
from training.log_checks import check_log, open_to_everybody
from training.source import Source, read_source

Fault = Callable[[pd.DataFrame, np.random.Generator, pd.DataFrame, pd.DataFrame], pd.DataFrame]


def is_alone(rows: pd.DataFrame) -> pd.Series:
    return ~rows["slate_id"].duplicated(keep=False)


def drop_a_tenth_of_nothing(rows, rng, users, orders):
    return rows[(rows["service_id"] != "") | (rng.random(len(rows)) > 0.12)]


def offer_the_old_more(rows, rng, users, orders):
    """A fifth of the young who were shown nothing change places with the old who were shown a service."""
    age = rows["user_id"].map(users.set_index("user_id")["age"])
    old, alone, nothing = age > age.median(), is_alone(rows), rows["service_id"] == ""
    young_without = rng.permutation(np.flatnonzero(alone & nothing & ~old))
    old_with = rng.permutation(np.flatnonzero(alone & ~nothing & old))
    n = len(young_without) // 5
    columns = ["service_id", "propensity", "slate_propensity", "arm"]
    changed = rows.copy()
    place = np.arange(len(rows))
    place[young_without[:n]], place[old_with[:n]] = old_with[:n], young_without[:n]
    changed[columns] = rows[columns].iloc[place].to_numpy()
    return changed.astype(rows.dtypes)


def permute_the_services(rows, rng, users, orders):
    """Services dealt anew among the single offers; their propensities stay behind."""
    changed, offers = rows.copy(), np.flatnonzero(is_alone(rows) & (rows["service_id"] != ""))
    changed.iloc[offers, rows.columns.get_loc("service_id")] = rows["service_id"].to_numpy()[
        rng.permutation(offers)
    ]
    return changed


def overstate_the_propensity_of_nothing(rows, rng, users, orders):
    factor = np.where(rows["service_id"] == "", 1.25, 1.0)
    return rows.assign(**{name: rows[name] * factor for name in ("propensity", "slate_propensity")})


def log_after_the_order(rows, rng, users, orders):
    """A tenth of the offers that an order followed are logged ten minutes after it."""
    rows = rows.sort_values("shown_at")
    ordered = pd.merge_asof(
        rows[["user_id", "shown_at"]],
        orders.sort_values("ordered_at")[["user_id", "ordered_at"]],
        left_on="shown_at",
        right_on="ordered_at",
        by="user_id",
        direction="forward",
        tolerance=pd.Timedelta(days=14),
    )["ordered_at"]
    ordered.index = rows.index
    late = is_alone(rows) & (rows["service_id"] != "") & ordered.notna() & (rng.random(len(rows)) < 0.1)
    return rows.assign(shown_at=rows["shown_at"].mask(late, ordered + pd.Timedelta(minutes=10)))


def name_no_propensity(rows, rng, users, orders):
    return rows.drop(columns=["propensity", "slate_propensity"])


def keep_the_holdout_by_user(rows, rng, users, orders):
    """Users drawn into the holdout are shown nothing, all others one service of three."""
    users_out = rng.random(len(users)) < 0.3
    out = rows["user_id"].map(pd.Series(users_out, users["user_id"])).to_numpy()
    first = rows[~rows["slate_id"].duplicated()]
    out = out[~rows["slate_id"].duplicated().to_numpy()]
    services = np.sort(rows["service_id"].unique())[1:4]
    shown = np.where(out, "", services[rng.integers(0, 3, len(first))])
    p = np.where(out, 0.3, 0.7 / 3)
    return first.assign(
        service_id=shown,
        propensity=p,
        slate_propensity=p,
        position=1,
        arm=np.where(out, "holdout", "policy"),
    )


def read(folder: Path, fault: Fault | None, seed: int, n_users: int = 1000) -> Source:
    world = make_world(n_users, 5, 130, np.random.default_rng(seed))
    if fault:
        rng = np.random.default_rng(seed + 1)
        world = replace(world, exposures=fault(world.exposures, rng, world.users, world.orders))
    write_world(world, folder)
    return read_source(folder, parse_settings(world.settings()))


def verdicts(found: tuple[Finding, ...]) -> dict[str, str]:
    return {finding.key: finding.verdict for finding in found}


def test_a_sound_log_raises_no_alert(tmp_path):
    found = verdicts(check_log(read(tmp_path, None, seed=0), n_jobs=1))
    assert found == dict.fromkeys(
        ("sample_ratio", "predictability", "users_in_two_arms", "exposure_after_outcome"), "fine"
    )


@pytest.mark.slow
def test_thirty_sound_logs_raise_no_alert(tmp_path):
    for seed in range(100, 130):
        found = check_log(read(tmp_path / str(seed), None, seed, n_users=600), seed, n_jobs=1)
        assert "alert" not in verdicts(found).values(), [one for one in found if one.verdict == "alert"]


@pytest.mark.parametrize(
    "fault, keys",
    [
        (drop_a_tenth_of_nothing, {"sample_ratio"}),
        pytest.param(permute_the_services, {"sample_ratio"}, marks=pytest.mark.slow),
        pytest.param(overstate_the_propensity_of_nothing, {"sample_ratio"}, marks=pytest.mark.slow),
        (log_after_the_order, {"exposure_after_outcome"}),
    ],
)
def test_a_planted_fault_is_found_by_its_check(tmp_path, fault, keys):
    found = verdicts(check_log(read(tmp_path, fault, seed=2, n_users=1800), n_jobs=1))
    assert keys <= {key for key, verdict in found.items() if verdict == "alert"}


def test_assignment_that_depends_on_the_profile_refuses_the_word_uplift(tmp_path):
    found = check_log(read(tmp_path, offer_the_old_more, seed=3, n_users=1500), n_jobs=1)
    assert [finding.key for finding in found if finding.refuses] == ["predictability"]


def test_a_holdout_kept_by_user_is_no_fault_though_later_profiles_give_it_away(tmp_path):
    source = read(tmp_path, keep_the_holdout_by_user, seed=4)
    found = check_log(source, n_jobs=1)
    assert set(verdicts(found).values()) == {"fine"}
    asked = next(finding for finding in found if finding.key == "predictability")
    assert asked.n == len(np.unique(source.dataset.user))  # the first contact of each


def test_a_log_without_propensities_is_estimated_and_not_refused(tmp_path):
    source = read(tmp_path, name_no_propensity, seed=5)
    found = {finding.key: finding for finding in check_log(source, n_jobs=1)}
    assert "sample_ratio" not in found
    assert found["estimated_propensities"].n == len(source.dataset)
    assert "name no propensity: it was estimated" in found["estimated_propensities"].text
    assert found["predictability"].verdict == "note"  # the policy that logged it knew early uses
    assert not any(finding.refuses for finding in found.values())


@pytest.mark.slow
def test_estimates_are_near_the_propensities_that_were_not_logged(tmp_path):
    logged = read(tmp_path / "logged", None, seed=6).dataset.single()
    estimated = read(tmp_path / "bare", name_no_propensity, seed=6).dataset
    assert estimated.is_estimated.all()
    single = estimated.single()
    ratio = np.log(single.slate_propensity / logged.slate_propensity)
    assert np.abs(ratio).mean() < 0.25
    assert single.propensities(0).sum(axis=1) == pytest.approx(1)
    of_shown = single.propensities(0)[np.arange(len(single)), single.service + 1]
    assert of_shown == pytest.approx(single.slate_propensity, rel=1e-4)


def test_only_services_without_tiers_dates_and_limits_are_open_to_everybody():
    year = pd.Timestamp("2025-01-01", tz="UTC"), pd.Timestamp("2026-01-01", tz="UTC")
    begins, ends = (moment.to_pydatetime() for moment in year)
    catalog = Catalog.of(
        [
            Service("a", "Always"),
            Service("b", "Begins within", active_from=begins),
            Service("c", "Capped", capacity_per_day=5),
            Service("d", "Diamond", tiers=("diamond",)),
            Service("e", "Ends after", active_until=ends),
            Service("f", "For the web", scenario="web"),
        ]
    )
    shown_at_us = np.array(
        [pd.Timestamp(day, tz="UTC").value // 1000 for day in ("2024-12-01", "2025-12-01")]
    )
    assert open_to_everybody(catalog, shown_at_us).tolist() == [True, True, False, False, False, True, False]
