"""What happened around exposures: orders, and uses or clicks of one service."""

import numpy as np
from numpy.typing import NDArray

from features.asof import DAY_US, Ints, Log
from features.history import History
from training.dataset import Dataset


def orders_within(
    history: History, rows: Dataset, begin_days: float, end_days: float
) -> tuple[Ints, NDArray[np.float64]]:
    """Orders of each row's user from `begin_days` to `end_days` after the exposure, and their margin."""
    begin = history.orders.rows_before(rows.user, _later(rows, begin_days))
    end = history.orders.rows_before(rows.user, _later(rows, end_days))
    margin_cents = history.orders.total("margin_cents")
    return end - begin, (margin_cents[end] - margin_cents[begin]) / 100


class OfService:
    """The rows of a log by user and service."""

    def __init__(self, log: Log, n_services: int) -> None:
        log = log.only(log.columns["service"] >= 0)
        self._n_services = n_services
        pair = log.user.astype(np.int64) * n_services + log.columns["service"]
        self._log = Log(pair, log.at_us, log.n_users * n_services)

    def within(self, rows: Dataset, service: NDArray, begin_days: float, end_days: float) -> Ints:
        """How many of that service, shape (n,), fall from `begin_days` to `end_days` after each exposure."""
        pair = rows.user * self._n_services + service
        begin, end = _later(rows, begin_days), _later(rows, end_days)
        return self._log.rows_before(pair, end) - self._log.rows_before(pair, begin)


def _later(rows: Dataset, days: float) -> Ints:
    return rows.shown_at_us + np.int64(days * DAY_US)
