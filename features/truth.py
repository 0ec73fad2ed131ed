"""What only a simulated world knows: every user's true response to every service."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    """The truth beside the tables of a data folder; None where there is none, as with real data."""
    effects_file, world_file = folder / "truth" / "effects.parquet", folder / "truth" / "world.json"
    if not (effects_file.is_file() and world_file.is_file()):
        return None
    world = json.loads(world_file.read_text(encoding="utf-8"))
    effects = pd.read_parquet(effects_file).sort_values(["user_id", "service_id"])
    user_ids = tuple(effects["user_id"].unique())
    shape = (len(user_ids), -1)
    return Truth(
        user_ids=user_ids,
        service_ids=tuple(sorted(effects["service_id"].unique())),
        held_out_from_us=(datetime.fromisoformat(world["held_out_from"]) - _EPOCH)
        // timedelta(microseconds=1),
        uptake=effects["uptake"].to_numpy().reshape(shape),
        uplift_repurchase=effects["uplift_repurchase"].to_numpy().reshape(shape),
        uplift_margin=effects["uplift_margin"].to_numpy().reshape(shape),
    )
