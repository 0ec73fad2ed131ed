"""Training leaves a bundle, a report and a run, the same ones for the same seed, or nothing at all."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.checkerboard import EARNED, N_TRAIN, START, UNIT_COST, USES_FIT, USES_UNFIT, gain
from tests.project import LOCK_HASH, folder_bytes, registered_champion, settings_of
from training import tracking
from training.champion import install_champion
from training.split import Split
from training.train import train
from training.uplift import UpliftModel


def train_shop(home):
    """The training of the run `first` again."""
    shop = home / "var" / "shop"
    settings = settings_of(home, shop)
    settings = replace(settings, training=replace(settings.training, trials=0))
    return train(shop, home, settings, "again", seed=7)


@pytest.fixture
def untrained(home):
    """The project before its first training, somewhere else."""
    for name in ("bundles", "reports"):
        shutil.rmtree(home / "var" / name)
    return home


def test_the_same_seed_and_data_give_the_same_bundle_byte_for_byte_in_another_place(trained, untrained):
    again = train_shop(untrained)
    assert again.bundle.name == trained.first["bundle"]
    assert again.bundle.is_relative_to(untrained)
    assert folder_bytes(again.bundle) == folder_bytes(Path(trained.first["path"]))


@pytest.mark.slow
def test_the_order_of_the_rows_changes_no_model(trained, untrained, first_bundle):
    shop, rng = untrained / "var" / "shop", np.random.default_rng(0)
    for file in shop.glob("*.parquet"):
        rows = pd.read_parquet(file)
        rows.iloc[rng.permutation(len(rows))].to_parquet(file, index=False)
    shuffled = train_shop(untrained).bundle
    manifest = json.loads((shuffled / "manifest.json").read_text())
    assert manifest["data_hash"] != first_bundle.manifest["data_hash"]
    assert manifest["files"] == first_bundle.manifest["files"]
    assert manifest["training"] == first_bundle.manifest["training"]


def test_the_run_keeps_what_it_was_given_and_what_came_out(trained, first_bundle):
    run = tracking.find_run(trained.home, "first")
    assert run.run_id == trained.first["run_id"]
    assert run.params["seed"] == "7" and run.params["windows.uptake_days"] == "7"
    assert {"learning_rate", "training.trials", "money.margin_cap_quantile"} <= set(run.params)
    report = trained.home / "var" / "reports" / trained.first["bundle"]
    figures = json.loads(report.with_suffix(".json").read_text())
    for name, policy in figures["policies"].items():
        assert run.metrics[f"policy_value.{name}"] == policy["value"]
    for name in ("best_constant", "response", "random"):
        gained = figures["gain"][f"over_{name}"]
        assert {part: run.metrics[f"gain_over_{name}.{part}"] for part in gained} == gained
    assert run.metrics["oracle_share.nothing"] == 0 and run.metrics["seconds.uplift"] > 0
    for suffix in (".html", ".json"):
        kept = run.artifacts / report.with_suffix(suffix).name
        assert kept.read_bytes() == report.with_suffix(suffix).read_bytes()
    assert folder_bytes(run.bundle) == folder_bytes(first_bundle.path)


def test_the_run_names_the_data_the_commit_and_the_packages_it_comes_from(trained, first_bundle):
    git = ["git", "-C", str(trained.home), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    assert tracking.find_run(trained.home, "first").tags == {
        "data": "var/shop",
        "data_hash": first_bundle.manifest["data_hash"],
        "commit": commit,
        "lock_hash": LOCK_HASH,
        "bundle": trained.first["bundle"],
    }


def test_one_very_large_order_counts_as_the_cap_that_the_bundle_keeps(first_bundle):
    assert first_bundle.manifest["training"]["margin_cap"] == EARNED["a"]


def test_the_bundle_keeps_what_the_training_rows_say_of_the_baselines(first_bundle):
    baselines = first_bundle.manifest["training"]["baselines"]
    truth = [0.0, *((gain(service, "left") + gain(service, "right")) / 2 for service in "ab")]
    assert baselines["constant_values"] == pytest.approx(truth, abs=2)
    assert baselines["constant_values"][0] == 0
    used = [(USES_FIT[service] + USES_UNFIT[service]) / 2 for service in "ab"]
    assert baselines["popularity"] == pytest.approx(used, abs=0.05)
    assert [service.unit_cost for service in first_bundle.catalog.services] == [UNIT_COST] * 2


def test_the_bundle_counts_the_lists_of_several_that_taught_the_models(first_bundle, shop_source):
    counted = first_bundle.manifest["training"]["lists"]
    assert counted["learned"] == counted["logged"] == pytest.approx(0.1 * N_TRAIN, rel=0.2)
    assert shop_source.log.n_several > counted["logged"]  # some are held out


def test_the_models_are_those_of_single_offers_and_lists_together(first_bundle, shop_source):
    facts = first_bundle.manifest["training"]
    rows, _ = Split(**facts["split"]).apply(shop_source.dataset, shop_source.history.user_ids)
    rows = rows.capped(facts["margin_cap"])
    single, lists = rows.single(), rows.lists(rows.margin, choice_load=0.25)
    logged = single.X, single.service, single.propensities(7), single.margin, single.uptake
    model = UpliftModel(seed=7, categorical=single.categorical)
    assert np.array_equal(model.fit(*logged, lists).average_, first_bundle.uplift_margin.average_)
    assert not np.array_equal(model.fit(*logged).average_, first_bundle.uplift_margin.average_)


def without_uses(shop):
    events = pd.read_parquet(shop / "events.parquet")
    events.assign(event="viewed").to_parquet(shop / "events.parquet", index=False)


def without_holdout(shop):
    exposures = pd.read_parquet(shop / "exposures.parquet")
    exposures[exposures["service_id"] != ""].to_parquet(shop / "exposures.parquet", index=False)


def without_repurchases(shop):
    orders = pd.read_parquet(shop / "orders.parquet")
    long_ago = START - pd.Timedelta(days=1)
    orders.assign(ordered_at=long_ago).to_parquet(shop / "orders.parquet", index=False)


def without_closed_windows(shop):
    settings = (shop / "perkwise.toml").read_text()
    (shop / "perkwise.toml").write_text(settings.replace("2025-05-15", "2025-01-12"))


FAULTS = [
    (without_uses, "events `used` within 7 days after an offer must differ from row to row, found 0 in all"),
    (without_holdout, "exposures must hold rows without a service among the [0-9,]+ rows to learn from"),
    (without_repurchases, "orders within 14 days after an exposure must differ from row to row, found 0"),
    (without_closed_windows, "exposures must have outcome windows that closed before 2025-01-12"),
]


@pytest.mark.parametrize("spoil, message", FAULTS, ids=lambda part: getattr(part, "__name__", ""))
def test_a_training_that_fails_leaves_nothing_behind(trained, home, spoil, message):
    install_champion(Path(trained.first["path"]), home / "var")
    tracking.set_champion_alias(home, trained.first["bundle"])
    before = left_behind(home)
    spoil(home / "var" / "shop")
    with pytest.raises(ValueError, match=message):
        train_shop(home)
    assert left_behind(home) == before


def left_behind(home):
    """What a training may leave: bundles and reports, the champion, finished runs."""
    var = home / "var"
    files = [folder_bytes(var / name) for name in ("bundles", "reports", "champion")]
    return files, tracking.runs(home), registered_champion(home)
