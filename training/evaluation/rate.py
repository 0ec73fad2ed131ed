"""Rank-weighted average treatment effects: is the effect greater where a rule says it is?

Every figure here is a function of an unbiased signal of each row's effect, such as the doubly robust one of
`policy_value.effect_of_offer`, and of a priority, highest first, that was learned on other rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.evaluation.curves import cumulated, rank_shares

Floats = NDArray[np.float64]

_OCTAVES = (1 / 80, 1 / 40, 1 / 20)  # shares within the first tenth


def toc_curve(effect: ArrayLike, priority: ArrayLike) -> tuple[Floats, Floats]:
    """Targeting operator characteristic: how far the effect at the top exceeds the average effect.

    Parameters
    ----------
    effect : array-like of shape (n,)
        An unbiased signal of each row's effect.
    priority : array-like of shape (n,)
        Only its order matters. Rows that are tied enter together.

    Returns
    -------
    share : ndarray of shape (n_points,)
        Share of the rows at the top, from 0 to 1.
    toc : ndarray of shape (n_points,)
        TOC(q) = mean effect of the share q of highest priority - mean effect of all; 0 at both ends.
        Without ties that of causalml's `get_toc` where the effect is given.

    References
    ----------
    Yadlowsky, Fleming, Shah, Brunskill and Wager (2021, JASA 2025), Evaluating treatment prioritization
    rules via rank-weighted average treatment effects.

    Examples
    --------
    >>> share, toc = toc_curve([4.0, 0.0, 2.0, 2.0], [0.9, 0.1, 0.5, 0.5])
    >>> toc.round(3).tolist()
    [0.0, 2.0, 0.667, 0.0]
    """
    sums = _tied_sums(effect, priority)
    return sums.share(), sums.toc()


def autoc(effect: ArrayLike, priority: ArrayLike) -> float:
    """Area under the TOC curve: the mean of TOC(j / n) over j = 1 ... n, in the effect's unit.

    0 for a random priority. It looks at the very top most: a row of rank q weighs about -ln(q) - 1. Tied
    rows stand in a random order, of which this is the mean. It equals the R package grf's; causalml's
    `rate_score(weighting="autoc")` is another figure, with the weight 1 / q on TOC.

    References
    ----------
    Yadlowsky et al. (2021, 2025), RATE with constant weights.

    Examples
    --------
    >>> autoc([4.0, 0.0], [0.9, 0.1])
    1.0
    """
    return float(_tied_sums(effect, priority).autoc())


def qini_rate(effect: ArrayLike, priority: ArrayLike) -> float:
    """The mean of q TOC(q) over q = 1/n ... 1: the Qini of a signal, in the effect's unit.

    It is the area between the gain q * (mean effect at the top) and the line to its end, 0 for a random
    priority; it looks at all ranks alike and so finds effects that are spread out, AUTOC those at the top.

    References
    ----------
    Yadlowsky et al. (2021, 2025), RATE with the weights q.

    Examples
    --------
    >>> qini_rate([4.0, 0.0], [0.9, 0.1])
    0.5
    """
    return float(_tied_sums(effect, priority).qini())


@dataclass(frozen=True)
class RankSums:
    """Rows and effect by group of the ranking, highest priority first along the last axis.

    Rows of one group count as tied. Leading axes may hold bootstrap replicates; every figure then has one
    value a replicate.
    """

    n: Floats  # whole numbers
    effect: Floats

    def share(self) -> Floats:
        n = cumulated(self.n)
        return n / n[..., -1:]

    def toc(self) -> Floats:
        n, effect = cumulated(self.n), cumulated(self.effect)
        top = np.divide(effect, n, out=np.zeros(n.shape), where=n > 0)
        return np.where(n > 0, top - self.mean()[..., None], 0.0)

    def mean(self) -> Floats:
        return self.effect.sum(axis=-1) / self.n.sum(axis=-1)

    def autoc(self) -> Floats:
        """Within a group of mean m after c rows of sum S: sum of (S + m i) / (c + i), by harmonic numbers."""
        n, effect = cumulated(self.n), cumulated(self.effect)
        mean = np.divide(self.effect, self.n, out=np.zeros(self.n.shape), where=self.n > 0)
        ranks = np.rint(n).astype(np.int64)
        harmonic = cumulated(1 / np.arange(1, ranks.max() + 1))
        before, inside = n[..., :-1], np.diff(harmonic[ranks], axis=-1)
        tops = mean * self.n + (effect[..., :-1] - mean * before) * inside
        return tops.sum(axis=-1) / n[..., -1] - self.mean()

    def qini(self) -> Floats:
        """Within a group the sum of S + m i is that of an arithmetic series."""
        n, effect = cumulated(self.n), cumulated(self.effect)
        total = n[..., -1]
        tops = self.n * effect[..., :-1] + self.effect * (self.n + 1) / 2
        return tops.sum(axis=-1) / total**2 - self.mean() * (total + 1) / (2 * total)


def top_groups(priority: ArrayLike) -> NDArray[np.int64]:
    """Groups for the replicates of AUTOC, 0 for the highest: tenths, the first of them cut at its octaves.

    AUTOC weighs ranks by their logarithm, so this loses about 2 % of its variance. Ties share a group.

    Examples
    --------
    >>> np.bincount(top_groups(-np.arange(800))).tolist()
    [10, 10, 20, 40, 80, 80, 80, 80, 80, 80, 80, 80, 80]
    """
    share = rank_shares(priority)
    octave, tenth = np.searchsorted(_OCTAVES, share, side="right"), (10 * share).astype(np.int64)
    return np.unique(np.where(tenth > 0, len(_OCTAVES) + tenth, octave), return_inverse=True)[1]


def rank_columns(effect: Floats, group: NDArray[np.int64]) -> Floats:
    """One row's part in each sum of `RankSums`, shape (n, 2 * n_groups): sum over rows, then `rank_sums`.

    Groups, 0 first, stay as they are in every replicate.
    """
    columns = np.zeros((len(group), 2, int(group.max()) + 1))
    rows = np.arange(len(group))
    columns[rows, 0, group], columns[rows, 1, group] = 1.0, effect
    return columns.reshape(len(group), -1)


def rank_sums(summed: Floats) -> RankSums:
    """`RankSums` from sums of `rank_columns`, shape (..., 2 * k)."""
    parts = summed.reshape(*summed.shape[:-1], 2, -1)
    return RankSums(parts[..., 0, :], parts[..., 1, :])


def _tied_sums(effect: ArrayLike, priority: ArrayLike) -> RankSums:
    signal, order = np.asarray(effect, float), np.asarray(priority, float)
    if signal.ndim != 1 or signal.shape != order.shape or not signal.size:
        raise ValueError(
            f"effect and priority must be one-dimensional, equally long and not empty, got shapes "
            f"{signal.shape} and {order.shape}."
        )
    if not np.isfinite(signal).all() or not np.isfinite(order).all():
        raise ValueError(
            f"effect and priority must be finite, got {np.sum(~np.isfinite(signal))} effects and "
            f"{np.sum(~np.isfinite(order))} priorities that are not: leave those rows out."
        )
    group = np.unique(-order, return_inverse=True)[1]
    return RankSums(np.bincount(group).astype(float), np.bincount(group, signal).astype(float))
