"""`perkwise serve` with two workers at one port, in processes of their own."""

import os
import signal
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from offers.settings import BudgetLimit, ExplorationSettings, HoldoutSettings
from serving.config import ServeConfig
from serving.database import reading
from serving.launch import serve
from serving.tables import exposures
from tests.project import free_port
from tests.serving.own_process import children, started, wait_until_ready
from tests.serving.test_process import with_settings
from tests.serving.test_workers import is_alive, wait_for
from training.bundle import read_bundle


@pytest.fixture
def config(data, bundle, settings, tmp_path):
    return with_settings(ServeConfig(data, bundle.path, tmp_path / "state.db", settings), workers=2)


@contextmanager
def two_workers(config, **options):
    """The process, what it says, and the address; both workers are ready."""
    port = free_port()
    with started(config, port, **options) as (process, told):
        wait_until_ready(port, process)
        wait_for(lambda: process.poll() is not None or any("Ready at" in line for line in told))
        yield process, told, f"http://127.0.0.1:{port}"


def test_two_workers_answer_and_end_together(config, user_id):
    with two_workers(config) as (process, told, url):
        workers = children(process.pid)
        assert len(workers) == 2
        assert httpx.post(f"{url}/recommend", json={"user_id": user_id}).json()["decision_id"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert not any(map(is_alive, workers))
    assert sum("Ready at" in line for line in told) == 1


def test_a_port_in_use_is_told_before_anything_is_read(config):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"port {port} on 127.0.0.1 cannot be listened on"):
            serve(config.data, config.bundle, config.state, config.settings, port=port)


@pytest.mark.slow
def test_what_keeps_a_worker_from_starting_is_told_as_by_one_process(config, tmp_path):
    port = free_port()
    with started(replace(config, data=tmp_path / "none"), port) as (process, told):
        assert process.wait(timeout=60) == 1
    assert sum("Error: " in line for line in told) == 1, told
    assert "none" in told[-1]


@pytest.mark.slow
def test_the_supervisor_killed_leaves_no_worker_and_the_next_start_goes_on(config, user_id):
    with two_workers(config) as (process, _, url):
        workers = children(process.pid)
        kept = httpx.post(f"{url}/recommend", json={"user_id": user_id}).json()
        process.kill()
        process.wait(timeout=20)
        wait_for(lambda: not any(map(is_alive, workers)))
        port = int(url.rpartition(":")[2])
        with started(config, port) as (again, _):
            wait_until_ready(port, again)
            assert httpx.get(f"{url}/decisions/{kept['decision_id']}").status_code == 200


@pytest.mark.slow
def test_told_to_end_two_workers_lose_no_request(config, user_id):
    """Callers keep their connections, as a load balancer does, and stop at the first /readyz that says no."""
    answered, faults = [0], []

    def call(url):
        with httpx.Client(base_url=url, timeout=20, trust_env=False) as http:
            try:
                while http.get("/readyz").status_code == 200:
                    answer = http.post("/recommend", json={"user_id": user_id})
                    assert answer.status_code in (200, 429), answer.text
                    answered[0] += 1
            except (httpx.TransportError, AssertionError) as error:
                faults.append(repr(error))

    with two_workers(with_settings(config, drain_seconds=1.0)) as (process, told, url):
        callers = [threading.Thread(target=call, args=(url,)) for _ in range(8)]
        for one in callers:
            one.start()
        wait_for(lambda: answered[0] > 100 or faults)
        process.send_signal(signal.SIGTERM)
        for one in callers:
            one.join(timeout=60)
        assert process.wait(timeout=60) == 0
    assert faults == []
    assert sum("answering on for 1 s" in line for line in told) == 1


@pytest.mark.slow
def test_interrupted_twice_it_ends_at_once(config):
    with (
        two_workers(with_settings(config, drain_seconds=60.0)) as (process, _, url),
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as half,
    ):
        half.sendall(b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n{")
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 0


def connections(url, process, n_each=1):
    """Clients, by the worker that answers each: the kernel says which took a connection."""
    found = {pid: [] for pid in children(process.pid)}
    while any(len(clients) < n_each for clients in found.values()):
        client = httpx.Client(base_url=url, timeout=20, trust_env=False)
        before = {pid: sockets_of(pid) for pid in found}
        client.get("/livez")
        takers = [pid for pid in found if sockets_of(pid) - before[pid]]
        if len(takers) == 1 and len(found[takers[0]]) < n_each:
            found[takers[0]].append(client)
        else:  # enough of this one, or another that starts opened a socket of its own
            client.close()
    return list(found.values())


def sockets_of(pid):
    found = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(os.readlink(one))
    return {name for name in found if name.startswith("socket:")}


@pytest.mark.slow
def test_an_event_that_one_worker_acknowledged_is_in_the_next_answer_of_the_other(config, user_id):
    at = "2026-05-01T12:00:00Z"
    with two_workers(config) as (process, _, url):
        both = [clients[0] for clients in connections(url, process)]
        used = [http.get(f"/users/{user_id}/profile").json()["features"]["used_365d"] for http in both]
        assert used[0] == used[1]
        for number in range(200):
            one, other = both[number % 2], both[1 - number % 2]
            row = {"event_id": f"e{number}", "user_id": user_id, "event": "used", "at": at}
            assert one.post("/events", json={"events": [row]}).json()["accepted"] == 1
            now = other.get(f"/users/{user_id}/profile").json()["features"]["used_365d"]
            assert now == used[0] + number + 1
            assert one.get(f"/users/{user_id}/profile").json()["features"]["used_365d"] == now
            kept = other.post("/recommend", json={"user_id": user_id, "request_id": f"r{number}"})
            again = one.post("/recommend", json={"user_id": user_id, "request_id": f"r{number}"})
            assert kept.json() == again.json() and kept.status_code == 200
        assert both[0].delete(f"/users/{user_id}").status_code == 200
        assert both[1].get(f"/users/{user_id}/profile").status_code == 404
        late = both[1].post("/events", json={"events": [{**row, "event_id": "late"}]})
        assert late.status_code == 400 and "was deleted" in late.text


@pytest.mark.slow
def test_any_worker_tells_the_counts_of_all_and_those_of_one_that_died(config, user_id):
    """Everybody is in the holdout of a service, which so is refused in each decision."""
    held = HoldoutSettings("one", share=1.0, service=read_bundle(config.bundle).catalog.ids[0])
    settings = replace(config.settings, holdouts=(held,), exploration=ExplorationSettings(holdout=0.0))
    config = replace(config, settings=settings)
    with two_workers(config) as (process, told, url):
        both = [clients[0] for clients in connections(url, process)]
        for http, n_requests in zip(both, (3, 4)):
            for _ in range(n_requests):
                assert http.post("/recommend", json={"user_id": user_id}).status_code == 200
        assert {counted(http) for http in both} == {(7, 300, 7)}
        os.kill(children(process.pid)[0], signal.SIGKILL)
        wait_for(lambda: any("was killed" in line for line in told) and len(children(process.pid)) == 2)
        again = [clients[0] for clients in connections(url, process)]
        assert {counted(http) for http in again} == {(7, 300, 7)}
        for http in again:
            assert http.post("/recommend", json={"user_id": user_id}).status_code == 200
        assert {counted(http) for http in again} == {(9, 300, 9)}
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert list(Path(tempfile.gettempdir()).glob(f"perkwise-metrics-{process.pid}-*")) == []


def counted(http):
    """Requests for lists, users, and services refused, as this worker tells them."""
    found = {}
    for family in text_string_to_metric_families(http.get("/metrics").text):
        for one in family.samples:
            if one.labels.get("route", "/recommend") == "/recommend":
                found[one.name] = found.get(one.name, 0) + one.value
    return found["perkwise_requests_total"], found["perkwise_users"], found["perkwise_service_refusals_total"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["budget", "capacity"])
def test_together_the_workers_never_show_more_than_there_is(config, tables, tmp_path, kind):
    """Of contacts, or of a service by a rule, 90 are left; 16 callers ask for far more."""
    users = tables.users["user_id"].tolist()
    if kind == "budget":
        limit = BudgetLimit("contacts", contacts=100, period="month")
        pacing = replace(config.settings.pacing, reserve_share=0.1)
        config = replace(config, settings=replace(config.settings, budgets=(limit,), pacing=pacing))
    else:
        rules = tmp_path / "rules.yaml"
        text = "rules:\n- name: few\n  services: {ids: [S1]}\n  limits: {capacity_per_day: 90}\n"
        rules.write_text(text, encoding="utf-8")
        config = replace(config, rules=(rules,))

    def call(http, number):
        for user in users[number::16] * 2:
            answer = http.post("/recommend", json={"user_id": user})
            assert answer.status_code in (200, 429), answer.text

    with two_workers(config) as (process, _, url):
        clients = [http for several in connections(url, process, 8) for http in several]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(call, clients, range(16)))
    with reading(config.state) as connection:
        rows = connection.execute(sa.select(exposures)).all()
    shown = [row for row in rows if row.service_id and (kind == "budget" or row.service_id == "S1")]
    assert 90 - 4 <= len(shown) <= 90  # where there is no room for a whole list, nothing is begun
