"""Intervals by resampling whole users, all figures on the same replicates so that differences are paired."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_USERS_AT_ONCE = 1024  # their counts, as floats, stay in the cache


@dataclass(frozen=True)
class Interval:
    """An estimate with the interval around it."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, replicates: Floats, level: float) -> "Interval":
        """Percentile interval: the middle `level` of the replicates. Undefined replicates are left out.

        Examples
        --------
        >>> Interval.of(50, np.arange(101), 0.9)
        Interval(value=50.0, low=5.0, high=95.0)
        """
        tail = round((1 - level) / 2, 12)
        defined = replicates[np.isfinite(replicates)]
        if not defined.size:
            return cls(float(value), math.nan, math.nan)
        low, high = np.quantile(defined, [tail, 1 - tail])
        return cls(float(value), float(low), float(high))

    def is_clear(self) -> bool:
        """Is the sign known: does the interval leave 0 out?"""
        return self.low > 0 or self.high < 0

    def more_needed(self, n: int) -> int | None:
        """About how many more rows, beside the `n` there are, until an effect of this size would be clear.

        n * ((half width / |value|)^2 - 1), because a width shrinks with the root of n; rounded up to two
        digits. None where it is clear already, or so near 0 that no realistic log would tell (over a
        thousand times n).

        Examples
        --------
        >>> Interval(0.5, -0.5, 1.5).more_needed(1000)
        3000
        """
        if self.is_clear():
            return None
        half = (self.high - self.low) / 2
        if not abs(self.value) * math.sqrt(1001) > half:
            return None
        return round_up(max(n * ((half / self.value) ** 2 - 1), 1))


def round_up(number: float, digits: int = 2) -> int:
    """The next whole number with at most `digits` digits that are not 0.

    Examples
    --------
    >>> round_up(3014)
    3100
    """
    whole = math.ceil(number - 1e-9)
    unit = 10 ** max(len(str(whole)) - digits, 0)
    return -(-whole // unit) * unit


@dataclass(frozen=True)
class Resampled:
    """A figure and its replicates; figures of one bootstrap share their draws, so differences are paired.

    Figures may be arrays, such as a curve: the replicates then have one leading axis more.

    Examples
    --------
    >>> ours, theirs = Resampled(3.0, np.array([2.0, 4.0])), Resampled(1.0, np.array([0.0, 2.0]))
    >>> (ours - theirs).interval(0.95)
    Interval(value=2.0, low=2.0, high=2.0)
    """

    value: float | Floats
    replicates: Floats  # (n_replicates, ...)

    def interval(self, level: float) -> Interval:
        """Percentile interval of a single figure."""
        return Interval.of(float(self.value), self.replicates, level)

    def band(self, level: float) -> tuple[Floats, Floats]:
        """Pointwise percentile intervals, shaped like the value: the low ends and the high ends."""
        tail = round((1 - level) / 2, 12)
        low, high = np.nanquantile(self.replicates, [tail, 1 - tail], axis=0)
        return low, high

    def __sub__(self, other: "Resampled") -> "Resampled":
        return Resampled(self.value - other.value, self.replicates - other.replicates)


class UserBootstrap:
    """Replicates of a log in which whole users are drawn with replacement.

    Rows of one user are alike, so rows drawn one by one would give intervals that are too narrow.

    Parameters
    ----------
    user : int array of shape (n,)
        Whose row it is.
    rng : numpy Generator
    n_replicates : int
        Replicates; the counts take one byte a user and replicate.

    References
    ----------
    Field and Welsh (2007), Bootstrapping clustered data.
    """

    def __init__(self, user: NDArray, rng: np.random.Generator, n_replicates: int = 1000) -> None:
        users, self._user = np.unique(user, return_inverse=True)
        self.n_users = len(users)
        if self.n_users < 2:
            raise ValueError(f"user must name at least two users to resample, got {self.n_users}.")
        self._counts = np.empty((self.n_users, n_replicates), np.uint8)
        for replicate in range(n_replicates):
            drawn = rng.integers(0, self.n_users, self.n_users)
            self._counts[:, replicate] = np.bincount(drawn, minlength=self.n_users)

    def sums(self, columns: Floats, rows: NDArray | None = None) -> Floats:
        """Column sums in every replicate, shape (n_replicates, k).

        Parameters
        ----------
        columns : array of shape (n, k)
            One row each of the log, or each of `rows`.
        rows : positions of shape (n,), optional
            Which rows of the log the columns hold. Default: all.
        """
        user = self._user if rows is None else self._user[rows]
        present, at = np.unique(user, return_inverse=True)
        # Single precision halves the time; what it rounds is far below what the intervals show.
        by_user = np.empty((len(present), columns.shape[1]), np.float32)
        for k, column in enumerate(columns.T):
            by_user[:, k] = np.bincount(at, column, len(present))
        sums = np.zeros((columns.shape[1], self._counts.shape[1]))
        for start in range(0, len(present), _USERS_AT_ONCE):
            part = slice(start, start + _USERS_AT_ONCE)
            sums += by_user[part].T @ self._counts[present[part]].astype(np.float32)
        return sums.T

    def figure(
        self, of_sums: Callable[[Floats], Floats], columns: Floats, rows: NDArray | None = None
    ) -> Resampled:
        """A figure that is a function of column sums, such as a ratio of two: on the log and resampled.

        Parameters
        ----------
        of_sums : callable
            Takes sums of shape (..., k) to figures of shape (...) or (..., m): the log's own sums come as
            (k,), those of the replicates as (n_replicates, k).
        columns, rows
            As in `sums`.

        Examples
        --------
        >>> resampled = UserBootstrap(np.arange(3), np.random.default_rng(0), 100)
        >>> spent_and_earned = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
        >>> resampled.figure(lambda sums: sums[..., 1] / sums[..., 0], spent_and_earned).interval(0.95)
        Interval(value=2.0, low=2.0, high=2.0)
        """
        return Resampled(of_sums(columns.sum(axis=0)), of_sums(self.sums(columns, rows)))
