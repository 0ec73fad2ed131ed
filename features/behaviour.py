"""The rhythm of a user's orders: gaps between them, and whether they come faster or slower than before."""

import numpy as np
from numpy.typing import NDArray

from features import rfm
from features.asof import DAY_US, ratio
from features.known import Known

_MINUTES_A_DAY = 24 * 60  # gaps are summed in whole minutes: the squares of microseconds overflow


def account_age_days(known: Known) -> NDArray:
    """Days since the user joined."""
    return (known.as_of_us - known.joined_at_us) / DAY_US


def gap_mean_days(known: Known) -> NDArray:
    """Mean days between an order and the next; unknown before the second order."""
    return ratio(known.orders.sum("gap_minutes"), _n_gaps(known)) / _MINUTES_A_DAY


def gap_std_days(known: Known) -> NDArray:
    """Standard deviation of the days between orders; 0 with one gap."""
    n_gaps = _n_gaps(known)
    mean = ratio(known.orders.sum("gap_minutes"), n_gaps)
    variance = ratio(known.orders.sum("gap_minutes_squared"), n_gaps) - mean * mean
    return np.sqrt(np.maximum(variance, 0)) / _MINUTES_A_DAY


def gaps_overdue(known: Known) -> NDArray:
    """Recency in units of the user's own mean gap: above 1 the next order is late."""
    return ratio(rfm.recency_days(known), gap_mean_days(known))


def frequency_trend(known: Known, days: int) -> NDArray:
    """Orders of the last third of the window against an even pace: 1 is steady, 3 all of them recent."""
    return 3 * ratio(rfm.frequency(known, days // 3), rfm.frequency(known, days))


def monetary_trend(known: Known, days: int) -> NDArray:
    """The same of their amount."""
    return 3 * ratio(rfm.monetary(known, days // 3), rfm.monetary(known, days))


def _n_gaps(known: Known) -> NDArray:
    return np.maximum(known.orders.count() - 1, 0)
