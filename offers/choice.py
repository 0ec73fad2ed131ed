"""How a user chooses from a list: attraction of each service, and the effort of choosing at all.

A multinomial logit with an outside option. A service that is taken with probability p when it is
offered alone has the attraction a = p / (1 − p). In a list S of n services the user takes s with
probability a_s / (A0(S) + Σ a_j), where A0(S), the weight of taking none, starts at 1 and grows by
``choice_load`` with each further service (McFadden 1974; choice overload: Iyengar and Lepper 2000).
Services alike are harder to choose from: each service whose category stands in the list already adds
``similarity`` times as much again (Scheibehenne and others 2010 name similarity as what makes many
options hard), so that near-duplicates do not crowd out the others.
"""

from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_UPTAKE = 1 - 1e-6  # a certain uptake would have an infinite attraction


def attraction(uptake: ArrayLike) -> NDArray[np.float64]:
    """Odds of taking a service that is offered alone; uptake is in [0, 1] and counts as at most 1 − 1e-6.

    >>> attraction([0.0, 0.5, 0.8]).round(6).tolist()
    [0.0, 1.0, 4.0]
    """
    p = np.minimum(np.asarray(uptake, dtype=np.float64), MAX_UPTAKE)
    return p / (1 - p)


@overload
def choice_effort(
    n_services: int, choice_load: float, n_alike: int = 0, similarity: float = 0.0
) -> float: ...
@overload
def choice_effort(
    n_services: NDArray[np.intp],
    choice_load: float | NDArray[np.float64],
    n_alike: int | NDArray[np.intp] = 0,
    similarity: float = 0.0,
) -> NDArray[np.floating[Any]]: ...
@overload
def choice_effort(
    n_services: int,
    choice_load: NDArray[np.float64],
    n_alike: int | NDArray[np.intp] = 0,
    similarity: float = 0.0,
) -> NDArray[np.floating[Any]]: ...
def choice_effort(
    n_services: int | NDArray[np.intp],
    choice_load: float | NDArray[np.float64],
    n_alike: int | NDArray[np.intp] = 0,
    similarity: float = 0.0,
) -> float | NDArray[np.floating[Any]]:
    """A0(S) of a list of n services, ``n_alike`` of them of a category that stands before; 1 for one service.

    >>> choice_effort(3, 0.25)
    1.5
    >>> choice_effort(3, 0.25, n_alike=1, similarity=0.5)
    1.625
    """
    return 1 + choice_load * (n_services - 1 + similarity * n_alike)


def count_alike(categories: NDArray[np.intp]) -> NDArray[np.intp]:
    """Services of each list less its distinct categories, shape (n_lists,); a category below 0 is a gap.

    >>> count_alike(np.array([[3, 7, 3], [3, 7, -1]])).tolist()
    [1, 0]
    """
    ordered = np.sort(categories, axis=1)
    repeats = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    return repeats.sum(axis=1)


def take_probabilities(
    attractions: ArrayLike, choice_load: float, n_alike: int = 0, similarity: float = 0.0
) -> NDArray[np.float64]:
    """Probability that the user takes each service of one list; they sum to less than 1.

    Parameters
    ----------
    attractions : array-like of shape (n_services_shown,)
        Of the services shown; an empty list gives an empty answer.

    Examples
    --------
    >>> take_probabilities([1.0, 1.0], choice_load=0.0).round(4).tolist()
    [0.3333, 0.3333]
    >>> take_probabilities([1.0, 1.0], choice_load=2.0).tolist()
    [0.2, 0.2]
    """
    shown = np.asarray(attractions, dtype=np.float64)
    return shown / (choice_effort(len(shown), choice_load, n_alike, similarity) + shown.sum())
