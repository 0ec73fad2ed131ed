"""What a user does with the services: views, clicks and uses, of which services and categories."""

from numpy.typing import NDArray

from features.asof import ratio
from features.known import CLICKED, OTHER, VIEWED, Known


def events_recency_days(known: Known) -> NDArray:
    """Days since the last event of any name."""
    return known.events.days_since_last()


def viewed(known: Known, days: int | None = None) -> NDArray:
    """Events `viewed`."""
    return known.events.count_of("kind", VIEWED, days)


def clicked(known: Known, days: int | None = None) -> NDArray:
    """Events `clicked`."""
    return known.events.count_of("kind", CLICKED, days)


def other_events(known: Known, days: int | None = None) -> NDArray:
    """Events of the shop's own names, all together."""
    return known.events.count_of("kind", OTHER, days)


def used(known: Known, days: int | None = None) -> NDArray:
    """Events `used`, with or without a service."""
    return known.uses.count(days)


def used_recency_days(known: Known) -> NDArray:
    """Days since the last use."""
    return known.uses.days_since_last()


def used_trend(known: Known, days: int) -> NDArray:
    """Uses of the last third of the window against an even pace: 1 is steady, 3 all of them recent."""
    return 3 * ratio(used(known, days // 3), used(known, days))


def used_value(known: Known, days: int | None = None) -> NDArray:
    """Sum of the `value` of the uses, in the shop's own unit."""
    return known.uses.sum("value_thousandths", days) / 1000


def services_used(known: Known, days: int | None = None) -> NDArray:
    """Different services used."""
    return (uses(known, days) > 0).sum(axis=1)


def share_of_uses(known: Known, days: int | None = None) -> NDArray:
    """Share of the uses that went to each category of services, shape (n, n_categories)."""
    n_uses = uses(known, days)
    return ratio(n_uses @ known.category_of, n_uses.sum(axis=1, keepdims=True))


def uses(known: Known, days: int | None = None) -> NDArray:
    """Uses of each service, shape (n, n_services)."""
    return known.uses.count_by("service", days)


def uses_recency_days(known: Known) -> NDArray:
    """Days since the last use of each service, shape (n, n_services)."""
    return known.uses.days_since_last_by("service")
