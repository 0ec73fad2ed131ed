"""Uptake as a guide to the uplift: who uses a service more gains by it in proportion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.attribution import Attribution
from training.effect_features import Known, Sources
from training.evidence import Evidence
from training.exposure_log import N_FOLDS
from training.shrinkage import shrink

_LEAST_UPTAKE = 0.01
_PRIOR_SD = (0.3, 1.0)  # of the common gain a use, in units of the usual one, and of the share from averages


@dataclass
class UptakeProportion:
    """Deviation = gain a use of the service × (uptake uplift − its mean for the service).

    A service's gain a use leans on what its averages say, average uplift / mean uptake, as far as that holds
    for the services together; it departs from there by its own evidence (empirical Bayes).
    """

    name: ClassVar[str] = "uptake"

    def fit(self, evidence: Evidence) -> "UptakeProportion":
        """Learn each service's gain a use; sets `out_of_fold_`, the deviation of each pair."""
        if evidence.uptake_column is None:
            raise ValueError("evidence must hold the uptake uplift, got none: fit with uptake=….")
        uptake = evidence.data.features[:, evidence.uptake_column].astype(np.float64)
        count = np.bincount(evidence.service, minlength=evidence.n_services)
        total = np.bincount(evidence.service, uptake, minlength=evidence.n_services)
        self.centre_ = np.where(count > 0, total / np.maximum(count, 1), uptake.mean())
        usual = evidence.average / np.maximum(self.centre_, _LEAST_UPTAKE)
        deviation = uptake - self.centre_[evidence.service]
        moments = _moments(evidence, deviation)
        gains = [_gains_per_use(np.delete(moments, k, axis=1), usual) for k in range(N_FOLDS)]
        self.gain_per_use_ = _gains_per_use(moments, usual)
        self.out_of_fold_ = np.stack(gains)[evidence.fold, evidence.service] * deviation
        return self

    def predict_uplift(self, known: Known) -> NDArray[np.float64]:
        """(n, S) deviations from the averages."""
        assert known.uptake is not None
        return self.gain_per_use_ * (known.uptake.astype(np.float64) - self.centre_)

    def explain(self, sources: Sources) -> Attribution:
        """The same for some services, taken apart."""
        gain, centre = self.gain_per_use_[sources.services], self.centre_[sources.services]
        uptake = sources.derived(sources.n_columns + 1)
        return Attribution(uptake.base - centre, uptake.contributions).times(gain)

    def dump(self, texts: dict[str, str]) -> dict[str, Any]:
        return {"gain_per_use": self.gain_per_use_.tolist(), "centre": self.centre_.tolist()}

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str], n_jobs: int) -> "UptakeProportion":
        learner = cls()
        learner.gain_per_use_, learner.centre_ = np.array(state["gain_per_use"]), np.array(state["centre"])
        return learner


def _moments(evidence: Evidence, deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, N_FOLDS, S) sums of x² and x·target in units of the noise, x = multiplier × deviation."""
    x = evidence.multiplier * deviation
    noise = np.average(evidence.target**2, weights=evidence.weight) or 1.0
    cell = evidence.fold * evidence.n_services + evidence.service
    sums = [
        np.bincount(cell, evidence.weight * x * other, N_FOLDS * evidence.n_services) / noise
        for other in (x, evidence.target)
    ]
    return np.stack(sums).reshape(2, N_FOLDS, evidence.n_services)


def _gains_per_use(moments: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S,) from moments of some folds."""
    square, product = moments.sum(axis=1)
    design = np.stack([np.ones(len(usual)), usual])
    scale = np.abs(usual).mean() or 1.0
    penalty = np.diag([(_PRIOR_SD[0] * scale) ** -2, _PRIOR_SD[1] ** -2])
    common = design.T @ np.linalg.solve((design * square) @ design.T + penalty, design @ product)
    seen = square > 0
    left = np.where(seen, product / np.where(seen, square, 1.0) - common, 0.0)
    own = np.zeros(len(usual))
    own[seen], _ = shrink(left[seen], 1 / square[seen], mean=0.0)
    return common + own
