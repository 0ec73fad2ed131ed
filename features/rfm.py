"""Recency, frequency and monetary value of a user's orders. Money is in currency units."""

from numpy.typing import NDArray

from features.asof import ratio
from features.known import Known


def recency_days(known: Known) -> NDArray:
    """Days since the last order."""
    return known.orders.days_since_last()


def tenure_days(known: Known) -> NDArray:
    """Days since the first order."""
    return known.orders.days_since_first()


def frequency(known: Known, days: int | None = None) -> NDArray:
    """Orders."""
    return known.orders.count(days)


def monetary(known: Known, days: int | None = None) -> NDArray:
    """Amount of the orders."""
    return known.orders.sum("amount_cents", days) / 100


def margin(known: Known, days: int | None = None) -> NDArray:
    """Margin of the orders."""
    return known.orders.sum("margin_cents", days) / 100


def basket(known: Known, days: int | None = None) -> NDArray:
    """Mean amount of an order."""
    return ratio(monetary(known, days), frequency(known, days))
