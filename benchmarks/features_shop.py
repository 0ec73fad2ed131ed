"""A shop's logs for the benchmark of profiles: log-normal activity, ties, two years, any size."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.asof import DAY_US, Ints
from features.encoding import Attribute
from features.history import History
from features.logs import event_log, feedback_log, offer_log, order_log
from features.pipeline import Layout

SECOND_US = 1_000_000
START_US = 1_700_000_000 * SECOND_US // DAY_US * DAY_US
SPAN_DAYS = 730
N_SERVICES, N_CATEGORIES, N_KINDS = 12, 4, 4
UPTAKE_DAYS = 14

LAYOUT = Layout(
    service_ids=tuple(f"service-{service:02}" for service in range(N_SERVICES)),
    service_categories=tuple(f"category-{service % N_CATEGORIES}" for service in range(N_SERVICES)),
    attributes=(Attribute("region", tuple(f"region-{region}" for region in range(8))),),
)


@dataclass(frozen=True)
class Columns:
    """A table as arrays, in the order of time, as a shop writes its logs; users and services are codes."""

    user: NDArray[np.int32]
    at_us: Ints
    others: dict[str, NDArray]


@dataclass(frozen=True)
class Shop:
    joined_at_us: Ints
    region: NDArray[np.float64]
    orders: Columns
    events: Columns
    exposures: Columns
    feedback: Columns


def make_shop(n_users: int, rng: np.random.Generator) -> Shop:
    """Logs of a thousand users: 25 k orders, 100 k events, 10 k exposures, 1.5 k answers.

    Activity is log-normal: a few users hold thousands of rows. Times are whole seconds, and one
    exposure of fifty falls on the very second of an order of the same user.
    """
    n_orders, n_events, n_exposures = 25 * n_users, 100 * n_users, 10 * n_users
    order_user, order_at = _users(n_users, n_orders, 1.0, rng), _times(0, n_orders, rng)
    shown_to, shown_at = _users(n_users, n_exposures, 0.7, rng), _times(SPAN_DAYS // 2, n_exposures, rng)
    tied = np.flatnonzero(rng.random(n_exposures) < 0.02)
    order = rng.integers(0, n_orders, len(tied))
    shown_to[tied], shown_at[tied] = order_user[order], order_at[order]
    amount_cents = np.exp(rng.normal(7, 1, n_orders)).astype(np.int64) + 1
    n_answers = 3 * n_users // 2
    return Shop(
        joined_at_us=START_US + rng.integers(0, 300 * DAY_US // SECOND_US, n_users) * SECOND_US,
        region=rng.integers(0, 8, n_users).astype(np.float64),
        orders=_by_time(order_user, order_at, amount_cents=amount_cents, margin_cents=amount_cents * 3 // 10),
        events=_by_time(
            _users(n_users, n_events, 1.0, rng),
            _times(0, n_events, rng),
            kind=rng.integers(0, N_KINDS, n_events).astype(np.int8),
            service=rng.integers(0, N_SERVICES, n_events).astype(np.int16),
            value=rng.integers(0, 90, n_events).astype(np.float64),
        ),
        exposures=_by_time(
            shown_to, shown_at, service=rng.integers(0, N_SERVICES, n_exposures).astype(np.int16)
        ),
        feedback=_by_time(
            _users(n_users, n_answers, 0.5, rng),
            _times(0, n_answers, rng),
            nps=rng.integers(0, 11, n_answers),
            service=np.full(n_answers, -1, np.int16),
        ),
    )


def make_history(shop: Shop) -> History:
    """The same logs that `History.of` makes of tables, from codes instead of texts."""
    n_users = len(shop.joined_at_us)
    orders, events, exposures, feedback = shop.orders, shop.events, shop.exposures, shop.feedback
    return History.from_logs(
        LAYOUT,
        UPTAKE_DAYS,
        user_ids=tuple(map(str, range(n_users))),
        joined_at_us=shop.joined_at_us,
        attributes=shop.region[:, None],
        orders=order_log(orders.user, orders.at_us, n_users, **orders.others),
        events=event_log(events.user, events.at_us, n_users, N_SERVICES, **events.others),
        offers=offer_log(exposures.user, exposures.at_us, n_users, N_SERVICES, **exposures.others),
        feedback=feedback_log(feedback.user, feedback.at_us, n_users, **feedback.others),
    )


def _users(n_users: int, n: int, spread: float, rng: np.random.Generator) -> NDArray[np.int32]:
    share = np.cumsum(np.exp(rng.normal(0, spread, n_users)))
    return np.searchsorted(share / share[-1], rng.random(n)).clip(0, n_users - 1).astype(np.int32)


def _times(first_day: int, n: int, rng: np.random.Generator) -> Ints:
    day_seconds = DAY_US // SECOND_US
    return START_US + rng.integers(first_day * day_seconds, SPAN_DAYS * day_seconds, n) * SECOND_US


def _by_time(user: NDArray[np.int32], at_us: Ints, **others: NDArray) -> Columns:
    order = np.argsort(at_us, kind="stable")
    return Columns(user[order], at_us[order], {name: column[order] for name, column in others.items()})
