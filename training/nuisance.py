"""mu0: what a user's outcome would be with nothing shown, learned from the holdout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.boosting import (
    Binned,
    Ensemble,
    LearnerSettings,
    Objective,
    cross_fit,
    is_binary,
    logit,
    sigmoid,
)


@dataclass(frozen=True)
class Baseline:
    """E[outcome | nothing shown, x] as an ensemble over the holdout's folds."""

    objective: Objective
    start: float  # raw score of the holdout's mean
    ensemble: Ensemble

    def predict(self, features: NDArray[np.float32], n_jobs: int = -1) -> NDArray[np.float64]:
        """(n,) on the outcome's own scale."""
        return self._link(self.start + self.ensemble.raw(features, n_jobs))

    def _link(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        return sigmoid(raw) if self.objective == "binary" else raw

    def dump(self, name: str, texts: dict[str, str]) -> dict[str, Any]:
        return {
            "objective": self.objective,
            "start": self.start,
            "booster": self.ensemble.dump(name, texts),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str]) -> "Baseline":
        return cls(state["objective"], state["start"], Ensemble.restore(state["booster"], texts))


def fit_baseline(
    features: NDArray[np.float32],
    y: NDArray[np.float64],
    held_out: NDArray[np.bool_],
    fold: NDArray[np.intp],
    categorical: Sequence[int],
    settings: LearnerSettings,
    seed: int,
    n_jobs: int,
) -> tuple[Baseline, NDArray[np.float64]]:
    """The baseline, and its (n,) predictions for every training row, none by a model that saw the row.

    Parameters
    ----------
    features : ndarray of shape (n, p)
        Rows shown and held out.
    y : ndarray of shape (n,)
        Outcome; binary when it holds 0 and 1 alone.
    held_out : ndarray of shape (n,)
        True where nothing was shown.
    """
    objective: Objective = "binary" if is_binary(y) else "regression"
    rows = np.flatnonzero(held_out)
    mean = float(y[rows].mean())
    start = logit(mean) if objective == "binary" else mean
    data = Binned.of(features[rows], categorical, n_jobs)
    learned = cross_fit(
        data, y[rows], fold[rows], np.full(len(rows), start), objective, settings, seed, n_jobs
    )
    baseline = Baseline(objective, start, learned.ensemble)
    predicted = baseline.predict(features, n_jobs)
    predicted[rows] = baseline._link(start + learned.out_of_fold)
    return baseline, predicted
