"""How much harder each further service makes the choice, by segment, from what was taken of lists.

The choice model (``offers.choice``) gives a list the probability A0 / (A0 + Σ a) that nothing of it is taken,
with A0 = 1 + load · x and x = (n − 1) + similarity · (services alike). Which service is taken tells nothing
more of the load, so that the likelihood of a load is that of taken or none. The attractions a are those of
single offers, from which the uptake model alone has learned: no list was seen by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from offers.choice import attraction

Floats = NDArray[np.float64]

MOST_LOAD = 10.0
LEAST_LISTS = 100  # with fewer lists, or a tenth as many taken, there is nothing to learn the load from
_MOST_UPTAKE = 0.995
_MOST_WEIGHT = 20.0  # a list's weight within its length, as a multiple of their mean


@dataclass(frozen=True)
class ListChoices:
    """What users did with lists of several services; arrays of shape (n_lists,)."""

    attraction: Floats  # Σ a of the services shown
    further: Floats  # x: what the load is multiplied by
    taken: NDArray[np.bool_]  # was any service used?
    weight: Floats  # 1 where length and list were drawn without favour

    @classmethod
    def of(
        cls,
        alone: Floats,
        shown: NDArray[np.bool_],
        taken: ArrayLike,
        n_alike: ArrayLike = 0,
        similarity: float = 0.0,
        propensity: Floats | None = None,
    ) -> "ListChoices":
        """From P(taken if offered alone) and uses of each place, arrays of shape (n_lists, longest).

        Parameters
        ----------
        n_alike : int array of shape (n_lists,), optional
            Services of each list whose category stands in it already.
        propensity : ndarray of shape (n_lists,), optional
            Of the whole list as shown: each counts 1 / propensity within its length, capped at 20 times
            the mean, so that lists that a policy preferred count as if they had been drawn.
        """
        uptake = np.clip(alone, 0.0, _MOST_UPTAKE)
        length = shown.sum(axis=1)
        return cls(
            attraction=np.where(shown, attraction(uptake), 0.0).sum(axis=1),
            further=length - 1 + similarity * np.asarray(n_alike, dtype=np.float64),
            taken=np.any((np.asarray(taken) > 0) & shown, axis=1),
            weight=np.ones(len(length)) if propensity is None else _within_length(1 / propensity, length),
        )

    def __len__(self) -> int:
        return len(self.taken)

    def take(self, rows: NDArray) -> "ListChoices":
        return ListChoices(self.attraction[rows], self.further[rows], self.taken[rows], self.weight[rows])


@dataclass(frozen=True)
class Load:
    """A load with its interval, and the lists that it comes from."""

    value: float
    low: float
    high: float
    n_lists: int

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "low": self.low, "high": self.high, "n_lists": self.n_lists}


@dataclass(frozen=True)
class ChoiceLoads:
    """The load of all users and of each segment; None where the log cannot tell it."""

    common: Load
    segments: dict[str, Load]

    @classmethod
    def from_json(cls, learned: Mapping[str, Any]) -> "ChoiceLoads":
        """What ``to_json`` made of them."""
        return cls(Load(**learned["common"]), {name: Load(**load) for name, load in learned["tiers"].items()})

    def to_json(self) -> dict[str, Any]:
        segments = {name: load.to_json() for name, load in self.segments.items()}
        return {"common": self.common.to_json(), "tiers": segments}


def likeliest_load(choices: ListChoices, least: float = 0.0) -> float:
    """The load of greatest likelihood from ``least`` to 10."""

    def loss(load: float) -> float:
        effort = 1 + load * choices.further
        none = np.log(effort) * ~choices.taken - np.log(effort + choices.attraction)
        return -float(choices.weight @ none)

    return float(minimize_scalar(loss, bounds=(least, MOST_LOAD), method="bounded").x)


def choice_loads(
    choices: ListChoices, segment: Sequence[str], names: Sequence[str], level: float
) -> ChoiceLoads | None:
    """The load of each segment, partially pooled; None with too few lists.

    Each segment's own load of greatest likelihood is drawn to the common one by empirical Bayes, the more
    so the wider its error and the less the segments differ beyond their errors (DerSimonian and Laird
    1986). Errors are robust to the weights (sandwich); loads are cut off at 0 at the very end, so that the
    pooling is not bent.

    Parameters
    ----------
    segment : sequence of n_lists names
        Of the user of each list.
    names : sequence of str
        All segments; one without lists has the common load, with the interval of a segment unseen.
    level : float
        Of the intervals, such as 0.95.

    Examples
    --------
    Of lists of three services of attraction 1/3 each, half are taken of: A0 is 1 and the load 0.

    >>> shown = np.ones((400, 3), dtype=bool)
    >>> taken = np.tile([[1, 0, 0], [0, 0, 0]], (200, 1))
    >>> found = choice_loads(ListChoices.of(np.full((400, 3), 0.25), shown, taken), ["a"] * 400, "ab", 0.95)
    >>> round(found.common.value, 3), found.segments["a"].n_lists, found.segments["b"].n_lists
    (0.0, 400, 0)
    """
    if len(choices) < LEAST_LISTS or choices.taken.sum() < LEAST_LISTS / 10:
        return None
    of = np.asarray(segment)
    parts = {name: choices.take(np.flatnonzero(of == name)) for name in names}
    own = {name: _own(part) for name, part in parts.items() if len(part) and part.taken.any()}
    estimate, variance = (np.array(column) for column in zip(*own.values()))
    between = _between(estimate, variance)
    precision = 1 / (variance + between)
    mean, mean_variance = float((precision @ estimate) / precision.sum()), float(1 / precision.sum())
    z = NormalDist().inv_cdf((1 + level) / 2)
    segments = {}
    for name, part in parts.items():
        if name in own:
            drawn = own[name][1] / (own[name][1] + between)  # share of the common load in the segment's
            value = drawn * mean + (1 - drawn) * own[name][0]
            spread = drawn * between + drawn**2 * mean_variance
        else:
            value, spread = mean, between + mean_variance
        segments[name] = _load(value, spread, z, len(part))
    return ChoiceLoads(_load(mean, mean_variance, z, len(choices)), segments)


def _own(choices: ListChoices) -> tuple[float, float]:
    """The load of greatest likelihood, below 0 too as far as there is a choice at all, and its variance."""
    least = -0.9 / choices.further.max()
    load = likeliest_load(choices, least)
    effort = 1 + load * choices.further
    weight = effort + choices.attraction
    slope = choices.further * (np.where(choices.taken, 0.0, 1 / effort) - 1 / weight)
    bend = choices.further**2 * choices.attraction / (effort * weight**2)
    noise = max(choices.weight**2 @ slope**2, choices.weight**2 @ bend)
    return load, float(noise / (choices.weight @ bend) ** 2)


def _between(estimate: Floats, variance: Floats) -> float:
    """Variance of the segments' true loads beyond the errors of their estimates, 0 or more."""
    if len(estimate) < 2:
        return 0.0
    precision = 1 / variance
    mean = (precision @ estimate) / precision.sum()
    excess = precision @ (estimate - mean) ** 2 - (len(estimate) - 1)
    return float(max(0.0, excess / (precision.sum() - (precision**2).sum() / precision.sum())))


def _load(value: float, variance: float, z: float, n_lists: int) -> Load:
    error = z * variance**0.5
    value, low, high = (min(max(end, 0.0), MOST_LOAD) for end in (value, value - error, value + error))
    return Load(value, low, high, n_lists)


def _within_length(weight: Floats, length: NDArray[np.intp]) -> Floats:
    """Weights with a mean of 1 at each length, none above 20."""
    scaled = np.empty_like(weight)
    for n in np.unique(length).tolist():
        rows = length == n
        scaled[rows] = np.minimum(weight[rows] / weight[rows].mean(), _MOST_WEIGHT)
    return scaled
