"""Decisions, profiles and services as the keys that HTTP answers and the log hold."""

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from offers.settings import Settings
from serving.kept import Names
from serving.records import N_NUMBERS, Record, numbers_of
from serving.state import Profile
from training.bundle import Bundle

NOT_LOGGED = "not_logged"  # the rung of an answer whose decision could not be kept

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(1024)  # profiles that were made together have one moment
def iso(at_us: int) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC.

    >>> iso(1_500_000)
    '1970-01-01T00:00:01.500000Z'
    """
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat().replace("+00:00", "Z")


def decision_answer(record: Record, names: Names, user_id: str) -> dict[str, Any]:
    """The answer of POST /recommend, from what the log keeps."""
    answer = {
        "decision_id": record["decision_id"],
        "user_id": user_id,
        "arm": record["arm"],
        "services": [_offer(rank, row, names) for rank, row in enumerate(record["shown"], start=1)],
        "n_reason": record["n_reason"],
        "prices": prices_answer(record, names),
        "degraded": record["rung"] or None,
        "bundle": record["bundle"],
        "profile_as_of": iso(record["as_of_us"]),
    }
    return {**answer, "why_not": refusals_of(record, names)} if record["explain"] else answer


def prices_answer(record: Record, names: Names) -> dict[str, Any]:
    """What the list had to earn beyond its costs."""
    showing = None if record["showing"] is None else numbers_of(record, "showing")
    places = [row[0] for row in record["shown"]]
    return {
        "money": record["money"],
        "showing": {
            names.service_id[place]: 0.0 if showing is None else float(showing[place]) for place in places
        },
    }


def unlogged_answer(record: Record, names: Names, user_id: str) -> dict[str, Any]:
    """The answer where the log could not keep the decision: no id to ask for, no propensity to learn from."""
    answer = decision_answer(record, names, user_id)
    services = [{**one, "propensity": None} for one in answer["services"]]
    return {**answer, "decision_id": None, "services": services, "degraded": NOT_LOGGED}


def refusals_of(record: Record, names: Names) -> list[dict[str, str]]:
    """Each service refused, in catalogue order, and why."""
    reason_of = {place: reason for reason, places in record["refusals"].items() for place in places}
    return [
        {"service_id": names.service_id[place], "reason": reason_of[place]} for place in sorted(reason_of)
    ]


def decision_in_full(record: Record, names: Names, settings: Settings) -> dict[str, Any]:
    """The answer of GET /decisions/{id}: the answer that was given, and all that led to it."""
    refused = {place for places in record["refusals"].values() for place in places}
    profile = numbers_of(record, "profile").tolist()
    return {
        **decision_answer(record, names, record["user_id"]),
        "why_not": refusals_of(record, names),
        "format": record["format"],
        "decided_at": iso(record["decided_at_us"]),
        "settings": record["settings"],
        "channel": record["channel"],
        "scenario": record["scenario"],
        "tier": record["tier"],
        "max_services": record["max_services"],
        "slate_propensity": record["slate_propensity"],
        "inclusion": {names.service_id[row[0]]: row[N_NUMBERS - 1] for row in record["shown"]},
        "policy_list": [names.service_id[place] for place in record["policy_list"]],
        "worth_by_length": [
            None if worth is None else number_or_none(worth) for worth in record["worth_by_length"]
        ],
        "held_out": record["held_out"],
        "choice_load": record["choice_load"],
        "money": record["money"],
        "withheld": _named(record["withheld"], names),
        "closed": _named(record["closed"], names),
        "holdout": settings.exploration.holdout,
        "explore": settings.exploration.explore,
        "seed": record["seed"],
        "candidates": {
            "service_id": list(names.service_id),
            "eligible": [place not in refused for place in range(len(names.service_id))],
            **{
                name: [number_or_none(number) for number in numbers_of(record, name).tolist()]
                for name in ("uptake", "uplift_margin")
            },
            "showing": None if record["showing"] is None else numbers_of(record, "showing").tolist(),
        },
        "profile": dict(zip(names.columns, map(number_or_none, profile), strict=True)),
    }


def exposure_rows(record: Record, names: Names) -> list[dict[str, Any]]:
    """The decision as rows of the table ``exposures``; a list of nothing is one row without a service."""
    shown = [(names.service_id[place], propensity) for place, _, _, _, _, propensity, *_ in record["shown"]]
    return [
        {
            "slate_id": record["decision_id"],
            "position": position,
            "user_id": record["user_id"],
            "shown_at_us": record["decided_at_us"],
            "service_id": service_id,
            "propensity": propensity,
            "slate_propensity": record["slate_propensity"],
            "channel": record["channel"],
            "arm": record["arm"],
        }
        for position, (service_id, propensity) in enumerate(
            shown or [("", record["slate_propensity"])], start=1
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


def _named(places: dict[str, list[int]] | None, names: Names) -> dict[str, list[str]] | None:
    """Positions by anything, as ids."""
    if places is None:
        return None
    return {key: [names.service_id[place] for place in some] for key, some in places.items()}


def _offer(rank: int, row: list[Any], names: Names) -> dict[str, Any]:
    """One service of the list, from its row in the record."""
    place, uptake, uplift, value, cost, propensity, _ = row[:N_NUMBERS]
    base, rest, reasons = row[N_NUMBERS:] or (None, None, ())
    return {
        "service_id": names.service_id[place],
        "name": names.name[place],
        "rank": rank,
        "uptake": uptake,
        "uplift": uplift,
        "value": value,
        "cost": cost,
        "propensity": propensity,
        "cold": names.cold[place],
        "why": [
            {"feature": feature, "value": None if found is None else number_or_none(found), "effect": effect}
            for feature, found, effect in reasons
        ],
        "why_base": base,
        "why_rest": rest,
    }
