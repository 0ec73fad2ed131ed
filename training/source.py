"""A data folder as training and reports read it: tables, history, slates and the rows to learn from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from features.history import History
from features.pipeline import Layout
from features.tables import Tables, catalog_of, data_hash, load_tables, write_quarantine
from offers.catalog import Catalog
from offers.settings import Settings
from offers.types import Progress
from training.dataset import Dataset, build_dataset, complete_until_us, read_slates
from training.evaluation.log_counts import LogCounts, count_log

Keep = Callable[[pd.DataFrame, Sequence[str]], pd.DataFrame]  # some of the slates, which `user_ids` numbers


@dataclass(frozen=True)
class Source:
    """What was read of a data folder."""

    folder: Path
    data_hash: str
    tables: Tables
    layout: Layout
    history: History
    catalog: Catalog
    log: LogCounts
    dataset: Dataset
    dropped: dict[str, int]  # reason: exposures that are not in the dataset


def read_source(
    folder: Path,
    settings: Settings,
    layout: Layout | None = None,
    progress: Progress | None = None,
    tables: Tables | None = None,
    keep: Keep | None = None,
) -> Source:
    """The data folder, checked and joined; what breaks the contract goes to its `quarantine/`.

    Parameters
    ----------
    layout : Layout, optional
        Of the bundle that will be asked; learned from the tables where there is none yet.
    tables : Tables, optional
        Of the folder, where they were read already.
    keep : callable, optional
        Which slates become rows of the dataset; all by default.

    Raises
    ------
    ValueError
        Where a table is unusable, nothing was logged or no window has closed.
    """
    tables = tables or load_tables(folder, settings.money)
    write_quarantine(tables, folder)
    layout = layout or Layout.of(tables)
    catalog = catalog_of(tables.services)
    if layout.service_ids != catalog.ids:
        raise ValueError(
            f"services must be those of the bundle, got {_difference(layout.service_ids, catalog.ids)}. "
            "Train again on this data."
        )
    history = History.of(tables, layout, settings.windows.uptake_days)
    slates = read_slates(tables, history)
    until_us = complete_until_us(tables, settings.windows)
    kept = keep(slates, history.user_ids) if keep else slates
    dataset = build_dataset(kept, history, layout, catalog, settings.windows, until_us, progress)
    return Source(
        folder=folder,
        data_hash=data_hash(folder),
        tables=tables,
        layout=layout,
        history=history,
        catalog=catalog,
        log=_count(slates, len(catalog)),
        dataset=dataset,
        dropped=_dropped(tables, len(kept) - len(dataset)),
    )


def _count(slates: pd.DataFrame, n_services: int) -> LogCounts:
    service, user, shown_at_us = (slates[name].to_numpy() for name in ("service", "user", "shown_at_us"))
    return count_log(service, user, shown_at_us, n_services)


def _dropped(tables: Tables, n_open: int) -> dict[str, int]:
    quarantined = next((count.quarantined for count in tables.counts if count.table == "exposures"), 0)
    reasons = {"outcome window not closed yet": n_open, "row breaks the contract (quarantine)": quarantined}
    return {reason: n for reason, n in reasons.items() if n}


def _difference(expected: tuple[str, ...], found: tuple[str, ...]) -> str:
    missing = [one for one in expected if one not in found]
    further = [one for one in found if one not in expected]
    return f"{missing} missing and {further} further"
