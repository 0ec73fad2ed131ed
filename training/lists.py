"""Lists of several services as evidence of each: what its companions add is taken off."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offers.choice import attraction, choice_effort
from training.averages import ListRows
from training.choice_load import ListChoices, likeliest_load
from training.exposure_log import N_FOLDS, check_labels, content_order

_LEAST_UPTAKE = 0.005
_MOST_LOAD = 3.0


@dataclass(frozen=True)
class Lists:
    """Rows on which several services were shown together, in content order."""

    X: NDArray[np.float32]  # (n, p)
    services: NDArray[np.intp]  # (n, longest) positions in the order shown, −1 pads
    propensity: NDArray[np.float64]  # (n,) of the whole list
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
        """Checked lists, in an order that does not depend on the one given.

        Raises
        ------
        ValueError
            Wrong shapes, lists of fewer than two services or with one twice, propensities outside (0, 1].
        """
        places = np.asarray(services, dtype=np.intp)
        if places.ndim != 2 or len(places) != len(X):
            raise ValueError(f"services must have the shape ({len(X)}, longest), got {places.shape}.")
        shown = places >= 0
        if (shown.sum(axis=1) < 2).any():
            raise ValueError("services must hold at least two services in every list; one alone is no list.")
        if _repeats(places):
            raise ValueError("services must hold no service twice in a list.")
        probability, used = np.asarray(propensity, dtype=np.float64), np.asarray(taken, dtype=np.float64)
        if probability.shape != (len(X),):
            raise ValueError(
                f"propensity must have the shape ({len(X)},), one a list, got {probability.shape}."
            )
        if not ((probability > 0) & (probability <= 1)).all():
            raise ValueError("propensity of a list must be above 0 and at most 1.")
        if used.shape != places.shape:
            raise ValueError(f"taken must have the shape of services {places.shape}, got {used.shape}.")
        labels = check_labels("y", y, len(X))
        order = content_order(0, X, places, probability, labels, used)
        return cls(X[order], places[order], probability[order], labels[order], used[order], choice_load)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shown(self) -> NDArray[np.bool_]:
        return self.services >= 0

    @property
    def fold(self) -> NDArray[np.intp]:
        """(n,) of each list; all its services share it."""
        return np.arange(len(self)) % N_FOLDS

    def of_places(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, longest) of (n_services,) or (n, n_services): each place's own service; pads mean nothing."""
        places = np.maximum(self.services, 0)
        return values[places] if values.ndim == 1 else np.take_along_axis(values, places, axis=1)

    def proportion(self, uptake: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """(n, longest) P(taken in the list) / P(taken if offered alone); 0 at pads.

        In a list a service works in this proportion: the choice model of `offers.choice`, with the load of
        greatest likelihood where uptake was logged.

        Parameters
        ----------
        uptake : ndarray of shape (n, longest), optional
            P(taken if offered alone) of each place; None: services are taken alike.
        """
        shown = self.shown
        if uptake is None:
            effort = choice_effort(shown.sum(axis=1), self.choice_load)[:, None]
            return np.where(shown, 1 / effort, 0.0)
        alone = np.clip(uptake, _LEAST_UPTAKE, 1 - _LEAST_UPTAKE)
        load = choice_load(alone, shown, self.taken)
        return np.where(shown, _p_take(alone, shown, load) / alone, 0.0)


@dataclass(frozen=True)
class Expected:
    """What models that have not seen the lists expect of them."""

    baseline: NDArray[np.float64]  # (n,) as the effect learners' evidence counts from it
    unasked: NDArray[np.float64]  # (n,) outcome with nothing shown
    deviation: NDArray[np.float64]  # (n, longest) of the user's uplift from the service's average
    uptake: NDArray[np.float64] | None  # (n, longest) if offered alone; None: not logged
    uptake_uplift: NDArray[np.float32] | None  # (n, longest)


@dataclass(frozen=True)
class Unfolded:
    """One row for each service of each list, as if it had been offered alone; arrays of shape (m,)."""

    list_row: NDArray[np.intp]
    place: NDArray[np.intp]
    service: NDArray[np.intp]
    fold: NDArray[np.intp]  # all rows of a list have one
    uplift: NDArray[np.float64]  # what the service added, with the noise of the list
    precision: NDArray[np.float64]  # of the uplift, as against that of an offer alone


def rows_of(lists: Lists, expected: Expected, proportion: NDArray[np.float64]) -> ListRows:
    """What lists say of the services' averages: outcome less what nothing and the user's deviations add."""
    return ListRows(
        residual=lists.y - expected.unasked - (proportion * expected.deviation).sum(axis=1),
        service=lists.services,
        proportion=proportion,
        propensity=lists.propensity,
    )


def unfold(
    lists: Lists,
    unasked: NDArray[np.float64],
    uplift: NDArray[np.float64],
    proportion: NDArray[np.float64],
) -> Unfolded:
    """Each list's outcome divided among its services.

    The outcome is unasked + Σ proportion × uplift + noise: what the other services are expected to add is
    taken off, and the rest divided by the service's own proportion. That makes the noise larger by as much,
    so the row's precision is the proportion squared.

    Parameters
    ----------
    unasked : ndarray of shape (n,)
        Expected outcome with nothing shown.
    uplift, proportion : ndarray of shape (n, longest)
        Of each place: the uplift predicted by models that have not seen these rows, and what
        `Lists.proportion` gives.
    """
    added = proportion * uplift
    row, place = np.nonzero(lists.shown)
    left = (lists.y - unasked - added.sum(axis=1))[row] + added[row, place]
    own = proportion[row, place]
    return Unfolded(
        list_row=row,
        place=place,
        service=lists.services[row, place],
        fold=lists.fold[row],
        uplift=left / own,
        precision=own**2,
    )


def choice_load(alone: NDArray[np.float64], shown: NDArray[np.bool_], taken: NDArray[np.float64]) -> float:
    """The load of greatest likelihood: how much each further service adds to the weight of taking none.

    Parameters
    ----------
    alone : ndarray of shape (n, longest)
        P(taken if offered alone) of each place.
    taken : ndarray of shape (n, longest)
        1 where the service was used. Uses of several services of one list count as one.
    """
    return min(likeliest_load(ListChoices.of(alone, shown, taken)), _MOST_LOAD)


def _p_take(alone: NDArray[np.float64], shown: NDArray[np.bool_], load: float) -> NDArray[np.float64]:
    odds = np.where(shown, attraction(alone), 0.0)
    return odds / (choice_effort(shown.sum(axis=1), load) + odds.sum(axis=1))[:, None]


def _repeats(places: NDArray[np.intp]) -> bool:
    ordered = np.sort(places, axis=1)
    return bool(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any())
