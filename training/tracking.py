"""Trainings as MLflow keeps them: parameters, metrics, reports, bundles, and which one is the champion.

The only file that knows MLflow. The store is `mlruns/mlflow.db` under the project's root, the artifacts stand
in `mlruns/artifacts`, and the database names them relative to the root: a moved project stays readable, by
this file from anywhere and by `mlflow ui` from the root. Importing MLflow takes about two seconds, so import
this module only where a command needs it.
"""

import logging
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # MLflow reads it when it is imported

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

MODEL = "perkwise"  # the registered model, and the experiment that holds the runs
CHAMPION = "champion"  # its alias
_DATABASE = Path("mlruns/mlflow.db")
_ARTIFACTS = Path("mlruns/artifacts")


class StoreError(ValueError):
    """MLflow's database cannot be read or written; the message says where it is and what to do."""


@dataclass(frozen=True)
class TrackedRun:
    """One finished training as the store remembers it; paths are absolute."""

    run_id: str
    name: str
    bundle: Path  # the copy kept with the run, a folder named by its content hash
    artifacts: Path  # everything kept with the run
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]  # the lineage: data hash, commit, lock hash, seed …


def log_training(
    root: Path,
    name: str,
    *,
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    lineage: Mapping[str, object],
    artifacts: Sequence[Path],
    bundle: Path,
) -> str:
    """The id of a new finished run, whose bundle is registered as the next version of the model.

    The files are copied, so the originals may go. The champion stays who it is: only
    `set_champion_alias` moves it. The first run in a project makes the database, which takes about two
    seconds. A run that cannot be written to its end is marked as failed and never found again.

    Parameters
    ----------
    root : Path
        The project's folder, in which `mlruns/` stands.
    name : str
        What people call the run; names may repeat.
    params, metrics, lineage : Mapping
        What the training was given, what came out, and what it came from (kept as tags). Characters that
        MLflow does not take in a name become `_`.
    artifacts : sequence of Path
        Files kept beside the bundle: the report and its JSON.
    bundle : Path
        A folder that `training.bundle.write_bundle` wrote.

    Raises
    ------
    StoreError
        If the database cannot be used.
    """
    with _store(root, create=True) as client:
        run = client.create_run(_experiment(client, root), run_name=name)
        with _finishing(client, run.info.run_id):
            now = time.time_ns() // 1_000_000
            tags = {**lineage, "bundle": bundle.name}
            client.log_batch(
                run.info.run_id,
                params=[Param(_name(key), str(value)) for key, value in params.items()],
                metrics=[Metric(_name(key), float(value), now, 0) for key, value in metrics.items()],
                tags=[RunTag(_name(key), str(value)) for key, value in tags.items()],
            )
            folder = root / run.info.artifact_uri
            folder.mkdir(parents=True)
            for artifact in artifacts:
                shutil.copy2(artifact, folder / artifact.name)
            shutil.copytree(bundle, folder / "bundle" / bundle.name)
            _register(client, run, bundle.name)
    return str(run.info.run_id)


def runs(root: Path) -> list[TrackedRun]:
    """The finished trainings, newest first.

    Raises
    ------
    FileNotFoundError
        If the project has no MLflow database.
    StoreError
        If the database cannot be used.
    """
    with _store(root, create=False) as client:
        experiment = client.get_experiment_by_name(MODEL)
        if experiment is None:
            return []
        found = client.search_runs(
            [experiment.experiment_id],
            filter_string="attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            max_results=50_000,
        )
    return [_tracked(root, run) for run in found]


def find_run(root: Path, name_or_id: str) -> TrackedRun:
    """The finished training with this id, or else the newest with this name or with this bundle's hash.

    Raises
    ------
    FileNotFoundError
        If the project has no MLflow database.
    StoreError
        If the database cannot be used.
    LookupError
        If no finished run is called so.
    """
    known = runs(root)
    for matches in (
        [run for run in known if run.run_id == name_or_id],
        [run for run in known if name_or_id in (run.name, run.bundle.name)],
    ):
        if matches:
            return matches[0]
    names = ", ".join(list(dict.fromkeys(run.name for run in known))[:10]) or "none yet"
    raise LookupError(f"no finished run is called {name_or_id!r}. The latest are: {names}.")


def set_champion_alias(root: Path, bundle_hash: str) -> None:
    """Let the alias `champion` name the newest version that holds this bundle.

    Raises
    ------
    FileNotFoundError
        If the project has no MLflow database.
    StoreError
        If the database cannot be used.
    LookupError
        If no version holds this bundle.
    """
    with _store(root, create=False) as client:
        versions = client.search_model_versions(f"name = '{MODEL}'", max_results=10_000)
        numbers = [int(version.version) for version in versions if version.tags.get("bundle") == bundle_hash]
        if not numbers:
            raise LookupError(f"no version of the model {MODEL!r} holds the bundle {bundle_hash!r}.")
        client.set_registered_model_alias(MODEL, CHAMPION, str(max(numbers)))


@contextmanager
def _store(root: Path, create: bool) -> Iterator[MlflowClient]:
    """A client of the project's store; what its database cannot do is told in words."""
    try:
        yield _open(root, create)
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        cause = next((line for line in str(error).splitlines() if "sqlite3" in line), str(error))
        raise StoreError(
            f"the MLflow database {root.resolve() / _DATABASE} cannot be used ({cause.splitlines()[0]}). "
            "Free the disk where it is full; else put a copy of the database back, or move mlruns/ away and "
            "train again. What is served does not need it."
        ) from error


def _open(root: Path, create: bool) -> MlflowClient:
    """The client; MLflow itself would make an empty database on any wrong path."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    database = root.resolve() / _DATABASE
    if create:
        database.parent.mkdir(parents=True, exist_ok=True)
    elif not database.is_file() or database.stat().st_size == 0:
        raise FileNotFoundError(
            f"there is no MLflow database at {database}. Train first (perkwise train DATA), or go to the "
            "project's folder."
        )
    uri = f"sqlite:///{database}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _experiment(client: MlflowClient, root: Path) -> str:
    """The experiment's id; its artifacts' place is made relative, as MLflow would store an absolute one."""
    experiment = client.get_experiment_by_name(MODEL)
    experiment_id = str(experiment.experiment_id if experiment else client.create_experiment(MODEL))
    with closing(sqlite3.connect(root / _DATABASE)) as database, database:
        database.execute(
            "UPDATE experiments SET artifact_location = ? || '/' || experiment_id"
            " WHERE name IN (?, 'Default')",
            (_ARTIFACTS.as_posix(), MODEL),
        )
    return experiment_id


@contextmanager
def _finishing(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Marks the run as finished, or as failed when an error leaves the block."""
    try:
        yield
    except BaseException:
        with suppress(MlflowException):  # what went wrong first is what is told
            client.set_terminated(run_id, status="FAILED")
        raise
    client.set_terminated(run_id)


def _register(client: MlflowClient, run: Run, bundle_hash: str) -> None:
    """A version of the model that points at the run's bundle.

    Made directly: `log_model` would infer requirements for seconds and wrap the bundle in a pickle.
    """
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    client.create_model_version(
        MODEL,
        source=f"{run.info.artifact_uri}/bundle/{bundle_hash}",
        run_id=run.info.run_id,
        tags={"bundle": bundle_hash},
    )


def _tracked(root: Path, run: Run) -> TrackedRun:
    artifacts = root.resolve() / run.info.artifact_uri
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    return TrackedRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        bundle=artifacts / "bundle" / tags["bundle"],
        artifacts=artifacts,
        params=run.data.params,
        metrics=run.data.metrics,
        tags=tags,
    )


def _name(key: str) -> str:
    """The key as MLflow takes it: word characters, `-`, `.`, `:`, spaces, and `/` between names."""
    parts = re.sub(r"[^\w\-. :/]", "_", key).split("/")
    return "/".join(part for part in parts if part.strip(".")) or "_"
