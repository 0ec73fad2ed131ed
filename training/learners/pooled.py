"""One model of the uplift for all services, so that a service shown seldom borrows from the others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.boosting import DEFAULTS, Ensemble, LearnerSettings, cross_fit
from training.evidence import Evidence


def effect_settings(settings: LearnerSettings) -> LearnerSettings:
    """Settings of effect models: smaller, slower, more penalised; an effect is fainter than an outcome."""
    return replace(
        settings,
        leaves=max(4, settings.leaves - 2),
        learning_rate=0.8 * settings.learning_rate,
        min_rows=int(1.5 * settings.min_rows),
        l2=5 * settings.l2,
    )


@dataclass
class PooledX:
    """X-learner over all services: outcome less baseline on treated pairs, the service being a category.

    References
    ----------
    Künzel et al. (2019), Metalearners for estimating heterogeneous treatment effects.
    """

    name: ClassVar[str] = "pooled_x"
    settings: LearnerSettings = DEFAULTS
    seed: int = 0
    n_jobs: int = -1

    def fit(self, evidence: Evidence) -> "PooledX":
        """Learn from treated pairs; sets `out_of_fold_`, the deviation of each pair."""
        rows = np.flatnonzero(evidence.treated)
        others = np.flatnonzero(~evidence.treated)
        learned = cross_fit(
            evidence.data.take(rows),
            evidence.baseline_residual[rows],
            evidence.fold[rows],
            evidence.average[rows],
            "regression",
            effect_settings(self.settings),
            self.seed,
            self.n_jobs,
            weight=evidence.weight[rows],
        )
        self.ensemble_ = learned.ensemble
        self.out_of_fold_ = np.empty(len(evidence.service))
        self.out_of_fold_[rows] = learned.out_of_fold
        self.out_of_fold_[others] = learned.raw_by_fold(
            evidence.data.features[others], evidence.fold[others], self.n_jobs
        )
        return self

    def predict_uplift(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, S) deviations from the averages for features of shape (n, S, q)."""
        n, n_services, width = features.shape
        return self.ensemble_.raw(features.reshape(-1, width), self.n_jobs).reshape(n, n_services)

    def dump(self, texts: dict[str, str]) -> dict[str, Any]:
        return {"booster": self.ensemble_.dump(self.name, texts)}

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str], n_jobs: int) -> "PooledX":
        learner = cls(n_jobs=n_jobs)
        learner.ensemble_ = Ensemble.restore(state["booster"], texts)
        return learner
