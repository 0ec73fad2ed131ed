"""Fixtures that several rooms share, and who is tested beside whom where several processes test."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from offers.settings import Settings
from tests.checkerboard import write_checkerboard
from tests.project import answer, copy_project, make_project, run, said, settings_of
from training.bundle import Bundle, read_bundle
from training.source import Source, read_source
from training.tracking import TrackedRun, find_run

# A shared machine is slow now and then: that is no fault of what is tested.
hypothesis.settings.register_profile("perkwise", deadline=None)
hypothesis.settings.load_profile("perkwise")

ROOM = Path(__file__)
DOOR = ROOM.with_name("project.py")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test marked `alone` waits at the door until no other process tests, and all others behind it."""
    how = fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH
    with ExitStack() as held:
        with locked(DOOR, fcntl.LOCK_EX):
            held.enter_context(locked(ROOM, how))
        return (yield)


@contextmanager
def locked(path: Path, how: int) -> Iterator[None]:
    """A flock(2) on this file, given up at the end even where a forked child still has it open."""
    with path.open() as file:
        fcntl.flock(file, how)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder of public data sets beside the checkout; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PERKWISE_PUBLIC_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"public data sets are not at {folder}; set PERKWISE_PUBLIC_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder mlruns/ with MLflow's own empty database: to be copied, for it takes seconds to make."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("store") / "mlruns"
    folder.mkdir()
    MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder


@dataclass(frozen=True)
class Trained:
    """A project with two runs and no champion: read only, `home` is a copy to write in.

    `first` was trained on the services a and b of var/shop, `second` on a, b and c of var/wider.
    """

    home: Path
    first: dict[str, Any]  # the answer of `perkwise train --json`
    second: TrackedRun
    told: str  # what `perkwise train` said of the second to a person


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, mlflow_store: Path) -> Trained:
    home = make_project(tmp_path_factory.mktemp("trained") / "project")
    shutil.copytree(mlflow_store, home / "mlruns")
    options = ["--trials", 0, "--seed", 7, "--name"]
    first = run(home, "train", write_checkerboard(home / "var" / "shop", "ab"), *options, "first", "--json")
    second = run(home, "train", write_checkerboard(home / "var" / "wider", "abc"), *options, "second")
    return Trained(home, answer(first), find_run(home, "second"), said(second))


@pytest.fixture(scope="session")
def first_bundle(trained: Trained) -> Bundle:
    """The models of the first run."""
    return read_bundle(Path(trained.first["path"]))


@pytest.fixture(scope="session")
def shop_settings(trained: Trained) -> Settings:
    """The settings of var/shop."""
    return settings_of(trained.home, trained.home / "var" / "shop")


@pytest.fixture(scope="session")
def shop_source(trained: Trained, first_bundle: Bundle, shop_settings: Settings) -> Source:
    """The data folder var/shop as the first run read it."""
    return read_source(trained.home / "var" / "shop", shop_settings, first_bundle.layout)


@pytest.fixture
def home(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the trained project."""
    return copy_project(trained.home, tmp_path / "home")
