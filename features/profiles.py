"""Profiles of all users at one moment, as a frame and as a file that says how it was made."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.history import History
from features.pipeline import Layout, compute
from features.tables import Tables
from features.tiers import TIER_COLUMN, Tiers
from offers.types import Progress

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_METADATA = b"perkwise.profiles"


class Profiles(NamedTuple):
    """What a file of profiles holds."""

    frame: pd.DataFrame
    layout: Layout
    as_of: datetime


def build_profiles(
    tables: Tables,
    layout: Layout,
    as_of: datetime,
    uptake_days: int,
    tiers: Tiers | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """A row for every user who joined before `as_of`, in the order of the table `users`.

    Columns are `user_id`, those of the layout (float32, NaN unknown) and, with `tiers`, `tier`.

    Raises
    ------
    ValueError
        When `as_of` has no time zone.
    """
    as_of_us = _us(as_of)
    history = History.of(tables, layout, uptake_days)
    user = np.flatnonzero(history.joined_at_us < as_of_us)
    profiles = compute(history, layout, user, np.full(len(user), as_of_us), progress)
    frame = pd.DataFrame(profiles, columns=list(layout.columns))
    frame.insert(0, "user_id", pd.Series(np.array(history.user_ids, object)[user], dtype="str"))
    if tiers is not None:
        frame["tier"] = pd.Series(tiers.of(frame[TIER_COLUMN]), dtype="str")
    return frame


def write_profiles(frame: pd.DataFrame, path: Path, layout: Layout, as_of: datetime) -> None:
    """Write profiles as Parquet, with layout and moment in the file's metadata."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    parts = {"as_of": as_of.astimezone(UTC).isoformat(), "layout": layout.to_json()}
    metadata = {**(table.schema.metadata or {}), _METADATA: json.dumps(parts).encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd")


def read_profiles(path: Path) -> Profiles:
    """Read what `write_profiles` wrote.

    Raises
    ------
    ValueError
        When the file is Parquet but not one of profiles, or of columns that this version does not compute.
    """
    table = pq.read_table(path)
    parts: dict[str, Any] = json.loads((table.schema.metadata or {}).get(_METADATA, b"{}"))
    if not parts:
        raise ValueError(f"{path} must be a file that write_profiles wrote, found other Parquet.")
    layout = Layout.from_json(parts["layout"])
    missing = [name for name in layout.columns if name not in table.column_names]
    if missing:
        raise ValueError(f"{path} must have the columns {', '.join(missing)}: compute the profiles anew.")
    return Profiles(table.to_pandas(), layout, datetime.fromisoformat(parts["as_of"]))


def _us(as_of: datetime) -> int:
    if as_of.tzinfo is None:
        raise ValueError(f"as_of must have a time zone, got {as_of!r}: write 2024-05-01T00:00:00+00:00.")
    return (as_of - _EPOCH) // timedelta(microseconds=1)
