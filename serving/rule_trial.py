"""Rules tried on all users before they are served: who would get something else, and what that is worth."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.allowance import Allowance, allow
from features.history import History
from features.pipeline import compute
from features.tables import Tables
from offers.eligibility import Eligibility
from offers.rules import RuleSet
from offers.settings import Settings
from offers.types import Estimates, Progress, Slates
from training.bundle import Bundle

_N_EXAMPLES = 5
_RESAMPLES = 1000


@dataclass(frozen=True)
class Trial:
    """What new rules would do to the lists of all users at one moment."""

    n_users: int
    n_refused_more: int  # users to whom a service is refused that was not
    n_allowed_more: int  # users who may be shown a service that they might not
    n_other_list: int  # users who would get another list, or none
    by_service: dict[str, tuple[int, int]]  # users shown it, before and after
    by_tier: dict[str, tuple[int, int]]  # users, and how many of them get something else
    examples: tuple[dict[str, Any], ...]
    worth: tuple[float, float, float]  # money a user gained by the models, and its interval
    worth_kind: str

    def to_json(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        gain, low, high = self.worth
        return {
            "users": self.n_users,
            "refused_more": self.n_refused_more,
            "allowed_more": self.n_allowed_more,
            "other_list": self.n_other_list,
            "by_service": {name: {"before": a, "after": b} for name, (a, b) in self.by_service.items()},
            "by_tier": {name: {"users": a, "other_list": b} for name, (a, b) in self.by_tier.items()},
            "examples": list(self.examples),
            "worth": {"gain": gain, "low": low, "high": high, "kind": self.worth_kind},
        }


def try_rules(
    tables: Tables,
    bundle: Bundle,
    settings: Settings,
    old: RuleSet,
    new: RuleSet,
    now_us: int,
    seed: int,
    progress: Progress | None = None,
) -> Trial:
    """Decide for all users by both sets of rules, without exploration, and compare.

    Parameters
    ----------
    now_us : int
        The moment of the decisions, microseconds since 1970.
    seed : int
        Of the interval's resampling of users.
    """
    history = History.of(tables, bundle.layout, bundle.windows.uptake_days)
    n_users = len(history.user_ids)
    profiles = compute(history, bundle.layout, np.arange(n_users), np.full(n_users, now_us), progress)
    estimates = bundle.estimates(profiles, repurchase=False, progress=progress)
    everybody, now = np.arange(n_users), np.full(n_users, now_us)
    allowances = [allow(bundle, history, settings, profiles, everybody, now, rules) for rules in (old, new)]
    tiers, allowed = allowances[0].tiers, [one.eligibility for one in allowances]
    slates = _decide_twice(estimates, allowances[0], allowances[1], settings)
    differs = (slates[0].services != slates[1].services).any(axis=1)
    by_tier = Counter(tiers)
    other_by_tier = Counter(tier for tier, other in zip(tiers, differs.tolist()) if other)
    return Trial(
        n_users=n_users,
        n_refused_more=int((allowed[0].mask & ~allowed[1].mask).any(axis=1).sum()),
        n_allowed_more=int((allowed[1].mask & ~allowed[0].mask).any(axis=1).sum()),
        n_other_list=int(differs.sum()),
        by_service=_by_service(slates, bundle.catalog.ids),
        by_tier={name: (by_tier[name], other_by_tier[name]) for name in bundle.tiers.names if by_tier[name]},
        examples=_examples(differs, slates, allowed, history.user_ids, bundle.catalog.ids),
        worth=_worth(slates, settings.training.interval_level, np.random.default_rng(seed)),
        worth_kind="by the models",  # what the log says of it: training.rule_worth
    )


def _decide_twice(estimates: Estimates, old: Allowance, new: Allowance, settings: Settings) -> list[Slates]:
    """The lists by both; those of whom both ask the same are decided once."""
    before = old.decide(estimates, settings.decision)
    services, length = before.services.copy(), before.length.copy()
    worth = before.worth_by_length.copy()
    users = np.flatnonzero(new.differs(old))
    if len(users):
        found = new.decide(estimates, settings.decision, users=users)
        width = found.services.shape[1]
        services[users], worth[users] = -1, -np.inf
        services[users, :width], length[users] = found.services, found.length
        worth[users, : width + 1] = found.worth_by_length
    return [before, Slates(services=services, length=length, worth_by_length=worth)]


def _by_service(slates: list[Slates], ids: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    before, after = (
        np.bincount(one.services[one.services >= 0], minlength=len(ids)).tolist() for one in slates
    )
    return {name: (before[place], after[place]) for place, name in enumerate(ids)}


def _examples(
    differs: NDArray[np.bool_],
    slates: list[Slates],
    allowed: list[Eligibility],
    user_ids: Sequence[str],
    ids: tuple[str, ...],
) -> tuple[dict[str, Any], ...]:
    found = []
    for user in np.flatnonzero(differs)[:_N_EXAMPLES].tolist():
        before, after = ([ids[place] for place in one.services[user] if place >= 0] for one in slates)
        gone = set(before) - set(after)
        why = {ids[place]: why for place, why in allowed[1].refusals(user).items() if ids[place] in gone}
        found.append({"user_id": user_ids[user], "before": before, "after": after, "why_not": why})
    return tuple(found)


def _worth(slates: list[Slates], level: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Money a user gained, by what the models expect of each list, with a bootstrap interval over users."""
    before, after = (one.worth_by_length[np.arange(len(one.length)), one.length] for one in slates)
    gain = after - before
    if not len(gain):
        return 0.0, 0.0, 0.0
    values, counts = np.unique(gain, return_counts=True)
    if len(values) > len(gain) // 2 or len(values) > 2_000:  # many differ: means are normal
        spread = gain.std() / np.sqrt(len(gain))
        means = rng.normal(gain.mean(), spread, _RESAMPLES)
    else:
        means = rng.multinomial(len(gain), counts / len(gain), _RESAMPLES) @ values / len(gain)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(gain.mean()), float(low), float(high)
