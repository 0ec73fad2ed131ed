"""Estimates drawn toward each other by how little each is known: empirical Bayes for numbers in a row."""

import numpy as np
from numpy.typing import NDArray

_STEPS = 50
_TRUSTED_FROM = 2.0  # standard errors
_LEAST_TRUST = 0.02


def shrink(
    estimate: NDArray[np.float64],
    variance: NDArray[np.float64],
    mean: float | None = None,
    least_variance: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posterior means and variances of k numbers, each estimated with a known sampling variance.

    The numbers have a common normal prior whose variance, and mean where none is given, are those of
    greatest likelihood (EM steps). Shapes (k,); an infinite variance takes the prior's mean.

    References
    ----------
    Efron and Morris (1973), Stein's estimation rule and its competitors.

    Examples
    --------
    >>> posterior, _ = shrink(np.array([0.0, 0.1, 4.0, 4.1]), np.full(4, 0.01))
    >>> posterior.round(1).tolist()
    [0.0, 0.1, 4.0, 4.1]
    >>> posterior, _ = shrink(np.array([1.0, 3.0, 2.0]), np.full(3, 9.0))
    >>> bool(np.ptp(posterior) < 0.5)
    True
    """
    if not len(estimate):
        return estimate, variance
    precision = 1 / variance
    weighted = np.where(precision > 0, estimate, 0.0) * precision
    centre = mean if mean is not None else float(weighted.sum() / max(precision.sum(), np.finfo(float).tiny))
    between = max(least_variance, float(np.median(variance[precision > 0])) if (precision > 0).any() else 0.0)
    for _ in range(_STEPS):
        posterior_variance = 1 / (precision + 1 / max(between, np.finfo(float).tiny))
        posterior = posterior_variance * (weighted + centre / max(between, np.finfo(float).tiny))
        if mean is None:
            weight = 1 / (1 / np.maximum(precision, np.finfo(float).tiny) + between)
            centre = float((weight * np.where(precision > 0, estimate, 0.0)).sum() / weight.sum())
        between = max(least_variance, float(((posterior - centre) ** 2 + posterior_variance).mean()))
    return posterior, posterior_variance


def slope_and_z(
    x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """The weighted least-squares slope of y on x through the origin, and how many standard errors it is.

    Examples
    --------
    >>> slope_and_z(np.array([1.0, 1.0, 1.0, 1.0]), np.array([1.0, 2.0, 1.0, 2.0]))
    (1.5, 6.0)
    """
    w = np.ones(len(x)) if weight is None else weight
    square, product = float(np.sum(w * x * x)), float(np.sum(w * x * y))
    if square == 0:
        return 0.0, 0.0
    slope = product / square
    noise = float(np.average((y - slope * x) ** 2, weights=w))
    return slope, slope * (square / max(noise, np.finfo(float).tiny)) ** 0.5


def trust(z: float) -> float:
    """How much of a slope is believed that lies z standard errors above 0: 1 − (2 / z)², at least a fiftieth.

    The positive-part shrinkage of James and Stein (1961) with the bar at two standard errors instead of one,
    because the slope is that of predictions which were chosen for it. What remains of a slope below the bar
    keeps the order of the users and moves no decision. A slope below 0 is not believed at all.

    Examples
    --------
    >>> trust(4.0), trust(1.0), trust(-3.0)
    (0.75, 0.02, 0.0)
    """
    if z <= 0:
        return 0.0
    return max(1 - (_TRUSTED_FROM / z) ** 2, _LEAST_TRUST)
