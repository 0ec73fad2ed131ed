"""Cost-gain curves: by hand, against a linear program, and honest about a random column."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from training.evaluation.bootstrap import UserBootstrap
from training.evaluation.cost_curve import (
    NOTHING,
    gain_curve,
    mean_gain,
    resampled_gain,
    targeted_path,
    untargeted_path,
)
from training.evaluation.rate import qini_rate

# For user 0 service 0 is the better bargain and 1 the better offer; for user 1 service 0 is not on the hull.
VALUE = np.array([[4.0, 6.0], [1.0, 5.0]])
COST = np.array([[1.0, 2.0], [1.0, 2.0]])


def best_gain(value, cost, eligible, budget):
    """The linear program: offers may be split, one a row at most, mean cost within the budget."""
    n, n_services = value.shape
    once = np.kron(np.eye(n), np.ones(n_services))
    solved = linprog(
        -np.where(eligible, value, 0).ravel() / n,
        A_ub=np.vstack([cost.ravel() / n, once]),
        b_ub=np.append(budget, np.ones(n)),
        bounds=[(0, float(may)) for may in eligible.ravel()],
    )
    return -solved.fun


def test_steps_are_taken_by_falling_gain_per_cost():
    path = targeted_path(VALUE, COST)
    assert path.row.tolist() == [0, 1, 0]
    assert path.before.tolist() == [NOTHING, NOTHING, 0]
    assert path.after.tolist() == [0, 1, 1]
    assert path.return_on_cost.tolist() == [4, 2.5, 2]
    curve = gain_curve(path, VALUE, COST)
    assert curve.spent.tolist() == [0, 0.5, 1.5, 2]
    assert curve.gain.tolist() == [0, 2, 4.5, 5.5]
    assert curve.at(np.array([0.25, 1.0, 9.0])).tolist() == [1, 3.25, 5.5]


def test_the_gain_is_that_of_the_signal_and_not_of_the_prediction():
    signal = np.array([[-1.0, 3.0], [7.0, 2.0]])
    assert gain_curve(targeted_path(VALUE, COST), signal, COST).gain.tolist() == [0, -0.5, 0.5, 2.5]


def test_without_targeting_the_best_services_on_average_go_to_a_random_part():
    # Means: 2.5 at cost 1 and 5.5 at cost 2, so that service 1 alone is on the hull.
    curve = gain_curve(untargeted_path(VALUE, COST), VALUE, COST)
    assert curve.spent.tolist() == [0, 2]
    assert curve.gain.tolist() == [0, 5.5]


def test_what_a_row_may_not_have_is_never_offered():
    may = np.array([[True, False], [False, True]])
    path = targeted_path(VALUE, COST, may)
    assert sorted(zip(path.row.tolist(), path.after.tolist(), strict=True)) == [(0, 0), (1, 1)]
    # One service for all who may have it: service 0 brings 2 at cost 1/2, service 1 brings 2.5 at cost 1.
    curve = gain_curve(untargeted_path(VALUE, COST, may), VALUE, COST)
    assert curve.spent.tolist() == [0, 0.5, 1]
    assert curve.gain.tolist() == [0, 2, 2.5]


def test_a_step_of_all_rows_leaves_those_with_nothing_who_may_not_have_the_next():
    value, cost = np.array([[2.0, 0.0], [2.0, 9.0]]), np.array([[1.0, 9.0], [1.0, 9.0]])
    may = np.array([[True, False], [True, True]])
    path = untargeted_path(value, cost, may)
    assert path.before.tolist() == [NOTHING, NOTHING, 0, 0]
    assert path.after.tolist() == [0, 0, NOTHING, 1]
    curve = gain_curve(path, value, cost)
    assert curve.spent.tolist() == [0, 1, 4.5]
    assert curve.gain.tolist() == [0, 2, 4.5]


def test_a_service_without_cost_comes_first_and_needs_no_budget():
    path = targeted_path(np.array([[1.0, 3.0, 4.0]]), np.array([[0.0, 0.0, 2.0]]))
    assert path.after.tolist() == [1, 2]
    assert path.return_on_cost.tolist() == [np.inf, 0.5]
    assert gain_curve(path, np.array([[1.0, 3.0, 4.0]]), np.array([[0.0, 0.0, 2.0]])).at(0.0) == 3


def test_nothing_worth_offering_is_a_curve_of_one_point():
    path = targeted_path(-VALUE, COST)
    assert gain_curve(path, VALUE, COST).at(np.array([0.0, 1.0])).tolist() == [0, 0]
    resampled = UserBootstrap(np.arange(2), np.random.default_rng(0), 10)
    found = resampled_gain(path, VALUE, COST, np.array([0.0, 1.0]), resampled)
    assert (found.replicates == 0).all()


def test_rows_alike_are_taken_together():
    path = targeted_path(np.ones((6, 1)), np.ones((6, 1)))
    curve = gain_curve(path, np.arange(6.0)[:, None], np.ones((6, 1)))
    assert curve.spent.tolist() == pytest.approx([0, 1])
    assert curve.gain.tolist() == pytest.approx([0, 2.5])


small = st.integers(-3, 8)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_budget_can_be_spent_better(data):
    n, n_services = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    cells = {"min_size": n * n_services, "max_size": n * n_services}
    value = np.array(data.draw(st.lists(small, **cells)), float).reshape(n, n_services)
    cost = np.array(data.draw(st.lists(st.integers(0, 6), **cells)), float).reshape(n, n_services)
    eligible = np.array(data.draw(st.lists(st.booleans(), **cells))).reshape(n, n_services)
    curve = gain_curve(targeted_path(value, cost, eligible), value, cost)
    assert (np.diff(curve.spent) >= 0).all()
    for budget in (0.0, 0.3, 1.0, 2.5, 7.0):
        assert curve.at(budget) == pytest.approx(best_gain(value, cost, eligible, budget), abs=1e-8)


def test_for_one_service_of_equal_cost_the_area_won_is_the_qini():
    rng = np.random.default_rng(0)
    effect, value, cost = rng.normal(size=5000), 1 + rng.random(5000), np.ones((5000, 1))
    curve = gain_curve(targeted_path(value[:, None], cost), effect[:, None], cost)
    area = np.trapezoid(curve.gain, curve.spent) - curve.gain[-1] / 2
    assert area == pytest.approx(qini_rate(effect, value), abs=1e-3)


def test_replicates_lie_around_the_curve_as_wide_as_the_standard_error():
    rng = np.random.default_rng(1)
    n, budgets = 3000, np.linspace(0, 1, 5)
    value, cost = rng.random((n, 3)), 0.2 + rng.random((n, 3))
    effect = value + rng.normal(size=(n, 3))
    path = targeted_path(value, cost)
    found = resampled_gain(path, effect, cost, budgets, UserBootstrap(np.arange(n), rng, 300))
    assert found.value.tolist() == gain_curve(path, effect, cost).at(budgets).tolist()
    all_offered = effect[np.arange(n), value.argmax(axis=1)]
    assert found.replicates[:, -1].std() == pytest.approx(all_offered.std() / np.sqrt(n), rel=0.2)
    assert found.replicates.mean(axis=0) == pytest.approx(found.value, abs=0.01)
    low, high = found.band(0.95)
    assert (low <= found.value).all() and (found.value <= high).all()
    assert (low[0], high[0]) == (0, 0)


def over_no_targeting(value, effect, cost, rng, level):
    """What targeting adds, averaged over budgets, with its interval."""
    resampled = UserBootstrap(np.arange(len(value)), rng, 200)
    paths = [targeted_path(value, cost), untargeted_path(value, cost)]
    budgets = np.linspace(0, min(gain_curve(path, effect, cost).spent[-1] for path in paths), 21)
    ours, theirs = (resampled_gain(path, effect, cost, budgets, resampled) for path in paths)
    return mean_gain(ours - theirs, budgets).interval(level)


def test_a_random_column_adds_nothing_about_as_often_as_its_interval_claims():
    rng, n, holds = np.random.default_rng(7), 500, 0
    for _ in range(100):
        # Three services of equal cost and average effect; the predictions have nothing to do with it.
        effect, value = 1 + 2 * rng.normal(size=(n, 3)), rng.random((n, 3))
        interval = over_no_targeting(value, effect, np.ones((n, 3)), rng, 0.9)
        holds += interval.low <= 0 <= interval.high
    assert 80 <= holds <= 98


def test_a_column_that_knows_is_told_from_no_targeting():
    rng = np.random.default_rng(0)
    truth = rng.random((1000, 3))
    effect = truth + rng.normal(size=truth.shape)
    interval = over_no_targeting(truth, effect, np.ones(truth.shape), rng, 0.95)
    assert interval.low > 0.05


@pytest.mark.parametrize(
    ("value", "cost", "message"),
    [
        (VALUE, COST[:1], r"got shapes \(2, 2\), \(1, 2\) and \(2, 2\)"),
        (VALUE, -COST, "got 0 values and 4 costs that are not"),
        (np.where(VALUE > 5, np.nan, VALUE), COST, "got 1 values and 0 costs that are not"),
    ],
)
def test_what_cannot_be_a_path_is_refused(value, cost, message):
    with pytest.raises(ValueError, match=message):
        targeted_path(value, cost)
