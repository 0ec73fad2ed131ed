"""Which few services to keep: the core set whose best lists are worth most to all users together."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.policy import decide
from offers.settings import DecisionSettings
from offers.types import Estimates

Floats = NDArray[np.float64]
Worth = Callable[[tuple[int, ...]], Floats]  # services: the worth of each user's best list of them

TRIED = 1_000  # every set is tried where there are no more
_GAINS = 1e-9  # money a user; a swap must gain more, or rounding would swap for ever


@dataclass(frozen=True)
class Core:
    """The services kept, and what the best lists of them are worth."""

    services: tuple[int, ...]  # catalogue positions, rising
    worth: Floats  # (n_users,)


def worth_with(
    services: tuple[int, ...],
    estimates: Estimates,
    eligible: NDArray[np.bool_],
    catalog: Catalog,
    settings: DecisionSettings,
    choice_load: Floats | None = None,
) -> Floats:
    """What each user's best list is worth, shape (n_users,), were there no other services than these."""
    kept = list(services)
    some = Estimates(*(getattr(estimates, name)[:, kept] for name in Estimates.__annotations__))
    offered = Catalog(tuple(catalog.services[position] for position in kept))
    slates = decide(some, eligible[:, kept], offered, settings, choice_load=choice_load, quick=len(kept) > 8)
    return slates.worth_by_length.max(axis=1)


def best_core(worth: Worth, n_services: int, size: int) -> Core:
    """The ``size`` services of greatest mean worth.

    Every set is tried where there are at most 1,000; else services are added one by one, each the one that
    adds most, and then exchanged one for one until no exchange gains.

    Examples
    --------
    Two users who want different things are best served by two services, not by the popular pair.

    >>> values = np.array([[3.0, 2.0, 0.0], [0.0, 0.0, 1.5]])
    >>> best_core(lambda services: values[:, services].max(axis=1), n_services=3, size=2).services
    (0, 2)
    """
    if not 1 <= size <= n_services:
        raise ValueError(f"core must be between 1 and the {n_services} services, got {size}.")
    if comb(n_services, size) <= TRIED:
        best = max(combinations(range(n_services), size), key=lambda services: worth(services).mean())
        return Core(best, worth(best))
    return grown_core(worth, n_services, size)


def grown_core(worth: Worth, n_services: int, size: int) -> Core:
    """The core by additions and exchanges, whatever the number of sets."""
    services: tuple[int, ...] = ()
    for _ in range(size):
        left = (position for position in range(n_services) if position not in services)
        grown = [tuple(sorted((*services, position))) for position in left]
        services = max(grown, key=lambda tried: worth(tried).mean())
    best = worth(services).mean()
    while True:
        swapped = [
            tuple(sorted({*services, come} - {gone}))
            for gone in services
            for come in range(n_services)
            if come not in services
        ]
        tried = max(swapped, key=lambda one: worth(one).mean(), default=services)
        if not worth(tried).mean() > best + _GAINS:
            return Core(services, worth(services))
        services, best = tried, worth(tried).mean()
