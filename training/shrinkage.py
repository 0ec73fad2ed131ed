"""Estimates drawn toward each other by how little each is known: empirical Bayes for numbers in a row."""

import numpy as np
from numpy.typing import NDArray

_STEPS = 50


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


def trusted_slope(
    x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> float:
    """The weighted least-squares slope of y on x through the origin, at least 0, times z² / (1 + z²).

    z is the slope in standard errors: a slope that may well be chance keeps its sign and little else.

    Examples
    --------
    >>> x = np.array([-1.0, 1.0, -1.0, 1.0])
    >>> trusted_slope(x, 0.5 * x), trusted_slope(x, -x), trusted_slope(0 * x, x)
    (0.5, 0.0, 0.0)
    """
    w = np.ones(len(x)) if weight is None else weight
    square, product = float(np.sum(w * x * x)), float(np.sum(w * x * y))
    if product <= 0 or square == 0:
        return 0.0
    slope = product / square
    noise = float(np.average((y - slope * x) ** 2, weights=w))
    return slope / (1 + square * noise / product**2)
