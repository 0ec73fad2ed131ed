"""Rows, not batches, are refused, each with its reason; and the profile is that of the clean, ordered log."""

import json
import random
from contextlib import contextmanager
from functools import partial

import hypothesis
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from serving.application import Application
from serving.database import Database
from serving.quarantine import Refusal, keep
from serving.routes import make_app
from serving.tables import events, rejected
from tests.serving.conftest import Clock

GONE = "somebody who was deleted"
NOON = "2026-05-01T12:00:00Z"
KINDS = [  # what is done to a good row; then column and rule of what is wrong with it
    ("event_id is null", {"event_id": None}, "event_id", "a text"),
    ("event_id is empty", {"event_id": ""}, "event_id", "not empty"),
    ("event_id is blank", {"event_id": "  "}, "event_id", "not empty"),
    ("event_id is a number", {"event_id": 7}, "event_id", "a text"),
    ("event_id is too long", {"event_id": "e" * 513}, "event_id", "at most 512 characters"),
    ("event_id was another event's", {"event_id": "taken"}, "event_id", "one event an id"),
    ("user_id is missing", {"user_id": ...}, "user_id", "required"),
    ("user_id holds NUL", {"user_id": "a\0b"}, "user_id", "no NUL"),
    ("user_id is a list", {"user_id": ["u"]}, "user_id", "a text"),
    ("user_id was deleted", {"user_id": GONE}, "user_id", "not deleted"),
    ("event is missing", {"event": ...}, "event", "required"),
    ("event is empty", {"event": ""}, "event", "not empty"),
    ("event is true", {"event": True}, "event", "a text"),
    ("at is missing", {"at": ...}, "at", "required"),
    ("at is no time", {"at": "yesterday"}, "at", "a time as ISO 8601"),
    ("at is a number", {"at": 1_777_636_800}, "at", "a time as ISO 8601"),
    ("at is a number in quotes", {"at": "1777636800"}, "at", "a time as ISO 8601"),
    ("at names no zone", {"at": "2026-05-01T12:00:00"}, "at", "names its zone"),
    ("at is in the future", {"at": "2031-01-01T00:00:00Z"}, "at", "not in the future"),
    (
        "at is before joining",
        {"user_id": "FILED", "at": "1999-01-01T00:00Z"},
        "at",
        "not before joined_at",
    ),
    ("service_id is not in the catalogue", {"service_id": "S99"}, "service_id", "in the catalogue"),
    ("value is a text", {"value": "0.5"}, "value", "a number"),
    ("value is infinite", {"value": float("inf")}, "value", "a finite number"),
    ("a column that there is not", {"email": "ada@example.org"}, "email", "known columns alone"),
]


@pytest.fixture
def client(application, make_client):
    app = make_app()
    app.state.application = application
    return make_client(app, raise_server_exceptions=False)


def good_row(number, dice, users):
    row = {"event_id": f"good-{number}", "user_id": dice.choice(users), "event": dice.choice(["used", "own"])}
    value = dice.choice([None, dice.random(), 1e-300, -0.1])
    return {**row, "at": NOON, "service_id": dice.choice(["", "S1", "S2"]), "value": value}


def spoiled(kind, number, dice, users):
    changed = {
        name: dice.choice(users) if value == "FILED" else value for name, value in KINDS[kind][1].items()
    }
    row = {**good_row(number, dice, users), "event_id": f"bad-{kind}-{number}", **changed}
    return {name: value for name, value in row.items() if value is not ...}


def hide_and_find(application, client, users, n_good, n_of_a_kind):
    """Post good and bad rows in any order; how many the quarantine then holds, with the right reasons."""
    assert len(KINDS) == 24
    dice = random.Random(0)
    client.post("/events", json={"events": [{"event_id": "x", "user_id": GONE, "event": "used", "at": NOON}]})
    assert client.delete(f"/users/{GONE}").status_code == 200
    taken = {"event_id": "taken", "user_id": "u", "event": "used", "at": NOON}
    assert client.post("/events", json={"events": [taken]}).json()["accepted"] == 1
    good = [(good_row(number, dice, users), None) for number in range(n_good)]
    bad = [
        (spoiled(kind, number, dice, users), kind)
        for kind in range(len(KINDS))
        for number in range(n_of_a_kind)
    ]
    rows, told = good + bad, []
    dice.shuffle(rows)
    for start in range(0, len(rows), 1000):
        batch = [row for row, _ in rows[start : start + 1000]]
        body = json.dumps({"events": batch}).replace("Infinity", "1e999")
        answer = client.post("/events", content=body)
        assert answer.status_code == 200, answer.text
        told += answer.json()["verdicts"]
        assert [one["row"] for one in answer.json()["verdicts"]] == list(range(1, len(batch) + 1))
    assert len(told) == len(rows)
    for (row, kind), verdict in zip(rows, told, strict=True):
        if kind is None:
            assert verdict["verdict"] == "accepted", (row, verdict)
            continue
        _, _, column, rule = KINDS[kind]
        assert (verdict["column"], verdict["rule"]) == (column, rule), (row, verdict)
        assert verdict["verdict"] == ("conflict" if rule == "one event an id" else "rejected")
        assert column in verdict["reason"] or rule == "not deleted"
        assert verdict["remedy"]
    kept = application.database.run_now(lambda c: c.execute(sa.select(events)).all())
    found = {one.event_id: (one.user_id, one.event, one.service_id, one.value) for one in kept}
    assert found.pop("taken") and found == {
        row["event_id"]: (row["user_id"], row["event"], row["service_id"], row["value"]) for row, _ in good
    }
    by_rule = sa.select(rejected.c.column_name, rejected.c.rule, sa.func.count()).group_by(
        rejected.c.column_name, rejected.c.rule
    )
    refused = application.database.run_now(lambda c: {tuple(row) for row in c.execute(by_rule)})
    expected = {}
    for _, _, column, rule in KINDS:
        expected[column, rule] = expected.get((column, rule), 0) + n_of_a_kind
    assert refused == {(*key, n_rows) for key, n_rows in expected.items()}
    return sum(n_rows for *_, n_rows in refused)


def test_24_kinds_of_bad_rows_are_found_among_good_ones(application, client, tables):
    users = list(tables.users["user_id"].head(50))
    assert hide_and_find(application, client, users, 1000, 5) == 24 * 5


@pytest.mark.slow
def test_12000_bad_rows_of_24_kinds_are_found_among_100000(application, client, tables):
    users = list(tables.users["user_id"])
    assert hide_and_find(application, client, users, 100_000, 500) == 12_000


def quarantined(application):
    query = sa.select(rejected).order_by(rejected.c.number)
    return application.database.run_now(lambda c: c.execute(query).all())


def test_a_refused_row_is_kept_until_its_user_is_removed(application, client):
    rows = [
        {"event_id": "e", "user_id": "ada", "event": "used", "at": "yesterday"},
        {"event_id": "f", "user_id": 7, "event": "used", "at": NOON, "email": "ada@example.org"},
        ["ada"],
        {"event_id": "g", "user_id": "ada", "event": "used", "at": NOON},
    ]
    assert client.post("/events", json={"events": rows}).json()["rejected"] == 3
    found = quarantined(application)
    assert [(one.row_number, one.column_name, one.rule, one.user_id) for one in found] == [
        (1, "at", "a time as ISO 8601", "ada"),
        (2, "user_id", "a text", ""),
        (3, "", "an object", ""),
    ]
    assert json.loads(found[0].content) == rows[0]
    assert found[1].content == found[2].content == ""  # nobody could ask for their removal
    assert client.delete("/users/ada").status_code == 200
    assert [one.user_id for one in quarantined(application)] == ["", ""]
    client.post("/events", json={"events": rows[3:]})
    assert quarantined(application)[-1].content == "" and quarantined(application)[-1].rule == "not deleted"


def test_the_quarantine_keeps_the_last_rows(application):
    row = {"user_id": "u", "event": ""}
    for number in range(7):
        some = [Refusal(row, 5 * number + one, "event", "not empty", "fill it in") for one in range(5)]
        application.database.run_now(partial(keep, refused=some, now_us=0, most=10))
    assert [one.row_number for one in quarantined(application)] == list(range(25, 35))


# Any order, any repetition

DAY_US = 86_400_000_000
NOW_US = 1_800_000_000_000_000


@pytest.fixture(scope="module")
def make_application(tables, bundle, settings, tmp_path_factory):
    """Applications over one database, one after the other."""
    folder = tmp_path_factory.mktemp("orders")

    @contextmanager
    def make():
        database = Database(folder / "state.db")
        yield Application(tables, bundle, database, settings, Clock(NOW_US))
        database.close()

    return make


happened = st.tuples(
    st.sampled_from(["viewed", "clicked", "used", "own"]),
    st.one_of(st.integers(-400 * DAY_US, 0), st.integers(-3, 0).map(lambda day: day * DAY_US)),
    st.sampled_from(["", "S1", "S2", "S3"]),
    st.one_of(st.none(), st.floats(-100, 100)),
)
answered = st.tuples(st.integers(0, 10), st.integers(-400 * DAY_US, 0), st.sampled_from(["", "S1"]))


def iso(at_us):
    return str(np.datetime64(NOW_US + at_us, "us")) + "Z"


def bodies(user_id, log, ratings):
    rows = [
        {"event_id": f"{user_id}-{number}", "user_id": user_id, "event": event, "at": iso(at)}
        | {"service_id": service_id, "value": value}
        for number, (event, at, service_id, value) in enumerate(log)
    ]
    answers = [
        {"user_id": user_id, "nps": nps, "at": iso(at), "service_id": service_id}
        for nps, at, service_id in ratings
    ]
    return rows, answers


def test_order_repetition_and_lateness_leave_the_profile_as_it_is(make_application, make_client):
    """Late rows are those posted after others that happened later; the clean log is posted in its order."""
    users = iter(range(10**6))
    posted = []
    with make_application() as application:
        app = make_app()
        app.state.application = application
        client = make_client(app, raise_server_exceptions=False)

        @hypothesis.settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(happened, max_size=12), st.lists(answered, max_size=3), st.randoms())
        def check(log, ratings, dice):
            ratings = list({one[1:]: one for one in ratings}.values())  # one answer a time and service
            log, ratings = sorted(log, key=lambda one: one[1]), sorted(ratings, key=lambda one: one[1])
            clean, mixed = (f"{kind}-{next(users)}" for kind in ("clean", "mixed"))
            rows, answers = bodies(clean, log, ratings)
            for row in rows:
                assert client.post("/events", json={"events": [row]}).json()["accepted"] == 1
            for answer in answers:
                assert client.post("/feedback", json=answer).status_code == 200
            rows, answers = bodies(mixed, log, ratings)
            sent = [("/events", row) for row in rows] + [("/feedback", answer) for answer in answers]
            sent += dice.choices(sent, k=len(sent)) if sent else []
            dice.shuffle(sent)
            for path, body in sent:
                some = [body, *dice.choices(rows, k=dice.randrange(3))] if path == "/events" else body
                told = client.post(path, json={"events": some} if path == "/events" else some)
                assert told.status_code == 200, told.text
            profiles = [profile_of(application, user_id) for user_id in (clean, mixed)]
            assert profiles[0] == profiles[1]
            posted.append((clean, mixed, profiles[0]))

        check()
    with make_application() as application:  # what a restart reads back is the same, too
        for clean, mixed, before in posted:
            assert profile_of(application, clean) == before == profile_of(application, mixed)
    assert len({before for *_, before in posted}) > 10


def profile_of(application, user_id):
    return application.state.profile(user_id, NOW_US).features.tobytes()
