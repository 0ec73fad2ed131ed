"""The database of the service: its tables, and one thread through which everything is written.

SQLite keeps a write-ahead log and syncs at each commit (``synchronous=FULL``): what was committed is on
disk. Work that waits while a commit is on its way is done in the next one together, so that a sync is
shared by all who wait for it.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Job = Callable[[sa.Connection], T]

_JOBS_AT_ONCE = 64

metadata = sa.MetaData()

events = sa.Table(
    "events",
    metadata,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False, index=True),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("at_us", sa.BigInteger, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),  # "": none
    sa.Column("value", sa.Float),
)

feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("at_us", sa.BigInteger, primary_key=True),
    sa.Column("service_id", sa.Text, primary_key=True),  # "": of the shop as a whole
    sa.Column("nps", sa.Integer, nullable=False),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("decision_id", sa.Text, primary_key=True),
    sa.Column("request_id", sa.Text, unique=True),
    sa.Column("request_hash", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False, index=True),  # "": a deleted user's
    sa.Column("record", sa.Text, nullable=False),  # JSON: what was decided, and all that led to it
    sa.Column("bundle", sa.Text, nullable=False, server_default=""),  # the hash of the one that decided
    sa.Column("decided_at_us", sa.BigInteger),
)

kept = sa.Table(
    "kept",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),  # of kind and content
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
)

exposures = sa.Table(
    "exposures",
    metadata,
    sa.Column("slate_id", sa.Text, primary_key=True),  # the decision_id
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False, index=True),
    sa.Column("shown_at_us", sa.BigInteger, nullable=False),
    sa.Column("service_id", sa.Text, nullable=False),  # "": nothing was shown
    sa.Column("propensity", sa.Float, nullable=False),
    sa.Column("slate_propensity", sa.Float, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("arm", sa.Text, nullable=False),
)

deleted_users = sa.Table(
    "deleted_users",
    metadata,
    sa.Column("user_hash", sa.Text, primary_key=True),  # keyed: the id itself is not kept
)

spent = sa.Table(
    "spent",  # what users who were deleted since were shown: budgets count it, whoever it was
    metadata,
    sa.Column("at_us", sa.BigInteger, nullable=False),  # the beginning of its hour
    sa.Column("service_id", sa.Text, nullable=False),
    sa.Column("tier", sa.Text, nullable=False),
    sa.Column("uptake", sa.Float, nullable=False),
    sa.Column("cost", sa.Float, nullable=False),
    sa.Column("used_at_us", sa.BigInteger),
)

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

SCHEMA = 3  # of the tables above, in SQLite's user_version; 0 there: none yet, or the first
_MIGRATIONS = {  # from the schema of this number to the next
    1: (
        "ALTER TABLE decisions ADD COLUMN bundle TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE decisions ADD COLUMN decided_at_us BIGINT",
        "UPDATE decisions SET bundle = coalesce(json_extract(record, '$.bundle'), ''), decided_at_us = "
        "(SELECT min(shown_at_us) FROM exposures WHERE slate_id = decision_id)",
    ),
    2: (),  # a new table alone
}


class Database:
    """Runs jobs in one thread, each atomic, and answers when their effect is on disk.

    Parameters
    ----------
    path : Path
        SQLite's file; it and its folder are made where they are not there.

    Raises
    ------
    ValueError
        Where the file is no database that can be read and written, or a newer Perkwise wrote it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = _engine(path)
        try:
            fault = _damage(self._engine)
            newer = 0 if fault else _migrate(self._engine)
        except sa.exc.DBAPIError as error:
            fault, newer = str(error.orig), 0
        if fault:
            raise ValueError(
                f"{path} must be a whole SQLite database that may be written, got: {fault}. "
                "Put a copy of it back, or move it away; what came in over HTTP is in it."
            )
        if newer:
            raise ValueError(
                f"{path} has the schema {newer} and this Perkwise knows {SCHEMA}: a newer one wrote it. "
                "Use that version, or another state file."
            )
        self._is_open = True
        self._jobs: queue.SimpleQueue[tuple[Job[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="perkwise-database", daemon=True)
        self._thread.start()

    async def run(self, job: Job[T]) -> T:
        """The job's answer, after its effect was committed; if the job raises, it has no effect."""
        return await asyncio.wrap_future(self._put(job))

    def run_now(self, job: Job[T]) -> T:
        """The same for callers outside an event loop."""
        return self._put(job).result()

    def close(self) -> None:
        """Finish what was asked for, then let go of the file; what is asked for later is refused."""
        self._is_open = False
        self._jobs.put(None)
        self._thread.join()
        self._engine.dispose()

    def _put(self, job: Job[T]) -> Future[T]:
        if not self._is_open:
            raise RuntimeError("the database is closed: the service is about to end.")
        future: Future[T] = Future()
        self._jobs.put((job, future))
        return future

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            waiting, closing = [first], False
            while len(waiting) < _JOBS_AT_ONCE and not closing and not self._jobs.empty():
                following = self._jobs.get()
                closing = following is None
                if following is not None:
                    waiting.append(following)
            self._commit(waiting)
            if closing:
                return

    def _commit(self, waiting: list[tuple[Job[Any], Future[Any]]]) -> None:
        outcomes: list[tuple[Future[Any], Any, Exception | None]] = []
        try:
            with self._engine.begin() as connection:
                for job, future in waiting:
                    outcomes.append((future, *_outcome(connection, job)))
        except Exception as error:  # the commit itself failed: nothing of it holds
            outcomes = [(future, None, error) for _, future in waiting]
        for future, answer, fault in outcomes:
            if fault is None:
                future.set_result(answer)
            else:
                future.set_exception(fault)


@contextmanager
def reading(path: Path) -> Iterator[sa.Connection]:
    """A connection that can only read, beside a service that may write; an older file is brought forward.

    Raises
    ------
    ValueError
        Where there is no such file, or it is no database of this or an earlier schema.
    """
    if not path.is_file():
        raise ValueError(
            f"{path} must be the state file of a service, found none there. "
            "Name it with --state, or start the service: perkwise serve."
        )
    if not _is_current(path):
        Database(path).close()
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
            yield connection
    finally:
        engine.dispose()


def _is_current(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as file:
        try:
            return bool(file.execute("PRAGMA user_version").fetchone() == (SCHEMA,))
        except sqlite3.DatabaseError:  # whoever opens it says what is wrong with it
            return False


def _migrate(engine: sa.Engine) -> int:
    """Bring an older file to the schema above, in one transaction; the schema of a newer one, else 0."""
    with engine.begin() as connection:
        found = int(connection.exec_driver_sql("PRAGMA user_version").scalar() or 0)
        if found > SCHEMA:
            return found
        if sa.inspect(connection).has_table(decisions.name):
            for step in range(max(found, 1), SCHEMA):
                for statement in _MIGRATIONS[step]:
                    connection.exec_driver_sql(statement)
        metadata.create_all(connection)
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")
    return 0


def _damage(engine: sa.Engine) -> str:
    """What SQLite finds wrong with the file; "" where all is well."""
    with engine.begin() as connection:
        found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
    return "" if found == "ok" else " ".join(found.split())


def _outcome(connection: sa.Connection, job: Job[Any]) -> tuple[Any, Exception | None]:
    try:
        with connection.begin_nested():
            return job(connection), None
    except Exception as error:  # handed to the one who asked for the job
        return None, error


def _engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(f"sqlite:///{path}")

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would break savepoints
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=5000"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
