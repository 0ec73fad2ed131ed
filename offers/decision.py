"""The whole decision: what may be shown, the policy's list, the draw, its propensities and the reasons.

Batch, service, loop and replay decide by this one function: whoever holds what went into a decision
can make it again, to the last bit, alone or among a million others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from offers import exploration
from offers.eligibility import Eligibility
from offers.length_reasons import Bounds, bounds_of, n_reason
from offers.list_counts import FeasibleLists
from offers.policy import decide
from offers.ranking import is_known, terms_of
from offers.seeds import Seed, generator_of
from offers.settings import DecisionSettings, Settings
from offers.types import AtMost, Estimates, ListRules, Prices, Slates


@dataclass(frozen=True)
class Decisions:
    """What each of n users is shown, and all that led to it; lists are padded at their end."""

    allowed: Eligibility
    candidates: NDArray[np.bool_]  # (n, n_services) eligible, with a sound estimate
    slates: Slates  # the policy's, without exploration
    max_services: NDArray[np.intp]  # (n,) the longest list allowed
    arms: NDArray[np.str_]  # (n,) policy, explore or holdout
    services: NDArray[np.intp]  # (n, longest) catalogue positions shown, best first; -1 pads
    length: NDArray[np.intp]  # (n,) services shown; 0: nothing
    propensities: NDArray[np.float64]  # (n, longest) of each service at its position; NaN pads
    inclusions: NDArray[np.float64]  # (n, longest) of each service, at whichever position; NaN pads
    slate_propensity: NDArray[np.float64]  # (n,) of the whole list, or of nothing
    estimates: Estimates
    settings: DecisionSettings
    prices: Prices | None
    list_rules: ListRules | None

    def __len__(self) -> int:
        return len(self.length)

    def shown(self, user: int) -> tuple[int, ...]:
        """Catalogue positions that this user is shown, best first."""
        return tuple(self.services[user, : self.length[user]].tolist())

    def policy_list(self, user: int) -> tuple[int, ...]:
        """What the policy would show this user without exploration."""
        return tuple(self.slates.services[user, : self.slates.length[user]].tolist())

    def worth_by_length(self, user: int) -> tuple[float, ...]:
        """Money of the best list of each length, from none to the longest allowed; −inf: too few services."""
        return tuple(self.slates.worth_by_length[user, : self.max_services[user] + 1].tolist())

    def n_reason(self, user: int) -> str:
        """Why this user's list has its length."""
        if self.arms[user] == exploration.HOLDOUT:
            return "Nothing: the user is in the holdout, with which the others are compared."
        if self.arms[user] == exploration.EXPLORE:
            return (
                "Explored: length and list were drawn at random, so that the next model can learn from them."
            )
        length = int(self.slates.length[user])
        return n_reason(self.worth_by_length(user), length, self._n_candidates[user], self._bounds(user))

    @cached_property
    def _n_candidates(self) -> list[int]:
        n_candidates: list[int] = self.candidates.sum(axis=1).tolist()
        return n_candidates

    @cached_property
    def _most_charged(self) -> list[float]:
        """For showing one of each user's candidates."""
        if self.prices is None:
            return [0.0] * len(self)
        most: list[float] = (
            np.where(self.candidates, self.prices.showing, 0.0).max(axis=1, initial=0.0).tolist()
        )
        return most

    @cached_property
    def _unknown(self) -> NDArray[np.bool_] | None:
        """What may be offered, had the models a sound estimate of it; None where they have one of all."""
        unknown = self.allowed.mask & ~self.candidates
        return unknown if unknown.any() else None

    def _bounds(self, user: int) -> Bounds:
        """What the policy's list of this user was bound by."""
        settings, catalog, rules = self.settings, self.allowed.catalog, self.list_rules
        money = settings.money_price + (0.0 if self.prices is None else float(self.prices.money[user]))
        if rules is None or not (rules.at_most or rules.must_show[user].any()):
            return Bounds(settings.max_services, money, self._most_charged[user])  # by no rule, as nearly all
        showing = np.zeros(len(catalog)) if self.prices is None else self.prices.showing[user]
        one = self.estimates.take(slice(user, user + 1))
        return bounds_of(
            terms_of(one, catalog, np.array([money]), showing[None], np.zeros(1), settings.similarity_load),
            [service.name for service in catalog.services],
            self.policy_list(user),
            self.candidates[user],
            rules.must_show[user],
            rules.at_most,
            money=money,
            showing=showing,
            usual_longest=settings.max_services,
        )

    def refusals(self, user: int) -> dict[int, str]:
        """Why each service may not be shown to this user, by catalogue position."""
        refused = self.allowed.refusals(user)
        if self._unknown is not None:
            unknown = np.flatnonzero(self._unknown[user]).tolist()
            refused |= dict.fromkeys(unknown, "the models have no sound estimate of it for this user")
        return refused


def make_decisions(
    estimates: Estimates,
    allowed: Eligibility,
    settings: Settings,
    held_out: NDArray[np.bool_],
    seeds: Sequence[Seed],
    *,
    max_services: int | NDArray[np.intp] | None = None,
    choice_load: NDArray[np.float64] | None = None,
    prices: Prices | None = None,
    list_rules: ListRules | None = None,
    nothing_share: float | NDArray[np.float64] | None = None,
) -> Decisions:
    """A decision for each user; each depends on its own row alone.

    Parameters
    ----------
    estimates : Estimates
        Arrays of shape (n_users, n_services), in the order of ``allowed.catalog``.
    allowed : Eligibility
        What may be offered to each of them.
    held_out : ndarray of bool, shape (n_users,)
        Who is shown nothing (``exploration.in_holdout``).
    seeds : sequence of n_users seeds
        Of each draw.
    max_services : int or ndarray of shape (n_users,), optional
        The longest list, of all or of each; ``settings.decision.max_services`` where it is not given.
    choice_load, prices, list_rules : optional
        As ``offers.policy.decide`` takes them.
    nothing_share : float or ndarray of shape (n_users,), optional
        Of users, in any holdout of everything; ``settings.exploration.holdout`` where there is one alone.

    Examples
    --------
    >>> from offers.catalog import Catalog
    >>> from offers.eligibility import eligible
    >>> from offers.types import Service
    >>> catalog = Catalog.of([Service("a", "A"), Service("b", "B", unit_cost=3.0)])
    >>> one = np.array([[0.5, 0.5]])
    >>> made = make_decisions(
    ...     Estimates(one, one, one), eligible(catalog, ["gold"], 0), Settings(), np.array([False]), [7]
    ... )
    >>> made.arms.tolist(), made.shown(0), made.slate_propensity.round(4).tolist()
    (['policy'], (0,), [0.9144])
    """
    candidates = allowed.mask & is_known(estimates)
    limit = settings.decision.max_services if max_services is None else max_services
    longest = np.full(len(candidates), limit, dtype=np.intp)
    slates = decide(
        estimates,
        candidates,
        allowed.catalog,
        settings.decision,
        longest,
        choice_load=choice_load,
        prices=prices,
        list_rules=list_rules,
    )
    decisions = Decisions(
        allowed=allowed,
        candidates=candidates,
        slates=slates,
        max_services=longest,
        arms=np.empty(len(candidates), dtype="U8"),
        services=np.full(slates.services.shape, -1, dtype=np.intp),
        length=np.zeros(len(candidates), dtype=np.intp),
        propensities=np.full(slates.services.shape, np.nan),
        inclusions=np.full(slates.services.shape, np.nan),
        slate_propensity=np.empty(len(candidates)),
        estimates=estimates,
        settings=settings.decision,
        prices=prices,
        list_rules=list_rules,
    )
    nothing = settings.exploration.holdout if nothing_share is None else nothing_share
    shares = np.full(len(candidates), nothing, dtype=np.float64).tolist()
    for user, (is_held_out, seed) in enumerate(zip(held_out.tolist(), seeds, strict=True)):
        _draw(decisions, user, is_held_out, seed, settings, shares[user])
    return decisions


def _draw(
    decisions: Decisions,
    user: int,
    is_held_out: bool,
    seed: Seed,
    settings: Settings,
    nothing_share: float,
) -> None:
    """Fill in what this user is shown, and how likely that was."""
    policy_list, limit = decisions.policy_list(user), int(decisions.max_services[user])
    rng = generator_of(seed)
    rules = decisions.list_rules
    must_show = tuple(place for place in policy_list if rules is not None and rules.must_show[user, place])
    lists = _lists(decisions.candidates[user].tobytes(), limit, rules.at_most if rules else (), must_show)
    drawn = exploration.draw(policy_list, lists, is_held_out, settings.exploration, rng)
    found = exploration.propensity(drawn.services, policy_list, lists, settings.exploration, nothing_share)
    length = len(drawn.services)
    decisions.arms[user] = drawn.arm
    decisions.length[user] = length
    decisions.services[user, :length] = drawn.services
    decisions.propensities[user, :length] = found.positions
    decisions.inclusions[user, :length] = found.inclusions
    decisions.slate_propensity[user] = found.slate


@lru_cache(4096)  # what one user may be shown, many may be
def _lists(
    candidates: bytes, longest: int, at_most: tuple[AtMost, ...], must_show: tuple[int, ...]
) -> FeasibleLists:
    """What is drawn from; the candidates are a row of ``Decisions.candidates``."""
    eligible = np.flatnonzero(np.frombuffer(candidates, dtype=bool)).tolist()
    return FeasibleLists.of(eligible, longest, at_most, must_show)
