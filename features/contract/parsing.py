"""Cells to values: text, numbers and times from any type or spelling a file has, or a fault."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as types
from numpy.typing import NDArray

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_NOT_FINITE = r"(?i)^[+-]?(nan|inf|infinity)$"
_CODE = r"^0\d"  # a postcode or the like, which loses its zero as a number
_CLOCK = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?"
_ZONED = _CLOCK + r"(Z|[+-]\d{2}(:?\d{2})?)$"
_ZONELESS = _CLOCK + r"$|^\d{4}-\d{2}-\d{2}$"
_NAT = np.iinfo(np.int64).min
_YEAR_1_US = int(np.datetime64("0001-01-01", "us").astype(np.int64))
_YEAR_9999_US = int(np.datetime64("9999-12-31T23:59:59", "us").astype(np.int64))


class Parsed(NamedTuple):
    """One column's values, and for each rule the rows that break it (their value is then missing)."""

    values: pd.Series
    faults: dict[str, NDArray[np.bool_]]


def parse_text(column: pa.ChunkedArray) -> Parsed:
    """Text, byte for byte; whole numbers become their digits, missing cells "".

    A column of another type breaks the rule ``text`` wherever it is filled: a float has lost digits already.
    """
    column = _decoded(column)
    if _is_text(column.type) or types.is_integer(column.type) or types.is_null(column.type):
        filled = pc.fill_null(pc.cast(column, pa.large_string()), "")
        return Parsed(_to_pandas(filled).astype("str"), {})
    values = pd.Series("", index=range(len(column)), dtype="str")
    return Parsed(values, {"text": ~_is_missing(column)})


def parse_number(column: pa.ChunkedArray) -> Parsed:
    """Float64, NaN where a cell is missing; other text breaks ``number``, NaN and infinity ``finite``."""
    column = _decoded(column)
    if _is_text(column.type):
        return _number_from_text(column)
    if not (_is_number(column.type) or types.is_null(column.type)):
        return Parsed(pd.Series(np.full(len(column), np.nan)), {"number": ~_is_missing(column)})
    values = _to_floats(column)
    return _finite_or_fault(values, ~_is_missing(column), {})


def parse_time(column: pa.ChunkedArray) -> Parsed:
    """UTC microseconds, NaT where a cell is missing; finer digits are cut off.

    Rule ``zoned`` is broken by a time without an offset from UTC (and by a date), ``time`` by all
    that is no moment of a calendar.
    """
    column = _decoded(column)
    if _is_text(column.type):
        return _time_from_text(column)
    filled = ~_is_missing(column)
    nowhere = _moments(np.full(len(column), _NAT))
    if types.is_null(column.type):
        return Parsed(nowhere, {})
    if types.is_date(column.type) or (types.is_timestamp(column.type) and column.type.tz is None):
        return Parsed(nowhere, {"zoned": filled})
    if not types.is_timestamp(column.type):
        return Parsed(nowhere, {"time": filled})
    values = _to_microseconds(column)
    return Parsed(values, {"time": filled & values.isna().to_numpy()})


def parse_attribute(parts: list[pa.ChunkedArray]) -> pd.Series:
    """An attribute of users: numbers (float64) where every filled cell is one, else categories (text).

    Codes with a leading zero are categories; NaN and infinity count as missing.
    """
    decoded = [_decoded(part) for part in parts]
    numbers = [_attribute_numbers(part) for part in decoded]
    if all(part is not None for part in numbers):
        return pd.concat([part for part in numbers if part is not None], ignore_index=True)
    return pd.concat([as_written(part) for part in decoded], ignore_index=True)


def as_written(column: pa.ChunkedArray) -> pd.Series:
    """Cells as text for a person to find them by; a missing one is ""."""
    column = _decoded(column)
    if types.is_nested(column.type) or types.is_binary(column.type):
        return pd.Series(["" if cell is None else str(cell) for cell in column.to_pylist()], dtype="str")
    if types.is_timestamp(column.type) and column.type.tz is not None:
        column = pc.cast(column, pa.timestamp(column.type.unit, "UTC"))
    return _to_pandas(pc.fill_null(pc.cast(column, pa.large_string()), "")).astype("str")


def _attribute_numbers(column: pa.ChunkedArray) -> pd.Series | None:
    if types.is_boolean(column.type):
        return _to_floats(pc.cast(column, pa.int8()))
    if not (_is_text(column.type) or _is_number(column.type) or types.is_null(column.type)):
        return None
    if _is_text(column.type) and _to_bools(pc.match_substring_regex(pc.fill_null(column, ""), _CODE)).any():
        return None
    parsed = parse_number(column)
    return None if parsed.faults.get("number", np.zeros(1)).any() else parsed.values


def _number_from_text(column: pa.ChunkedArray) -> Parsed:
    text = pc.utf8_trim_whitespace(pc.fill_null(column, ""))
    filled = _to_bools(pc.not_equal(text, ""))
    readable = pc.or_(pc.match_substring_regex(text, _NUMBER), pc.match_substring_regex(text, _NOT_FINITE))
    values = _to_floats(
        pc.cast(pc.if_else(readable, text, pa.scalar("nan", pa.large_string())), pa.float64())
    )
    unreadable = filled & ~_to_bools(readable)
    return _finite_or_fault(values, filled & ~unreadable, {"number": unreadable})


def _finite_or_fault(
    values: pd.Series, filled: NDArray[np.bool_], faults: dict[str, NDArray[np.bool_]]
) -> Parsed:
    infinite = ~np.isfinite(values.to_numpy())
    return Parsed(values.mask(infinite), {**faults, "finite": filled & infinite})


def _time_from_text(column: pa.ChunkedArray) -> Parsed:
    text = pc.utf8_trim_whitespace(pc.fill_null(column, ""))
    zoned = pc.match_substring_regex(text, _ZONED)
    zoneless = _to_bools(pc.match_substring_regex(text, _ZONELESS))
    readable = pc.if_else(zoned, text, pa.scalar(None, pa.large_string()))
    in_microseconds = pc.replace_substring_regex(readable, r"(\.\d{6})\d+", r"\1")
    parsed = pd.to_datetime(_to_pandas(in_microseconds), format="ISO8601", utc=True, errors="coerce")
    values = parsed.dt.as_unit("us")
    unreadable = _to_bools(pc.not_equal(text, "")) & ~zoneless & values.isna().to_numpy()
    return Parsed(values, {"zoned": zoneless, "time": unreadable})


def _to_microseconds(column: pa.ChunkedArray) -> pd.Series:
    """Timestamps of any unit; those outside the years 1 to 9999 become NaT."""
    ticks = pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy()
    if column.type.unit == "ns":
        ticks = ticks // 1000
    scale = {"s": 1_000_000, "ms": 1000}.get(column.type.unit, 1)
    strange = (ticks < _YEAR_1_US // scale) | (ticks > _YEAR_9999_US // scale)
    moments = np.where(strange, 0, ticks) * scale
    return _moments(np.where(strange | _is_missing(column), _NAT, moments))


def _moments(at_us: NDArray[np.int64]) -> pd.Series:
    return pd.Series(at_us.view("datetime64[us]")).dt.tz_localize("UTC")  # an index takes 20 times as long


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without a dictionary, and its text in the one type that has every function."""
    if types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    return pc.cast(column, pa.large_string()) if _is_text(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_number(kind: pa.DataType) -> bool:
    return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)


def _is_missing(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return _to_bools(column.is_null())


def _to_bools(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return column.to_numpy().astype(bool)


def _to_floats(column: pa.ChunkedArray) -> pd.Series:
    return pd.Series(pc.cast(column, pa.float64(), safe=False).to_numpy().astype(np.float64))


def _to_pandas(column: pa.ChunkedArray) -> pd.Series:
    return column.to_pandas()
