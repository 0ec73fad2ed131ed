"""`perkwise serve` as a process of its own: how it starts, what it says, how it ends, what it leaves."""

import signal
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from serving.client import Client
from serving.config import ServeConfig
from serving.keys import beside
from serving.launch import serve
from tests.project import free_port
from tests.serving.own_process import children, started, wait_until_ready


@pytest.fixture
def config(data, bundle, settings, tmp_path):
    return ServeConfig(data, bundle.path, tmp_path / "state.db", settings)


def with_settings(config, **serving):
    settings = replace(config.settings, serving=replace(config.settings.serving, **serving))
    return replace(config, settings=settings)


@pytest.mark.slow
def test_told_to_end_it_is_not_ready_first_finishes_what_is_in_flight_and_exits_with_0(config, user_id):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with started(with_settings(config, drain_seconds=1.5, log_format="json"), port) as (process, told):
        wait_until_ready(port, process)
        begun = socket.create_connection(("127.0.0.1", port))
        body = b'{"user_id": "in flight"}'
        begun.sendall(b"POST /recommend HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body))
        process.send_signal(signal.SIGTERM)
        while httpx.get(f"{url}/readyz").status_code == 200:
            pass
        assert httpx.get(f"{url}/livez").status_code == 200
        assert httpx.post(f"{url}/recommend", json={"user_id": user_id}).status_code == 200
        while True:  # until it listens no more
            try:
                httpx.get(f"{url}/livez")
            except httpx.TransportError:
                break
        assert process.poll() is None
        begun.sendall(body)
        assert begun.recv(65536).startswith(b"HTTP/1.1 200")
        assert process.wait(timeout=30) == 0
        begun.close()
    lines = "".join(told)
    assert lines.count('"level": "info"') == len(told) == 4, lines
    assert "the next start does without" in told[0]
    for part in ('"bundle": "', '"users": 300', '"services": 4', "state.db", '"keys": "not needed"'):
        assert part in told[1]
    assert f"Ready at {url}" in told[2]
    assert "not ready any more, answering on for 1.5 s" in told[3]


@pytest.mark.slow
@pytest.mark.parametrize("is_ready", [False, True], ids=["while starting", "while serving"])
def test_killed_it_leaves_no_orphan_and_starts_again(config, user_id, is_ready):
    port = free_port()
    with started(config, port) as (process, _):
        seen = set()
        if is_ready:
            wait_until_ready(port, process)
        else:
            while not (seen := set(children(process.pid))):  # another process tries the bundle
                assert process.poll() is None
                time.sleep(0.005)
        seen |= set(children(process.pid))
        process.kill()
        process.wait(timeout=20)
        until = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() for pid in seen):
            assert time.monotonic() < until, "a child outlived the service"
            time.sleep(0.1)
    with started(config, port) as (process, _):
        wait_until_ready(port, process)
        with Client(f"http://127.0.0.1:{port}", timeout_s=20) as client:
            assert client.recommend(user_id).decision_id


def test_beyond_this_machine_it_does_not_start_without_a_key(config):
    with pytest.raises(ValueError, match=r"0.0.0.0 can be reached by others .* perkwise keys add NAME"):
        serve(config.data, config.bundle, config.state, config.settings, "0.0.0.0", free_port())


def test_a_setting_of_the_logs_that_there_is_not_is_told(config):
    other = with_settings(config, log_format="xml")
    with pytest.raises(ValueError, match=r"serving\.log_format must be one of text, json, got 'xml'"):
        serve(other.data, other.bundle, other.state, other.settings, port=free_port())


@pytest.mark.slow
def test_with_a_key_it_says_how_many_and_wants_it(config, user_id):
    key = beside(config.state).add("shop", False, datetime.now(UTC))
    port = free_port()
    with started(replace(config, host="127.0.0.1"), port) as (process, told):
        wait_until_ready(port, process)
        url = f"http://127.0.0.1:{port}"
        for path in (
            "/",
            "/schema.json",
            "/docs.json",
            "/metrics",
            "/services",
            "/static_content/x",
            "/healthz",
        ):
            assert httpx.get(url + path).status_code == 401
        with Client(url, key=key, timeout_s=20) as client:
            assert client.recommend(user_id).decision_id
    assert "keys=1" in told[1] and key not in "".join(told)
