"""What is counted, and that dashboard and documentation name what there is."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.metrics import exposition

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
