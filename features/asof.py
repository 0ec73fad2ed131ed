"""The as-of engine: what a log says of a user strictly before a moment, for two million moments or for one.

A log is sorted by user and time once. Every answer is then the difference of two running totals, taken
at the rows where a window begins and ends; those rows are found by one binary search for all users
together. Totals are integers, so no answer depends on the order of the rows or on how many are asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

DAY_US = 86_400_000_000

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_FEW = 1 << 16  # numbers that may be held once more
_OWN_ARRAYS = ("user", "at_us", "start")  # of a log; the others are its columns


class Log:
    """Rows of many users, sorted by user and time. What the rows mean is not known here.

    Parameters
    ----------
    user : ndarray of shape (n_rows,)
        Position of each row's user, 0 to n_users - 1; rows may come in any order.
    at_us : ndarray of shape (n_rows,)
        When it happened, microseconds since 1970.
    n_users : int
    n_levels : mapping of str to int
        For each column that rows are to be counted by, how many codes it has: 0 to n - 1, and -1 for none.
    columns : ndarrays of shape (n_rows,)
        What else is said of a row; integers, where they are to be summed. Arrays that are sorted already
        are kept without a copy.

    Examples
    --------
    >>> log = Log(np.array([1, 0, 1]), np.array([30, 10, 20]), n_users=2, cents=np.array([5, 1, 3]))
    >>> log.at_us.tolist(), log.columns["cents"].tolist()
    ([10, 20, 30], [1, 3, 5])
    """

    def __init__(
        self,
        user: NDArray,
        at_us: Ints,
        n_users: int,
        n_levels: Mapping[str, int] = MappingProxyType({}),
        **columns: NDArray,
    ) -> None:
        rows = {"user": user, "at_us": at_us, **columns}
        sort_rows(rows)
        user, at_us = rows.pop("user"), rows.pop("at_us")
        start = _running_total(np.bincount(user, minlength=n_users))
        self._take(user, at_us, start, n_levels, rows)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], n_levels: Mapping[str, int]) -> Self:
        """What ``arrays`` gave, taken as it is: nothing is sorted, copied or even read."""
        columns = {name: column for name, column in arrays.items() if name not in _OWN_ARRAYS}
        log = cls.__new__(cls)
        log._take(arrays["user"], arrays["at_us"], arrays["start"], n_levels, columns)
        return log

    def arrays(self) -> dict[str, NDArray]:
        """The sorted rows, and where each user's begin, by name."""
        return {"user": self.user, "at_us": self.at_us, "start": self.start, **self.columns}

    def _take(
        self,
        user: NDArray,
        at_us: Ints,
        start: Ints,
        n_levels: Mapping[str, int],
        columns: dict[str, NDArray],
    ) -> None:
        self.user, self.at_us, self.columns = user, at_us, columns
        self.start = start  # of each user's rows, and the end
        self.n_users, self.n_levels = len(start) - 1, n_levels
        self._totals: dict[str, Ints] = {}
        self._levels: dict[str, _Levels] = {}

    def __len__(self) -> int:
        return len(self.at_us)

    def add(self, **columns: NDArray) -> None:
        """Further columns, in the order of the sorted rows."""
        self.columns.update(columns)

    def only(self, mask: NDArray[np.bool_]) -> "Log":
        """The log of the rows where `mask` holds."""
        columns = {name: column[mask] for name, column in self.columns.items()}
        return Log(self.user[mask], self.at_us[mask], self.n_users, self.n_levels, **columns)

    def users(self, first: int, n_users: int) -> "Log":
        """The log of `n_users` users in a row, or of as many as there are, numbered from 0."""
        if not first and n_users >= self.n_users:
            return self
        start = self.start[first : first + n_users + 1]
        rows = slice(int(start[0]), int(start[-1]))
        columns = {name: column[rows] for name, column in self.columns.items()}
        own = {"user": self.user[rows] - first, "at_us": self.at_us[rows], "start": start - start[0]}
        return Log.from_arrays({**own, **columns}, self.n_levels)

    def rows_of(self, user: int) -> slice:
        """Where one user's rows stand."""
        return slice(int(self.start[user]), int(self.start[user + 1]))

    def gaps_us(self) -> Ints:
        """Time since the same user's row before, 0 for the user's first."""
        gaps = np.diff(self.at_us, prepend=0)
        first = self.start[:-1]
        gaps[first[first < len(gaps)]] = 0
        return gaps

    def rows_before(self, user: NDArray, at_us: Ints) -> Ints:
        """The end of each user's rows strictly before each time: a binary search in the user's own rows.

        All searches take their steps together. No key of user and time is formed: at microseconds
        one would not fit into 64 bits.
        """
        if self.n_users == 1:
            return np.searchsorted(self.at_us, at_us)
        row, end = self.start[user], self.start[user + 1]
        step = 1 << int(np.max(end - row, initial=0)).bit_length()
        while step := step >> 1:
            probe = row + step
            ahead = probe <= end
            np.minimum(probe, len(self), out=probe)
            probe -= 1
            ahead &= self.at_us[probe] < at_us
            row += step * ahead
        return row

    def total(self, column: str) -> Ints:
        """Running total of a column: what all rows before a row sum to, shape (n_rows + 1,)."""
        if column not in self._totals:
            self._totals[column] = _running_total(self.columns[column])
        return self._totals[column]

    def levels(self, column: str) -> "_Levels":
        """The rows by the codes of a column."""
        if column not in self._levels:
            self._levels[column] = _Levels(self.columns[column], self.at_us, self.n_levels[column])
        return self._levels[column]


@dataclass(frozen=True, eq=False)
class _Levels:
    """A log's rows by the codes of one of its columns; each view is made when it is first asked for."""

    codes: NDArray
    at_us: Ints
    n_levels: int

    @cached_property
    def n_before(self) -> NDArray[np.int32]:
        """Rows of each level before each row, shape (n_rows + 1, n_levels)."""
        n_before = np.zeros((len(self.codes) + 1, self.n_levels), np.int32)
        if n_before.size <= _FEW:  # as of one user: all levels in one call
            np.cumsum(self.codes[:, None] == np.arange(self.n_levels), axis=0, out=n_before[1:])
            return n_before
        for level in range(self.n_levels):
            np.cumsum(self.codes == level, out=n_before[1:, level])
        return n_before

    @cached_property
    def times(self) -> Ints:
        """Times of the rows, level after level, shape (n_rows,)."""
        return self.at_us[np.argsort(self.codes.astype(np.int16), kind="stable")]

    @cached_property
    def start(self) -> Ints:
        """Where each level's times begin, after those of rows without a level, shape (n_levels,)."""
        return np.count_nonzero(self.codes < 0) + _running_total(self.n_before[-1])[:-1]


class At:
    """What a log says of each `user` strictly before each `as_of_us`, both of shape (n,).

    A window of `days` is half-open, [as_of - days, as_of); None is all that is known. Counts are int64,
    times since are float days and NaN where there is no row.

    Examples
    --------
    >>> log = Log(np.array([0, 0]), np.array([1, 2]) * DAY_US, n_users=1, cents=np.array([5, 7]))
    >>> at = At(log, np.array([0, 0]), np.array([2, 3]) * DAY_US)
    >>> at.count().tolist(), at.sum("cents").tolist(), at.days_since_last().tolist()
    ([1, 2], [5, 12], [1.0, 1.0])
    """

    def __init__(self, log: Log, user: NDArray, as_of_us: Ints) -> None:
        self.log, self.user, self.as_of_us = log, user, as_of_us
        self._end = log.rows_before(user, as_of_us)
        self._begins: dict[int | None, Ints] = {None: log.start[user]}

    def _begin(self, days: int | None) -> Ints:
        if days not in self._begins:
            self._begins[days] = self.log.rows_before(self.user, self.as_of_us - (days or 0) * DAY_US)
        return self._begins[days]

    def count(self, days: int | None = None) -> Ints:
        """Rows in the window."""
        return self._end - self._begin(days)

    def sum(self, column: str, days: int | None = None) -> Ints:
        """Sum of an integer column over the window."""
        total = self.log.total(column)
        return total[self._end] - total[self._begin(days)]

    def last(self, column: str) -> Floats:
        """The column's value in the last row known; of rows at one time, the one sorted last."""
        return _pick(self.log.columns[column], self._end - 1, self.count() > 0)

    def days_since_last(self) -> Floats:
        return self._days_since(_pick(self.log.at_us, self._end - 1, self.count() > 0))

    def days_since_first(self) -> Floats:
        return self._days_since(_pick(self.log.at_us, self._begin(None), self.count() > 0))

    def count_of(self, column: str, level: int, days: int | None = None) -> Ints:
        """Rows in the window whose column is `level`."""
        n_before = self.log.levels(column).n_before
        return n_before[self._end, level].astype(np.int64) - n_before[self._begin(days), level]

    def count_by(self, column: str, days: int | None = None) -> Ints:
        """Rows in the window for each code of a column, shape (n, n_levels)."""
        n_before = self.log.levels(column).n_before
        return n_before[self._end].astype(np.int64) - n_before[self._begin(days)]

    def days_since_last_by(self, column: str) -> Floats:
        """Days since the last row of each code of a column, shape (n, n_levels)."""
        levels = self.log.levels(column)
        n_before = levels.n_before[self._end]
        known = n_before > levels.n_before[self._begin(None)]
        last_at_us = _pick(levels.times, levels.start + n_before - 1, known)
        return (self.as_of_us[:, None] - last_at_us) / DAY_US

    def last_at_us_of(self, column: str, level: Ints) -> Floats:
        """Time of the last row whose column is `level`, one level a query, shape (n,); NaN without one."""
        levels = self.log.levels(column)
        n_before = levels.n_before[self._end, level]
        known = n_before > levels.n_before[self._begin(None), level]
        return _pick(levels.times, levels.start[level] + n_before - 1, known)

    def _days_since(self, at_us: Floats) -> Floats:
        return (self.as_of_us - at_us) / DAY_US


def sort_rows(rows: dict[str, NDArray]) -> None:
    """Put columns, of which `user` and `at_us` are two, in the order of a log, in place of what they were.

    One column after the other, so that where nobody else holds them there is room for one more at most.
    """
    if not _is_sorted(rows["user"], rows["at_us"]):
        order = _order(rows["user"], rows["at_us"])
        for name in rows:
            rows[name] = rows[name][order]


def ratio(part: NDArray, whole: NDArray) -> Floats:
    """part / whole, NaN where whole is 0.

    Examples
    --------
    >>> ratio(np.array([1, 1]), np.array([2, 0])).tolist()
    [0.5, nan]
    """
    out = np.full(np.broadcast_shapes(np.shape(part), np.shape(whole)), np.nan)
    return np.divide(part, whole, out=out, where=whole != 0)


def _pick(values: NDArray, rows: Ints, known: NDArray[np.bool_]) -> Floats:
    picked = np.full(known.shape, np.nan)
    picked[known] = values[rows[known]]
    return picked


def _running_total(values: NDArray[Any]) -> Ints:
    total = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=total[1:])
    return total


def _is_sorted(user: NDArray, at_us: Ints) -> bool:
    in_order = (user[:-1] == user[1:]) & (at_us[:-1] <= at_us[1:])
    in_order |= user[:-1] < user[1:]
    return bool(in_order.all())


def _order(user: NDArray, at_us: Ints) -> Ints:
    """The order by user and time; user codes go in 16-bit digits, for which numpy has a radix sort."""
    low, high = (user & 0xFFFF).astype(np.uint16), (user >> 16).astype(np.uint16)
    return np.lexsort((at_us, low, high))
