"""The benchmark on Hillstrom's trial reads the trial as published and compares on the same rows."""

from pathlib import Path

import pytest

from benchmarks.hillstrom import Trial, measure, read_trial


@pytest.fixture(scope="module")
def trial(public_data: Path) -> Trial:
    return read_trial(public_data / "hillstrom")


def test_arms_and_visits_are_those_of_the_publication(trial):
    assert trial.visit.mean() == pytest.approx(0.14678, abs=5e-6)
    rates = [trial.visit[trial.service == arm].mean() for arm in (-1, 0, 1)]
    assert rates == pytest.approx([0.106167, 0.182757, 0.151400], abs=1e-6)
    assert trial.services == ("mens-email", "womens-email")


def test_the_gain_is_the_difference_of_the_two_values(public_data):
    (split,) = measure(n_splits=1, n_jobs=1)
    assert split.gain == pytest.approx(split.value - split.baseline)
    assert split.baseline == pytest.approx(0.1828, abs=0.006)
    assert sum(split.share_of.values()) == pytest.approx(1)
    assert abs(split.gain) < 4 * split.gain_se
