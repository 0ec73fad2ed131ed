"""Randomness with known probabilities: a holdout of users, and decisions drawn uniformly.

A salted hash of the user's id puts a fixed share of users into the holdout, where nothing is shown. Of
the other decisions a share is explored: a length drawn uniformly from 1 … m, then a list of that length
drawn uniformly from the eligible services, in every order. Over salts and draws, with h the holdout
share, e the explored share, k eligible services and m the longest list possible:

    P(nothing)           = h + (1 − h)(1 − e) 1{the policy shows nothing}
    P(list of n)         = (1 − h)[e / m · (k − n)! / k! + (1 − e) 1{it is the policy's list}]
    P(s at position j)   = (1 − h)[e · (m − j + 1) / m / k + (1 − e) 1{the policy has s at j}]
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import perm

import numpy as np

from offers.settings import ExplorationSettings

POLICY, EXPLORE, HOLDOUT = "policy", "explore", "holdout"


@dataclass(frozen=True)
class Draw:
    """What is shown to one user: the arm it comes from and the list, best first."""

    arm: str  # policy, explore or holdout
    services: tuple[int, ...]  # catalogue positions; empty: nothing is shown


@dataclass(frozen=True)
class Propensity:
    """Probabilities of what was shown, each in (0, 1]."""

    slate: float  # of the list as a whole, or of nothing
    positions: tuple[float, ...]  # of each service at its position


def in_holdout(user_id: str, settings: ExplorationSettings) -> bool:
    """Is this user in the holdout? The same answer for ever, until the salt changes.

    A greater share keeps those who are in already; user ids may be any text.

    >>> in_holdout("u1", ExplorationSettings(holdout=0.0))
    False
    """
    text = f"{settings.salt}\0{user_id}".encode("utf-8", "surrogatepass")
    point = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64
    return point < settings.holdout


def draw(
    policy_list: Sequence[int],
    eligible: Sequence[int],
    max_services: int,
    is_holdout: bool,
    settings: ExplorationSettings,
    rng: np.random.Generator,
) -> Draw:
    """What is shown: nothing to the holdout, now and then a uniform draw, else the policy's list."""
    if is_holdout:
        return Draw(HOLDOUT, ())
    if not len(eligible) or rng.random() >= settings.explore:
        return Draw(POLICY, tuple(int(position) for position in policy_list))
    length = int(rng.integers(1, min(max_services, len(eligible)) + 1))
    chosen = rng.choice(np.asarray(eligible), size=length, replace=False)
    return Draw(EXPLORE, tuple(chosen.tolist()))


def propensity(
    shown: Sequence[int],
    policy_list: Sequence[int],
    n_eligible: int,
    max_services: int,
    settings: ExplorationSettings,
) -> Propensity:
    """Probabilities of what was shown under the mixture above, in closed form.

    ``shown`` must be something that ``draw`` can give: the policy's list, a list of at most
    ``max_services`` eligible services, or nothing where there is a holdout.

    >>> settings = ExplorationSettings(holdout=0.1, explore=0.2)
    >>> found = propensity([4], policy_list=[4], n_eligible=2, max_services=1, settings=settings)
    >>> round(found.slate, 6), [round(p, 6) for p in found.positions]
    (0.81, [0.81])
    """
    explore = settings.explore if n_eligible else 0.0
    served = 1 - settings.holdout
    by_policy = (1 - explore) * (tuple(shown) == tuple(policy_list))
    if not len(shown):
        return Propensity(settings.holdout + served * by_policy, ())
    longest = min(max_services, n_eligible)
    by_chance = explore / longest / perm(n_eligible, len(shown))
    return Propensity(
        slate=served * (by_chance + by_policy),
        positions=tuple(
            served
            * (
                explore * (longest - position) / longest / n_eligible
                + (1 - explore) * (position < len(policy_list) and policy_list[position] == service)
            )
            for position, service in enumerate(shown)
        ),
    )
