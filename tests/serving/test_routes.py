"""The HTTP interface over a real application; only BentoML's own part is left to test_service.py."""

import json
import logging
from copy import copy
from dataclasses import replace
from urllib.parse import quote

import numpy as np
import pytest

from serving import schemas
from serving.answers import iso
from serving.application import Application
from serving.database import Database
from serving.routes import MAX_BODY, make_app
from serving.tables import decisions, events, exposures, facts, feedback

DAY_US = 86_400_000_000


def event(user_id, clock, event_id="e1", **changes):
    row = {"event_id": event_id, "user_id": user_id, "event": "used", "at": iso(clock.now_us - 1000)}
    return {**row, **changes}


def rows_of(application, table):
    return [
        dict(row._mapping) for row in application.database.run_now(lambda c: c.execute(table.select()).all())
    ]


def features(client, user_id):
    return client.get(f"/users/{user_id}/profile").json()["features"]


def test_a_recommendation_is_ranked_and_has_every_key(client, user_id, bundle):
    response = client.post("/recommend", json={"user_id": user_id, "channel": "app", "explain": True})
    answer = response.json()
    assert response.status_code == 200
    schemas.RecommendAnswer.model_validate(answer)
    assert list(answer) == [
        "decision_id",
        "user_id",
        "arm",
        "services",
        "n_reason",
        "prices",
        "degraded",
        "bundle",
        "profile_as_of",
        "why_not",
    ]
    assert answer["user_id"] == user_id
    assert answer["bundle"] == bundle.hash
    assert answer["degraded"] is None
    assert [one["rank"] for one in answer["services"]] == list(range(1, len(answer["services"]) + 1))
    assert set(answer["services"][0]) == set(schemas.Offer.model_fields)
    for one in answer["services"]:
        effects = [reason["effect"] for reason in one["why"]]
        assert one["why_base"] + sum(effects) + one["why_rest"] == pytest.approx(one["value"], rel=1e-9)


def test_without_explain_there_is_no_why(client, user_id):
    for one in client.post("/recommend", json={"user_id": user_id}).json()["services"]:
        assert (one["why"], one["why_base"], one["why_rest"]) == ([], None, None)


def test_n_shortens_the_list_and_never_lengthens_it_beyond_the_setting(client, user_id, settings):
    for n in (1, 2, 1000):
        answer = client.post("/recommend", json={"user_id": user_id, "n": n}).json()
        assert len(answer["services"]) <= min(n, settings.decision.max_services)


def test_an_unknown_user_gets_a_cold_answer(client):
    response = client.post("/recommend", json={"user_id": "用户🙂 never seen"})
    assert response.status_code == 200
    schemas.RecommendAnswer.model_validate(response.json())


def test_a_decision_is_in_the_log_with_the_probabilities_of_the_closed_form(
    client, application, user_id, bundle
):
    answer = client.post("/recommend", json={"user_id": user_id, "channel": "app"}).json()
    found = client.get(f"/decisions/{answer['decision_id']}").json()
    schemas.DecisionAnswer.model_validate(found)
    assert {key: found[key] for key in answer} == answer
    assert found["channel"] == "app"
    n_eligible = sum(found["candidates"]["eligible"])
    longest = min(found["max_services"], n_eligible)
    served, explore = 1 - found["holdout"], found["explore"]
    for position, one in enumerate(answer["services"]):
        by_policy = found["policy_list"][position : position + 1] == [one["service_id"]]
        by_chance = explore * (longest - position) / longest / n_eligible
        assert one["propensity"] == pytest.approx(served * (by_chance + (1 - explore) * by_policy))
        in_policy = one["service_id"] in found["policy_list"]
        drawn = explore * (longest + 1) / 2 / n_eligible  # the mean of the lengths, of all that are eligible
        assert found["inclusion"][one["service_id"]] == pytest.approx(
            served * (drawn + (1 - explore) * in_policy)
        )
    rows = rows_of(application, exposures)
    assert [row["service_id"] for row in rows] == [one["service_id"] for one in answer["services"]]
    assert [row["propensity"] for row in rows] == [one["propensity"] for one in answer["services"]]
    assert {row["slate_propensity"] for row in rows} == {found["slate_propensity"]}
    assert {row["channel"] for row in rows} == {"app"}


def test_what_was_shown_is_in_the_next_profile(client, clock, user_id):
    before = features(client, user_id)["offers_7d"]
    shown = client.post("/recommend", json={"user_id": user_id}).json()["services"]
    clock.now_us += 1
    assert features(client, user_id)["offers_7d"] == before + len(shown)


def test_an_event_is_on_disk_and_in_the_next_profile(client, application, clock, user_id):
    before = features(client, user_id)["used_7d"]
    response = client.post("/events", json={"events": [event(user_id, clock)]})
    assert response.status_code == 200
    schemas.EventsAnswer.model_validate(response.json())
    nothing_wrong = dict.fromkeys(("reason", "column", "rule", "remedy"))
    assert response.json()["verdicts"] == [
        {"event_id": "e1", "verdict": "accepted", "row": 1, **nothing_wrong}
    ]
    assert [row["event_id"] for row in rows_of(application, events)] == ["e1"]
    assert features(client, user_id)["used_7d"] == before + 1


def test_the_same_event_again_is_a_duplicate_and_another_body_a_conflict(client, application, clock, user_id):
    row = event(user_id, clock)
    client.post("/events", json={"events": [row]})
    again = client.post("/events", json={"events": [row]})
    assert (again.status_code, again.json()["duplicate"]) == (200, 1)
    other = client.post("/events", json={"events": [{**row, "event": "clicked"}]})
    assert other.status_code == 409
    assert "event_id was used before for another event" in other.json()["error"]
    assert features(client, user_id)["used_7d"] == 1
    assert len(rows_of(application, events)) == 1


def test_an_event_of_the_data_folder_is_a_duplicate(client, clock, tables, user_id):
    event_id = tables.events["event_id"].iloc[0]
    response = client.post("/events", json={"events": [event(user_id, clock, event_id=event_id)]})
    assert response.json()["verdicts"][0]["verdict"] == "duplicate"


def test_of_a_batch_the_good_rows_are_kept_and_each_bad_one_has_its_reason(client, clock, user_id, tables):
    joined_at = tables.users.loc[tables.users["user_id"] == user_id, "joined_at"].iloc[0]
    rows = [
        event(user_id, clock, event_id="good"),
        event(user_id, clock, event_id="service", service_id="no such"),
        event(user_id, clock, event_id="future", at=iso(clock.now_us + DAY_US)),
        event(user_id, clock, event_id="early", at=(joined_at.isoformat().replace("20", "19", 1))),
        {"event_id": "short"},
        "no row",
        event(user_id, clock, event_id="good"),
        event("someone new", clock, event_id="new"),
        event(user_id, clock, event_id="skew", at=iso(clock.now_us + 1_000_000)),
    ]
    response = client.post("/events", json={"events": rows})
    assert response.status_code == 200
    told = [(one["event_id"], one["verdict"], one["reason"] or "") for one in response.json()["verdicts"]]
    for (event_id, verdict, reason), (expected_id, expected, part) in zip(
        told,
        [
            ("good", "accepted", ""),
            ("service", "rejected", "service_id is not in the catalogue"),
            ("future", "rejected", "at is in the future"),
            ("early", "rejected", "at is before the user's joined_at"),
            ("short", "rejected", "user_id is missing; event is missing; at is missing"),
            (None, "rejected", "body: should be"),
            ("good", "duplicate", ""),
            ("new", "accepted", ""),
            ("skew", "accepted", ""),
        ],
        strict=True,
    ):
        assert (event_id, verdict) == (expected_id, expected) and part in reason
    assert features(client, user_id)["used_7d"] == 2
    assert features(client, "someone new")["used_7d"] == 1


def test_feedback_is_kept_once(client, application, clock, user_id):
    body = {"user_id": user_id, "at": iso(clock.now_us - 5), "nps": 3}
    before = features(client, user_id)["feedback_all"]
    assert client.post("/feedback", json=body).json() == {"verdict": "accepted"}
    assert client.post("/feedback", json=body).json() == {"verdict": "duplicate"}
    other = client.post("/feedback", json={**body, "nps": 4})
    assert (other.status_code, "another nps" in other.json()["error"]) == (409, True)
    assert len(rows_of(application, feedback)) == 1
    assert features(client, user_id)["feedback_all"] == before + 1
    assert features(client, user_id)["nps_last"] == 3
    unknown = client.post("/feedback", json={**body, "service_id": "no such"})
    assert (unknown.status_code, "catalogue" in unknown.json()["error"]) == (400, True)


def test_the_same_request_again_gets_the_same_answer_and_another_body_a_conflict(
    client, application, user_id
):
    body = {"user_id": user_id, "request_id": "r1"}
    first = client.post("/recommend", json=body)
    assert client.post("/recommend", json=body).content == first.content
    assert client.post("/recommend", json={**body, "explain": False}).json() == first.json()
    other = client.post("/recommend", json={**body, "n": 1})
    assert (other.status_code, "request_id was used before" in other.json()["error"]) == (409, True)
    assert len(rows_of(application, decisions)) == 1


def test_a_batch_answers_each_request_by_itself(client, application, user_id):
    rows = [
        {"user_id": user_id},
        {"user_id": ""},
        {"user_id": "unknown", "request_id": "r"},
        {"user_id": "another", "request_id": "r"},
        7,
    ]
    response = client.post("/recommend_batch", json={"requests": rows})
    answered = response.json()["answers"]
    assert response.status_code == 200
    schemas.BatchAnswer.model_validate(response.json())
    assert [one.get("status", 200) for one in answered] == [200, 400, 200, 409, 400]
    assert "user_id" in answered[1]["error"]
    assert len(rows_of(application, decisions)) == 2
    refused = client.post("/recommend_batch", json={"requests": rows[1:2]})
    assert refused.status_code == 400


def test_services_are_listed_as_the_bundle_has_them(client, bundle):
    answer = client.get("/services").json()
    schemas.ServicesAnswer.model_validate(answer)
    assert [one["service_id"] for one in answer["services"]] == list(bundle.catalog.ids)


def test_a_service_that_was_hardly_shown_is_called_cold(
    tables, bundle, settings, clock, tmp_path, make_client, user_id
):
    hardly = copy(bundle.uplift_margin)
    hardly.cold_ = np.array([True, False, False, True])
    database = Database(tmp_path / "other.db")
    app = make_app()
    app.state.application = Application(
        tables, replace(bundle, uplift_margin=hardly), database, settings, clock
    )
    client = make_client(app)
    listed = client.get("/services").json()["services"]
    assert [one["cold"] for one in listed] == hardly.cold_.tolist()
    cold = {one["service_id"]: one["cold"] for one in listed}
    answer = client.post("/recommend", json={"user_id": user_id}).json()
    assert answer["services"]
    assert all(one["cold"] is cold[one["service_id"]] for one in answer["services"])
    kept = client.get(f"/decisions/{answer['decision_id']}").json()
    assert kept["services"] == answer["services"]
    database.close()


def test_a_profile_names_every_column(client, user_id, bundle):
    answer = client.get(f"/users/{user_id}/profile").json()
    schemas.ProfileAnswer.model_validate(answer)
    assert list(answer["features"]) == list(bundle.layout.columns)
    assert answer["tier"] in bundle.tiers.names


@pytest.mark.parametrize("user_id", ["007", "NA", "null", "用户🙂", "a/b", "a b?c#d%"])
def test_any_text_is_an_id(client, clock, user_id):
    client.post("/events", json={"events": [event(user_id, clock)]})
    answer = client.get(f"/users/{quote(user_id, safe='')}/profile").json()
    assert (answer["user_id"], answer["features"]["used_7d"]) == (user_id, 1)


@pytest.mark.parametrize(
    "method, path, message",
    [
        ("GET", "/decisions/no-such", "there is no decision of this id"),
        ("GET", "/users/no-such/profile", "nothing is known of a user of this id"),
        ("DELETE", "/users/no-such", "nothing is known of a user of this id"),
    ],
)
def test_an_unknown_id_is_not_found(client, method, path, message):
    response = client.request(method, path)
    assert (response.status_code, response.json()) == (404, {"error": message})


@pytest.mark.parametrize("path", ["/recommend", "/recommend_batch", "/events", "/feedback"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"user_id": NaN}',
        b'{"user_id": "\\ud800", "requests": [], "events": []}',
        b'{"user_id": "\xff"}',
        b'{"user_id": "u", "at": "2026-05-01T12:00:00Z", "nps": Infinity, "n": NaN}',
        b'{"requests": {}, "events": {}}',
        b"[" * 50_000,
    ],
)
def test_a_bad_body_is_refused_with_a_message(client, path, body):
    response = client.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert len(response.json()["error"]) > 10


def test_a_number_that_is_not_finite_is_refused_in_a_row(client, clock, user_id):
    row = json.dumps({"events": [event(user_id, clock, value=float("nan"))]})
    response = client.post("/events", content=row)
    assert response.status_code == 400
    assert "finite" in response.json()["error"]


def test_too_many_rows_and_too_long_a_body_are_refused(client, settings):
    rows = [{}] * (settings.serving.max_batch + 1)
    for path, name in {"/recommend_batch": "requests", "/events": "events"}.items():
        response = client.post(path, json={name: rows})
        assert response.status_code == 413
        assert response.json()["error"].startswith(f"{name} must hold at most 1000 rows, got 1001")
    response = client.post("/recommend", content=b" " * (MAX_BODY + 1))
    assert (response.status_code, "at most" in response.json()["error"]) == (413, True)


def test_a_wrong_method_is_refused(client):
    assert client.get("/recommend").status_code == 405


def test_nothing_personal_is_logged_when_input_is_refused(client, clock, caplog):
    caplog.set_level(logging.DEBUG)
    client.post("/recommend", json={"user_id": ["canary"]})
    client.post("/recommend", json={"user_id": "canary", "top": "canary"})
    client.post("/events", json={"events": [event("canary", clock, at="canary")]})
    client.get("/users/canary/profile")
    assert "canary" not in "".join(record.getMessage() for record in caplog.records if record.name != "httpx")


def test_a_fault_of_ours_has_a_message_and_names_no_user(client, application, caplog):
    application.database.close()
    response = client.post("/recommend", json={"user_id": "canary"})
    assert response.status_code == 500
    assert response.json()["error"].startswith("Perkwise could not answer (RuntimeError)")
    assert "/recommend failed: RuntimeError at" in caplog.text
    assert "canary" not in "".join(record.getMessage() for record in caplog.records if record.name != "httpx")


def test_a_deleted_user_is_gone_and_what_comes_later_is_refused(
    client, application, clock, user_id, tmp_path
):
    client.post("/events", json={"events": [event(user_id, clock, value=1.0)]})
    client.post("/feedback", json={"user_id": user_id, "at": iso(clock.now_us - 5), "nps": 3})
    decision_id = client.post("/recommend", json={"user_id": user_id}).json()["decision_id"]
    receipt = client.delete(f"/users/{user_id}")
    schemas.DeletedAnswer.model_validate(receipt.json())
    assert receipt.json()["deleted"] == {"events": 1, "feedback": 1, "decisions": 1}
    assert receipt.json()["deleted_at"] == iso(clock.now_us)
    kept = [row["value"] for row in rows_of(application, facts) if row["name"].startswith("receipt ")]
    told = {key: found for key, found in receipt.json().items() if key != "user_id"}
    assert [json.loads(one) for one in kept] == [told]
    assert user_id not in str(rows_of(application, facts))
    assert client.get(f"/users/{user_id}/profile").status_code == 404
    assert client.get(f"/decisions/{decision_id}").status_code == 404
    late = client.post("/events", json={"events": [event(user_id, clock, event_id="late")]})
    assert (late.status_code, "was deleted" in late.json()["error"]) == (400, True)
    late = client.post("/feedback", json={"user_id": user_id, "at": iso(clock.now_us - 5), "nps": 3})
    assert late.status_code == 400
    assert client.delete(f"/users/{user_id}").json()["deleted"] == {
        "events": 0,
        "feedback": 0,
        "decisions": 0,
    }


def test_a_deleted_user_is_answered_like_a_new_one_and_the_log_does_not_learn_the_id(
    client, application, user_id
):
    client.delete(f"/users/{user_id}")
    body = {"user_id": user_id, "request_id": "r1"}
    answer = client.post("/recommend", json=body).json()
    assert answer["user_id"] == user_id
    assert client.post("/recommend", json=body).json() == answer
    assert client.get(f"/decisions/{answer['decision_id']}").json()["user_id"] == ""
    assert rows_of(application, exposures) == []
    assert client.get(f"/users/{user_id}/profile").status_code == 404


def test_a_restart_forgets_nothing(client, application, clock, user_id, tables, bundle, settings, tmp_path):
    answer = client.post("/recommend", json={"user_id": user_id, "request_id": "r1"}).json()
    client.post("/events", json={"events": [event(user_id, clock)]})
    client.post("/feedback", json={"user_id": user_id, "at": iso(clock.now_us - 5), "nps": 3})
    other_id = str(tables.users["user_id"].iloc[8])
    client.delete(f"/users/{other_id}")
    clock.now_us += 1
    before = features(client, user_id)
    application.database.close()
    database = Database(tmp_path / "state.db")
    client.app.state.application = Application(tables, bundle, database, settings, clock)
    assert features(client, user_id) == before
    assert client.post("/recommend", json={"user_id": user_id, "request_id": "r1"}).json() == answer
    assert client.get(f"/decisions/{answer['decision_id']}").status_code == 200
    assert client.get(f"/users/{other_id}/profile").status_code == 404
    late = client.post("/events", json={"events": [event(other_id, clock, event_id="late")]})
    assert late.status_code == 400
    database.close()
