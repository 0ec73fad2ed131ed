"""Weights of the rows that effects are learned from."""

import numpy as np
import pytest

from training.evidence import precision_weights


def test_binary_outcomes_weigh_by_the_inverse_of_their_variance():
    weights = precision_weights(np.array([0.5, 0.2]), np.zeros(2), binary=True)
    assert weights[1] / weights[0] == pytest.approx(0.25 / 0.16)
    assert weights.mean() == pytest.approx(1)


def test_money_weighs_less_where_it_scatters_more():
    # Of 4,000 rows, the half of greater expectation scatters three times as much: nine times the variance.
    rng = np.random.default_rng(0)
    expected = np.linspace(0, 1, 4000)
    scatter = np.where(expected < 0.5, 1.0, 3.0)
    weights = precision_weights(expected, scatter * rng.normal(size=4000), binary=False)
    assert weights[:1900].mean() / weights[2100:].mean() == pytest.approx(9, rel=0.25)


def test_no_row_weighs_more_than_25_times_another():
    expected = np.repeat([0.0, 1.0], 100)
    residual = np.repeat([0.001, 1000.0], 100)
    weights = precision_weights(expected, residual, binary=False)
    assert weights.max() / weights.min() <= 25


def test_outcomes_without_scatter_weigh_alike():
    assert precision_weights(np.zeros(3), np.zeros(3), binary=False).tolist() == [1, 1, 1]
