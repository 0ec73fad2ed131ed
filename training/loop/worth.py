"""What given lists are worth under some estimates: the objective of `offers.policy.decide`, row by row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.choice import attraction, choice_effort
from offers.types import Estimates

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Places:
    """The services of lists of shape (n, longest), place by place; 0 at pads."""

    shown: NDArray[np.bool_]
    service: NDArray[np.intp]  # 0 at pads
    p_take: Floats  # in the list
    scale: Floats  # P(take in the list) / P(take alone)
    uplift: Floats  # in margin, in the list


def places_of(lists: NDArray[np.intp], estimates: Estimates, choice_load: float) -> Places:
    """How often each service of each list is taken, and what it adds there, by the choice model."""
    shown = lists >= 0
    service = np.where(shown, lists, 0)
    alone = np.take_along_axis(estimates.uptake, service, axis=1)
    odds = np.where(shown, attraction(alone), 0.0)
    effort = np.array([choice_effort(n, choice_load) for n in range(lists.shape[1] + 1)])[shown.sum(axis=1)]
    p_take = odds / (effort + odds.sum(axis=1))[:, None]
    scale = np.divide(p_take, alone, out=np.zeros_like(alone), where=shown)
    uplift = scale * np.take_along_axis(estimates.uplift_margin, service, axis=1)
    return Places(shown, service, p_take, scale, uplift)


def list_worth(lists: NDArray[np.intp], estimates: Estimates, catalog: Catalog, choice_load: float) -> Floats:
    """Expected net margin of each list beyond that of nothing, shape (n,).

    >>> from offers.types import Service
    >>> catalog = Catalog.of([Service("a", "A", unit_cost=1.0, contact_cost=0.1)])
    >>> one = np.array([[0.5]])
    >>> list_worth(np.array([[0]]), Estimates(one, one, one), catalog, 0.25).round(6).tolist()
    [-0.1]
    """
    places = places_of(lists, estimates, choice_load)
    use, contact = catalog.unit_cost[places.service], catalog.contact_cost[places.service]
    return (places.uplift - places.p_take * use - places.shown * contact).sum(axis=1)
