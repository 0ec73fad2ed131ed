"""What is counted, and that dashboard and documentation name what there is."""

import asyncio
import json
import re
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from offers.settings import ExplorationSettings
from serving import protocol
from serving.application import Application
from serving.database import Database
from serving.keys import KeyFile
from serving.metrics import exposition
from serving.routes import make_app
from tests.serving.live import make_guard, make_routes, read_all, serving

DOCS = Path(__file__).resolve().parents[2] / "docs"


def samples():
    """Values by name and labels."""
    found = text_string_to_metric_families(exposition().decode())
    return {(one.name, *sorted(one.labels.items())): one.value for family in found for one in family.samples}


def grown(before, name, **labels):
    key = (name, *sorted(labels.items()))
    return samples().get(key, 0) - before.get(key, 0)


@pytest.fixture
def before(client):
    return samples()


def test_a_decision_is_counted_with_its_arm_length_cost_and_uplift(client, before, user_id):
    answer = client.post("/recommend", json={"user_id": user_id}).json()
    offers = answer["services"]
    assert grown(before, "perkwise_decisions_total", arm=answer["arm"], rung="live") == 1
    assert grown(before, "perkwise_lists_total", length=str(len(offers))) == 1
    cost, uplift = (sum(max(one[name], 0) for one in offers) for name in ("cost", "uplift"))
    assert grown(before, "perkwise_expected_cost_total") == pytest.approx(cost)
    assert grown(before, "perkwise_expected_uplift_total") == pytest.approx(uplift)
    assert grown(before, "perkwise_request_seconds_count", route="/recommend", rung="live") == 1
    assert grown(before, "perkwise_profile_age_seconds_count") == 1


def test_events_and_refusals_are_counted_by_verdict_and_reason(client, before, user_id):
    row = {"event_id": "e1", "user_id": user_id, "event": "used", "at": "2026-05-01T12:00:00Z"}
    client.post("/events", json={"events": [row, row, {**row, "event": "own"}, {}]})
    for verdict in ("accepted", "duplicate", "conflict", "rejected"):
        assert grown(before, "perkwise_events_total", verdict=verdict) == 1
    client.post("/recommend", content="{")
    client.get("/decisions/none")
    client.get("/none")
    client.put("/recommend")
    for reason in ("bad_request", "not_found", "path", "method"):
        assert grown(before, "perkwise_refused_total", reason=reason) == 1
    client.delete(f"/users/{user_id}")
    assert grown(before, "perkwise_deleted_users_total") == 1


def test_gauges_say_what_is_served(client, bundle):
    text = client.get("/metrics").text
    assert f'perkwise_bundle_info{{bundle="{bundle.hash}"}} 1.0' in text
    assert f"perkwise_users {client.app.state.application.state.n_users}.0" in text
    assert f"perkwise_services {len(bundle.catalog)}.0" in text


def test_arms_lists_and_penetration_are_counted_as_they_were_answered(
    tables, bundle, settings, clock, make_client, tmp_path, before
):
    mixed = replace(settings, exploration=ExplorationSettings(holdout=0.3, explore=0.4))
    app, database = make_app(), Database(tmp_path / "state.db")
    app.state.application = Application(tables, bundle, database, mixed, clock)
    requests = [{"user_id": str(one)} for one in tables.users["user_id"].head(60)]
    answered = make_client(app).post("/recommend_batch", json={"requests": requests}).json()["answers"]
    arms = Counter(one["arm"] for one in answered)
    assert set(arms) == {"policy", "explore", "holdout"}
    for arm, n_decisions in arms.items():
        assert grown(before, "perkwise_decisions_total", arm=arm, rung="live") == n_decisions
    for length, n_decisions in Counter(len(one["services"]) for one in answered).items():
        assert grown(before, "perkwise_lists_total", length=str(length)) == n_decisions
    assert grown(before, "perkwise_lists_total", length="0") >= arms["holdout"]
    database.close()


def test_a_degraded_answer_is_counted_and_timed_under_its_rung(broken, make_client, before, user_id):
    app = make_app()
    app.state.application = broken
    arms = Counter()
    for n_answered in (1, 2):
        answer = make_client(app).post("/recommend", json={"user_id": user_id}).json()
        assert answer["degraded"] == "constant_list"
        rung, arm = {"rung": "constant_list"}, answer["arm"]
        arms[arm] += 1
        assert grown(before, "perkwise_decisions_total", arm=arm, **rung) == arms[arm]
        seconds = "perkwise_request_seconds_count"
        assert grown(before, seconds, route="/recommend", **rung) == n_answered
    assert grown(before, "perkwise_request_seconds_count", route="/recommend", rung="live") == 0


def test_the_age_of_what_decided_is_told(client, clock, before, user_id):
    clock.now_us = int(time.time() * 1e6) - 7_200_000_000  # two hours ago
    client.post("/recommend", json={"user_id": user_id})
    assert grown(before, "perkwise_profile_age_seconds_sum") == pytest.approx(7200, abs=60)
    assert grown(before, "perkwise_profile_age_seconds_bucket", le="21600.0") == 1
    assert grown(before, "perkwise_profile_age_seconds_bucket", le="3600.0") == 0


def test_the_line_and_what_is_at_work_are_told(application, tmp_path):
    guard = make_guard(tmp_path)

    async def stay(end):
        async with guard.line.turn():
            await end.wait()

    async def ask():
        end, transport = asyncio.Event(), httpx.ASGITransport(make_routes(application, guard))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
            staying = [asyncio.ensure_future(stay(end)) for _ in range(200)]
            await asyncio.sleep(0.1)
            busy = (await http.get("/metrics")).text
            end.set()
            await asyncio.gather(*staying)
            return busy, (await http.get("/metrics")).text

    busy, calm = asyncio.run(ask())
    working, waiting = (
        int(re.search(rf"^perkwise_{name}_requests (\d+)\.0$", busy, re.M)[1])
        for name in ("working", "waiting")
    )
    assert working > 0 and waiting > 0 and working + waiting == 200
    assert "perkwise_working_requests 0.0" in calm and "perkwise_waiting_requests 0.0" in calm


def test_whoever_is_turned_away_is_counted_by_why(application, tmp_path, monkeypatch, before):
    keys = KeyFile(tmp_path / "keys.json")
    reads, writes = (
        keys.add(name, name == "reads", datetime(2026, 5, 1, tzinfo=UTC)) for name in ("reads", "writes")
    )
    good, bearer = {"user_id": "somebody"}, "Authorization"

    def grew(reason):
        return grown(before, "perkwise_refused_total", reason=reason)

    guard = make_guard(tmp_path, host="0.0.0.0", max_body_bytes=1000)
    with serving(application, guard) as live, httpx.Client(base_url=live.url, trust_env=False) as http:
        own = {bearer: f"Bearer {writes}"}
        for reason, more in (
            ("no_key", {}),
            ("unknown_key", {"headers": {bearer: "Bearer none"}}),
            ("read_only_key", {"headers": {bearer: f"Bearer {reads}"}}),
            ("too_large", {"headers": own, "json": {"user_id": "u" * 2000}}),
            ("encoding", {"headers": {**own, "Content-Encoding": "gzip"}}),
            ("media_type", {"headers": {**own, "Content-Type": "text/html"}}),
        ):
            assert http.post("/recommend", **{"json": good, **more}).status_code >= 400
            assert grew(reason) == 1
        live.send(b"nonsense\r\n\r\n")
        live.send(b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n")
        live.send(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000 + b"\r\n")
        with monkeypatch.context() as patched:
            patched.setattr(protocol, "REQUEST_S", 0.1)
            with live.connect() as connection:
                connection.sendall(b"POST /recommend HTT")
                assert read_all(connection).startswith(b"HTTP/1.1 408 ")
        monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 0)
        live.send(b"")
    for reason in ("not_http", "long_address", "long_headers", "slow", "connections"):
        assert grew(reason) == 1


def test_more_requests_than_a_key_may_send_are_counted(application, tmp_path, before):
    with serving(application, make_guard(tmp_path, requests_per_second=1)) as live:
        statuses = [httpx.get(f"{live.url}/services").status_code for _ in range(5)]
    assert grown(before, "perkwise_refused_total", reason="rate") == statuses.count(429) > 0


def names_of_families(client):
    client.get("/metrics")
    families = text_string_to_metric_families(exposition().decode())
    return {family.name for family in families if family.name.startswith("perkwise_")}


def without_suffix(name):
    return re.sub(r"_(total|bucket|sum|count)$", "", name)


def test_the_dashboard_asks_for_what_there_is_and_for_all_of_it(client):
    panels = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    named = {without_suffix(name) for expression in asked for name in re.findall(r"perkwise_\w+", expression)}
    assert named == names_of_families(client)
    assert len({panel["id"] for panel in panels}) == len(panels) > 10


def test_the_operator_s_table_names_them_all(client):
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    named = {without_suffix(name) for name in re.findall(r"`(perkwise_\w+)", text)}
    assert named == names_of_families(client)
