"""What a change of the benefit rules is worth on the log, before it ships."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.tables import Tables
from offers.rules import RuleSet
from offers.settings import Settings
from offers.types import Progress
from training.bundle import Bundle
from training.evaluation.list_value import Change
from training.source import Keep, read_source
from training.split import Split
from training.valuation import Served, value_change

MOST_DECISIONS = 20_000  # of the log; more are drawn from, so that a dry run takes no longer


@dataclass(frozen=True)
class WorthOnLog:
    """What the log says of a change; `change` is None, and `verdict` says why, where it can say nothing."""

    change: Change | None
    verdict: str

    def to_json(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        return {
            "verdict": self.verdict,
            "kind": "off-policy, on the log",
            "change": None if self.change is None else self.change.to_json(),
        }


def worth_of_rules(
    folder: Path,
    tables: Tables,
    bundle: Bundle,
    settings: Settings,
    old: RuleSet,
    new: RuleSet,
    seed: int,
    progress: Progress | None = None,
    most: int = MOST_DECISIONS,
) -> WorthOnLog:
    """New rules instead of the old, valued on logged decisions that the bundle has not seen.

    Parameters
    ----------
    tables : Tables
        Of the data folder.
    seed : int
        Of the draw among the decisions, where there are more than `most`.
    """
    try:
        keep = _some_held_out(bundle, np.random.default_rng(seed), most)
        source = read_source(folder, settings, bundle.layout, progress, tables, keep)
        change = value_change(Served(bundle, settings, old), Served(bundle, settings, new), source)
    except ValueError as error:
        return WorthOnLog(None, f"The log cannot tell: {error}")
    return WorthOnLog(change, change.verdict)


def _some_held_out(bundle: Bundle, rng: np.random.Generator, most: int) -> Keep:
    split = Split(**bundle.manifest["training"]["split"])

    def keep(slates: pd.DataFrame, user_ids: Sequence[str]) -> pd.DataFrame:
        user, shown_at_us = slates["user"].to_numpy(), slates["shown_at_us"].to_numpy()
        rows = np.flatnonzero(split.is_held_out(user, shown_at_us, user_ids))
        if len(rows) > most:
            rows = np.sort(rng.choice(rows, most, replace=False))
        return slates.iloc[rows]

    return keep
