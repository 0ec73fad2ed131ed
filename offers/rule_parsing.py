"""From the values of a rules file to rules, with every fault, its line and its remedy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from offers.calendar import zone_of
from offers.catalog import microseconds
from offers.conditions import Always, Condition
from offers.rule_conditions import ConditionError, parse_condition
from offers.rules import (
    DECLINED,
    FAULT,
    MAX_SWITCHES,
    SHOWN,
    USED,
    WARNING,
    WEEKDAYS,
    Finding,
    Limits,
    Lined,
    Rule,
    RuleSet,
    Showings,
    Vocabulary,
    When,
    nearest,
)

MAX_RULES = 500
_TOP = ("timezone", "channels", "groups", "rules")
_RULE = (
    "name",
    "services",
    "who",
    "when",
    "limits",
    "providers",
    "must_show",
    "fallback",
    "switchable",
    "enabled",
)
_SELECT = ("ids", "group", "category", "scenario", "provider", "track")
_WHEN = ("from", "until", "hours", "weekdays", "scenario", "channel")
_LIMITS = ("showings", "cooldown_days", "capacity_per_day", "provider_capacity_per_day", "list_at_most")


@dataclass
class _Reading:
    """What is being read, and what was found wrong with it so far."""

    vocabulary: Vocabulary
    is_lenient: bool
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    channels: tuple[str, ...] = ()
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    where: str = ""  # the rule that is being read

    def fault(self, line: int, text: str) -> None:
        self.findings.append(Finding(line, FAULT, f"{self.where}{text}"))

    def absent(self, line: int, text: str) -> None:
        """A service that is not there: a fault when rules are checked, a warning when they must be served."""
        severity, more = (WARNING, " It is left out.") if self.is_lenient else (FAULT, "")
        self.findings.append(Finding(line, severity, f"{self.where}{text}{more}"))

    def mapping(self, lined: Lined, what: str, known: Sequence[str]) -> dict[str, Lined]:
        """The keys of a mapping that are known; others are faults."""
        if lined.value is None:
            return {}
        if not isinstance(lined.value, dict):
            self.fault(lined.line, f"{what} must be a mapping of {', '.join(known)}, got {_told(lined)}.")
            return {}
        for key, value in lined.value.items():
            if key not in known:
                self.fault(value.line, f"unknown `{key}` in {what}; {nearest(key, tuple(known))}")
        return {key: value for key, value in lined.value.items() if key in known}

    def texts(self, lined: Lined, what: str) -> list[Lined]:
        """One text, or a list of them."""
        parts = lined.value if isinstance(lined.value, list) else [lined]
        good = [
            part for part in parts if isinstance(part.value, (str, int)) and not isinstance(part.value, bool)
        ]
        if len(good) < len(parts) or not parts:
            self.fault(lined.line, f"{what} must be a name or a list of names, got {_told(lined)}.")
        return [Lined(str(part.value), part.line) for part in good]

    def number(self, lined: Lined, what: str, low: float, high: float, whole: bool = True) -> float | None:
        value = lined.value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (whole and value != int(value)):
            kind = "whole number" if whole else "number"
            self.fault(lined.line, f"{what} must be a {kind} from {low:g} to {high:g}, got {_told(lined)}.")
            return None
        if value == 0 and low > 0:
            self.fault(
                lined.line,
                f"{what} is 0, so that nothing could ever be shown: take away the limit, or the services by "
                "`enabled: false`.",
            )
            return None
        if not low <= value <= high:
            self.fault(lined.line, f"{what} must be from {low:g} to {high:g}, got {value}.")
            return None
        return value

    def truth(self, lined: Lined, what: str) -> bool:
        if not isinstance(lined.value, bool):
            self.fault(lined.line, f"{what} must be true or false, got {_told(lined)}.")
            return False
        return lined.value

    def condition(self, lined: Lined, what: str) -> Condition | None:
        if isinstance(lined.value, bool):
            return Always(lined.value)
        if not isinstance(lined.value, str):
            self.fault(lined.line, f"{what} must be a condition, got {_told(lined)}.")
            return None
        try:
            return parse_condition(lined.value, self.vocabulary)
        except ConditionError as error:
            self.fault(lined.line, f"{what}: {error}")
            return None


def parse_rules(
    content: Lined, vocabulary: Vocabulary, digest: str = "", is_lenient: bool = False
) -> tuple[RuleSet, tuple[Finding, ...]]:
    """The rules that a file's values stand for, and all that is wrong with them.

    Parameters
    ----------
    content : Lined
        The file's values with their lines.
    vocabulary : Vocabulary
        The names that may be used.
    digest : str
        Of the file's bytes; kept with the rules.
    is_lenient : bool
        Services that are not there are warned of and left out, rather than faults.

    Returns
    -------
    rules, findings
        The rules are of use only where no finding is a fault.
    """
    reading = _Reading(vocabulary, is_lenient)
    top = reading.mapping(content, "rules.yaml", _TOP)
    reading.zone = _timezone(reading, top)
    declared = (
        [part.value for part in reading.texts(top["channels"], "channels")] if "channels" in top else []
    )
    reading.channels = tuple(dict.fromkeys([*vocabulary.channels, *map(str, declared)]))
    _groups(reading, top)
    rules = tuple(_rules(reading, top.get("rules", Lined([], 1))))
    _check_names(reading, rules)
    return RuleSet(rules, reading.zone.key, digest), tuple(sorted(reading.findings))


def _timezone(reading: _Reading, top: Mapping[str, Lined]) -> ZoneInfo:
    lined = top.get("timezone", Lined("UTC", 1))
    found = zone_of(lined.value) if isinstance(lined.value, str) else None
    if found is None:
        reading.fault(lined.line, f"timezone must be a name such as Europe/Paris, got {_told(lined)}.")
    return found or ZoneInfo("UTC")


def _groups(reading: _Reading, top: Mapping[str, Lined]) -> None:
    lined = top.get("groups", Lined({}, 1))
    if not isinstance(lined.value, dict):
        reading.fault(lined.line, f"groups must be a mapping of names to services, got {_told(lined)}.")
        return
    for name, part in lined.value.items():
        reading.where = f"group `{name}`: "
        reading.groups[name] = _selected(reading, part, f"group `{name}`")
    reading.where = ""


def _rules(reading: _Reading, lined: Lined) -> Iterator[Rule]:
    parts = lined.value or []
    if not isinstance(parts, list) or len(parts) > MAX_RULES:
        reading.fault(lined.line, f"rules must be a list of at most {MAX_RULES} rules, each after a dash.")
        return
    for number, part in enumerate(parts, start=1):
        name = part.value.get("name") if isinstance(part.value, dict) else None
        reading.where = f"rule `{name.value}`: " if name else f"rule {number}: "
        yield _rule(reading, part)
        reading.where = ""


def _rule(reading: _Reading, lined: Lined) -> Rule:
    parts = reading.mapping(lined, "a rule", _RULE)
    name = parts.get("name")
    if name is None or not isinstance(name.value, str) or not name.value:
        reading.fault(lined.line, "a rule needs a name, which refusals are told by: add `name: ...`.")
    if "services" not in parts:
        reading.fault(
            lined.line, "a rule needs `services`: `all`, ids, or a category, scenario, provider or track."
        )
    if set(parts) <= {"name", "services"}:
        reading.fault(
            lined.line, "a rule must say something of its services: who, when, limits, must_show ..."
        )
    services = _selected(reading, parts["services"], "services") if "services" in parts else ()
    truths = {key: reading.truth(parts[key], key) for key in ("switchable", "enabled") if key in parts}
    if "enabled" in parts and not truths.get("switchable"):
        reading.fault(parts["enabled"].line, "`enabled` needs `switchable: true` beside it.")
    conditions = {key: reading.condition(parts[key], key) for key in ("who", "must_show") if key in parts}
    return Rule(
        name=str(name.value) if name else reading.where.removesuffix(": "),
        line=lined.line,
        services=services,
        who=conditions.get("who"),
        when=_when(reading, parts["when"]) if "when" in parts else When(),
        limits=_limits(reading, parts["limits"]) if "limits" in parts else Limits(),
        providers=_providers(reading, parts["providers"], services) if "providers" in parts else (),
        must_show=conditions.get("must_show"),
        fallback=_ids(reading, parts["fallback"], "fallback") if "fallback" in parts else (),
        lines={key: part.line for key, part in parts.items()},
        texts={key: str(parts[key].value) for key in ("who", "must_show") if key in parts},
        **truths,
    )


def _selected(reading: _Reading, lined: Lined, what: str) -> tuple[str, ...]:
    """Ids of the services that a selection names, sorted."""
    catalog = reading.vocabulary.catalog
    if lined.value == "all":
        return catalog.ids
    if not isinstance(lined.value, dict):
        return tuple(sorted(_ids(reading, lined, what)))
    parts = reading.mapping(lined, what, _SELECT)
    n_faults = len(reading.findings)
    chosen = set(catalog.ids)
    for key, part in parts.items():
        chosen &= _of(reading, key, part)
    if not chosen and len(reading.findings) == n_faults:
        reading.absent(lined.line, f"{what} names no service at all: check {', '.join(parts) or 'it'}.")
    return tuple(sorted(chosen)) if parts else ()


def _of(reading: _Reading, key: str, lined: Lined) -> set[str]:
    services = reading.vocabulary.catalog.services
    if key == "ids":
        return set(_ids(reading, lined, "ids"))
    if key in ("group", "track"):
        known: Mapping[str, tuple[str, ...]] = reading.groups if key == "group" else reading.vocabulary.tracks
    else:
        values = sorted({getattr(service, key) for service in services} - {""})
        known = {
            value: tuple(service.service_id for service in services if getattr(service, key) == value)
            for value in values
        }
    found: set[str] = set()
    for name in reading.texts(lined, key):
        if name.value in known:
            found |= set(known[str(name.value)])
        else:
            tell = reading.fault if key == "group" else reading.absent
            tell(name.line, f"there is no {key} `{name.value}`; {nearest(str(name.value), known)}")
    return found


def _ids(reading: _Reading, lined: Lined, what: str) -> tuple[str, ...]:
    known = reading.vocabulary.catalog.position_of
    names = reading.texts(lined, what)
    for name in names:
        if name.value not in known:
            reading.absent(
                name.line, f"there is no service `{name.value}`; {nearest(str(name.value), known)}"
            )
    return tuple(dict.fromkeys(str(name.value) for name in names if name.value in known))


def _providers(reading: _Reading, lined: Lined, services: Sequence[str]) -> tuple[str, ...]:
    catalog = reading.vocabulary.catalog
    known = {catalog.services[catalog.position_of[service]].provider: 1 for service in services}
    names = reading.texts(lined, "providers")
    for name in names:
        if name.value not in known:
            text = (
                f"none of the services is of the provider `{name.value}`; {nearest(str(name.value), known)}"
            )
            reading.absent(name.line, text)
    if len(names) < 2:
        reading.fault(lined.line, "providers must name two or more, in the order in which they take turns.")
        return ()
    beside = sorted(str(provider) for provider in known if provider not in [name.value for name in names])
    if beside:
        reading.fault(
            lined.line, f"providers must name all of the services' own; {', '.join(beside)} is missing."
        )
    return tuple(str(name.value) for name in names if name.value in known)


def _when(reading: _Reading, lined: Lined) -> When:
    parts = reading.mapping(lined, "when", _WHEN)
    moments = {key: _moment(reading, parts[key], key) for key in ("from", "until") if key in parts}
    start, end = moments.get("from"), moments.get("until")
    if start is not None and end is not None and start >= end:
        reading.fault(parts["until"].line, "`until` must be after `from`: exchange them, or mend a date.")
    known = {service.scenario: 1 for service in reading.vocabulary.catalog.services if service.scenario}
    return When(
        from_us=start,
        until_us=end,
        hours=tuple(_hours(reading, parts["hours"])) if "hours" in parts else (),
        weekdays=tuple(_weekdays(reading, parts["weekdays"])) if "weekdays" in parts else (),
        scenarios=_among(reading, parts.get("scenario"), "scenario", tuple(known)),
        channels=_among(reading, parts.get("channel"), "channel", reading.channels),
    )


def _moment(reading: _Reading, lined: Lined, key: str) -> int | None:
    try:
        moment = datetime.fromisoformat(str(lined.value))
        local = moment if moment.tzinfo else moment.replace(tzinfo=reading.zone)
        return microseconds(local)
    except (ValueError, OverflowError):
        expected = "a date such as 2026-01-31, or a time such as 2026-01-31T18:00"
        text = f"`{key}` must be {expected}, got {_told(lined)}."
        reading.fault(lined.line, text)
        return None


def _hours(reading: _Reading, lined: Lined) -> Iterator[tuple[int, int]]:
    for part in reading.texts(lined, "hours"):
        start, _, end = str(part.value).partition("-")
        minutes = [_minutes(text.strip()) for text in (start, end)]
        if None in minutes or minutes[0] == minutes[1]:
            reading.fault(part.line, f"hours must be such as 09:00-18:00, got {part.value!r}.")
        else:
            yield minutes[0] or 0, minutes[1] or 0


def _minutes(text: str) -> int | None:
    hours, _, minutes = text.partition(":")
    if not (hours.isascii() and hours.isdigit() and minutes.isascii() and minutes.isdigit()):
        return None
    found = int(hours) * 60 + int(minutes)
    return found if int(minutes) < 60 and found <= 24 * 60 and len(text) <= 5 else None


def _weekdays(reading: _Reading, lined: Lined) -> Iterator[int]:
    for part in reading.texts(lined, "weekdays"):
        if part.value in WEEKDAYS:
            yield WEEKDAYS.index(str(part.value))
        else:
            reading.fault(part.line, f"weekdays must be of {', '.join(WEEKDAYS)}, got {part.value!r}.")


def _among(reading: _Reading, lined: Lined | None, what: str, known: tuple[str, ...]) -> tuple[str, ...]:
    if lined is None:
        return ()
    names = reading.texts(lined, what)
    for name in names:
        if known and name.value not in known:
            more = " A new one goes into `channels:` at the top." if what == "channel" else ""
            reading.fault(
                name.line, f"there is no {what} `{name.value}`; {nearest(str(name.value), known)}{more}"
            )
    return tuple(str(name.value) for name in names)


def _limits(reading: _Reading, lined: Lined) -> Limits:
    parts = reading.mapping(lined, "limits", _LIMITS)

    def whole(key: str, high: float) -> int | None:
        number = reading.number(parts[key], key, 1, high) if key in parts else None
        return None if number is None else int(number)

    return Limits(
        showings=_showings(reading, parts["showings"]) if "showings" in parts else None,
        cooldown_days=_cooldown(reading, parts["cooldown_days"]) if "cooldown_days" in parts else {},
        capacity_per_day=whole("capacity_per_day", 1e9),
        provider_capacity_per_day=whole("provider_capacity_per_day", 1e9),
        list_at_most=whole("list_at_most", 100),
    )


def _showings(reading: _Reading, lined: Lined) -> Showings | None:
    parts = reading.mapping(lined, "showings", ("most", "days", "together"))
    missing = [key for key in ("most", "days") if key not in parts]
    if missing:
        reading.fault(lined.line, f"showings needs {' and '.join(missing)}, as in {{most: 2, days: 7}}.")
        return None
    most = reading.number(parts["most"], "most", 1, 10_000)
    days = reading.number(parts["days"], "days", 1, 366)
    together = reading.truth(parts["together"], "together") if "together" in parts else False
    return None if most is None or days is None else Showings(int(most), int(days), together)


def _cooldown(reading: _Reading, lined: Lined) -> dict[str, float]:
    parts = reading.mapping(lined, "cooldown_days", (SHOWN, USED, DECLINED))
    found = {key: reading.number(part, key, 0.001, 3660, whole=False) for key, part in parts.items()}
    return {key: number for key, number in found.items() if number is not None}


def _check_names(reading: _Reading, rules: Sequence[Rule]) -> None:
    first: dict[str, int] = {}
    for rule in rules:
        if rule.name in first and rule.name:
            text = f"rule `{rule.name}`: the name stands in line {first[rule.name]} already: take another."
            reading.findings.append(Finding(rule.line, FAULT, text))
        first.setdefault(rule.name, rule.line)
    switches = [rule for rule in rules if rule.switchable]
    if len(switches) > MAX_SWITCHES:
        text = f"at most {MAX_SWITCHES} rules may be switchable, got {len(switches)}: fix some of them."
        reading.findings.append(Finding(switches[MAX_SWITCHES].line, FAULT, text))


def _told(lined: Lined) -> str:
    """A value in a message, cut short."""
    value: object = lined.value
    if isinstance(value, list):
        value = [part.value for part in value if not isinstance(part.value, (list, dict))]
    if isinstance(value, dict):
        value = f"a mapping of {', '.join(value) or 'nothing'}"
        return value[:80]
    return "nothing" if value is None else repr(value)[:80]
