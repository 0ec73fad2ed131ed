"""What a user's outcome would be with nothing shown, learned from the rows of all arms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.attribution import Attribution
from training.boosting import Binned, Ensemble, Objective, cross_fit, is_binary, logit, sigmoid
from training.lockstep import LearnerSettings

_PRIOR_ROWS = 200.0  # by which an arm's level leans on the level of all


@dataclass(frozen=True)
class Baseline:
    """E[outcome | nothing shown, x] where no user deviates from the services' average effects."""

    objective: Objective
    start: float  # raw score of the mean with nothing shown
    ensemble: Ensemble

    def predict(self, features: NDArray[np.float32], n_jobs: int = -1) -> NDArray[np.float64]:
        """(n,) on the outcome's own scale."""
        return self._link(self.start + self.ensemble.raw(features, n_jobs))

    def explain(self, features: NDArray[np.float32], n_jobs: int = -1) -> Attribution:
        """What each column adds to the baseline, base (n,) and contributions (n, p)."""
        found = self.ensemble.explain(features, n_jobs)
        return Attribution(self.start + found.base, found.contributions).through(self._link)

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
    service: NDArray[np.intp],
    fold: NDArray[np.intp],
    categorical: Sequence[int],
    settings: LearnerSettings,
    seed: int,
    n_jobs: int,
) -> tuple[Baseline, NDArray[np.float64]]:
    """The baseline, and its (n,) predictions for the training rows, none by a model that saw the row.

    The rows where something was shown teach it too: each starts at the level of its own arm, so that what
    is learned of users is common to all arms. A baseline of the holdout alone, a seventh of the rows, errs
    by more than most uplifts, and its error, which all services share, would pass for an effect.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Outcome; binary when it holds 0 and 1 alone.
    service : ndarray of shape (n,)
        −1 where nothing was shown; some rows must be such.
    """
    objective: Objective = "binary" if is_binary(y) else "regression"
    levels = _arm_levels(y, service)
    starts = np.array([logit(level) for level in levels]) if objective == "binary" else levels
    data = Binned.of(features, categorical, n_jobs)
    learned = cross_fit(data, y, fold, starts[service + 1], objective, settings, seed, n_jobs)
    baseline = Baseline(objective, float(starts[0]), learned.ensemble)
    return baseline, baseline._link(starts[0] + learned.out_of_fold)


def _arm_levels(y: NDArray[np.float64], service: NDArray[np.intp]) -> NDArray[np.float64]:
    """(n_arms,) mean outcome of nothing, then of each service, smoothed toward that of all services."""
    count = np.bincount(service + 1)
    total = np.bincount(service + 1, y)
    levels = total / np.maximum(count, 1)
    if len(count) > 1:
        of_all = total[1:].sum() / count[1:].sum()
        levels[1:] = (total[1:] + _PRIOR_ROWS * of_all) / (count[1:] + _PRIOR_ROWS)
    return levels
