"""Two workers over one database, in one process: what one acknowledges is in the next answer of the other."""

import asyncio
import copy
from dataclasses import replace

import pytest
import sqlalchemy as sa

from offers.settings import BudgetLimit
from serving.application import Application, Refused
from serving.database import Database
from serving.schemas import FeedbackRequest, RecommendRequest
from serving.shared import OwnRows, Shared
from serving.spending import spending_of
from serving.tables import decisions, deleted_users, events, exposures, feedback

AT = "2026-05-01T12:00:00Z"


def event(event_id, user_id, **others):
    return {"event_id": event_id, "user_id": user_id, "event": "used", "at": AT, **others}


def workers_of(shared, number):
    found = copy.copy(shared)
    found.place = number
    return found


class Pair:
    """Two applications as two workers have them: all but the process is their own."""

    def __init__(self, make):
        self.shared = Shared(2)
        self.both = [make(workers_of(self.shared, place)) for place in range(2)]

    def __iter__(self):
        return iter(self.both)

    def close(self):
        for one in self.both:
            one.database.close()


@pytest.fixture
def make_pair(tables, bundle, settings, clock, where):
    made = []

    def make(**changes):
        chosen = replace(settings, **changes)
        pair = Pair(lambda shared: Application(tables, bundle, Database(where, shared), chosen, clock))
        made.append(pair)
        return pair

    yield make
    for one in made:
        one.close()


@pytest.fixture
def pair(make_pair):
    return make_pair()


def run(coroutine):
    return asyncio.run(coroutine)


def features(application, user_id):
    return run(application.profile(user_id))["features"]


def rows_in(application, table):
    return application.database.run_now(lambda c: c.execute(sa.select(table)).all())


def test_an_event_that_one_takes_in_is_in_the_others_next_profile(pair, user_id):
    one, other = pair
    service = one.bundle.catalog.ids[0]
    before = features(other, user_id)
    for number in range(5):
        assert run(one.events([event(f"e{number}", user_id, service_id=service)]))["accepted"] == 1
        assert features(other, user_id) == features(one, user_id)
    assert features(other, user_id) != before


def test_feedback_and_what_was_shown_are_followed_too(pair, user_id):
    one, other = pair
    run(one.feedback(FeedbackRequest.model_validate({"user_id": user_id, "at": AT, "nps": 9})))
    for _ in range(3):
        run(one.recommend(RecommendRequest(user_id=user_id)))
        assert features(other, user_id) == features(one, user_id)
        run(other.recommend(RecommendRequest(user_id=user_id)))
        assert features(one, user_id) == features(other, user_id)
    shown = [one.state.shown_today("UTC", one.now_us()).tolist() for one in pair if features(one, user_id)]
    assert shown[0] == shown[1] and sum(shown[0]) == sum(
        row.service_id != "" for row in rows_in(one, exposures)
    )


def test_who_starts_later_knows_what_was_before_and_each_row_once(pair, make_pair, user_id):
    for number, one in enumerate(pair):
        run(one.events([event(f"e{number}", user_id)]))
    third = make_pair().both[0]
    assert features(third, user_id) == features(pair.both[0], user_id) == features(pair.both[1], user_id)
    assert third.state.n_live_rows(user_id) == pair.both[0].state.n_live_rows(user_id) == 2


def test_rows_of_a_worker_that_died_before_it_told_are_told_by_the_next_who_writes(pair, user_id):
    one, other = pair
    silent = copy.copy(one.database.shared)
    silent.raise_to = lambda numbers: None
    one.database.shared = silent
    run(one.events([event("e1", user_id)]))
    assert other.state.n_live_rows(user_id) == 0
    assert run(other.events([event("e1", user_id)]))["duplicate"] == 1
    features(other, user_id)
    assert other.state.n_live_rows(user_id) == 1


def test_an_id_counts_once_among_all(pair, user_id):
    one, other = pair
    row = event("e1", user_id)
    assert run(one.events([row]))["accepted"] == 1
    assert run(other.events([row]))["duplicate"] == 1
    assert run(other.events([{**row, "event": "own"}]))["conflict"] == 1
    request = RecommendRequest(user_id=user_id, request_id="r1")
    answer = run(one.recommend(request))
    assert run(other.recommend(request)) == answer
    with pytest.raises(Refused, match="request_id was used before") as refused:
        run(other.recommend(RecommendRequest(user_id=user_id, request_id="r1", n=1)))
    assert refused.value.status == 409
    assert len(rows_in(one, decisions)) == 1


def test_who_is_deleted_by_one_is_so_for_the_other(pair, user_id):
    one, other = pair
    run(other.events([event("e1", user_id), event("e2", "somebody new")]))
    for deleted in (user_id, "somebody new"):
        run(one.delete_user(deleted))
        with pytest.raises(Refused, match="nothing is known"):
            run(other.profile(deleted))
        refused = run(other.events([event("e3", deleted)]))["verdicts"][0]
        assert refused["verdict"] == "rejected" and "was deleted" in refused["reason"]
        assert run(other.recommend(RecommendRequest(user_id=deleted)))["decision_id"]
        other.following.sweep()
        assert deleted not in other.state.live_users()
    for table in (events, feedback, exposures):
        assert rows_in(one, table) == []
    assert {row.user_id for row in rows_in(one, decisions)} == {""}


def test_a_row_that_was_looked_at_before_its_user_was_deleted_is_refused_at_the_commit(pair, user_id):
    """As where the deletion is acknowledged between the look and the commit of another worker."""
    one, other = pair
    run(one.delete_user(user_id))
    other.following.follow = lambda: None
    refused = run(other.events([event("e1", user_id), event("e2", "u2")]))
    assert (refused["rejected"], refused["accepted"]) == (1, 1)
    assert "was deleted" in refused["verdicts"][0]["reason"]
    with pytest.raises(Refused, match="was deleted"):
        run(other.feedback(FeedbackRequest.model_validate({"user_id": user_id, "at": AT, "nps": 9})))
    run(other.recommend(RecommendRequest(user_id=user_id)))
    assert [row.user_id for row in rows_in(one, events)] == ["u2"]
    assert [row.user_id for row in rows_in(one, decisions)] == [""]
    assert rows_in(one, exposures) == [] and rows_in(one, feedback) == []
    assert len(rows_in(one, deleted_users)) == 1


def test_numbers_of_removed_rows_are_not_given_again(pair, user_id):
    one, other = pair
    run(one.events([event("e1", user_id), event("e2", "gone")]))
    features(other, user_id)
    run(one.delete_user("gone"))
    run(one.events([event("e3", user_id)]))
    features(other, user_id)
    assert other.state.n_live_rows(user_id) == 2
    numbers = [row.number for row in rows_in(one, events)]
    assert len(numbers) == 2 and numbers[1] > 2


def test_budgets_count_what_others_offer_and_their_users_use(make_pair, tables, user_id):
    pair = make_pair(budgets=(BudgetLimit("all", money=1e6),))
    one, other = pair
    for number in range(20):
        run((one, other)[number % 2].recommend(RecommendRequest(user_id=user_id)))
    shown = [row for row in rows_in(one, exposures) if row.service_id]
    at = "2027-01-15T08:00:00Z"
    run(one.events([event("e1", user_id, at=at, service_id=shown[0].service_id)]))
    spent = [run(worker.services())["budgets"][0]["spent"] for worker in pair]
    assert shown and spent[0] == spent[1] == pytest.approx(spent_in_the_log(one))


def spent_in_the_log(application):
    """As a restart finds it."""
    with application.database.connect() as connection:
        spending, _ = spending_of(
            connection,
            application.state.filed.sales,
            application.settings,
            [],
            application.now_us(),
            application.bundle.catalog,
        )
    return spending.accounts[0].spent


def test_ranges_grow_while_nobody_else_writes_and_shrink_again():
    own = OwnRows()
    own.add((0, 0), (1, 0))
    own.add((1, 0), (3, 0))
    assert own.covers((0, 0), (3, 0)) and not own.covers((0, 0), (4, 0))
    own.add((4, 0), (6, 1))
    assert [own.has(0, number) for number in range(1, 8)] == [True] * 3 + [False] + [True] * 2 + [False]
    own.add((6, 1), (7, 1))
    own.take_back()
    assert not own.has(0, 7) and own.has(0, 6)
    own.drop((3, 0))
    assert not own.has(0, 3) and own.has(0, 5)
