"""Events and feedback that come in: a verdict for each row, and the good ones on disk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from offers.catalog import Catalog, microseconds
from serving import quarantine
from serving.database import Database, Job, T
from serving.decision_log import shown_to
from serving.deletion import DeletedUsers
from serving.engines import Unavailable
from serving.following import Following
from serving.insertion import insert
from serving.schemas import EventRow, Fault, FeedbackRequest, fault_of
from serving.state import State
from serving.tables import events, exposures, feedback

ACCEPTED, DUPLICATE, CONFLICT, REJECTED = "accepted", "duplicate", "conflict", "rejected"

_CLOCKS_DIFFER_US = 60_000_000  # a sender's clock may be so far ahead of ours

DELETED = Fault(
    "this user was deleted: nothing more is kept of them",
    "user_id",
    "not deleted",
    "send nothing more of them",
)
_UNKNOWN_SERVICE = Fault(
    "service_id is not in the catalogue: see GET /services",
    "service_id",
    "in the catalogue",
    "take an id of GET /services",
)
_FUTURE = Fault(
    "at is in the future: mend the clock or the zone that wrote it",
    "at",
    "not in the future",
    "mend the clock or the zone that wrote it",
)
_BEFORE_JOINING = Fault(
    "at is before the user's joined_at: mend whichever of the two is wrong",
    "at",
    "not before joined_at",
    "mend whichever of the two is wrong",
)
_OTHER_EVENT = Fault(
    "event_id was used before for another event: take a new id",
    "event_id",
    "one event an id",
    "take a new id",
)


@dataclass(frozen=True)
class Verdict:
    """What became of one row, and why where it was not kept."""

    event_id: str | None
    verdict: str
    reason: str | None = None
    row: int = 0  # in its request, from 1; 0: not told yet
    column: str | None = None  # of the first fault; "": the row as a whole
    rule: str | None = None
    remedy: str | None = None

    @classmethod
    def refused(cls, event_id: str | None, verdict: str, fault: Fault) -> "Verdict":
        """The verdict on a row that is not kept."""
        return cls(event_id, verdict, fault.reason, 0, fault.column, fault.rule, fault.remedy)


class Intake:
    """Checks rows against what is known, writes the good ones, and adds them to the state.

    Parameters
    ----------
    now_us : callable
        The clock: microseconds since 1970.
    on_use : callable
        Called with user, service and moment of each use that is kept.
    """

    def __init__(
        self,
        state: State,
        catalog: Catalog,
        database: Database,
        deleted: DeletedUsers,
        following: Following,
        now_us: Callable[[], int],
        on_use: Callable[[str, str, int], None],
    ) -> None:
        self._state, self._catalog, self._database = state, catalog, database
        self._deleted, self._following, self._now_us, self._on_use = deleted, following, now_us, on_use
        self._unsettled: set[str] = set()  # users of whom the database may hold more than the state

    async def events(self, rows: Sequence[Any]) -> list[Verdict]:
        """A verdict for each row, in their order; accepted rows are on disk and in the next profile."""
        self._following.follow()
        n_deletions = self._following.n_deletions
        read = [self._read_event(row) for row in rows]
        fresh = [row for row in read if isinstance(row, EventRow)]

        def keep(connection: sa.Connection) -> list[Verdict]:
            user_ids = {row.user_id for row in fresh}
            gone = self._following.deleted_since(connection, n_deletions, user_ids)
            kept = iter(keep_events(connection, [row for row in fresh if row.user_id not in gone]))
            verdicts = [
                row
                if not isinstance(row, EventRow)
                else Verdict.refused(row.event_id, REJECTED, DELETED)
                if row.user_id in gone
                else next(kept)
                for row in read
            ]
            verdicts = [replace(one, row=number) for number, one in enumerate(verdicts, start=1)]
            quarantine.keep(connection, _refusals(rows, verdicts), self._now_us())
            return verdicts

        verdicts = await self._settled(keep, {row.user_id for row in fresh})
        for row, verdict in zip(read, verdicts, strict=True):
            if isinstance(row, EventRow) and verdict.verdict == ACCEPTED and row.user_id not in self._deleted:
                at_us = microseconds(row.at)
                if row.user_id not in self._unsettled:
                    self._state.add_event(row.user_id, row.event, at_us, row.service_id, row.value)
                if row.event == "used" and row.service_id:
                    self._on_use(row.user_id, row.service_id, at_us)
        await self._settle({row.user_id for row in fresh})
        return verdicts

    async def feedback(self, row: FeedbackRequest) -> Verdict:
        """The verdict on one answer; an accepted one is on disk and in the next profile."""
        at_us = microseconds(row.at)
        self._following.follow()
        n_deletions = self._following.n_deletions
        fault = self._fault(row.user_id, at_us, row.service_id)
        if fault is not None:
            return Verdict.refused(None, REJECTED, fault)

        def keep(connection: sa.Connection) -> Verdict:
            if self._following.deleted_since(connection, n_deletions, [row.user_id]):
                return Verdict.refused(None, REJECTED, DELETED)
            return keep_feedback(connection, row)

        verdict = await self._settled(keep, {row.user_id})
        if verdict.verdict == ACCEPTED and self._is_followed(row.user_id):
            self._state.add_feedback(row.user_id, at_us, row.nps, row.service_id)
        await self._settle({row.user_id})
        return verdict

    async def _settled(self, job: Job[T], user_ids: set[str]) -> T:
        """The job's answer; where the database fails, it may hold rows that nobody was told of."""
        try:
            return await self._database.run(job)
        except Unavailable:
            if not self._following.is_beside_others:  # else what is not known as ours is read as others' is
                self._unsettled |= user_ids
            raise

    async def _settle(self, user_ids: set[str]) -> None:
        """Take from the database what is known of users of whom an earlier request may have been kept."""
        for user_id in user_ids & self._unsettled - {one for one in user_ids if one in self._deleted}:
            found = await self._database.run(partial(_rows_of, user_id=user_id))
            self._state.replace_rows(user_id, *found)
            self._unsettled.discard(user_id)

    def _is_followed(self, user_id: str) -> bool:
        return user_id not in self._deleted and user_id not in self._unsettled

    def _read_event(self, row: Any) -> EventRow | Verdict:
        try:
            event = EventRow.model_validate(row)
        except ValidationError as error:
            event_id = row.get("event_id") if isinstance(row, dict) else None
            return Verdict.refused(event_id if isinstance(event_id, str) else None, REJECTED, fault_of(error))
        fault = self._fault(event.user_id, microseconds(event.at), event.service_id)
        if fault is not None:
            return Verdict.refused(event.event_id, REJECTED, fault)
        if self._state.has_event(event.event_id):
            return Verdict(event.event_id, DUPLICATE, "the data folder holds this event")
        return event

    def _fault(self, user_id: str, at_us: int, service_id: str) -> Fault | None:
        """Why a row about this user cannot be kept, or None."""
        if user_id in self._deleted:
            return DELETED
        if service_id and service_id not in self._catalog.position_of:
            return _UNKNOWN_SERVICE
        if at_us > self._now_us() + _CLOCKS_DIFFER_US:
            return _FUTURE
        joined_at_us = self._state.joined_at_us(user_id)
        if joined_at_us is not None and at_us < joined_at_us:
            return _BEFORE_JOINING
        return None


def keep_events(connection: sa.Connection, rows: Sequence[EventRow]) -> list[Verdict]:
    """Write what is new; the same id again is a duplicate, or a conflict where the row differs."""
    known = _known_events(connection, [row.event_id for row in rows])
    verdicts, fresh = [], []
    for row in rows:
        values = _values(row)
        earlier = known.setdefault(row.event_id, values)
        if earlier is values:
            fresh.append(values)
            verdicts.append(Verdict(row.event_id, ACCEPTED))
        elif earlier == values:
            verdicts.append(Verdict(row.event_id, DUPLICATE))
        else:
            verdicts.append(Verdict.refused(row.event_id, CONFLICT, _OTHER_EVENT))
    insert(connection, events, fresh)
    return verdicts


def keep_feedback(connection: sa.Connection, row: FeedbackRequest) -> Verdict:
    """Write an answer that is new; another nps at the same time for the same service is a conflict."""
    key = {"user_id": row.user_id, "at_us": microseconds(row.at), "service_id": row.service_id}
    where = [feedback.c[name] == value for name, value in key.items()]
    earlier = connection.scalar(sa.select(feedback.c.nps).where(*where))
    if earlier is None:
        connection.execute(feedback.insert().values(**key, nps=row.nps))
        return Verdict(None, ACCEPTED)
    if earlier == row.nps:
        return Verdict(None, DUPLICATE)
    return Verdict(None, CONFLICT, "the user gave another nps at this time for this service")


def forget(connection: sa.Connection, user_id: str) -> tuple[int, int]:
    """Remove a user's events and feedback; returns how many there were of each."""
    n_events, n_feedback = (
        connection.execute(table.delete().where(table.c.user_id == user_id)).rowcount
        for table in (events, feedback)
    )
    return n_events, n_feedback


def _refusals(rows: Sequence[Any], verdicts: Sequence[Verdict]) -> list[quarantine.Refusal]:
    """The rows that are not kept, as the quarantine takes them."""
    return [
        quarantine.Refusal(
            row, one.row, one.column or "", one.rule, one.remedy or "", one.rule == DELETED.rule
        )
        for row, one in zip(rows, verdicts, strict=True)
        if one.rule is not None
    ]


def _rows_of(connection: sa.Connection, user_id: str) -> list[Sequence[Any]]:
    """A user's events, feedback and exposures."""
    of_user = (events.c.user_id == user_id, feedback.c.user_id == user_id, shown_to(user_id))
    return [
        connection.execute(sa.select(table).where(rows)).all()
        for table, rows in zip((events, feedback, exposures), of_user)
    ]


def _values(row: EventRow) -> dict[str, Any]:
    """A row as the database's table holds it."""
    return {
        "event_id": row.event_id,
        "user_id": row.user_id,
        "event": row.event,
        "at_us": microseconds(row.at),
        "service_id": row.service_id,
        "value": row.value,
    }


_COLUMNS = [column for column in events.columns if column.name != "number"]  # as in _values


def _known_events(connection: sa.Connection, event_ids: list[str]) -> dict[str, dict[str, Any]]:
    """Rows of these ids, some hundred at a time: a statement takes so many parameters at most."""
    known = {}
    for start in range(0, len(event_ids), 500):
        query = sa.select(*_COLUMNS).where(events.c.event_id.in_(event_ids[start : start + 500]))
        known.update({row.event_id: dict(row._mapping) for row in connection.execute(query)})
    return known
