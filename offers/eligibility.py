"""Which services may be offered to whom now, and the reason for each refusal."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offers import rules
from offers.catalog import Catalog
from offers.types import Refusal

_ALLOWED, _NOT_YET, _ENDED, _TIER, _SCENARIO = range(5)


@dataclass(frozen=True)
class Eligibility:
    """What may be offered to each user; ``mask`` has shape (n_users, n_services), True where allowed."""

    mask: NDArray[np.bool_]
    catalog: Catalog
    tiers: tuple[str, ...]  # of each user
    scenarios: tuple[str, ...]  # of each user; "": any
    verdict: NDArray[np.int8]  # (n_users, n_services): the first rule that refuses, 0 where none does

    def refusals(self, user: int) -> tuple[Refusal, ...]:
        """Each service refused to the user in this row, in catalogue order, with the first reason."""
        return tuple(
            Refusal(self.catalog.ids[position], self._reason(user, int(position)))
            for position in np.flatnonzero(~self.mask[user])
        )

    def _reason(self, user: int, position: int) -> str:
        service = self.catalog.services[position]
        verdict = self.verdict[user, position]
        if verdict == _NOT_YET:
            return f"starts at {_text(self.catalog.active_from_us[position])}"
        if verdict == _ENDED:
            return f"ended at {_text(self.catalog.active_until_us[position])}"
        if verdict == _SCENARIO:
            return f"made for the scenario {service.scenario}; asked for {self.scenarios[user]}"
        return f"only for tiers {', '.join(service.tiers)}; the user is in {self.tiers[user]}"


def eligible(
    catalog: Catalog, tiers: Sequence[str], now_us: ArrayLike, scenarios: Sequence[str] | None = None
) -> Eligibility:
    """What may be offered, by the catalogue's dates, tiers and scenarios.

    Parameters
    ----------
    tiers : sequence of n_users names
        The value tier of each user.
    now_us : int or array-like of shape (n_users,)
        The moment of the decision, microseconds since 1970 UTC, for all users or for each. A service
        may be offered from active_from on and strictly before active_until.
    scenarios : sequence of n_users names, optional
        The scenario each user is in; "", and the default, mean any.

    Examples
    --------
    >>> from offers.types import Service
    >>> catalog = Catalog.of([Service("gift", "Gift"), Service("lounge", "Lounge", tiers=("gold",))])
    >>> found = eligible(catalog, ["basic", "gold"], now_us=0)
    >>> found.mask.tolist()
    [[True, False], [True, True]]
    >>> found.refusals(0)
    (Refusal(service_id='lounge', reason='only for tiers gold; the user is in basic'),)
    """
    now = np.asarray(now_us, dtype=np.int64)
    if now.ndim > 1 or (now.ndim == 1 and len(now) != len(tiers)):
        raise ValueError(f"now_us must be one time or one for each of {len(tiers)} users, got {now.shape}.")
    where = tuple(scenarios) if scenarios is not None else ("",) * len(tiers)
    shape = (len(tiers), len(catalog))
    refused = {
        _NOT_YET: rules.not_yet_active(catalog, now),
        _ENDED: rules.no_longer_active(catalog, now),
        _TIER: rules.tier_excluded(catalog, tiers),
        _SCENARIO: rules.other_scenario(catalog, where),
    }
    verdict = np.zeros(shape, dtype=np.int8)
    for rule, applies in reversed(refused.items()):
        verdict[np.broadcast_to(applies, shape)] = rule
    return Eligibility(verdict == _ALLOWED, catalog, tuple(tiers), where, verdict)


def _text(at_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(at_us))).isoformat()
