"""A small model of the uplift for each service that was shown often enough to have one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from training.boosting import DEFAULTS, CrossFit, Ensemble, LearnerSettings, cross_fit
from training.evidence import Evidence
from training.learners.pooled import effect_settings

LEAST_ROWS = 900  # a service shown less often keeps its average


@dataclass
class _PerService:
    """What both learners share: one ensemble a service, none where it was shown too seldom."""

    name: ClassVar[str]
    settings: LearnerSettings = DEFAULTS
    seed: int = 0
    n_jobs: int = -1

    def predict_uplift(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, S) deviations from the averages for features of shape (n, S, q)."""
        deviations = [
            ensemble.raw(np.ascontiguousarray(features[:, j]), self.n_jobs)
            if ensemble.booster is not None
            else np.zeros(len(features))
            for j, ensemble in enumerate(self.ensembles_)
        ]
        return np.stack(deviations, axis=1)

    def dump(self, texts: dict[str, str]) -> dict[str, Any]:
        names = [ensemble.dump(f"{self.name}_{j}", texts) for j, ensemble in enumerate(self.ensembles_)]
        return {"boosters": names}

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str], n_jobs: int) -> Self:
        learner = cls(n_jobs=n_jobs)
        learner.ensembles_ = [Ensemble.restore(name, texts) for name in state["boosters"]]
        return learner

    def _start(self, evidence: Evidence) -> None:
        self.ensembles_ = [Ensemble()] * evidence.n_services
        self.out_of_fold_ = np.zeros(len(evidence.service))

    def _settings(self, n_treated: int) -> LearnerSettings:
        settings = effect_settings(self.settings)
        return replace(settings, min_rows=int(min(settings.min_rows, max(50, n_treated // 30))))


@dataclass
class PerServiceX(_PerService):
    """X-learner of each service alone: outcome less baseline on the rows where it was shown."""

    name: ClassVar[str] = "service_x"

    def fit(self, evidence: Evidence) -> "PerServiceX":
        """Learn from each service's treated pairs; sets `out_of_fold_`, the deviation of each pair."""
        self._start(evidence)
        for j, treated, others in _enough(evidence):
            learned = cross_fit(
                evidence.data.take(treated),
                evidence.baseline_residual[treated],
                evidence.fold[treated],
                evidence.average[treated],
                "regression",
                self._settings(len(treated)),
                self.seed,
                self.n_jobs,
                weight=evidence.weight[treated],
            )
            self.ensembles_[j] = learned.ensemble
            self.out_of_fold_[treated] = learned.out_of_fold
            self.out_of_fold_[others] = learned.raw_by_fold(
                evidence.data.features[others], evidence.fold[others], self.n_jobs
            )
        return self


@dataclass
class PerServiceR(_PerService):
    """R-learner of each service alone: the R-loss over its treated pairs and the holdout's.

    References
    ----------
    Nie and Wager (2021), Quasi-oracle estimation of heterogeneous treatment effects.
    """

    name: ClassVar[str] = "service_r"

    def fit(self, evidence: Evidence) -> "PerServiceR":
        """Learn from each service's pairs; sets `out_of_fold_`, the deviation of each pair."""
        self._start(evidence)
        for j, treated, others in _enough(evidence):
            rows = np.concatenate([treated, others])
            learned = self._fit_one(evidence, np.sort(rows), len(treated))
            self.ensembles_[j] = learned.ensemble
            self.out_of_fold_[np.sort(rows)] = learned.out_of_fold
        return self

    def _fit_one(self, evidence: Evidence, rows: NDArray[np.intp], n_treated: int) -> CrossFit:
        treatment_residual = evidence.treatment_residual[rows]
        return cross_fit(
            evidence.data.take(rows),
            evidence.outcome_residual[rows] / treatment_residual,
            evidence.fold[rows],
            evidence.average[rows],
            "regression",
            self._settings(n_treated),
            self.seed,
            self.n_jobs,
            weight=evidence.weight[rows] * treatment_residual**2,
        )


def _enough(evidence: Evidence) -> list[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
    """Each service shown at least LEAST_ROWS times, with its treated pairs and its others."""
    found = []
    for j in range(evidence.n_services):
        of_service = evidence.service == j
        treated = np.flatnonzero(of_service & evidence.treated)
        if len(treated) >= LEAST_ROWS:
            found.append((j, treated, np.flatnonzero(of_service & ~evidence.treated)))
    return found
