"""How a user answers offers: services seen, and services taken.

An offer is taken by a use of the service within uptake_days after it was shown to the user. It is known,
and counted, from the time of that use on.
"""

from numpy.typing import NDArray

from features.asof import ratio
from features.known import Known


def offers_seen(known: Known, days: int | None = None) -> NDArray:
    """Services shown; a list of three counts three."""
    return known.offers.count(days)


def offers_recency_days(known: Known) -> NDArray:
    """Days since a service was last shown."""
    return known.offers.days_since_last()


def offers_taken(known: Known, days: int | None = None) -> NDArray:
    """Uses that took up an offer."""
    return known.takes.count(days)


def taken_recency_days(known: Known) -> NDArray:
    """Days since an offer was last taken."""
    return known.takes.days_since_last()


def taken_per_offer(known: Known) -> NDArray:
    """Uses that took up an offer, for each service shown; above 1 where one offer led to several uses."""
    return ratio(offers_taken(known), offers_seen(known))


def seen(known: Known, days: int | None = None) -> NDArray:
    """Times each service was shown, shape (n, n_services)."""
    return known.offers.count_by("service", days)


def taken(known: Known, days: int | None = None) -> NDArray:
    """Times each service was taken, shape (n, n_services)."""
    return known.takes.count_by("service", days)
