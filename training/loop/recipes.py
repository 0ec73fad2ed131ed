"""What each of the loops learns from its log, and what it then ranks by."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.settings import DecisionSettings
from offers.types import Estimates
from training.averages import average_uplift
from training.dataset import Dataset
from training.evaluation.baselines import constant_values, popularity
from training.fitting import Material
from training.lists import choice_load
from training.lockstep import DEFAULTS
from training.uplift import UpliftModel
from training.uptake import UptakeModel

Floats = NDArray[np.float64]
_MOST_LISTS, _LEAST_LISTS = 20_000, 500  # that tell the choice load

Recipe = Literal["uplift", "uptake", "constant"]


@dataclass(frozen=True)
class Models:
    """What one training left: estimates of every service for every profile.

    `uplift` is None where the recipe knows none; `constant` is the one service (−1: nothing) that was best
    for everybody on the training rows.
    """

    week: int  # the first that is decided by them
    recipe: Recipe
    catalog: Catalog
    uptake: UptakeModel | None
    uplift: UpliftModel | None
    constant: int
    choice_load: float

    def as_constant(self) -> "Models":
        """The best single offer for everybody, by the same rows."""
        return replace(self, recipe="constant")

    def estimates(self, X: NDArray[np.float32]) -> Estimates:
        """As the bundle's, for the recipe `uplift`; what else the others' decisions need."""
        if self.recipe == "constant":
            return constant_estimates(self.constant, (len(X), len(self.catalog)))
        assert self.uptake is not None
        uptake = self.uptake.predict(X)
        unknown = np.full(uptake.shape, np.nan)
        margin = uptake if self.uplift is None else self.uplift.predict(X)
        return Estimates(uptake, unknown, margin)

    def priced(self) -> Catalog:
        """The catalogue that the decision reckons with: who ranks by uptake alone knows no cost."""
        return self.catalog if self.recipe == "uplift" else without_costs(self.catalog)

    def baseline(self, X: NDArray[np.float32]) -> Floats:
        """Expected margin with nothing shown, shape (n,)."""
        assert self.uplift is not None
        return self.uplift.predict_baseline(X)


def learn(
    recipe: Recipe, rows: Dataset, margin_cap: float, week: int, seed: int, settings: DecisionSettings
) -> Models:
    """The models of these rows by this recipe; what a recipe does not ask for is not fitted."""
    rows = rows.capped(margin_cap)
    if recipe == "constant":
        return Models(week, recipe, rows.catalog, None, None, _best_constant(rows), settings.choice_load)
    material = Material.of(rows, seed)
    uptake = material.fit_uptake(DEFAULTS)
    load = _choice_load(rows, uptake, settings.choice_load)
    if recipe == "uptake":
        return Models(week, recipe, rows.catalog, uptake, None, -1, load)
    uplift = material.fit_uplift("margin", DEFAULTS, load)
    values = constant_values(uplift.average_, popularity(rows), rows.catalog)
    return Models(week, recipe, rows.catalog, uptake, uplift, int(values.argmax()) - 1, load)


def constant_estimates(service: int, shape: tuple[int, int]) -> Estimates:
    """Estimates under which, without costs, everybody is shown this service, or nothing (−1)."""
    uptake, margin = np.zeros(shape), np.zeros(shape)
    if service >= 0:
        margin[:, service] = 1.0
    return Estimates(uptake, np.full(shape, np.nan), margin)


def without_costs(catalog: Catalog) -> Catalog:
    free = [replace(service, unit_cost=0.0, contact_cost=0.0) for service in catalog.services]
    return Catalog(tuple(free))


def _best_constant(rows: Dataset) -> int:
    """The service of the greatest average net gain, by the averages that the uplift model starts from."""
    single = rows.single()
    shares = np.bincount(single.service + 1, minlength=len(rows.catalog) + 1) / len(single)
    propensity = np.tile(shares, (len(single), 1))
    shown = np.arange(len(single)), single.service.astype(int) + 1
    propensity[shown] = single.slate_propensity
    found = average_uplift(single.margin - single.margin.mean(), single.service.astype(np.intp), propensity)
    values = constant_values(found.uplift, popularity(rows), rows.catalog)
    return int(values.argmax()) - 1


def _choice_load(rows: Dataset, uptake: UptakeModel, default: float) -> float:
    """How much harder each further service makes the choice, by the uses of the latest lists."""
    several = np.flatnonzero(rows.is_teaching_list)[-_MOST_LISTS:]
    if len(several) < _LEAST_LISTS or rows.listed is None or rows.listed_uptake is None:
        return default
    lists = rows.listed[several].astype(np.intp)
    alone = np.take_along_axis(uptake.predict(rows.X[several]), np.maximum(lists, 0), axis=1)
    return choice_load(alone, lists >= 0, rows.listed_uptake[several].astype(float))
