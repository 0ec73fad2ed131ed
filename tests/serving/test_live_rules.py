"""Rules in the running service: taken when sound, refused in words, the same in batch."""

import time
from dataclasses import replace

import httpx
import numpy as np
import pytest

from features.rule_facts import vocabulary_of
from features.rules_file import parse_yaml, rules_hash
from offers.rule_parsing import parse_rules
from offers.settings import ExplorationSettings, Settings
from serving.application import Application
from serving.config import ServeConfig
from serving.database import Database
from serving.deletion import DeletedUsers
from serving.kept import RULES, Kept
from serving.live_rules import LiveRules
from serving.recommender import Asked, recommend
from serving.schemas import RecommendRequest
from serving.scoring import score
from serving.state import State
from tests.project import free_port
from tests.serving.test_service import post, running

NOW = 1_790_000_000_000_000
QUIET = Settings(exploration=ExplorationSettings(holdout=0.0, explore=0.0))
TEXT = """
rules:
  - name: gold
    services: [{first}]
    who: tier in ["gold", "platinum", "diamond"]
  - name: tired
    services: all
    limits: {{showings: {{most: 1, days: 30}}, cooldown_days: {{used: 5, declined: 20}}}}
  - name: must
    services: [{last}]
    must_show: frequency_90d >= 1
"""


@pytest.fixture
def text(bundle):
    return TEXT.format(first=bundle.catalog.ids[0], last=bundle.catalog.ids[-1])


@pytest.fixture
def vocabulary(bundle):
    return vocabulary_of(bundle.layout, bundle.tiers.names, bundle.catalog, QUIET)


def rules_of(text, vocabulary):
    read = parse_yaml(text.encode())
    rules, findings = parse_rules(read.content, vocabulary, read.digest)
    assert not findings
    return rules


def test_batch_and_service_apply_the_rules_alike(tables, bundle, text, vocabulary):
    rules = rules_of(text, vocabulary)
    now = int(tables.exposures["shown_at"].max().timestamp() * 1e6) + 1
    rows = score(tables, bundle, QUIET, now, seed=1, rules=rules).rows
    free = score(tables, bundle, QUIET, now, seed=1).rows
    assert not rows["service_id"].equals(free["service_id"])
    state = State(
        tables, bundle.layout, bundle.tiers, bundle.windows.uptake_days, DeletedUsers(b"key", set())
    )
    refused = 0
    for user_id in tables.users["user_id"].tolist()[:80]:
        profile = state.profile(user_id, now)
        past = state.past(user_id, profile, rules.needs, now)
        asked = Asked(user_id, profile.features, profile.tier, now, 0, QUIET.decision.max_services, past=past)
        (decision,) = recommend(bundle, QUIET, [asked], now, rules)
        mine = rows[(rows["user_id"] == user_id) & (rows["service_id"] != "")]["service_id"].tolist()
        assert mine == [bundle.catalog.ids[one.position] for one in decision.offered]
        assert decision.rules == rules.digest
        assert all(reason.startswith("rule `") for reason in decision.refusals.values())
        assert not {bundle.catalog.ids[place] for place in decision.refusals} & set(mine)
        refused += len(decision.refusals)
    assert refused > 20


def test_an_edit_counts_once_it_stands_still_and_a_faulty_one_changes_nothing(tmp_path, text, vocabulary):
    file = tmp_path / "rules.yaml"
    file.write_text("rules: []")
    live = LiveRules([tmp_path / "absent.yaml", file], vocabulary, 5, lambda: NOW)
    assert live.poll() is None
    file.write_text(text)
    assert live.poll() is None  # seen once: it may be half-written
    found = live.poll()
    assert live.poll() == found and not live.in_force.rules.rules  # as long as they could not be taken
    live.take(found)
    assert live.poll() is None
    assert [rule.name for rule in live.in_force.rules.rules] == ["gold", "tired", "must"]
    for broken in (text[:60], text.replace("tier in", "tierr in"), "", None):
        file.unlink() if broken is None else file.write_text(broken)
        assert (live.poll(), live.poll(), live.poll()) == (None, None, None)
        assert len(live.in_force.rules.rules) == 3 and live.faults
    assert "the file is gone" in live.faults[0]
    file.write_text(text)
    assert (live.poll(), live.poll()) == (None, None) and live.faults == ()


def test_faults_keep_a_service_from_starting_but_a_service_that_is_gone_does_not(tmp_path, vocabulary):
    file = tmp_path / "rules.yaml"
    file.write_text("rules:\n  - {name: r, services: [gone], must_show: true}\n")
    assert LiveRules([file], vocabulary, 5, lambda: NOW).in_force.rules.rules[0].services == ()
    file.write_text("rules:\n  - {name: r, services: all, who: no_such > 1}\n")
    with pytest.raises(
        ValueError, match=r"has faults:\n- line 2: rule `r`: who: there is no column `no_such`"
    ):
        LiveRules([file], vocabulary, 5, lambda: NOW)


def test_a_decision_names_the_rules_that_are_kept_for_it():
    assert rules_hash(b"rules: []") == Kept.of(RULES, b"rules: []").hash


def test_the_capacity_of_a_day_is_not_exceeded_by_a_batch(tables, bundle, clock, tmp_path):
    first = replace(bundle.catalog.services[0], capacity_per_day=3)
    catalog = replace(bundle.catalog, services=(first, *bundle.catalog.services[1:]))
    database = Database(tmp_path / "capacity.db")
    application = Application(tables, replace(bundle, catalog=catalog), database, QUIET, clock)
    from_now = [application.deciding.decide([one], clock()) for one in requests(tables, 40)]
    shown = sum(one.position == 0 for made in from_now for decision in made for one in decision.offered)
    database.close()
    assert shown <= 3
    assert any(
        "its capacity of 3 a day" in why for made in from_now for d in made for why in d.refusals.values()
    ) == (shown == 3)


def requests(tables, n):

    return [RecommendRequest(user_id=user_id) for user_id in tables.users["user_id"].tolist()[:n]]


@pytest.mark.slow
def test_a_real_edit_counts_within_a_second_over_http(data, bundle, settings, tmp_path, user_id, text):

    file = tmp_path / "rules.yaml"
    file.write_text("# none\n")
    port = free_port()
    config = ServeConfig(data, bundle.path, tmp_path / "state.db", settings, rules=(file,))

    def rules_now():
        return httpx.get(f"http://127.0.0.1:{port}/services").json()["rules"]

    with running(config, port):
        assert rules_now()["names"] == []
        none = bundle.catalog.ids[0]
        sound = f"rules:\n  - {{name: away, services: [{none}], who: orders_never > 1}}\n".replace(
            "orders_never > 1", "frequency_90d > 1000000"
        )
        file.write_text(sound)
        time.sleep(1.0)
        assert rules_now()["names"] == ["away"]
        answer = post(port, "/recommend", {"user_id": user_id, "explain": True})
        why = {one["service_id"]: one["reason"] for one in answer["why_not"]}
        assert why[none].startswith("rule `away`: frequency_90d is ")
        file.write_text(sound.replace("frequency_90d", "frequency_90"))
        time.sleep(1.0)
        told = rules_now()
        assert (
            told["names"] == ["away"]
            and "line 2" in told["faults"][0]
            and "frequency_90d" in told["faults"][0]
        )


def test_counts_of_today_begin_anew_at_midnight(tables, bundle):
    state = State(tables, bundle.layout, bundle.tiers, 7, DeletedUsers(b"key", set()))
    day = 86_400_000_000
    for at in (NOW - day, NOW, NOW + 1):
        state.count_showing(at, bundle.catalog.ids[1])
    state.count_showing(NOW, bundle.catalog.ids[1], -1)
    assert np.array_equal(state.shown_today("UTC", NOW), [0, 1, 0, 0])
    assert state.shown_today("UTC", NOW + day).sum() == 0
