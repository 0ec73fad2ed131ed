"""Rows of POST /events that were refused: the last of them are kept, and removed with their user."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from serving.insertion import insert
from serving.tables import rejected

KEPT = 100_000  # rows; older ones make room
_LONGEST = 4096  # characters of a row
_LONGEST_ID = 512


@dataclass(frozen=True)
class Refusal:
    """One row that was refused, and why."""

    row: Any  # as it came
    number: int  # in its request, from 1
    column: str  # "": the row as a whole
    rule: str
    remedy: str
    is_kept_from: bool = False  # its user was deleted: nothing of the row may stay


def keep(connection: sa.Connection, refused: Sequence[Refusal], now_us: int, most: int = KEPT) -> None:
    """Write refused rows, of which the last ``most`` are kept.

    Of a row that names no user, with whom it could be removed, only what was wrong is written.
    """
    if not refused:
        return
    insert(connection, rejected, [_values(one, now_us) for one in refused])
    newest = connection.scalar(sa.select(sa.func.max(rejected.c.number)))
    connection.execute(rejected.delete().where(rejected.c.number <= newest - most))


def forget(connection: sa.Connection, user_id: str) -> None:
    """Remove what is kept of a user's refused rows."""
    connection.execute(rejected.delete().where(rejected.c.user_id == user_id))


def _values(one: Refusal, now_us: int) -> dict[str, Any]:
    user_id = "" if one.is_kept_from else _user_of(one.row)
    return {
        "came_at_us": now_us,
        "row_number": one.number,
        "column_name": one.column[:_LONGEST_ID],
        "rule": one.rule,
        "remedy": one.remedy,
        "user_id": user_id,
        "content": json.dumps(one.row, default=str)[:_LONGEST] if user_id else "",
    }


def _user_of(row: Any) -> str:
    """The user that a row names, "" where it names none.

    >>> _user_of({"user_id": "u1"}), _user_of({"user_id": 7}), _user_of(["u1"])
    ('u1', '', '')
    """
    found = row.get("user_id") if isinstance(row, dict) else None
    if isinstance(found, str) and len(found) <= _LONGEST_ID and "\0" not in found:
        return found
    return ""
