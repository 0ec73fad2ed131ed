"""Intervals: against the analytic standard error, by user, and paired."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.bootstrap import Interval, Resampled, UserBootstrap, round_up


def mean_interval(x, user, seed=0, n_replicates=1000):
    resampled = UserBootstrap(user, np.random.default_rng(seed), n_replicates)
    sums = resampled.sums(np.column_stack([x, np.ones(len(x))]))
    return Interval.of(x.mean(), sums[:, 0] / sums[:, 1], 0.95)


def test_the_interval_of_a_mean_matches_its_standard_error():
    x = np.random.default_rng(0).normal(3, 2, 2000)
    interval = mean_interval(x, np.arange(2000))
    error = 1.96 * x.std() / np.sqrt(2000)
    assert interval.low == pytest.approx(x.mean() - error, abs=0.1 * error)
    assert interval.high == pytest.approx(x.mean() + error, abs=0.1 * error)


def test_rows_of_one_user_count_as_one():
    # Ten equal rows a user: as wide as with one row each.
    x = np.random.default_rng(0).normal(size=300)
    once = mean_interval(x, np.arange(300))
    tenfold = mean_interval(np.repeat(x, 10), np.repeat(np.arange(300), 10))
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))


def test_part_of_the_rows_is_resampled_with_the_whole():
    rng = np.random.default_rng(0)
    resampled = UserBootstrap(rng.integers(0, 50, 200), rng, 20)
    x, rows = rng.normal(size=(200, 2)), np.arange(0, 200, 3)
    inside = np.isin(np.arange(200), rows)
    np.testing.assert_allclose(resampled.sums(x[rows], rows), resampled.sums(x * inside[:, None]))


def test_each_replicate_draws_as_many_users_as_there_are():
    resampled = UserBootstrap(np.array(["x", "y", "x", "z"]), np.random.default_rng(0), 50)
    by_user = np.array([[0.5], [1.0], [0.5], [1.0]])
    np.testing.assert_allclose(resampled.sums(by_user), 3.0)


def test_the_same_generator_gives_the_same_interval():
    x = np.random.default_rng(0).normal(size=100)
    assert mean_interval(x, np.arange(100), seed=5) == mean_interval(x, np.arange(100), seed=5)


def test_one_user_cannot_be_resampled():
    with pytest.raises(ValueError, match="at least two users to resample, got 1"):
        UserBootstrap(np.zeros(10), np.random.default_rng(0))


def test_undefined_replicates_are_left_out():
    interval = Interval.of(1.0, np.array([0.0, 1.0, 2.0, np.nan]), 0.9)
    assert (interval.low, interval.high) == pytest.approx((0.1, 1.9))
    assert math.isnan(Interval.of(1.0, np.array([np.nan]), 0.9).low)


@pytest.mark.parametrize(
    "interval, n, more",
    [
        (Interval(1, 0.5, 1.5), 1000, None),  # clear already
        (Interval(-1, -1.5, -0.5), 1000, None),
        (Interval(1, -1, 3), 1000, 3000),  # twice too wide: four times the rows
        (Interval(-0.5, -1.5, 0.5), 1234, 3800),  # 3702 rounded up to two digits
        (Interval(0, -1, 1), 1000, None),  # no size to be clear about
        (Interval(1e-6, -1, 1), 1000, None),  # so near 0 that no log would tell
        (Interval(1, -0.1, 1.6), 1000, 1),  # lopsided, nearly clear
    ],
)
def test_how_many_more_rows_are_needed(interval, n, more):
    assert interval.more_needed(n) == more


@given(st.integers(1, 10**9))
def test_rounding_up_keeps_two_digits_and_never_loses(number):
    rounded = round_up(number)
    assert number <= rounded <= max(1.1 * number, number + 1)
    assert len(str(rounded).rstrip("0")) <= 2


def test_a_figure_of_sums_is_that_of_the_log_and_of_each_replicate():
    rng = np.random.default_rng(0)
    resampled, columns = UserBootstrap(rng.integers(0, 50, 200), rng, 20), rng.random((200, 2))
    found = resampled.figure(lambda sums: sums[..., 0] / sums[..., 1], columns)
    sums = resampled.sums(columns)
    assert found.value == pytest.approx(columns[:, 0].sum() / columns[:, 1].sum())
    assert found.replicates.tolist() == (sums[:, 0] / sums[:, 1]).tolist()
    assert found.interval(0.9) == Interval.of(found.value, found.replicates, 0.9)


def test_a_difference_of_figures_is_paired_by_replicate():
    rng = np.random.default_rng(0)
    x, resampled = rng.normal(size=500), UserBootstrap(np.arange(500), rng, 200)
    mean = {
        name: resampled.figure(
            lambda sums: sums[..., 0] / sums[..., 1], np.column_stack([part, np.ones(500)])
        )
        for name, part in {"x": x, "moved": x + 0.1}.items()
    }
    interval = (mean["moved"] - mean["x"]).interval(0.95)
    assert (interval.low, interval.value, interval.high) == pytest.approx((0.1, 0.1, 0.1), abs=1e-6)


def test_a_curve_has_a_band_at_every_point():
    curve = Resampled(np.array([1.0, 2.0]), np.column_stack([np.arange(101.0), np.full(101, 2.0)]))
    low, high = curve.band(0.9)
    assert (low.tolist(), high.tolist()) == ([5.0, 2.0], [95.0, 2.0])
