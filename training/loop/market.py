"""The world's side of the loop: a simulated shop, what its log tells, and what only the world knows."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from features.history import History
from features.pipeline import Layout, compute
from features.simulation.decisions import Decisions
from features.simulation.response import CHOICE_LOAD
from features.simulation.shop import WEEK_DAYS, Shop, shifted
from features.simulation.tables import exposures_table
from features.tables import catalog_of, load_tables, write_table
from features.world import WORLD_ENDS, responses_at
from offers.catalog import Catalog
from offers.policy import decide
from offers.settings import DecisionSettings, MoneySettings, WindowSettings
from offers.types import Estimates
from training.dataset import Dataset, build_dataset, slates_of
from training.loop.worth import list_worth, places_of

Floats = NDArray[np.float64]
Lists = NDArray[np.intp]

WINDOWS = WindowSettings(uptake_days=WEEK_DAYS, repurchase_days=WEEK_DAYS)


@dataclass(frozen=True)
class Market:
    """A shop at the beginning of a week, with what must be known to log and to judge it."""

    shop: Shop
    layout: Layout
    catalog: Catalog

    @classmethod
    def open(cls, n_users: int, n_services: int, n_weeks: int, rng: np.random.Generator) -> Self:
        """A market without a log; its tables pass the contract on the way."""
        shop = Shop.open(n_users, n_services, n_weeks, WORLD_ENDS, rng)
        with tempfile.TemporaryDirectory() as folder:
            for name, frame in shop.tables().items():
                write_table(Path(folder), name, frame)
            tables = load_tables(Path(folder), MoneySettings())
        return cls(shop, Layout.of(tables), catalog_of(tables.services))

    @property
    def user_ids(self) -> list[str]:
        return list(self.shop.labels.users)

    @property
    def now_us(self) -> int:
        """The moment of this week's decisions, microseconds since 1970."""
        return self.shop.at_us(self.shop.day)

    def history(self) -> History:
        return self.shop.history(self.layout)

    def profiles(self, history: History) -> NDArray[np.float32]:
        """Of all users, as they are known now."""
        n_users = len(self.shop.customers)
        return compute(history, self.layout, np.arange(n_users), np.full(n_users, self.now_us))

    def answer(self, decisions: Decisions, rng: np.random.Generator) -> "Market":
        """The market a week later."""
        return replace(self, shop=self.shop.step(decisions, rng))

    def last_week(self, history: History, longest: int) -> Dataset:
        """The rows that the last week's decisions left in the log, one a user, in the users' order.

        Lists are padded to `longest`, so that weeks can be joined.
        """
        exposures = exposures_table(self.shop.decisions[-1], self.shop.labels)
        slates = slates_of(exposures, history)
        rows = build_dataset(slates, history, self.layout, self.catalog, WINDOWS, self.now_us)
        return _padded(rows, longest)

    def shift(self, share: float, rng: np.random.Generator) -> "Market":
        """The market after a share of the services have passed their effects on to one another."""
        return replace(self, shop=replace(self.shop, offering=shifted(self.shop.offering, share, rng)))

    def truth(self) -> "Truth":
        """What every service would do to every user this week."""
        shop = self.shop
        responses = responses_at(shop.customers, shop.offering, shop.day, WEEK_DAYS)
        uptake, repurchase, margin = (
            np.column_stack([getattr(response, name) for response in responses])
            for name in ("uptake", "uplift_repurchase", "uplift_margin")
        )
        return Truth(Estimates(uptake, repurchase, margin), self.catalog)


@dataclass(frozen=True)
class Truth:
    """The effects of this week, which no loop may see; it only judges by them."""

    effects: Estimates
    catalog: Catalog

    def worth(self, lists: Lists) -> Floats:
        """Expected net margin of each user's list beyond that of nothing, currency units, shape (n,)."""
        return list_worth(lists, self.effects, self.catalog, CHOICE_LOAD)

    def spend(self, lists: Lists) -> Floats:
        """Expected cost of each user's list, currency units, shape (n,)."""
        places = places_of(lists, self.effects, CHOICE_LOAD)
        use, contact = self.catalog.unit_cost[places.service], self.catalog.contact_cost[places.service]
        return (places.p_take * use + places.shown * contact).sum(axis=1)

    def oracle(self, max_services: int) -> Lists:
        """The best list of each user, by the decision that is served but from the true effects."""
        settings = DecisionSettings(max_services=max_services, choice_load=CHOICE_LOAD, similarity_load=0.0)
        everything = np.ones(self.effects.uptake.shape, dtype=bool)
        return decide(self.effects, everything, self.catalog, settings).services


def joined(parts: list[Dataset]) -> Dataset:
    """The rows of some weeks, one after the other."""
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name, value in vars(parts[0]).items()
        if isinstance(value, np.ndarray)
    }
    return replace(parts[0], **arrays)


def _padded(part: Dataset, longest: int) -> Dataset:
    fills = {"listed": -1, "listed_propensity": np.nan, "listed_uptake": 0.0}
    types = {"listed": np.int16, "listed_propensity": np.float32, "listed_uptake": np.float32}
    wide: dict[str, Any] = {}
    for name, fill in fills.items():
        wide[name] = np.full((len(part), longest), fill, dtype=types[name])
        own = getattr(part, name)
        if own is not None:
            wide[name][:, : own.shape[1]] = own
    return replace(part, **wide)


def lists_of(rows: Dataset) -> Lists:
    """What was shown on each row, shape (n, longest), −1 pads; `Dataset` keeps single offers elsewhere."""
    longest = 1 if rows.listed is None else rows.listed.shape[1]
    lists = np.full((len(rows), longest), -1, dtype=np.intp)
    if rows.listed is not None:
        lists[:] = rows.listed
    alone = rows.service >= 0
    lists[alone, 0] = rows.service[alone]
    return lists


def taken_of(rows: Dataset) -> NDArray[np.bool_]:
    """Which of the services shown were used, in the shape of `lists_of`."""
    taken = lists_of(rows) >= 0
    listed = np.zeros(taken.shape) if rows.listed_uptake is None else rows.listed_uptake.astype(float)
    listed[:, 0] = np.where(rows.service >= 0, rows.uptake, listed[:, 0])
    return taken & (listed > 0)
