"""Curves whose answers are known by construction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.bootstrap import Interval, UserBootstrap
from training.evaluation.curves import (
    arm_columns,
    arm_sums,
    auuc,
    auuc_coefficient,
    expected_calibration_error,
    qini,
    qini_coefficient,
    qini_curve,
    rank_groups,
    reliability,
    uplift_at_k,
    uplift_by_decile,
    uplift_curve,
    weight_at_top,
)

# Users 0-49 take up only if treated; users 50-99 never do.
TREATED = np.tile([1, 0], 50)
PERSUADABLE = np.arange(100) < 50
UPTAKE = (TREATED == 1) & PERSUADABLE


def test_the_true_order_wins_every_uptake_in_the_first_half():
    targeted, gain = qini_curve(UPTAKE, PERSUADABLE, TREATED)
    assert targeted.tolist() == [0, 50, 100]
    assert gain.tolist() == [0, 25, 25]


def test_qini_of_the_true_order_is_the_triangle_over_the_random_line():
    # Per user the gain rises to 1/2 at share 1/2 and stays: area 3/8, less 1/4 under the line.
    assert qini(UPTAKE, PERSUADABLE, TREATED) == pytest.approx(1 / 8)
    assert qini(UPTAKE, ~PERSUADABLE, TREATED) == pytest.approx(-1 / 8)


def test_a_constant_prediction_is_the_random_line():
    targeted, gain = qini_curve(UPTAKE, np.full(100, 0.3), TREATED)
    assert targeted.tolist() == [0, 100]
    assert gain.tolist() == [0, 25]
    assert qini(UPTAKE, np.full(100, 0.3), TREATED) == 0


def test_uplift_curve_ends_at_the_average_uplift_and_auuc_is_its_area():
    share, gain = uplift_curve(UPTAKE, PERSUADABLE, TREATED)
    assert share.tolist() == [0, 0.5, 1]
    assert gain.tolist() == [0, 0.5, 0.5]
    assert auuc(UPTAKE, PERSUADABLE, TREATED) == pytest.approx(3 / 8)


def test_weights_undo_an_unequal_assignment():
    # Half of the persuadable were treated, but a tenth of the others: 1 / p brings the halves back.
    persuadable = np.repeat([True, False], 100)
    treated = np.concatenate([np.tile([1, 0], 50), np.tile([1] + [0] * 9, 10)])
    taken = persuadable & (treated == 1)
    p = np.where(persuadable, 0.5, np.where(treated == 1, 0.1, 0.9))
    _, gain = qini_curve(taken, persuadable, treated, 1 / p)
    assert gain.tolist() == pytest.approx([0, 100, 100])
    assert qini(taken, persuadable, treated, 1 / p) == pytest.approx(1 / 8)


@given(st.permutations(range(12)))
def test_tied_users_enter_together_in_whatever_order_they_come(order):
    outcome = np.array([3.0, 1, 0, 2, 5, 1, 0, 0, 4, 2, 1, 3])
    uplift = np.repeat([0.9, 0.4, 0.1], 4)
    treated = np.tile([1, 0], 6)
    order = np.array(order)
    expected = qini_curve(outcome, uplift, treated)
    found = qini_curve(outcome[order], uplift[order], treated[order])
    np.testing.assert_allclose(found, expected)
    assert len(found[0]) == 4


def test_only_the_order_of_the_prediction_matters():
    rng = np.random.default_rng(0)
    outcome, uplift, treated = rng.normal(size=50), rng.normal(size=50), rng.integers(0, 2, 50)
    assert qini(outcome, uplift, treated) == pytest.approx(qini(outcome, np.exp(uplift), treated))


def test_the_qini_of_a_random_column_has_an_interval_around_0():
    rng = np.random.default_rng(3)
    n = 4000
    treated = rng.integers(0, 2, n)
    outcome = rng.normal(size=n) + treated
    noise = rng.normal(size=n)
    resampled = UserBootstrap(np.arange(n), rng, 300)
    columns = arm_columns(outcome, treated == 1, np.ones(n), rank_groups(noise, 25))
    interval = Interval.of(qini(outcome, noise, treated), arm_sums(resampled.sums(columns)).qini(), 0.95)
    assert interval.low < 0 < interval.high


def test_grouped_sums_give_the_same_curve_as_the_rows():
    rng = np.random.default_rng(1)
    outcome, uplift, treated = rng.normal(size=60), rng.normal(size=60), rng.integers(0, 2, 60)
    sums = arm_sums(arm_columns(outcome, treated == 1, np.ones(60), rank_groups(uplift, 60)).sum(axis=0))
    np.testing.assert_allclose(sums.qini_gain(), qini_curve(outcome, uplift, treated)[1])
    assert float(sums.qini()) == pytest.approx(qini(outcome, uplift, treated))


def test_a_missing_holdout_is_refused():
    with pytest.raises(ValueError, match="treated must hold both 0 and 1"):
        qini_curve([1, 0], [0.2, 0.1], [1, 1])


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"equally long, got \[\(2,\), \(3,\)"):
        qini_curve([1, 0], [0.2, 0.1, 0.3], [1, 0])


def test_a_gap_in_the_prediction_is_refused():
    with pytest.raises(ValueError, match="got 0 outcomes and 1 uplifts that are not: leave those rows out"):
        auuc([1, 0], [np.nan, 0.1], [1, 0])


def test_a_weight_of_0_is_refused():
    with pytest.raises(ValueError, match="weights must be positive, got 1 that are not"):
        qini([1, 0], [0.2, 0.1], [1, 0], [0.0, 1.0])


def test_deciles_come_highest_first_and_hold_equal_counts():
    predicted, realised = uplift_by_decile(effect=np.arange(100) * 2.0, uplift=np.arange(100.0))
    assert predicted.tolist() == [94.5 - 10 * i for i in range(10)]
    assert realised.tolist() == [189 - 20 * i for i in range(10)]


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=40), st.integers(1, 12))
def test_groups_keep_the_order_and_never_part_a_tie(score, n_groups):
    group = rank_groups(score, n_groups)
    score = np.array(score)
    assert group.min() == 0
    assert group.max() < n_groups
    for value in np.unique(score):
        assert len(np.unique(group[score == value])) == 1
    order = np.argsort(-score, kind="stable")
    assert (np.diff(group[order]) >= 0).all()


def test_calibration_error_is_the_mean_gap_of_the_bins():
    # Told 0.2, half take it up; told 0.8, half do: a gap of 0.3 in both bins.
    taken = np.tile([0, 1], 50)
    predicted = np.repeat([0.2, 0.8], 50)
    assert expected_calibration_error(taken, predicted) == pytest.approx(0.3)


def test_perfect_calibration_shows_no_more_error_than_chance():
    rng = np.random.default_rng(0)
    predicted = rng.beta(2, 8, 50_000)
    bins = reliability(rng.random(50_000) < predicted, predicted)
    assert bins.n.tolist() == [5000] * 10
    assert bins.error() < 0.01
    assert bins.error() == pytest.approx(bins.chance(), rel=0.6)


@pytest.mark.parametrize(
    "taken, predicted, message",
    [
        ([1], [0.1, 0.2], r"equally long and not empty, got \(1,\) and \(2,\)"),
        ([], [], "not empty"),
        ([1], [1.5], "must be probabilities, got 1.5 to 1.5"),
    ],
)
def test_what_is_no_probability_is_refused(taken, predicted, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(taken, predicted)


def test_uplift_at_k_is_that_of_the_users_ranked_highest():
    assert uplift_at_k(UPTAKE, PERSUADABLE, TREATED, k=0.5) == 1
    assert uplift_at_k(UPTAKE, ~PERSUADABLE, TREATED, k=0.5) == 0
    assert uplift_at_k(UPTAKE, PERSUADABLE, TREATED, k=1) == pytest.approx(0.5)


def test_by_group_takes_the_share_of_each_arm():
    # The four treated rank 1, 2, 5, 6 and bring 8, 6, 4, 2; the holdout ranks 3, 4, 7, 8: 1, 3, 5, 7.
    outcome = [8, 6, 1, 3, 4, 2, 5, 7]
    treated = [1, 1, 0, 0, 1, 1, 0, 0]
    uplift = -np.arange(8)
    assert uplift_at_k(outcome, uplift, treated, k=0.5, strategy="by_group") == 7 - 2
    assert uplift_at_k(outcome, uplift, treated, k=0.75) == 5 - 2
    assert uplift_at_k(outcome, uplift, treated, k=0.75, strategy="by_group") == 6 - 3


def test_users_tied_at_the_edge_enter_in_equal_parts():
    assert weight_at_top([3, 2, 2, 2, 1], k=0.4).tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 0])
    assert weight_at_top([3, 2, 2, 2, 1], k=0.4, weights=[1, 1, 1, 4, 3]).tolist() == pytest.approx(
        [1, 0.5, 0.5, 2, 0]
    )
    outcome, treated = np.array([1, 0, 1, 0, 0, 1]), np.array([1, 0, 1, 0, 1, 0])
    assert uplift_at_k(outcome, np.ones(6), treated, k=0.3) == pytest.approx(2 / 3 - 1 / 3)


def test_weights_of_2_are_two_rows_at_the_top():
    outcome, uplift, treated = [3, 1, 2, 0, 5, 1], [6, 5, 4, 3, 2, 1], [1, 0, 1, 0, 1, 0]
    twice = [np.repeat(part, 2) for part in (outcome, uplift, treated)]
    for strategy in ("overall", "by_group"):
        found = uplift_at_k(outcome, uplift, treated, 0.5, strategy, weights=np.full(6, 2))
        assert found == pytest.approx(uplift_at_k(*twice, 0.5, strategy))


def test_a_share_that_leaves_an_arm_empty_is_refused():
    with pytest.raises(ValueError, match=r"got 0\.3 with 1 treated and 0 of the holdout"):
        uplift_at_k([1, 0, 1, 0], [4, 3, 2, 1], [1, 0, 1, 0], k=0.3)
    for k in (0, 1.2, np.nan):
        with pytest.raises(ValueError, match="k must be a share in"):
            uplift_at_k([1, 0, 1, 0], [4, 3, 2, 1], [1, 0, 1, 0], k=k)
    with pytest.raises(ValueError, match="strategy must be 'overall' or 'by_group', got 'top'"):
        uplift_at_k([1, 0, 1, 0], [4, 3, 2, 1], [1, 0, 1, 0], k=0.5, strategy="top")


def test_coefficients_are_1_for_the_perfect_order_and_0_for_a_constant():
    rng = np.random.default_rng(0)
    outcome, treated = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    perfect = np.where(treated == 1, outcome, -outcome)
    assert qini_coefficient(outcome, perfect, treated) == pytest.approx(1)
    for coefficient in (qini_coefficient, auuc_coefficient):
        assert coefficient(outcome, np.ones(400), treated) == pytest.approx(0, abs=1e-12)
        assert -1 < coefficient(outcome, rng.random(400), treated) < 1


@pytest.mark.parametrize("coefficient", [qini_coefficient, auuc_coefficient])
def test_money_has_no_perfect_order(coefficient):
    with pytest.raises(ValueError, match=r"0 or 1 to have a perfect order, got 2\.5: use qini or auuc"):
        coefficient([2.5, 0.0], [1, 0], [1, 0])


@pytest.mark.parametrize("figure", ["qini", "auuc_gain", "uplift_at_30"])
def test_a_random_column_has_an_interval_around_0_about_as_often_as_it_claims(figure):
    rng, n, holds = np.random.default_rng(11), 800, 0
    for _ in range(100):
        treated = rng.random(n) < 0.5
        outcome = rng.standard_exponential(n) * (1 + treated)
        uplift, resampled = rng.random(n), UserBootstrap(np.arange(n), rng, 200)
        if figure == "uplift_at_30":
            tops = [
                resampled.figure(
                    lambda sums: arm_sums(sums).uplift(),
                    arm_columns(outcome, treated, weight_at_top(uplift, k), np.zeros(n, int)),
                )
                for k in (0.3, 1)
            ]
            interval = (tops[0] - tops[1]).interval(0.9)
        else:
            columns = arm_columns(outcome, treated, np.ones(n), rank_groups(uplift, 25))
            found = resampled.figure(lambda sums: getattr(arm_sums(sums), figure)(), columns)
            interval = found.interval(0.9)
        holds += interval.low <= 0 <= interval.high
    assert 80 <= holds <= 98
