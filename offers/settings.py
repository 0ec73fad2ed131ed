"""Every number a business owner may change, checked whole and passed down frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any


def _between(low: float, high: float, default: Any) -> Any:
    return field(default=default, metadata={"low": low, "high": high})


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
class TrainingSettings:
    test_share: float = _between(0.05, 0.6, 0.3)  # the latest exposures, held out for the report
    trials: int = _between(0, 1000, 8)  # Optuna's; 0: the defaults as they are
    interval_level: float = _between(0.5, 0.999, 0.95)  # of every interval in the report


@dataclass(frozen=True)
class ServingSettings:
    data: str = "var/demo"  # the data folder of the users who are served, seen from perkwise.toml
    port: int = _between(1, 65535, 3000)
    max_batch: int = _between(1, 100_000, 1000)  # rows in one request


@dataclass(frozen=True)
class Settings:
    money: MoneySettings = field(default_factory=MoneySettings)
    windows: WindowSettings = field(default_factory=WindowSettings)
    tiers: TierSettings = field(default_factory=TierSettings)
    decision: DecisionSettings = field(default_factory=DecisionSettings)
    exploration: ExplorationSettings = field(default_factory=ExplorationSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    serving: ServingSettings = field(default_factory=ServingSettings)


def parse_settings(*layers: Mapping[str, Any]) -> Settings:
    """Settings from parsed TOML layers, a later layer overriding an earlier one key by key.

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
    sections: dict[str, Any] = {part.name: part.type for part in fields(Settings)}
    for layer in layers:
        for section, values in layer.items():
            if section not in sections:
                faults.append(f"unknown section [{section}]{_nearest(section, sections)}.")
            elif not isinstance(values, Mapping):
                faults.append(f"[{section}] must be a section, got {values!r}.")
            else:
                merged.setdefault(section, {}).update(values)
    parsed = {
        name: _parse_section(name, make, merged.get(name, {}), faults) for name, make in sections.items()
    }
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
        else:
            good[key] = type(default)(value)
    return make(**good)


def _fault(where: str, value: Any, default: Any, limits: Mapping[str, Any]) -> str | None:
    if isinstance(default, tuple):
        names = value if isinstance(value, (list, tuple)) else []
        if (
            len(names) < 2
            or len(set(names)) < len(names)
            or not all(isinstance(name, str) and name for name in names)
        ):
            return f"{where} must be a list of at least two different names, got {value!r}."
        return None
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


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1)
    return f", did you mean {close[0]!r}" if close else f"; known are {', '.join(known)}"
