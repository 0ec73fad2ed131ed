"""A decision as the log keeps it: compact, versioned, and enough to make the same decision again.

What went into the decision and what came out of it stand side by side, so that a replay can take the one
and compare the other. docs/design.md lists the keys. Services are positions in the bundle's catalogue;
what all decisions of a bundle or of some settings share is kept once (``serving.kept``).
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import sqlalchemy as sa
from numpy.typing import NDArray

from offers.rule_evaluation import Past
from offers.settings import Settings
from serving.kept import Names, kept_settings
from serving.recommender import Asked, Decision, Offered
from training.bundle import Bundle

FORMAT = 2  # 1: the readable form, without what a replay needs
N_NUMBERS = 7  # of each service shown: position, uptake, uplift, value, cost, propensity, inclusion
PACKED = {  # arrays by their key, and the type of their bytes
    "profile": "<f4",
    "showing": "<f8",
    "uptake": "<f8",
    "uplift_margin": "<f8",
}

Record = dict[str, Any]


@dataclass(frozen=True)
class Basis:
    """What decides besides the request, and the hashes under which it is kept."""

    bundle: Bundle
    settings: Settings
    names_hash: str
    settings_hash: str

    @cached_property
    def names(self) -> Names:
        """What the bundle calls services and columns."""
        return Names.of(self.bundle)


def keep_basis(connection: sa.Connection, bundle: Bundle, settings: Settings) -> Basis:
    """Keep what decisions made on this basis will name."""
    names, kept = Names.of(bundle).to_kept(), kept_settings(settings)
    names.write(connection)
    kept.write(connection)
    return Basis(bundle, settings, names.hash, kept.hash)


def record_of(decision_id: str, user_id: str, decision: Decision, basis: Basis) -> Record:
    """All that the log keeps of a decision; ``user_id`` is "" where the log must not learn it."""
    asked, estimates = decision.asked, decision.estimates
    return {
        "format": FORMAT,
        "decision_id": decision_id,
        "user_id": user_id,
        "decided_at_us": decision.decided_at_us,
        "bundle": basis.bundle.hash,
        "names": basis.names_hash,
        "settings": basis.settings_hash,
        "rules": decision.rules,  # "": none
        "channel": asked.channel,
        "scenario": asked.scenario,
        "tier": asked.tier,
        "as_of_us": asked.as_of_us,
        "max_services": asked.max_services,
        "explain": asked.explain,
        "seed": list(asked.seed) if isinstance(asked.seed, tuple) else asked.seed,
        "profile": _packed("profile", asked.profile),
        "past": None if asked.past is None else _past_text(asked.past),
        "held_out": decision.is_held_out,
        "withheld": decision.withheld,
        "choice_load": asked.choice_load,
        "money": asked.money,
        "showing": None if asked.showing is None else _packed("showing", asked.showing),
        "closed": asked.closed,
        "rung": asked.rung,
        "arm": decision.arm,
        "shown": [_shown(one) for one in decision.offered],
        "slate_propensity": decision.slate_propensity,
        "n_reason": decision.n_reason,
        "policy_list": list(decision.policy_list),
        "worth_by_length": list(decision.worth_by_length),  # JSON has null for −inf
        "refusals": _by_reason(decision.refusals),
        "uptake": _packed("uptake", estimates.uptake[0]),
        "uplift_margin": _packed("uplift_margin", estimates.uplift_margin[0]),
    }


def to_text(record: Record) -> str:
    """The record as the log holds it; the same record gives the same text."""
    return orjson.dumps(record).decode()


def from_text(text: str) -> Record:
    """The record that the log holds."""
    record: Record = orjson.loads(text)
    return record


def is_replayable(record: Record) -> bool:
    """Does the record hold what a replay needs? The first format did not."""
    return record.get("format") == FORMAT


def asked_of(record: Record) -> Asked:
    """The request with all that the decision knew."""
    seed, user_id = record["seed"], record["user_id"]
    return Asked(
        user_id=user_id,
        profile=numbers_of(record, "profile"),
        tier=record["tier"],
        as_of_us=record["as_of_us"],
        seed=tuple(seed) if isinstance(seed, list) else seed,
        max_services=record["max_services"],
        scenario=record["scenario"],
        channel=record["channel"],
        past=_past_of(record["past"]),
        explain=record["explain"],
        is_held_out=None if user_id else record["held_out"],  # without the id it cannot be asked again
        withheld=None if user_id else record["withheld"],
        choice_load=record["choice_load"],
        money=record["money"],
        showing=None if record["showing"] is None else numbers_of(record, "showing"),
        closed=record["closed"],
        rung=record["rung"],
    )


def numbers_of(record: Record, key: str) -> NDArray[Any]:
    """The numbers of one of the packed arrays."""
    return np.frombuffer(b64decode(record[key], validate=True), dtype=PACKED[key])


def _past_text(past: Past) -> dict[str, Any]:
    """What rules knew of the user's past, as JSON holds it; never is null."""
    return {
        "showings": {str(days): counts[0].tolist() for days, counts in sorted(past.showings.items())},
        "days_since": {kind: days[0].tolist() for kind, days in sorted(past.days_since.items())},
        "shown_today": None if past.shown_today is None else past.shown_today[0].tolist(),
    }


def _past_of(text: dict[str, Any] | None) -> Past | None:
    if text is None:
        return None
    today = text["shown_today"]
    return Past(
        {int(days): np.array([counts], np.int64) for days, counts in text["showings"].items()},
        {kind: np.array([days], np.float64) for kind, days in text["days_since"].items()},
        None if today is None else np.array([today], np.int64),
    )


def _packed(key: str, numbers: NDArray[Any]) -> str:
    """An array's bytes as text: every bit of it, in half the length of its digits."""
    return b64encode(np.ascontiguousarray(numbers, dtype=PACKED[key]).tobytes()).decode()


def _shown(one: Offered) -> list[Any]:
    """The numbers of a service that is shown; where they were asked for, also base, rest and reasons."""
    row = [one.position, one.uptake, one.uplift, one.value, one.cost, one.propensity, one.inclusion]
    if one.why is None:
        return row
    reasons = [[reason.feature, reason.value, reason.effect] for reason in one.why.reasons]
    return [*row, one.why.base, one.why.rest, reasons]


def _by_reason(refusals: Mapping[int, str]) -> dict[str, list[int]]:
    """The positions of the refused services by reason, for many share one."""
    found: dict[str, list[int]] = {}
    for place, reason in refusals.items():
        found.setdefault(reason, []).append(place)
    return found
