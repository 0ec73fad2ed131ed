"""Held-out exposures of a shop whose true gains are known: what the gate is shown, day after day.

Customers come back, some often. Orders are few and log-normal, margins are capped as in training. Each
outcome is drawn after a logged decision; gains are doubly robust, with an outcome model that errs by a third.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from training.evaluation.policy_value import doubly_robust, match_weights
from training.gate import PairedGain

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

N_DAYS = 30
ORDERS = 0.15  # probability of an order where nothing is shown
CAP = 16.0  # of a margin: about its 0.999 quantile, 60 times its mean
LARGE = 0.01  # probability of an order of the size CAP, after the offers that bring them
SWING = 0.6  # where customers differ: what half of them gain and half lose, share of the mean margin
BEATEN = 0.5  # what the other rivals are worth less than the champion, share of the mean margin


@dataclass(frozen=True)
class Shop:
    """What is simulated. The rivals beside the champion are worth plainly less than it."""

    gain: float = 0.0  # true gain over the champion, share of the mean margin of an exposure
    n_services: int = 12
    n_a_day: int = 300  # exposures, by ten times as many customers
    differ: float = 0.5  # share of the customers to whom challenger and champion show different things
    kind: Literal["alike", "mixed", "quiet"] = "alike"  # alike: all customers gain the same; mixed: besides,
    # half gain what half lose; quiet: the challenger shows nothing where the champion's offers bring few but
    # large orders, and cost as much
    logged_by: Literal["chance", "champion", "challenger"] = "chance"  # all actions alike, or one policy's,
    # with 5 % of the decisions held out and 5 % drawn from all services and nothing


@dataclass(frozen=True)
class Log:
    """The exposures of `N_DAYS` days, in order, with the gains over each rival and the truth."""

    gains: dict[str, PairedGain]
    ends: dict[str, tuple[Floats, Floats]]  # between which each exposure's gain was bound to lie
    user: Ints  # numbered in the order in which they come first
    day: Ints  # from 0
    truth: dict[str, float]  # mean gain an exposure
    mean_margin: float  # of an exposure, where nothing is shown

    def until(self, day: int) -> tuple[dict[str, PairedGain], Ints]:
        """What there is at the end of a day."""
        n = int(np.searchsorted(self.day, day, side="right"))
        gains = {
            rival: PairedGain(
                gain.gain[:n],
                gain.ours[:n],
                gain.theirs[:n],
                float(self.ends[rival][0][:n].min()),
                float(self.ends[rival][1][:n].max()),
            )
            for rival, gain in self.gains.items()
        }
        return gains, self.user[:n]


@dataclass(frozen=True)
class _Customers:
    """They come in pairs that are equal in all but whom the challenger suits."""

    activity: Floats  # (n_users,) share of the exposures
    size: Floats  # (n_users,) of an order, beside chance
    differs: NDArray[np.bool_]
    suited: NDArray[np.bool_]

    @classmethod
    def draw(cls, shop: Shop, rng: np.random.Generator) -> "_Customers":
        n_pairs = 5 * shop.n_a_day
        activity = np.repeat(rng.lognormal(0, 1, n_pairs), 2)
        size = np.repeat(rng.lognormal(-0.125, 0.5, n_pairs), 2)
        differs = np.repeat(rng.random(n_pairs) < shop.differ, 2)
        return cls(activity / activity.sum(), size, differs, np.arange(2 * n_pairs) % 2 == 0)

    def mean_order(self) -> Floats:
        """Of a log-normal order of sigma 1 that counts as `CAP` at most."""
        z = np.log(CAP / self.size)
        return self.size * np.exp(0.5) * ndtr(z - 1) + CAP * ndtr(-z)


@dataclass(frozen=True)
class _Response:
    """What follows each action, nothing first: arrays of shape (n_users, n_services + 1)."""

    orders: Floats  # probability of an order
    large: Floats  # probability of one of size CAP instead
    cost: Floats

    def expected(self, mean_order: Floats) -> Floats:
        return (1 - self.large) * self.orders * mean_order[:, None] + self.large * CAP - self.cost

    def draw(self, user: Ints, action: Ints, size: Floats, rng: np.random.Generator) -> Floats:
        """Margin before costs, shape (n,)."""
        order = np.minimum(size[user] * rng.lognormal(0, 1, len(user)), CAP)
        order[rng.random(len(user)) >= self.orders[user, action]] = 0.0
        order[rng.random(len(user)) < self.large[user, action]] = CAP
        return order


def simulate(shop: Shop, rng: np.random.Generator) -> Log:
    """Who comes, what they are shown, what they buy, and what that says of the challenger."""
    customers = _Customers.draw(shop, rng)
    shown = _shown(shop, customers, rng)
    mean_margin = float(customers.activity @ (ORDERS * customers.mean_order()))
    response = _response(shop, customers, shown, mean_margin)
    expected = response.expected(customers.mean_order())

    n = shop.n_a_day * N_DAYS
    user = rng.choice(len(customers.activity), n, p=customers.activity)
    propensities = _propensities(shop, shown)[user]
    action = (rng.random(n)[:, None] > propensities.cumsum(axis=1)[:, :-1]).sum(axis=1)
    margin = response.draw(user, action, customers.size, rng)
    q = (expected * np.exp(rng.normal(0, 0.3, expected.shape)))[user]

    logged = (action - 1, propensities[np.arange(n), action], response.cost[user, action])
    policies = {name: np.eye(shop.n_services + 1)[actions[user]] for name, actions in shown.items()}
    ours = policies.pop("challenger")
    paired = {name: _paired(ours, policy, margin, q, *logged) for name, policy in policies.items()}
    everybody = np.arange(len(customers.activity))
    worth = {
        name: float(customers.activity @ expected[everybody, actions]) for name, actions in shown.items()
    }
    return Log(
        gains={name: gain for name, (gain, _) in paired.items()},
        ends={name: ends for name, (_, ends) in paired.items()},
        user=_by_appearance(user),
        day=np.arange(n) // shop.n_a_day,
        truth={name: worth["challenger"] - worth[name] for name in policies},
        mean_margin=mean_margin,
    )


def _by_appearance(user: Ints) -> Ints:
    _, first, number = np.unique(user, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def _shown(shop: Shop, customers: _Customers, rng: np.random.Generator) -> dict[str, Ints]:
    """The action of each policy for each customer; 0 is nothing, 1 and 2 are the other rivals'."""
    n_users, n_ours = len(customers.differs), shop.n_services - 2
    champion = rng.integers(n_ours, size=n_users)
    other = 3 + (champion + rng.integers(1, n_ours, n_users)) % n_ours
    if shop.kind == "quiet":
        other = np.zeros(n_users, np.intp)
    return {
        "challenger": np.where(customers.differs, other, 3 + champion),
        "champion": 3 + champion,
        "best_constant": np.full(n_users, 1),
        "response": np.full(n_users, 2),
    }


def _response(shop: Shop, customers: _Customers, shown: dict[str, Ints], mean_margin: float) -> _Response:
    shape = (len(customers.differs), shop.n_services + 1)
    orders, large, cost = np.full(shape, ORDERS), np.zeros(shape), np.zeros(shape)
    differs = np.flatnonzero(customers.differs)
    gain = np.full(len(differs), shop.gain * mean_margin / customers.activity[differs].sum())
    if shop.kind == "mixed":
        gain += SWING * mean_margin * np.where(customers.suited[differs], 1, -1)
    if shop.kind == "quiet":
        theirs = differs, shown["champion"][differs]
        large[theirs] = LARGE
        cost[theirs] = LARGE * (CAP - ORDERS * customers.mean_order()[differs]) + gain
    else:
        orders[differs, shown["challenger"][differs]] += gain / customers.mean_order()[differs]
    cost[:, 1:3] += BEATEN * mean_margin
    return _Response(np.clip(orders, 0, 1), large, cost)


def _propensities(shop: Shop, shown: dict[str, Ints]) -> Floats:
    """Of every action for each customer, shape (n_users, n_services + 1)."""
    n_users, n_actions = len(shown["champion"]), shop.n_services + 1
    if shop.logged_by == "chance":
        return np.full((n_users, n_actions), 1 / n_actions)
    propensities = np.full((n_users, n_actions), 0.05 / n_actions)
    propensities[:, 0] += 0.05
    propensities[np.arange(n_users), shown[shop.logged_by]] += 0.9
    return propensities


def _paired(
    ours: Floats, theirs: Floats, margin: Floats, q: Floats, service: Ints, propensity: Floats, cost: Floats
) -> tuple[PairedGain, tuple[Floats, Floats]]:
    """The gain on each exposure, and its ends."""
    weights = [match_weights(policy, service, propensity) for policy in (ours, theirs)]

    def gain(value: Floats) -> Floats:
        first, second = (
            doubly_robust(policy, weight, value, service, q)
            for policy, weight in zip((ours, theirs), weights, strict=True)
        )
        return first - second

    at = [gain(value) for value in (margin - cost, -cost, CAP - cost)]
    least, most = np.min(at, axis=0), np.max(at, axis=0)
    paired = PairedGain(at[0], weights[0] > weights[1], weights[1] > weights[0], least.min(), most.max())
    return paired, (least, most)
