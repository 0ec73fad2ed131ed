"""Uptake as a stand-in for the uplift: who uses a service more gains more by it, in one proportion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.evidence import Evidence


@dataclass
class UptakeUplift:
    """The uptake's uplift less its mean for the service, scaled by one non-negative number."""

    name: ClassVar[str] = "uptake"

    def fit(self, evidence: Evidence) -> "UptakeUplift":
        """Learn the scale that minimises the R-loss; sets `out_of_fold_`, the deviation of each pair."""
        if evidence.uptake_column is None:
            raise ValueError("evidence must hold the uptake uplift, got none: fit with uptake=….")
        self.column_ = evidence.uptake_column
        uptake = evidence.data.features[:, self.column_].astype(np.float64)
        count = np.bincount(evidence.service, minlength=evidence.n_services)
        total = np.bincount(evidence.service, uptake, minlength=evidence.n_services)
        self.centre_ = np.where(count > 0, total / np.maximum(count, 1), uptake.mean())
        deviation = uptake - self.centre_[evidence.service]
        self.scale_ = _slope(deviation * evidence.treatment_residual, evidence.remainder, evidence.weight)
        self.out_of_fold_ = self.scale_ * deviation
        return self

    def predict_uplift(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, S) deviations from the averages for features of shape (n, S, q)."""
        return self.scale_ * (features[:, :, self.column_].astype(np.float64) - self.centre_)

    def dump(self, texts: dict[str, str]) -> dict[str, Any]:
        return {"column": self.column_, "scale": self.scale_, "centre": self.centre_.tolist()}

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str], n_jobs: int) -> "UptakeUplift":
        learner = cls()
        learner.column_, learner.scale_ = state["column"], state["scale"]
        learner.centre_ = np.array(state["centre"])
        return learner


def _slope(x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """The non-negative weighted least-squares slope through the origin; 0 when x does not vary."""
    square = float(np.sum(weight * x * x))
    return max(0.0, float(np.sum(weight * x * y)) / square) if square > 0 else 0.0
