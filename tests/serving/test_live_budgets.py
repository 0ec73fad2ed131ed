"""Budgets, tracks and holdouts in the running service: what it refuses and why, and what it spends."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import replace

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given
from hypothesis import settings as checked
from hypothesis import strategies as st

from offers.calendar import DAY_US, HOUR_US
from offers.catalog import Catalog
from offers.pacing import Shift
from offers.settings import parse_settings
from perkwise import main
from serving import schemas
from serving.answers import iso
from serving.application import Application
from serving.database import Database, reading
from serving.live_rules import Poller
from serving.replay import replay_all
from serving.routes import make_app
from serving.schemas import RecommendRequest
from serving.scoring import score
from serving.spending import append_shift
from tests.serving.conftest import Clock
from tests.serving.live import make_guard, serving


@pytest.fixture(scope="module")
def tuesday(tables):
    """Noon of the first Tuesday after the world's last order: users are in all tiers yet."""
    last = int(tables.orders["ordered_at"].max().timestamp()) * 1_000_000
    return last // (7 * DAY_US) * 7 * DAY_US + 12 * DAY_US + 12 * HOUR_US


@pytest.fixture
def clock(tuesday):
    return Clock(tuesday)


@pytest.fixture(scope="module")
def dear(bundle):
    """The same models, but that each service costs something: 2 a use and 0.1 a showing, the last nothing."""
    one = bundle.catalog.services
    costs = [replace(service, unit_cost=2.0, contact_cost=0.1) for service in one[:-1]]
    free = replace(one[-1], unit_cost=0.0, contact_cost=0.0)
    return replace(bundle, catalog=Catalog.of([*costs, free]))


@pytest.fixture
def users(tables):
    return tables.users["user_id"].astype(str).tolist()


@pytest.fixture
def start(tables, dear, settings, clock, tmp_path):
    """Applications over one state file, one after the other; each with settings on top of the world's."""
    opened = []

    def make(audit=None, bundle=dear, rules=(), data=tables, **sections):
        for one in opened:
            one.close()
        opened[:] = [Database(tmp_path / "state.db")]
        return Application(data, bundle, opened[0], over(settings, **sections), clock, rules, audit)

    yield make
    for one in opened:
        one.close()


def over(settings, **sections):
    """These settings with tables or sections of them overridden, else without exploration."""
    quiet = {"exploration": {"holdout": 0.0, "explore": 0.0}, "pacing": {"most_of_revenue": 1.0}}
    parsed = parse_settings({"tiers": {"names": list(settings.tiers.names)}}, quiet, sections)
    return replace(settings, **{name: getattr(parsed, name) for name in {**quiet, **sections}})


def client_of(make_client, application):
    app = make_app()
    app.state.application = application
    return make_client(app, raise_server_exceptions=False)


def decide(application, user_id, **keys):
    return asyncio.run(application.recommend(RecommendRequest(user_id=user_id, explain=True, **keys)))


def use(application, user_id, service_id, event_id, at_us):
    row = {
        "event_id": event_id,
        "user_id": user_id,
        "event": "used",
        "at": iso(at_us),
        "service_id": service_id,
    }
    return asyncio.run(application.events([row]))["verdicts"][0]["verdict"]


def spent(application):
    return {
        (one["name"], one["kind"]): pytest.approx(one["spent"])
        for one in asyncio.run(application.services())["budgets"]
    }


def shown(answer):
    return [one["service_id"] for one in answer["services"]]


def reasons(answer):
    return {one["service_id"]: one["reason"] for one in answer["why_not"]}


def replayed(tmp_path, bundle):
    with reading(tmp_path / "state.db") as connection:
        return replay_all(connection, lambda name: bundle)


def high_track(bundle, **keys):
    names = bundle.tiers.names
    return {
        "name": "high",
        "tiers": list(names[2:]),
        "services": [bundle.catalog.ids[0]],
        "max_services": 1,
        **keys,
    }


def test_a_track_gives_its_users_its_services_and_its_length(start, dear, users):
    application = start(tracks=[high_track(dear)])
    first, high = dear.catalog.ids[0], set(dear.tiers.names[2:])
    seen = set()
    for user_id in users[:60]:
        answer = decide(application, user_id)
        found = asyncio.run(application.decision(answer["decision_id"]))
        is_high = found["tier"] in high
        seen.add((is_high, first in shown(answer)))
        assert found["max_services"] == (1 if is_high else application.settings.decision.max_services)
        if is_high:
            assert first not in reasons(answer) and len(shown(answer)) <= 1
        else:
            assert reasons(answer)[first] == "of the track high; the user is in none"
    assert seen >= {(True, True), (False, False)} and (False, True) not in seen


def test_a_user_of_another_track_is_told_which(start, dear, users):
    names, ids = dear.tiers.names, dear.catalog.ids
    low = {"name": "low", "tiers": list(names[:2]), "services": [ids[1]]}
    application = start(tracks=[high_track(dear), low])
    told = Counter(reasons(decide(application, user_id)).get(ids[1]) for user_id in users[:60])
    assert set(told) == {None, "of the track low; the user is in high"}


def test_a_holdout_of_a_service_keeps_it_from_its_share_and_nothing_else(start, dear, users):
    service = dear.catalog.ids[0]
    application = start(holdouts=[{"name": "not the first", "share": 0.5, "service": service}])
    told = Counter(reasons(decide(application, user_id)).get(service) for user_id in users[:100])
    assert set(told) == {None, "the user is in the holdout 'not the first' of this service"}
    assert 30 < told[None] < 70


def test_a_holdout_of_everything_enters_the_propensities_and_ends_with_its_period(start, users, clock):
    until = iso(clock.now_us + DAY_US)
    half = {"name": "half", "share": 0.5, "active_until": until}
    application = start(holdouts=[half], exploration={"holdout": 0.2, "explore": 0.0})
    for user_id in users[:30]:
        answer = decide(application, user_id)
        found = asyncio.run(application.decision(answer["decision_id"]))
        nothing = 1 - 0.8 * 0.5
        if answer["arm"] == "holdout":
            assert found["slate_propensity"] == pytest.approx(1 if not found["policy_list"] else nothing)
        elif shown(answer):
            assert found["slate_propensity"] == pytest.approx(1 - nothing)
    before = {user_id: decide(application, user_id)["arm"] for user_id in users[:30]}
    clock.now_us += DAY_US
    after = {user_id: decide(application, user_id)["arm"] for user_id in users[:30]}
    assert Counter(before.values())["holdout"] > Counter(after.values())["holdout"]
    assert all(before[user_id] == "holdout" for user_id in users[:30] if after[user_id] == "holdout")


def test_unknown_services_of_the_settings_keep_the_service_from_starting(start, dear):
    with pytest.raises(ValueError, match="The settings have faults") as error:
        start(
            budgets=[{"name": "b", "money": 1.0, "service": "no such"}],
            holdouts=[{"name": "h", "share": 0.1, "service": "nor this"}],
            tracks=[high_track(dear, services=["or that"])],
        )
    assert all(name in str(error.value) for name in ("'no such'", "'nor this'", "'or that'"))


def test_the_service_decides_as_the_batch_does(start, tables, dear, users, settings, clock, tmp_path):
    ids = dear.catalog.ids
    sections = {
        "tracks": [high_track(dear)],
        "holdouts": [
            {"name": "not the second", "share": 0.4, "service": ids[1]},
            {"name": "some", "share": 0.2},
            {"name": "not high", "share": 0.3, "track": "high"},
        ],
    }
    application = start(**sections)
    batch = score(tables, dear, over(settings, **sections), clock.now_us, seed=0).rows
    lists = batch.sort_values("position").groupby("user_id")["service_id"].agg(list)
    lengths = set()
    for user_id in users[:120]:
        answer = decide(application, user_id)
        assert shown(answer) == [one for one in lists[user_id] if one], user_id
        lengths.add((answer["arm"], len(shown(answer))))
    assert lengths >= {("holdout", 0), ("policy", 1), ("policy", 2)}


def test_a_budget_of_contacts_closes_when_it_is_used_and_opens_with_the_next_period(start, users, clock):
    application = start(
        budgets=[{"name": "few", "period": "day", "contacts": 10}], pacing={"reserve_share": 0.0}
    )
    n_shown = sum(len(shown(decide(application, user_id))) for user_id in users[:30])
    assert 5 <= n_shown <= 10
    answer = decide(application, users[30])
    assert shown(answer) == []
    end = iso(clock.now_us + 12 * HOUR_US).replace("Z", "+00:00")
    assert set(reasons(answer).values()) == {f"the budget 'few' has no room left until {end}"}
    found = asyncio.run(application.decision(answer["decision_id"]))
    assert found["closed"] == {f"the budget 'few' has no room left until {end}": list(reasons(answer))}
    clock.now_us += DAY_US
    assert shown(decide(application, users[30]))


def test_of_a_batch_no_more_is_shown_than_there_is_room_for(start, users):
    application = start(
        budgets=[{"name": "few", "period": "day", "contacts": 10}], pacing={"reserve_share": 0.0}
    )
    answers = asyncio.run(application.recommend_batch([{"user_id": user_id} for user_id in users[:32]]))
    n_shown = sum(len(answer["services"]) for answer in answers)
    assert 5 <= n_shown <= 10 and spent(application) == {("few", "contacts"): n_shown}


def test_budgets_of_nothing_show_nothing_that_costs(start, dear, users):
    application = start(budgets=[{"name": "none", "money": 0.0}])
    for user_id in users[:20]:
        assert set(shown(decide(application, user_id))) <= {dear.catalog.ids[-1]}
    closed = start(budgets=[{"name": "none", "contacts": 0}])
    assert not any(shown(decide(closed, user_id)) for user_id in users[:20])


def test_what_is_shown_and_used_is_spent_once_and_found_again_at_a_restart(start, users, clock, dear):
    first = dear.catalog.ids[0]
    budgets = [
        {"name": "all", "period": "week", "money": 1000.0, "contacts": 1000},
        {"name": "first", "period": "week", "money": 1000.0, "service": first},
        {"name": "high", "period": "week", "contacts": 1000, "track": "high"},
    ]
    sections = {"budgets": budgets, "tracks": [high_track(dear, services=[], max_services=0)]}
    application = start(**sections)
    expected, high = Counter(), set(dear.tiers.names[2:])
    for number, user_id in enumerate(users[:25]):
        answer = decide(application, user_id, request_id=f"r{number}")
        assert decide(application, user_id, request_id=f"r{number}") == answer
        found = asyncio.run(application.decision(answer["decision_id"]))
        clock.now_us += 1000
        for service_id in shown(answer):
            cost = 0.0 if service_id == dear.catalog.ids[-1] else 0.1
            if number % 3 == 0:
                event_id = f"{number} {service_id}"
                assert use(application, user_id, service_id, event_id, clock.now_us) == "accepted"
                assert use(application, user_id, service_id, event_id, clock.now_us) == "duplicate"
                assert use(application, user_id, service_id, event_id + "!", clock.now_us) == "accepted"
                cost += 20 * cost
            expected["all", "money"] += cost
            expected["all", "contacts"] += 1
            expected["first", "money"] += cost if service_id == first else 0
            expected["high", "contacts"] += found["tier"] in high
    assert spent(application) == expected
    assert min(expected.values()) > 0
    rooms = [one.room(clock.now_us) for one in application.budgets._spending.accounts]
    again = start(**sections)
    assert spent(again) == expected
    assert [one.room(clock.now_us) for one in again.budgets._spending.accounts] == pytest.approx(rooms)
    for user_id in users[:25:3]:
        asyncio.run(again.delete_user(user_id))
    assert spent(again) == expected
    last = start(**sections)
    assert spent(last) == expected
    decide(last, users[0])  # deleted: nothing more is known of him, and still it costs
    grown = spent(last)
    assert spent(start(**sections)) == grown and grown != expected


def test_a_request_that_conflicts_spends_nothing(start, make_client, users):
    application = start(budgets=[{"name": "all", "contacts": 1000}])
    client = client_of(make_client, application)
    client.post("/recommend", json={"user_id": users[0], "request_id": "r"})
    before = spent(application)
    assert client.post("/recommend", json={"user_id": users[1], "request_id": "r"}).status_code == 409
    assert spent(application) == before


def test_a_use_without_an_offer_or_after_its_window_spends_nothing(start, users, clock, dear):
    application = start(budgets=[{"name": "all", "money": 1000.0}])
    offered = shown(decide(application, users[0]))
    before = spent(application)
    assert use(application, users[1], offered[0], "e1", clock.now_us) == "accepted"
    clock.now_us += application.settings.windows.uptake_days * DAY_US
    assert use(application, users[0], offered[0], "e2", clock.now_us) == "accepted"
    assert spent(application) == before


def test_a_price_is_in_the_answer_in_the_log_and_in_the_value_of_what_is_shown(
    start, make_client, users, clock
):
    application = start(
        budgets=[
            {"name": "all", "period": "day", "money": 100.0},
            {"name": "few", "period": "day", "contacts": 400},
        ],
        pacing={"use_cover": 1.0},
    )
    client = client_of(make_client, application)
    for user_id in users[:30]:
        client.post("/recommend", json={"user_id": user_id})
        clock.now_us += HOUR_US // 60
    told = client.get("/services").json()
    schemas.ServicesAnswer.model_validate(told)
    price = {one["name"]: one["price"] for one in told["budgets"]}
    assert price["all"] > 0
    answer = client.post("/recommend", json={"user_id": users[90], "explain": True}).json()
    schemas.RecommendAnswer.model_validate(answer)
    assert answer["services"] and answer["prices"]["money"] == price["all"]
    assert answer["prices"]["showing"] == dict.fromkeys(shown(answer), price["few"])
    for one in answer["services"]:
        cost = one["cost"] * (1 + price["all"]) + price["few"]
        assert one["value"] == pytest.approx(one["uplift"] - cost)
    found = client.get(f"/decisions/{answer['decision_id']}").json()
    assert found["prices"] == answer["prices"] and found["money"] == price["all"]


def test_where_no_budget_binds_prices_are_nothing(start, users):
    answer = decide(start(), users[0])
    assert answer["prices"] == {"money": 0.0, "showing": dict.fromkeys(shown(answer), 0.0)}


def test_services_that_cost_too_much_of_the_revenue_are_closed_until_they_cost_less(
    start, dear, users, clock, caplog, make_client
):
    sections = {
        "budgets": [{"name": "all", "money": 1e6}],
        "pacing": {"most_of_revenue": 0.007, "reopen_at": 0.006},
    }
    application = start(**sections)
    client = client_of(make_client, application)
    revenue = application.budgets._spending.revenue_a_day
    assert revenue > 100
    n_asked = 0
    while not application.budgets.is_throttled:
        answer = decide(application, users[n_asked % 300], n=1)
        assert not any("of the revenue" in reason for reason in reasons(answer).values())
        n_asked += 1
        clock.now_us += 60_000_000
        application.budgets.advance(clock.now_us)
        assert n_asked < 3000
    answer = decide(application, users[0])
    assert set(shown(answer)) <= {dear.catalog.ids[-1]}
    reason = (
        "services cost 0.7% of the revenue or more: only free ones are shown until they cost less than 0.6%"
    )
    assert [reasons(answer)[service_id] for service_id in dear.catalog.ids[:-1]] == [reason] * 3
    assert client.get("/services").json()["budgets"][0]["is_throttled"] is True
    assert "perkwise_throttled 1.0" in client.get("/metrics").text
    assert caplog.text.count("Services cost too much of the revenue") == 1
    application = start(**sections)
    assert application.budgets.is_throttled
    n_minutes = 0
    while application.budgets.is_throttled:
        clock.now_us += HOUR_US
        application.budgets.advance(clock.now_us)
        n_minutes += 60
    assert n_minutes > 60  # from 0.7 % down to 0.6 %, not to 0.69 %
    assert set(shown(decide(application, users[0]))) - {dear.catalog.ids[-1]}


def test_a_warning_is_told_once_and_counted(start, users, clock, caplog, make_client):
    clock.now_us -= 9 * HOUR_US  # an eighth of the day has passed
    application = start(budgets=[{"name": "little", "period": "day", "money": 20.0}])
    client = client_of(make_client, application)
    for user_id in users[:40]:
        decide(application, user_id)
        clock.now_us += 60_000_000
    assert caplog.text.count("little: ") == 1 and "offers stop before it" in caplog.text
    (one,) = client.get("/services").json()["budgets"]
    assert len(one["forecast"]["warnings"]) == 1
    text = client.get("/metrics").text
    assert 'perkwise_budget_warnings{budget="little",kind="money"} 1.0' in text
    assert f'perkwise_budget_spent{{budget="little",kind="money"}} {one["spent"]}' in text


def test_a_broken_line_in_the_audit_changes_nothing_and_is_told(start, tmp_path, clock, caplog):
    audit = tmp_path / "audit.jsonl"
    application = start(audit=audit, budgets=[{"name": "all", "contacts": 10}])
    audit.write_text("{}\n")
    for _ in range(3):
        application.poll()
    assert caplog.text.count("must hold a declared shift in line 1") == 1
    (one,) = asyncio.run(application.services())["budgets"]
    assert one["forecast"]["is_reserve_open"] is False
    with pytest.raises(ValueError, match="must hold a declared shift in line 1"):
        start(audit=audit, budgets=[{"name": "all", "contacts": 10}])


def test_a_shift_of_before_the_start_is_taken(start, tmp_path, clock):
    audit = tmp_path / "audit.jsonl"
    append_shift(audit, Shift("all", clock.now_us - 1, "Ada", "a sale"))
    application = start(audit=audit, budgets=[{"name": "all", "contacts": 10}])
    (one,) = asyncio.run(application.services())["budgets"]
    assert one["forecast"]["is_reserve_open"] is True


def test_the_command_opens_the_reserve_of_the_running_service_within_a_second(
    tables, dear, settings, tmp_path, monkeypatch, users
):
    monkeypatch.setenv("PERKWISE_HOME", str(tmp_path))
    (tmp_path / "perkwise.toml").write_text('[[budgets]]\nname = "few"\ncontacts = 10\n')
    limited = over(settings, budgets=[{"name": "few", "contacts": 10}])
    database = Database(tmp_path / "state.db")
    application = Application(
        tables,
        dear,
        database,
        limited,
        lambda: time.time_ns() // 1000,
        (),
        tmp_path / "var" / "budget-audit.jsonl",
    )
    poller = Poller([application.poll])
    try:
        with serving(application, make_guard(tmp_path)) as live:

            def n_shown(user_id):
                answer = httpx.post(f"{live.url}/recommend", json={"user_id": user_id}).json()
                return len(answer["services"])

            assert sum(map(n_shown, users[:20])) <= 8  # the reserve is a fifth
            words = ["budget", "open-reserve", "few", "--who", "Ada", "--why", "a sale", "--json"]
            ran = CliRunner().invoke(main, words)
            assert json.loads(ran.stdout)["budget"] == "few"
            declared = time.monotonic()
            told = []
            while not told or not told[-1]["forecast"]["is_reserve_open"]:
                told += httpx.get(f"{live.url}/services").json()["budgets"]
                assert time.monotonic() - declared < 20
                time.sleep(0.02)
            assert n_shown(users[21]) > 0
    finally:
        poller.close()
        database.close()


def test_a_catalogue_that_changed_keeps_what_was_spent(start, dear, users):
    application = start(budgets=[{"name": "all", "money": 1000.0, "contacts": 1000}])
    answers = [decide(application, user_id) for user_id in users[:20]]
    gone = dear.catalog.ids[0]
    n_shown = sum(len(shown(answer)) for answer in answers)
    expected = sum(
        one["cost"] if one["service_id"] == gone else 0.1 * (one["service_id"] != dear.catalog.ids[-1])
        for answer in answers
        for one in answer["services"]
    )
    assert any(gone in shown(answer) for answer in answers)
    renamed = [replace(dear.catalog.services[0], service_id="another"), *dear.catalog.services[1:]]
    again = start(
        bundle=replace(dear, catalog=Catalog.of(renamed)),
        budgets=[{"name": "all", "money": 1000.0, "contacts": 1000}],
    )
    assert spent(again) == {("all", "money"): expected, ("all", "contacts"): n_shown}


RULES = """
rules:
  - name: one of two
    services: [{first}, {second}]
    limits: {{list_at_most: 1}}
"""


def test_all_of_it_together_is_decided_again_to_the_byte(start, dear, users, clock, tmp_path):
    ids = dear.catalog.ids
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES.format(first=ids[0], second=ids[2]))
    application = start(
        rules=[rules],
        exploration={"holdout": 0.1, "explore": 0.3},
        tracks=[high_track(dear, max_services=2)],
        holdouts=[
            {"name": "not the second", "share": 0.4, "service": ids[1]},
            {"name": "some", "share": 0.2, "active_until": iso(clock.now_us + 60 * 60_000_000)},
        ],
        budgets=[
            {"name": "all", "period": "day", "money": 40.0},
            {"name": "last", "period": "day", "contacts": 20, "service": ids[3]},
            {"name": "high", "period": "day", "contacts": 15, "track": "high"},
        ],
    )
    for user_id in users[:4]:
        asyncio.run(application.delete_user(user_id))
    kinds = Counter()
    for number, user_id in enumerate(users[:120]):
        answer = decide(application, user_id)
        record = asyncio.run(application.decision(answer["decision_id"]))
        kinds.update(
            {
                "priced": record["money"] > 0,
                "showing": bool(record["candidates"]["showing"]),
                "withheld": bool(record["withheld"]),
                "closed": bool(record["closed"]),
                "nameless": record["user_id"] == "" and bool(record["withheld"]),
                answer["arm"]: True,
            }
        )
        for service_id in shown(answer)[::2]:
            use(application, user_id, service_id, f"{number} {service_id}", clock.now_us)
        clock.now_us += 60_000_000
    asyncio.run(application.recommend_batch([{"user_id": user_id} for user_id in users[120:160]]))
    assert min(kinds.values()) > 0 and len(kinds) == 8, kinds
    found = replayed(tmp_path, dear)
    assert (found.n_replayed, found.n_same, found.different) == (160, 160, ())


@pytest.fixture(scope="module")
def fast(tables, dear, settings, tuesday, tmp_path_factory):
    """A service whose budget is set anew for each example, over a state file of its own."""

    def make(name, **sections):
        clock = Clock(tuesday)
        folder = tmp_path_factory.mktemp(name)
        return clock, Application(
            tables, dear, Database(folder / "state.db"), over(settings, **sections), clock
        )

    return make


@pytest.mark.slow
@checked(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), money=st.sampled_from([3.0, 20.0, 80.0]), eager=st.booleans())
def test_whatever_users_do_no_budget_is_overspent(fast, tables, seed, money, eager):
    """Offers held in full; eager users take whatever they are shown, at any time within the window."""
    rng = np.random.default_rng(seed)
    clock, application = fast(
        "budget",
        budgets=[
            {"name": "all", "period": "week", "money": money, "contacts": 150},
            {"name": "first", "period": "week", "money": money / 2, "service": "S1"},
        ],
        pacing={"use_cover": 1000},
    )
    users = tables.users["user_id"].astype(str).tolist()
    waiting = []
    for number in range(150):
        user_id = users[rng.integers(len(users))]
        waiting += [(user_id, service_id) for service_id in shown(decide(application, user_id))]
        clock.now_us += int(rng.exponential(HOUR_US / 4))
        if waiting and (eager or rng.random() < 0.3):
            use(application, *waiting.pop(rng.integers(len(waiting))), f"e{number}", clock.now_us)
        for account in application.budgets._spending.accounts:
            assert account.spent <= account.open_amount + 1e-9
    for number, (user_id, service_id) in enumerate(waiting):
        use(application, user_id, service_id, f"late {number}", clock.now_us)
    for account in application.budgets._spending.accounts:
        assert account.spent <= account.open_amount + 1e-9
    assert application.budgets._spending.accounts[1].spent > 0
    application.database.close()
