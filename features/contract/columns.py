"""The data contract, version 1: each table's columns, the rules they keep, and the remedy for each rule."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from pandera.pandas import Check, Column, DataFrameSchema

MAX_MONEY = 1_000_000_000  # currency units in one cell; more is taken for a slip of the exporter
MAX_COUNT = 1_000_000_000  # in one cell: a day's capacity, a position
TIME = "datetime64[us, UTC]"

# What a rule asks for and what to do where a row breaks it. The names stand in quarantine files and reports.
REMEDIES = {
    "cells": "Expected as many cells as the header has: put cells that hold a comma between quotation marks.",
    "present": "The cell is empty: fill it, or leave the row out.",
    "text": "Expected text or a whole number: write the column as text, so that no digit of an id is lost.",
    "number": "Expected a plain number such as 12.50: no currency sign, no separator but a decimal point.",
    "finite": "NaN and infinity cannot be counted with: write the true number; "
    "where the column is optional, an empty cell means none.",
    "whole": "Expected a whole number: round it where it is made.",
    "time": "Expected a moment as ISO 8601 with its offset from UTC, such as 2024-05-01T12:00:00Z.",
    "zoned": "The time has no offset from UTC, so the moment is not known: "
    "write Z for UTC or the offset, such as 2024-05-01T12:00:00+02:00.",
    "not_future": "The time is after the moment of this check: mend the clock or the zone that wrote it.",
    "not_before_joined": "The time is before the user's joined_at: mend whichever of the two is wrong.",
    "not_negative": "Expected 0 or more: record a refund as an event, not as a negative amount.",
    "max_money": f"Expected at most {MAX_MONEY:,} either way: write currency units, not cents.",
    "max_count": f"Expected at most {MAX_COUNT:,}: leave the cell empty where there is no limit.",
    "probability": "Expected a probability above 0 and at most 1: log how likely this was, not a score; "
    "where it is not known, an empty cell lets it be estimated.",
    "position": "Expected 1 for the first place of the list, 2 for the second, and so on.",
    "nps": "Expected a whole answer from 0 to 10: rescale other scales before the export.",
    "arm": "Expected policy, explore or holdout: map the shop's own names to these.",
    "tiers": "Expected names of tiers with one | between two, such as gold|diamond; empty: every tier.",
    "ends_after_start": "active_until must be after active_from: mend one of them.",
    "known_user": "The user is not among the accepted rows of users: add it there, "
    "or mend its row if that one is in quarantine.",
    "known_service": "The service is not among the accepted rows of services: add it there, "
    "or mend its row if that one is in quarantine.",
    "unique": "An earlier row has this id and was kept: remove this row, or give it an id of its own. "
    "In a list each service stands once, and each at a position of its own.",
    "one_slate": "Rows of one slate_id must agree on user_id and shown_at, "
    "and a row without a service stands alone: give each list an id of its own.",
    "whole_slate": "Another row of this list is in quarantine, and a list with a gap would be another list: "
    "mend that row.",
}

# The column that is shown for a rule about several columns of a row.
COLUMN_OF_RULE = {"ends_after_start": "active_until"}


@dataclass(frozen=True)
class TableContract:
    """One table: its columns with their rules, and what makes a row unique."""

    name: str
    schema: DataFrameSchema  # a column's dtype says how its cells are read: text, number or time
    keys: tuple[tuple[str, ...], ...] = ()
    required: bool = False

    def money_columns(self) -> tuple[str, ...]:
        """Columns in currency units, which become integer cents."""
        return tuple(name for name, column in self.schema.columns.items() if column.metadata == _MONEY)


_MONEY = {"unit": "currency"}


def kind_of(column: Column) -> str:
    """How a column's cells are read: ``str``, ``float64`` or `TIME`."""
    return str(column.dtype.type)


def contracts(now: datetime) -> tuple[TableContract, ...]:
    """The six tables, users and services first; no time in them may be after `now`."""
    past = _rule("not_future", lambda at: at <= now)
    return (
        TableContract(
            "users",
            DataFrameSchema({"user_id": _id(), "joined_at": _time(past)}),
            keys=(("user_id",),),
            required=True,
        ),
        TableContract("services", _SERVICES, keys=(("service_id",),), required=True),
        TableContract(
            "orders",
            DataFrameSchema(
                {
                    "order_id": _id(),
                    "user_id": _id(),
                    "ordered_at": _time(past),
                    "amount": _money(_NOT_NEGATIVE),
                    "margin": _money(required=False),
                }
            ),
            keys=(("order_id",),),
            required=True,
        ),
        TableContract(
            "events",
            DataFrameSchema(
                {
                    "event_id": _id(),
                    "user_id": _id(),
                    "event": _id(),
                    "at": _time(past),
                    "service_id": _text(),
                    "value": _number(required=False),
                }
            ),
            keys=(("event_id",),),
        ),
        TableContract(
            "exposures",
            DataFrameSchema(
                {
                    "slate_id": _id(),
                    "user_id": _id(),
                    "shown_at": _time(past),
                    "service_id": Column(str),
                    "propensity": _number(_PROBABILITY, required=False),
                    "position": _number(_WHOLE, _POSITION, _MAX_COUNT, required=False, default=1.0),
                    "slate_propensity": _number(_PROBABILITY, required=False),
                    "channel": _text(),
                    "arm": _text(_ARM, default="policy"),
                }
            ),
            keys=(("slate_id", "position"), ("slate_id", "service_id")),
        ),
        TableContract(
            "feedback",
            DataFrameSchema(
                {
                    "user_id": _id(),
                    "at": _time(past),
                    "nps": _number(_WHOLE, _NPS),
                    "service_id": _text(),
                }
            ),
        ),
    )


def _rule(name: str, holds: Callable[[Any], pd.Series], ignore_na: bool = True) -> Check:
    # Every row's verdict stands in the check's output; spelling out each failure too would take minutes.
    return Check(holds, name=name, n_failure_cases=1, ignore_na=ignore_na)


_PRESENT = _rule("present", lambda text: text.str.strip() != "")
_FILLED = _rule("present", lambda cell: cell.notna(), ignore_na=False)
_NOT_NEGATIVE = _rule("not_negative", lambda number: number >= 0)
_MAX_MONEY = _rule("max_money", lambda number: number.abs() <= MAX_MONEY)
_MAX_COUNT = _rule("max_count", lambda number: number <= MAX_COUNT)
_WHOLE = _rule("whole", lambda number: number % 1 == 0)
_PROBABILITY = _rule("probability", lambda number: (number > 0) & (number <= 1))
_POSITION = _rule("position", lambda number: number >= 1)
_NPS = _rule("nps", lambda number: number.between(0, 10))
_ARM = _rule("arm", lambda text: text.isin(["policy", "explore", "holdout"]))
_TIERS = _rule("tiers", lambda text: text.str.fullmatch(r"|[^|]+(?:\|[^|]+)*"))
_ENDS_AFTER_START = _rule("ends_after_start", lambda row: ~(row["active_until"] <= row["active_from"]))


def _id() -> Column:
    return Column(str, _PRESENT)


def _text(*rules: Check, default: str | None = None) -> Column:
    return Column(str, list(rules), required=False, default=default)


def _number(*rules: Check, required: bool = True, default: float | None = None) -> Column:
    filled = [_FILLED] if required else []
    return Column(float, [*filled, *rules], nullable=True, required=required, default=default)


def _money(*rules: Check, required: bool = True) -> Column:
    column = _number(*rules, _MAX_MONEY, required=required)
    column.metadata = _MONEY
    return column


def _time(*rules: Check, required: bool = True) -> Column:
    filled = [_FILLED] if required else []
    return Column(TIME, [*filled, *rules], nullable=True, required=required)


_SERVICES = DataFrameSchema(
    {
        "service_id": _id(),
        "name": _id(),
        "category": _text(),
        "scenario": _text(),
        "unit_cost": _money(_NOT_NEGATIVE),
        "contact_cost": _money(_NOT_NEGATIVE, required=False),
        "tiers": _text(_TIERS),
        "capacity_per_day": _number(_WHOLE, _NOT_NEGATIVE, _MAX_COUNT, required=False),
        "provider": _text(),
        "active_from": _time(required=False),
        "active_until": _time(required=False),
    },
    checks=_ENDS_AFTER_START,
)
