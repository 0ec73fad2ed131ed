"""Histories of all users and of one, and the rows that lead from one to the other."""

import numpy as np
import pytest

from features.history import History
from features.pipeline import Layout, compute
from features.user_rows import UserRows

UPTAKE_DAYS = 14
AS_OF_US = 1_750_000_000_000_000


@pytest.fixture(scope="module")
def tables(random_tables):
    return random_tables(np.random.default_rng(5), n_users=12, n_rows=300)


@pytest.fixture(scope="module")
def history(tables):
    return History.of(tables, Layout.of(tables), UPTAKE_DAYS)


def profile(rows, layout):
    return compute(History.of_one(rows, layout, UPTAKE_DAYS), layout, [0], [AS_OF_US])[0]


def test_users_are_numbered_as_in_their_table(tables, history):
    assert history.user_position == {
        user_id: number for number, user_id in enumerate(tables.users["user_id"])
    }


def test_the_rows_of_a_user_are_those_of_the_tables(tables, history):
    rows = history.rows_of("user-3")
    orders = tables.orders[tables.orders["user_id"] == "user-3"]
    assert sorted(rows.order_amount_cents) == sorted(orders["amount_cents"])
    events = tables.events[tables.events["user_id"] == "user-3"]
    assert sorted(rows.event) == sorted(events["event"].replace("shared", "other"))
    assert sorted(rows.event_service) == sorted(events["service_id"])
    user = tables.users.iloc[3]
    assert rows.attributes["age"] == user["age"] and rows.attributes["region"] == user["region"]


def test_live_rows_change_a_profile_as_rows_of_the_tables_would(tables, history):
    layout = history.encoding
    rows = history.rows_of("user-3")
    more = rows.plus(order_at_us=[AS_OF_US - 1], order_amount_cents=[1250], order_margin_cents=[300])
    column = layout.columns.index("monetary_7d")
    assert profile(more, layout)[column] == profile(rows, layout)[column] + 12.5


def test_an_event_of_an_unknown_service_counts_as_an_event_without_one(history):
    layout = history.encoding
    used = {"event_at_us": [AS_OF_US - 1], "event": ["used"], "event_value": [np.nan]}
    rows = UserRows.unknown(AS_OF_US)
    strange, none = (rows.plus(**used, event_service=[service]) for service in ("no-such-service", ""))
    assert profile(strange, layout).tobytes() == profile(none, layout).tobytes()
    assert profile(none, layout)[layout.columns.index("used_7d")] == 1


def test_a_user_never_seen_is_new_and_otherwise_unknown(history):
    layout = history.encoding
    cold = dict(zip(layout.columns, profile(UserRows.unknown(AS_OF_US), layout)))
    assert cold["account_age_days"] == cold["lifecycle_stage"] == cold["frequency_all"] == 0
    assert np.isnan([cold["recency_days"], cold["attribute/age"], cold["attribute/region"]]).all()


def test_a_category_never_seen_is_unknown(history):
    layout = history.encoding
    rows = UserRows(joined_at_us=0, attributes={"region": "atlantis", "age": 40})
    values = dict(zip(layout.columns, profile(rows, layout)))
    assert np.isnan(values["attribute/region"]) and values["attribute/age"] == 40


def test_the_rows_of_a_stranger_are_refused(history):
    with pytest.raises(
        LookupError, match="user_id must be one of the 12 users of this history, got 'nobody'"
    ):
        history.rows_of("nobody")


def test_columns_of_different_length_are_refused(one_user):
    with pytest.raises(ValueError, match="The columns of feedback must have one length"):
        one_user.plus(feedback_at_us=[5])


def test_some_users_alone_have_the_profiles_that_they_have_among_all(history):
    layout = history.encoding
    whole = compute(history, layout, np.arange(12), np.full(12, AS_OF_US))
    for first, n_users in [(0, 5), (5, 4), (9, 100), (11, 1)]:
        some = history.users(first, n_users)
        users = np.arange(len(some.user_ids))
        assert tuple(some.user_ids) == tuple(history.user_ids[first : first + n_users])
        profiles = compute(some, layout, users, np.full(len(users), AS_OF_US))
        assert profiles.tobytes() == whole[first : first + n_users].tobytes()


def test_takes_are_the_same_whatever_number_of_users_is_looked_at_together(tables, history, monkeypatch):
    monkeypatch.setattr("features.logs._USERS_AT_ONCE", 5)
    blocks = History.of(tables, history.encoding, UPTAKE_DAYS).takes.arrays()
    assert len(history.takes) > 0
    for name, array in history.takes.arrays().items():
        np.testing.assert_array_equal(blocks[name], array)
