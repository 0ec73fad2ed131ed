"""Data that tell what is not so end in a refusal or a named warning; sound data raise none."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from features.importers.hillstrom import import_hillstrom
from features.importers.starbucks import import_starbucks
from tests.checkerboard import write_checkerboard
from tests.poison import POISONS, examine, make_shop, make_sound_shop, make_trial, tables_of, write_shop
from tests.project import ROOT, folder_bytes, registered_champion, settings_of
from training import tracking
from training.champion import install_champion, read_champion
from training.suspicions.suspicion import ADVICE
from training.train import train
from training.uplift import UpliftModel
from training.uptake import UptakeModel

MOST_FALSE_ALARMS = 0.01


@pytest.fixture(scope="module")
def shops():
    shop = make_shop()
    return {"shop": shop, "trial": make_trial(shop)}


def spoiled(shops, poison, folder):
    world = shops[poison.base]
    tables = tables_of(world)
    poison.spoil(tables, np.random.default_rng(0))
    return write_shop(world, folder, tables)


def named(poison, suspicions):
    """The suspicions that have this poison's name, place and figures."""
    return [
        one
        for one in suspicions
        if one.name == poison.warning
        and one.where.startswith(poison.where)
        and re.search(poison.says, one.found)
    ]


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.kind)
def test_each_poison_is_refused_or_named(shops, tmp_path, poison):
    folder = spoiled(shops, poison, tmp_path)
    settings = settings_of(ROOT, folder)
    if poison.warning is None:
        with pytest.raises(ValueError, match=poison.says):
            examine(folder, settings)
    else:
        assert named(poison, examine(folder, settings))


def test_there_are_twenty_five_kinds_and_every_warning_is_among_them():
    assert len(POISONS) >= 25
    assert {poison.warning for poison in POISONS} - {None} == set(ADVICE)


@pytest.mark.parametrize("base", ["shop", "trial"])
def test_the_shops_are_sound_before_they_are_spoiled(shops, tmp_path, base):
    folder = write_shop(shops[base], tmp_path)
    assert examine(folder, settings_of(ROOT, folder)) == ()


def false_alarms(seeds, folder):
    found = {}
    for seed in seeds:
        shop = write_shop(make_sound_shop(seed), folder / str(seed))
        suspicions = examine(shop, settings_of(ROOT, shop))
        if suspicions:
            found[seed] = [str(one) for one in suspicions]
    return found


def test_sound_shops_raise_no_alarm(tmp_path):
    assert false_alarms(range(8), tmp_path) == {}


@pytest.mark.slow
def test_of_200_sound_shops_at_most_two_raise_an_alarm(tmp_path):
    found = false_alarms(range(1000, 1200), tmp_path)
    assert len(found) <= MOST_FALSE_ALARMS * 200, found


@pytest.mark.slow
@pytest.mark.parametrize(
    "import_trial, source", [(import_hillstrom, "hillstrom"), (import_starbucks, "starbucks_rewards")]
)
def test_public_trials_raise_no_alarm(public_data, tmp_path, import_trial, source):
    import_trial(public_data / source, tmp_path)
    assert examine(tmp_path, settings_of(ROOT, tmp_path)) == ()


@pytest.mark.parametrize("services", ["ab", "abc"])
def test_the_checkerboard_raises_no_alarm(tmp_path, services):
    folder = write_checkerboard(tmp_path / "shop", services)
    assert examine(folder, settings_of(ROOT, folder)) == ()


def champion_bytes(home):
    link = home / "var" / "champion"
    return link.readlink(), read_champion(home / "var").name, folder_bytes(link), registered_champion(home)


@pytest.mark.slow
@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.kind)
def test_a_training_on_poison_says_so_and_the_champion_stays_as_it_is(trained, home, shops, poison):
    install_champion(Path(trained.first["path"]), home / "var")
    tracking.set_champion_alias(home, trained.first["bundle"])
    before = champion_bytes(home)
    folder = spoiled(shops, poison, home / "var" / "poisoned")
    settings = settings_of(home, folder)
    settings = replace(settings, training=replace(settings.training, trials=0))
    if poison.warning is None:
        runs = tracking.runs(home)
        with pytest.raises(ValueError, match=poison.says):
            train(folder, home, settings, "poisoned", seed=1)
        assert tracking.runs(home) == runs
    else:
        training = train(folder, home, settings, "poisoned", seed=1)
        assert named(poison, training.suspicions)
        run = tracking.find_run(home, training.run_id)
        assert f"{poison.warning}, {poison.where}" in run.tags["suspicions"]
        page = unescape(training.report.read_text(encoding="utf-8"))
        assert f"<code>{poison.warning}</code>" in page and ADVICE[poison.warning][1] in page
    assert champion_bytes(home) == before


# What models refuse whoever calls them: one row in three shows nothing, a and b have the others.
N = 300
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
SERVICE = np.arange(N) % 3 - 1
PROPENSITY = np.full((N, 3), 1 / 3)
Y = RNG.exponential(size=N)
UPTAKE = ((SERVICE >= 0) & (RNG.random(N) < 0.3)) * 1.0
SOUND = {"X": X, "service": SERVICE, "propensity": PROPENSITY, "y": Y, "uptake": UPTAKE}


def with_value(array, value, where=(0,)):
    spoiled = np.array(array, np.float64)
    spoiled[where] = value
    return spoiled


@pytest.mark.parametrize(
    "fault, message",
    [
        ({"y": with_value(Y, np.nan)}, "y must be finite, got nan in row 0: leave out what is unknown"),
        ({"y": with_value(Y, np.inf)}, "y must be finite, got inf in row 0"),
        ({"y": np.ones(N)}, "y must vary, got 1 in all 300 rows"),
        ({"y": Y[:-1]}, r"y must have the shape \(300,\) as X has rows"),
        ({"uptake": with_value(UPTAKE, np.nan)}, "uptake must be finite, got nan in row 0"),
        ({"uptake": 2 * UPTAKE}, "uptake must be 0 or 1, got 2"),
        ({"uptake": np.zeros(N)}, "uptake must hold both 0 and 1 where a service was shown, got 0"),
        ({"uptake": np.ones(N)}, "uptake must hold both 0 and 1 where a service was shown, got 1"),
        ({"service": np.abs(SERVICE)}, "service must hold -1 for some rows"),
        ({"service": np.full(N, -1)}, "service must hold rows where a service was shown, got none"),
        ({"service": SERVICE + 1}, "service must be -1 .nothing. to 1, got 0 to 2"),
        ({"propensity": PROPENSITY * 1.2}, "Each row of propensity must sum to 1, got 1.2 in row 0"),
        ({"propensity": PROPENSITY - 0.5}, "propensity must be between 0 and 1"),
        ({"propensity": with_value(PROPENSITY, np.nan)}, "propensity must be between 0 and 1, got NaN"),
        ({"propensity": np.tile([0.5, 0.5, 0], (N, 1))}, "propensity must be above 0 for what was shown"),
        ({"propensity": np.tile([0, 0.5, 0.5], (N, 1))}, "propensity must be above 0 for what was shown"),
        ({"X": with_value(X, np.inf)}, "X must be finite or NaN"),
        (
            {name: array[:0] for name, array in SOUND.items()},
            "service must hold rows where a service was shown",
        ),
        ({name: array[1:2] for name, array in SOUND.items()}, "y must vary, got .* in all 1 rows"),
    ],
)
def test_the_uplift_model_refuses_what_cannot_be(fault, message):
    given = {**SOUND, **fault}
    with pytest.raises(ValueError, match=message):
        UpliftModel(seed=0, n_jobs=1).fit(**given)


@pytest.mark.parametrize(
    "uptake, message",
    [
        (
            with_value(UPTAKE, np.nan, np.flatnonzero(SERVICE >= 0)[:1]),
            "uptake must be finite, got nan in row 0",
        ),
        (2 * UPTAKE, "uptake must be 0 or 1, got 2"),
        (np.zeros(N), "uptake must hold both 0 and 1"),
    ],
)
def test_the_uptake_model_refuses_what_cannot_be(uptake, message):
    offered = SERVICE >= 0
    with pytest.raises(ValueError, match=message):
        UptakeModel(seed=0, n_jobs=1).fit(X[offered], SERVICE[offered], np.asarray(uptake)[offered], 2)
