"""The project's own simulated shop as a task: real profiles of simulated customers, and their truth."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.uplift.tasks import Lists, Task
from features.asof import DAY_US
from features.history import History
from features.pipeline import Layout, compute
from features.simulation.response import REPURCHASE_DAYS, UPTAKE_DAYS
from features.tables import catalog_of, load_tables
from features.world import World, make_world, write_world
from offers.settings import Settings, parse_settings
from training.dataset import NOTHING, SEVERAL, Dataset, build_dataset, complete_until_us, read_slates
from training.exposure_log import Columns

N_USERS, N_DAYS = 20_000, 150  # about 60,000 decisions of one service or nothing before the truth is told


def shop_task(n_services: int, outcome: str, family: str, seed: int, rng: np.random.Generator) -> Task:
    """Decisions whose windows closed before the truth is told, and every user at that moment."""
    return task_of_world(make_world(N_USERS, n_services, N_DAYS, rng), outcome, family, seed)


def task_of_world(world: World, outcome: str, family: str, seed: int) -> Task:
    """A simulated shop, read through its tables as any data folder is."""
    settings = parse_settings(world.settings())
    with tempfile.TemporaryDirectory() as folder:
        write_world(world, Path(folder), seed)
        tables = load_tables(Path(folder), settings.money)
    layout = Layout.of(tables)
    history = History.of(tables, layout, settings.windows.uptake_days)
    decisions = _decisions_before(tables, history, layout, settings, world.held_out_from)
    alone = decisions.service != SEVERAL
    moment = np.full(len(history.user_ids), _us(world.held_out_from))
    rows = decisions.take(alone)
    catalog = decisions.catalog
    categories = sorted({one.category for one in catalog.services})
    return Task(
        name=family,
        seed=seed,
        X=Columns.of(rows.X).matrix(rows.X),
        categorical=layout.categorical,
        service=rows.service.astype(np.intp),
        propensity=single_propensities(world, rows.user),
        y=getattr(rows, outcome),
        uptake=rows.uptake,
        X_test=compute(history, layout, np.arange(len(moment)), moment),
        uplift_test=world.effects[f"uplift_{outcome}"].to_numpy().reshape(len(moment), len(catalog)),
        attributes=np.array([[categories.index(one.category), 0, one.unit_cost] for one in catalog.services]),
        lists=_lists(decisions.take(~alone), world, getattr(decisions, outcome)[~alone]),
    )


def single_propensities(world: World, user: NDArray) -> NDArray[np.float64]:
    """(n, S + 1) exact probabilities of nothing and of each service, given that at most one was shown."""
    policy, n_services = world.policy, len(world.offering)
    columns = []
    for service in range(NOTHING, n_services):
        slates = np.full((len(user), policy.longest), -1)
        slates[:, 0] = service
        columns.append(policy.slate_propensity(user, slates))
    together = np.column_stack(columns)
    return together / together.sum(axis=1, keepdims=True)


def _decisions_before(
    tables, history: History, layout: Layout, settings: Settings, moment: pd.Timestamp
) -> Dataset:
    slates = read_slates(tables, history)
    closed = slates["shown_at_us"] + REPURCHASE_DAYS * DAY_US <= _us(moment)
    until_us = complete_until_us(tables, settings.windows)
    return build_dataset(
        slates[closed], history, layout, catalog_of(tables.services), settings.windows, until_us
    )


def _lists(rows: Dataset, world: World, y: NDArray[np.float64]) -> Lists:
    """The lists among the decisions; decisions are found again by user and time."""
    day = (rows.shown_at_us - _us(world.starts_at)) / DAY_US
    decisions = world.decisions
    in_order = decisions.user * 1e6 + decisions.day
    at = np.searchsorted(in_order, rows.user * 1e6 + day - 1e-3)
    slates = decisions.slates[at]
    return Lists(
        X=rows.X,
        slates=slates,
        propensity=decisions.slate_propensity[at],
        y=y,
        uptake=_taken(world, rows, slates),
    )


def _taken(world: World, rows: Dataset, slates: NDArray[np.intp]) -> NDArray[np.float64]:
    """(n, longest) 1 where the service at this place was used within the window."""
    row, place = np.nonzero(slates >= 0)
    shown = pd.DataFrame(
        {
            "row": row,
            "place": place,
            "user_id": world.users["user_id"].to_numpy()[rows.user[row]],
            "service_id": world.services["service_id"].to_numpy()[slates[row, place]],
            "shown_at": rows.shown_at_us[row],
        }
    )
    uses = world.events.loc[world.events["event"] == "used", ["user_id", "service_id", "at"]]
    met = shown.merge(uses, on=["user_id", "service_id"])
    after = met["at"].dt.tz_convert(None).to_numpy("datetime64[us]").astype(np.int64) - met["shown_at"]
    met = met[(after >= 0) & (after < UPTAKE_DAYS * DAY_US)]
    taken = np.zeros(slates.shape)
    taken[met["row"], met["place"]] = 1.0
    return taken


def _us(moment: pd.Timestamp) -> int:
    return int(moment.tz_convert(None).to_datetime64().astype("datetime64[us]").astype(np.int64))
