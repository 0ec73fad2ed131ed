"""Every number a business owner may change, checked whole and passed down frozen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from difflib import get_close_matches
from math import inf, isinf
from typing import Any, get_args
from urllib.parse import parse_qs, urlsplit

from offers.catalog import time_us


def _between(low: float, high: float, default: Any) -> Any:
    return field(default=default, metadata={"low": low, "high": high})


def _time() -> Any:
    return field(default="", metadata={"is_time": True})


def _one_of(*names: str) -> Any:
    return field(default=names[0], metadata={"names": names})


def _some() -> Any:
    return field(default=(), metadata={"at_least": 0})


@dataclass(frozen=True)
class MoneySettings:
    currency: str = "EUR"
    margin_rate: float = _between(0, 1, 0.3)  # margin of an order that names none: amount times this
    margin_cap_quantile: float = _between(0.5, 1, 0.999)  # a user's margin above it counts as it; 1: no cap


@dataclass(frozen=True)
class WindowSettings:
    uptake_days: int = _between(1, 365, 14)  # a use this long after the offer is its uptake
    repurchase_days: int = _between(1, 365, 30)  # an order this long after the offer is a repurchase
    complete_until: str = ""  # the tables hold everything up to this time (ISO, UTC); "": to their last row


@dataclass(frozen=True)
class TierSettings:
    names: tuple[str, ...] = ("basic", "bronze", "silver", "gold", "platinum", "diamond")  # low to high


@dataclass(frozen=True)
class DecisionSettings:
    max_services: int = _between(1, 10, 5)  # the longest list
    choice_load: float = _between(0, 10, 0.25)  # A0(n) = 1 + choice_load * (n - 1), without slate data
    similarity_load: float = _between(0, 10, 0.5)  # times choice_load, for each repeated category in a list
    money_price: float = _between(0, 100, 0.0)  # a cost of 1 must earn 1 + money_price


@dataclass(frozen=True)
class ExplorationSettings:
    holdout: float = _between(0, 0.5, 0.05)  # share of users who are shown nothing
    explore: float = _between(0, 1, 0.05)  # share of decisions drawn uniformly
    salt: str = "perkwise-1"  # a new salt draws a new holdout


@dataclass(frozen=True)
class HoldoutSettings:
    """A further holdout: of everything, of one service, or of a track."""

    name: str = ""
    share: float = _between(0, 1, 0.05)  # of users; a greater one keeps those who are in
    service: str = ""  # a service_id: those who are in are not shown it
    track: str = ""  # a track's name: those who are in are shown nothing of it
    salt: str = ""  # "": that of [exploration]
    active_from: str = _time()  # holds nobody before; "": it always has
    active_until: str = _time()  # nor from then on; "": it always will


@dataclass(frozen=True)
class TrackSettings:
    """Services kept for the users of some tiers, with lists of their own length."""

    name: str = ""
    tiers: tuple[str, ...] = _some()  # whose users are in this track
    services: tuple[str, ...] = _some()  # service_ids that no other track may show
    max_services: int = _between(0, 10, 0)  # the longest list; 0: that of [decision]


@dataclass(frozen=True)
class BudgetLimit:
    """What may be spent in a period: on everything, on one service, or on the users of a track."""

    name: str = ""
    period: str = _one_of("month", "week", "day")  # by the calendar, UTC; a week begins on Monday
    money: float = _between(0, inf, inf)  # currency units; inf: no limit
    contacts: float = _between(0, inf, inf)  # services shown, each place of a list counts; inf: no limit
    service: str = ""  # a service_id
    track: str = ""  # a track's name


@dataclass(frozen=True)
class PacingSettings:
    reserve_share: float = _between(0, 0.9, 0.2)  # of each budget, kept until a shift is declared
    use_cover: float = _between(1, 1000, 1.2)  # offers still open are reserved at so many times their cost
    most_of_revenue: float = _between(0, 1, 0.07)  # above it nothing that costs is shown
    reopen_at: float = _between(0, 1, 0.06)  # of revenue; only below it is shown again


@dataclass(frozen=True)
class TrainingSettings:
    test_share: float = _between(0.05, 0.6, 0.3)  # the latest exposures, held out for the report
    trials: int = _between(0, 1000, 8)  # Optuna's; 0: the defaults as they are
    interval_level: float = _between(0.5, 0.999, 0.95)  # of every interval in the report


@dataclass(frozen=True)
class ServingSettings:
    data: str = "var/demo"  # the data folder of the users who are served, seen from perkwise.toml
    port: int = _between(1, 65535, 3000)
    workers: int = _between(1, 64, 1)  # processes that answer; one for each processor, or fewer
    max_batch: int = _between(1, 100_000, 1000)  # rows in one request
    max_body_bytes: int = _between(1024, 2**30, 4 * 2**20)
    requests_per_second: float = _between(0, 1e6, 0.0)  # of each API key; 0: no limit
    max_waiting: int = _between(1, 100_000, 128)  # requests in line; who comes later is refused at once
    max_wait_ms: int = _between(1, 60_000, 100)  # in line, before a request is refused
    drain_seconds: float = _between(0, 600, 0.0)  # from SIGTERM, while /readyz says no, to the last request
    log_format: str = "text"  # or json
    log_level: str = "info"  # debug: a line for each decision
    database: str = ""  # PostgreSQL's URL; "": SQLite in the state file
    score_max_age_hours: float = _between(0, 24 * 365, 24.0)  # of scores made beforehand; 0: none are


@dataclass(frozen=True)
class Settings:
    money: MoneySettings = field(default_factory=MoneySettings)
    windows: WindowSettings = field(default_factory=WindowSettings)
    tiers: TierSettings = field(default_factory=TierSettings)
    decision: DecisionSettings = field(default_factory=DecisionSettings)
    exploration: ExplorationSettings = field(default_factory=ExplorationSettings)
    pacing: PacingSettings = field(default_factory=PacingSettings)
    holdouts: tuple[HoldoutSettings, ...] = ()
    tracks: tuple[TrackSettings, ...] = ()
    budgets: tuple[BudgetLimit, ...] = ()
    training: TrainingSettings = field(default_factory=TrainingSettings)
    serving: ServingSettings = field(default_factory=ServingSettings)


def parse_settings(*layers: Mapping[str, Any]) -> Settings:
    """Settings from parsed TOML layers, a later layer overriding an earlier one key by key.

    Of a list of tables, such as [[holdouts]], those of one name are overridden key by key.

    Raises
    ------
    ValueError
        One error that lists every fault: unknown section or key (with the nearest name), wrong
        type, number out of its range.

    Examples
    --------
    >>> parse_settings({"money": {"currency": "USD"}}, {"windows": {"uptake_days": 3}}).windows.uptake_days
    3
    """
    faults: list[str] = []
    merged: dict[str, dict[str, Any]] = {}
    lists = {part.name: get_args(part.type)[0] for part in fields(Settings) if get_args(part.type)}
    sections: dict[str, Any] = {part.name: part.type for part in fields(Settings) if part.name not in lists}
    for layer in layers:
        for section, values in layer.items():
            if section in lists:
                _merge_tables(section, values, merged.setdefault(section, {}), faults)
            elif section not in sections:
                faults.append(f"unknown section [{section}]{_nearest(section, {**sections, **lists})}.")
            elif not isinstance(values, Mapping):
                faults.append(f"[{section}] must be a section, got {values!r}.")
            else:
                merged.setdefault(section, {}).update(values)
    parsed = {
        name: _parse_section(name, make, merged.get(name, {}), faults) for name, make in sections.items()
    }
    for name, make in lists.items():
        parsed[name] = tuple(
            _parse_section(f"{name}.{entry}", make, values, faults)
            for entry, values in merged.get(name, {}).items()
        )
    _check_names(Settings(**parsed), faults)
    _check_database(parsed["serving"].database, faults)
    if faults:
        raise ValueError("The settings have faults:\n" + "\n".join(f"- {fault}" for fault in faults))
    return Settings(**parsed)


def _parse_section(section: str, make: Any, values: Mapping[str, Any], faults: list[str]) -> Any:
    known = {part.name: part for part in fields(make)}
    good: dict[str, Any] = {}
    for key, value in values.items():
        where = f"{section}.{key}"
        if key not in known:
            faults.append(f"unknown setting {where}{_nearest(key, known)}.")
            continue
        default: Any = known[key].default
        fault = _fault(where, value, default, known[key].metadata)
        if fault:
            faults.append(fault)
        elif isinstance(default, tuple):
            good[key] = tuple(value)
        elif isinstance(value, datetime):
            good[key] = value.isoformat()
        else:
            good[key] = type(default)(value)
    return make(**good)


def _fault(where: str, value: Any, default: Any, limits: Mapping[str, Any]) -> str | None:
    if isinstance(default, tuple):
        names = value if isinstance(value, (list, tuple)) else [None]
        if (
            len(names) < limits.get("at_least", 2)
            or len(set(names)) < len(names)
            or not all(isinstance(name, str) and name for name in names)
        ):
            few = "" if limits.get("at_least") == 0 else "at least two "
            return f"{where} must be a list of {few}different names, got {value!r}."
        return None
    if "is_time" in limits:
        return _time_fault(where, value)
    if "names" in limits:
        known = limits["names"]
        return None if value in known else f"{where} must be one of {', '.join(known)}, got {value!r}."
    if isinstance(default, str):
        if not default and value == "":
            return None
        return None if isinstance(value, str) and value else f"{where} must be a text, got {value!r}."
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"{where} must be a number, got {value!r}."
    if isinstance(default, int) and not float(value).is_integer():
        return f"{where} must be a whole number, got {value!r}."
    if not limits["low"] <= value <= limits["high"]:
        return f"{where} must be between {limits['low']} and {limits['high']}, got {value!r}."
    return None


def _time_fault(where: str, value: Any) -> str | None:
    try:
        if value != "":
            time_us(value.isoformat() if isinstance(value, datetime) else value)
    except (ValueError, TypeError):
        return f"{where} must be a time with its zone, such as 2026-01-01T00:00:00Z, got {value!r}."
    return None


def _merge_tables(section: str, values: Any, merged: dict[str, Any], faults: list[str]) -> None:
    """Tables of a list by their names, over those of an earlier layer."""
    tables = values if isinstance(values, (list, tuple)) else [None]
    seen: set[str] = set()
    for number, table in enumerate(tables, start=1):
        name = table.get("name") if isinstance(table, Mapping) else None
        if not isinstance(table, Mapping):
            faults.append(f"{section} must be a list of tables, [[{section}]], got {values!r}.")
        elif not isinstance(name, str) or not name:
            faults.append(f"[[{section}]] number {number} must have a name, got {name!r}.")
        elif name in seen:
            faults.append(f"[[{section}]] must have different names, got {name!r} more than once.")
        else:
            seen.add(name)
            merged.setdefault(name, {}).update(table)


def _check_database(url: str, faults: list[str]) -> None:
    """A URL without a password, for runs and logs tell the settings."""
    parts = urlsplit(url)
    if url and (parts.scheme not in ("postgresql", "postgresql+psycopg") or not parts.path.strip("/")):
        faults.append(
            "serving.database must be empty or a URL such as postgresql+psycopg://me@localhost/perkwise, "
            f"got the scheme {parts.scheme!r} and the database {parts.path.strip('/')!r}."
        )
    elif parts.password is not None or "password" in parse_qs(parts.query):
        faults.append(
            "serving.database must not hold a password, found one: put it into ~/.pgpass, "
            "or into PGPASSWORD of the service's environment."
        )


def _check_names(settings: Settings, faults: list[str]) -> None:
    """Names that settings have for each other: of tracks and of tiers."""
    tracks = {track.name: track for track in settings.tracks}
    kinds: dict[str, Sequence[HoldoutSettings] | Sequence[BudgetLimit]] = {
        "holdouts": settings.holdouts,
        "budgets": settings.budgets,
    }
    for section, entries in kinds.items():
        for one in entries:
            where = f"{section}.{one.name}"
            if one.track and one.track not in tracks:
                faults.append(f"{where}.track is unknown: {one.track!r}{_nearest(one.track, tracks)}.")
            if one.track and one.service:
                faults.append(f"{where} must name a service or a track, got both.")
    for one in settings.holdouts:
        if one.active_from and one.active_until and time_us(one.active_from) >= time_us(one.active_until):
            faults.append(
                f"holdouts.{one.name}.active_until must be later than active_from {one.active_from!r}, "
                f"got {one.active_until!r}."
            )
    for budget in settings.budgets:
        if isinf(budget.money) and isinf(budget.contacts):
            faults.append(f"budgets.{budget.name} must have money or contacts, got neither.")
    if settings.pacing.reopen_at > settings.pacing.most_of_revenue:
        faults.append(
            f"pacing.reopen_at must be at most pacing.most_of_revenue, got {settings.pacing.reopen_at} "
            f"and {settings.pacing.most_of_revenue}."
        )
    tiers = {name: name for name in settings.tiers.names}
    track_of: dict[tuple[str, str], str] = {}
    for track in settings.tracks:
        for tier in track.tiers:
            if tier not in tiers:
                faults.append(
                    f"tracks.{track.name}.tiers has an unknown tier {tier!r}{_nearest(tier, tiers)}."
                )
        for kind, names in (("tier", track.tiers), ("service", track.services)):
            for name in names:
                other = track_of.setdefault((kind, name), track.name)
                if other != track.name:
                    faults.append(f"tracks.{track.name} must not have the {kind} {name!r}: {other} has it.")


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1)
    return f", did you mean {close[0]!r}" if close else f"; known are {', '.join(known) or 'none'}"
