"""Local time: the day, the weekday and the minute that a moment falls on in a shop's time zone."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
QUARTER_US = 15 * MINUTE_US  # clocks change at quarters of an hour
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def zone_of(name: str) -> ZoneInfo | None:
    """The time zone of a name, or None where there is none."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        return None
    except KeyError:
        return None


def local_us(at_us: ArrayLike, zone: str) -> Ints:
    """Microseconds since 1970 by the clock on the wall.

    >>> (local_us([0, 182 * DAY_US], "Europe/London") - [0, 182 * DAY_US] == 3600 * 10**6).tolist()
    [True, True]
    """
    at = np.asarray(at_us, dtype=np.int64)
    if zone == "UTC":
        return at
    quarters, of = np.unique(at // QUARTER_US, return_inverse=True)
    offsets = np.array([_offset_us(quarter, zone) for quarter in quarters.tolist()], dtype=np.int64)
    return at + offsets[of].reshape(at.shape)


def day_start_us(at_us: ArrayLike, zone: str) -> Ints:
    """The moment at which the local day began, to the hour that clocks are changed by."""
    at = np.asarray(at_us, dtype=np.int64)
    midnight = local_us(at, zone) // DAY_US * DAY_US
    guess = at - (local_us(at, zone) - midnight)
    return guess - (local_us(guess, zone) - midnight)  # the clock may have changed since midnight


def weekday(local: Ints) -> Ints:
    """0 for Monday, of local time; 1970 began on a Thursday.

    >>> weekday(np.array([0])).tolist()
    [3]
    """
    return (local // DAY_US + 3) % 7


def minute_of_day(local: Ints) -> Ints:
    return local % DAY_US // MINUTE_US


@lru_cache(maxsize=65_536)
def _offset_us(quarter: int, zone: str) -> int:
    at = _EPOCH + timedelta(microseconds=quarter * QUARTER_US)
    offset = at.astimezone(ZoneInfo(zone)).utcoffset() or timedelta(0)
    return offset // timedelta(microseconds=1)
