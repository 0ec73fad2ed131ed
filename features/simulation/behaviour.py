"""What simulated users do by themselves and after an offer: orders, visits, views, uses and feedback."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.simulation.customers import Customers
from features.simulation.decisions import BURN_IN_DAYS, Decisions
from features.simulation.response import (
    REPURCHASE_DAYS,
    SEASON_PEAK,
    UPTAKE_DAYS,
    Answer,
    pace,
    respond,
)
from features.simulation.services import Offering

_AMOUNT_NOISE = 0.35  # standard deviation of the logarithm of an order's amount
_VISITS_PER_ORDER = 4.0
_VIEWS_PER_DAY = 0.12
_UNASKED_USES = 25.0  # in the time of the burn-in, times the average uptake of all services
_CLICK_WITHOUT_USE = -2.0  # log-odds
_SHARE_GIVING_FEEDBACK = 0.5
_NPS_AVERAGE, _NPS_OF_TASTE, _NPS_NOISE = 7.0, 1.6, 1.2
_MINUTES = 10.0  # of a use by a user of average taste
_HOUR = 1 / 24


@dataclass(frozen=True)
class Happenings:
    """Rows of one kind; days count from the start of the world, service -1 means none."""

    user: NDArray[np.intp]
    day: NDArray[np.float64]
    service: NDArray[np.intp]
    value: NDArray[np.float64]

    @classmethod
    def joined(cls, *parts: "Happenings") -> "Happenings":
        """All rows, one part after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__annotations__))

    def take(self, rows: NDArray) -> "Happenings":
        return Happenings(self.user[rows], self.day[rows], self.service[rows], self.value[rows])


def draw_orders(
    customers: Customers,
    decisions: Decisions,
    answers: Answer,
    n_days: int,
    rng: np.random.Generator,
    repurchase_days: int = REPURCHASE_DAYS,
) -> Happenings:
    """Orders of all users; `value` is the amount in currency units, whole cents.

    What an answer takes away is thinned from the orders of its window, what it adds is drawn on top.
    """
    user, day = _poisson(customers.order_rate * SEASON_PEAK, customers.start_day, n_days, rng)
    multiplier = _multiplier_at(decisions, answers, len(customers), user, day, repurchase_days)
    p_kept = np.minimum(multiplier, 1.0)
    kept = rng.random(len(user)) * SEASON_PEAK < pace(customers, user, day) * p_kept
    user, day = user[kept], day[kept]

    gain = np.maximum(answers.multiplier - 1, 0.0)
    rate = customers.order_rate[decisions.user] * SEASON_PEAK * gain
    row, extra_day = _poisson(rate, decisions.day, decisions.day + repurchase_days, rng)
    extra_user = decisions.user[row]
    kept = rng.random(len(row)) * SEASON_PEAK < pace(customers, extra_user, extra_day)

    user, day = np.concatenate([user, extra_user[kept]]), np.concatenate([day, extra_day[kept]])
    noise = _AMOUNT_NOISE * rng.standard_normal(len(user)) - _AMOUNT_NOISE**2 / 2
    amount = np.maximum(np.round(customers.mean_amount[user] * np.exp(noise), 2), 0.01)
    return Happenings(user, day, np.full(len(user), -1), amount)


def _multiplier_at(
    decisions: Decisions,
    answers: Answer,
    n_users: int,
    user: NDArray[np.intp],
    day: NDArray[np.float64],
    repurchase_days: int,
) -> NDArray[np.float64]:
    """The multiplier in force for each user and day; 1 outside every window."""
    latest = _latest_decision(decisions, n_users, user, day)
    multiplier = np.ones(len(user))
    after = np.flatnonzero(latest >= 0)
    inside = after[day[after] < decisions.day[latest[after]] + repurchase_days]
    multiplier[inside] = answers.multiplier[latest[inside]]
    return multiplier


def _latest_decision(
    decisions: Decisions, n_users: int, user: NDArray[np.intp], day: NDArray[np.float64]
) -> NDArray[np.intp]:
    """The row of each user's last decision up to a day, -1 where there is none."""
    if len(decisions) == 0:
        return np.full(len(user), -1)
    first = np.searchsorted(decisions.user, np.arange(n_users))
    place = np.arange(len(decisions)) - first[decisions.user]
    starts = np.full((n_users, place.max(initial=0) + 1), np.inf)
    starts[decisions.user, place] = decisions.day
    before = (starts[user] <= day[:, None]).sum(axis=1)
    return np.where(before > 0, first[user] + before - 1, -1)


def draw_visits(customers: Customers, n_days: int, rng: np.random.Generator) -> Happenings:
    """Visits to the shop, in step with the user's order rate."""
    rate = _VISITS_PER_ORDER * customers.order_rate * SEASON_PEAK
    user, day = _poisson(rate, customers.start_day, n_days, rng)
    kept = rng.random(len(user)) * SEASON_PEAK < pace(customers, user, day)
    return _plain(user[kept], day[kept])


def draw_views(customers: Customers, offering: Offering, n_days: int, rng: np.random.Generator) -> Happenings:
    """Services looked at unasked, more often those of a topic that the user has a taste for."""
    rate = np.full(len(customers), _VIEWS_PER_DAY * SEASON_PEAK)
    user, day = _poisson(rate, customers.start_day, n_days, rng)
    kept = rng.random(len(user)) * SEASON_PEAK < pace(customers, user, day)
    user, day = user[kept], day[kept]
    steps = np.cumsum(np.exp(customers.taste)[:, offering.topic], axis=1)
    service = (rng.random(len(user))[:, None] * steps[user, -1:] >= steps[user]).sum(axis=1)
    return Happenings(user, day, service, np.full(len(user), np.nan))


def draw_unasked_uses(
    customers: Customers, offering: Offering, n_days: int, rng: np.random.Generator
) -> Happenings:
    """Services used without an offer, in proportion to the uptake they would have if offered."""
    users = np.arange(len(customers))
    parts = []
    for service in range(len(offering)):
        each = np.full(len(users), service)
        uptake = respond(customers, offering, users, each, customers.start_day).uptake
        rate = uptake * _UNASKED_USES / len(offering) / BURN_IN_DAYS
        user, day = _poisson(rate, customers.start_day, n_days, rng)
        parts.append(_plain(user, day, np.full(len(user), service)))
    return Happenings.joined(*parts)


def outside_uptake_windows(uses: Happenings, decisions: Decisions, n_users: int) -> Happenings:
    """The uses that cannot be taken for the uptake of an offer."""
    latest = _latest_decision(decisions, n_users, uses.user, uses.day)
    outside = latest < 0
    outside[~outside] = uses.day[~outside] >= decisions.day[latest[~outside]] + UPTAKE_DAYS
    return uses.take(outside)


def count_uses(uses: Happenings, n_users: int, n_services: int) -> NDArray[np.int64]:
    """Uses of each service by each user, shape (n_users, n_services)."""
    cell = uses.user * n_services + uses.service
    return np.bincount(cell, minlength=n_users * n_services).reshape(n_users, n_services)


def draw_uses(decisions: Decisions, answers: Answer, rng: np.random.Generator) -> Happenings:
    """The use of each service that was taken up, between an hour after the offer and UPTAKE_DAYS."""
    took = np.flatnonzero(answers.taken >= 0)
    delay = _HOUR + (UPTAKE_DAYS - 2 * _HOUR) * rng.beta(1, 3, len(took))
    return _plain(decisions.user[took], decisions.day[took] + delay, answers.taken[took])


def draw_clicks(
    customers: Customers, decisions: Decisions, answers: Answer, rng: np.random.Generator
) -> Happenings:
    """Clicks on services shown: on all that are taken up, and on others by the more open users."""
    row, place = np.nonzero(decisions.slates >= 0)
    user, service = decisions.user[row], decisions.slates[row, place]
    p_click = 1 / (1 + np.exp(-(_CLICK_WITHOUT_USE + customers.openness[user])))
    clicked = (service == answers.taken[row]) | (rng.random(len(row)) < p_click)
    day = decisions.day[row] + rng.uniform(0.01, 1, len(row)) * _HOUR
    return _plain(user[clicked], day[clicked], service[clicked])


def with_minutes(
    customers: Customers, offering: Offering, uses: Happenings, rng: np.random.Generator
) -> Happenings:
    """The uses with minutes of use as their value, longer where the taste is greater."""
    taste = customers.taste[uses.user, offering.topic[uses.service]]
    minutes = rng.gamma(4.0, _MINUTES / 4.0, len(uses.user)) * np.exp(0.4 * taste)
    return Happenings(uses.user, uses.day, uses.service, np.round(minutes, 1))


def draw_feedback(
    customers: Customers, offering: Offering, uses: Happenings, n_days: int, rng: np.random.Generator
) -> Happenings:
    """NPS answers some days after a use; `value` is the NPS, higher where the service fits the taste."""
    asked = uses.take(rng.random(len(uses.user)) < _SHARE_GIVING_FEEDBACK)
    taste = customers.taste[asked.user, offering.topic[asked.service]]
    raw = _NPS_AVERAGE + _NPS_OF_TASTE * taste + _NPS_NOISE * rng.standard_normal(len(taste))
    day = asked.day + rng.uniform(0.5, 5, len(taste))
    nps = np.clip(np.rint(raw), 0, 10)
    return Happenings(asked.user, day, asked.service, nps).take(day < n_days)


def _poisson(
    rate: NDArray[np.float64],
    start: NDArray[np.float64],
    end: NDArray[np.float64] | float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Row and day of the points of Poisson processes, one a row, between start and end."""
    span = end - start
    row = np.repeat(np.arange(len(rate)), rng.poisson(rate * span))
    return row, start[row] + rng.random(len(row)) * span[row]


def _plain(
    user: NDArray[np.intp], day: NDArray[np.float64], service: NDArray[np.intp] | None = None
) -> Happenings:
    """Rows without a value and, unless given, without a service."""
    if service is None:
        service = np.full(len(user), -1)
    return Happenings(user, day, service, np.full(len(user), np.nan))
