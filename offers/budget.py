"""What budgets are, what lists use of them, and what must be earned because they bind.

A budget limits money or contacts: of everything, of one service, or of the users of a track. Each that
binds has a price λ of 0 or more for a unit of it, and every list must earn that beyond its costs
(Lagrange relaxation): of money, a cost of 1 must earn 1 + λ. Money is counted as expected. That of a
single service is counted as if it were offered alone, which is never less than in a list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.policy import expected_costs
from offers.settings import BudgetLimit, DecisionSettings
from offers.types import Estimates, Prices, Slates

MONEY, CONTACTS = "money", "contacts"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Budget:
    """So much of one thing, for the users and services it covers."""

    name: str
    kind: str  # money or contacts
    amount: float  # currency units, or services shown
    service: int = -1  # a catalogue position; −1: all
    track: int = -1  # of the users; −1: all

    def __post_init__(self) -> None:
        if not (self.amount >= 0 and isfinite(self.amount)):
            raise ValueError(
                f"The budget {self.name!r} must have an amount of 0 or more, got {self.amount}. "
                "Where nothing is to be limited, leave it out."
            )

    def covers(self, tracks: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which users, by the track each is in."""
        return (tracks == self.track) if self.track >= 0 else np.ones(len(tracks), dtype=bool)


def budgets_of(limits: Sequence[BudgetLimit], catalog: Catalog, tracks: Sequence[str]) -> tuple[Budget, ...]:
    """The budgets of the settings, one of money and one of contacts for each entry that has both."""
    return tuple(
        Budget(
            limit.name,
            kind,
            amount,
            catalog.position_of[limit.service] if limit.service else -1,
            list(tracks).index(limit.track) if limit.track else -1,
        )
        for limit in limits
        for kind, amount in ((MONEY, limit.money), (CONTACTS, limit.contacts))
        if isfinite(amount)
    )


def prices_of(
    price: Floats,
    budgets: Sequence[Budget],
    estimates: Estimates,
    catalog: Catalog,
    tracks: NDArray[np.intp],
) -> Prices:
    """What each user's list must earn on top, at a price for each budget."""
    shape = (len(estimates.uptake), len(catalog))
    money, contact = np.zeros(shape[0]), np.zeros(shape[0])
    showing = np.zeros(shape)
    for one, at in zip(budgets, price.tolist(), strict=True):
        if not at:
            continue
        covered = one.covers(tracks) * at
        if one.service >= 0:
            each = cost_alone(one.service, estimates, catalog) if one.kind == MONEY else 1.0
            showing[:, one.service] += covered * each
        elif one.kind == MONEY:
            money += covered
        else:
            contact += covered
    showing += contact[:, None]
    return Prices(money, showing)


def usage(
    budgets: Sequence[Budget],
    slates: Slates,
    estimates: Estimates,
    catalog: Catalog,
    settings: DecisionSettings,
    tracks: NDArray[np.intp],
    choice_load: Floats | None = None,
) -> NDArray[np.float32]:
    """What each user's list uses of each budget; shape (n_users, n_budgets)."""
    used = np.zeros((len(slates.length), len(budgets)), dtype=np.float32)
    costs = expected_costs(slates, estimates, catalog, settings, choice_load)
    for place, one in enumerate(budgets):
        if one.service >= 0:
            each = cost_alone(one.service, estimates, catalog) if one.kind == MONEY else 1.0
            amount = (slates.services == one.service).any(axis=1) * each
        else:
            amount = costs if one.kind == MONEY else slates.length.astype(np.float64)
        used[:, place] = amount * one.covers(tracks)
    return used


def cost_alone(service: int, estimates: Estimates, catalog: Catalog) -> Floats:
    """Expected cost of offering one service alone to each user; 0 where it is not known."""
    uptake = np.nan_to_num(estimates.uptake[:, service])
    return uptake * catalog.unit_cost[service] + catalog.contact_cost[service]


def without_money(budgets: Sequence[Budget], catalog: Catalog, tracks: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Shape (n_users, n_services): the service would use a budget of which there is nothing."""
    costs = (catalog.unit_cost > 0) | (catalog.contact_cost > 0)
    barred = np.zeros((len(tracks), len(catalog)), dtype=bool)
    for one in budgets:
        if one.amount == 0:
            uses = costs if one.kind == MONEY else np.ones(len(catalog), dtype=bool)
            if one.service >= 0:
                uses = uses & (np.arange(len(catalog)) == one.service)
            barred |= one.covers(tracks)[:, None] & uses
    return barred
