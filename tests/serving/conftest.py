"""A small world with a small bundle, made once through the public functions of the other rooms."""

import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.pipeline import compute
from features.tables import Tables
from features.tiers import TIER_COLUMN, Tiers
from features.world import make_world, write_world
from offers.settings import Settings, parse_settings
from serving.application import Application
from serving.database import Database
from serving.recommender import Asked
from serving.routes import make_app
from serving.state import State
from tests.serving.bundles import other_costs, other_models
from tests.serving.postgres import Server, binaries_or_skip
from training.bundle import Bundle, BundleParts, read_bundle, write_bundle
from training.lockstep import LearnerSettings
from training.source import Source, read_source
from training.uplift import UpliftModel
from training.uptake import UptakeModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it would rather have a later httpx
    from starlette.testclient import TestClient

EARNED = np.array([25.0, 15.0, 8.0, 0.0, 0.0])  # by a use of each service, the last of none; currency units
QUICK = LearnerSettings(max_rounds=10, min_rows=50)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of 300 users, 4 services and 130 days."""
    folder = tmp_path_factory.mktemp("world")
    write_world(make_world(300, 4, 130, np.random.default_rng(0)), folder)
    return folder


@pytest.fixture(scope="session")
def settings(data: Path) -> Settings:
    return parse_settings(tomllib.loads((data / "perkwise.toml").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def source(data: Path, settings: Settings) -> Source:
    return read_source(data, settings)


@pytest.fixture(scope="session")
def tables(source: Source) -> Tables:
    return source.tables


@pytest.fixture(scope="session")
def bundle(source: Source, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Small models, written and read back: of this world, but that a use earns what EARNED says."""
    rows = source.dataset.single()
    service = rows.service
    propensities = np.full((len(rows), len(source.catalog) + 1), 1 / (len(source.catalog) + 1))
    options = {"seed": 0, "n_jobs": 1, "settings": QUICK, "categorical": rows.categorical}
    outcomes = {"repurchase": rows.repurchase, "margin": 0.1 * rows.margin + EARNED[service] * rows.uptake}
    uplifts = {
        name: UpliftModel(**options).fit(rows.X, service, propensities, outcome, rows.uptake)
        for name, outcome in outcomes.items()
    }
    n_users = len(source.history.user_ids)
    now = np.full(n_users, rows.shown_at_us.max())
    profiles = compute(source.history, source.layout, np.arange(n_users), now)
    spent = profiles[:, source.layout.columns.index(TIER_COLUMN)]
    parts = BundleParts(
        layout=source.layout,
        tiers=Tiers.learn(spent, settings.tiers.names),
        catalog=source.catalog,
        uptake=UptakeModel(**options).fit(rows.X, service, rows.uptake, len(source.catalog)),
        uplift_repurchase=uplifts["repurchase"],
        uplift_margin=uplifts["margin"],
        golden=rows.X[::20],
        settings=settings,
        seed=0,
        data_hash=source.data_hash,
        training={},
        rows={"train": len(rows), "test": 0},
    )
    return read_bundle(write_bundle(parts, tmp_path_factory.mktemp("bundles")))


@pytest.fixture(scope="session")
def second(bundle: Bundle, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of the same services with other models."""
    return other_models(bundle, settings, tmp_path_factory.mktemp("second"))


@pytest.fixture(scope="session")
def third(bundle: Bundle, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose services cost something else."""
    return other_costs(bundle, settings, tmp_path_factory.mktemp("third"))


class Clock:
    """A clock that stands still until it is moved: microseconds since 1970."""

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def clock() -> Clock:
    """Some time after the world ends."""
    return Clock(1_800_000_000_000_000)


@pytest.fixture
def application(
    tables: Tables, bundle: Bundle, settings: Settings, clock: Clock, tmp_path: Path
) -> Iterator[Application]:
    """An application with a state of its own."""
    database = Database(tmp_path / "state.db")
    yield Application(tables, bundle, database, settings, clock)
    database.close()


@pytest.fixture
def broken(
    tables: Tables, bundle: Bundle, settings: Settings, clock: Clock, tmp_path: Path
) -> Iterator[Application]:
    """An application whose uptake model cannot say anything: it wants fewer columns than profiles have."""
    uptake = type(bundle.uptake)(seed=0, settings=bundle.uptake.settings)
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(400, 2)).astype(np.float32), rng.integers(0, 2, 400)
    uptake.fit(X, np.arange(400) % len(bundle.catalog), labels, len(bundle.catalog))
    database = Database(tmp_path / "broken.db")
    yield Application(tables, replace(bundle, uptake=uptake), database, settings, clock)
    database.close()


def asked_for_all(tables: Tables, state: State, now_us: int) -> list[Asked]:
    """One request for each user of the data folder, for lists of at most three."""
    profiles = [(str(user_id), state.profile(user_id, now_us)) for user_id in tables.users["user_id"]]
    return [
        Asked(user_id, profile.features, profile.tier, profile.as_of_us, seed, 3)
        for seed, (user_id, profile) in enumerate(profiles)
    ]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL of our own; skips where there is none."""
    server = Server(binaries_or_skip())
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A place for a database of each kind, with nothing in it."""
    if request.param == "sqlite":
        return tmp_path / "new" / "state.db"
    return str(request.getfixturevalue("postgres").make_database())


@pytest.fixture(scope="session")
def make_client() -> type[TestClient]:
    """A client of an ASGI application in this process; as a context it starts and ends the application."""
    return TestClient


@pytest.fixture
def client(application: Application) -> TestClient:
    """The routes over that application, without BentoML around them."""
    app = make_app()
    app.state.application = application
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="session")
def user_id(tables: Tables) -> str:
    """A user of the data folder."""
    return str(tables.users["user_id"].iloc[7])
