"""What was acknowledged is kept, in SQLite and PostgreSQL, and what cannot be kept is not acknowledged."""

import asyncio
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest
import sqlalchemy as sa

from offers.settings import parse_settings
from serving.application import Application
from serving.database import Database, reading
from serving.engines import DAMAGED, FAILING, FULL, LOCKED, UNREACHABLE, trouble_of
from serving.routes import make_app
from serving.tables import SCHEMA, decisions, events, facts, metadata
from tests.serving.live import make_guard, serving
from tests.serving.postgres import Server, binaries_or_skip

TAKEN = "The database cannot take this now: "


@contextmanager
def opened(where, tables, bundle, settings, clock):
    """An application over a database; both end at the end."""
    database = Database(where)
    try:
        yield Application(tables, bundle, database, settings, clock)
    finally:
        database.close()


@pytest.fixture
def open_application(tables, bundle, settings, clock):
    return partial(opened, tables=tables, bundle=bundle, settings=settings, clock=clock)


@pytest.fixture
def ask(make_client):
    """A client of an application's routes."""

    def client_of(application):
        app = make_app()
        app.state.application = application
        return make_client(app, raise_server_exceptions=False)

    return client_of


def event(event_id, user_id="u", at="2027-01-14T00:00:00Z", **row):
    return {"event_id": event_id, "user_id": user_id, "event": "viewed", "at": at, **row}


def post(client, *rows):
    return client.post("/events", json={"events": list(rows)})


def put(connection, name, value=""):
    connection.execute(facts.insert().values(name=name, value=value))
    return name


def names(database):
    return set(database.run_now(lambda c: c.scalars(sa.select(facts.c.name)).all())) - {"schema"}


def count(database, table):
    return database.run_now(lambda c: c.scalar(sa.select(sa.func.count()).select_from(table)))


# Both databases


def test_in_both_a_job_that_fails_has_no_effect_and_its_neighbours_keep_theirs(where):
    database = Database(where)

    def fail(connection):
        put(connection, "half")
        raise ValueError("no")

    async def all_at_once():
        jobs = [partial(put, name="a"), fail, partial(put, name="a"), partial(put, name="b")]
        return await asyncio.gather(*map(database.run, jobs), return_exceptions=True)

    first, failed, twice, last = asyncio.run(all_at_once())
    assert (first, last) == ("a", "b")
    assert isinstance(failed, ValueError) and isinstance(twice, sa.exc.IntegrityError)
    database.close()
    database = Database(where)  # what was there is there
    assert names(database) == {"a", "b"}
    database.close()


def test_postgresql_syncs_each_commit_and_knows_its_schema(postgres):
    url = postgres.make_database()
    database = Database(url.replace("+psycopg", ""))
    assert database.run_now(lambda c: c.exec_driver_sql("SHOW synchronous_commit").scalar()) == "on"
    assert database.run_now(lambda c: c.exec_driver_sql("SHOW fsync").scalar()) == "on"
    made = database.run_now(lambda c: set(sa.inspect(c).get_table_names()))
    assert made == set(metadata.tables)
    database.run_now(lambda c: c.execute(facts.update().values(value="99")))
    database.close()
    with pytest.raises(ValueError, match=f"has the schema 99 and this Perkwise knows {SCHEMA}"):
        Database(url)


def test_an_earlier_postgresql_schema_is_brought_forward(postgres):
    url = postgres.make_database()
    database = Database(url)
    database.run_now(partial(put, name="stays"))
    database.run_now(lambda c: c.exec_driver_sql("DROP TABLE rejected"))
    database.run_now(lambda c: c.exec_driver_sql("ALTER TABLE events DROP COLUMN number CASCADE"))
    database.run_now(lambda c: c.execute(facts.update().where(facts.c.name == "schema").values(value="2")))
    database.close()
    with reading(url) as connection:
        assert "rejected" in sa.inspect(connection).get_table_names()
        assert connection.scalar(sa.select(facts.c.value).where(facts.c.name == "schema")) == str(SCHEMA)
        with pytest.raises(sa.exc.DBAPIError, match="read-only transaction"):
            put(connection, "no")


def test_a_postgresql_that_is_not_there_is_named_without_a_password(postgres):
    with pytest.raises(ValueError, match=r"must be a PostgreSQL database .* got: .*does not exist") as caught:
        Database(f"postgresql://perkwise:secret@127.0.0.1:{postgres.port}/nowhere")
    assert "secret" not in str(caught.value) and "nowhere" in str(caught.value)


@pytest.mark.parametrize(
    "url, fault",
    [
        ("mysql://localhost/x", "must be empty or a URL such as postgresql.*got the scheme 'mysql'"),
        ("postgresql://localhost", "must be empty or a URL .* the database ''"),
        ("postgresql+psycopg://me:secret@localhost/x", "must not hold a password, found one: put it into"),
        ("postgresql://me@localhost/x?password=secret", "must not hold a password"),
    ],
)
def test_a_url_that_will_not_do_is_told_without_its_secrets(url, fault):
    with pytest.raises(ValueError, match=fault) as caught:
        parse_settings({"serving": {"database": url}})
    assert "secret" not in str(caught.value)


def test_the_service_answers_over_both_and_goes_on_after_a_restart(where, open_application, ask, user_id):
    told, asked = [], {"user_id": user_id, "request_id": "r", "explain": True}
    for again in range(2):
        with open_application(where) as application:
            client = ask(application)
            told.append(client.post("/recommend", json=asked).json())
            row = event("e", user_id, value=0.1 + 0.2)
            assert post(client, row).json()["duplicate" if again else "accepted"] == 1
            assert client.get(f"/decisions/{told[0]['decision_id']}").status_code == 200
            told.append(client.get(f"/users/{user_id}/profile").json())
            found = application.database.run_now(lambda c: c.execute(sa.select(events)).all())
            assert [(one.event_id, one.value) for one in found] == [("e", 0.1 + 0.2)]
            assert count(application.database, decisions) == 1
    assert told[0] == told[2] and told[1] == told[3]


# Ids


def test_eight_at_once_with_one_id_get_one_answer(where, open_application, user_id, tmp_path):
    body = {"user_id": user_id, "request_id": "r", "n": 3}
    answers = []
    for _ in range(2):
        with open_application(where) as application, serving(application, make_guard(tmp_path)) as live:
            with ThreadPoolExecutor(8) as threads:
                found = list(threads.map(lambda _: httpx.post(f"{live.url}/recommend", json=body), range(16)))
                kept = list(
                    threads.map(
                        lambda _: httpx.post(f"{live.url}/events", json={"events": [event("e")]}), range(16)
                    )
                )
            other = httpx.post(f"{live.url}/recommend", json={**body, "n": 2})
            assert other.status_code == 409 and "send the same body again" in other.json()["error"]
            other = httpx.post(f"{live.url}/events", json={"events": [event("e", "another")]})
            assert other.status_code == 409
            assert {one.status_code for one in (*found, *kept)} == {200}
            answers += [one.content for one in found]
            assert count(application.database, decisions) == 1 == count(application.database, events)
            assert application.state.rows_of("u", 2**52).event_at_us.size == 1
    assert len(answers) == 32 and len(set(answers)) == 1


def test_one_id_twice_in_a_batch_is_one_decision_or_a_conflict(application, ask, user_id):
    asked = [{"user_id": user_id, "request_id": "r", "n": n} for n in (3, 3, 2)]
    found = ask(application).post("/recommend_batch", json={"requests": asked}).json()["answers"]
    assert found[0] == found[1] and found[2]["status"] == 409
    assert count(application.database, decisions) == 1
    told = post(ask(application), event("e"), event("e"), event("e", "another")).json()["verdicts"]
    assert [one["verdict"] for one in told] == ["accepted", "duplicate", "conflict"]
    assert count(application.database, events) == 1


# Where it cannot be kept


@contextmanager
def no_room_left(database):
    """SQLite may not let its file grow: what it says then is what it says of a full disk."""

    def limit(connection, pages):
        return connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()

    database.run_now(lambda c: limit(c, c.exec_driver_sql("PRAGMA page_count").scalar()))
    yield
    database.run_now(partial(limit, pages=2**30))


def fill(client):
    """Ask for lists until 20 in a row could not be kept: hardly any row fits on any page then."""
    in_a_row = 0
    for number in range(1000):
        told = client.post("/recommend", json={"user_id": f"fill-{number}"}).json()
        in_a_row = 0 if told["degraded"] is None else in_a_row + 1
        if in_a_row == 20:
            return
    pytest.fail("there was room for all")


def test_where_there_is_no_room_nothing_is_acknowledged_and_lists_go_on(application, ask, user_id, caplog):
    client, database = ask(application), application.database
    kept = client.post("/recommend", json={"user_id": user_id, "request_id": "before"}).json()
    assert kept["degraded"] is None
    acknowledged, refused = set(), 0
    caplog.set_level(logging.WARNING, "perkwise")
    with no_room_left(database):
        fill(client)
        n_decisions = count(database, decisions)
        for number in range(60):
            told = post(client, event(f"e{number}", user_id, event="long " * 100))
            if told.status_code == 200:
                acknowledged.add(f"e{number}")
                continue
            refused += 1
            assert told.status_code == 503 and int(told.headers["retry-after"]) > 0
            assert told.json()["error"].startswith(f"{TAKEN}there is no room left on its disk; once there")
            assert "send it again later, with the same ids" in told.json()["error"]
            told = client.post("/recommend", json={"user_id": f"u{number}"})
            assert told.status_code == 200
            if told.json()["degraded"] is None:  # it fitted
                assert client.get(f"/decisions/{told.json()['decision_id']}").status_code == 200
                n_decisions += 1
                continue
            assert (told.json()["degraded"], told.json()["decision_id"]) == ("not_logged", None)
            assert all(one["propensity"] is None for one in told.json()["services"])
            assert told.json()["arm"] in ("policy", "holdout")
        assert refused >= 40
        many = {"requests": [{"user_id": f"many-{number}"} for number in range(20)]}
        rungs = [one["degraded"] for one in client.post("/recommend_batch", json=many).json()["answers"]]
        assert "not_logged" in rungs
        n_decisions += rungs.count(None)
        # what is on disk is answered as ever
        assert client.post("/recommend", json={"user_id": user_id, "request_id": "before"}).json() == kept
        assert client.get(f"/decisions/{kept['decision_id']}").status_code == 200
        assert count(database, decisions) == n_decisions
        assert database.run_now(lambda c: set(c.scalars(sa.select(events.c.event_id)))) == acknowledged
    told = post(client, *(event(f"e{number}", user_id, event="long " * 100) for number in range(60))).json()
    assert (told["accepted"], told["duplicate"]) == (refused, len(acknowledged))
    for _ in range(100):
        assert client.post("/recommend", json={"user_id": user_id}).json()["degraded"] is None
        if "takes what is asked of it again" in caplog.text:
            break
        time.sleep(0.05)
    else:
        pytest.fail("that it goes on was not told")
    assert caplog.text.count("there is no room left") <= 2 and user_id not in caplog.text


def test_neighbours_of_what_finds_no_room_keep_their_own(tmp_path):
    database = Database(tmp_path / "state.db")
    database.run_now(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 60"))

    async def all_at_once():
        jobs = [partial(put, name=str(n), value="x" * (10**6 if n % 7 == 3 else 10)) for n in range(64)]
        return await asyncio.gather(*map(database.run, jobs), return_exceptions=True)

    told = asyncio.run(all_at_once())
    assert [isinstance(one, str) for one in told] == [n % 7 != 3 for n in range(64)]
    database.close()
    with reading(tmp_path / "state.db") as connection:
        assert set(connection.scalars(sa.select(facts.c.name))) == {str(n) for n in range(64) if n % 7 != 3}


def test_unlogged_lists_are_the_policys_or_the_holdouts_nothing(open_application, ask, settings, tmp_path):
    exploring = replace(settings, exploration=replace(settings.exploration, explore=0.5))
    unlogged, arms = {}, set()
    with open_application(tmp_path / "state.db", settings=exploring) as application:
        client = ask(application)
        with no_room_left(application.database):
            fill(client)
            for user_id in (f"u{number}" for number in range(40)):
                answer = client.post("/recommend", json={"user_id": user_id, "explain": True}).json()
                if answer["degraded"] == "not_logged":
                    assert all(one["value"] is not None and one["why"] for one in answer["services"])
                    unlogged[user_id] = [one["service_id"] for one in answer["services"]]
        for user_id, shown in unlogged.items():
            decision_id = client.post("/recommend", json={"user_id": user_id}).json()["decision_id"]
            logged = client.get(f"/decisions/{decision_id}").json()
            assert shown == ([] if logged["held_out"] else logged["policy_list"])
            arms.add(logged["arm"])
    assert len(unlogged) >= 30 and arms == {"policy", "explore", "holdout"}


@contextmanager
def disk_of(size):
    """An empty disk of this size that everybody may use, such as "3m"."""
    folder = Path(tempfile.mkdtemp(prefix="perkwise-disk-"))
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], stderr=subprocess.DEVNULL
    )
    if not mounted or mounted.returncode:
        folder.rmdir()
        pytest.skip("this user may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def use_up(disk):
    """Leave no room on it: all that there is goes to a file `filler`."""
    with suppress(OSError), (disk / "filler").open("ab", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)


@pytest.fixture
def small_disk():
    with disk_of("3m") as folder:
        yield folder


def test_on_a_full_disk_it_answers_goes_on_and_starts_again(small_disk, open_application, ask, user_id):
    where = small_disk / "state.db"
    with open_application(where) as application:
        client = ask(application)
        assert post(client, event("first")).json()["accepted"] == 1
        use_up(small_disk)
        acknowledged, refused = ["first"], 0
        for number in range(60):
            answer = post(client, event(f"e{number}", value=float(number)))
            assert answer.status_code in (200, 503)
            acknowledged += [f"e{number}"] * (answer.status_code == 200)
            refused += answer.status_code == 503
            assert client.post("/recommend", json={"user_id": user_id}).status_code == 200
        assert refused >= 20
        assert client.post("/recommend", json={"user_id": user_id}).json()["degraded"] == "not_logged"
    with open_application(where) as application:  # while the disk is full
        client = ask(application)
        assert client.post("/recommend", json={"user_id": user_id}).status_code == 200
        (small_disk / "filler").unlink()
        for event_id in ("after", *acknowledged):
            assert post(client, event(event_id)).status_code in (200, 409)
        found = application.database.run_now(lambda c: c.scalars(sa.select(events.c.event_id)).all())
        assert set(found) == {*acknowledged, "after"} and len(found) == len(set(found))


LIMITED = """
import resource, signal, sys
from pathlib import Path
from serving.database import Database
from serving.engines import Unavailable
from serving.tables import facts
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
database = Database(Path(sys.argv[1]))
put = lambda c, n: c.execute(facts.insert().values(name=str(n), value="x" * 2000))
database.run_now(lambda c: put(c, "first"))
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
told = []
for n in range(200):
    try:
        database.run_now(lambda c: put(c, n))
        told.append(str(n))
    except Unavailable as error:
        assert str(error).startswith("The database cannot take this now: its disk fails, or has"), error
assert len(told) < 200, told
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
database.run_now(lambda c: put(c, "after"))
print("\\n".join([*told, "first", "after"]))
"""


def test_where_the_file_may_not_grow_only_what_is_on_disk_is_acknowledged(tmp_path):
    path = tmp_path / "state.db"
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, path], cwd=Path.cwd(), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    with reading(path) as connection:
        assert set(connection.scalars(sa.select(facts.c.name))) == set(ran.stdout.split())


def test_while_another_holds_the_file_it_says_so_and_goes_on_after(application, ask, tmp_path):
    client = ask(application)
    with sqlite3.connect(tmp_path / "state.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = post(client, event("e"))
        assert refused.status_code == 503
        assert refused.json()["error"].startswith(f"{TAKEN}another process holds it; end that one")
        assert client.post("/recommend", json={"user_id": "u"}).json()["degraded"] == "not_logged"
        other.execute("ROLLBACK")
    other.close()
    assert post(client, event("e")).json()["accepted"] == 1
    assert client.post("/recommend", json={"user_id": "u"}).json()["degraded"] is None


def remove(path):
    path.unlink()


def replace_by_another(path):
    Database(path.with_name("other.db")).close()
    os.replace(path.with_name("other.db"), path)


@pytest.mark.parametrize("end", [remove, replace_by_another])
def test_a_file_that_is_gone_acknowledges_nothing(application, ask, tmp_path, end):
    client = ask(application)
    assert post(client, event("e")).json()["accepted"] == 1
    end(tmp_path / "state.db")
    refused = post(client, event("f"))
    assert refused.status_code == 503
    assert refused.json()["error"].startswith(f"{TAKEN}its file was moved, removed or replaced; put it back")
    assert client.post("/recommend", json={"user_id": "u"}).json()["degraded"] == "not_logged"


def test_a_file_that_is_damaged_while_it_serves_ends_nothing(application, ask, tmp_path):
    client, database = ask(application), application.database
    for number in range(200):
        assert post(client, event(f"e{number}", service_id="", value=1.0)).status_code == 200
    database.run_now(lambda c: None)
    with sqlite3.connect(
        tmp_path / "state.db"
    ) as other:  # all into the file itself, none in the log beside it
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    with (tmp_path / "state.db").open("r+b") as file:  # all pages but the first
        size = file.seek(0, 2)
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    refused = [post(client, event(f"f{number}")) for number in range(3)]
    assert {one.status_code for one in refused} == {503}
    assert refused[0].json()["error"].startswith(f"{TAKEN}its file is damaged or may not be written")
    assert client.post("/recommend", json={"user_id": "u"}).json()["degraded"] == "not_logged"
    assert client.get("/decisions/d").status_code == 503


def test_a_postgresql_that_stops_and_comes_back(postgres, open_application, ask):
    with open_application(postgres.make_database()) as application:
        client = ask(application)
        assert post(client, event("e")).json()["accepted"] == 1
        postgres.stop()
        try:
            for _ in range(3):
                refused = post(client, event("f"))
                assert refused.status_code == 503
                assert refused.json()["error"].startswith(f"{TAKEN}it cannot be reached; once it can")
                assert client.post("/recommend", json={"user_id": "u"}).json()["degraded"] == "not_logged"
        finally:
            postgres.start()
        assert post(client, event("f"), event("e")).json()["accepted"] == 1
        assert client.post("/recommend", json={"user_id": "u"}).json()["degraded"] is None
        assert count(application.database, events) == 2


@pytest.mark.parametrize(
    "state, trouble",
    [
        ("53100", FULL),
        ("58030", FAILING),  # input or output
        ("XX000", FAILING),  # a quota
        ("42501", DAMAGED),  # its disk is read-only, or its owner changed
        ("XX001", DAMAGED),
        ("53200", UNREACHABLE),
        ("57P03", UNREACHABLE),  # it recovers
        ("55P03", LOCKED),
        ("23505", ""),
        ("22P02", ""),
    ],
)
def test_what_postgresql_says_is_told_by_its_code(state, trouble):
    error = psycopg.errors.lookup(state)()
    assert trouble_of(sa.exc.DBAPIError("INSERT", {}, error)) == trouble


FULL_OR_AWAY = (
    f"{TAKEN}there is no room left on its disk; once",
    f"{TAKEN}it cannot be reached; once it can",
)


class Sender:
    """Posts events and asks for lists with ids of their own, and notes which of them were acknowledged."""

    def __init__(self, client, user_id):
        self._client, self._user_id, self.n = client, user_id, 0
        self.kept, self.errors = {"events": set(), "requests": set()}, []

    def send(self):
        """One of each; was the event kept?"""
        self.n += 1
        name = f"n{self.n}"
        told = post(self._client, event(name, self._user_id, event="long " * 100))
        if told.status_code == 200:
            assert told.json()["accepted"] == 1
            self.kept["events"].add(name)
        else:
            assert told.status_code == 503 and int(told.headers["retry-after"]) > 0
            assert told.json()["error"].startswith(FULL_OR_AWAY), told.json()
            self.errors.append(told.json()["error"])
        answer = self._client.post("/recommend", json={"user_id": self._user_id, "request_id": name})
        assert answer.status_code == 200
        if answer.json()["degraded"] is None:
            self.kept["requests"].add(name)
        else:
            assert (answer.json()["degraded"], answer.json()["decision_id"]) == ("not_logged", None)
        return told.status_code == 200


@pytest.mark.parametrize(
    "is_log_alone", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["all", "log"]
)
def test_a_postgresql_without_room_keeps_what_was_acknowledged(open_application, ask, user_id, is_log_alone):
    """All of it on a full disk, or its log alone, without which it ends; whoever runs it starts it again."""
    binaries = binaries_or_skip()
    with disk_of("8m" if is_log_alone else "64m") as disk:
        server = Server(binaries, log_on=disk) if is_log_alone else Server(binaries, on=disk)
        try:
            url = server.make_database()
            with open_application(url) as application:
                sender = Sender(ask(application), user_id)
                assert sender.send()
                while len(sender.errors) < 20:
                    use_up(disk)
                    sender.send()
                told_of_room = [one.startswith(FULL_OR_AWAY[0]) for one in sender.errors]
                assert not any(told_of_room) if is_log_alone else any(told_of_room)
                (disk / "filler").unlink()
                while not sender.send():
                    if not server.is_running():
                        server.start()
                    time.sleep(0.05)
                for _ in range(20):
                    assert sender.send()
                assert f"n{sender.n}" in sender.kept["requests"]
            with reading(url) as connection:
                kept_events = connection.scalars(sa.select(events.c.event_id)).all()
                kept_requests = connection.scalars(sa.select(decisions.c.request_id)).all()
        finally:
            server.remove()
    assert len(kept_events) == len(set(kept_events)) and len(kept_requests) == len(set(kept_requests))
    assert sender.kept["events"] <= set(kept_events) and sender.kept["requests"] <= set(kept_requests)


def test_what_was_kept_without_being_told_is_known_after_the_retry(application, ask, user_id, tmp_path):
    """As where the connection ends in the middle of a commit: the row is there, the answer was 503."""
    client = ask(application)
    before = client.get(f"/users/{user_id}/profile").json()["features"]["used_7d"]
    with sqlite3.connect(tmp_path / "state.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        at = "2027-01-14T12:00:00Z"
        assert post(client, event("e", user_id, at, event="used")).status_code == 503
        at_us = 1_799_928_000_000_000
        other.execute("INSERT INTO events VALUES (1, 'e', ?, 'used', ?, '', NULL)", (user_id, at_us))
        other.execute("COMMIT")
    other.close()
    for _ in range(2):
        assert post(client, event("e", user_id, at, event="used")).json()["duplicate"] == 1
        profile = client.get(f"/users/{user_id}/profile").json()
        assert profile["features"]["used_7d"] == before + 1
