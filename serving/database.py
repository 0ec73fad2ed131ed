"""The database of the service: one thread through which everything is written.

What was committed is on disk (``serving.engines``). Work that waits while a commit is on its way is done in
the next one together, so that a sync is shared by all who wait for it.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from serving.engines import DAMAGED, FAILING, FULL, GONE, Unavailable, store_at, trouble_of
from serving.shared import OwnRows, Shared
from serving.tables import SCHEMA, migrate, newest_numbers

logger = logging.getLogger("perkwise")

T = TypeVar("T")
Job = Callable[[sa.Connection], T]
Outcome = tuple[Any, Exception | None]  # of a job: its answer, or its fault

_JOBS_AT_ONCE = 64
_GIVEN_S = 0.005  # of the interpreter to the thread: what most commits take
_GLIMPSE_S = 0.0002  # later, where the disk is slow: enough for a step of the thread
_KEPT_S = 0.001  # for the event loop, in between
_QUIET_S = 1.0  # between two lines about trouble


class Database:
    """Runs jobs in one thread, each atomic, and answers when their effect is on disk.

    Parameters
    ----------
    where : Path or str
        SQLite's file, which is made with its folder where it is not there; or PostgreSQL's URL.
    shared : Shared, optional
        What the workers of the service have in common, where there are several: they write one after the
        other, and tell each other of it before an answer can be given.

    Raises
    ------
    ValueError
        Where it is no database that can be read and written, or a newer Perkwise wrote it.
    """

    def __init__(self, where: Path | str, shared: Shared | None = None) -> None:
        self.shared, self.own = shared, OwnRows()
        if isinstance(where, Path):
            where.parent.mkdir(parents=True, exist_ok=True)
        self._store = store_at(where)
        self._engine, self._reader = self._store.engine, self._store.reader()
        try:
            fault = self._store.damage()
            with nullcontext() if shared is None else shared.writing():
                newer = 0 if fault else migrate(self._store)
        except sa.exc.DBAPIError as error:
            fault, newer = " ".join(str(error.orig).split()), 0
        if fault:
            raise ValueError(_unusable(where, self._store.name, fault))
        if newer:
            raise ValueError(
                f"{self._store.name} has the schema {newer} and this Perkwise knows {SCHEMA}: a newer one "
                "wrote it. Use that version, or another state file."
            )
        self._is_open, self._trouble, self._told_at_s = True, "", -_QUIET_S
        self._writer: sa.Connection | None = None  # of the thread below
        self._jobs: queue.SimpleQueue[tuple[Job[Any], Callable[[Outcome], None]] | None] = queue.SimpleQueue()
        self._rests = threading.Event()  # the thread, which has told whatever was asked for
        self._giver: asyncio.AbstractEventLoop | None = None  # which gives way to the thread
        self._thread = threading.Thread(target=self._work, name="perkwise-database", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """Where it is, for whoever runs the service."""
        return self._store.name

    async def run(self, job: Job[T]) -> T:
        """The job's answer, after its effect was committed; if the job raises, it has no effect.

        Raises
        ------
        Unavailable
            Where the database could not take it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._put(job, partial(_tell_loop, loop, future))
        if self._giver is not loop:
            self._giver = loop
            loop.call_soon(self._give_way, loop, _GIVEN_S)
        return await future

    def run_now(self, job: Job[T]) -> T:
        """The same for callers outside an event loop."""
        future: Future[T] = Future()
        self._put(job, partial(_tell, future))
        return future.result()

    def _give_way(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Let the thread have the interpreter, for a bounded time, until it has told all that was asked for.

        An event loop that is busy lets go of it for an instant at each of its callbacks, and has it back
        before the thread is awake. As each of these instants begins the thread's wait anew, Python's switch
        interval does not help it: beside a busy loop a commit of 2 ms took a second.
        """
        if self._rests.wait(seconds):
            self._giver = None
        else:
            loop.call_later(_KEPT_S, self._give_way, loop, _GLIMPSE_S)

    def close(self) -> None:
        """Finish what was asked for, then let go of the file; what is asked for later is refused."""
        self._is_open = False
        self._jobs.put(None)
        self._thread.join()
        if self._writer is not None:
            self._writer.close()
        self._reader.dispose()
        self._engine.dispose()

    def _put(self, job: Job[T], tell: Callable[[Outcome], None]) -> None:
        if not self._is_open:
            raise RuntimeError("the database is closed: the service is about to end.")
        self._rests.clear()
        self._jobs.put((job, tell))

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            waiting, closing = [first], False
            while len(waiting) < _JOBS_AT_ONCE and not closing and not self._jobs.empty():
                following = self._jobs.get()
                closing = following is None
                if following is not None:
                    waiting.append(following)
            outcomes = self._outcomes([job for job, _ in waiting])
            for (_, tell), outcome in zip(waiting, outcomes, strict=True):
                tell(outcome)
            if self._jobs.empty():
                self._rests.set()
            if closing:
                return

    def _outcomes(self, jobs: Sequence[Job[Any]]) -> list[Outcome]:
        """What came of each job: all in one commit, or each in its own where there is no room for all."""
        try:
            outcomes = self._commit(jobs)
        except Exception as error:  # nothing of it holds
            trouble = trouble_of(error) or trouble_of(error.__context__)
            if len(jobs) > 1 and trouble in (FULL, FAILING, DAMAGED):
                return [outcome for job in jobs for outcome in self._outcomes([job])]
            self._tell(trouble)
            return [(None, Unavailable(trouble) if trouble else error)] * len(jobs)
        self._tell("")
        return outcomes

    def connect(self) -> sa.Connection:
        """A connection that can only read: what was committed when its transaction began."""
        return self._reader.connect()

    def _commit(self, jobs: Sequence[Job[Any]]) -> list[Outcome]:
        if self.shared is not None:
            with self.shared.writing():
                return self._commit_shared(jobs, self.shared)
        with self._begun() as connection:
            outcomes = _outcomes_of(connection, jobs)
        if self._store.is_gone():  # what is written to a file without a name ends with the process
            raise Unavailable(GONE)
        return outcomes

    @contextmanager
    def _begun(self) -> Iterator[sa.Connection]:
        """A transaction over the connection of the one before; over another after any fault."""
        if self._writer is None:
            self._writer = self._engine.connect()
        try:
            with self._writer.begin():
                yield self._writer
        except BaseException:
            self._writer.close()
            self._writer = None
            raise

    def _commit_shared(self, jobs: Sequence[Job[Any]], shared: Shared) -> list[Outcome]:
        """The same beside other workers: they learn of the rows, and this one knows which are its own.

        Rows that an earlier commit left which nobody heard of, as its worker was killed, are told too.
        """
        is_added = False
        try:
            with self._begun() as connection:
                before = newest_numbers(connection)
                outcomes = _outcomes_of(connection, jobs)
                after = newest_numbers(connection)
                if after != before:
                    self.own.add(before, after)
                    is_added = True
            if self._store.is_gone():
                raise Unavailable(GONE)
        except BaseException:
            if is_added:
                self.own.take_back()
            raise
        shared.raise_to(before)
        shared.raise_to(after)
        return outcomes

    def _tell(self, trouble: str) -> None:
        """A line in the log when the trouble changes, not one for each request."""
        if trouble == self._trouble or time.monotonic() < self._told_at_s + _QUIET_S:
            return
        if trouble:
            logger.error("%s", Unavailable(trouble))
        else:
            logger.warning("The database takes what is asked of it again.")
        self._trouble, self._told_at_s = trouble, time.monotonic()


@contextmanager
def reading(where: Path | str) -> Iterator[sa.Connection]:
    """A connection that can only read, beside a service that may write; an older schema is brought forward.

    Raises
    ------
    ValueError
        Where there is no such file, or it is no database of this or an earlier schema.
    """
    if isinstance(where, Path) and not where.is_file():
        raise ValueError(
            f"{where} must be the state file of a service, found none there. "
            "Name it with --state, or start the service: perkwise serve."
        )
    if not _is_current(where):
        Database(where).close()
    engine = store_at(where).reader()
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _is_current(where: Path | str) -> bool:
    store = store_at(where)
    engine = store.reader()
    try:
        with engine.connect() as connection:
            return store.schema(connection) == SCHEMA
    except sa.exc.DBAPIError:  # whoever opens it says what is wrong with it
        return False
    finally:
        engine.dispose()


def _tell_loop(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], outcome: Outcome) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_tell, future, outcome)


def _tell(future: asyncio.Future[Any] | Future[Any], outcome: Outcome) -> None:
    answer, fault = outcome
    if future.done():  # whoever asked has gone
        return
    if fault is None:
        future.set_result(answer)
    else:
        future.set_exception(fault)


def _outcomes_of(connection: sa.Connection, jobs: Sequence[Job[Any]]) -> list[Outcome]:
    """What came of each; one alone needs no savepoint, as it has no neighbours that its fault could harm."""
    if len(jobs) == 1:
        return [(jobs[0](connection), None)]
    return [_outcome(connection, job) for job in jobs]


def _outcome(connection: sa.Connection, job: Job[Any]) -> Outcome:
    """The job's answer or its fault, with no effect then; a fault of the database itself ends all of it."""
    savepoint = connection.begin_nested()
    try:
        answer = job(connection)
        savepoint.commit()
    except Exception as error:  # handed to the one who asked for the job
        if trouble_of(error):  # SQLite may have rolled back what neighbours did, and would not say so
            raise
        savepoint.rollback()
        return None, error
    return answer, None


def _unusable(where: Path | str, name: str, fault: str) -> str:
    if isinstance(where, Path):
        return (
            f"{name} must be a whole SQLite database that may be written, got: {fault}. "
            "Put a copy of it back, or move it away; what came in over HTTP is in it."
        )
    return (
        f"{name} must be a PostgreSQL database that may be written, got: {fault}. "
        "See that it runs, and to serving.database of perkwise.toml."
    )
