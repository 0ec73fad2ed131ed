import gc
from types import SimpleNamespace

import numpy as np
import pytest

from features.history import History
from features.pipeline import compute
from serving.deletion import DeletedUsers
from serving.state import State

NOW = 1_800_000_000_000_000


@pytest.fixture
def deleted():
    return DeletedUsers(b"key", set())


@pytest.fixture
def state(tables, bundle, deleted):
    return State(tables, bundle.layout, bundle.tiers, bundle.windows.uptake_days, deleted)


def feature(bundle, profile, name):
    return float(profile.features[bundle.layout.columns.index(name)])


def test_served_profiles_equal_the_batch_to_the_last_bit(state, tables, bundle):
    history = History.of(tables, bundle.layout, bundle.windows.uptake_days)
    users = np.arange(0, len(history.user_ids), 3)
    batch = compute(history, bundle.layout, users, np.full(len(users), NOW))
    for row, user in zip(batch, users):
        assert state.profile(history.user_ids[user], NOW).features.tobytes() == row.tobytes()


def test_what_comes_in_is_in_the_next_profile(state, bundle, user_id):
    before = state.profile(user_id, NOW)
    service_id = bundle.catalog.ids[0]
    state.add_event(user_id, "used", NOW - 5, service_id, 2.0)
    state.add_event(user_id, "the shop's own", NOW - 4, "", None)
    state.add_feedback(user_id, NOW - 3, 3, "")
    state.add_exposure(user_id, NOW - 2, service_id)
    after = state.profile(user_id, NOW)
    for name, more in {"used_7d": 1, "other_events_30d": 1, "feedback_all": 1, "offers_all": 1}.items():
        assert feature(bundle, after, name) == feature(bundle, before, name) + more
    assert feature(bundle, after, "nps_last") == 3


def test_a_row_ahead_of_the_clock_is_known_all_the_same(state, bundle, user_id):
    before = feature(bundle, state.profile(user_id, NOW), "used_7d")
    state.add_event(user_id, "used", NOW + 30_000_000, "", None)
    profile = state.profile(user_id, NOW)
    assert profile.as_of_us == NOW + 30_000_001
    assert feature(bundle, profile, "used_7d") == before + 1


def test_of_an_unknown_user_nothing_is_known_and_the_tier_is_the_lowest(state, bundle):
    assert not state.knows("nobody")
    assert state.joined_at_us("nobody") is None
    profile = state.profile("nobody", NOW)
    assert profile.tier == bundle.tiers.names[0]
    assert feature(bundle, profile, "frequency_all") == 0
    assert feature(bundle, profile, "account_age_days") == 0


def test_a_user_first_seen_over_http_joined_with_the_first_row(state, bundle):
    state.add_event("new", "viewed", NOW - 2 * 86_400_000_000, "", None)
    assert state.knows("new")
    assert feature(bundle, state.profile("new", NOW), "account_age_days") == 2


def test_of_a_deleted_user_nothing_is_known_whatever_the_folder_says(state, deleted, bundle, user_id):
    state.add_event(user_id, "viewed", NOW - 1, "", None)
    deleted.add(user_id)
    state.forget(user_id)
    assert not state.knows(user_id)
    assert feature(bundle, state.profile(user_id, NOW), "frequency_all") == 0


def test_of_the_youngest_lists_each_is_looked_for_in_the_folder(state, tables, bundle):
    """One that the folder holds with a rounded time is still known; one that it cannot hold yet counts."""
    lists = tables.exposures[tables.exposures["service_id"] != ""]
    youngest = lists.loc[lists["shown_at"].idxmax()]
    at_us = int(youngest["shown_at"].timestamp() * 1e6)
    user_id = youngest["user_id"]
    for slate_id, shown_at_us, n_rows in (
        (youngest["slate_id"], at_us, 0),
        (youngest["slate_id"], at_us + 23 * 3600 * 10**6, 0),
        ("another", at_us, 1),
        ("a third", at_us + 10 * 86_400 * 10**6, 2),
    ):
        row = SimpleNamespace(**{**youngest, "slate_id": slate_id, "shown_at_us": shown_at_us})
        state.load([], [], [row])
        assert state.n_live_rows(user_id) == n_rows


def test_what_came_in_about_many_users_is_no_work_for_the_collector(state, tables):
    before = len(gc.get_objects())
    for number in range(3000):
        for at_us in (NOW - 2, NOW - 1):
            state.add_event(f"new{number}", "viewed", at_us, "", None)
            state.add_exposure(f"new{number}", at_us, "service")
    gc.collect()
    assert len(gc.get_objects()) - before < 100
    assert state.n_live_rows("new7") == 4


def test_all_of_many_rows_of_a_user_are_known(state, bundle):
    for number in range(200):
        state.add_event("new", "viewed", NOW - 1000 + number, "", None)
        state.add_exposure("new", NOW - 1000 + number, bundle.catalog.ids[0])
    rows = state.rows_of("new", NOW)
    assert state.n_live_rows("new") == 400
    assert rows.event_at_us.tolist() == rows.exposure_at_us.tolist() == list(range(NOW - 1000, NOW - 800))


def test_rows_that_the_data_folder_holds_by_now_do_not_count_twice(state, tables, bundle):
    event, answer = tables.events.iloc[0], tables.feedback.iloc[0]
    shown = tables.exposures[tables.exposures["service_id"] != ""].iloc[0]
    before = {row["user_id"]: state.profile(row["user_id"], NOW).features for row in (event, answer, shown)}

    def us(at):
        return int(at.timestamp() * 1e6)

    state.load(
        [SimpleNamespace(**{**event, "at_us": us(event["at"]), "value": None})],
        [SimpleNamespace(**{**answer, "at_us": us(answer["at"])})],
        [SimpleNamespace(**{**shown, "shown_at_us": us(shown["shown_at"])})],
    )
    for user, features in before.items():
        assert state.profile(user, NOW).features.tobytes() == features.tobytes()
    assert state.has_event(event["event_id"]) and not state.has_event("another")
