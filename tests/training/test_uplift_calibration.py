"""Calibration of uplift: perfect predictions pass at every size, wrong ones are measured."""

import numpy as np
import pytest

from training.evaluation.bootstrap import UserBootstrap
from training.evaluation.uplift_calibration import Predicted, calibration_finding, uplift_calibration

N = 3000


def calibration(seed, predict, n=N, n_replicates=300, noise=3.0):
    """Two services of uplift x and 1 + z; the signal is the truth and noise, two rows a user."""
    rng = np.random.default_rng(seed)
    truth = np.column_stack([rng.normal(size=n), 1 + rng.normal(size=n)])
    user = np.arange(n) // 2
    signal = truth + noise * rng.normal(size=(n, 2))
    rows = np.arange(n)
    parts = [Predicted(rows, predict(truth[:, s]), signal[:, s]) for s in range(2)]
    return uplift_calibration(parts, UserBootstrap(user, rng, n_replicates), n, level=0.95)


def test_perfect_predictions_have_no_error_beyond_chance():
    found = calibration(0, lambda truth: truth)
    assert found.raw == pytest.approx(found.chance, rel=0.7)
    assert found.error.low == 0
    assert found.slope.low < 1 < found.slope.high
    assert found.intercept.low < 0 < found.intercept.high
    finding = calibration_finding(found, "EUR", N)
    assert finding.verdict == "fine" and "Chance explains the difference" in finding.text
    assert len(found.realised) == 10 and (np.diff(found.predicted) < 0).all()


def test_a_debiased_error_is_right_on_average_where_a_raw_one_is_too_large():
    raw, corrected = [], []
    for seed in range(40):
        found = calibration(seed, lambda truth: truth + 0.2, n=1000, n_replicates=100)
        raw.append(found.raw**2)
        corrected.append(found.raw**2 - found.chance**2)
    assert np.mean(corrected) == pytest.approx(0.04, abs=0.012)
    assert np.mean(raw) > 0.05


def test_perfect_predictions_are_called_off_as_seldom_as_claimed():
    found = [calibration(seed, lambda truth: truth, n=600, n_replicates=150) for seed in range(150)]
    assert np.mean([one.p < 0.05 for one in found]) <= 0.1
    assert np.mean([one.slope.low <= 1 <= one.slope.high for one in found]) >= 0.9
    assert not any(calibration_finding(one, "EUR", 600).verdict == "alert" for one in found)


def test_predictions_three_times_too_far_apart_are_an_alert():
    found = calibration(1, lambda truth: 3 * truth)
    assert found.slope.value == pytest.approx(1 / 3, abs=0.07)
    assert found.error.low > 0.5
    finding = calibration_finding(found, "EUR", N)
    assert finding.verdict == "alert"
    assert "go by their order, not by their size" in finding.text


def test_a_constant_error_is_measured_in_the_unit():
    found = calibration(2, lambda truth: truth - 0.5, noise=1.0)
    assert found.error.low < 0.5 < found.error.high
    assert found.error.value == pytest.approx(0.5, abs=0.08)
    assert found.intercept.low < 0.5 < found.intercept.high
    assert calibration_finding(found, "EUR", N).verdict == "note"


def test_without_services_or_with_one_prediction_for_all_nothing_is_judged():
    assert uplift_calibration([], UserBootstrap(np.arange(9), np.random.default_rng(0), 10), 9, 0.95) is None
    found = calibration(3, np.zeros_like)
    assert found is None
    assert calibration_finding(found, "EUR", N).verdict == "note"
