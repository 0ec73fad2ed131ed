"""The Python client against a real port: typed answers, retries with the same id, the fallback list."""

import asyncio
import dataclasses
import re
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.client import AsyncClient, Client, Event, Refused, Unreachable
from serving.keys import KeyFile
from serving.tables import decisions, events
from tests.serving.live import is_whole, make_guard, serving

SLOWLY = {"timeout_s": 20}


@pytest.fixture
def live(application, tmp_path):
    with serving(application, make_guard(tmp_path)) as one:
        yield one


@pytest.fixture
def at(clock):
    return datetime.fromtimestamp(clock.now_us / 1e6, UTC) - timedelta(hours=1)


def count(application, table):
    return len(application.database.run_now(lambda connection: connection.execute(table.select()).all()))


class Proxy:
    """Passes requests on to the service and loses the first answers: the caller cannot know what happened."""

    def __init__(self, port, n_lost):
        self.n_lost, self._to = n_lost, port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            caller, _ = self._listening.accept()
            with caller, socket.create_connection(("127.0.0.1", self._to)) as service:
                request = caller.recv(65536)
                while b"\r\n\r\n" not in request or not request.endswith(b"}"):
                    request += caller.recv(65536)
                service.sendall(request)
                answer = service.recv(65536)
                while not is_whole(answer):  # head and body come apart
                    answer += service.recv(65536)
                if self.n_lost:
                    self.n_lost -= 1
                else:
                    caller.sendall(answer.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))


def test_answers_are_typed(live, user_id, at, application):
    with Client(live.url, **SLOWLY) as client:
        answer = client.recommend(user_id, n=2)
        assert answer.user_id == user_id and answer.degraded is None and answer.decision_id
        assert [one.rank for one in answer.services] == list(range(1, len(answer.services) + 1))
        assert all(0 < one.uptake < 1 for one in answer.services)
        used = Event(user_id, "used", at)
        (verdict,) = client.send_events([dataclasses.replace(used, event_id="e1")])
        assert (verdict.event_id, verdict.verdict) == ("e1", "accepted")
        (verdict,) = client.send_events([dataclasses.replace(used, event_id="e1")])
        assert verdict.verdict == "duplicate"
        (verdict,) = client.send_events([dataclasses.replace(used, event="clicked", event_id="e1")])
        assert verdict.verdict == "conflict"
        assert client.send_feedback(user_id, 9, at) == "accepted"
        assert client.profile(user_id).features["used_7d"] == 1
        receipt = client.delete_user(user_id)
        assert receipt.deleted == {"events": 1, "feedback": 1, "decisions": 1} and receipt.receipt_id
        (verdict,) = client.send_events([dataclasses.replace(used, event_id="e2")])
        assert verdict.verdict == "rejected" and "was deleted" in verdict.reason


def test_the_async_client_does_the_same(live, user_id, at):
    async def ask():
        async with AsyncClient(live.url, **SLOWLY) as client:
            answers = await asyncio.gather(*(client.recommend(user_id) for _ in range(5)))
            assert len({one.decision_id for one in answers}) == 5
            (verdict,) = await client.send_events([Event(user_id, "used", at)])
            assert verdict.verdict == "accepted" and verdict.event_id
            assert await client.send_feedback(user_id, 9, at) == "accepted"
            assert (await client.profile(user_id)).features["used_7d"] == 1
            assert (await client.delete_user(user_id)).deleted["events"] == 1
            with pytest.raises(Refused, match="404: nothing is known of a user of this id"):
                await client.profile(user_id)

    asyncio.run(ask())


def test_an_answer_that_was_lost_is_fetched_again_and_nothing_happens_twice(live, user_id, at, application):
    proxy = Proxy(live.port, n_lost=2)
    with Client(proxy.url, timeout_s=20, retries=2) as client:
        answer = client.recommend(user_id)
        assert answer.decision_id and count(application, decisions) == 1
        proxy.n_lost = 2
        (verdict,) = client.send_events([Event(user_id, "used", at)])
        assert verdict.verdict == "duplicate" and count(application, events) == 1


def test_an_async_answer_that_was_lost_is_fetched_again(live, user_id, application):
    proxy = Proxy(live.port, n_lost=1)

    async def ask():
        async with AsyncClient(proxy.url, timeout_s=20, retries=1) as client:
            return await client.recommend(user_id)

    assert asyncio.run(ask()).decision_id and count(application, decisions) == 1


def test_where_nobody_answers_the_list_is_the_fallback_and_events_say_so(at):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with Client(url, fallback=["a", "b", "c"], retries=1) as client:
        answer = client.recommend("u", n=2)
        assert (answer.service_ids, answer.degraded, answer.decision_id) == (["a", "b"], "client", None)
        assert "did not answer" in answer.n_reason
        with pytest.raises(Unreachable, match=rf"{port} did not answer: ConnectError. Is it running"):
            client.send_events([Event("u", "used", at)])

    async def ask():
        async with AsyncClient(url, fallback=["a"], retries=1) as client:
            with pytest.raises(Unreachable, match="did not answer: ConnectError"):
                await client.profile("u")
            return await client.recommend("u")

    assert asyncio.run(ask()).service_ids == ["a"]


def test_a_service_that_does_not_answer_in_time_is_as_good_as_none():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(url, fallback=["a"], timeout_s=0.05, retries=1) as client:
            assert client.recommend("u").degraded == "client"


def test_what_the_caller_did_wrong_is_raised_at_once(live, at):
    with Client(live.url, **SLOWLY) as client:
        with pytest.raises(Refused, match="400: user_id: should have at least 1 character, got a text"):
            client.recommend("")
        with pytest.raises(Refused, match="404: nothing is known"):
            client.profile("a/b?c")
    with pytest.raises(ValueError, match="at must name its zone"):
        Event("u", "used", at.replace(tzinfo=None)).as_row()


def test_the_readme_s_example_runs(live, capsys, user_id, tables, clock):
    clock.now_us = max(clock.now_us, time.time_ns() // 1000)
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", readme, flags=re.M | re.S)
    service_id = tables.services["service_id"].iloc[0]
    for named, ours in {"3000": str(live.port), "U0001": user_id, '"S1"': repr(service_id)}.items():
        assert named in example
        example = example.replace(named, ours)
    exec(compile(example, "README.md", "exec"), {})
    listed, verdicts = capsys.readouterr().out.splitlines()
    assert " None " in listed and "verdict='accepted'" in verdicts


def test_the_key_is_sent(application, tmp_path, user_id):
    key = KeyFile(tmp_path / "keys.json").add("shop", False, datetime.now(UTC))
    with serving(application, make_guard(tmp_path)) as live:
        with Client(live.url, key=key, **SLOWLY) as client:
            assert client.recommend(user_id).decision_id
        with Client(live.url, **SLOWLY) as client, pytest.raises(Refused, match="401: a key is needed"):
            client.recommend(user_id)
