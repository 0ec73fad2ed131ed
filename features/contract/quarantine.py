"""Rows that break the contract: a line for each fault, with the place, the rule and how to mend it."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features.contract.checking import Draft, Fault
from features.contract.columns import REMEDIES
from features.contract.parsing import as_written
from features.contract.reading import Part, cells_of

COLUMNS = ("table", "file", "row", "column", "rule", "value", "remedy")


def quarantine_of(drafts: Iterable[Draft]) -> pd.DataFrame:
    """One line for each fault of each row, in the order of tables, files and rows.

    `row` counts the rows of `file` from 1, the header and blank lines left out; `value` is the cell as
    it was written. A row with three faults has three lines; (table, file, row) tells rows apart.
    """
    frames = [frame for draft in drafts for frame in _frames_of(draft)]
    if not frames:
        return _typed(pd.DataFrame({name: [] for name in COLUMNS}))
    return _typed(pd.concat(frames, ignore_index=True))


def write_quarantine(quarantine: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `<folder>/quarantine/<table>.csv` for each table with faults; files of an earlier check go."""
    target = folder / "quarantine"
    for stale in target.glob("*.csv"):
        stale.unlink()
    if len(quarantine):
        target.mkdir(parents=True, exist_ok=True)
    written = []
    for table, lines in quarantine.groupby("table", sort=False):
        path = target / f"{table}.csv"
        lines.to_csv(path, index=False)
        written.append(path)
    return written


def _frames_of(draft: Draft) -> list[pd.DataFrame]:
    """The lines of one table, those of each part together and by row."""
    lines: dict[str, list[pd.DataFrame]] = {part.file: _malformed_lines(draft, part) for part in draft.parts}
    for fault in draft.faults:
        for part, own in draft.by_part(fault.rows):
            if len(own):
                lines[part.file].append(_lines_of_fault(draft, fault, part, own))
    return [pd.concat(of_part).sort_values("row", kind="stable") for of_part in lines.values() if of_part]


def _lines_of_fault(draft: Draft, fault: Fault, part: Part, own: NDArray[np.intp]) -> pd.DataFrame:
    cells = as_written(cells_of(part.table, fault.column).take(pa.array(own)))
    return _lines(draft, part, part.row[own], fault.column, fault.rule, cells)


def _malformed_lines(draft: Draft, part: Part) -> list[pd.DataFrame]:
    if not part.malformed:
        return []
    texts = pd.Series(list(part.malformed.values()), dtype="str")
    return [_lines(draft, part, np.array(list(part.malformed)), "", "cells", texts)]


def _lines(
    draft: Draft, part: Part, row: NDArray[np.int64], column: str, rule: str, value: pd.Series
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "table": draft.contract.name,
            "file": part.file,
            "row": row,
            "column": column,
            "rule": rule,
            "value": value,
            "remedy": REMEDIES[rule],
        }
    )


def _typed(lines: pd.DataFrame) -> pd.DataFrame:
    return lines.astype({name: "int64" if name == "row" else "str" for name in COLUMNS})[list(COLUMNS)]
