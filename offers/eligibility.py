"""Which services may be offered to whom now, and the reason for each refusal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offers import availability
from offers.catalog import Catalog
from offers.rule_evaluation import Facts, RuleVerdicts, evaluate
from offers.rules import RuleSet
from offers.types import ListRules

_ALLOWED, _NOT_YET, _ENDED, _TIER, _SCENARIO, _CAPACITY, _RULE, _FURTHER = range(8)
RULE, TRACK, HOLDOUT, BUDGET = "rule", "track", "holdout", "budget"
_KINDS = ("", "not_yet", "ended", "tier", "scenario", "capacity", RULE)  # by verdict; "": allowed

Reason = Callable[[int, int], str]  # of a user, by row, and a catalogue position


@dataclass(frozen=True)
class Eligibility:
    """What may be offered to each user; ``mask`` has shape (n_users, n_services), True where allowed."""

    mask: NDArray[np.bool_]
    catalog: Catalog
    tiers: tuple[str, ...]  # of each user
    scenarios: tuple[str, ...]  # of each user; "": any
    verdict: NDArray[np.int8]  # (n_users, n_services): the first rule that refuses, 0 where none does
    ruled: RuleVerdicts | None = None  # what the benefit rules say; None where none were asked
    further: tuple[Reason, ...] = ()  # of what ``without`` took away, in its order
    kinds: tuple[str, ...] = _KINDS  # of refusals, by verdict; "": allowed

    @cached_property
    def list_rules(self) -> ListRules | None:
        """What lists must keep to by the benefit rules; None where none were asked."""
        return None if self.ruled is None else self.ruled.list_rules(self.mask)

    def without(self, refused: NDArray[np.bool_], reason: Reason, kind: str) -> "Eligibility":
        """The same less these services, shape (n_users, n_services); what was refused keeps its reason."""
        verdict = np.where(self.mask & refused, np.int8(_FURTHER + len(self.further)), self.verdict)
        return replace(
            self,
            mask=self.mask & ~refused,
            verdict=verdict,
            further=(*self.further, reason),
            kinds=(*self.kinds, kind),
        )

    def refusals(self, user: int) -> dict[int, str]:
        """The first reason for each service refused to the user in this row, by catalogue position."""
        verdicts = self.verdict[user].tolist()
        return {
            position: self._reason(verdict, user, position)
            for position, verdict in enumerate(verdicts)
            if verdict != _ALLOWED
        }

    def _reason(self, verdict: int, user: int, position: int) -> str:
        service = self.catalog.services[position]
        if verdict == _TIER:
            return _other_tier(service.tiers, self.tiers[user])
        if verdict >= _FURTHER:
            return self.further[verdict - _FURTHER](user, position)
        if verdict == _NOT_YET:
            return f"starts at {_text(self.catalog.active_from_us[position])}"
        if verdict == _ENDED:
            return f"ended at {_text(self.catalog.active_until_us[position])}"
        if verdict == _RULE and self.ruled is not None:
            return self.ruled.reason(user, position)
        if verdict == _CAPACITY:
            return f"its capacity of {service.capacity_per_day} a day is used up"
        return f"made for the scenario {service.scenario}; asked for {self.scenarios[user]}"


def eligible(
    catalog: Catalog,
    tiers: Sequence[str],
    now_us: ArrayLike,
    scenarios: Sequence[str] | None = None,
    rules: RuleSet | None = None,
    facts: Facts | None = None,
) -> Eligibility:
    """What may be offered, by the catalogue's dates, tiers, scenarios and capacities, and by the rules.

    Parameters
    ----------
    tiers : sequence of n_users names
        The value tier of each user.
    now_us : int or array-like of shape (n_users,)
        The moment of the decision, microseconds since 1970 UTC, for all users or for each. A service
        may be offered from active_from on and strictly before active_until.
    scenarios : sequence of n_users names, optional
        The scenario each user is in; "", and the default, mean any.
    rules : RuleSet, optional
        The benefit rules; they ask ``facts``, which must be given with them.
    facts : Facts, optional
        What was shown and used so far, and what the rules ask of the profiles.

    Examples
    --------
    >>> from offers.types import Service
    >>> catalog = Catalog.of([Service("gift", "Gift"), Service("lounge", "Lounge", tiers=("gold",))])
    >>> found = eligible(catalog, ["basic", "gold"], now_us=0)
    >>> found.mask.tolist()
    [[True, False], [True, True]]
    >>> found.refusals(0)
    {1: 'only for tiers gold; the user is in basic'}
    """
    now = np.asarray(now_us, dtype=np.int64)
    if now.ndim > 1 or (now.ndim == 1 and len(now) != len(tiers)):
        raise ValueError(f"now_us must be one time or one for each of {len(tiers)} users, got {now.shape}.")
    where = tuple(scenarios) if scenarios is not None else ("",) * len(tiers)
    shape = (len(tiers), len(catalog))
    refused = {
        _NOT_YET: availability.not_yet_active(catalog, now),
        _ENDED: availability.no_longer_active(catalog, now),
        _TIER: availability.tier_excluded(catalog, tiers),
        _SCENARIO: availability.other_scenario(catalog, where),
    }
    if facts is not None and facts.past.shown_today is not None:
        refused[_CAPACITY] = availability.used_up(catalog, facts.past.shown_today)
    ruled = None
    if rules is not None and rules.rules:
        if facts is None:
            raise ValueError("rules need facts: pass what was shown and used so far with them.")
        away = [refused[kind] for kind in (_NOT_YET, _ENDED, _CAPACITY) if kind in refused]
        ruled = evaluate(rules, catalog, facts, ~np.logical_or.reduce(np.broadcast_arrays(*away)))
        refused[_RULE] = ruled.verdict != 0
    verdict = np.zeros(shape, dtype=np.int8)
    for kind, applies in reversed(refused.items()):
        np.copyto(verdict, kind, where=applies)
    return Eligibility(verdict == _ALLOWED, catalog, tuple(tiers), where, verdict, ruled)


@lru_cache(1024)  # the most frequent reason of all
def _other_tier(tiers: tuple[str, ...], tier: str) -> str:
    return f"only for tiers {', '.join(tiers)}; the user is in {tier}"


def _text(at_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(at_us))).isoformat()
