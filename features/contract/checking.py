"""A table under examination: its rows as values, and every fault found in them so far."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pandera.errors import SchemaErrors
from pandera.pandas import Column

from features.contract.columns import COLUMN_OF_RULE, TIME, TableContract, kind_of
from features.contract.parsing import (
    Parsed,
    as_written,
    parse_attribute,
    parse_number,
    parse_text,
    parse_time,
)
from features.contract.reading import Part, TableError, cells_of, one_ahead, read_parts

_PARSERS = {"str": parse_text, "float64": parse_number, TIME: parse_time}


class Fault(NamedTuple):
    """Rows of the draft whose cell in `column` breaks `rule`."""

    column: str
    rule: str
    rows: NDArray[np.intp]


class Draft:
    """The rows of one table before it is known which of them are good.

    `frame` has the contract's columns first, absent ones empty, then the unknown ones; its row i is
    that of `faulty[i]`. A cell has one fault at most: the first that was marked.
    """

    def __init__(self, contract: TableContract, parts: list[Part]) -> None:
        self.contract = contract
        self.parts = parts
        known = contract.schema.columns
        found = dict.fromkeys(name for part in parts for name in part.table.column_names)
        self.unknown_columns = tuple(name for name in found if name not in known)
        n_rows = sum(part.table.num_rows for part in parts)
        self.faulty = np.zeros(n_rows, dtype=bool)
        self.faults: list[Fault] = []
        self._broken: dict[str, NDArray[np.bool_]] = {}
        columns = {name: self._parse(name, column) for name, column in known.items()}
        columns |= {name: self._keep(name) for name in self.unknown_columns}
        self.frame = pd.DataFrame(columns, copy=False)
        self._check()

    @property
    def n_read(self) -> int:
        return sum(part.n_read for part in self.parts)

    @property
    def n_accepted(self) -> int:
        return int((~self.faulty).sum())

    def accepted(self) -> pd.DataFrame:
        """The rows without a fault, in the order of the files."""
        if not self.faulty.any():
            return self.frame
        return self.frame[~self.faulty].reset_index(drop=True)

    def mark(self, column: str, rule: str, rows: NDArray[np.bool_]) -> None:
        """Note the rows whose cell in `column` breaks `rule`; a cell that broke one before keeps that one."""
        broken = self._broken.setdefault(column, np.zeros(len(self.faulty), dtype=bool))
        fresh = np.flatnonzero(rows & ~broken)
        if len(fresh):
            broken[fresh] = True
            self.faulty[fresh] = True
            self.faults.append(Fault(column, rule, fresh))

    def by_part(self, rows: NDArray[np.intp]) -> Iterator[tuple[Part, NDArray[np.intp]]]:
        """Each part with those of the rows (ascending) that are its own, counted from its start."""
        start = 0
        for part in self.parts:
            end = start + part.table.num_rows
            first, last = np.searchsorted(rows, [start, end])
            yield part, rows[first:last] - start
            start = end

    def _parse(self, name: str, column: Column) -> pd.Series:
        parse = _PARSERS[kind_of(column)]
        nothing = parse(pa.chunked_array([], pa.null()))
        parsed = [parse(cells_of(part.table, name)) for part in self.parts] or [nothing]
        for rule in dict.fromkeys(rule for part in parsed for rule in part.faults):
            self.mark(name, rule, np.concatenate([_broken_rows(part, rule) for part in parsed]))
        values = _joined([part.values for part in parsed])
        if column.default is None:
            return values
        return values.where(values.notna() & (values != ""), column.default)

    def _keep(self, name: str) -> pd.Series:
        """A column outside the contract: an attribute of users, or a shop's own column as it is."""
        cells = [cells_of(part.table, name) for part in self.parts]
        if self.contract.name == "users":
            return parse_attribute(cells)
        if len({part.type for part in cells}) == 1:
            return _joined([part.to_pandas() for part in cells])
        return _joined([as_written(part) for part in cells])

    def _check(self) -> None:
        try:
            self.contract.schema.validate(self.frame, lazy=True, inplace=True)
        except SchemaErrors as errors:
            for error in errors.schema_errors:
                rule = error.check.name
                column = error.schema.name or COLUMN_OF_RULE[rule]
                held = error.check_output  # without the rows whose cell is missing
                broken = np.zeros(len(self.frame), dtype=bool)
                broken[held.index[~held.astype(bool)]] = True
                self.mark(column, rule, broken)


def read_draft(folder: Path, contract: TableContract) -> Draft:
    """One table of a data folder, every cell read and every rule about single rows checked.

    Raises
    ------
    TableError
        As `read_drafts` does.
    """
    return next(read_drafts(folder, contract))


def read_drafts(folder: Path, contract: TableContract, n_rows: int | None = None) -> Iterator[Draft]:
    """The same in pieces of at most `n_rows` rows, in the order of the files; one of all rows without.

    Raises
    ------
    TableError
        When a required table is absent or has no row, a file lacks a required column, cannot be
        read, or has a column whose name Perkwise needs for itself.
    """
    parts, n_read, file = [], 0, ""
    for part in one_ahead(read_parts(folder, contract.name, n_rows)):
        _require_columns(folder / part.file, part.table.column_names, contract)
        n_read, file = n_read + part.n_read, file or part.file
        if n_rows is None:
            parts.append(part)
        else:
            yield Draft(contract, [part])
    if contract.required and not file:
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise TableError(
            f"{folder} must hold the table {contract.name} as {contract.name}.parquet, {contract.name}.csv "
            f"or a folder {contract.name}/ of such parts, found {found}: export it there."
        )
    if contract.required and not n_read:
        raise TableError(
            f"{folder / file} must hold at least one row, found none: export {contract.name} again."
        )
    if n_rows is None or not file:
        yield Draft(contract, parts)


def _require_columns(path: Path, found: list[str], contract: TableContract) -> None:
    known = contract.schema.columns
    missing = [name for name, column in known.items() if column.required and name not in found]
    if missing:
        meant = [close[0] for name in missing if (close := get_close_matches(name, found, n=1))]
        hint = f" Is it {', '.join(meant)}?" if meant else ""
        raise TableError(
            f"{path} must have the column {', '.join(missing)} of {contract.name}, "
            f"found {', '.join(found)}.{hint} Rename or add it."
        )
    reserved = sorted({f"{name}_cents" for name in contract.money_columns()} & set(found))
    if reserved:
        raise TableError(
            f"{path} must not have the column {', '.join(reserved)}, found it: "
            "Perkwise keeps money in cents under that name. Rename the column."
        )


def _broken_rows(parsed: Parsed, rule: str) -> NDArray[np.bool_]:
    return parsed.faults.get(rule, np.zeros(len(parsed.values), dtype=bool))


def _joined(columns: list[pd.Series]) -> pd.Series:
    return columns[0] if len(columns) == 1 else pd.concat(columns, ignore_index=True)
