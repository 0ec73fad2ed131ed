"""Balance: nothing found where chance decided, found where the profile did."""

import numpy as np
import pytest

from training.evaluation.balance import balance


def test_a_difference_of_one_standard_deviation_is_found_and_named(make_log):
    rng = np.random.default_rng(0)
    service = np.repeat([-1, 0, 1], 500)
    X = rng.normal(size=(1500, 3))
    X[service == 1, 2] += 1.0
    found = balance(make_log(service, 1 / 3, np.zeros(1500), X=X))
    assert found.n_compared == 6
    assert found.n_beyond_chance == 1
    worst = found.worst[0]
    assert (worst.column, worst.service) == ("column_2", 1)
    assert worst.smd == pytest.approx(1.0, abs=0.15)
    assert worst.chance == pytest.approx(1.96 * np.sqrt(2 / 500), abs=1e-3)


def test_a_random_draw_is_balanced(make_log):
    rng = np.random.default_rng(1)
    found = balance(make_log(rng.integers(-1, 2, 3000), 1 / 3, np.zeros(3000), X=rng.normal(size=(3000, 20))))
    assert found.n_beyond_chance == 0
    assert len(found.worst) == 10


def test_weights_undo_a_targeting_that_the_propensities_tell(make_log):
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2, 4000)
    offered = rng.random(4000) < np.where(x == 1, 0.8, 0.2)
    propensity = np.where(offered, 1, 0) * np.where(x == 1, 0.8, 0.2) + np.where(offered, 0, 1) * np.where(
        x == 1, 0.2, 0.8
    )
    X = x[:, None]
    told = balance(make_log(offered - 1, propensity, np.zeros(4000), X=X))
    hidden = balance(make_log(offered - 1, 0.5, np.zeros(4000), X=X))
    assert (told.n_beyond_chance, hidden.n_beyond_chance) == (0, 1)


def test_of_a_category_the_level_that_differs_most_counts(make_log):
    rng = np.random.default_rng(3)
    service = np.repeat([-1, 0], 1000)
    level = np.where(service == 0, rng.choice(3, 2000, p=[0.2, 0.2, 0.6]), rng.integers(0, 3, 2000))
    found = balance(make_log(service, 0.5, np.zeros(2000), X=level[:, None], categorical=(0,)))
    assert found.n_compared == 1
    assert found.worst[0].smd == pytest.approx(0.56, abs=0.1)  # 0.6 against 1/3


def test_gaps_are_left_out_and_small_arms_not_compared(make_log):
    service = np.repeat([-1, 0, 1], [100, 100, 29])
    X = np.random.default_rng(4).normal(size=(229, 2))
    X[::3, 0] = np.nan
    X[:, 1] = 7.0
    found = balance(make_log(service, 1 / 3, np.zeros(229), X=X))
    assert {difference.service for difference in found.worst} == {0}
    assert all(np.isfinite(difference.smd) for difference in found.worst)
