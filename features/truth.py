"""What only a simulated world knows: every user's true response to every service."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RESPONSES = ("uptake", "uplift_repurchase", "uplift_margin")  # columns of effects.parquet


@dataclass(frozen=True)
class Truth:
    """True responses at the start of the held-out period; arrays of shape (n_users, n_services)."""

    user_ids: tuple[str, ...]
    service_ids: tuple[str, ...]  # sorted, as in the catalogue
    held_out_from_us: int  # microseconds since 1970
    uptake: NDArray[np.float64]
    uplift_repurchase: NDArray[np.float64]
    uplift_margin: NDArray[np.float64]  # currency units


def read_truth(folder: Path) -> Truth | None:
    """The truth beside the tables of a data folder; None where there is none, as with real data.

    Raises
    ------
    ValueError
        Where the files are there and damaged, or do not tell every user's response to every service.
    """
    effects_file, world_file = folder / "truth" / "effects.parquet", folder / "truth" / "world.json"
    if not (effects_file.is_file() and world_file.is_file()):
        return None
    try:
        world = json.loads(world_file.read_text(encoding="utf-8"))
        effects = pd.read_parquet(effects_file).set_index(["user_id", "service_id"])[list(_RESPONSES)]
        uptake, uplift_repurchase, uplift_margin = (_by_user(effects[name]) for name in _RESPONSES)
        return Truth(
            user_ids=tuple(uptake.index),
            service_ids=tuple(uptake.columns),
            held_out_from_us=(datetime.fromisoformat(world["held_out_from"]) - _EPOCH)
            // timedelta(microseconds=1),
            uptake=uptake.to_numpy(),
            uplift_repurchase=uplift_repurchase.to_numpy(),
            uplift_margin=uplift_margin.to_numpy(),
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"{folder / 'truth'} must hold each user's response to each service, got {cause}. "
            "Make the world again, or remove that folder: a report needs no truth."
        ) from error


def _by_user(response: pd.Series) -> pd.DataFrame:
    """A row a user and a column a service, both sorted."""
    table = response.unstack("service_id").sort_index().sort_index(axis="columns")
    if table.empty or table.isna().any(axis=None):
        raise ValueError(f"gaps in {response.name}")
    return table
