"""The comparison runs cell by cell, keeps what is done, and tells it in a table."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.uplift.cells import Cell, Store, cells_of, judge_again, run_cells
from benchmarks.uplift.environment import LOCK
from benchmarks.uplift.judging import Judge, qini_coefficient, true_qini
from benchmarks.uplift.plan import LEARNERS, PLAN, DataSet
from benchmarks.uplift.table import Mean, best_peer, details, lines_of, summary
from benchmarks.uplift.tasks import DEVELOPMENT_SEEDS, REPORTED_SEEDS
from benchmarks.uplift.trials import draw_trial_task, make_trial
from benchmarks.uplift.uptake_column import with_uptake_column
from benchmarks.uplift.worlds import draw_task, make_world

TRIAL = DataSet("few", "trials", n_seeds=1, shares=True)


def quietly(what: str, done: int, n: int) -> None:
    pass


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Our learner and the best constant on one development trial, in this very environment."""
    store = Store(tmp_path_factory.mktemp("uplift"))
    cells = cells_of([TRIAL], "development", ["perkwise", "best-constant"])
    run_cells(cells, store, Path(sys.executable), quietly)
    return store


def test_a_cell_leaves_figures_seconds_and_memory(store):
    results = store.results()
    assert set(results) == {("few", 0, "perkwise"), ("few", 0, "best-constant")}
    for result in results.values():
        assert result["share"] <= 1
        assert result["fit_cpu_seconds"] >= 0
        assert result["peak_mib"] > 50


def test_the_table_sets_the_constant_beside_ours_on_the_same_seed(store):
    lines = lines_of(TRIAL, store.results(), DEVELOPMENT_SEEDS)
    of_learner = {line.learner: line for line in lines}
    gap = of_learner["best-constant"].behind_ours["share"].value
    ours, constant = (of_learner[name].figures["share"].value for name in ("perkwise", "best-constant"))
    assert gap == pytest.approx(ours - constant)
    assert len(list(details(TRIAL, lines))) == 4 + len(lines) + 1
    assert best_peer(lines, "share") is None  # a rule is no peer
    assert len(summary({TRIAL: lines})) == 2


def test_kept_predictions_are_judged_the_same_again(store):
    before = store.results()
    judge_again(cells_of([TRIAL], "development", ["perkwise"]), store, quietly)
    after = store.results()
    assert after == before


def test_a_learner_that_fails_leaves_its_fault_and_the_run_goes_on(tmp_path):
    store, response = Store(tmp_path), Cell(TRIAL, 0, "plain", "response")  # the trial has no uptake
    constant = Cell(TRIAL, 0, "plain", "best-constant")
    run_cells([response, constant], store, Path(sys.executable), quietly)
    results = store.results()
    assert "TypeError" in results[response.key]["fault"] or "AttributeError" in results[response.key]["fault"]
    assert "gain" in results[constant.key]
    assert [line.learner for line in lines_of(TRIAL, results, DEVELOPMENT_SEEDS)] == ["best-constant"]


def test_reported_cells_have_no_development_seed():
    reported = {cell.seed for cell in cells_of(PLAN, "reported")}
    assert reported <= set(REPORTED_SEEDS)
    assert not reported & set(DEVELOPMENT_SEEDS)


def test_every_learner_runs_on_both_kinds_of_worlds():
    of_data = {data.name: {name for _, name in data.learners()} for data in PLAN}
    assert {"uptake-12/uptake", "uptake-12/no-uptake", "uptake-35/uptake"} <= set(of_data)
    assert of_data["uptake-12/uptake"] - of_data["uptake-12/no-uptake"] == {"response"}
    assert set().union(*of_data.values()) == {name for names in LEARNERS.values() for name in names}


def test_the_lock_has_hashes_and_no_address():
    lock = LOCK.read_text(encoding="utf-8")
    pinned = [line for line in lock.splitlines() if "==" in line]
    assert {"causalml==0.18.0", "econml==0.17.0", "scikit-uplift==0.5.1", "lightgbm==4.7.0"} <= {
        line.split(" ")[0] for line in pinned
    }
    assert all(line.endswith("\\") for line in pinned)  # the hashes follow
    assert "://" not in lock
    assert "index" not in lock


def test_the_perfect_order_has_a_qini_of_one_and_its_reverse_is_below_zero():
    rng = np.random.default_rng(0)
    treated, outcome = rng.random(2_000) < 0.5, (rng.random(2_000) < 0.3).astype(float)
    perfect = 2.0 * ((outcome == 1) == treated) + treated
    assert qini_coefficient(outcome, perfect, treated) == pytest.approx(1)
    assert qini_coefficient(outcome, -perfect, treated) < 0
    assert qini_coefficient(outcome, np.zeros(2_000), treated) == pytest.approx(0)


def test_the_true_qini_is_that_of_the_order_alone():
    uplift = np.random.default_rng(0).normal(size=500)
    assert true_qini(uplift * 3 + 1, uplift) == pytest.approx(1)
    assert true_qini(-uplift, uplift) == pytest.approx(-1)
    assert np.isnan(true_qini(uplift, np.ones(500)))


def test_what_a_policy_won_in_the_log_is_what_it_wins_in_truth():
    rng = np.random.default_rng(5)
    trial = make_trial(rng)
    task = draw_trial_task(trial, "few", 5, rng, n_test=40_000)
    service = rng.choice(len(trial.propensity), 40_000, p=trial.propensity) - 1
    # outcomes without noise: the doubly robust gain must then be near the true one
    y = np.column_stack([np.zeros(40_000), task.uplift_test])[np.arange(40_000), service + 1]
    logged = replace(
        task,
        uplift_test=None,
        service_test=service,
        propensity_test=np.tile(trial.propensity, (40_000, 1)),
        y_test=y,
    )
    predicted = task.uplift_test + rng.normal(0, 0.01, task.uplift_test.shape)
    truth = Judge(task).figures(predicted)
    found = Judge(logged).figures(predicted)
    assert found.gain == pytest.approx(truth.gain, abs=0.003)
    assert found.share is None


def test_the_uptake_column_is_out_of_fold_and_tells_takers_from_others():
    rng = np.random.default_rng(0)
    world = make_world("uptake", 4, "repurchase", rng)
    task = with_uptake_column(draw_task(world, "uptake-4", 0, rng, n_rows=8_000, n_test=1_000, n_lists=0))
    shown = task.service >= 0
    own = task.uptake_column.train[np.arange(len(task.y)), task.service][shown]
    assert own.mean() == pytest.approx(task.uptake[shown].mean(), abs=0.01)
    # in-sample predictions of 100 trees on 5,000 rows would correlate far more than the truth does
    assert 0.1 < np.corrcoef(own, task.uptake[shown])[0, 1] < 0.6


def test_a_mean_of_one_seed_has_no_error():
    assert np.isnan(Mean.of([1.0]).se)
    assert Mean.of([1.0, 3.0]) == Mean(2.0, 1.0, 2)
