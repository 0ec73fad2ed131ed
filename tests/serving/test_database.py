import asyncio
import sqlite3
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.database import Database, facts


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


def test_a_job_that_fails_has_no_effect_and_its_neighbours_keep_theirs(database, tmp_path):
    def fail(connection):
        put(connection, "half")
        raise ValueError("no")

    async def all_at_once():
        jobs = [partial(put, name="a"), fail, partial(put, name="a"), partial(put, name="b")]
        return await asyncio.gather(*map(database.run, jobs), return_exceptions=True)

    first, failed, twice, last = asyncio.run(all_at_once())
    assert (first, last) == ("a", "b")
    assert isinstance(failed, ValueError) and isinstance(twice, sa.exc.IntegrityError)
    assert names_on_disk(tmp_path) == {"a", "b"}


def test_many_jobs_at_once_all_end(database, tmp_path):
    async def all_at_once():
        return await asyncio.gather(*(database.run(partial(put, name=str(n))) for n in range(300)))

    asyncio.run(all_at_once())
    assert len(names_on_disk(tmp_path)) == 300


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
