"""How often each service was shown to anybody today, counted as decisions are made."""

import numpy as np
from numpy.typing import NDArray

from offers.calendar import QUARTER_US

_KEPT_QUARTERS = 3 * 96  # older counts are dropped

Ints = NDArray[np.int64]

_NONE: Ints = np.empty(0, np.int64)


class ShownToday:
    """Counts of showings by service and quarter of an hour, of the last days.

    Parameters
    ----------
    counted : tuple, optional
        What ``count`` gave.
    """

    def __init__(self, n_services: int, counted: tuple[Ints, Ints] | None = None) -> None:
        self._n_services = n_services
        quarters, counts = self.count(n_services, _NONE, _NONE) if counted is None else counted
        self._counts: dict[int, Ints] = dict(zip(quarters.tolist(), np.array(counts)))
        self._since_us: int | None = None
        self._total = np.zeros(n_services, np.int64)

    @staticmethod
    def count(n_services: int, at_us: Ints, place: NDArray[np.integer]) -> tuple[Ints, Ints]:
        """What to begin with: the quarters of an hour with showings (n,), and counts (n, n_services)."""
        quarters, row = np.unique(at_us // QUARTER_US, return_inverse=True)
        counts = np.zeros((len(quarters), n_services), np.int64)
        np.add.at(counts, (row, place), 1)
        return quarters, counts

    def add(self, at_us: int, place: int, times: int = 1) -> None:
        """A service was shown; a place outside the catalogue is left out."""
        if not 0 <= place < self._n_services:
            return
        quarter = at_us // QUARTER_US
        if quarter not in self._counts:
            self._counts[quarter] = np.zeros(self._n_services, np.int64)
            newest = max(self._counts)
            for old in [one for one in self._counts if one < newest - _KEPT_QUARTERS]:
                del self._counts[old]
        if quarter in self._counts:
            self._counts[quarter][place] += times
        if self._since_us is not None and at_us >= self._since_us:
            self._total[place] += times

    def since(self, day_start_us: int) -> Ints:
        """How often each service was shown from this moment on, shape (n_services,)."""
        if day_start_us != self._since_us:
            self._since_us = day_start_us
            parts = [count for quarter, count in self._counts.items() if quarter * QUARTER_US >= day_start_us]
            self._total = np.sum(parts, axis=0) if parts else np.zeros(self._n_services, np.int64)
        return self._total.copy()
