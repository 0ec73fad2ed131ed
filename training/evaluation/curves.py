"""Curves over users ranked by a prediction: Qini, uplift, uplift at k, by decile, calibration of uptake.

Where they meet other libraries' (equal to 1e-9 in the tests; unweighted, outcomes of 0 and 1):

| here | scikit-uplift 0.5 | causalml 0.18, `y`, `w` given and no scores tied |
|---|---|---|
| `qini_curve` | `qini_curve` | `get_qini`, once the holdout is among the targeted |
| `uplift_curve` * n | `uplift_curve` | `get_cumgain`, once both arms are among the targeted |
| `qini` * n_treated * n | area over the diagonal | `qini_score(normalize=False)` * (n + 1) |
| `auuc` * n^2 + n * ATE / 2 | | `auuc_score(normalize=False)` * (n + 1) |
| `qini_coefficient` | `qini_auc_score`, negative effects included | |
| `auuc_coefficient` | `uplift_auc_score` | |
| `uplift_at_k`, by either strategy | `uplift_at_k` | |

Before that causalml draws a straight line from the origin, so that areas differ by a little; they meet
where the gain is 0 until then. A share that is no whole number of rows is rounded down, as in scikit-uplift.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def qini_curve(
    outcome: ArrayLike, uplift: ArrayLike, treated: ArrayLike, weights: ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """Incremental outcome won by treating the users ranked highest.

    Parameters
    ----------
    outcome : array-like of shape (n_exposures,)
        1 where the user took the service up (or bought again), else 0; or money.
    uplift : array-like of shape (n_exposures,)
        Predicted uplift; only its order matters.
    treated : array-like of shape (n_exposures,)
        1 where the offer was shown, 0 in the holdout. Assignment must be random, given the weights.
    weights : array-like of shape (n_exposures,), optional
        Positive; 1 / propensity where the assignment was random but unequal. Default: 1 each.

    Returns
    -------
    targeted : ndarray of shape (n_points,)
        Number (weight) of users targeted, rising from 0. Tied users enter together.
    gain : ndarray of shape (n_points,)
        Outcome among the treated minus that of the holdout, scaled to the treated count:
        Y_t(k) - Y_c(k) * N_t(k) / N_c(k), sums over the k users ranked highest. While no holdout user
        is among them the second term is 0.

    References
    ----------
    Radcliffe (2007), Using control groups to target on predicted lift.

    Examples
    --------
    >>> targeted, gain = qini_curve([1, 0, 1, 0], [0.9, 0.9, 0.1, 0.1], [1, 0, 0, 1])
    >>> gain.tolist()
    [0.0, 1.0, 0.0]
    """
    sums = _tied_sums(outcome, uplift, treated, weights)
    return sums.targeted(), sums.qini_gain()


def qini(
    outcome: ArrayLike, uplift: ArrayLike, treated: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Area between the Qini curve and the straight line to its end (the random order).

    Both axes are per user: the share targeted, from 0 to 1, and the gain divided by the number of
    treated. The unit is that of the outcome per user; it is not normalised by a perfect curve, which
    money has none of. 0 for a random order, negative for one that is worse.

    Examples
    --------
    >>> qini([1, 0, 1, 0], [0.9, 0.9, 0.1, 0.1], [1, 0, 0, 1])
    0.25
    """
    return float(_tied_sums(outcome, uplift, treated, weights).qini())


def uplift_curve(
    outcome: ArrayLike, uplift: ArrayLike, treated: ArrayLike, weights: ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """Share targeted, and the uplift of those targeted per user of the whole: share * (mean_t - mean_c).

    While an arm has no user among the targeted its mean counts as 0.

    References
    ----------
    Gutierrez and Gérardy (2017), Causal inference and uplift modelling: a review of the literature.

    Examples
    --------
    >>> share, gain = uplift_curve([1, 0, 1, 0], [0.9, 0.9, 0.1, 0.1], [1, 0, 0, 1])
    >>> gain.tolist()
    [0.0, 0.5, 0.0]
    """
    sums = _tied_sums(outcome, uplift, treated, weights)
    return sums.share(), sums.uplift_gain()


def auuc(
    outcome: ArrayLike, uplift: ArrayLike, treated: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Area under the uplift curve, in the outcome's unit per user; not normalised.

    A random order has half the average uplift, so it is to be read beside the average uplift.

    Examples
    --------
    >>> auuc([1, 0, 1, 0], [0.9, 0.9, 0.1, 0.1], [1, 0, 0, 1])
    0.25
    """
    return float(_tied_sums(outcome, uplift, treated, weights).auuc())


def qini_coefficient(outcome: ArrayLike, uplift: ArrayLike, treated: ArrayLike) -> float:
    """Qini as a share of that of the perfect order: at most 1, and 0 for a random order.

    The perfect order has the treated who took up first, then those in whom nothing is to be seen, last
    the holdout who took up by themselves. Only outcomes of 0 and 1 have one; for money use `qini`.

    References
    ----------
    Radcliffe (2007), Using control groups to target on predicted lift; Devriendt, Guns and Verbeke (2020),
    Learning to rank for uplift modeling.

    Examples
    --------
    >>> qini_coefficient([1, 0, 0, 1], [0.9, 0.8, 0.2, 0.1], [1, 0, 1, 0])
    1.0
    """
    y, arm = _binary(outcome), np.asarray(treated)
    return qini(y, uplift, arm) / qini(y, np.where(arm == 1, y, -y), arm)


def auuc_coefficient(outcome: ArrayLike, uplift: ArrayLike, treated: ArrayLike) -> float:
    """Area between the uplift curve and the line to its end, as a share of that of the perfect order.

    Perfect are the rows in which outcome and arm agree first, then the rest: the treated of it before the
    holdout, unless the holdout who took up outnumber the treated who did not; then those who took up.

    References
    ----------
    Devriendt, Guns and Verbeke (2020), Learning to rank for uplift modeling.

    Examples
    --------
    >>> auuc_coefficient([1, 0, 0, 1], [0.9, 0.8, 0.2, 0.1], [1, 0, 1, 0])
    1.0
    """
    y, arm = _binary(outcome), np.asarray(treated)
    by_themselves, unmoved = np.sum((y == 1) & (arm == 0)), np.sum((y == 0) & (arm == 1))
    perfect = 2 * (y == arm) + (y if by_themselves > unmoved else arm)
    found, best = (_tied_sums(y, order, arm, None).auuc_gain() for order in (uplift, perfect))
    return float(found / best)


def uplift_at_k(
    outcome: ArrayLike,
    uplift: ArrayLike,
    treated: ArrayLike,
    k: float,
    strategy: Literal["overall", "by_group"] = "overall",
    weights: ArrayLike | None = None,
) -> float:
    """Mean outcome of the treated less that of the holdout, among the share `k` ranked highest.

    Parameters
    ----------
    k : float
        Share in (0, 1]: int(k * n) rows, or that share of the weight where there are weights. Users tied
        at the edge enter in equal parts, as they would on average in a random order.
    strategy : str
        `overall`: the share k of all rows; `by_group`: of the treated and of the holdout, each by itself.

    Raises
    ------
    ValueError
        Where k lies outside (0, 1] or leaves an arm without a row.

    References
    ----------
    Gutierrez and Gérardy (2017), Causal inference and uplift modelling: a review of the literature.

    Examples
    --------
    >>> uplift_at_k([1, 0, 1, 0], [0.9, 0.8, 0.2, 0.1], [1, 0, 1, 0], k=0.5)
    1.0
    """
    y, score, arm, w = _checked(outcome, uplift, treated, weights)
    if strategy == "overall":
        inside = weight_at_top(score, k, weights)
    elif strategy == "by_group":
        inside = np.empty(len(y))
        for rows in (arm == 1, arm == 0):
            inside[rows] = weight_at_top(score[rows], k, None if weights is None else w[rows])
    else:
        raise ValueError(f"strategy must be 'overall' or 'by_group', got {strategy!r}.")
    top = arm_sums(arm_columns(y, arm == 1, inside, np.zeros(len(y), np.int64)).sum(axis=0))
    if not top.n_treated.item() or not top.n_holdout.item():
        raise ValueError(
            f"k must leave rows of both arms among those ranked highest, got {k} with "
            f"{top.n_treated.item():g} treated and {top.n_holdout.item():g} of the holdout: take a larger k."
        )
    return float(top.uplift())


def weight_at_top(score: ArrayLike, k: float, weights: ArrayLike | None = None) -> Floats:
    """Weight of each row in the share `k` ranked highest: its own, 0, or a part of it at the edge.

    Examples
    --------
    >>> weight_at_top([0.9, 0.5, 0.5, 0.1], 0.5).tolist()
    [1.0, 0.5, 0.5, 0.0]
    """
    if not 0 < k <= 1:
        raise ValueError(f"k must be a share in (0, 1], got {k}.")
    _, tied = np.unique(-np.asarray(score, float), return_inverse=True)
    w = np.ones(len(tied)) if weights is None else np.asarray(weights, float)
    wanted = int(k * len(w)) if weights is None else k * w.sum()
    by_group = np.bincount(tied, w)
    above = np.cumsum(by_group) - by_group
    return w * np.clip((wanted - above) / by_group, 0, 1)[tied]


def uplift_by_decile(effect: ArrayLike, uplift: ArrayLike, n_bins: int = 10) -> tuple[Floats, Floats]:
    """Mean predicted and mean realised uplift in equal bins of the prediction, highest bin first.

    Parameters
    ----------
    effect : array-like of shape (n,)
        An unbiased signal of each row's uplift, such as the doubly robust one of `effect_of_offer`.
    uplift : array-like of shape (n,)
        Predicted uplift. Ties share a bin, so there may be fewer than `n_bins`.

    Examples
    --------
    >>> predicted, realised = uplift_by_decile([3, 1, 0, 0], [0.9, 0.7, 0.2, 0.0], n_bins=2)
    >>> realised.tolist()
    [2.0, 0.0]
    """
    group = rank_groups(uplift, n_bins)
    n = np.bincount(group)
    return (
        np.bincount(group, np.asarray(uplift, float)) / n,
        np.bincount(group, np.asarray(effect, float)) / n,
    )


@dataclass(frozen=True)
class Reliability:
    """Predicted probability and observed rate in bins of equal count, lowest first."""

    n: NDArray[np.int64]
    predicted: Floats
    observed: Floats

    def error(self) -> float:
        """Expected calibration error: the mean gap between predicted and observed, weighted by count."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.n))

    def chance(self) -> float:
        """The error that perfectly calibrated predictions would show at this size, by chance alone."""
        gap = np.sqrt(2 / np.pi * self.predicted * (1 - self.predicted) / self.n)
        return float(np.average(gap, weights=self.n))


def reliability(taken: ArrayLike, predicted: ArrayLike, n_bins: int = 10) -> Reliability:
    """How often was taken up what was predicted, in `n_bins` bins of equal count; ties share a bin."""
    taken, predicted = np.asarray(taken, float), np.asarray(predicted, float)
    if taken.shape != predicted.shape or not taken.size:
        raise ValueError(
            f"taken and predicted must be equally long and not empty, "
            f"got {taken.shape} and {predicted.shape}."
        )
    if predicted.min() < 0 or predicted.max() > 1:
        raise ValueError(f"predicted must be probabilities, got {predicted.min():g} to {predicted.max():g}.")
    group = rank_groups(-predicted, n_bins)
    n = np.bincount(group)
    return Reliability(n, np.bincount(group, predicted) / n, np.bincount(group, taken) / n)


def expected_calibration_error(taken: ArrayLike, predicted: ArrayLike, n_bins: int = 10) -> float:
    """Mean absolute gap between predicted probability and observed rate over bins of equal count.

    Sum over bins of n_b / n * |mean predicted - mean taken|; 0 is perfect. Small samples show an error
    even when perfectly calibrated: `Reliability.chance` says how much.

    References
    ----------
    Naeini, Cooper and Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian binning.

    Examples
    --------
    >>> expected_calibration_error([1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25])
    0.0
    """
    return reliability(taken, predicted, n_bins).error()


@dataclass(frozen=True)
class ArmSums:
    """Rows and outcome of both arms by group of the ranking, best group first along the last axis.

    Leading axes may hold bootstrap replicates; every figure then has one value a replicate.
    """

    n_treated: Floats
    y_treated: Floats
    n_holdout: Floats
    y_holdout: Floats

    def targeted(self) -> Floats:
        """Weight of the users targeted after each group, from 0."""
        return cumulated(self.n_treated + self.n_holdout)

    def share(self) -> Floats:
        targeted = self.targeted()
        return targeted / targeted[..., -1:]

    def qini_gain(self) -> Floats:
        n_treated, n_holdout = cumulated(self.n_treated), cumulated(self.n_holdout)
        return cumulated(self.y_treated) - cumulated(self.y_holdout) * _ratio(n_treated, n_holdout)

    def qini(self) -> Floats:
        share, gain = self.share(), self.qini_gain_per_user()
        return np.trapezoid(gain, share) - gain[..., -1] / 2

    def qini_gain_per_user(self) -> Floats:
        return self.qini_gain() / self.n_treated.sum(axis=-1, keepdims=True)

    def uplift_gain(self) -> Floats:
        mean_treated = _ratio(cumulated(self.y_treated), cumulated(self.n_treated))
        return self.share() * (mean_treated - _ratio(cumulated(self.y_holdout), cumulated(self.n_holdout)))

    def auuc(self) -> Floats:
        return np.asarray(np.trapezoid(self.uplift_gain(), self.share()))

    def auuc_gain(self) -> Floats:
        """The area over the line to the curve's end: 0 for a random order."""
        return self.auuc() - self.uplift_gain()[..., -1] / 2

    def uplift(self) -> Floats:
        """Mean of the treated less mean of the holdout, all groups together; nan where an arm is empty."""
        sums = (
            part.sum(axis=-1) for part in (self.y_treated, self.n_treated, self.y_holdout, self.n_holdout)
        )
        y_treated, n_treated, y_holdout, n_holdout = sums
        with np.errstate(invalid="ignore", divide="ignore"):
            return y_treated / n_treated - y_holdout / n_holdout


def arm_columns(outcome: Floats, treated: NDArray[np.bool_], weights: Floats, group: NDArray) -> Floats:
    """One row's part in each sum of `ArmSums`, shape (n, 4 * n_groups): sum over rows, then `arm_sums`."""
    n_groups = int(group.max()) + 1
    columns = np.zeros((len(group), 4, n_groups))
    rows, arm = np.arange(len(group)), np.where(treated, 0, 2)
    columns[rows, arm, group] = weights
    columns[rows, arm + 1, group] = weights * outcome
    return columns.reshape(len(group), 4 * n_groups)


def arm_sums(summed: Floats) -> ArmSums:
    """`ArmSums` from sums of `arm_columns`, shape (..., 4 * n_groups)."""
    parts = summed.reshape(*summed.shape[:-1], 4, -1)
    return ArmSums(parts[..., 0, :], parts[..., 1, :], parts[..., 2, :], parts[..., 3, :])


def rank_groups(score: ArrayLike, n_groups: int) -> NDArray[np.int64]:
    """At most `n_groups` groups of nearly equal count, 0 for the highest scores; ties share a group.

    Examples
    --------
    >>> rank_groups([0.1, 0.9, 0.5, 0.5], 2).tolist()
    [1, 0, 1, 1]
    """
    bins = np.minimum((rank_shares(score) * n_groups).astype(np.int64), n_groups - 1)
    return np.unique(bins, return_inverse=True)[1]


def rank_shares(score: ArrayLike) -> Floats:
    """The share of rows ranked above each row and half of those tied with it, in (0, 1).

    Examples
    --------
    >>> rank_shares([0.1, 0.9, 0.5, 0.5]).tolist()
    [0.875, 0.125, 0.5, 0.5]
    """
    _, tied, n_tied = np.unique(-np.asarray(score, float), return_inverse=True, return_counts=True)
    return ((np.cumsum(n_tied) - n_tied / 2) / len(tied))[tied]


def _tied_sums(
    outcome: ArrayLike, uplift: ArrayLike, treated: ArrayLike, weights: ArrayLike | None
) -> ArmSums:
    y, score, arm, w = _checked(outcome, uplift, treated, weights)
    group = np.unique(-score, return_inverse=True)[1]
    n_groups = int(group.max()) + 1
    shown, withheld = w * (arm == 1), w * (arm == 0)
    sums = [np.bincount(group, part, n_groups) for part in (shown, shown * y, withheld, withheld * y)]
    return arm_sums(np.concatenate(sums).astype(float))


def _checked(
    outcome: ArrayLike, uplift: ArrayLike, treated: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, Floats, NDArray, Floats]:
    y, score, arm = np.asarray(outcome, float), np.asarray(uplift, float), np.asarray(treated)
    w = np.ones(y.shape) if weights is None else np.asarray(weights, float)
    _check_rows(y, score, arm, w)
    return y, score, arm, w


def _binary(outcome: ArrayLike) -> Floats:
    y = np.asarray(outcome, float)
    if not np.isin(y, (0, 1)).all():
        raise ValueError(
            f"outcome must be 0 or 1 to have a perfect order, got {y[~np.isin(y, (0, 1))][0]:g}: "
            "use qini or auuc for other outcomes."
        )
    return y


def _check_rows(outcome: Floats, uplift: Floats, treated: NDArray, weights: Floats) -> None:
    shapes = [part.shape for part in (outcome, uplift, treated, weights)]
    if outcome.ndim != 1 or len(set(shapes)) > 1:
        raise ValueError(
            f"outcome, uplift, treated and weights must be one-dimensional and equally long, got {shapes}."
        )
    if sorted(np.unique(treated).tolist()) != [0, 1]:
        raise ValueError(
            f"treated must hold both 0 and 1, got {np.unique(treated).tolist()}. "
            "Without a holdout there is nothing to compare with: check the split."
        )
    if not np.isfinite(outcome).all() or not np.isfinite(uplift).all():
        raise ValueError(
            f"outcome and uplift must be finite, got {np.sum(~np.isfinite(outcome))} outcomes and "
            f"{np.sum(~np.isfinite(uplift))} uplifts that are not: leave those rows out."
        )
    if not (weights > 0).all():
        raise ValueError(
            f"weights must be positive, got {np.sum(~(weights > 0))} that are not: check the propensities."
        )


def cumulated(sums: Floats) -> Floats:
    """Running totals along the last axis, from 0."""
    start = np.zeros((*sums.shape[:-1], 1))
    return np.concatenate([start, np.cumsum(sums, axis=-1)], axis=-1)


def _ratio(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom > 0)
