"""SQLite in a file and PostgreSQL at a URL: how each is opened, made lasting, and what its faults mean."""

import sqlite3
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

FULL, FAILING, LOCKED, GONE = "full", "failing", "locked", "gone"
DAMAGED, UNREACHABLE = "damaged", "unreachable"

_TOLD = {  # to callers, who are told nothing that stands in the database
    FULL: "there is no room left on its disk; once there is, all goes on by itself",
    FAILING: "its disk fails, or has no room; see to it, and all goes on by itself",
    LOCKED: "another process holds it; end that one, and all goes on by itself",
    GONE: "its file was moved, removed or replaced; put it back and start the service again",
    DAMAGED: "its file is damaged or may not be written; put a copy of it back and start the service again",
    UNREACHABLE: "it cannot be reached; once it can, all goes on by itself",
}

_SYNCHRONOUS = "FULL"  # SQLite syncs its log at each commit; a test shows that NORMAL would not do
_LOCK_WAIT_MS = 1000
_SCHEMA = "schema"  # its name in PostgreSQL's table facts
_WRITERS = 0x7065726B  # the advisory lock that one writer holds at a time


class Unavailable(Exception):
    """The database could not take what was asked, and nothing of it counts; the message says what to do."""

    def __init__(self, trouble: str) -> None:
        super().__init__(
            f"The database cannot take this now: {_TOLD[trouble]}. "
            "Take nothing of this request as kept: send it again later, with the same ids."
        )
        self.trouble = trouble


class Store(Protocol):
    """One of the two kinds of database."""

    name: str  # as it is told to whoever runs it
    engine: sa.Engine

    def damage(self) -> str:
        """What is wrong with it, in words; "" where all is well."""

    def is_gone(self) -> bool:
        """Is what was opened not there any more, though it can still be written?"""

    def schema(self, connection: sa.Connection) -> int:
        """The number of the schema; 0: none yet."""

    def keep_schema(self, connection: sa.Connection, number: int) -> None:
        """Remember the number of the schema."""

    def reader(self) -> sa.Engine:
        """An engine that can only read, waits for no writer, and sees one state in a transaction."""


def store_at(where: Path | str) -> Store:
    """SQLite in a file, or PostgreSQL at a URL."""
    return SQLite(where) if isinstance(where, Path) else PostgreSQL(where)


class SQLite:
    """A file with a write-ahead log, synced at each commit."""

    def __init__(self, path: Path) -> None:
        self.name, self._path, self._inode = str(path), path, 0
        self.engine = sa.create_engine(f"sqlite:///{path}", hide_parameters=True)

        @sa.event.listens_for(self.engine, "connect")
        def _configure(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # the driver's own BEGIN would break savepoints
            for pragma in (
                "journal_mode=WAL",
                f"synchronous={_SYNCHRONOUS}",
                "secure_delete=ON",
                f"busy_timeout={_LOCK_WAIT_MS}",
            ):
                connection.execute(f"PRAGMA {pragma}")

        @sa.event.listens_for(self.engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            try:  # by the driver: what SQLAlchemy makes of a statement takes longer than this one
                connection.connection.cursor().execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise sa.exc.OperationalError("BEGIN IMMEDIATE", None, error) from error

    def damage(self) -> str:
        with self.engine.connect() as connection:  # once, so that the file is there, and has its log
            connection.rollback()
        reader = self.reader()  # a check may take long, and keeps nobody from writing
        try:
            with reader.connect() as connection:
                found = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
        finally:
            reader.dispose()
        self._inode = self._path.stat().st_ino
        return "" if found == "ok" else " ".join(found.split())

    def is_gone(self) -> bool:
        try:
            return self._path.stat().st_ino != self._inode
        except OSError:
            return True

    def schema(self, connection: sa.Connection) -> int:
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar() or 0)

    def keep_schema(self, connection: sa.Connection, number: int) -> None:
        connection.exec_driver_sql(f"PRAGMA user_version = {number}")

    def reader(self) -> sa.Engine:
        engine = sa.create_engine(f"sqlite:///{self._path}", hide_parameters=True)

        @sa.event.listens_for(engine, "connect")
        def _configure(connection: Any, _: Any) -> None:
            connection.isolation_level = None
            connection.execute("PRAGMA query_only = ON")

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        return engine


class PostgreSQL:
    """A database of a server; one writer at a time, as with SQLite, so that no id is kept twice."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        if self._url.drivername == "postgresql":
            self._url = self._url.set(drivername="postgresql+psycopg")
        self.name = self._url.render_as_string(hide_password=True)
        self.engine = self._make_engine(f"-c synchronous_commit=on -c lock_timeout={_LOCK_WAIT_MS}")

        @sa.event.listens_for(self.engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")

    def damage(self) -> str:
        with self.engine.begin() as connection:
            if connection.exec_driver_sql("SHOW fsync").scalar() != "on":
                return "fsync is off, so that what is committed may be lost"
            if connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar():
                return "it is a standby, which cannot be written"
        return ""

    def is_gone(self) -> bool:
        return False

    def schema(self, connection: sa.Connection) -> int:
        if not sa.inspect(connection).has_table("facts"):
            return 0
        found = connection.execute(sa.text("SELECT value FROM facts WHERE name = :name"), {"name": _SCHEMA})
        return int(found.scalar() or 0)

    def keep_schema(self, connection: sa.Connection, number: int) -> None:
        connection.execute(
            sa.text(
                "INSERT INTO facts (name, value) VALUES (:name, :value) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            ),
            {"name": _SCHEMA, "value": str(number)},
        )

    def reader(self) -> sa.Engine:
        return self._make_engine(
            "-c default_transaction_read_only=on -c default_transaction_isolation=repeatable\\ read"
        )

    def _make_engine(self, options: str) -> sa.Engine:
        try:
            return sa.create_engine(
                self._url,
                hide_parameters=True,
                pool_size=1,
                max_overflow=0,
                connect_args={
                    "connect_timeout": 3,
                    "tcp_user_timeout": 10_000,
                    "application_name": "perkwise",
                    "options": options,
                },
            )
        except ModuleNotFoundError as error:
            raise ValueError(
                f"{self.name} needs the driver {error.name}, which is not installed: "
                "install Perkwise with the extra [postgresql]."
            ) from error


def trouble_of(error: BaseException | None) -> str:
    """What keeps the database from its work; "" where it is the statement's own fault.

    >>> trouble_of(ValueError("of the caller")), trouble_of(sqlite3.OperationalError("no code"))
    ('', '')
    """
    if isinstance(error, Unavailable):
        return error.trouble
    cause: Any = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF, "")
    if not isinstance(error, sa.exc.DBAPIError):
        return ""
    state = str(getattr(cause, "sqlstate", None) or "")
    if error.connection_invalidated or (not state and isinstance(error, sa.exc.OperationalError)):
        return UNREACHABLE
    return next((trouble for start, trouble in _SQLSTATES if state.startswith(start)), "")


_SQLITE = {  # result codes; of all but the locked one SQLite may have rolled back what was begun
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
    sqlite3.SQLITE_READONLY: DAMAGED,
    sqlite3.SQLITE_IOERR: FAILING,  # a quota or a limit on the file, too
    sqlite3.SQLITE_CANTOPEN: GONE,
    sqlite3.SQLITE_NOMEM: LOCKED,
    sqlite3.SQLITE_INTERRUPT: LOCKED,
}
_SQLSTATES = (  # what PostgreSQL's begin with
    ("53100", FULL),
    ("55P03", LOCKED),
    ("08", UNREACHABLE),
    ("53", UNREACHABLE),
    ("57P", UNREACHABLE),
    ("25006", UNREACHABLE),  # read-only: it became a standby
    ("42501", DAMAGED),  # its files, too, such as on a disk that became read-only
    ("58030", FAILING),
    ("58", DAMAGED),
    ("XX000", FAILING),  # a quota, too
    ("XX", DAMAGED),
)
