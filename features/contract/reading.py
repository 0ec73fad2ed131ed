"""Table files as they lie in a data folder: Parquet or CSV, one file or a folder of parts."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

_SUFFIXES = (".parquet", ".csv")
_SENTINEL = "\x00the end of the file"


class TableError(ValueError):
    """A table that cannot be used at all, so that nothing of it could be judged row by row."""


@dataclass(frozen=True)
class Part:
    """One file of a table, its cells as they were written."""

    file: str  # relative to the data folder
    table: pa.Table  # a CSV's cells are text, every one; a Parquet file's have the types it declares
    row: NDArray[np.int64]  # the number of each row in the file: 1 is the first after the header
    malformed: dict[int, str] = field(
        default_factory=dict
    )  # row number → text, where cells are too many or few

    @property
    def n_read(self) -> int:
        return self.table.num_rows + len(self.malformed)


def table_files(folder: Path, name: str) -> list[Path]:
    """The files of one table, parts sorted by name; empty where the table is absent.

    Raises
    ------
    TableError
        When the table stands there twice, or its folder holds no part or something that is none.
    """
    found = [path for path in (folder / name, *(folder / f"{name}{s}" for s in _SUFFIXES)) if path.exists()]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise TableError(f"{folder} must hold {name} once, found {names}: keep one of them.")
    if not found or found[0].is_file():
        return found
    return _parts_of(found[0])


def _parts_of(folder: Path) -> list[Path]:
    parts = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    strange = [path.name for path in parts if path.suffix not in _SUFFIXES or path.is_dir()]
    if strange:
        raise TableError(
            f"{folder} must hold Parquet or CSV parts alone, found {', '.join(strange)}: move it elsewhere."
        )
    if not parts:
        raise TableError(
            f"{folder} must hold Parquet or CSV parts, found none: export the table again, "
            "or remove the folder if the table is an optional one."
        )
    return parts


def read_parts(folder: Path, name: str, n_rows: int | None = None, only: str | None = None) -> Iterator[Part]:
    """Every part of one table, in the order of their names; none where the table is absent.

    Parts of more than `n_rows` rows come in several, one after the other, where that is asked for; a file
    without rows still is a part. Of Parquet files one column can be read alone.

    Raises
    ------
    TableError
        When a file is empty, truncated, not what its name says, or has a column twice.
    """
    for path in table_files(folder, name):
        if path.stat().st_size == 0:
            raise TableError(
                f"{path} is empty (0 bytes): a table with its columns was expected. Export it again."
            )
        file = path.relative_to(folder).as_posix()
        is_csv = path.suffix == ".csv"
        for part in _read_csv(path, file, n_rows) if is_csv else _read_parquet(path, file, n_rows, only):
            _require_different_columns(path, part.table)
            yield part


def cells_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    """One column of a part; empty cells where the part has no such column."""
    if name in table.column_names:
        return table.column(name)
    return pa.chunked_array([pa.nulls(table.num_rows)])


def one_ahead(parts: Iterator[Part]) -> Iterator[Part]:
    """The same parts; each is read while what is done with the one before goes on."""
    with ThreadPoolExecutor(1) as beside:
        following = beside.submit(next, parts, None)
        while (part := following.result()) is not None:
            following = beside.submit(next, parts, None)
            yield part


def _read_parquet(path: Path, file: str, n_rows: int | None, only: str | None) -> Iterator[Part]:
    first = 1
    try:
        for table in _parquet_tables(pq.ParquetFile(path), n_rows, only):
            table.validate(full=True)
            yield Part(file, table, np.arange(first, first + table.num_rows))
            first += table.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise TableError(
            f"{path} cannot be read as Parquet ({_first_line(error)}). "
            "It may be truncated or damaged: export it again."
        ) from error


def _parquet_tables(file: pq.ParquetFile, n_rows: int | None, only: str | None) -> Iterator[pa.Table]:
    columns = None if only is None else [only]
    if n_rows is None or file.metadata.num_rows <= n_rows:
        yield file.read(columns)
        return
    for batch in file.iter_batches(n_rows, columns=columns):
        yield pa.Table.from_batches([batch])


def _read_csv(path: Path, file: str, n_rows: int | None) -> Iterator[Part]:
    whole = _read_whole_csv(path, file)
    if n_rows is None or whole.table.num_rows <= n_rows:
        yield whole
        return
    malformed = whole.malformed
    for start in range(0, whole.table.num_rows, n_rows):
        yield Part(file, whole.table.slice(start, n_rows), whole.row[start : start + n_rows], malformed)
        malformed = {}


def _read_whole_csv(path: Path, file: str) -> Part:
    malformed: dict[int, str] = {}

    def note(row: csv.InvalidRow) -> str:
        malformed[row.number - 1] = row.text  # Arrow counts the header, and no blank lines
        return "skip"

    # A quote that is never closed swallows the rest of the file without a word: a last row of our
    # own, with too few cells, comes back through `note` unless it was swallowed too.
    buffer = pa.py_buffer(path.read_bytes() + b"\n" + _SENTINEL.encode() + b"\n")
    parse = csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note)
    one_thread = csv.ReadOptions(use_threads=False)  # more of them do not number malformed rows
    try:
        header = csv.open_csv(pa.BufferReader(buffer), one_thread, parse).schema.names
        malformed.clear()
        as_text = csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), null_values=[], strings_can_be_null=False
        )
        table = csv.read_csv(pa.BufferReader(buffer), one_thread, parse, as_text)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise TableError(
            f"{path} cannot be read as CSV in UTF-8 ({_first_line(error)}). "
            "Expected a header, commas between cells and UTF-8 text: export it again."
        ) from error
    last = max(malformed, default=0)
    if len(header) > 1 and malformed.pop(last, "") != _SENTINEL:
        raise TableError(
            f'{path} opens a quotation mark " that is never closed, so rows after it cannot be told apart. '
            "It may be truncated: export it again, with quotation marks inside cells doubled."
        )
    every_row = np.arange(1, table.num_rows + len(malformed) + 1)
    return Part(file, table, np.delete(every_row, np.array(list(malformed), dtype=int) - 1), malformed)


def _require_different_columns(path: Path, table: pa.Table) -> None:
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise TableError(
            f"{path} must name each column once, found {', '.join(twice)} twice: rename one of them."
        )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
