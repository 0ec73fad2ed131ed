"""What holds of profiles as a whole: blind to the future, the same for one user as for all."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from features import pipeline
from features.asof import DAY_US, At
from features.history import History
from features.pipeline import FEATURES, Feature, Layout, compute

UPTAKE_DAYS = 14
LOGS = {"orders": "ordered_at", "events": "at", "exposures": "shown_at", "feedback": "at"}


@pytest.fixture(scope="module")
def tables(random_tables):
    return random_tables(np.random.default_rng(7), n_users=200, n_rows=3000)


@pytest.fixture(scope="module")
def layout(tables):
    return Layout.of(tables)


@pytest.fixture(scope="module")
def as_of(tables):
    # The hour of many rows: what happened in it is not known.
    return tables.events["at"].sort_values().iloc[len(tables.events) // 2]


def us(time):
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def profiles_of(tables, layout, as_of):
    history = History.of(tables, layout, UPTAKE_DAYS)
    n_users = len(tables.users)
    return compute(history, layout, np.arange(n_users), np.full(n_users, us(as_of)))


def other_futures(tables, as_of):
    """The same past with the rows from `as_of` on left out, doubled, and changed."""

    def with_logs(change):
        return dataclasses.replace(
            tables,
            **{
                name: change(getattr(tables, name), getattr(tables, name)[at] >= as_of)
                for name, at in LOGS.items()
            },
        )

    def changed(log, future):
        other = log[future].assign(user_id="user-0")
        numbers = [name for name in ("amount_cents", "margin_cents", "value", "nps") if name in log]
        other[numbers] = other[numbers] + 3
        if "event" in log:
            other["event"] = "used"
        return pd.concat([log[~future], other], ignore_index=True)

    yield with_logs(lambda log, future: log[~future])
    yield with_logs(lambda log, future: pd.concat([log, log[future]], ignore_index=True))
    yield with_logs(changed)


def assert_blind_to_the_future(tables, layout, as_of):
    now = profiles_of(tables, layout, as_of)
    for other in other_futures(tables, as_of):
        assert profiles_of(other, layout, as_of).tobytes() == now.tobytes()


def test_no_row_at_or_after_the_moment_changes_a_profile(tables, layout, as_of):
    assert any((getattr(tables, name)[at] == as_of).any() for name, at in LOGS.items())
    assert_blind_to_the_future(tables, layout, as_of)


def orders_until_and_at(known):
    return At(known.orders.log, known.orders.user, known.as_of_us + 1).count()


def uses_of_all_time(known):
    return At(known.uses.log, known.uses.user, known.as_of_us + 10_000 * DAY_US).count()


@pytest.mark.parametrize("leak", [orders_until_and_at, uses_of_all_time])
def test_a_planted_leak_is_caught(tables, as_of, monkeypatch, leak):
    monkeypatch.setattr(pipeline, "FEATURES", (*FEATURES, Feature("leak", leak)))
    with pytest.raises(AssertionError):
        assert_blind_to_the_future(tables, Layout.of(tables), as_of)


def test_one_user_alone_gets_the_bytes_of_the_batch(tables, layout):
    history = History.of(tables, layout, UPTAKE_DAYS)
    rng = np.random.default_rng(3)
    n_users = len(tables.users)
    users = np.tile(np.arange(n_users), 3)
    times = tables.events["at"].sample(len(users), random_state=3).astype("int64").to_numpy()
    as_of_us = times + rng.choice([0, 1, 12_345_678_901], len(users))
    batch = compute(history, layout, users, as_of_us)
    for row, user, moment in zip(batch, users, as_of_us):
        alone = History.of_one(history.rows_of(history.user_ids[user]), layout, UPTAKE_DAYS)
        assert compute(alone, layout, [0], [moment]).tobytes() == row.tobytes()


def test_the_order_of_rows_and_of_questions_does_not_matter(tables, layout, as_of):
    shuffled = dataclasses.replace(
        tables, **{name: getattr(tables, name).sample(frac=1, random_state=1) for name in LOGS}
    )
    now = profiles_of(tables, layout, as_of)
    assert profiles_of(shuffled, layout, as_of).tobytes() == now.tobytes()
    users = np.random.default_rng(2).permutation(len(tables.users))
    history = History.of(tables, layout, UPTAKE_DAYS)
    asked = compute(history, layout, users, np.full(len(users), us(as_of)))
    assert asked.tobytes() == now[users].tobytes()


def test_the_layout_does_not_depend_on_the_order_of_users_and_services(tables, layout):
    other = dataclasses.replace(
        tables,
        users=tables.users.sample(frac=1, random_state=1)[::-1].iloc[:, ::-1],
        services=tables.services[::-1],
    )
    assert Layout.of(other) == layout


def test_many_steps_are_one_answer(tables, layout, as_of, monkeypatch):
    whole = profiles_of(tables, layout, as_of)
    monkeypatch.setattr(pipeline, "_ROWS_AT_ONCE", 7)
    assert profiles_of(tables, layout, as_of).tobytes() == whole.tobytes()


def test_progress_ends_with_all_rows(tables, layout):
    heard = []
    history = History.of(tables, layout, UPTAKE_DAYS)
    compute(history, layout, [0, 1, 2], [0, 0, 0], progress=lambda *step: heard.append(step))
    assert heard == [("profiles", 3, 3)]


def test_empty_logs_give_zeros_and_unknowns(random_tables):
    tables = random_tables(np.random.default_rng(0), n_users=3, n_rows=0)
    layout = Layout.of(tables)
    profile = dict(zip(layout.columns, profiles_of(tables, layout, pd.Timestamp("2026-01-01T00:00Z"))[0]))
    assert profile["frequency_all"] == profile["uses_90d/007"] == profile["taken_all"] == 0
    assert np.isnan([profile["recency_days"], profile["nps_last"], profile["uses_recency_days/007"]]).all()


def test_another_layout_than_the_historys_is_refused(tables, layout):
    history = History.of(tables, layout, UPTAKE_DAYS)
    other = dataclasses.replace(layout, service_ids=("A", *layout.service_ids[1:]))
    with pytest.raises(ValueError, match="layout must be the one that the history was made with"):
        compute(history, other, [0], [0])


def test_columns_are_named_by_service_category_and_attribute(layout):
    assert {"frequency_90d", "uses_90d/car-wash", "seen_90d/洗车", "share_of_uses_365d/car"} < set(
        layout.columns
    )
    assert [layout.columns[position] for position in layout.categorical] == ["attribute/region"]
    assert len(set(layout.columns)) == len(layout.columns)


def test_a_layout_survives_json(layout):
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout
