"""How a simulated user answers to an offer, in closed form: the truth behind the tables.

Orders are a Poisson process whose rate is the user's own, times the season, times LAPSED_PACE once the
user has lapsed. For `REPURCHASE_DAYS` after a decision the rate is multiplied by

    1 + Σ scale_s · direct_s + through_t

where t is the service taken up (if any) and scale_s is 1 for a service offered alone. In a list,
scale_s = P(take s in the list) / P(take s alone), so that the uplift in margin of a list is the sum of
its services' uplifts, each scaled in that proportion.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.simulation.customers import Customers
from features.simulation.services import Offering
from offers.choice import attraction, choice_effort

UPTAKE_DAYS = 7
REPURCHASE_DAYS = 14
MARGIN_RATE = 0.3
CHOICE_LOAD = 0.35  # A0(n) = 1 + CHOICE_LOAD * (n - 1)
WEEK_SWING, YEAR_SWING = 0.25, 0.2  # relative, of the order rate
SEASON_PEAK = 1 + WEEK_SWING + YEAR_SWING
LAPSED_PACE = 0.3

_UPTAKE_BOUNDS = (0.01, 0.6)
_DIRECT_BOUNDS = (-0.2, 0.8)  # with the next line: no list makes the rate negative
_THROUGH_BOUNDS = (-0.4, 5.0)


def season(day: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative order rate at a day since the start of the world; 1 on average over weeks and years."""
    return 1 + WEEK_SWING * np.sin(2 * np.pi * day / 7) + YEAR_SWING * np.sin(2 * np.pi * day / 365)


def season_total(day: NDArray[np.float64]) -> NDArray[np.float64]:
    """The integral of `season`; differences of it are seasonal days."""
    week, year = 2 * np.pi / 7, 2 * np.pi / 365
    return day - WEEK_SWING / week * np.cos(week * day) - YEAR_SWING / year * np.cos(year * day)


def pace(customers: Customers, user: NDArray[np.intp], day: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative rate of everything the users do, at most `SEASON_PEAK`."""
    return season(day) * np.where(day >= customers.lapse_day[user], LAPSED_PACE, 1.0)


def orders_expected(
    customers: Customers, user: NDArray[np.intp], day: NDArray[np.float64], n_days: int = REPURCHASE_DAYS
) -> NDArray[np.float64]:
    """Orders in the `n_days` from `day` on if nothing is offered."""
    end = day + n_days
    turn = np.clip(customers.lapse_day[user], day, end)
    active = season_total(turn) - season_total(day)
    lapsed = season_total(end) - season_total(turn)
    return customers.order_rate[user] * (active + LAPSED_PACE * lapsed)


@dataclass(frozen=True)
class Response:
    """What one service, offered alone at one time, does to each user of an array of shape (n,)."""

    uptake: NDArray[np.float64]  # P(used within UPTAKE_DAYS)
    direct: NDArray[np.float64]  # relative change in orders by being shown
    through: NDArray[np.float64]  # further change once taken up
    orders: NDArray[np.float64]  # expected in the window if nothing is offered
    margin_per_order: NDArray[np.float64]  # currency units

    @property
    def uplift_margin(self) -> NDArray[np.float64]:
        """E[margin | offered] - E[margin | nothing], currency units, before costs."""
        return self.margin_per_order * self.orders * (self.direct + self.uptake * self.through)

    @property
    def uplift_repurchase(self) -> NDArray[np.float64]:
        """P(an order | offered) - P(an order | nothing)."""
        p_none = np.exp(-self.orders)
        p_none_untaken = np.exp(-self.orders * (1 + self.direct))
        p_none_taken = np.exp(-self.orders * (1 + self.direct + self.through))
        return p_none - self.uptake * p_none_taken - (1 - self.uptake) * p_none_untaken


def respond(
    customers: Customers,
    offering: Offering,
    user: NDArray[np.intp],
    service: NDArray[np.intp],
    day: NDArray[np.float64],
    repurchase_days: int = REPURCHASE_DAYS,
) -> Response:
    """The response of each (user, service, day); all three have shape (n,)."""
    factors = _factors(customers, offering, user, service, day)
    logit = np.einsum("nf,nf->n", factors, offering.uptake[service])
    direct = np.einsum("nf,nf->n", factors, offering.direct[service])
    through = np.einsum("nf,nf->n", factors, offering.through[service])
    return Response(
        uptake=np.clip(1 / (1 + np.exp(-logit)), *_UPTAKE_BOUNDS),
        direct=np.clip(direct, *_DIRECT_BOUNDS),
        through=np.clip(through, *_THROUGH_BOUNDS),
        orders=orders_expected(customers, user, day, repurchase_days),
        margin_per_order=MARGIN_RATE * customers.mean_amount[user],
    )


def _factors(
    customers: Customers,
    offering: Offering,
    user: NDArray[np.intp],
    service: NDArray[np.intp],
    day: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The values of FACTORS, shape (n, n_factors)."""
    return np.column_stack(
        [
            np.ones(len(user)),
            customers.taste[user, offering.topic[service]],
            customers.openness[user],
            customers.activity[user],
            customers.youth[user],
            day >= customers.lapse_day[user],
            customers.region[user] == offering.home_region[service],
        ]
    )


@dataclass(frozen=True)
class Answer:
    """What users did with the lists they were shown; each array has shape (n,)."""

    taken: NDArray[np.intp]  # service position, -1: none
    multiplier: NDArray[np.float64]  # of the order rate in the window


def take_probabilities(uptake: NDArray[np.float64], shown: NDArray[np.bool_]) -> NDArray[np.float64]:
    """P(take) of each place of padded lists, shape (n, longest), given the uptake of each alone."""
    odds = np.where(shown, attraction(uptake), 0.0)
    effort_of_length = np.array([choice_effort(n, CHOICE_LOAD) for n in range(shown.shape[1] + 1)])
    return odds / (effort_of_length[shown.sum(axis=1)] + odds.sum(axis=1))[:, None]


def answer(
    customers: Customers,
    offering: Offering,
    user: NDArray[np.intp],
    day: NDArray[np.float64],
    slates: NDArray[np.intp],
    rng: np.random.Generator,
) -> Answer:
    """Draw what each user takes from a list, and what that does to the orders.

    Parameters
    ----------
    slates : int array of shape (n, longest)
        Service positions, padded with -1 at the end; a row of -1 alone is nothing.
    """
    shown = slates >= 0
    row, place = np.nonzero(shown)
    each = respond(customers, offering, user[row], slates[row, place], day[row])
    alone = _spread(each.uptake, row, place, slates.shape)
    p_take = take_probabilities(alone, shown)
    scale = np.divide(p_take, alone, out=np.zeros_like(alone), where=shown)
    place_taken = (rng.random(len(user))[:, None] >= np.cumsum(p_take, axis=1)).sum(axis=1)
    is_taken = place_taken[:, None] == np.arange(slates.shape[1])
    change = scale * _spread(each.direct, row, place, slates.shape)
    change += is_taken * _spread(each.through, row, place, slates.shape)
    taken = np.where(is_taken.any(axis=1), np.where(is_taken, slates, 0).sum(axis=1), -1)
    return Answer(taken=taken, multiplier=1 + change.sum(axis=1))


def _spread(
    values: NDArray[np.float64], row: NDArray[np.intp], place: NDArray[np.intp], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    padded = np.zeros(shape)
    padded[row, place] = values
    return padded
