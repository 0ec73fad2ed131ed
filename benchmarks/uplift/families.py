"""The families of tasks by name: the same name and seed give the same rows, bit for bit."""

import zlib
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.uplift.shop import shop_task
from benchmarks.uplift.splits import REAL
from benchmarks.uplift.tasks import Task
from benchmarks.uplift.trials import draw_trial_task, make_trial
from benchmarks.uplift.worlds import Kind, Outcome, draw_task, make_world


def make_task(family: str, seed: int) -> Task:
    """The task of a family, made or dealt from real rows.

    Examples
    --------
    >>> make_task("uptake-12", 0).propensity.shape
    (60000, 13)
    """
    if family in REAL:
        return REAL[family](family, seed)
    if family not in MADE:
        raise LookupError(f"family must be one of {', '.join([*MADE, *REAL])}, got {family!r}.")
    rng = np.random.default_rng([seed, zlib.crc32(family.encode())])
    return MADE[family](family, seed, rng)


def _world(
    kind: Kind, n_services: int, outcome: Outcome, family: str, seed: int, rng: np.random.Generator
) -> Task:
    return draw_task(make_world(kind, n_services, outcome, rng), family, seed, rng)


def _trial(family: str, seed: int, rng: np.random.Generator) -> Task:
    return draw_trial_task(make_trial(rng), family, seed, rng)


MADE: dict[str, Callable[[str, int, np.random.Generator], Task]] = {
    "uptake-12": partial(_world, "uptake", 12, "repurchase"),
    "uptake-35": partial(_world, "uptake", 35, "repurchase"),
    "direct-12": partial(_world, "direct", 12, "repurchase"),
    "direct-35": partial(_world, "direct", 35, "repurchase"),
    "uptake-12-margin": partial(_world, "uptake", 12, "margin"),
    "uptake-35-margin": partial(_world, "uptake", 35, "margin"),
    "few": _trial,
    "shop-12": partial(shop_task, 12, "repurchase"),
    "shop-35": partial(shop_task, 35, "repurchase"),
    "shop-12-margin": partial(shop_task, 12, "margin"),
    "shop-35-margin": partial(shop_task, 35, "margin"),
}
