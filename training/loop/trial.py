"""A week in which two policies decide side by side, drawn by lot: evidence for the gate on whole lists.

Lists drawn uniformly hardly ever are the list that a policy would have shown, so that exploration alone
would take years to tell two policies of lists apart. While a challenger is on trial, a lot gives each
decision to it or to its rival. The probability of what is shown stays exact, the log stays data to learn
from, and the paired doubly robust gain of lists is judged by `training.gate`, bounds and all.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offers.decision import Decisions as Made
from offers.settings import ExplorationSettings
from training.gate import PairedGain

Floats = NDArray[np.float64]
Lists = NDArray[np.intp]


@dataclass(frozen=True)
class Shown:
    """What each of n users is shown this week, and how likely that was before the lot was drawn."""

    lists: Lists  # (n, longest), −1 pads
    arms: NDArray[np.str_]  # (n,) policy, explore or holdout
    slate_propensity: Floats  # (n,)
    propensity: Floats  # (n, longest), NaN pads


def side_by_side(
    ours: Made, theirs: Made, by_lot: NDArray[np.bool_], share: float, settings: ExplorationSettings
) -> Shown:
    """Decisions of ours where `by_lot` holds, of theirs elsewhere.

    Either would have been the other's with the probability of the lot. The probability of a list under one
    policy with exploration differs from that under the other by (1 − holdout)(1 − explore) where it is the
    one's own list and not the other's; likewise that of each service at its place.

    Parameters
    ----------
    share : float
        The probability of the lot.
    """
    served = (1 - settings.holdout) * (1 - settings.explore)
    pick = np.where(by_lot[:, None], ours.services, theirs.services)
    own = np.where(by_lot[:, None], ours.slates.services, theirs.slates.services)
    other = np.where(by_lot[:, None], theirs.slates.services, ours.slates.services)
    p_other = np.where(by_lot, 1 - share, share)
    is_own = (pick == own).all(axis=1).astype(float)
    is_other = (pick == other).all(axis=1).astype(float)
    slate = np.where(by_lot, ours.slate_propensity, theirs.slate_propensity)
    place = np.where(by_lot[:, None], ours.propensities, theirs.propensities)
    own_place, other_place = (pick == own).astype(float), (pick == other).astype(float)
    return Shown(
        lists=pick,
        arms=np.where(by_lot, ours.arms, theirs.arms),
        slate_propensity=slate - served * p_other * (is_own - is_other),
        propensity=place - served * p_other[:, None] * (own_place - other_place),
    )


@dataclass(frozen=True)
class Week:
    """A week's decisions with closed windows; arrays of shape (n,) but for the lists."""

    shown: Lists
    slate_propensity: Floats
    margin: Floats  # capped, currency units
    cost: Floats  # of what was shown and used

    @property
    def net(self) -> Floats:
        return self.margin - self.cost


def list_gain(
    week: Week,
    ours: Lists,
    theirs: Lists,
    expected: tuple[Floats, Floats, Floats],
    margin_cap: float,
    most_cost: float,
) -> PairedGain:
    """Doubly robust value of our lists less that of theirs, decision by decision.

    Parameters
    ----------
    expected : three arrays of shape (n,)
        Net margin that models which have not seen this week expect of our list, of theirs and of what was
        shown.
    most_cost : float
        No list costs more.
    """
    q_ours, q_theirs, q_shown = expected
    is_ours, is_theirs = (week.shown == ours).all(axis=1), (week.shown == theirs).all(axis=1)
    weight = (is_ours.astype(float) - is_theirs) / week.slate_propensity

    def gain(net: Floats | float) -> Floats:
        return q_ours - q_theirs + weight * (net - q_shown)

    found = gain(week.net)
    ends = [found, gain(-most_cost + min(0.0, float(week.margin.min()))), gain(margin_cap)]
    return PairedGain(
        gain=found,
        ours=is_ours & ~is_theirs,
        theirs=is_theirs & ~is_ours,
        least=float(np.min(ends)),
        most=float(np.max(ends)),
    )


def predicts_better(margin: Floats, ours: Floats, theirs: Floats) -> bool:
    """Is the mean squared error of our predictions the smaller one?"""
    return float(np.mean((margin - ours) ** 2 - (margin - theirs) ** 2)) < 0
