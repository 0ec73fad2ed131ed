"""Real trials as tasks: Kevin Hillstrom's e-mails, and the Starbucks rewards offers wave by wave.

A seed deals the customers anew, so splits of one data set share customers: the standard error over
splits tells how much the dealing matters, not how another trial would come out.
"""

import tempfile
import tomllib
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.hillstrom import Trial, public_data, read_trial
from benchmarks.uplift.tasks import Task
from features.importers.hillstrom import PROPENSITY
from features.importers.starbucks import import_starbucks
from offers.settings import parse_settings
from training.dataset import Dataset
from training.source import read_source

HILLSTROM_TRAIN_SHARE = 0.7  # 44,800 of the 64,000 customers
STARBUCKS_TRAIN_SHARE = 0.7  # of the users
STARBUCKS_TRAIN_WAVES = 4  # the earliest; the last two are kept for the others of the users


def hillstrom_task(outcome: Literal["visit", "conversion", "spend"], family: str, seed: int) -> Task:
    """70 % of the customers to learn from, the others to be judged on."""
    return split_hillstrom(_hillstrom(), outcome, family, seed)


def split_hillstrom(trial: Trial, outcome: str, family: str, seed: int) -> Task:
    order = np.random.default_rng(seed).permutation(len(trial.service))
    train, test = np.split(order, [round(HILLSTROM_TRAIN_SHARE * len(order))])
    y = getattr(trial, outcome)
    propensity = np.full((len(order), len(trial.services) + 1), PROPENSITY)
    X = trial.X.astype(np.float32)
    return Task(
        name=family,
        seed=seed,
        X=X[train],
        categorical=trial.categorical,
        service=trial.service[train],
        propensity=propensity[train],
        y=y[train],
        uptake=None,
        X_test=X[test],
        service_test=trial.service[test],
        propensity_test=propensity[test],
        y_test=y[test],
    )


def starbucks_task(outcome: Literal["repurchase", "margin"], family: str, seed: int) -> Task:
    """The first waves of 70 % of the users to learn from, the last waves of the others to be judged on."""
    return split_starbucks(_starbucks(), outcome, family, seed)


@dataclass(frozen=True)
class Waves:
    """The offers of all waves whose windows closed; `wave` counts from 0."""

    rows: Dataset
    wave: NDArray[np.intp]
    propensity: NDArray[np.float64]
    attributes: NDArray[np.float64]
    margin_cap_quantile: float


def read_waves(source: Path) -> Waves:
    """The rewards data, through the data folder that `perkwise import starbucks` writes."""
    with tempfile.TemporaryDirectory() as folder:
        import_starbucks(source, Path(folder))
        settings = parse_settings(tomllib.loads((Path(folder) / "perkwise.toml").read_text("utf-8")))
        rows = read_source(Path(folder), settings).dataset.single()
    categories = sorted({one.category for one in rows.catalog.services})
    return Waves(
        rows=rows,
        wave=np.unique(rows.shown_at_us, return_inverse=True)[1],
        propensity=rows.propensities(seed=0),
        attributes=np.array(
            [[categories.index(one.category), 0, one.unit_cost] for one in rows.catalog.services]
        ),
        margin_cap_quantile=settings.money.margin_cap_quantile,
    )


def split_starbucks(waves: Waves, outcome: str, family: str, seed: int) -> Task:
    """Margins are capped at the training rows' quantile, and net of the rewards that were paid out."""
    rows = waves.rows
    users = np.unique(rows.user)
    learns = np.zeros(users.max() + 1, bool)
    n_learning = round(STARBUCKS_TRAIN_SHARE * len(users))
    learns[np.random.default_rng(seed).permutation(users)[:n_learning]] = True
    train = learns[rows.user] & (waves.wave < STARBUCKS_TRAIN_WAVES)
    test = ~learns[rows.user] & (waves.wave >= STARBUCKS_TRAIN_WAVES)
    if outcome == "margin":
        capped = rows.capped(float(np.quantile(rows.margin[train], waves.margin_cap_quantile)))
        y = capped.net_margin()
    else:
        y = rows.repurchase
    return Task(
        name=family,
        seed=seed,
        X=rows.X[train],
        categorical=rows.categorical,
        service=rows.service[train].astype(np.intp),
        propensity=waves.propensity[train],
        y=y[train],
        uptake=rows.uptake[train],
        X_test=rows.X[test],
        service_test=rows.service[test].astype(np.intp),
        propensity_test=waves.propensity[test],
        y_test=y[test],
        attributes=waves.attributes,
    )


@lru_cache(maxsize=1)
def _hillstrom() -> Trial:
    return read_trial(public_data() / "hillstrom")


@lru_cache(maxsize=1)
def _starbucks() -> Waves:
    return read_waves(public_data() / "starbucks_rewards")


REAL = {
    "hillstrom-visit": partial(hillstrom_task, "visit"),
    "hillstrom-conversion": partial(hillstrom_task, "conversion"),
    "hillstrom-spend": partial(hillstrom_task, "spend"),
    "starbucks-repurchase": partial(starbucks_task, "repurchase"),
    "starbucks-margin": partial(starbucks_task, "margin"),
}
