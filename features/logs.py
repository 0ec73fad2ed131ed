"""The logs that profiles are read from: orders, events, uses, offers, takes and feedback, each sorted once.

Services are positions in the order of their ids, -1 where a row has none or one that is not known.
"""

import numpy as np
from numpy.typing import NDArray

from features.asof import At, Floats, Ints, Log
from features.known import OTHER, USED

_MINUTE_US = 60_000_000
_USERS_AT_ONCE = 1 << 15
_LARGEST_VALUE = 1e9  # an event's value beyond it counts as it, so that sums stay within 64 bits


def order_log(
    user: NDArray, at_us: Ints, n_users: int, *, amount_cents: NDArray, margin_cents: NDArray
) -> Log:
    """Orders, each with the gap since the user's order before."""
    log = Log(user, at_us, n_users, amount_cents=amount_cents, margin_cents=margin_cents)
    gap_minutes = log.gaps_us() // _MINUTE_US
    log.add(gap_minutes=gap_minutes, gap_minutes_squared=gap_minutes * gap_minutes)
    return log


def event_log(
    user: NDArray,
    at_us: Ints,
    n_users: int,
    n_services: int,
    *,
    kind: NDArray,
    service: NDArray,
    value: NDArray,
) -> Log:
    """Events of every name, by kind."""
    return Log(user, at_us, n_users, event_levels(n_services), kind=kind, service=service, value=value)


def event_levels(n_services: int) -> dict[str, int]:
    """What events, uses and takes are counted by."""
    return {"kind": OTHER + 1, "service": n_services}


def offer_levels(n_services: int) -> dict[str, int]:
    """What offers are counted by."""
    return {"service": n_services}


def use_log(events: Log) -> Log:
    """The events `used`, their values in whole thousandths; an empty value counts as 0."""
    uses = events.only(events.columns["kind"] == USED)
    value = np.clip(np.nan_to_num(uses.columns["value"]), -_LARGEST_VALUE, _LARGEST_VALUE)
    uses.add(value_thousandths=np.rint(value * 1000).astype(np.int64))
    return uses


def offer_log(user: NDArray, at_us: Ints, n_users: int, n_services: int, *, service: NDArray) -> Log:
    """Services shown; rows in which nothing was shown are left out."""
    shown = service >= 0
    return Log(user[shown], at_us[shown], n_users, offer_levels(n_services), service=service[shown])


def take_log(uses: Log, offers: Log, uptake_us: int) -> Log:
    """The uses that take an offer: the service was shown to the user less than `uptake_us` before."""
    uses = uses.only(uses.columns["service"] >= 0)
    blocks = range(0, uses.n_users, _USERS_AT_ONCE)  # of each, counts of every service are kept a while
    parts = [
        _since_shown_us(uses.users(at, _USERS_AT_ONCE), offers.users(at, _USERS_AT_ONCE)) for at in blocks
    ]
    return uses.only(np.concatenate([np.empty(0), *parts]) < uptake_us)


def _since_shown_us(uses: Log, offers: Log) -> Floats:
    until_now = At(offers, uses.user, uses.at_us + 1)
    return uses.at_us - until_now.last_at_us_of("service", uses.columns["service"])


def feedback_log(user: NDArray, at_us: Ints, n_users: int, *, nps: NDArray, service: NDArray) -> Log:
    """Answers; of several at one time the highest stands last, whatever the order of the rows."""
    order = np.lexsort((nps, at_us, user))
    return Log(user[order], at_us[order], n_users, nps=nps[order], service=service[order])
