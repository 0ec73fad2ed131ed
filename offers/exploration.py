"""Decisions drawn at random with known probabilities.

Some users are shown nothing at all (``offers.holdouts``). Of the other decisions a share is explored: a
length drawn uniformly from those of which there is a list, then a list drawn uniformly from the lists of
that length, in every order (``offers.list_counts``). With h the share of users who are shown nothing, e
the explored share, L the lengths, F(n) the allowed sets of n services, and F(n, s) those with s in them:

    P(nothing)           = h + (1 − h)(1 − e) 1{the policy shows nothing}
    P(list of n)         = (1 − h)[e / |L| / (n! F(n)) + (1 − e) 1{it is the policy's list}]
    P(s at position j)   = (1 − h)[e / |L| · Σ_{n ≥ j} F(n, s) / (n F(n)) + (1 − e) 1{the policy has s at j}]
    P(s in the list)     = (1 − h)[e / |L| · Σ_n F(n, s) / F(n) + (1 − e) 1{the policy has s}]

Where nothing binds, F(n) = C(k, n) of k eligible services, and F(n, s) / F(n) = n / k.

The probabilities are over the salts of the holdouts of everything, and over draws. They are given what
else the policy knew: who is eligible for what, and so the holdouts of single services and of tracks.
Users in the holdout of a service are shown it with probability 0, as those are whom a rule excludes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from offers.holdouts import in_holdout
from offers.list_counts import FeasibleLists
from offers.settings import ExplorationSettings

__all__ = ["EXPLORE", "HOLDOUT", "POLICY", "Draw", "Propensity", "draw", "in_holdout", "propensity"]

POLICY, EXPLORE, HOLDOUT = "policy", "explore", "holdout"


class Draw(NamedTuple):
    """What is shown to one user: the arm it comes from and the list, best first."""

    arm: str  # policy, explore or holdout
    services: tuple[int, ...]  # catalogue positions; empty: nothing is shown


class Propensity(NamedTuple):
    """Probabilities of what was shown, each in (0, 1]."""

    slate: float  # of the list as a whole, or of nothing
    positions: tuple[float, ...]  # of each service at its position
    inclusions: tuple[float, ...]  # of each service, at whichever position


def draw(
    policy_list: Sequence[int],
    lists: FeasibleLists,
    is_holdout: bool,
    settings: ExplorationSettings,
    rng: np.random.Generator,
) -> Draw:
    """What is shown: nothing to the holdout, now and then a uniform draw, else the policy's list."""
    if is_holdout:
        return Draw(HOLDOUT, ())
    if not lists.lengths or rng.random() >= settings.explore:
        return Draw(POLICY, tuple(int(position) for position in policy_list))
    length = lists.lengths[int(rng.integers(len(lists.lengths)))]
    return Draw(EXPLORE, lists.draw(length, rng))


def propensity(
    shown: Sequence[int],
    policy_list: Sequence[int],
    lists: FeasibleLists,
    settings: ExplorationSettings,
    nothing_share: float | None = None,
) -> Propensity:
    """Probabilities of what was shown under the mixture above, in closed form.

    Parameters
    ----------
    shown : sequence of int
        Something that ``draw`` can give: the policy's list, one of ``lists``, or nothing where
        there is a holdout.
    nothing_share : float, optional
        The share of users who are shown nothing at all; ``settings.holdout`` where there is no
        other holdout of everything.

    Examples
    --------
    >>> settings = ExplorationSettings(holdout=0.1, explore=0.2)
    >>> found = propensity([4], policy_list=[4], lists=FeasibleLists.of([4, 7], 1), settings=settings)
    >>> round(found.slate, 6), [round(p, 6) for p in found.positions]
    (0.81, [0.81])
    """
    nothing = settings.holdout if nothing_share is None else nothing_share
    explore = settings.explore if lists.lengths else 0.0
    by_policy = (1 - explore) * (tuple(shown) == tuple(policy_list))
    if not len(shown):
        return Propensity(min(1.0, nothing + (1 - nothing) * by_policy), (), ())
    by_chance = explore / len(lists.lengths) / lists.n_lists(len(shown)) if _is_drawn(shown, lists) else 0.0
    placed, included = [], []
    for place, service in enumerate(shown):
        at, anywhere = chances(service, place + 1, lists) if explore else (0.0, 0.0)
        in_place = place < len(policy_list) and policy_list[place] == service
        placed.append((1 - nothing) * (explore * at + (1 - explore) * in_place))
        included.append((1 - nothing) * (explore * anywhere + (1 - explore) * (service in policy_list)))
    return Propensity((1 - nothing) * (by_chance + by_policy), tuple(placed), tuple(included))


def chances(service: int, position: int, lists: FeasibleLists) -> tuple[float, float]:
    """Of a list drawn uniformly: P(the service is at this position, from 1), and P(it is in the list)."""
    if lists.is_free:
        return lists.at_position[position - 1], lists.in_list
    lengths = lists.lengths
    shares = {n: lists.n_sets(n, [service]) / lists.n_sets(n) for n in lengths}
    at = sum(share / n for n, share in shares.items() if n >= position)
    return at / len(lengths), sum(shares.values()) / len(lengths)


def _is_drawn(shown: Sequence[int], lists: FeasibleLists) -> bool:
    """Can this list be drawn? The policy's may be none of them."""
    return len(shown) in lists.lengths and lists.n_sets(len(shown), shown) > 0
