"""The service killed under load, again and again: what it acknowledged is there, each id once."""

import os
import random
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest
import sqlalchemy as sa

from serving.config import ServeConfig
from serving.database import reading
from serving.tables import decisions, events
from tests.project import free_port
from tests.serving.own_process import children, started, wait_until_ready

N_CLIENTS = 6


class Caller(threading.Thread):
    """Posts an event and asks for a list, in turn, each with an id of its own, until nobody answers."""

    def __init__(self, url, name, users):
        super().__init__(daemon=True)
        self._url, self._users, self._random = url, users, random.Random(name)
        self._name = name
        self.sent, self.acknowledged = {}, {}  # bodies and answers by (path, id)

    def run(self):
        with httpx.Client(base_url=self._url, timeout=20, trust_env=False) as http:
            try:
                for number in range(10**6):
                    for path, made in (("/events", self._event), ("/recommend", self._request)):
                        key = (path, f"{self._name}-{number}")
                        self.sent[key] = made(key[1])
                        answer = http.post(path, json=self.sent[key])
                        if answer.status_code == 429:  # too many wait: it was not looked at
                            continue
                        assert answer.status_code == 200, answer.text
                        self.acknowledged[key] = answer.json()
            except httpx.TransportError:
                return

    def _event(self, event_id):
        row = {"event_id": event_id, "user_id": self._random.choice(self._users), "event": "used"}
        return {"events": [{**row, "at": "2026-05-01T12:00:00Z", "value": self._random.random()}]}

    def _request(self, request_id):
        return {"user_id": self._random.choice(self._users), "request_id": request_id}


class PersistentCaller(Caller):
    """Goes on over a new connection where one ends, until told to stop."""

    is_to_stop = False

    def run(self):
        number = 0
        while not self.is_to_stop:
            with suppress(httpx.TransportError), httpx.Client(base_url=self._url, timeout=20) as http:
                while not self.is_to_stop:
                    number += 1
                    for path, made in (("/events", self._event), ("/recommend", self._request)):
                        key = (path, f"{self._name}-{number}")
                        self.sent[key] = made(key[1])
                        answer = http.post(path, json=self.sent[key])
                        if answer.status_code != 429:
                            assert answer.status_code == 200, answer.text
                            self.acknowledged[key] = answer.json()


def kill_workers_under_load(config, where, n_kills, users):
    """Kill one of two workers, whichever, each time that both are at work; nobody else is told to end."""
    port, dice = free_port(), random.Random(2)
    with started(config, port) as (process, told):
        while not any("Ready at" in line for line in told):
            assert process.poll() is None, told
            time.sleep(0.01)
        url = f"http://127.0.0.1:{port}"
        callers = [PersistentCaller(url, f"c{number}", users) for number in range(N_CLIENTS)]
        for one in callers:
            one.start()
        for kill in range(n_kills):
            n_before = sum(len(one.acknowledged) for one in callers)
            while sum(len(one.acknowledged) for one in callers) < n_before + 10 or len(workers(process)) < 2:
                assert process.poll() is None and all(one.is_alive() for one in callers), told
                time.sleep(0.01)
            time.sleep(dice.uniform(0, 0.3))
            os.kill(dice.choice(workers(process)), signal.SIGKILL)
            while sum("was killed" in line for line in told) <= kill:
                time.sleep(0.01)
        for one in callers:
            one.is_to_stop = True
        for one in callers:
            one.join(timeout=60)
            assert not one.is_alive()
        process.terminate()
        assert process.wait(timeout=60) == 0
    sent = {key: body for one in callers for key, body in one.sent.items()}
    acknowledged = {key: body for one in callers for key, body in one.acknowledged.items()}
    with reading(where) as connection:
        assert set(acknowledged) <= ids_in(connection) <= set(sent)
    check_after(config, where, sent, acknowledged)
    return len(acknowledged), len(sent)


def workers(process):
    return children(process.pid)


def kill_under_load(config, where, n_kills, users):
    """Start, load and kill; then start once more, and hold all that was said against what is there."""
    sent, acknowledged, dice = {}, {}, random.Random(1)
    for kill in range(n_kills):
        port = free_port()
        with started(config, port) as (process, _):
            wait_until_ready(port, process)
            url = f"http://127.0.0.1:{port}"
            callers = [Caller(url, f"{kill}-{number}", users) for number in range(N_CLIENTS)]
            for one in callers:
                one.start()
            while sum(len(one.acknowledged) for one in callers) < 20 * N_CLIENTS:
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(dice.uniform(0, 0.5))
            process.kill()
            process.wait()
            for one in callers:
                one.join(timeout=60)
                assert not one.is_alive()
                sent.update(one.sent)
                acknowledged.update(one.acknowledged)
        with reading(where) as connection:
            held = ids_in(connection)
        assert set(acknowledged) <= held <= set(sent)
    check_after(config, where, sent, acknowledged)
    return len(acknowledged), len(sent)


def ids_in(connection):
    """What the database holds, as (path, id); no id twice."""
    event_ids = connection.scalars(sa.select(events.c.event_id)).all()
    request_ids = connection.scalars(sa.select(decisions.c.request_id)).all()
    found = [("/events", one) for one in event_ids] + [("/recommend", one) for one in request_ids]
    assert len(found) == len(set(found))
    return set(found)


def check_after(config, where, sent, acknowledged):
    """Every answer can be had again, what was not answered can be sent again, and then all is there once."""
    port = free_port()
    with started(config, port) as (process, _):
        wait_until_ready(port, process)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as http:
            for (path, _), answer in acknowledged.items():
                if path == "/recommend":
                    kept = http.get(f"/decisions/{answer['decision_id']}")
                    assert kept.status_code == 200 and kept.json()["services"] == answer["services"]
            for key, body in sent.items():
                again = http.post(key[0], json=body)
                assert again.status_code == 200, again.text
                if key in acknowledged and key[0] == "/recommend":
                    assert again.json() == acknowledged[key]
                elif key in acknowledged:
                    assert again.json()["duplicate"] == 1
    with reading(where) as connection:
        assert ids_in(connection) == set(sent)


@pytest.fixture
def config(data, bundle, settings, tmp_path):
    return ServeConfig(data, bundle.path, tmp_path / "state.db", settings)


@pytest.fixture
def users(tables):
    return [*tables.users["user_id"].head(20), "somebody new"]


@pytest.mark.slow
def test_killed_20_times_under_load_sqlite_keeps_what_was_acknowledged(config, users):
    n_acknowledged, n_sent = kill_under_load(config, config.state, 20, users)
    assert n_acknowledged >= 20 * 20 * N_CLIENTS and n_sent - n_acknowledged <= n_sent / 2


@pytest.mark.slow
def test_killed_5_times_under_load_postgresql_keeps_what_was_acknowledged(config, users, postgres):
    url = postgres.make_database()
    serving = replace(config.settings.serving, database=url)
    config = replace(config, settings=replace(config.settings, serving=serving))
    n_acknowledged, _ = kill_under_load(config, url, 5, users)
    assert n_acknowledged >= 5 * 20 * N_CLIENTS
    assert not config.state.exists()


def with_two_workers(config, **serving):
    serving = replace(config.settings.serving, workers=2, **serving)
    return replace(config, settings=replace(config.settings, serving=serving))


@pytest.mark.slow
def test_with_20_kills_of_a_worker_under_load_sqlite_keeps_what_was_acknowledged(config, users):
    n_acknowledged, n_sent = kill_workers_under_load(with_two_workers(config), config.state, 20, users)
    assert n_acknowledged >= 20 * 10 and n_sent - n_acknowledged <= n_sent / 2


@pytest.mark.slow
def test_with_5_kills_of_a_worker_under_load_postgresql_keeps_what_was_acknowledged(config, users, postgres):
    url = postgres.make_database()
    n_acknowledged, _ = kill_workers_under_load(with_two_workers(config, database=url), url, 5, users)
    assert n_acknowledged >= 5 * 10


@pytest.mark.slow
def test_two_workers_killed_with_their_supervisor_20_times_keep_what_was_acknowledged(config, users):
    n_acknowledged, _ = kill_under_load(with_two_workers(config), config.state, 20, users)
    assert n_acknowledged >= 20 * 20 * N_CLIENTS
