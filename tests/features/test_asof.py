"""The as-of engine against a loop over the rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.asof import DAY_US, At, Log, ratio

N_USERS, N_KEYS = 4, 3
ROW = st.tuples(
    st.integers(0, N_USERS - 1), st.integers(0, 12), st.integers(-9, 9), st.integers(-1, N_KEYS - 1)
)
QUERY = st.tuples(st.integers(0, N_USERS - 1), st.integers(0, 14), st.sampled_from([-1, 0, 1]))
WINDOWS = [1, 5, None]


def log_of(rows):
    user, day, cents, key = np.array(rows, np.int64).reshape(-1, 4).T
    return Log(user, day * DAY_US, N_USERS, {"key": N_KEYS}, cents=cents, key=key)


def at_of(log, queries):
    user, day, microsecond = np.array(queries, np.int64).reshape(-1, 3).T
    return At(log, user, day * DAY_US + microsecond)


def rows_known(rows, query, days):
    """The rows that a loop finds strictly before the moment and inside the window, oldest first."""
    user, day, microsecond = query
    as_of_us = day * DAY_US + microsecond
    first_us = -(1 << 60) if days is None else as_of_us - days * DAY_US
    return sorted(
        (row for row in rows if row[0] == user and first_us <= row[1] * DAY_US < as_of_us),
        key=lambda row: row[1],
    )


def days_since(query, row):
    return (query[1] * DAY_US + query[2] - row[1] * DAY_US) / DAY_US


@given(st.lists(ROW, max_size=30), st.lists(QUERY, max_size=10), st.sampled_from(WINDOWS))
def test_counts_and_sums_equal_a_loop(rows, queries, days):
    at = at_of(log_of(rows), queries)
    known = [rows_known(rows, query, days) for query in queries]
    assert at.count(days).tolist() == [len(part) for part in known]
    assert at.sum("cents", days).tolist() == [sum(row[2] for row in part) for part in known]
    by_key = [[sum(row[3] == key for row in part) for key in range(N_KEYS)] for part in known]
    assert at.count_by("key", days).tolist() == by_key
    assert at.count_of("key", 1, days).tolist() == [counts[1] for counts in by_key]


@given(st.lists(ROW, max_size=30), st.lists(QUERY, max_size=10))
def test_days_since_first_and_last_equal_a_loop(rows, queries):
    at = at_of(log_of(rows), queries)
    known = [rows_known(rows, query, None) for query in queries]
    first = [days_since(query, part[0]) if part else np.nan for query, part in zip(queries, known)]
    last = [days_since(query, part[-1]) if part else np.nan for query, part in zip(queries, known)]
    np.testing.assert_array_equal(at.days_since_first(), first)
    np.testing.assert_array_equal(at.days_since_last(), last)


@given(st.lists(ROW, max_size=30), st.lists(QUERY, max_size=10))
def test_the_last_row_of_each_key_equals_a_loop(rows, queries):
    at = at_of(log_of(rows), queries)
    expected = np.full((len(queries), N_KEYS), np.nan)
    for number, query in enumerate(queries):
        for row in rows_known(rows, query, None):
            if row[3] >= 0:
                expected[number, row[3]] = days_since(query, row)
    np.testing.assert_array_equal(at.days_since_last_by("key"), expected)
    level = np.arange(len(queries)) % N_KEYS
    last_at_us = at.as_of_us - expected[np.arange(len(queries)), level] * DAY_US
    np.testing.assert_allclose(at.last_at_us_of("key", level), last_at_us, rtol=0, atol=1)


@given(st.lists(ROW, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    queries = [(user, day, 0) for user in range(N_USERS) for day in (3, 8, 20)]
    for days in WINDOWS:
        assert (
            at_of(log_of(rows), queries).sum("cents", days).tolist()
            == at_of(log_of(shuffled), queries).sum("cents", days).tolist()
        )


def test_a_row_at_the_very_moment_is_not_known():
    log = Log(np.array([0]), np.array([5]), n_users=1)
    assert At(log, np.array([0, 0]), np.array([5, 6])).count().tolist() == [0, 1]


def test_a_window_begins_with_the_row_exactly_its_days_ago():
    log = Log(np.array([0]), np.array([0]), n_users=1)
    at = At(log, np.array([0, 0]), np.array([7 * DAY_US, 7 * DAY_US + 1]))
    assert at.count(7).tolist() == [1, 0]


def test_microseconds_and_millions_of_users_do_not_overflow():
    # User and time side by side would need 23 + 51 bits.
    n_users, year_2100_us = 5_000_000, 4_102_444_800_000_000
    log = Log(np.array([4_999_999, 4_999_999, 3]), np.array([1, year_2100_us, year_2100_us]), n_users)
    at = At(log, np.array([4_999_999, 4_999_999, 3, 4]), year_2100_us + np.array([0, 1, 1, 1]))
    assert at.count().tolist() == [1, 2, 1, 0]


def test_a_user_with_codes_beyond_sixteen_bits_is_sorted():
    log = Log(np.array([70_000, 2, 70_000, 65_536]), np.array([9, 5, 3, 1]), n_users=70_001)
    assert log.user.tolist() == [2, 65_536, 70_000, 70_000]
    assert log.at_us.tolist() == [5, 1, 3, 9]


def test_gaps_begin_anew_with_each_user():
    log = Log(np.array([0, 0, 2, 2, 2]), np.array([10, 13, 50, 50, 57]), n_users=4)
    assert log.gaps_us().tolist() == [0, 3, 0, 0, 7]


def test_the_last_value_is_that_of_the_latest_known_row():
    log = Log(np.array([0, 0, 1]), np.array([10, 20, 5]), n_users=3, nps=np.array([3, 9, 7]))
    at = At(log, np.array([0, 0, 1, 2]), np.array([20, 21, 21, 21]))
    np.testing.assert_array_equal(at.last("nps"), [3, 9, 7, np.nan])


def test_a_log_without_rows_knows_nothing():
    none = np.array([], np.int64)
    at = At(Log(none, none, 2, {"key": 3}, cents=none, key=none), np.array([0, 1]), np.array([5, 6]))
    assert at.count(7).tolist() == at.sum("cents").tolist() == [0, 0]
    assert at.count_by("key").tolist() == [[0, 0, 0]] * 2
    assert np.isnan(at.days_since_last()).all() and np.isnan(at.days_since_last_by("key")).all()
    assert np.isnan(at.last("cents")).all()


def test_a_row_of_no_user_is_refused():
    with pytest.raises(ValueError, match="negative"):
        Log(np.array([-1, 0]), np.array([1, 2]), n_users=1)


def test_a_ratio_to_nothing_is_unknown():
    np.testing.assert_array_equal(ratio(np.array([[2.0, 0.0]]), np.array([[0.0]])), [[np.nan, np.nan]])
