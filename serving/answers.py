"""Decisions, profiles and services as the keys that HTTP answers and the log hold."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from offers.catalog import Catalog
from offers.settings import ExplorationSettings
from serving.recommender import Decision, Offered
from serving.state import Profile
from training.bundle import Bundle

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(at_us: int) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC.

    >>> iso(1_500_000)
    '1970-01-01T00:00:01.500000Z'
    """
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat().replace("+00:00", "Z")


def decision_answer(decision_id: str, decision: Decision, bundle: Bundle) -> dict[str, Any]:
    """The answer of POST /recommend."""
    asked = decision.asked
    answer = {
        "decision_id": decision_id,
        "user_id": asked.user_id,
        "arm": decision.arm,
        "services": [_offer(rank, one, bundle) for rank, one in enumerate(decision.offered, start=1)],
        "n_reason": decision.n_reason,
        "degraded": None,
        "bundle": bundle.hash,
        "profile_as_of": iso(asked.as_of_us),
    }
    if asked.explain:
        answer["why_not"] = [
            {"service_id": refusal.service_id, "reason": refusal.reason} for refusal in decision.refusals
        ]
    return answer


def decision_record(
    answer: dict[str, Any],
    decision: Decision,
    catalog: Catalog,
    exploration: ExplorationSettings,
    channel: str,
) -> dict[str, Any]:
    """What the log keeps: the answer, and all that led to it."""
    asked, estimates = decision.asked, decision.estimates
    return {
        **answer,
        "channel": channel,
        "scenario": asked.scenario,
        "tier": asked.tier,
        "max_services": asked.max_services,
        "slate_propensity": decision.slate_propensity,
        "policy_list": [catalog.ids[position] for position in decision.policy_list],
        "worth_by_length": [number_or_none(worth) for worth in decision.worth_by_length],
        "holdout": exploration.holdout,
        "explore": exploration.explore,
        "seed": asked.seed,
        "candidates": {
            "service_id": list(catalog.ids),
            "eligible": decision.candidates.tolist(),
            "uptake": _numbers(estimates.uptake),
            "uplift_repurchase": _numbers(estimates.uplift_repurchase),
            "uplift_margin": _numbers(estimates.uplift_margin),
        },
    }


def exposure_rows(
    decision_id: str, decision: Decision, catalog: Catalog, shown_at_us: int, channel: str
) -> list[dict[str, Any]]:
    """The decision as rows of the table ``exposures``; a list of nothing is one row without a service."""
    shown = [(catalog.ids[one.position], one.propensity) for one in decision.offered]
    return [
        {
            "slate_id": decision_id,
            "position": position,
            "user_id": decision.asked.user_id,
            "shown_at_us": shown_at_us,
            "service_id": service_id,
            "propensity": propensity,
            "slate_propensity": decision.slate_propensity,
            "channel": channel,
            "arm": decision.arm,
        }
        for position, (service_id, propensity) in enumerate(
            shown or [("", decision.slate_propensity)], start=1
        )
    ]


def profile_answer(user_id: str, profile: Profile, columns: tuple[str, ...]) -> dict[str, Any]:
    """The answer of GET /users/{id}/profile; null is unknown."""
    return {
        "user_id": user_id,
        "profile_as_of": iso(profile.as_of_us),
        "tier": profile.tier,
        "features": dict(zip(columns, map(number_or_none, profile.features.tolist()), strict=True)),
    }


def services_answer(bundle: Bundle) -> dict[str, Any]:
    """The answer of GET /services."""
    return {
        "services": [
            {
                "service_id": service.service_id,
                "name": service.name,
                "category": service.category,
                "scenario": service.scenario,
                "unit_cost": service.unit_cost,
                "contact_cost": service.contact_cost,
                "tiers": list(service.tiers),
                "capacity_per_day": service.capacity_per_day,
                "provider": service.provider,
                "active_from": service.active_from.isoformat() if service.active_from else None,
                "active_until": service.active_until.isoformat() if service.active_until else None,
                "cold": cold,
            }
            for service, cold in zip(bundle.catalog.services, bundle.cold.tolist(), strict=True)
        ],
        "bundle": bundle.hash,
    }


def number_or_none(number: float) -> float | None:
    """The number, or None where JSON has no word for it."""
    return number if math.isfinite(number) else None


def _offer(rank: int, offered: Offered, bundle: Bundle) -> dict[str, Any]:
    service = bundle.catalog.services[offered.position]
    why = offered.why
    return {
        "service_id": service.service_id,
        "name": service.name,
        "rank": rank,
        "uptake": offered.uptake,
        "uplift": offered.uplift,
        "value": offered.value,
        "cost": offered.cost,
        "propensity": offered.propensity,
        "cold": bool(bundle.cold[offered.position]),
        "why": [
            {"feature": reason.feature, "value": number_or_none(reason.value), "effect": reason.effect}
            for reason in (why.reasons if why else ())
        ],
        "why_base": why.base if why else None,
        "why_rest": why.rest if why else None,
    }


def _numbers(row: Any) -> list[float | None]:
    return [number_or_none(number) for number in row[0].tolist()]
