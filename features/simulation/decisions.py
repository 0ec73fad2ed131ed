"""What the simulated shop showed, to whom and when, with the exact probability of each decision.

The logging policy is a mixture: with probability HOLDOUT nothing is shown; with probability EXPLORE a
list whose length is uniform and whose services are drawn uniformly without replacement, in random order,
from all that are not rare; else one service, drawn by its popularity and by how often the user had used
it during the first BURN_IN_DAYS.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.simulation.customers import Customers
from features.simulation.response import REPURCHASE_DAYS
from features.simulation.services import Offering

BURN_IN_DAYS = 35  # a user is left alone this long, so that there is something to know
HOLDOUT = 0.15
EXPLORE = 0.2
LONGEST = 4  # services in a list
ARMS = ("holdout", "explore", "policy")

_LONGEST_PAUSE = 5  # days between the end of one outcome window and the next decision
_USE_PULL = 1.0  # each early use adds this to a service's weight, relative to its popularity


@dataclass(frozen=True)
class Decisions:
    """One row a decision, sorted by user and time."""

    user: NDArray[np.intp]
    day: NDArray[np.float64]
    slates: NDArray[np.intp]  # (n, longest) service positions in the order shown, -1 pads
    arm: NDArray[np.intp]  # position in ARMS
    slate_propensity: NDArray[np.float64]  # of the whole list; of nothing where nothing was shown
    propensity: NDArray[np.float64]  # (n, longest), that this service stands at this position

    def __len__(self) -> int:
        return len(self.user)

    @property
    def length(self) -> NDArray[np.intp]:
        """Services shown."""
        return (self.slates >= 0).sum(axis=1)


@dataclass(frozen=True)
class LoggingPolicy:
    """The probabilities of all lists, from one weight for each user and service."""

    weights: NDArray[np.float64]  # (n_users, n_services), rows sum to 1
    pool: NDArray[np.intp]  # services that exploration draws from

    @classmethod
    def of(cls, offering: Offering, n_uses: NDArray[np.int64]) -> "LoggingPolicy":
        """The policy given each user's early uses, shape (n_users, n_services)."""
        weights = offering.popularity * (1 + _USE_PULL * n_uses)
        return cls(weights / weights.sum(axis=1, keepdims=True), np.flatnonzero(~offering.is_rare))

    @property
    def longest(self) -> int:
        return min(LONGEST, len(self.pool))

    def draw(
        self, user: NDArray[np.intp], rng: np.random.Generator
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """A list and an arm for each decision; shapes (n, longest) and (n,)."""
        arm = rng.choice(len(ARMS), len(user), p=[HOLDOUT, EXPLORE, 1 - HOLDOUT - EXPLORE])
        slates = np.full((len(user), self.longest), -1)
        policy = np.flatnonzero(arm == ARMS.index("policy"))
        slates[policy, 0] = _draw_by_weight(self.weights, user[policy], rng)
        explore = np.flatnonzero(arm == ARMS.index("explore"))
        order = np.argsort(rng.random((len(explore), len(self.pool))), axis=1)[:, : self.longest]
        length = rng.integers(1, self.longest + 1, len(explore))
        slates[explore] = np.where(np.arange(self.longest) < length[:, None], self.pool[order], -1)
        return slates, arm

    def slate_propensity(self, user: NDArray[np.intp], slates: NDArray[np.intp]) -> NDArray[np.float64]:
        """P(exactly this list, in this order); of nothing where the list is empty."""
        length = (slates >= 0).sum(axis=1)
        orders_of_length = np.cumprod(np.concatenate([[1.0], len(self.pool) - np.arange(self.longest)]))
        explored = np.isin(slates, self.pool).sum(axis=1) == length
        p_explore = np.where(explored, EXPLORE / self.longest / orders_of_length[length], 0.0)
        p_policy = (1 - HOLDOUT - EXPLORE) * self.weights[user, slates[:, 0]]
        return np.where(length == 0, HOLDOUT, p_explore + np.where(length == 1, p_policy, 0.0))

    def position_propensity(self, user: NDArray[np.intp], slates: NDArray[np.intp]) -> NDArray[np.float64]:
        """P(this service at this position, whatever stands elsewhere), shape of `slates`."""
        p_as_long = (self.longest - np.arange(self.longest)) / self.longest
        p = np.where(np.isin(slates, self.pool), EXPLORE * p_as_long / len(self.pool), 0.0)
        p[:, 0] += (1 - HOLDOUT - EXPLORE) * self.weights[user, slates[:, 0]]
        return p


def decide(customers: Customers, policy: LoggingPolicy, n_days: int, rng: np.random.Generator) -> Decisions:
    """Decisions from the end of each user's burn-in on, whose outcome windows never overlap or stay open."""
    user, day = draw_decision_days(customers, n_days, rng)
    slates, arm = policy.draw(user, rng)
    return Decisions(
        user=user,
        day=day,
        slates=slates,
        arm=arm,
        slate_propensity=policy.slate_propensity(user, slates),
        propensity=policy.position_propensity(user, slates),
    )


def draw_decision_days(
    customers: Customers, n_days: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """User and day of each decision, sorted by both."""
    most = 1 + (n_days - BURN_IN_DAYS) // REPURCHASE_DAYS
    pause = rng.uniform(0, _LONGEST_PAUSE, (len(customers), most))
    first = customers.start_day + BURN_IN_DAYS
    day = first[:, None] + np.cumsum(pause, axis=1) + REPURCHASE_DAYS * np.arange(most)
    user, place = np.nonzero(day + REPURCHASE_DAYS < n_days)
    return user, day[user, place]


def _draw_by_weight(
    weights: NDArray[np.float64], user: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.intp]:
    steps = np.cumsum(weights, axis=1)
    return (rng.random(len(user))[:, None] * steps[user, -1:] >= steps[user]).sum(axis=1)
