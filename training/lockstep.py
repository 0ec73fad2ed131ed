"""One LightGBM model a fold, grown side by side on one binned dataset, judged by its fold."""

import os

# Read when LightGBM loads OpenMP. By default a thread that waits for the others keeps its processor
# busy: on a shared machine that makes a fit ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any, TypeVar

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from training.exposure_log import N_FOLDS

Floats = NDArray[np.float64]
T = TypeVar("T")

# No sparse bins: with them, training on subsets of rows corrupts memory in LightGBM 4.7, which ends in "Check
# failed: (best_split_info.left_count) > (0)" or kills the process; without them it does not.
BIN_PARAMETERS = {
    "max_bin": 63,
    "bin_construct_sample_cnt": 20_000,
    "feature_pre_filter": False,
    "is_enable_sparse": False,
}
_FEW_ROWS = 100_000  # a model of fewer grows faster on one thread: threads then grow the folds
_AT_ONCE = 5  # rounds that a thread grows before the folds are compared


@dataclass(frozen=True)
class LearnerSettings:
    """What is tuned: the size of the trees and how far each is trusted."""

    leaves: int = 7  # most leaves of a tree
    learning_rate: float = 0.1
    min_rows: int = 200  # fewest rows in a leaf
    l2: float = 10.0  # penalty on a leaf's value, in rows
    max_rounds: int = 200
    patience: int = 12  # rounds without a better held-out loss before stopping

    def __post_init__(self) -> None:
        if self.leaves < 2:
            raise ValueError(f"leaves must be at least 2, got {self.leaves}.")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate must be above 0 and at most 1, got {self.learning_rate}.")
        for name in ("min_rows", "max_rounds", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.l2 < 0:
            raise ValueError(f"l2 must not be negative, got {self.l2}.")

    def parameters(self, objective: str, seed: int, **further: Any) -> dict[str, Any]:
        """LightGBM's parameters."""
        return {
            "objective": objective,
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_rows,
            "lambda_l2": self.l2,
            "feature_fraction": 0.8,
            "cat_smooth": 50,
            "cat_l2": 50,
            "boost_from_average": False,
            "deterministic": True,
            "force_col_wise": True,
            "seed": seed,
            "verbosity": -1,
            **BIN_PARAMETERS,
            **further,
        }


DEFAULTS = LearnerSettings()


@dataclass(frozen=True)
class Split:
    """The rows that teach the model of one fold, and those that judge it; both rise."""

    learned: NDArray[np.intp]
    held_out: NDArray[np.intp]


def split(fold: NDArray[np.intp], rows: NDArray[np.intp] | None = None) -> list[Split]:
    """The split of every fold, of all rows or of some, which rise.

    Examples
    --------
    >>> split(np.array([0, 1, 2, 0]))[0].learned.tolist()
    [1, 2]
    """
    some = np.arange(len(fold)) if rows is None else rows
    of_row = fold[some]
    return [Split(some[of_row != k], some[of_row == k]) for k in range(N_FOLDS)]


@dataclass(frozen=True)
class Labels:
    """What the models learn, row by row of the dataset."""

    y: NDArray
    starts: Sequence[Floats]  # raw scores to begin from: those of fold k never saw it
    weight: Floats | None = None


def grow_folds(
    whole: lgb.Dataset,
    splits: Sequence[Split],
    labels: Labels,
    parameters: Mapping[str, Any],
    most_rounds: int,
    n_jobs: int,
    patience: int | None = None,
) -> tuple[Floats, list[lgb.Booster]]:
    """The mean held-out loss after each round, and the boosters, which may have grown some rounds longer.

    Stops after `patience` rounds without a better loss, or else after `most_rounds`. The losses and the
    trees of each round do not depend on the number of threads.
    """
    own = {**parameters, "num_threads": threads_within(len(labels.y), n_jobs)}
    aside = len(labels.y) <= _FEW_ROWS and n_threads(n_jobs) > 1
    whole.construct()
    losses = np.empty(0)
    with ThreadPoolExecutor(len(splits) if aside else 1, initializer=_quieten) as workers:
        begun = [workers.submit(_begin, whole, one, labels, k, own) for k, one in enumerate(splits)]
        boosters = [one.result() for one in begun]
        while len(losses) < most_rounds:
            n = min(_AT_ONCE if aside else 1, most_rounds - len(losses))
            of_folds = list(workers.map(_update, boosters, repeat(n)))
            losses = np.concatenate([losses, np.mean(of_folds, axis=0)])
            if patience is not None and (end := _stop(losses, patience)):
                return losses[:end], boosters
    return losses, boosters


def at_once(n_rows: int, n_jobs: int, works: Sequence[Callable[[int], T]]) -> list[T]:
    """What each piece of work returns, told how many jobs it has; where rows are few they go side by side.

    Side by side each has one job: LightGBM has one number of threads for the whole process, which must not
    change while a model grows.

    Examples
    --------
    >>> at_once(10, 2, [lambda n_jobs: n_jobs, lambda n_jobs: -n_jobs])
    [1, -1]
    """
    if n_rows > _FEW_ROWS or min(len(works), n_threads(n_jobs)) <= 1:
        return [work(n_jobs) for work in works]
    with ThreadPoolExecutor(n_threads(n_jobs), initializer=_quieten) as workers:
        return list(workers.map(lambda work: work(1), works))


def threads_within(n_rows: int, n_jobs: int) -> int:
    """LightGBM's threads for a model of so many rows, 0 being all: few rows grow faster on one."""
    return 1 if n_rows <= _FEW_ROWS else max(n_jobs, 0)


def n_threads(n_jobs: int) -> int:
    """Threads for a number of jobs, of which −1 means all processors.

    Examples
    --------
    >>> n_threads(3)
    3
    """
    return n_jobs if n_jobs > 0 else os.cpu_count() or 1


def _quieten() -> None:
    """LightGBM keeps its level of messages by thread, as what that thread made last asked for it."""
    lgb.Dataset(np.zeros((2, 1)), params={"verbosity": -1, "num_threads": 1}).construct()


def _stop(losses: Floats, patience: int) -> int | None:
    """After how many rounds there is no more patience; None where there still is."""
    best = 0
    for position in range(len(losses)):
        if losses[position] < losses[best]:
            best = position
        elif position - best >= patience:
            return position + 1
    return None


def _begin(
    whole: lgb.Dataset, split: Split, labels: Labels, k: int, parameters: dict[str, Any]
) -> lgb.Booster:
    threads = parameters["num_threads"]
    booster = lgb.Booster(parameters, _part(whole, split.learned, labels, k, threads))
    return booster.add_valid(_part(whole, split.held_out, labels, k, threads), "held_out")


def _part(whole: lgb.Dataset, rows: NDArray[np.intp], labels: Labels, k: int, threads: int) -> lgb.Dataset:
    part = whole.subset(rows.tolist(), {**(whole.params or {}), "num_threads": threads}).construct()
    part.set_label(labels.y[rows])
    part.set_init_score(labels.starts[k][rows])
    if labels.weight is not None:
        part.set_weight(labels.weight[rows])
    return part


def _update(booster: lgb.Booster, n_rounds: int) -> list[float]:
    losses = []
    for _ in range(n_rounds):
        booster.update()
        losses.append(booster.eval_valid()[0][2])
    return losses
