import asyncio
import sqlite3
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import uvloop

from serving.database import Database
from serving.decision_log import shown_to
from serving.tables import SCHEMA, decisions, exposures, facts, kept


@pytest.fixture
def database(tmp_path: Path):
    database = Database(tmp_path / "new" / "state.db")
    yield database
    database.close()


def put(connection, name):
    connection.execute(facts.insert().values(name=name, value=""))
    return name


def names_on_disk(tmp_path):
    with sqlite3.connect(tmp_path / "new" / "state.db") as other:
        return {name for (name,) in other.execute("SELECT name FROM facts")}


def test_what_was_answered_is_committed(database, tmp_path):
    assert database.run_now(partial(put, name="a")) == "a"
    assert names_on_disk(tmp_path) == {"a"}


def test_many_jobs_at_once_all_end(database, tmp_path):
    async def all_at_once():
        return await asyncio.gather(*(database.run(partial(put, name=str(n))) for n in range(300)))

    asyncio.run(all_at_once())
    assert len(names_on_disk(tmp_path)) == 300


@pytest.mark.alone
def test_beside_an_event_loop_that_is_never_idle_commits_go_on(database):
    """Few callbacks of the loop pass for each; it is counted, not timed, as they are of equal length.

    Else thousands would: a busy loop has the interpreter back before the database's thread is awake.
    """

    async def beside_a_busy_loop():
        loop, n_callbacks, n_before = asyncio.get_running_loop(), 0, []

        def spin():
            nonlocal n_callbacks
            n_callbacks += 1
            until = time.perf_counter() + 50e-6
            while time.perf_counter() < until:
                pass
            if len(n_before) < 41:
                loop.call_soon(spin)

        spin()
        for number in range(41):
            n_before.append(n_callbacks)
            await database.run(partial(put, name=str(number)))
        return np.diff(n_before)

    assert np.median(uvloop.run(beside_a_busy_loop())) < 100


def test_every_commit_is_synced_and_deleted_bytes_are_overwritten(database):
    def pragmas(connection):
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "secure_delete")
        ]

    assert database.run_now(pragmas) == ["wal", 2, 1]  # 2 is FULL


def test_closing_finishes_what_was_asked_for(tmp_path):
    database = Database(tmp_path / "new" / "state.db")

    async def ask_and_close():
        asked = [asyncio.ensure_future(database.run(partial(put, name=str(n)))) for n in range(100)]
        await asyncio.sleep(0)
        await asyncio.to_thread(database.close)
        return await asyncio.gather(*asked)

    assert len(asyncio.run(ask_and_close())) == 100
    assert len(names_on_disk(tmp_path)) == 100


def test_a_closed_database_refuses_what_is_asked_for_later(tmp_path):
    database = Database(tmp_path / "new" / "state.db")
    database.close()
    with pytest.raises(RuntimeError, match="the database is closed"):
        database.run_now(partial(put, name="a"))


# The tables of the first schema, as SQLite wrote them down, and a decision of that time.
FIRST_SCHEMA = """
CREATE TABLE events (event_id TEXT NOT NULL, user_id TEXT NOT NULL, event TEXT NOT NULL,
    at_us BIGINT NOT NULL, service_id TEXT NOT NULL, value FLOAT, PRIMARY KEY (event_id));
CREATE TABLE feedback (user_id TEXT NOT NULL, at_us BIGINT NOT NULL, service_id TEXT NOT NULL,
    nps INTEGER NOT NULL, PRIMARY KEY (user_id, at_us, service_id));
CREATE TABLE decisions (decision_id TEXT NOT NULL, request_id TEXT, request_hash TEXT NOT NULL,
    user_id TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (decision_id), UNIQUE (request_id));
CREATE TABLE exposures (slate_id TEXT NOT NULL, position INTEGER NOT NULL, user_id TEXT NOT NULL,
    shown_at_us BIGINT NOT NULL, service_id TEXT NOT NULL, propensity FLOAT NOT NULL,
    slate_propensity FLOAT NOT NULL, channel TEXT NOT NULL, arm TEXT NOT NULL,
    PRIMARY KEY (slate_id, position));
CREATE TABLE deleted_users (user_hash TEXT NOT NULL, PRIMARY KEY (user_hash));
CREATE TABLE facts (name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (name));
CREATE INDEX ix_events_user_id ON events (user_id);
CREATE INDEX ix_decisions_user_id ON decisions (user_id);
CREATE INDEX ix_exposures_user_id ON exposures (user_id);
INSERT INTO facts VALUES ('deletion_key', 'aa');
INSERT INTO decisions VALUES ('d1', NULL, 'h', 'u1', '{"decision_id": "d1", "bundle": "b1"}');
INSERT INTO decisions VALUES ('d2', NULL, 'h', '', '{"decision_id": "d2"}');
INSERT INTO exposures VALUES ('d1', 1, 'u1', 77, 's', 0.5, 0.25, '', 'policy');
INSERT INTO exposures VALUES ('d1', 2, 'u1', 77, 't', 0.5, 0.25, '', 'policy');
"""


def test_a_file_of_the_first_schema_is_brought_forward_with_its_rows(tmp_path):
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as older:
        older.executescript(FIRST_SCHEMA)
    older.close()
    for _ in range(2):  # the second time there is nothing to do
        database = Database(path)
        rows = database.run_now(lambda c: c.execute(sa.select(decisions).order_by("decision_id")).all())
        assert [(row.decision_id, row.bundle, row.decided_at_us) for row in rows] == [
            ("d1", "b1", 77),
            ("d2", "", None),
        ]
        assert database.run_now(lambda c: c.scalar(sa.select(sa.func.count()).select_from(kept))) == 0
        assert database.run_now(lambda c: c.scalar(sa.select(facts.c.value))) == "aa"
        database.close()


def test_old_and_new_files_have_the_same_tables(tmp_path):
    with sqlite3.connect(tmp_path / "old.db") as older:
        older.executescript(FIRST_SCHEMA)
    older.close()
    columns, indexes = [], []
    for name in ("old.db", "new.db"):
        Database(tmp_path / name).close()
        with sqlite3.connect(tmp_path / name) as file:
            tables = [row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            columns.append(
                {table: {row[1:4] for row in file.execute(f"PRAGMA table_info({table})")} for table in tables}
            )
            indexes.append(
                {row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
            )
            assert file.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
        file.close()
    assert columns[0] == columns[1] and indexes[0] == indexes[1]


def test_what_was_shown_to_a_user_is_found_without_reading_what_others_were(tmp_path):
    database = Database(tmp_path / "state.db")
    found = str(sa.select(exposures).where(shown_to("u1")).compile(compile_kwargs={"literal_binds": True}))
    plan = database.run_now(lambda c: [row[-1] for row in c.exec_driver_sql(f"EXPLAIN QUERY PLAN {found}")])
    assert any("SEARCH exposures" in step for step in plan) and not any("SCAN" in step for step in plan)
    database.close()


def test_a_file_of_a_newer_schema_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(ValueError, match=f"state.db has the schema 99 and this Perkwise knows {SCHEMA}"):
        Database(path)
    with sqlite3.connect(path) as file:
        assert file.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    file.close()


def damage_nothing_but_the_header(path):
    path.write_bytes(b"not SQLite" * 1000)


def damage_a_page(path):
    content = bytearray(path.read_bytes())
    content[4096 : 2 * 4096] = b"\xff" * 4096
    path.write_bytes(content)


def put_a_folder_there(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [damage_nothing_but_the_header, damage_a_page, put_a_folder_there])
def test_a_file_that_cannot_be_used_is_named_and_left_as_it_is(tmp_path, damage):
    path = tmp_path / "state.db"
    Database(path).close()
    damage(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(
        ValueError, match=r"state.db must be a whole SQLite database .* Put a copy of it back"
    ):
        Database(path)
    assert (path.read_bytes() if path.is_file() else None) == before
