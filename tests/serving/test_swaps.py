"""Bundles swapped under load at a real port: no request fails, and each answer names the bundle it is of."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from itertools import count

import httpx
import numpy as np
import pytest

from features.tables import load_tables
from features.world import make_world, write_world
from serving.application import Application
from serving.config import ServeConfig
from serving.database import Database
from serving.door import Door
from serving.filed import Filed
from serving.live_bundle import LiveBundle
from tests.project import ROOT, free_port, make_project, run
from tests.serving.own_process import started, wait_until_ready
from tests.serving.test_live_bundle import point
from tests.serving.test_process import with_settings
from tests.serving.test_workers import wait_for
from tests.training.bundle_damage import damaged_bundles
from training.champion import install_champion

RULES = "rules:\n  - name: {name}\n    services: all\n    who: frequency_all >= 0\n"


@pytest.fixture
def config(data, bundle, settings, tmp_path):
    """A service that follows the champion below var."""
    var, rules = tmp_path / "var", tmp_path / "rules.yaml"
    install_champion(bundle.path, var)
    rules.write_text(RULES.format(name="first"))
    config = ServeConfig(data, var / "champion", var / "state.db", settings, rules=(rules,), champion=var)
    return with_settings(config, max_wait_ms=60_000, max_waiting=1000)


class Caller(threading.Thread):
    """One connection that is kept: lists, and now and then an event of a user of its own and the profile."""

    def __init__(self, port, name, users, service_id):
        super().__init__(name=name, daemon=True)
        self._http = HTTPConnection("127.0.0.1", port, timeout=60)
        self._users, self._service_id = users, service_id
        self.is_ended = threading.Event()
        self.n_requests, self.n_events, self.n_known = 0, 0, 0
        self.latest, self.faults, self.answered = "", [], {}

    def run(self):
        try:
            for number in count():
                if self.is_ended.is_set():
                    return
                if number % 20 == 10:
                    self._tell_event()
                else:
                    self._ask(self._users[number % len(self._users)])
        except Exception as error:
            self.faults.append(repr(error))

    def _ask(self, user_id):
        answer = self._send("POST", "/recommend", {"user_id": user_id})
        if answer is not None:
            self.latest = answer["bundle"]
            self.answered[answer["decision_id"]] = answer["bundle"]
            if answer["degraded"] is not None:
                self.faults.append(answer["degraded"])

    def _tell_event(self):
        row = {"event_id": f"{self.name}-{self.n_events}", "user_id": self.name, "event": "used"}
        row |= {"at": datetime.now(UTC).isoformat(), "service_id": self._service_id}
        if self._send("POST", "/events", {"events": [row]}) is not None:
            self.n_events += 1
        profile = self._send("GET", f"/users/{self.name}/profile")
        self.n_known = profile["features"][f"uses_90d/{self._service_id}"]
        if self.n_known != self.n_events:
            self.faults.append(f"{self.n_events} events were kept, the profile knows {self.n_known}")

    def _send(self, method, path, body=None):
        self._http.request(method, path, None if body is None else json.dumps(body))
        response = self._http.getresponse()
        content = response.read()
        self.n_requests += 1
        if response.status == 200:
            return json.loads(content)
        self.faults.append((response.status, content))
        return None


def newly_answered(url):
    """The bundle that an answer on a new connection names."""
    return httpx.post(f"{url}/recommend", json={"user_id": "a new connection"}, timeout=60).json()["bundle"]


def swap_under_load(config, bundles, n_swaps, n_requests, users):
    """Swap so often in turn, with rules changing at the same time; what callers and log hold at the end."""
    port = free_port()
    url, (rules,) = f"http://127.0.0.1:{port}", config.rules
    with started(config, port) as (process, told):
        wait_until_ready(port, process)
        wait_for(lambda: any("Ready at" in line for line in told))
        service_id = bundles[0].catalog.ids[0]
        callers = [Caller(port, f"caller{number}", users, service_id) for number in range(4)]
        for one in callers:
            one.start()
        for number in range(1, n_swaps + 1):
            new = bundles[number % len(bundles)]
            install_champion(new.path, config.champion)
            rules.write_text(RULES.format(name=f"rule{number}"))
            wait_for(lambda new=new: all(one.latest == new.hash or one.faults for one in callers))
            if not any(one.faults for one in callers):
                wait_for(lambda new=new: all(newly_answered(url) == new.hash for _ in range(10)))
        while sum(one.n_requests for one in callers) < n_requests and not any(one.faults for one in callers):
            time.sleep(0.01)
        for one in callers:
            one.is_ended.set()
        for one in callers:
            one.join(timeout=60)
        wait_for(lambda: httpx.get(f"{url}/services").json()["rules"]["names"] == [f"rule{n_swaps}"])
        faults = [fault for one in callers for fault in one.faults]
        assert faults == [] and process.poll() is None, (faults, told)
        assert sum(one.n_requests for one in callers) >= n_requests
        answered = {key: value for one in callers for key, value in one.answered.items()}
        assert set(answered.values()) == {one.hash for one in bundles}
        assert all(one.n_events > 0 for one in callers)
        with sqlite3.connect(config.state) as file:
            logged = {
                decision_id: (bundle, json.loads(record)["bundle"])
                for decision_id, bundle, record in file.execute(
                    "SELECT decision_id, bundle, record FROM decisions"
                )
            }
        assert {key: (value, value) for key, value in answered.items()} == {
            key: value for key, value in logged.items() if key in answered
        }
        return sum(one.n_requests for one in callers)


@pytest.fixture(scope="module")
def users(tables):
    return tables.users["user_id"].astype(str).tolist()


def test_swaps_under_load_fail_no_request(config, bundle, second, users):
    swap_under_load(config, [bundle, second], 2, 200, users)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_50_swaps_under_load_fail_none_of_20_000_requests(config, bundle, second, users, workers):
    swap_under_load(with_settings(config, workers=workers), [bundle, second], 50, 20_000, users)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_swaps_to_other_costs_and_back_fail_no_request_either(config, bundle, third, users, workers):
    swap_under_load(with_settings(config, workers=workers), [bundle, third], 8, 2_000, users)


@pytest.mark.slow
def test_30_damaged_champions_are_refused_in_words_by_a_service_that_goes_on(
    config, bundle, second, users, tmp_path
):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with started(with_settings(config, workers=2), port) as (process, told):
        wait_until_ready(port, process)
        wait_for(lambda: any("Ready at" in line for line in told))
        caller = Caller(port, "caller", users, bundle.catalog.ids[0])
        caller.start()
        damaged = damaged_bundles(second.path, bundle.path, tmp_path, 30, np.random.default_rng(8))
        for _, folder in damaged:
            point(config.champion, folder)
            wait_for(lambda folder=folder: sum(str(folder) in line for line in told) >= 2)  # by each worker
            assert newly_answered(url) == bundle.hash
            assert str(folder) in httpx.get(f"{url}/services").json()["bundle_faults"][0]
            assert "perkwise_bundle_refused 1.0" in httpx.get(f"{url}/metrics").text
        install_champion(second.path, config.champion)
        wait_for(lambda: caller.latest == second.hash or caller.faults)
        wait_for(lambda: all(newly_answered(url) == second.hash for _ in range(10)))
        caller.is_ended.set()
        caller.join(timeout=60)
        assert caller.faults == [] and caller.n_requests > 30
        assert httpx.get(f"{url}/services").json()["bundle_faults"] == []
        assert process.poll() is None
        assert not any("it is started again" in line for line in told)  # no worker died


@contextmanager
def command(home, data, *options):
    """`perkwise serve` in a project's folder, ready; ended at the end."""
    port = free_port()
    words = [sys.executable, "-m", "perkwise", "serve", "--data", data, "--port", str(port), *options]
    environment = {**os.environ, "PERKWISE_HOME": str(home)}
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.mark.slow
def test_the_command_follows_the_champion_unless_a_bundle_is_named(bundle, second, data, tmp_path):
    home = make_project(tmp_path / "project")
    install_champion(bundle.path, home / "var")
    options = ("--bundle", bundle.hash, "--state", home / "other" / "state.db")
    with command(home, data) as following, command(home, data, *options) as fixed:
        assert newly_answered(following) == newly_answered(fixed) == bundle.hash
        install_champion(second.path, home / "var")
        wait_for(lambda: newly_answered(following) == second.hash)
        assert run(home, "rollback").exit_code in (0, 1)  # what MLflow lacks is told
        wait_for(lambda: newly_answered(following) == bundle.hash)
        assert newly_answered(fixed) == bundle.hash


@pytest.mark.slow
def test_many_users_are_scored_before_the_next_bundle_takes_over(bundle, second, settings, tmp_path):
    """As in the service, but that the world is larger and polls are made by hand."""
    write_world(make_world(1200, 4, 130, np.random.default_rng(0)), tmp_path / "data")
    install_champion(bundle.path, tmp_path / "var")
    config = ServeConfig(
        tmp_path / "data", bundle.path, tmp_path / "state.db", settings, champion=tmp_path / "var"
    )
    tables = load_tables(config.data, settings.money)
    filed = Filed.of(tables, bundle.layout, bundle.windows.uptake_days)
    database, taken = Database(config.state), []
    application = Application(filed, bundle, database, settings, now_us)
    live = LiveBundle(config, application, lambda layout, windows: filed, taken.append, Door(), now_us)
    try:
        install_champion(second.path, config.champion)
        until = time.monotonic() + 120
        while not taken:
            assert time.monotonic() < until
            live.poll_scores()
            live.poll_bundle()
            time.sleep(0.01)
        scores = taken[0].deciding.ladder.scores
        assert len(scores) == 1200 and taken[0].bundle.hash == second.hash
        profile = taken[0].state.profile(str(tables.users["user_id"].iloc[3]), scores.as_of_us)
        row = scores.row(3, 0)
        assert np.array_equal(row.profile.features, profile.features, equal_nan=True)
        expected = second.estimates(profile.features[None], repurchase=False)
        assert np.array_equal(row.uplift_margin, expected.uplift_margin[0])
    finally:
        live.close()
        database.close()


def now_us():
    return time.time_ns() // 1000
