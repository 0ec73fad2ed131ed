"""Every decision with its propensities, kept before it is answered, in rows that training can read."""

import secrets
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from serving.insertion import insert
from serving.records import Record, from_text, to_text
from serving.tables import decisions, exposures

_CONFLICT = "request_id was used before for another request: send the same body again, or take a new id."


class RequestConflict(ValueError):
    """A request_id that was used before, for another request."""


class Entry(NamedTuple):
    """A decision to be kept."""

    record: Record  # ``records.record_of`` made it
    rows: Sequence[Mapping[str, Any]]  # the decision as rows of the table ``exposures``
    request_id: str | None = None
    request_hash: str = ""

    @property
    def user_id(self) -> str:
        """Whom it is about; "" where the log must not learn it."""
        return str(self.record["user_id"])

    def without(self, deleted: Container[str]) -> "Entry":
        """The same, but that the log learns nothing of a deleted user."""
        if self.user_id not in deleted:
            return self
        return self._replace(record={**self.record, "user_id": ""}, rows=())


def new_decision_id(now_us: int) -> str:
    """An id that nobody can guess, and greater than those of earlier milliseconds.

    A UUID of version 7 (RFC 9562): indexes of ids in order grow at their end, where ids at random change
    a page of the disk each. ``now_us`` is in microseconds since 1970.

    >>> new_decision_id(1_000) < new_decision_id(2_000) < new_decision_id(1_800_000_000_000_000)
    True
    """
    chance = secrets.randbits(74)
    high, low = chance >> 62, chance & (1 << 62) - 1
    return f"{now_us // 1000 << 80 | 7 << 76 | high << 64 | 2 << 62 | low:032x}"


def keep_all(connection: sa.Connection, entries: Sequence[Entry]) -> list[Record | RequestConflict | None]:
    """Write decisions; None for each that was written.

    Where a request was answered before, by an earlier one of these too, nothing is written of it and that
    record is returned, or a conflict where the request_id was used for a request of another hash.
    """
    before = _of_requests(connection, [one.request_id for one in entries if one.request_id is not None])
    found: list[Record | RequestConflict | None] = []
    written: list[Entry] = []
    for one in entries:
        earlier = None if one.request_id is None else before.get(one.request_id)
        if earlier is None:
            written.append(one)
            found.append(None)
            if one.request_id is not None:
                before[one.request_id] = (one.request_hash, one.record)
        else:
            request_hash, record = earlier
            found.append(record if request_hash == one.request_hash else RequestConflict(_CONFLICT))
    insert(connection, decisions, [_row(one) for one in written])
    insert(connection, exposures, [row for one in written for row in one.rows])
    return found


def _row(entry: Entry) -> dict[str, Any]:
    record = entry.record
    return {
        "decision_id": record["decision_id"],
        "request_id": entry.request_id,
        "request_hash": entry.request_hash,
        "user_id": record["user_id"],
        "record": to_text(record),
        "bundle": record["bundle"],
        "decided_at_us": record["decided_at_us"],
    }


def _of_requests(connection: sa.Connection, request_ids: Sequence[str]) -> dict[str, tuple[str, Record]]:
    """The hash and the record of each of these requests that was answered before."""
    if not request_ids:
        return {}
    query = sa.select(decisions.c.request_id, decisions.c.request_hash, decisions.c.record)
    rows = connection.execute(query.where(decisions.c.request_id.in_(request_ids)))
    return {row.request_id: (row.request_hash, from_text(row.record)) for row in rows}


def find(connection: sa.Connection, decision_id: str) -> Record | None:
    """The record of a decision, or None."""
    found = connection.scalar(sa.select(decisions.c.record).where(decisions.c.decision_id == decision_id))
    return None if found is None else from_text(found)


def shown_to(user_id: str) -> sa.ColumnElement[bool]:
    """Which rows of ``exposures`` are a user's: those of the user's decisions, which have an index."""
    about = sa.select(decisions.c.decision_id).where(decisions.c.user_id == user_id)
    return exposures.c.slate_id.in_(about)


def forget(connection: sa.Connection, user_id: str) -> int:
    """Remove all decisions about a user; returns their number."""
    connection.execute(exposures.delete().where(shown_to(user_id)))
    return connection.execute(decisions.delete().where(decisions.c.user_id == user_id)).rowcount
