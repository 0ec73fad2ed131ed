"""A small model of each service's own uplift, all grown equally long and each trusted by its evidence."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.attribution import Attribution
from training.boosting import Ensemble, Growth, grow
from training.effect_features import Known, Sources
from training.evidence import Evidence
from training.lockstep import DEFAULTS, LearnerSettings, at_once
from training.shrinkage import shrink

LEAST_ROWS = 400  # a service shown less often has no trees of its own
_CHECK_EVERY = 5  # rounds
_PRIOR_SD = 0.3  # between services' strengths, at least: some services are always easier to tell than others


def effect_settings(settings: LearnerSettings) -> LearnerSettings:
    """Settings of effect models: smaller, slower, more penalised; an effect is fainter than an outcome."""
    return replace(
        settings,
        leaves=max(3, settings.leaves // 2 + 1),
        learning_rate=0.6 * settings.learning_rate,
        min_rows=int(1.5 * settings.min_rows),
        l2=5 * settings.l2,
        max_rounds=max(_CHECK_EVERY, settings.max_rounds // 5),
    )


@dataclass
class ServiceTrees:
    """Boosted trees of each service alone.

    All services keep the same number of rounds, that of the least held-out loss of all together but at
    least half of those grown; each is then scaled by the slope of its held-out targets on its predictions,
    shrunk toward the mean slope (empirical Bayes). Where services are few, this is the R-learner of Nie and
    Wager (2021); where they are many, the X-learner of Künzel et al. (2019) with a baseline of all rows.
    """

    name: ClassVar[str] = "trees"
    settings: LearnerSettings = DEFAULTS
    seed: int = 0
    n_jobs: int = -1

    def fit(self, evidence: Evidence) -> "ServiceTrees":
        """Learn from each service's pairs; sets `out_of_fold_`, the deviation of each pair."""
        rows = _enough(evidence)
        works = [partial(self._grow, evidence, own, evidence.n_shown[j]) for j, own in rows.items()]
        growths = zip(rows, at_once(len(evidence.service), self.n_jobs, works), strict=True)
        grown = {j: growth for j, growth in growths if growth is not None}
        self.ensembles_ = [Ensemble()] * evidence.n_services
        self.strengths_ = np.zeros(evidence.n_services)
        self.out_of_fold_ = np.zeros(len(evidence.service))
        self.n_rounds_ = _best_round(grown)
        for j, growth in grown.items():
            fitted = growth.cut(self.n_rounds_, self.n_jobs)
            self.ensembles_[j], self.out_of_fold_[rows[j]] = fitted.ensemble, fitted.out_of_fold
        self.strengths_[list(grown)] = _strengths(evidence, self.out_of_fold_, list(grown))
        self.out_of_fold_ *= self.strengths_[evidence.service]
        return self

    def _grow(self, evidence: Evidence, rows: NDArray[np.intp], n_shown: int, n_jobs: int) -> Growth | None:
        settings = effect_settings(self.settings)
        settings = replace(settings, min_rows=int(min(settings.min_rows, max(40, n_shown // 25))))
        multiplier = evidence.multiplier[rows]
        return grow(
            evidence.data.take(rows),
            evidence.target[rows] / multiplier,
            evidence.fold[rows],
            settings,
            self.seed,
            n_jobs,
            weight=evidence.weight[rows] * multiplier**2,
        )

    def predict_uplift(self, known: Known) -> NDArray[np.float64]:
        """(n, S) deviations from the averages."""
        deviation = np.zeros((len(known.of_user), len(self.ensembles_)))
        pairs_of_each = known.each_pair(len(self.ensembles_))
        for j, (ensemble, pairs) in enumerate(zip(self.ensembles_, pairs_of_each, strict=True)):
            if ensemble.booster is not None and self.strengths_[j]:
                deviation[:, j] = self.strengths_[j] * ensemble.raw(pairs, self.n_jobs)
        return deviation

    def explain(self, sources: Sources) -> Attribution:
        """The same for some services, taken apart by TreeSHAP."""
        found = Attribution.nothing(sources.shape, sources.n_columns)
        for k, j in enumerate(sources.services.tolist()):
            ensemble = self.ensembles_[j]
            if ensemble.booster is not None and self.strengths_[j]:
                parts = ensemble.explain(sources.known.pairs(k), self.n_jobs).times(self.strengths_[j])
                found.base[:, k], found.contributions[:, k] = passed_on(parts, sources, k)
        return found

    def dump(self, texts: dict[str, str]) -> dict[str, Any]:
        names = [ensemble.dump(f"{self.name}_{j}", texts) for j, ensemble in enumerate(self.ensembles_)]
        return {"boosters": names, "strengths": self.strengths_.tolist()}

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str], n_jobs: int) -> "ServiceTrees":
        learner = cls(n_jobs=n_jobs)
        learner.ensembles_ = [Ensemble.restore(name, texts) for name in state["boosters"]]
        learner.strengths_ = np.array(state["strengths"])
        return learner


def passed_on(parts: Attribution, sources: Sources, k: int) -> Attribution:
    """What trees credit to columns of a pair with the k-th service, passed on to those of the profile.

    Base (n,) and contributions (n, q) in, (n,) and (n, p) out.
    """
    base, contributions = parts.base, parts.contributions[:, : sources.n_columns]
    found = Attribution(base, contributions)
    for position in range(sources.n_columns, parts.contributions.shape[1]):
        column = sources.derived(position)
        own = min(k, column.base.shape[1] - 1)  # the baseline is the same beside every service
        one = Attribution(column.base[:, own], column.contributions[:, own])
        found = found.plus(one.share(parts.contributions[:, position]))
    return found


def _enough(evidence: Evidence) -> dict[int, NDArray[np.intp]]:
    """The pairs of each service that was shown at least LEAST_ROWS times."""
    order = np.argsort(evidence.service, kind="stable")
    ends = np.searchsorted(evidence.service[order], np.arange(evidence.n_services + 1))
    often = np.flatnonzero(evidence.n_shown >= LEAST_ROWS)
    return {int(j): order[ends[j] : ends[j + 1]] for j in often}


def _best_round(grown: Mapping[int, Growth]) -> int:
    """The number of rounds at which all models together have lost least."""
    if not grown:
        return 0
    total = np.sum([growth.losses * len(growth.fold) for growth in grown.values()], axis=0)
    checked = np.arange(_CHECK_EVERY, len(total), _CHECK_EVERY)
    later = checked[2 * checked >= len(total) - 1]
    return int(later[np.argmin(total[later])]) if len(later) else len(total) - 1


def _strengths(
    evidence: Evidence, deviation: NDArray[np.float64], positions: list[int]
) -> NDArray[np.float64]:
    """The slope of target on multiplier × deviation for each of these services, shrunk toward their mean."""
    if not positions:
        return np.zeros(0)
    explained = evidence.multiplier * deviation
    n = evidence.n_services
    square = np.bincount(evidence.service, evidence.weight * explained**2, n)[positions]
    product = np.bincount(evidence.service, evidence.weight * explained * evidence.target, n)[positions]
    noise = np.average(evidence.target**2, weights=evidence.weight)
    tiny = np.finfo(float).tiny
    slope = product / np.maximum(square, tiny)
    slopes, _ = shrink(slope, noise / np.maximum(square, tiny), least_variance=_PRIOR_SD**2)
    return np.maximum(slopes, 0.0)
