"""Lists of several services as evidence of each: what its companions add is taken off."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from offers.choice import attraction, choice_effort
from training.averages import ListRows
from training.exposure_log import N_FOLDS, check_labels

_LEAST_UPTAKE = 0.005
_MOST_LOAD = 3.0


@dataclass(frozen=True)
class Lists:
    """Rows on which several services were shown together."""

    X: NDArray[np.float32]  # (n, p)
    services: NDArray[np.intp]  # (n, longest) positions in the order shown, −1 pads
    propensity: NDArray[np.float64]  # (n, longest) that the service stood at this place
    y: NDArray[np.float64]  # (n,)
    taken: NDArray[np.float64]  # (n, longest) 1 where the service was used within the window
    choice_load: float  # where uptake does not tell how much harder each further service makes the choice

    @classmethod
    def of(
        cls,
        X: NDArray[np.float32],
        services: ArrayLike,
        propensity: ArrayLike,
        y: ArrayLike,
        taken: ArrayLike,
        choice_load: float = 0.25,
    ) -> "Lists":
        """Checked lists.

        Raises
        ------
        ValueError
            Wrong shapes, lists of fewer than two services, propensities outside (0, 1].
        """
        places = np.asarray(services, dtype=np.intp)
        if places.ndim != 2 or len(places) != len(X):
            raise ValueError(f"services must have the shape ({len(X)}, longest), got {places.shape}.")
        shown = places >= 0
        if (shown.sum(axis=1) < 2).any():
            raise ValueError("services must hold at least two services in every list; one alone is no list.")
        probability, used = np.asarray(propensity, dtype=np.float64), np.asarray(taken, dtype=np.float64)
        for name, array in (("propensity", probability), ("taken", used)):
            if array.shape != places.shape:
                raise ValueError(f"{name} must have the shape of services {places.shape}, got {array.shape}.")
        if not ((probability[shown] > 0) & (probability[shown] <= 1)).all():
            raise ValueError("propensity of what stood in a list must be above 0 and at most 1.")
        return cls(X, places, probability, check_labels("y", y, len(X)), used, choice_load)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shown(self) -> NDArray[np.bool_]:
        return self.services >= 0


@dataclass(frozen=True)
class Unfolded:
    """One row for each service of each list, as if it had been offered alone; arrays of shape (m,)."""

    list_row: NDArray[np.intp]
    service: NDArray[np.intp]
    fold: NDArray[np.intp]  # all rows of a list have one
    effect: NDArray[np.float64]  # outcome less baseline less companions, on the scale of an offer alone
    precision: NDArray[np.float64]  # of the effect, as against that of an offer alone
    propensity: NDArray[np.float64]

    def rows(self) -> ListRows:
        return ListRows(self.effect, self.service, self.propensity, self.precision)


def unfold(
    lists: Lists,
    baseline: NDArray[np.float64],
    uplift: NDArray[np.float64],
    uptake: NDArray[np.float64] | None,
) -> Unfolded:
    """Each list's outcome divided among its services.

    In a list a service works in proportion to P(taken in the list) / P(taken if offered alone), by the choice
    model of `offers.choice`; its load is the one of greatest likelihood where uptake was logged. The outcome
    is then baseline + Σ proportion × uplift + noise: what the other services are expected to add is taken
    off, and the rest divided by the service's own proportion. That makes the noise larger by as much, so the
    row's precision is the proportion squared.

    Parameters
    ----------
    baseline : ndarray of shape (n,)
        Expected outcome with nothing shown.
    uplift, uptake : ndarray of shape (n, n_services)
        Predicted by models that have not seen these rows; no uptake: services are taken alike.
    """
    shown, place = lists.shown, np.maximum(lists.services, 0)
    if uptake is None:
        effort = choice_effort(shown.sum(axis=1), lists.choice_load)[:, None]
        proportion = np.where(shown, 1 / effort, 0.0)
    else:
        alone = np.clip(np.take_along_axis(uptake, place, axis=1), _LEAST_UPTAKE, 1 - _LEAST_UPTAKE)
        load = choice_load(alone, shown, lists.taken)
        proportion = np.where(shown, _p_take(alone, shown, load) / alone, 0.0)
    added = proportion * np.take_along_axis(uplift, place, axis=1)
    row, column = np.nonzero(shown)
    companions = added.sum(axis=1)[row] - added[row, column]
    own = proportion[row, column]
    return Unfolded(
        list_row=row,
        service=lists.services[row, column],
        fold=row % N_FOLDS,
        effect=((lists.y - baseline)[row] - companions) / own,
        precision=own**2,
        propensity=lists.propensity[row, column],
    )


def choice_load(alone: NDArray[np.float64], shown: NDArray[np.bool_], taken: NDArray[np.float64]) -> float:
    """The load of greatest likelihood: how much each further service adds to the weight of taking none.

    Parameters
    ----------
    alone : ndarray of shape (n, longest)
        P(taken if offered alone) of each place.
    taken : ndarray of shape (n, longest)
        1 where the service was used. Uses of several services of one list count one by one.
    """

    def loss(load: float) -> float:
        p = np.clip(_p_take(alone, shown, load), 1e-9, 1 - 1e-9)
        likelihood = np.where(taken > 0, np.log(p), np.log1p(-p))
        return -float(likelihood[shown].sum())

    return float(minimize_scalar(loss, bounds=(0.0, _MOST_LOAD), method="bounded").x)


def _p_take(alone: NDArray[np.float64], shown: NDArray[np.bool_], load: float) -> NDArray[np.float64]:
    odds = np.where(shown, attraction(alone), 0.0)
    return odds / (choice_effort(shown.sum(axis=1), load) + odds.sum(axis=1))[:, None]
