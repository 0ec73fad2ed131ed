"""Runs and model versions are kept, found again, and survive a move of the project."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from training.tracking import StoreError, find_run, log_training, runs, set_champion_alias


def a_bundle(folder: Path, content_hash: str = "abc123") -> Path:
    bundle = folder / content_hash
    (bundle / "uptake").mkdir(parents=True)
    (bundle / "manifest.json").write_text('{"format": 1}')
    (bundle / "uptake" / "model.txt").write_text(f"tree of {content_hash}")
    return bundle


def log(root: Path, name: str = "first", content_hash: str = "abc123", **changed: object) -> str:
    report = root / "report.html"
    report.write_text("<html>the report</html>")
    bundle = root / "bundles" / content_hash
    given: dict = {
        "params": {"trials": 8, "windows.uptake_days": 14},
        "metrics": {"gain.over_random": 0.25},
        "lineage": {"data_hash": "d1", "git_commit": "c1", "lock_hash": "l1", "seed": 7},
        "artifacts": [report],
        "bundle": bundle if bundle.exists() else a_bundle(root / "bundles", content_hash),
    }
    return log_training(root, name, **{**given, **changed})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Path:
    """A project with two runs of one name, the first of them the champion, moved since; read only."""
    before = tmp_path_factory.mktemp("before")
    shutil.copytree(mlflow_store, before / "mlruns")
    log(before, "weekly", "abc123")
    log(before, "weekly", "def456", metrics={"gain.over_random": 0.5, "qini/茶 ☕": 1.0, "qini//../x": 2.0})
    set_champion_alias(before, "abc123")
    after = tmp_path_factory.mktemp("far away") / "a project % ü"
    return before.rename(after)


@pytest.fixture
def workspace(project: Path, tmp_path: Path) -> Path:
    """The same project, to write in."""
    return Path(shutil.copytree(project, tmp_path / "workspace"))


def client_of(root: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{root / 'mlruns/mlflow.db'}")


def test_a_run_is_found_with_all_that_was_logged(project):
    run = find_run(project, "abc123")
    assert run.name == "weekly"
    assert run.params == {"trials": "8", "windows.uptake_days": "14"}
    assert run.metrics == {"gain.over_random": 0.25}
    assert run.tags == {
        "data_hash": "d1",
        "git_commit": "c1",
        "lock_hash": "l1",
        "seed": "7",
        "bundle": "abc123",
    }
    assert (run.artifacts / "report.html").read_text() == "<html>the report</html>"
    assert run.bundle.name == "abc123"
    assert (run.bundle / "uptake" / "model.txt").read_text() == "tree of abc123"


def test_runs_are_listed_newest_first_and_a_name_means_the_newest(project):
    newest, oldest = runs(project)
    assert (newest.bundle.name, oldest.bundle.name) == ("def456", "abc123")
    assert find_run(project, "weekly") == newest
    assert find_run(project, oldest.run_id) == oldest


def test_names_that_mlflow_refuses_are_mended(project):
    assert runs(project)[0].metrics == {"gain.over_random": 0.5, "qini/茶 _": 1.0, "qini/x": 2.0}


def test_every_run_is_a_version_and_the_alias_stays_where_it_was_set(project):
    client = client_of(project)
    versions = client.search_model_versions("name = 'perkwise'")
    assert {int(version.version): version.tags["bundle"] for version in versions} == {
        1: "abc123",
        2: "def456",
    }
    assert client.get_model_version_by_alias("perkwise", "champion").tags["bundle"] == "abc123"


def test_the_alias_moves_to_the_newest_version_of_a_bundle_and_back(workspace):
    log(workspace, "again", "abc123")
    champions = []
    for content_hash in ("abc123", "def456", "abc123"):
        set_champion_alias(workspace, content_hash)
        champions.append(client_of(workspace).get_model_version_by_alias("perkwise", "champion").version)
    assert [int(version) for version in champions] == [3, 2, 3]


def test_a_moved_project_is_read_from_any_folder(project, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    from_outside = runs(project)
    assert all(run.artifacts.is_relative_to(project) for run in from_outside)
    monkeypatch.chdir(project)
    assert runs(Path(".")) == from_outside
    assert b"/before" not in (project / "mlruns" / "mlflow.db").read_bytes()


READ_WITH_MLFLOW_ALONE = """
import mlflow, pathlib, sys
mlflow.set_tracking_uri("sqlite:///mlruns/mlflow.db")
bundle = mlflow.artifacts.download_artifacts("models:/perkwise@champion", dst_path=sys.argv[1])
print(pathlib.Path(bundle, "uptake", "model.txt").read_text())
"""


def test_mlflow_alone_finds_the_champion_of_a_moved_project(project, tmp_path):
    read = subprocess.run(
        [sys.executable, "-c", READ_WITH_MLFLOW_ALONE, str(tmp_path)],
        cwd=project,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
    )
    assert read.stdout.strip() == "tree of abc123", read.stderr


def test_a_moved_project_takes_further_runs(workspace):
    log(workspace, "later", "fed789")
    assert [run.name for run in runs(workspace)] == ["later", "weekly", "weekly"]


def test_reading_makes_no_database_where_there_is_none(tmp_path):
    for read in (
        lambda: runs(tmp_path),
        lambda: find_run(tmp_path, "x"),
        lambda: set_champion_alias(tmp_path, "x"),
    ):
        with pytest.raises(FileNotFoundError, match=r"no MLflow database at .*mlflow\.db\. Train first"):
            read()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_file_is_refused_and_left_empty(tmp_path):
    (tmp_path / "mlruns").mkdir()
    database = tmp_path / "mlruns" / "mlflow.db"
    database.touch()
    with pytest.raises(FileNotFoundError, match="Train first"):
        runs(tmp_path)
    assert database.stat().st_size == 0


def test_a_damaged_database_is_named_and_left_as_it_is(workspace):
    database = workspace / "mlruns" / "mlflow.db"
    database.write_bytes(b"not SQLite" * 1000)
    calls = (
        lambda: log(workspace),
        lambda: find_run(workspace, "weekly"),
        lambda: set_champion_alias(workspace, "abc123"),
    )
    for call in calls:
        with pytest.raises(StoreError, match=r"mlflow.db cannot be used .*not a database.* move mlruns/"):
            call()
    assert database.read_bytes() == b"not SQLite" * 1000


def test_an_unknown_run_is_an_error_that_names_the_known_ones(project):
    with pytest.raises(LookupError, match=r"no finished run is called 'daily'\. The latest are: weekly\."):
        find_run(project, "daily")


def test_where_all_runs_were_deleted_none_is_known(workspace):
    for run in runs(workspace):
        client_of(workspace).delete_run(run.run_id)
    with pytest.raises(LookupError, match="The latest are: none yet"):
        find_run(workspace, "weekly")


def test_an_unknown_bundle_cannot_be_champion(project):
    with pytest.raises(LookupError, match="no version of the model 'perkwise' holds the bundle 'fff'"):
        set_champion_alias(project, "fff")


def test_a_run_that_breaks_off_is_failed_and_never_found(workspace):
    with pytest.raises(FileNotFoundError):
        log(workspace, "broken", artifacts=[workspace / "not-there.html"])
    with pytest.raises(LookupError, match="'broken'"):
        find_run(workspace, "broken")
    experiment = client_of(workspace).get_experiment_by_name("perkwise")
    statuses = {
        run.info.run_name: run.info.status
        for run in client_of(workspace).search_runs([experiment.experiment_id])
    }
    assert statuses == {"weekly": "FINISHED", "broken": "FAILED"}


def test_the_first_use_says_nothing_on_the_terminal(tmp_path):
    script = f"""
from pathlib import Path
from training.tracking import log_training, runs
root = Path({str(tmp_path)!r})
log_training(root, "a", params={{}}, metrics={{}}, lineage={{}}, artifacts=[], bundle=root / "abc123")
print(len(runs(root)))
"""
    a_bundle(tmp_path)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
