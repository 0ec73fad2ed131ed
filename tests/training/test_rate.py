"""Rank-weighted effects: exact by hand, equal to the definition, and honest about a random priority."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.bootstrap import UserBootstrap
from training.evaluation.curves import rank_groups
from training.evaluation.rate import autoc, qini_rate, rank_columns, rank_sums, toc_curve, top_groups

# Effects of 8, 4, 0 and 0, found in this order: TOC is 8 - 3, 6 - 3, 4 - 3 and 0.
EFFECT = np.array([4.0, 8.0, 0.0, 0.0])
ORDER = np.array([3.0, 4.0, 2.0, 1.0])


def by_definition(effect, priority):
    """AUTOC and Qini from the sorted rows, one at a time."""
    ranked = effect[np.argsort(-priority)]
    tops = [ranked[: j + 1].mean() - effect.mean() for j in range(len(effect))]
    shares = [(j + 1) / len(effect) for j in range(len(effect))]
    return np.mean(tops), np.mean([q * top for q, top in zip(shares, tops, strict=True)])


def test_the_curve_starts_at_the_greatest_effect_and_ends_at_0():
    share, toc = toc_curve(EFFECT, ORDER)
    assert share.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert toc.tolist() == [0, 5, 3, 1, 0]


def test_both_areas_are_means_over_the_ranks():
    assert autoc(EFFECT, ORDER) == pytest.approx((5 + 3 + 1) / 4)
    assert qini_rate(EFFECT, ORDER) == pytest.approx((5 * 0.25 + 3 * 0.5 + 1 * 0.75) / 4)


@given(st.lists(st.tuples(st.integers(-9, 9), st.floats(-1, 1)), min_size=1, max_size=30))
def test_without_ties_it_is_the_definition(rows):
    effect, noise = np.array(rows).T
    priority = np.argsort(np.argsort(noise, kind="stable")).astype(float)
    found = autoc(effect, priority), qini_rate(effect, priority)
    assert found == pytest.approx(by_definition(effect, priority), abs=1e-12)


def test_ties_are_worth_the_mean_of_their_orders():
    rng = np.random.default_rng(0)
    effect, priority = rng.normal(size=6), np.array([1.0, 1, 1, 0, 0, 0])
    orders = [by_definition(effect, priority + 0.1 * rng.random(6)) for _ in range(4000)]
    assert [autoc(effect, priority), qini_rate(effect, priority)] == pytest.approx(
        np.mean(orders, axis=0), abs=0.02
    )


def test_a_constant_priority_finds_nothing():
    assert autoc(EFFECT, np.ones(4)) == pytest.approx(0)
    assert qini_rate(EFFECT, np.ones(4)) == pytest.approx(0)


def test_the_true_priority_of_a_uniform_effect_has_the_known_areas():
    # Effects uniform on [0, 1]: TOC(q) = (1 - q) / 2, so AUTOC is 1/4 and the Qini 1/12.
    effect = np.linspace(0, 1, 10_001)
    assert autoc(effect, effect) == pytest.approx(1 / 4, abs=1e-3)
    assert qini_rate(effect, effect) == pytest.approx(1 / 12, abs=1e-3)


def test_groups_of_single_rows_give_the_figures_of_the_rows():
    rng = np.random.default_rng(0)
    effect, priority = rng.normal(size=40), rng.permutation(40).astype(float)
    sums = rank_sums(rank_columns(effect, rank_groups(priority, 40)).sum(axis=0))
    assert float(sums.autoc()) == pytest.approx(autoc(effect, priority))
    assert float(sums.qini()) == pytest.approx(qini_rate(effect, priority))


def test_coarse_groups_lose_little_of_the_spread_and_never_part_a_tie():
    rng, n = np.random.default_rng(0), 4000
    effect, priority = rng.normal(size=n), rng.random(n)
    resampled = UserBootstrap(np.arange(n), rng, 1000)
    spread = [
        resampled.figure(lambda sums: rank_sums(sums).autoc(), rank_columns(effect, group)).replicates.std()
        for group in (top_groups(priority), rank_groups(priority, 1000))
    ]
    assert spread[0] == pytest.approx(spread[1], rel=0.04)
    tied = np.repeat([3.0, 2.0, 1.0], [300, 30, 70])
    assert [len(np.unique(top_groups(tied)[tied == value])) for value in (1, 2, 3)] == [1, 1, 1]


def test_a_replicate_that_lacks_the_top_group_is_ranked_from_the_next():
    twice = rank_sums(np.array([[0.0, 2, 2, 0, 8, 0], [1, 1, 2, 8, 4, 0]]))
    assert twice.autoc().tolist() == pytest.approx([autoc([4, 4, 0, 0], [2, 2, 1, 1]), 9 / 4])


@pytest.mark.parametrize("figure", ["autoc", "qini"])
def test_a_random_column_has_an_interval_around_0_about_as_often_as_it_claims(figure):
    rng, n, holds = np.random.default_rng(3), 600, 0
    for _ in range(100):
        effect, priority = 1 + 3 * rng.standard_exponential(n), rng.random(n)
        resampled = UserBootstrap(np.arange(n), rng, 200)
        columns = rank_columns(effect, top_groups(priority))
        interval = resampled.figure(lambda sums: getattr(rank_sums(sums), figure)(), columns).interval(0.9)
        holds += interval.low <= 0 <= interval.high
    assert 80 <= holds <= 98


def test_two_priorities_are_compared_on_the_same_replicates():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=2000)
    effect, user = truth + rng.normal(size=2000), rng.integers(0, 500, 2000)
    resampled = UserBootstrap(user, rng, 300)
    found = [
        resampled.figure(lambda sums: rank_sums(sums).autoc(), rank_columns(effect, top_groups(order)))
        for order in (truth, truth + 0.3 * rng.normal(size=2000))
    ]
    gain = (found[0] - found[1]).interval(0.95)
    assert gain.value == pytest.approx(found[0].value - found[1].value)
    assert 0 < gain.low < gain.value < gain.high
    assert gain.high - gain.low < found[0].interval(0.95).high - found[0].interval(0.95).low


@pytest.mark.parametrize(
    ("effect", "priority", "message"),
    [
        ([1.0, 2.0], [1.0], r"equally long and not empty, got shapes \(2,\) and \(1,\)"),
        ([], [], "equally long and not empty"),
        ([1.0, np.nan], [1.0, np.inf], "must be finite, got 1 effects and 1 priorities that are not"),
    ],
)
def test_what_cannot_be_ranked_is_refused(effect, priority, message):
    with pytest.raises(ValueError, match=message):
        autoc(effect, priority)
