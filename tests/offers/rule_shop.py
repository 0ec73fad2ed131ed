"""A small shop whose rules every test can read."""

import numpy as np

from features.rules_file import parse_yaml
from offers.catalog import Catalog
from offers.eligibility import eligible
from offers.rule_checks import check_rules
from offers.rule_evaluation import Facts, Past
from offers.rule_parsing import parse_rules
from offers.rules import FAULT, ColumnKind, Vocabulary
from offers.types import Service

TIERS = ("basic", "gold", "platinum")
NOON_US = 1_780_315_200_000_000  # Monday 2026-06-01, 12:00 UTC
CATALOG = Catalog.of(
    [
        Service("gift", "Gift", category="home"),
        Service("lounge", "Lounge", category="travel", tiers=("gold", "platinum")),
        Service("wash-a", "Wash", category="car", provider="a"),
        Service("wash-b", "Wash", category="car", provider="b"),
    ]
)
WORDS = Vocabulary(
    CATALOG,
    {
        "tier": ColumnKind(TIERS),
        "orders": ColumnKind(lowest=0.0),
        "age": ColumnKind(),
        "attribute/city": ColumnKind(("Lyon", "Paris")),
        "uses_90d/lounge": ColumnKind(lowest=0.0),
    },
    channels=("app", "email"),
)


def rules_of(text):
    """The rules of a YAML text, which must be sound."""
    read = parse_yaml(text.encode())
    rules, findings = parse_rules(read.content, WORDS, read.digest)
    assert not read.faults and not findings, (read.faults, findings)
    return rules


def findings_of(text, now_us=NOON_US):
    """All that is found in a YAML text, as (severity, line, text)."""
    read = parse_yaml(text.encode())
    if read.faults:
        return list(read.faults)
    rules, findings = parse_rules(read.content, WORDS)
    if not any(one.severity == FAULT for one in findings):
        findings = (*findings, *check_rules(rules, WORDS, 5, now_us))
    return list(findings)


def ask(
    rules, tier="gold", now_us=NOON_US, channel="", scenario="", shown=None, since=None, today=None, **columns
):
    """What one user of this shop may be offered."""
    nothing = np.zeros((1, len(CATALOG)), np.int64)
    never = np.full((1, len(CATALOG)), np.nan)
    values = {"orders": 0.0, "age": np.nan, "attribute/city": 0.0, "uses_90d/lounge": 0.0, **columns}
    past = Past(
        dict.fromkeys(rules.needs.showings, nothing if shown is None else shown),
        {kind: (since or {}).get(kind, never) for kind in rules.needs.since},
        nothing if today is None else today,
    )
    facts = Facts(
        np.array([now_us]),
        (scenario,),
        (channel,),
        {
            "tier": np.array([float(TIERS.index(tier))]),
            **{key: np.array([value]) for key, value in values.items()},
        },
        past,
    )
    return eligible(CATALOG, [tier], now_us, [scenario], rules, facts)


def reasons(found):
    """Why each refused service is refused."""
    return {CATALOG.ids[place]: reason for place, reason in found.refusals(0).items()}


def by_service(**numbers):
    """An array of one user by service, 0 or never where none is named."""
    return np.array([[numbers.get(one.replace("-", "_"), 0) for one in CATALOG.ids]])
