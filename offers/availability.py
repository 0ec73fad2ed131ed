"""One small predicate for each reason in the catalogue why a service may not be offered.

Each returns True where the service is refused, in a shape that broadcasts to (n_users, n_services).
Times are microseconds since 1970 UTC.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog


def not_yet_active(catalog: Catalog, now_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The service starts after this moment; now_us has shape (n_users,) or ()."""
    return now_us[..., None] < catalog.active_from_us


def no_longer_active(catalog: Catalog, now_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The service ended at this moment or before; now_us has shape (n_users,) or ()."""
    return now_us[..., None] >= catalog.active_until_us


def tier_excluded(catalog: Catalog, tiers: Sequence[str]) -> NDArray[np.bool_]:
    """The service is kept for tiers that the user is not in; a service without tiers is for everybody."""
    excluded = catalog.excluded_by_tier
    rows = [excluded.get(tier, excluded[""]) for tier in tiers]
    return np.array(rows, dtype=bool).reshape(len(rows), len(catalog))


def other_scenario(catalog: Catalog, scenarios: Sequence[str]) -> NDArray[np.bool_]:
    """The service is made for another scenario than the user is in; "" on either side fits all."""
    if not any(scenarios):
        return np.zeros((len(scenarios), len(catalog)), dtype=bool)
    of_service, of_user = catalog.scenario, np.asarray(scenarios, dtype=str)[:, None]
    return (of_service != "") & (of_user != "") & (of_service != of_user)


def used_up(catalog: Catalog, shown_today: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The service was shown as often today as it can be delivered; shape that of shown_today."""
    return shown_today >= catalog.capacity_per_day
