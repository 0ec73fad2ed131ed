"""Do the champion's predictions still hold? Asked each week of the exposures of the week that just closed.

The champion has not seen that week. For each service its departures are estimated: how much oftener or
more rarely it was used where it was shown than predicted, and how much more or less margin it brought. A
model that was never quite right departs every week alike, so a departure is drift where it differs from
that of the last week that was found sound, by more than chance and by more than is of any consequence.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SURE = 4.0  # standard errors; among 35 services and two outcomes chance gets there once in 200 weeks
_MATTERS_UPTAKE = 0.25  # of the predicted uptake
_MODEL_ERROR = 0.1  # of the predicted uptake: how far a model of few rows is off by itself
_LEAST_SHOWN = 50


@dataclass(frozen=True)
class Departure:
    """How far a week lies from what was predicted; arrays of shape (n_services,), NaN where hardly shown.

    Attributes
    ----------
    uptake : array
        Uses over predicted uses.
    margin : array
        Margin beyond the predicted, currency units for each offer alone.
    """

    uptake: Floats
    uptake_se: Floats
    margin: Floats
    margin_se: Floats

    @classmethod
    def of(
        cls,
        service: NDArray[np.intp],
        p_take: Floats,
        taken: NDArray[np.bool_],
        scale: Floats,
        residual: Floats,
        n_services: int,
    ) -> "Departure":
        """Of a week's lists.

        Parameters
        ----------
        service : int array of shape (n, longest)
            Services shown, −1 pads.
        p_take, taken : arrays of shape (n, longest)
            Predicted probability that it is taken in its list; whether it was.
        scale : array of shape (n, longest)
            How much each service works in its list, of what it does alone; 0 at pads.
        residual : array of shape (n,)
            Margin beyond the predicted.
        """
        places = [service == s for s in range(n_services)]
        seen = np.array([int(place.sum()) for place in places])
        predicted = np.array([p_take[place].sum() for place in places])
        used = np.array([taken[place].sum() for place in places])
        variance = np.array([(p_take[place] * (1 - p_take[place])).sum() for place in places])
        design = np.column_stack(
            [np.ones(len(service)), *(np.where(place, scale, 0.0).sum(axis=1) for place in places)]
        )
        margin, margin_se = _least_squares(design, residual)
        few = seen < _LEAST_SHOWN
        with np.errstate(divide="ignore", invalid="ignore"):
            return cls(
                uptake=np.where(few, np.nan, used / predicted),
                uptake_se=np.where(few, np.nan, np.sqrt(variance) / predicted),
                margin=np.where(few, np.nan, margin[1:]),
                margin_se=np.where(few, np.nan, margin_se[1:]),
            )

    def less_sure(self, margin_se: Floats) -> "Departure":
        """The same, where the predictions themselves were known no better than by this standard error."""
        return replace(self, margin_se=np.hypot(self.margin_se, margin_se))


def drifted(now: Departure, sound: Departure) -> NDArray[np.bool_]:
    """Services on which this week departs from the predictions as no sound week did, shape (n_services,).

    A service that was hardly shown in the sound week must not depart from the predictions themselves.

    Examples
    --------
    >>> sound = Departure(np.array([1.0, 0.9]), np.array([0.1, 0.1]), np.zeros(2), np.ones(2))
    >>> now = Departure(np.array([1.1, 0.2]), np.array([0.1, 0.1]), np.zeros(2), np.ones(2))
    >>> drifted(now, sound).tolist()
    [False, True]
    """
    before = {
        name: np.where(np.isnan(getattr(sound, name)), default, getattr(sound, name))
        for name, default in (("uptake", 1.0), ("uptake_se", 0.0), ("margin", 0.0), ("margin_se", 0.0))
    }
    uptake = now.uptake - before["uptake"]
    margin = now.margin - before["margin"]
    uptake_se = np.hypot(np.hypot(now.uptake_se, before["uptake_se"]), _MODEL_ERROR)
    margin_se = np.hypot(now.margin_se, before["margin_se"])
    by_uptake = (np.abs(uptake) > SURE * uptake_se) & (np.abs(uptake) > _MATTERS_UPTAKE)
    return by_uptake | (np.abs(margin) > SURE * margin_se)


def _least_squares(design: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Coefficients and their standard errors, whatever the rows' variances (White 1980)."""
    bread = np.linalg.pinv(design.T @ design)
    beta = bread @ design.T @ y
    scores = design * (y - design @ beta)[:, None]
    return beta, np.sqrt(np.maximum(np.diag(bread @ scores.T @ scores @ bread), np.finfo(float).tiny))


def still_true(
    lists: NDArray[np.intp], week: NDArray[np.intp], drifted_in: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Rows that still teach the truth: those of weeks from the drift of each of their services on.

    Parameters
    ----------
    lists : int array of shape (n, longest)
        Services shown, −1 pads.
    week : int array of shape (n,)
        In which each row was decided.
    drifted_in : int array of shape (n_services,)
        The last week in which each service was found drifted; 0: never.

    Examples
    --------
    >>> still_true(np.array([[0, 1], [1, -1], [-1, -1]]), np.array([3, 3, 3]), np.array([7, 0])).tolist()
    [False, True, True]
    """
    since = np.append(drifted_in, 0)[lists].max(axis=1)
    return week >= since
