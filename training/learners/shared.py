"""What offers do to a user whatever the service: learned from how the holdout departs from the baseline."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.attribution import Attribution
from training.boosting import Ensemble, cross_fit
from training.effect_features import Known, Sources
from training.evidence import Holdout
from training.learners.trees import effect_settings, passed_on
from training.lockstep import DEFAULTS, LearnerSettings
from training.shrinkage import slope_and_z, trust


@dataclass
class SharedEffect:
    """Trees of the holdout's outcome less the baseline of all rows; its negative moves every uplift alike."""

    settings: LearnerSettings = DEFAULTS
    seed: int = 0
    n_jobs: int = -1

    def fit(self, holdout: Holdout) -> "SharedEffect":
        """Learn from the holdout; with nothing gained on rows it has not seen it answers 0."""
        settings = effect_settings(self.settings)
        start = np.zeros(len(holdout.target))
        learned = cross_fit(
            holdout.data,
            holdout.target,
            holdout.fold,
            start,
            "regression",
            settings,
            self.seed,
            self.n_jobs,
            weight=holdout.weight,
        )
        self.ensemble_ = learned.ensemble
        slope, z = slope_and_z(learned.out_of_fold, holdout.target, holdout.weight)
        self.scale_ = slope * trust(z)
        return self

    def predict_uplift(self, known: Known) -> NDArray[np.float64]:
        """(n,) what to add to the uplift of every service."""
        if not self.scale_:
            return np.zeros(len(known.of_user))
        return -self.scale_ * self.ensemble_.raw(known.of_user, self.n_jobs)

    def explain(self, sources: Sources) -> Attribution:
        """The same taken apart, base (n, 1) and contributions (n, 1, p)."""
        if not self.scale_:
            return Attribution.nothing((sources.shape[0], 1), sources.n_columns)
        parts = self.ensemble_.explain(sources.known.of_user, self.n_jobs).times(-self.scale_)
        found = passed_on(parts, sources, 0)
        return Attribution(found.base[:, None], found.contributions[:, None])

    def dump(self, texts: dict[str, str]) -> dict[str, Any]:
        return {"booster": self.ensemble_.dump("shared", texts), "scale": self.scale_}

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str], n_jobs: int) -> "SharedEffect":
        learner = cls(n_jobs=n_jobs)
        learner.ensemble_, learner.scale_ = Ensemble.restore(state["booster"], texts), state["scale"]
        return learner
