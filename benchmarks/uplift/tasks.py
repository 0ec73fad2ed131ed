"""What a learner is given and what it is judged on, whether the rows are real or made."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DEVELOPMENT_SEEDS = range(0, 100)  # what the design may be chosen on
REPORTED_SEEDS = range(100, 200)  # what is reported: looked at only when the design stands


@dataclass(frozen=True)
class Lists:
    """Logged lists of two services or more, drawn beside the rows of one service or nothing."""

    X: NDArray[np.float32]  # (n, p)
    slates: NDArray[np.intp]  # (n, longest) services in the order shown, -1 pads
    propensity: Floats  # (n,) of exactly this list among all lists
    y: Floats  # (n,)
    uptake: Floats  # (n, longest) 1 at the place of the service that was taken


@dataclass(frozen=True)
class UptakeColumn:
    """P(used | offered) of every user and service, predicted out of fold: a feature to learn from."""

    train: NDArray[np.float32]  # (n, S)
    test: NDArray[np.float32]  # (n_test, S)
    fit_cpu_seconds: float
    predict_cpu_seconds: float  # of the test users


@dataclass(frozen=True)
class Task:
    """Rows to learn from, and users to predict the uplift of.

    Attributes
    ----------
    X, X_test : float32 arrays of shape (n, p) and (n_test, p)
        Features; NaN is "unknown".
    categorical : tuple of int
        Columns of X that hold category codes.
    service : int array of shape (n,)
        What was shown, −1 for nothing.
    propensity : array of shape (n, S + 1)
        The known probability of each action, nothing first.
    y : array of shape (n,)
        Outcome, 0 and 1 or money; larger is better.
    uptake : array of shape (n,), optional
        1 where the service shown was taken up, else 0; None where it is not logged or withheld.
    uplift_test : array of shape (n_test, S), optional
        The truth, where the rows are made; None for real data.
    service_test, propensity_test, y_test : arrays, optional
        What was logged of the test rows, where there is no truth.
    attributes : array of shape (S, k), optional
        What is known of the services: category code, scenario code, cost in the columns.
    lists : Lists, optional
        Further rows for learners that can read them.
    uptake_column : UptakeColumn, optional
        For learners that can take the uptake as a feature and in no other way.
    """

    name: str
    seed: int
    X: NDArray[np.float32]
    categorical: tuple[int, ...]
    service: NDArray[np.intp]
    propensity: Floats
    y: Floats
    uptake: Floats | None
    X_test: NDArray[np.float32]
    uplift_test: Floats | None = None
    service_test: NDArray[np.intp] | None = None
    propensity_test: Floats | None = None
    y_test: Floats | None = None
    attributes: Floats | None = None
    lists: Lists | None = None
    uptake_column: UptakeColumn | None = None

    @property
    def n_services(self) -> int:
        return self.propensity.shape[1] - 1

    def without_uptake(self) -> "Task":
        """The same task with the uptake withheld, in lists too."""
        return replace(self, uptake=None, lists=None, uptake_column=None)


ATTRIBUTES = ("category", "scenario", "cost")  # columns of `Task.attributes`


def share_of_oracle(predicted: Floats, uplift: Floats) -> float:
    """What the policy "the greatest predicted uplift, or nothing" wins of what the best policy would win.

    Examples
    --------
    >>> truth = np.array([[1.0, 2.0], [-1.0, -3.0]])
    >>> share_of_oracle(np.array([[1.0, 0.5], [-1.0, -1.0]]), truth)
    0.5
    """
    best = predicted.argmax(axis=1)
    offered = np.take_along_axis(predicted, best[:, None], axis=1)[:, 0] > 0
    won = np.where(offered, np.take_along_axis(uplift, best[:, None], axis=1)[:, 0], 0.0)
    return float(won.mean() / np.maximum(uplift.max(axis=1), 0).mean())


def save_task(task: Task, path: Path) -> None:
    """Write a task as one .npz file, by which processes hand it on."""
    arrays = {name: value for name, value in vars(task).items() if isinstance(value, np.ndarray)}
    for part in _PARTS:
        if getattr(task, part):
            arrays |= {f"{part}.{name}": value for name, value in vars(getattr(task, part)).items()}
    np.savez(path, name=task.name, seed=task.seed, categorical=np.array(task.categorical, int), **arrays)


def load_task(path: Path) -> Task:
    """The task that `save_task` wrote."""
    with np.load(path) as stored:
        arrays = {name: value if value.ndim else value.item() for name, value in stored.items()}
    for part, kind in _PARTS.items():
        own = {name: arrays.pop(name) for name in list(arrays) if name.startswith(f"{part}.")}
        if own:
            arrays[part] = kind(**{name.removeprefix(f"{part}."): value for name, value in own.items()})
    categorical = tuple(arrays.pop("categorical").tolist())
    return Task(categorical=categorical, **{"uptake": None, **arrays})


_PARTS = {"lists": Lists, "uptake_column": UptakeColumn}
