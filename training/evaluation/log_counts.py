"""How much there is in the log: exposures by arm, and by wave or month."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_WAVES = 12  # up to this many different times are waves of their own; more are counted by month


@dataclass(frozen=True)
class Period:
    """One wave or one month of the log."""

    start: str  # ISO: a time of a wave, or a month
    n: int
    n_nothing: int


@dataclass(frozen=True)
class LogCounts:
    """Exposures of the whole log, before it is split into training and held-out rows."""

    n: int
    n_users: int
    n_nothing: int
    n_several: int
    n_by_service: tuple[int, ...]
    periods: tuple[Period, ...]


def count_log(service: NDArray, user: NDArray, shown_at_us: NDArray, n_services: int) -> LogCounts:
    """Counts of a log with one row a slate.

    Parameters
    ----------
    service : int array of shape (n,)
        Catalogue position, -1 nothing, -2 a list of several.
    user, shown_at_us : int arrays of shape (n,)
        Whose, and when (microseconds since 1970, UTC).

    Examples
    --------
    >>> counts = count_log(np.array([-1, 0, 0]), np.array([0, 1, 2]), np.array([0, 0, 86_400_000_000]), 1)
    >>> counts.n_by_service, [(p.start, p.n, p.n_nothing) for p in counts.periods]
    ((2,), [('1970-01-01 00:00', 2, 1), ('1970-01-02 00:00', 1, 0)])
    """
    return LogCounts(
        n=len(service),
        n_users=len(np.unique(user)),
        n_nothing=int((service == -1).sum()),
        n_several=int((service == -2).sum()),
        n_by_service=tuple(np.bincount(service[service >= 0], minlength=n_services).tolist()),
        periods=_periods(service == -1, shown_at_us.astype("datetime64[us]")),
    )


def _periods(nothing: NDArray[np.bool_], at: NDArray[np.datetime64]) -> tuple[Period, ...]:
    starts, period = np.unique(at.astype("datetime64[m]"), return_inverse=True)
    if len(starts) > _MOST_WAVES:
        starts, period = np.unique(at.astype("datetime64[M]"), return_inverse=True)
    rows = zip(
        starts.astype(str).tolist(),
        np.bincount(period).tolist(),
        np.bincount(period, nothing).tolist(),
        strict=True,
    )
    return tuple(Period(start.replace("T", " "), n, int(n_nothing)) for start, n, n_nothing in rows)
