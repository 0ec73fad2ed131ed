"""Each service's average uplift, shrunk toward the mean of all: the less it was shown, the more."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

_POOLED_ROWS = 200  # the pooled residual variance counts as this many rows of each service
_WEIGHT_CAP_QUANTILE = 0.99
_LEAST_SPREAD = 0.05  # least variance between services, in units of their median squared error


@dataclass(frozen=True)
class Averages:
    """Average uplift of each service and its standard error, each of shape (n_services,)."""

    uplift: NDArray[np.float64]
    se: NDArray[np.float64]


def average_uplift(
    residual: NDArray[np.float64], service: NDArray[np.intp], propensity: NDArray[np.float64]
) -> Averages:
    """Average uplift of each service by empirical Bayes.

    Each service's mean residual, weighted by 1 / propensity (capped), less that of the holdout; then shrunk
    toward the mean of all services by the normal-normal model, with the variance between services after
    Paule and Mandel (1982). The variance of residuals is pooled over services: a service shown five times
    without a purchase would otherwise look infinitely certain. With one or two services nothing is shrunk.

    Parameters
    ----------
    residual : ndarray of shape (n,)
        Outcome less what is expected of this user when nothing is shown.
    service : ndarray of shape (n,)
        −1 where nothing was shown.
    propensity : ndarray of shape (n, n_services + 1)
        Nothing first.

    Returns
    -------
    Averages
        A service without rows gets the mean of all, and the standard error that comes with it.
    """
    shown = service >= 0
    holdout = _weighted_mean(residual[~shown], 1 / propensity[~shown, 0], float(np.var(residual[~shown])))
    pooled_variance = float(np.var(residual[shown]))
    n_services = propensity.shape[1] - 1
    mean, variance = np.full(n_services, np.nan), np.full(n_services, np.inf)
    for j in range(n_services):
        rows = service == j
        if rows.any():
            mean[j], variance[j] = _weighted_mean(
                residual[rows], 1 / propensity[rows, j + 1], pooled_variance
            )
    uplift, variance = _shrink(mean - holdout[0], variance)
    return Averages(uplift, np.sqrt(variance + holdout[1]))


def _weighted_mean(
    values: NDArray[np.float64], weight: NDArray[np.float64], pooled_variance: float
) -> tuple[float, float]:
    """The weighted mean and its sampling variance."""
    weight = np.minimum(weight, np.quantile(weight, _WEIGHT_CAP_QUANTILE))
    mean = np.average(values, weights=weight)
    own = np.average((values - mean) ** 2, weights=weight)
    variance = (len(values) * own + _POOLED_ROWS * pooled_variance) / (len(values) + _POOLED_ROWS)
    return float(mean), float(max(variance * (weight**2).sum() / weight.sum() ** 2, np.finfo(float).tiny))


def _shrink(
    mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posterior mean and variance of each service; NaN means are services never shown."""
    seen = np.isfinite(mean)
    own, own_variance = mean[seen], variance[seen]
    if len(own) <= 2:
        spread, trust = float(own.var() + own_variance.mean()), np.ones(len(own))
    else:
        spread = _variance_between(own, own_variance)
        trust = spread / (spread + own_variance)
    weight = 1 / (spread + own_variance)
    centre, centre_variance = float(np.average(own, weights=weight)), float(1 / weight.sum())
    posterior = np.full(len(mean), centre)
    posterior[seen] += trust * (own - centre)
    posterior_variance = np.full(len(mean), spread + centre_variance)
    posterior_variance[seen] = own_variance * trust + (1 - trust) ** 2 * centre_variance
    return posterior, posterior_variance


def _variance_between(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> float:
    """The variance between services at which their spread is what chance leaves (Paule and Mandel, 1982).

    Never quite 0, so that services that differ no more than by chance still keep their order.
    """

    def excess(between: float) -> float:
        weight = 1 / (between + variance)
        return float((weight * (mean - np.average(mean, weights=weight)) ** 2).sum() - (len(mean) - 1))

    least = _LEAST_SPREAD * float(np.median(variance))
    if excess(least) <= 0:
        return least
    return float(brentq(excess, least, ((mean - mean.mean()) ** 2).sum()))
