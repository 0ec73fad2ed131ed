"""Splits of the real trials keep what is judged from what is learned."""

import numpy as np
import pytest

from benchmarks.hillstrom import read_trial
from benchmarks.uplift.splits import read_waves, split_hillstrom, split_starbucks
from benchmarks.uplift.tasks import DEVELOPMENT_SEEDS, REPORTED_SEEDS, load_task, save_task


def test_no_seed_is_both_for_development_and_for_the_report():
    assert not set(DEVELOPMENT_SEEDS) & set(REPORTED_SEEDS)


@pytest.fixture(scope="module")
def trial(public_data):
    return read_trial(public_data / "hillstrom")


def test_hillstrom_is_dealt_70_to_30(trial):
    task = split_hillstrom(trial, "spend", "hillstrom-spend", 3)
    other = split_hillstrom(trial, "spend", "hillstrom-spend", 4)
    assert (len(task.y), len(task.y_test)) == (44_800, 19_200)
    assert task.y.sum() + task.y_test.sum() == pytest.approx(trial.spend.sum())
    assert sorted([*task.X[:, 2], *task.X_test[:, 2]]) == sorted(trial.X[:, 2].astype(np.float32))
    assert not np.array_equal(task.service_test, other.service_test)


def test_money_and_orders_of_hillstrom_are_those_of_the_publication(trial):
    assert trial.conversion.mean() == pytest.approx(0.00903, abs=5e-6)
    assert [trial.spend[trial.service == arm].mean() for arm in (-1, 0, 1)] == pytest.approx(
        [0.65279, 1.42262, 1.07720], abs=1e-5
    )


@pytest.mark.slow
def test_starbucks_is_judged_on_other_users_and_later_waves(public_data):
    waves = read_waves(public_data / "starbucks_rewards")
    task = split_starbucks(waves, "repurchase", "starbucks-repurchase", 0)
    assert (len(task.y), len(task.y_test)) == (11_900 * 4, 5_100 * 2)
    assert waves.wave.max() == 5
    assert task.propensity[0].tolist() == pytest.approx([0.25] + [0.075] * 10)
    again = split_starbucks(waves, "repurchase", "starbucks-repurchase", 0)
    assert np.array_equal(task.service_test, again.service_test)


def test_a_task_is_handed_on_whole(trial, tmp_path):
    task = split_hillstrom(trial, "visit", "hillstrom-visit", 0)
    save_task(task, tmp_path / "task.npz")
    found = load_task(tmp_path / "task.npz")
    assert (found.name, found.seed, found.categorical) == (task.name, task.seed, task.categorical)
    assert found.uptake is None
    assert np.array_equal(found.propensity_test, task.propensity_test)
