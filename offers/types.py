"""The plain types that every room shares: a service, what is estimated of it, and a decision."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

Progress = Callable[[str, int, int], None]  # called with (stage, done, total) by long work


@dataclass(frozen=True)
class Service:
    """One value-added service as the catalogue lists it; money is in currency units."""

    service_id: str
    name: str
    category: str = ""
    scenario: str = ""
    unit_cost: float = 0.0  # money each time it is used
    contact_cost: float = 0.0  # money each time it is offered
    tiers: tuple[str, ...] = ()  # tiers that may see it; empty: every tier
    capacity_per_day: int | None = None  # None: no limit
    provider: str = ""
    active_from: datetime | None = None  # offered from this moment on; None: always
    active_until: datetime | None = None  # and strictly before this one; None: for ever


@dataclass(frozen=True)
class Estimates:
    """What the models say of every user and service; each array has shape (n_users, n_services)."""

    uptake: NDArray[np.float64]  # P(used within uptake_days | offered alone), in (0, 1)
    uplift_repurchase: NDArray[np.float64]  # change in P(an order within repurchase_days)
    uplift_margin: NDArray[np.float64]  # change in margin, currency units a user

    def take(self, rows: slice | NDArray[np.intp]) -> "Estimates":
        """The same estimates for some of the users."""
        return Estimates(self.uptake[rows], self.uplift_repurchase[rows], self.uplift_margin[rows])


@dataclass(frozen=True)
class Slates:
    """One ranked list a user, and what each length would have been worth."""

    services: NDArray[np.intp]  # (n_users, max_services) catalogue positions, best first; -1 pads
    length: NDArray[np.intp]  # (n_users,) services shown; 0: nothing
    worth_by_length: NDArray[np.float64]  # (n_users, max_services + 1) money of the best list of n


@dataclass(frozen=True)
class Prices:
    """What a decision must earn beyond its costs, because a budget binds."""

    money: NDArray[np.float64]  # (n_users,) 0 or more: a unit of money spent must earn 1 + money
    showing: NDArray[np.float64]  # (n_users, n_services) 0 or more: money charged for each showing


@dataclass(frozen=True)
class AtMost:
    """Of these services a list holds at most so many; 1 means that they exclude each other."""

    services: tuple[int, ...]  # catalogue positions
    most: int


@dataclass(frozen=True)
class ListRules:
    """What a list must keep to as a whole."""

    at_most: tuple[AtMost, ...]
    must_show: NDArray[np.bool_]  # (n_users, n_services) in every list where eligible, whatever its value
