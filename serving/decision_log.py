"""Every decision with its propensities, kept before it is answered, in rows that training can read."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from serving.database import decisions, exposures
from serving.records import Record, from_text, to_text


class RequestConflict(ValueError):
    """A request_id that was used before, for another request."""


def keep(
    connection: sa.Connection,
    record: Record,
    rows: Sequence[Mapping[str, Any]],
    request_id: str | None,
    request_hash: str,
) -> Record | None:
    """Write a decision; where the request was answered before, that record is returned and nothing written.

    Parameters
    ----------
    record : mapping
        ``records.record_of`` made it.
    rows : sequence of mappings
        The decision as rows of the table ``exposures``.

    Raises
    ------
    RequestConflict
        Where the request_id was used for a request of another hash.
    """
    earlier = find_request(connection, request_id, request_hash)
    if earlier is not None:
        return earlier
    connection.execute(
        decisions.insert().values(
            decision_id=record["decision_id"],
            request_id=request_id,
            request_hash=request_hash,
            user_id=record["user_id"],
            record=to_text(record),
            bundle=record["bundle"],
            decided_at_us=record["decided_at_us"],
        )
    )
    if rows:
        connection.execute(exposures.insert(), [dict(row) for row in rows])
    return None


def find(connection: sa.Connection, decision_id: str) -> Record | None:
    """The record of a decision, or None."""
    found = connection.scalar(sa.select(decisions.c.record).where(decisions.c.decision_id == decision_id))
    return None if found is None else from_text(found)


def find_request(connection: sa.Connection, request_id: str | None, request_hash: str) -> Record | None:
    """The record of an earlier try of this request, or None; another request of the id is a conflict."""
    if request_id is None:
        return None
    query = sa.select(decisions.c.request_hash, decisions.c.record)
    found = connection.execute(query.where(decisions.c.request_id == request_id)).one_or_none()
    if found is None:
        return None
    if found.request_hash != request_hash:
        raise RequestConflict(
            "request_id was used before for another request: send the same body again, or take a new id."
        )
    return from_text(found.record)


def forget(connection: sa.Connection, user_id: str) -> int:
    """Remove all decisions about a user; returns their number."""
    connection.execute(exposures.delete().where(exposures.c.user_id == user_id))
    return connection.execute(decisions.delete().where(decisions.c.user_id == user_id)).rowcount
