"""Nobody is left without a list: each rung is stood upon by taking the one above away."""

import asyncio

import numpy as np
import pytest
import sqlalchemy as sa

from serving.application import Application
from serving.database import Database, reading
from serving.fill_scores import fill
from serving.kept_scores import ROWS, KeptScores, key_of
from serving.replay import replay_all
from serving.routes import make_app
from serving.schemas import RecommendRequest
from serving.tables import decisions
from tests.serving.conftest import TestClient


@pytest.fixture
def scores(application, data, clock, tmp_path):
    folder = fill(tmp_path / "scores", key_of(data, application.bundle), application.state,
                  application.bundle, clock())  # fmt: skip
    return KeptScores(folder, application.bundle)


def ask(application, user_id, **more):
    app = make_app()
    app.state.application = application
    answer = TestClient(app, raise_server_exceptions=False).post(
        "/recommend", json={"user_id": user_id, **more}
    )
    assert answer.status_code == 200
    return answer.json()


def test_the_highest_rung_is_not_told(application, scores, user_id):
    assert ask(application, user_id)["degraded"] is None
    application.take_scores(scores)
    assert ask(application, user_id)["degraded"] is None


def test_without_a_score_the_last_one_answers(broken, scores, bundle, clock):
    broken.take_scores(scores)
    user_id = broken.state.history.user_ids[11]
    assert ask(broken, user_id)["degraded"] is None  # kept, and as it would be
    broken.state.add_event(user_id, "visit", clock(), "", None)
    answer = ask(broken, user_id)
    assert answer["degraded"] == "last_profile"
    kept = scores.row(11, 0)
    for one in answer["services"]:
        place = bundle.catalog.position_of[one["service_id"]]
        assert (one["uptake"], one["uplift"]) == (kept.uptake[place], kept.uplift_margin[place])


def test_without_a_last_one_the_average_of_the_tier_answers(broken, scores, bundle, clock):
    rows = np.load(scores.folder / ROWS, mmap_mode="r+")
    rows["check"][11] ^= 1  # damaged
    rows.flush()
    broken.take_scores(scores)
    user_id = broken.state.history.user_ids[11]
    tier = broken.state.profile(user_id, clock()).tier
    members = [scores.row(number, 0) for number in range(len(scores)) if number != 11]
    uplift = np.mean([one.uplift_margin for one in members if one.profile.tier == tier], axis=0)
    answer = ask(broken, user_id)
    assert answer["degraded"] == "tier_list"
    found = {one["service_id"]: one["uplift"] for one in answer["services"]}
    for service_id, number in found.items():
        assert number == pytest.approx(uplift[bundle.catalog.position_of[service_id]], abs=0.1)
    assert ask(broken, "a stranger")["degraded"] == "tier_list"


def test_without_any_score_a_typical_customer_answers(broken, bundle, user_id):
    answer = ask(broken, user_id, explain=True)
    assert answer["degraded"] == "constant_list"
    typical = np.mean(bundle.manifest["golden"]["uplift_margin"], axis=0)
    for one in answer["services"]:
        assert one["uplift"] == typical[bundle.catalog.position_of[one["service_id"]]]
    in_full = TestClient(_app(broken)).get(f"/decisions/{answer['decision_id']}").json()
    assert in_full["degraded"] == "constant_list"


def test_one_who_cannot_be_profiled_leaves_the_others_on_theirs(application, user_id, clock):
    application.state.add_event("odd", "visit", "no time at all", "", None)  # as no request could say it
    body = {"requests": [{"user_id": "odd"}, {"user_id": user_id}]}
    answers = TestClient(_app(application)).post("/recommend_batch", json=body).json()["answers"]
    assert [one["degraded"] for one in answers] == ["constant_list", None]


def test_decisions_of_every_rung_are_made_again_to_the_byte(broken, scores, bundle, clock, tmp_path):
    users = broken.state.history.user_ids
    rungs = [ask(broken, user_id)["degraded"] for user_id in users[:20]]
    broken.take_scores(scores)
    rungs += [ask(broken, user_id)["degraded"] for user_id in users[20:40]]
    for user_id in users[40:60]:
        broken.state.add_event(user_id, "visit", clock(), "", None)
        rungs.append(ask(broken, user_id)["degraded"])
    rungs += [ask(broken, f"stranger {number}")["degraded"] for number in range(20)]
    assert set(rungs) == {None, "last_profile", "tier_list", "constant_list"}
    with reading(tmp_path / "broken.db") as connection:
        found = replay_all(connection, lambda name: bundle)  # the bundle of that day, undamaged
    assert (found.n_replayed, found.n_same) == (80, 80)


def test_one_who_cannot_be_decided_for_costs_the_others_nothing(
    tables, bundle, settings, clock, tmp_path, user_id
):
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n  - name: rest\n    services: all\n    limits: {cooldown_days: {shown: 1}}\n")
    database = Database(tmp_path / "ruled.db")
    application = Application(tables, bundle, database, settings, clock, [rules])
    application.state.add_event("odd", "visit", "no time at all", "", None)  # the rule asks for the past

    async def together():
        requests = [RecommendRequest(user_id=one) for one in (user_id, "odd", "a stranger")]
        return await asyncio.gather(*map(application.recommend, requests), return_exceptions=True)

    good, odd, other = asyncio.run(together())
    assert isinstance(odd, TypeError)
    shown = [one["service_id"] for answer in (good, other) for one in answer["services"]]
    counted = application.state.shown_today("UTC", clock())
    assert shown and counted.tolist() == [shown.count(name) for name in bundle.catalog.ids]
    database.close()
    with reading(tmp_path / "ruled.db") as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(decisions)) == 2


def test_what_is_not_kept_has_spent_nothing(application, clock):
    application.database.run_now(lambda connection: connection.exec_driver_sql("DROP TABLE decisions"))

    async def together():
        requests = [RecommendRequest(user_id=f"stranger {number}") for number in range(4)]
        return await asyncio.gather(*map(application.recommend, requests), return_exceptions=True)

    assert all(isinstance(one, sa.exc.OperationalError) for one in asyncio.run(together()))
    assert application.state.shown_today("UTC", clock()).tolist() == [0, 0, 0, 0]


def _app(application):
    app = make_app()
    app.state.application = application
    return app
