"""What the engine costs is measured in processes of their own, on rows made part by part."""

import numpy as np
import pytest

from benchmarks.uplift.__main__ import _chosen
from benchmarks.uplift.scale import large_task, measure
from benchmarks.uplift.worlds import make_world


def test_a_large_task_is_as_long_as_asked_and_made_of_different_parts():
    rng = np.random.default_rng(0)
    task = large_task(make_world("uptake", 3, "repurchase", rng), 50_400, rng)
    assert {len(part) for part in (task.X, task.service, task.propensity, task.y, task.uptake)} == {50_400}
    assert not np.array_equal(task.X[:400], task.X[-400:], equal_nan=True)


@pytest.mark.slow
def test_fitting_is_measured_with_its_time_and_its_peak(tmp_path):
    (fit,) = measure("3000x3", n_jobs=1, folder=tmp_path)
    assert (fit.work, fit.n_rows, fit.n_services) == ("fit", 3_000, 3)
    assert 0 < fit.cpu_seconds < 2 * fit.wall_seconds
    assert 0.05 < fit.gib_before <= fit.peak_gib < 2


def test_an_unknown_data_set_is_refused_and_more_of_the_same_runs_only_where_named():
    with pytest.raises(SystemExit, match=r"--data must be of hillstrom-visit, .* got hillstrom-visits"):
        _chosen(["hillstrom-visits"])
    assert {data.name for data in _chosen(["uptake-12"])} == {"uptake-12/uptake", "uptake-12/no-uptake"}
    assert "direct-35/uptake" not in {data.name for data in _chosen([])}
    assert [data.name for data in _chosen(["direct-35"])] == ["direct-35/uptake"]
