"""The BentoML service in this process, and over a real port (as `perkwise serve`: tests/test_commands.py)."""

import re
import signal
import socket
from contextlib import contextmanager

import httpx
import pytest

from serving.config import ServeConfig
from serving.launch import serve
from serving.routes import openapi
from serving.service import Perkwise
from tests.project import free_port
from tests.serving.own_process import started, wait_until_ready


@pytest.fixture
def config(data, bundle, settings, tmp_path):
    return ServeConfig(data, bundle.path, tmp_path / "state.db", settings)


def test_the_service_answers_beside_what_bentoml_answers(config, make_client, monkeypatch, user_id):
    for name, value in config.to_environment().items():
        monkeypatch.setenv(name, value)
    with make_client(Perkwise.to_asgi()) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert client.get("/docs.json").json() == openapi()
        before = n_recommended(client.get("/metrics").text)
        assert client.post("/recommend", json={"user_id": user_id}).status_code == 200
        client.get(f"/users/{user_id}/profile")
        metrics = client.get("/metrics").text
        assert n_recommended(metrics) == before + 1
        assert "perkwise_decisions_total" in metrics
        assert f"/users/{user_id}" not in metrics


def n_recommended(metrics):
    found = re.search(r'perkwise_requests_total{route="/recommend",status="200"} (.*)', metrics)
    return float(found[1]) if found else 0


@contextmanager
def running(config, port):
    """The served process, ready; ended with SIGTERM."""
    with started(config, port) as (process, _):
        wait_until_ready(port, process)
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


def post(port, path, body):
    return httpx.post(f"http://127.0.0.1:{port}{path}", json=body, timeout=20).json()


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_by_a_kill(config, user_id):
    port = free_port()
    request = {"user_id": user_id, "request_id": "r1"}
    event = {"event_id": "e1", "user_id": user_id, "event": "used", "at": "2026-01-01T00:00:00Z"}
    with running(config, port) as process:
        answer = post(port, "/recommend", request)
        assert post(port, "/events", {"events": [event]})["accepted"] == 1
        process.kill()
        process.wait(timeout=20)
    with running(config, port):
        assert post(port, "/recommend", request) == answer
        assert post(port, "/events", {"events": [event]})["duplicate"] == 1


def test_what_keeps_the_service_from_starting_is_told(config, tmp_path):
    absent = tmp_path / "no such bundle"
    with pytest.raises(ValueError, match="there is no bundle at"):
        serve(config.data, absent, config.state, config.settings, port=free_port())


def test_a_port_in_use_is_told(config):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} on 127.0.0.1 cannot be listened on"):
            serve(config.data, config.bundle, config.state, config.settings, port=port)
