"""The catalogue: services in one fixed order, and the same numbers as arrays."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from offers.types import Service

_ALWAYS = np.iinfo(np.int64)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Catalog:
    """Services in the order in which every array of estimates has its columns."""

    services: tuple[Service, ...]

    def __post_init__(self) -> None:
        ids = [service.service_id for service in self.services]
        twice = sorted({service_id for service_id in ids if ids.count(service_id) > 1})
        if twice:
            raise ValueError(f"service_id must be unique in the catalogue, got {twice} more than once.")

    @classmethod
    def of(cls, services: Iterable[Service]) -> "Catalog":
        """A catalogue sorted by service_id, so that the order never depends on a file's."""
        return cls(tuple(sorted(services, key=lambda service: service.service_id)))

    def __len__(self) -> int:
        return len(self.services)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(service.service_id for service in self.services)

    @cached_property
    def position_of(self) -> dict[str, int]:
        """The column of each service_id."""
        return {service_id: position for position, service_id in enumerate(self.ids)}

    @cached_property
    def unit_cost(self) -> NDArray[np.float64]:
        return np.array([service.unit_cost for service in self.services], dtype=np.float64)

    @cached_property
    def contact_cost(self) -> NDArray[np.float64]:
        return np.array([service.contact_cost for service in self.services], dtype=np.float64)

    @cached_property
    def category(self) -> NDArray[np.intp]:
        """A number for the category of each service; one without a category is a category of its own."""
        names = [service.category or (service.service_id,) for service in self.services]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return np.array([numbers[name] for name in names], dtype=np.intp)

    @cached_property
    def scenario(self) -> NDArray[np.str_]:
        """The scenario that each service is made for; "": any."""
        return np.array([service.scenario for service in self.services], dtype=str)

    @cached_property
    def excluded_by_tier(self) -> dict[str, NDArray[np.bool_]]:
        """Which services are kept for others than each tier that a service names; "": than all of these."""
        names = {tier for service in self.services for tier in service.tiers}
        return {
            name: np.array([bool(one.tiers) and name not in one.tiers for one in self.services], dtype=bool)
            for name in (*names, "")
        }

    @cached_property
    def capacity_per_day(self) -> NDArray[np.int64]:
        """How often each service can be delivered in a day; the greatest int64 where it has no limit."""
        limits = [service.capacity_per_day for service in self.services]
        return np.array([_ALWAYS.max if limit is None else limit for limit in limits], dtype=np.int64)

    @cached_property
    def active_from_us(self) -> NDArray[np.int64]:
        """When each service starts, microseconds since 1970 UTC; the least int64 where it always was."""
        return np.array([_or(s.active_from, _ALWAYS.min) for s in self.services], dtype=np.int64)

    @cached_property
    def active_until_us(self) -> NDArray[np.int64]:
        """When each service ends, microseconds since 1970 UTC; the greatest int64 where it never does."""
        return np.array([_or(s.active_until, _ALWAYS.max) for s in self.services], dtype=np.int64)


def microseconds(at: datetime) -> int:
    """Microseconds since 1970 UTC; a time without a zone is UTC.

    >>> microseconds(datetime(1970, 1, 1, 0, 0, 1))
    1000000
    """
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def time_us(text: str) -> int:
    """Microseconds since 1970 UTC of a time as ISO 8601 that names its zone.

    >>> time_us("1970-01-01T00:00:01Z")
    1000000
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"expected a time with its zone, such as 2026-01-01T00:00:00Z, got {text!r}.")
    return microseconds(at)


def _or(at: datetime | None, default: int) -> int:
    return default if at is None else microseconds(at)
