"""The models of one set of training rows: what `train` fits, and every retraining in a loop."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset
from training.lockstep import LearnerSettings
from training.service_attributes import service_attributes
from training.uplift import UpliftModel
from training.uptake import UptakeModel


@dataclass(frozen=True)
class Material:
    """Rows to learn from, and what their models have in common."""

    rows: Dataset  # lists of several among them
    single: Dataset  # rows of one service or nothing
    propensities: NDArray[np.float64]  # of those, (n, n_services + 1)
    seed: int

    @classmethod
    def of(cls, rows: Dataset, seed: int) -> "Material":
        """The same rows and seed give the same models."""
        single = rows.single()
        return cls(rows, single, single.propensities(seed), seed)

    def fit_uptake(self, settings: LearnerSettings) -> UptakeModel:
        """P(used | offered) of every service."""
        offered = self.single.take(self.single.service >= 0)
        model = UptakeModel(**self._options(settings))
        return model.fit(offered.X, offered.service, offered.uptake, len(self.rows.catalog))

    def fit_uplift(
        self, outcome: Literal["repurchase", "margin"], settings: LearnerSettings, choice_load: float
    ) -> UpliftModel:
        """What every service adds to the outcome.

        Parameters
        ----------
        choice_load : float
            Where the uses of lists do not tell it.
        """
        single = self.single
        lists = self.rows.lists(getattr(self.rows, outcome), choice_load)
        return UpliftModel(**self._options(settings)).fit(
            single.X, single.service, self.propensities, getattr(single, outcome), single.uptake, lists
        )

    def _options(self, settings: LearnerSettings) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "settings": settings,
            "categorical": self.single.categorical,
            "attributes": service_attributes(self.rows.catalog),
        }
