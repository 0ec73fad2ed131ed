"""The decision log as a data folder: the shop's own tables, and what was decided and came in over HTTP.

Each table becomes a folder of parts: those of the shop as they are, and one of the log. Exporting again
writes all of it anew, so that nothing stands there twice. Of deleted users there is nothing in it.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq
import sqlalchemy as sa
from numpy.typing import NDArray

from features.contract.reading import read_parts, table_files
from features.tables import TABLES, Tables, write_table
from offers.types import Progress
from serving.deletion import DeletedUsers
from serving.tables import events, exposures, feedback

MARK = "export.json"  # by which a later export knows that the folder is its own

_MOMENTS = {"exposures": "shown_at", "events": "at", "feedback": "at"}
_KEYS = {"exposures": ["slate_id"], "events": ["event_id"], "feedback": ["user_id", "at", "service_id"]}
_TABLES = {"exposures": exposures, "events": events, "feedback": feedback}


@dataclass(frozen=True)
class Exported:
    """How many rows of the log were written, and how many were left out, by reason."""

    rows: dict[str, int]  # by table
    new_users: int  # known from the log alone; each joins at the first moment that the log tells of
    left_out: dict[str, int]


def export_log(
    connection: sa.Connection,
    tables: Tables,
    data: Path,
    out: Path,
    now_us: int,
    since_us: int | None = None,
    until_us: int | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write the log beside the shop's tables, as a data folder that validates and trains as it stands.

    Parameters
    ----------
    tables : Tables
        The accepted rows of ``data``: rows of the log that these hold by now are left out, and those
        that would break the contract beside them.
    data : Path
        The shop's data folder.
    out : Path
        A folder that is not there, is empty, or was written by an earlier export; it is replaced whole.
    now_us : int
        Rows after this moment are left to a later export.
    since_us, until_us : int, optional
        Rows from this moment on, and strictly before this one; microseconds since 1970.

    Raises
    ------
    ValueError
        Where ``out`` holds something else.
    """
    _check_out(out, data)
    left_out: dict[str, int] = {}
    deleted = DeletedUsers.read(connection)
    gone = [user_id for user_id in tables.users["user_id"] if user_id in deleted]
    log = {name: _read(connection, name, since_us, until_us) for name in _TABLES}
    log = {name: _fitting(name, frame, tables, now_us, left_out) for name, frame in log.items()}
    users = _new_users(log, tables)
    exported = Exported({name: len(frame) for name, frame in log.items()}, len(users), left_out)
    temporary = out.with_name(f".{out.name}-{uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        for done, name in enumerate(TABLES):
            _copy(data, name, temporary, gone)
            if progress:
                progress("export", done + 1, len(TABLES))
        for name, frame in {**log, "users": users}.items():
            if len(frame):
                _write(temporary, name, frame)
        if (data / "perkwise.toml").is_file():
            shutil.copyfile(data / "perkwise.toml", temporary / "perkwise.toml")
        (temporary / MARK).write_bytes(orjson.dumps(asdict(exported), option=orjson.OPT_INDENT_2))
        if out.exists():
            out.rename(temporary / ".replaced")
        temporary.rename(out)
        shutil.rmtree(out / ".replaced", ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return exported


def _check_out(out: Path, data: Path) -> None:
    if out.resolve() == data.resolve():
        raise ValueError(f"OUT must be another folder than --data, got {out} for both.")
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (out / MARK).is_file())):
        raise ValueError(
            f"OUT must be a new folder, or one that export-log wrote, found other things in {out}. "
            "Name another folder: what is there would be replaced."
        )


def _read(connection: sa.Connection, name: str, since_us: int | None, until_us: int | None) -> pd.DataFrame:
    """The rows of one of the log's tables as a file of the contract has them, in the order of their ids."""
    table, moment = _TABLES[name], _MOMENTS[name]
    at_us = table.c[f"{moment}_us"]
    query = sa.select(table).order_by(*table.primary_key.columns)
    if since_us is not None:
        query = query.where(at_us >= since_us)
    if until_us is not None:
        query = query.where(at_us < until_us)
    columns = [column.name for column in table.columns]
    frame = pd.DataFrame(connection.execute(query).all(), columns=columns)
    frame[moment] = pd.to_datetime(frame.pop(f"{moment}_us").astype("int64"), unit="us", utc=True)
    for column in ("value", "propensity", "slate_propensity"):
        if column in frame:
            frame[column] = frame[column].astype("float64")
    return frame


def _fitting(
    name: str, frame: pd.DataFrame, tables: Tables, now_us: int, left_out: dict[str, int]
) -> pd.DataFrame:
    """The rows that the contract takes beside the shop's; of a list all rows, or none."""
    at_us = frame[_MOMENTS[name]].astype("int64").to_numpy()
    joined = pd.Series(
        tables.users["joined_at"].astype("int64").to_numpy(), index=tables.users["user_id"].astype(object)
    )
    joined_us = frame["user_id"].map(joined).fillna(np.iinfo(np.int64).min).to_numpy(np.int64)
    named = frame["service_id"]
    faults = {
        "the data folder holds it": _is_held(frame, getattr(tables, name), _KEYS[name]),
        "after now": at_us > now_us,
        "before the user's joined_at": at_us < joined_us,
        "of a service that services lacks": ~named.isin(["", *tables.services["service_id"]]).to_numpy(),
    }
    leave = np.zeros(len(frame), dtype=bool)
    for reason, rows in faults.items():
        fresh = _whole(frame, rows) & ~leave if name == "exposures" else rows & ~leave
        if fresh.any():
            left_out[f"{name}: {reason}"] = int(fresh.sum())
        leave |= fresh
    return frame[~leave].reset_index(drop=True)


def _is_held(frame: pd.DataFrame, shop: pd.DataFrame, key: Sequence[str]) -> NDArray[np.bool_]:
    held = pd.MultiIndex.from_frame(shop[key].astype(object))
    found: NDArray[np.bool_] = pd.MultiIndex.from_frame(frame[key].astype(object)).isin(held)
    return found


def _whole(frame: pd.DataFrame, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """All rows of the lists of which any is among these."""
    found: NDArray[np.bool_] = frame["slate_id"].isin(frame.loc[rows, "slate_id"]).to_numpy()
    return found


def _new_users(log: dict[str, pd.DataFrame], tables: Tables) -> pd.DataFrame:
    """Users whom the shop's table lacks, as the service took them: joined when first heard of."""
    moments = [
        frame[["user_id", _MOMENTS[name]]].rename(columns={_MOMENTS[name]: "joined_at"})
        for name, frame in log.items()
    ]
    heard = pd.concat(moments, ignore_index=True)
    heard = heard[~heard["user_id"].isin(tables.users["user_id"])]
    return heard.groupby("user_id", sort=True)["joined_at"].min().reset_index()


def _copy(data: Path, name: str, folder: Path, deleted: Sequence[str]) -> None:
    """The shop's parts of a table; written anew, without them, where a deleted user is in it."""
    for number, path in enumerate(table_files(data, name)):
        (folder / name).mkdir(exist_ok=True)
        shutil.copyfile(path, folder / name / f"shop-{number:04d}{path.suffix}")
    if not deleted or name == "services":
        return
    for part in read_parts(folder, name):
        is_deleted = pc.is_in(
            part.table["user_id"].cast(pa.string()), value_set=pa.array(deleted, pa.string())
        )
        if pc.any(is_deleted).as_py():
            rest, path = part.table.filter(pc.invert(is_deleted)), folder / part.file
            (csv.write_csv if path.suffix == ".csv" else pq.write_table)(rest, path)


def _write(folder: Path, name: str, frame: pd.DataFrame) -> None:
    """The log's part of a table, which is read after the shop's."""
    (folder / name).mkdir(exist_ok=True)
    write_table(folder / name, name, frame).rename(folder / name / "z-log.parquet")
