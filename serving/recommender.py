"""Users in, decisions out, each with all that led to it. No HTTP, no SQL, no clock."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.rule_facts import facts_of
from offers.decision import Decisions, make_decisions
from offers.eligibility import Eligibility, eligible
from offers.exploration import EXPLORE, HOLDOUT, POLICY
from offers.holdouts import Memberships, memberships
from offers.restrictions import Closed, restrict
from offers.rule_evaluation import Past
from offers.rules import RuleSet
from offers.seeds import Seed
from offers.settings import DecisionSettings, Settings
from offers.tracks import Tracks, tracks_of
from offers.types import Estimates, Prices
from serving.explanation import Explanation, explain
from training.bundle import Bundle

Withheld = Mapping[str, Sequence[int]]  # by the name of a holdout, catalogue positions


class Asked(NamedTuple):
    """A request for one user's list, with all that the decision may know."""

    user_id: str
    profile: NDArray[np.float32]  # (n_columns,) in the order of the bundle's layout
    tier: str
    as_of_us: int  # of the profile, microseconds since 1970
    seed: Seed  # of the draw
    max_services: int
    scenario: str = ""  # "": any
    channel: str = ""  # "": not told
    explain: bool = False
    past: Past | None = None  # of this user, with what the rules need; None: no rules and no capacity
    is_held_out: bool | None = None  # None: as the user's id says
    withheld: Withheld | None = None  # by holdouts of services and tracks; None: as the user's id says
    choice_load: float | None = None  # of this user; None: the setting
    money: float = 0.0  # what a unit of money spent must earn more, because a budget binds
    showing: NDArray[np.float64] | None = None  # (n_services,) money charged for each showing; None: nothing
    closed: Closed | None = None  # what no budget has room for, by the reason; None: nothing
    rung: str = ""  # of the ladder (``serving.ladder``), where something was missing


class Offered(NamedTuple):
    """One service of the list; money is in currency units, as if it were offered alone."""

    position: int  # in the catalogue
    uptake: float
    uplift: float  # in margin
    value: float
    cost: float
    propensity: float  # of this service at this rank
    inclusion: float  # of this service at whichever rank
    why: Explanation | None  # of the value; None where it was not asked for


class Decision(NamedTuple):
    """What one user is shown, and all that led to it."""

    asked: Asked
    decided_at_us: int  # the moment that dates and rules were asked for, microseconds since 1970
    is_held_out: bool
    withheld: Withheld  # by holdouts of services and tracks
    arm: str
    offered: tuple[Offered, ...]  # best first
    slate_propensity: float
    n_reason: str
    refusals: Mapping[int, str]  # why, by catalogue position
    rules: str  # the hash of the rules that were asked; "": none
    policy_list: tuple[int, ...]  # catalogue positions, without exploration
    worth_by_length: tuple[float, ...]
    candidates: NDArray[np.bool_]  # (n_services,) eligible, with a sound estimate
    estimates: Estimates  # arrays of shape (1, n_services)
    made: Decisions  # of all who were decided for together


def recommend(
    bundle: Bundle,
    settings: Settings,
    asked: Sequence[Asked],
    now_us: ArrayLike,
    rules: RuleSet | None = None,
    estimates: Estimates | None = None,
) -> list[Decision]:
    """A decision for each user asked for; each depends on its own request alone.

    ``now_us`` is the moment of all decisions, or of each, microseconds since 1970. Where there are rules,
    each request must have its user's past. ``estimates`` are the bundle's of these profiles, where they are
    known already.
    """
    if not asked:
        return []
    if estimates is None:
        estimates = estimates_of(bundle, asked)
    tracks = tracks_of([one.tier for one in asked], bundle.catalog, settings)
    held = _memberships(bundle, settings, asked, tracks, now_us)
    allowed = restrict(
        _allowed(bundle, asked, now_us, rules or RuleSet()), tracks, held, [one.closed for one in asked]
    )
    made = make_decisions(
        estimates,
        allowed,
        settings,
        held.nothing,
        [one.seed for one in asked],
        max_services=np.array([one.max_services for one in asked]),
        choice_load=_loads(asked, settings.decision),
        prices=_prices(asked, len(bundle.catalog)),
        list_rules=allowed.list_rules,
        nothing_share=held.share,
    )
    digest = rules.digest if rules else ""
    moments = np.full(len(asked), now_us, dtype=np.int64).tolist()
    return [
        _decision(
            bundle, settings, one, moment, estimates.take(slice(user, user + 1)), made, user, digest, held
        )
        for user, (one, moment) in enumerate(zip(asked, moments))
    ]


def estimates_of(bundle: Bundle, asked: Sequence[Asked]) -> Estimates:
    """What the models say of these users; shape (n_asked, n_services). No decision asks for repurchase."""
    return bundle.estimates(np.stack([one.profile for one in asked]), repurchase=False)


def without_exploration(bundle: Bundle, settings: Settings, decision: Decision) -> Decision:
    """The decision where nothing may be drawn, as it cannot be kept: the policy's, or the holdout's."""
    if decision.arm != EXPLORE:
        return decision
    unknown = [math.nan] * len(decision.policy_list)
    shown = _offered(
        bundle, settings, decision.asked, decision.estimates, decision.policy_list, unknown, unknown
    )
    reason = "the decision could not be kept, so that nothing is explored: the list that the policy shows"
    return decision._replace(arm=POLICY, offered=shown, n_reason=reason)


def _loads(asked: Sequence[Asked], decision: DecisionSettings) -> NDArray[np.float64] | None:
    if all(one.choice_load is None for one in asked):
        return None
    return np.array(
        [decision.choice_load if one.choice_load is None else one.choice_load for one in asked],
        dtype=np.float64,
    )


def _prices(asked: Sequence[Asked], n_services: int) -> Prices | None:
    if not any(one.money or one.showing is not None for one in asked):
        return None
    showing = np.zeros((len(asked), n_services))
    for user, one in enumerate(asked):
        if one.showing is not None:
            showing[user] = one.showing
    return Prices(np.array([one.money for one in asked], dtype=np.float64), showing)


def _allowed(bundle: Bundle, asked: Sequence[Asked], now_us: ArrayLike, rules: RuleSet) -> Eligibility:
    tiers, scenarios = [one.tier for one in asked], [one.scenario for one in asked]
    pasts = [one.past for one in asked if one.past is not None]
    if len(pasts) < len(asked):
        return eligible(bundle.catalog, tiers, now_us, scenarios, rules)
    facts = facts_of(
        rules.needs,
        bundle.layout,
        bundle.tiers.names,
        np.array([one.profile for one in asked]),
        tiers,
        now_us,
        Past.stack(pasts),
        scenarios,
        [one.channel for one in asked],
    )
    return eligible(bundle.catalog, tiers, now_us, scenarios, rules, facts)


def _memberships(
    bundle: Bundle, settings: Settings, asked: Sequence[Asked], tracks: Tracks, now_us: ArrayLike
) -> Memberships:
    """Which holdouts hold each user; what a request says of it comes before what the id says."""
    held = memberships(
        [one.user_id for one in asked],
        settings.exploration,
        settings.holdouts,
        bundle.catalog,
        tracks.services,
        now_us,
    )
    for user, one in enumerate(asked):
        if one.is_held_out is not None:
            held.nothing[user] = one.is_held_out
        if one.withheld is not None:
            held.refused[user] = -1
            for name, places in one.withheld.items():
                held.refused[user, list(places)] = held.names.index(name)
    return held


def _withheld(held: Memberships, user: int) -> Withheld:
    if not held.names:
        return {}
    refused = held.refused[user]
    return {
        name: np.flatnonzero(refused == number).tolist()
        for number, name in enumerate(held.names)
        if (refused == number).any()
    }


def _decision(
    bundle: Bundle,
    settings: Settings,
    asked: Asked,
    decided_at_us: int,
    estimates: Estimates,
    made: Decisions,
    user: int,
    rules: str,
    held: Memberships,
) -> Decision:
    shown = made.shown(user)
    propensities = made.propensities[user, : len(shown)].tolist()
    inclusions = made.inclusions[user, : len(shown)].tolist()
    return Decision(
        asked=asked,
        decided_at_us=decided_at_us,
        is_held_out=bool(made.arms[user] == HOLDOUT),
        withheld=_withheld(held, user),
        arm=str(made.arms[user]),
        offered=_offered(bundle, settings, asked, estimates, shown, propensities, inclusions),
        slate_propensity=float(made.slate_propensity[user]),
        n_reason=made.n_reason(user),
        refusals=made.refusals(user),
        rules=rules,
        policy_list=made.policy_list(user),
        worth_by_length=made.worth_by_length(user),
        candidates=made.candidates[user],
        estimates=estimates,
        made=made,
    )


def _offered(
    bundle: Bundle,
    settings: Settings,
    asked: Asked,
    estimates: Estimates,
    shown: Sequence[int],
    propensities: Sequence[float],
    inclusions: Sequence[float],
) -> tuple[Offered, ...]:
    catalog = bundle.catalog
    money_price = settings.decision.money_price + asked.money
    has_reasons = asked.explain and shown and not asked.rung  # lower rungs are not what the models say
    reasons = explain(bundle, money_price, asked.profile, shown) if has_reasons else {}
    uptakes, uplifts = estimates.uptake[0].tolist(), estimates.uplift_margin[0].tolist()
    offered = []
    for position, propensity, inclusion in zip(shown, propensities, inclusions):
        service, uptake, uplift = catalog.services[position], uptakes[position], uplifts[position]
        cost = uptake * service.unit_cost + service.contact_cost
        charge = 0.0 if asked.showing is None else float(asked.showing[position])
        why = reasons.get(position)
        offered.append(
            Offered(
                position=position,
                uptake=uptake,
                uplift=uplift,
                value=uplift - cost * (1 + money_price) - charge,
                cost=cost,
                propensity=propensity,
                inclusion=inclusion,
                why=why and replace(why, base=why.base - charge),
            )
        )
    return tuple(offered)
