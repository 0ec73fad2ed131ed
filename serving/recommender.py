"""Users in, decisions out: estimates, eligibility, policy and draw. No HTTP, no SQL, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offers import exploration
from offers.catalog import Catalog
from offers.eligibility import Eligibility, eligible
from offers.policy import decide, n_reason
from offers.ranking import is_known
from offers.settings import DecisionSettings, Settings
from offers.types import Estimates, Refusal, Slates
from serving.explanation import Explanation, explain
from training.bundle import Bundle


@dataclass(frozen=True)
class Asked:
    """A request for one user's list, with all that the decision may know."""

    user_id: str
    profile: NDArray[np.float32]  # (n_columns,) in the order of the bundle's layout
    tier: str
    as_of_us: int  # of the profile, microseconds since 1970
    seed: int  # of the draw
    max_services: int
    scenario: str = ""  # "": any
    explain: bool = False


@dataclass(frozen=True)
class Offered:
    """One service of the list; money is in currency units, as if it were offered alone."""

    position: int  # in the catalogue
    uptake: float
    uplift: float  # in margin
    value: float
    cost: float
    propensity: float  # of this service at this rank
    why: Explanation | None  # of the value; None where it was not asked for


@dataclass(frozen=True)
class Decision:
    """What one user is shown, and all that led to it."""

    asked: Asked
    arm: str
    offered: tuple[Offered, ...]  # best first
    slate_propensity: float
    n_reason: str
    refusals: tuple[Refusal, ...]
    policy_list: tuple[int, ...]  # catalogue positions, without exploration
    worth_by_length: tuple[float, ...]
    candidates: NDArray[np.bool_]  # (n_services,) eligible, with a sound estimate
    estimates: Estimates  # arrays of shape (1, n_services)


def recommend(bundle: Bundle, settings: Settings, asked: Sequence[Asked], now_us: int) -> list[Decision]:
    """A decision for each user asked for; each depends on its own request alone."""
    if not asked:
        return []
    estimates = bundle.estimates(np.stack([one.profile for one in asked]))
    allowed = eligible(bundle.catalog, [one.tier for one in asked], now_us, [one.scenario for one in asked])
    candidates = allowed.mask & is_known(estimates)
    return [
        _decide_one(bundle, settings, one, _row(estimates, user), candidates[user], allowed, user)
        for user, one in enumerate(asked)
    ]


def _decide_one(
    bundle: Bundle,
    settings: Settings,
    asked: Asked,
    estimates: Estimates,
    candidates: NDArray[np.bool_],
    allowed: Eligibility,
    user: int,
) -> Decision:
    slates = decide(estimates, candidates[None], bundle.catalog, settings.decision, asked.max_services)
    policy_list = tuple(slates.services[0, : slates.length[0]].tolist())
    eligible_positions = np.flatnonzero(candidates)
    drawn = exploration.draw(
        policy_list,
        eligible_positions.tolist(),
        asked.max_services,
        exploration.in_holdout(asked.user_id, settings.exploration),
        settings.exploration,
        np.random.default_rng(asked.seed),
    )
    propensity = exploration.propensity(
        drawn.services, policy_list, len(eligible_positions), asked.max_services, settings.exploration
    )
    return Decision(
        asked=asked,
        arm=drawn.arm,
        offered=_offered(bundle, settings, asked, estimates, drawn.services, propensity.positions),
        slate_propensity=propensity.slate,
        n_reason=_length_reason(drawn.arm, slates, len(eligible_positions)),
        refusals=allowed.refusals(user) + _unknown(bundle.catalog, allowed.mask[user] & ~candidates),
        policy_list=policy_list,
        worth_by_length=tuple(slates.worth_by_length[0].tolist()),
        candidates=candidates,
        estimates=estimates,
    )


def _offered(
    bundle: Bundle,
    settings: Settings,
    asked: Asked,
    estimates: Estimates,
    shown: Sequence[int],
    propensities: Sequence[float],
) -> tuple[Offered, ...]:
    catalog = bundle.catalog
    reasons = explain(bundle, settings.decision, asked.profile, shown) if asked.explain and shown else {}
    offered = []
    for position, propensity in zip(shown, propensities):
        uptake = float(estimates.uptake[0, position])
        uplift = float(estimates.uplift_margin[0, position])
        cost = uptake * float(catalog.unit_cost[position]) + float(catalog.contact_cost[position])
        offered.append(
            Offered(
                position=position,
                uptake=uptake,
                uplift=uplift,
                value=_value(uplift, cost, settings.decision),
                cost=cost,
                propensity=propensity,
                why=reasons.get(position),
            )
        )
    return tuple(offered)


def _value(uplift: float, cost: float, decision: DecisionSettings) -> float:
    return uplift - cost * (1 + decision.money_price)


def _length_reason(arm: str, slates: Slates, n_eligible: int) -> str:
    if arm == exploration.HOLDOUT:
        return "Nothing: the user is in the holdout, with which the others are compared."
    if arm == exploration.EXPLORE:
        return "Explored: length and list were drawn at random, so that the next model can learn from them."
    return n_reason(slates.worth_by_length[0].tolist(), int(slates.length[0]), n_eligible)


def _unknown(catalog: Catalog, without_estimate: NDArray[np.bool_]) -> tuple[Refusal, ...]:
    return tuple(
        Refusal(catalog.ids[position], "the models have no sound estimate of it for this user")
        for position in np.flatnonzero(without_estimate)
    )


def _row(estimates: Estimates, user: int) -> Estimates:
    row = slice(user, user + 1)
    return Estimates(estimates.uptake[row], estimates.uplift_repurchase[row], estimates.uplift_margin[row])
