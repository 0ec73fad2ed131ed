"""The service value matrix: how much each service is wanted and how well it can be supplied."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from offers.choice import attraction, choice_effort, count_alike
from offers.policy import decide
from offers.portfolio import best_core, worth_with
from offers.settings import DecisionSettings
from offers.types import Estimates
from training.evaluation.bootstrap import Interval

Floats = NDArray[np.float64]

KEEP, FIX_SUPPLY, FIX_DEMAND, DROP = "keep", "fix the supply", "fix the demand", "drop"
_REPLICATES = 500


@dataclass(frozen=True)
class ServiceWorth:
    """One service of the matrix; money in currency units."""

    service_id: str
    name: str
    provider: str
    reach: float  # share of users whose best list holds it
    uses: float  # expected uses a user
    demand: Interval  # what it adds to the best lists, a user
    supply: Interval  # net margin of an offer, as far as it can be delivered
    delivered: float  # share of the expected uses that capacity allows; 1: no limit
    nps: float | None  # mean of its feedback
    verdict: str


@dataclass(frozen=True)
class Portfolio:
    """Every service, and the core set."""

    services: tuple[ServiceWorth, ...]
    core: tuple[str, ...]
    worth: Interval  # of the best lists of all services, a user
    regret: Interval  # what the core loses of it, a user
    currency: str
    n_users: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def portfolio(
    estimates: Estimates,
    eligible: NDArray[np.bool_],
    catalog: Catalog,
    settings: DecisionSettings,
    *,
    core: int,
    average_error: Floats,
    nps: Mapping[str, float],
    days: int,
    currency: str,
    level: float,
    rng: np.random.Generator,
    choice_load: Floats | None = None,
) -> Portfolio:
    """The matrix and the core of ``core`` services.

    Intervals come from a bootstrap over users; that of supply is widened by the models' own uncertainty.

    Parameters
    ----------
    average_error : ndarray of shape (n_services,)
        Standard error of each service's average uplift in margin.
    nps : mapping of service_id to mean score
    days : int
        In which the expected uses happen; capacity of a day counts so often.
    """
    slates = decide(estimates, eligible, catalog, settings, choice_load=choice_load)
    load = np.full(len(eligible), settings.choice_load) if choice_load is None else choice_load
    used, added = _of_lists(slates.services, estimates, catalog, settings.similarity_load, load)
    every = worth_with(tuple(range(len(catalog))), estimates, eligible, catalog, settings, choice_load)

    def worth(services: tuple[int, ...]) -> Floats:
        return worth_with(services, estimates, eligible, catalog, settings, choice_load)

    kept = best_core(worth, len(catalog), core)
    drawn = rng.multinomial(len(eligible), np.full(len(eligible), 1 / len(eligible)), _REPLICATES)
    counts = drawn / len(eligible)
    needed = used.sum(axis=0) / days
    capacity = np.array(
        [np.inf if s.capacity_per_day is None else s.capacity_per_day for s in catalog.services]
    )
    delivered = np.minimum(1.0, capacity / np.maximum(needed, 1e-12))
    net = estimates.uplift_margin - estimates.uptake * catalog.unit_cost - catalog.contact_cost
    supply = (net.mean(axis=0) * delivered, (counts @ net) * delivered)
    spread = NormalDist().inv_cdf((1 + level) / 2) * average_error * delivered
    demand = (added.mean(axis=0), counts @ added)
    lines = np.median(demand[0]), np.median(supply[0])
    services = []
    for position, service in enumerate(catalog.services):
        offered = Interval.of(supply[0][position], supply[1][:, position], level)
        half = np.hypot((offered.high - offered.low) / 2, spread[position])
        wanted = Interval.of(demand[0][position], demand[1][:, position], level)
        services.append(
            ServiceWorth(
                service_id=service.service_id,
                name=service.name,
                provider=service.provider,
                reach=float((slates.services == position).any(axis=1).mean()),
                uses=float(used[:, position].mean()),
                demand=wanted,
                supply=Interval(offered.value, offered.value - float(half), offered.value + float(half)),
                delivered=float(delivered[position]),
                nps=nps.get(service.service_id),
                verdict=_verdict(wanted.value > 0 and wanted.value >= lines[0], offered.value >= lines[1]),
            )
        )
    lost = every - kept.worth
    return Portfolio(
        tuple(services),
        tuple(catalog.ids[position] for position in kept.services),
        Interval.of(every.mean(), counts @ every, level),
        Interval.of(lost.mean(), counts @ lost, level),
        currency,
        len(eligible),
    )


def _of_lists(
    lists: NDArray[np.intp], estimates: Estimates, catalog: Catalog, similarity: float, load: Floats
) -> tuple[Floats, Floats]:
    """Expected uses of each service by each user's list, and what it adds; (n_users, n_services)."""
    shown, places = lists >= 0, np.maximum(lists, 0)
    uptake = np.take_along_axis(estimates.uptake, places, axis=1)
    odds = np.where(shown, attraction(uptake), 0.0)
    alike = count_alike(np.where(shown, catalog.category[places], -1))
    effort = choice_effort(np.maximum(shown.sum(axis=1), 1), load, alike, similarity)
    taken = odds / (effort + odds.sum(axis=1))[:, None]
    margin = np.take_along_axis(estimates.uplift_margin, places, axis=1) - uptake * catalog.unit_cost[places]
    adds = margin * taken / np.maximum(uptake, 1e-12) - catalog.contact_cost[places]
    used, added = np.zeros(estimates.uptake.shape), np.zeros(estimates.uptake.shape)
    user, place = np.nonzero(shown)
    used[user, lists[user, place]] = taken[user, place]
    added[user, lists[user, place]] = adds[user, place]
    return used, added


def _verdict(is_wanted: bool, is_supplied: bool) -> str:
    if is_wanted:
        return KEEP if is_supplied else FIX_SUPPLY
    return FIX_DEMAND if is_supplied else DROP
