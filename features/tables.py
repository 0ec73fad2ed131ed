"""The door of the data contract: a data folder in, checked tables and a quarantine out."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.contract.checking import Draft, read_draft, read_drafts
from features.contract.columns import TableContract, contracts
from features.contract.integrity import (
    Known,
    Repeated,
    check_integrity,
    check_references,
    check_slates,
    repeated_hashes,
)
from features.contract.parsing import parse_text
from features.contract.quarantine import quarantine_of
from features.contract.quarantine import write_quarantine as _write_quarantine
from features.contract.reading import TableError, cells_of, read_parts, table_files
from features.positions import positions_in
from offers.catalog import Catalog
from offers.settings import MoneySettings
from offers.types import Service

__all__ = [
    "TABLES",
    "Piece",
    "TableCount",
    "TableError",
    "Tables",
    "catalog_of",
    "data_hash",
    "load_tables",
    "pieces_of",
    "read_pieces",
    "write_quarantine",
    "write_table",
]

_PIECE_ROWS = 1 << 20  # some 150 MB of events
_LISTS = "exposures"
_NOBODY = np.empty(0, np.int32)

_CONTRACTS = {contract.name: contract for contract in contracts(datetime.max.replace(tzinfo=UTC))}
TABLES = tuple(_CONTRACTS)  # users, services, orders, events, exposures, feedback


@dataclass(frozen=True)
class TableCount:
    """How many rows of a table were read, and what became of them: accepted + quarantined = read."""

    table: str
    read: int
    accepted: int
    quarantined: int
    unknown_columns: tuple[str, ...]  # kept as they are; in users they are the attributes


@dataclass(frozen=True)
class Tables:
    """The accepted rows of a data folder: ids as text, times in UTC, money in integer cents.

    Each frame has all columns of the contract, in the order of the files, and then the unknown ones.
    Where nothing was given: text "", `value`, `capacity_per_day` and `propensity` NaN, `active_from`
    and `active_until` NaT, `position` 1, `slate_propensity` the `propensity`, `arm` ``policy``,
    `contact_cost_cents` 0, `margin_cents` the amount times the margin rate.
    """

    users: pd.DataFrame
    services: pd.DataFrame
    orders: pd.DataFrame
    events: pd.DataFrame
    exposures: pd.DataFrame
    feedback: pd.DataFrame
    quarantine: pd.DataFrame  # table, file, row (from 1), column, rule, value, remedy: a line each fault
    counts: tuple[TableCount, ...]


def load_tables(folder: Path, money: MoneySettings, now: datetime | None = None) -> Tables:
    """Read and check a data folder; faulty rows go to the quarantine, all others are kept as they are.

    Parameters
    ----------
    folder : Path
        Holds a Parquet file, a CSV file or a folder of such parts for each table. `events`,
        `exposures` and `feedback` may be absent.
    money : MoneySettings
        `margin_rate` gives the margin of orders that name none.
    now : datetime, optional
        The latest moment that a row may speak of; the clock's, if not given.

    Raises
    ------
    TableError
        When a table cannot be used at all: a required one is absent, a file is empty, truncated or
        lacks a required column. The message names the file.
    ValueError
        When `now` has no time zone.
    """
    drafts = {contract.name: read_draft(folder, contract) for contract in _contracts(folder, now)}
    check_integrity(drafts)
    frames = {name: _contract_frame(draft, money) for name, draft in drafts.items()}
    return Tables(
        **frames,
        quarantine=quarantine_of(drafts.values()),
        counts=tuple(_count(draft) for draft in drafts.values()),
    )


@dataclass(frozen=True)
class Piece:
    """Accepted rows of one table, as `Tables` has them; its pieces, one after the other, are the table."""

    table: str
    frame: pd.DataFrame
    user: NDArray[np.int32]  # where each row's user stands in `users`; empty for users and services
    quarantine: pd.DataFrame  # of the rows that were read for it


def pieces_of(tables: Tables) -> Iterator[Piece]:
    """Tables as pieces, one each."""
    for name in TABLES:
        frame: pd.DataFrame = getattr(tables, name)
        has_users = name not in ("users", "services")
        user = positions_in(tables.users["user_id"], frame["user_id"]) if has_users else _NOBODY
        yield Piece(name, frame, user, tables.quarantine.iloc[:0])


def read_pieces(
    folder: Path, money: MoneySettings, now: datetime | None = None, n_rows: int = _PIECE_ROWS
) -> Iterator[Piece]:
    """What `load_tables` reads, checked by the same rules, a piece at a time: never all of it in memory.

    The whole of `users` comes first, then `services`, then the other tables in pieces of `n_rows` rows read;
    `exposures` are one piece, as lists may lie apart. Parameters and errors are those of `load_tables`.
    """
    users, services, *others = _contracts(folder, now)
    with ThreadPoolExecutor(1) as beside:
        repeated = {
            contract.name: beside.submit(_repeated_hashes, folder, contract, n_rows)
            for contract in others
            if contract.keys and contract.name != _LISTS
        }
        drafts = read_draft(folder, users), read_draft(folder, services)
        known = Known.of(*drafts)
        yield from (_piece(draft, _NOBODY, money) for draft in drafts)
        del drafts
        for contract in others:
            repeats = Repeated(repeated[contract.name].result()) if contract.name in repeated else None
            for draft in read_drafts(folder, contract, None if contract.name == _LISTS else n_rows):
                user = check_references(draft, known)
                if repeats is not None:
                    repeats.check(draft)
                if contract.name == _LISTS:
                    check_slates(draft, user)
                yield _piece(draft, user, money)
            del draft, user
            pa.default_memory_pool().release_unused()  # else it keeps as much as the largest table took


def _repeated_hashes(folder: Path, contract: TableContract, n_rows: int) -> NDArray[np.uint64]:
    ((column,),) = contract.keys
    parts = read_parts(folder, contract.name, n_rows, only=column)
    return repeated_hashes(parse_text(cells_of(part.table, column)).values for part in parts)


def _piece(draft: Draft, user: NDArray[np.int32], money: MoneySettings) -> Piece:
    accepted = user[~draft.faulty] if len(user) else user
    return Piece(draft.contract.name, _contract_frame(draft, money), accepted, quarantine_of([draft]))


def _contracts(folder: Path, now: datetime | None) -> tuple[TableContract, ...]:
    now = datetime.now(UTC) if now is None else now
    if now.tzinfo is None:
        raise ValueError(f"now must have a time zone, got {now!r}: use datetime.now(UTC).")
    if not folder.is_dir():
        raise TableError(
            f"{folder} must be a data folder, found {'a file' if folder.exists() else 'nothing'} there."
        )
    return contracts(now)


def write_quarantine(tables: Tables, folder: Path) -> list[Path]:
    """Write the quarantine's lines to `<folder>/quarantine/<table>.csv`, one file for each table with faults.

    Files that an earlier check left there are removed, so that the folder tells of this one alone.
    """
    return _write_quarantine(tables.quarantine, folder)


def write_table(folder: Path, name: str, frame: pd.DataFrame) -> Path:
    """Write one table of the contract as Parquet, from a frame with the columns and units of a file.

    Raises
    ------
    ValueError
        When the contract has no such table, or the frame lacks one of its required columns.
    """
    if name not in _CONTRACTS:
        raise ValueError(f"name must be one of {', '.join(TABLES)}, got {name!r}.")
    columns = _CONTRACTS[name].schema.columns
    missing = [key for key, column in columns.items() if column.required and key not in frame]
    if missing:
        raise ValueError(
            f"{name} must have the columns {', '.join(missing)}, got {', '.join(frame.columns)}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, compression="zstd")
    return path


def data_hash(folder: Path) -> str:
    """The sha256 of a data folder's tables: names and bytes of their files, sorted by name.

    Other files there (settings, quarantine, truth) do not count.
    """
    digest = sha256()
    for name in sorted(TABLES):
        for path in table_files(folder, name):
            with path.open("rb") as file:
                content = file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def catalog_of(services: pd.DataFrame) -> Catalog:
    """The catalogue of the accepted rows of `services`; money in currency units."""
    return Catalog.of(_service(row) for row in services.to_dict("records"))


def _service(row: Mapping) -> Service:
    return Service(
        service_id=row["service_id"],
        name=row["name"],
        category=row["category"],
        scenario=row["scenario"],
        unit_cost=row["unit_cost_cents"] / 100,
        contact_cost=row["contact_cost_cents"] / 100,
        tiers=tuple(row["tiers"].split("|")) if row["tiers"] else (),
        capacity_per_day=None if pd.isna(row["capacity_per_day"]) else int(row["capacity_per_day"]),
        provider=row["provider"],
        active_from=None if pd.isna(row["active_from"]) else row["active_from"].to_pydatetime(),
        active_until=None if pd.isna(row["active_until"]) else row["active_until"].to_pydatetime(),
    )


def _count(draft: Draft) -> TableCount:
    return TableCount(
        table=draft.contract.name,
        read=draft.n_read,
        accepted=draft.n_accepted,
        quarantined=draft.n_read - draft.n_accepted,
        unknown_columns=draft.unknown_columns,
    )


def _contract_frame(draft: Draft, money: MoneySettings) -> pd.DataFrame:
    """The accepted rows with money in cents and the contract's defaults in empty cells."""
    frame = _in_cents(draft.accepted(), draft.contract, money)
    if draft.contract.name == "exposures":
        frame["position"] = frame["position"].astype("int64")
        frame["slate_propensity"] = frame["slate_propensity"].fillna(frame["propensity"])
    if draft.contract.name == "feedback":
        frame["nps"] = frame["nps"].astype("int64")
    return frame


def _in_cents(frame: pd.DataFrame, contract: TableContract, money: MoneySettings) -> pd.DataFrame:
    named = {name: f"{name}_cents" for name in contract.money_columns()}
    frame = frame.rename(columns=named)
    for column in named.values():
        amount = frame[column].to_numpy()
        cents = to_cents(np.nan_to_num(amount))
        if column == "margin_cents":
            by_rate = np.rint(frame["amount_cents"].to_numpy() * money.margin_rate).astype(np.int64)
            cents = np.where(np.isnan(amount), by_rate, cents)
        frame[column] = cents
    return frame


def to_cents(amount: np.ndarray) -> np.ndarray:
    """Money in currency units to int64 cents, exact for up to six decimals; half a cent goes away from 0.

    Examples
    --------
    >>> to_cents(np.array([1.005, 0.1 + 0.2, -2.675, 999_999_999.99])).tolist()
    [101, 30, -268, 99999999999]
    """
    millionths = np.rint(np.abs(amount) * 1e6).astype(np.int64)
    cents = (millionths + 5_000) // 10_000
    return np.where(amount < 0, -cents, cents)
