"""Uplift in proportion to the baseline: who comes back more often is also moved more often."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.attribution import Attribution
from training.boosting import sigmoid
from training.effect_features import Known, Sources
from training.evidence import Evidence

_LEAST = 1e-5  # of a baseline, so that its logit stays finite
_SOME_ROWS = 5_000  # on which factors are found
_BISECTIONS = 40


@dataclass
class BaselineProportion:
    """Each service changes everybody's outcome by one factor: of the odds where it is 0 or 1, else of itself.

    The factor is the one that gives the service's average uplift.
    """

    name: ClassVar[str] = "baseline"

    def fit(self, evidence: Evidence) -> "BaselineProportion":
        """Find each service's factor; sets `out_of_fold_`, the deviation of each pair."""
        self.column_ = evidence.data.features.shape[1] - 1 - (evidence.uptake_column is not None)
        self.binary_ = evidence.binary
        baseline = evidence.data.features[:, self.column_].astype(np.float64)
        some = baseline[:: max(1, len(baseline) // _SOME_ROWS)]
        if self.binary_:
            self.factor_ = np.array([_log_odds_ratio(some, average) for average in evidence.average])
        else:
            mean = some.mean()
            self.factor_ = evidence.average / mean if mean > 0 else np.zeros(evidence.n_services)
        self.centre_ = np.array([self._uplift(some, factor).mean() for factor in self.factor_])
        position = evidence.service
        self.out_of_fold_ = self._uplift(baseline, self.factor_[position]) - self.centre_[position]
        return self

    def predict_uplift(self, known: Known) -> NDArray[np.float64]:
        """(n, S) deviations from the averages."""
        return self._uplift(known.column(self.column_), self.factor_) - self.centre_

    def explain(self, sources: Sources) -> Attribution:
        """The same for some services, taken apart."""
        factor, centre = self.factor_[sources.services], self.centre_[sources.services]
        return sources.derived(self.column_).through(lambda baseline: self._uplift(baseline, factor) - centre)

    def _uplift(self, baseline: NDArray[np.float64], factor: NDArray[np.float64]) -> NDArray[np.float64]:
        return _odds_uplift(baseline, factor) if self.binary_ else baseline * factor

    def dump(self, texts: dict[str, str]) -> dict[str, Any]:
        return {
            "column": self.column_,
            "binary": self.binary_,
            "factor": self.factor_.tolist(),
            "centre": self.centre_.tolist(),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str], n_jobs: int) -> "BaselineProportion":
        learner = cls()
        learner.column_, learner.binary_ = state["column"], state["binary"]
        learner.factor_, learner.centre_ = np.array(state["factor"]), np.array(state["centre"])
        return learner


def _odds_uplift(baseline: NDArray[np.float64], factor: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """By how much a factor on the odds, given as its logarithm, raises a probability."""
    p = np.clip(baseline, _LEAST, 1 - _LEAST)
    return sigmoid(np.log(p) - np.log1p(-p) + factor) - p


def _log_odds_ratio(baseline: NDArray[np.float64], average: float) -> float:
    """The factor's logarithm that moves the mean by `average`, at most ±5, by bisection."""
    low, high = -5.0, 5.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _odds_uplift(baseline, middle).mean() < average:
            low = middle
        else:
            high = middle
    return (low + high) / 2
