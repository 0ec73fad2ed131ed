"""Each service's average uplift, shrunk toward what services like it add: the less it was shown, the more."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

_POOLED_ROWS = 200  # the pooled residual variance counts as this many rows of each service
_WEIGHT_CAP_QUANTILE = 0.99
_LEAST_SPREAD = 0.05  # least variance between services, in units of their median squared error
_ATTRIBUTE_SHARES = (0.0, 0.5, 0.9)  # of the variance between services, that their attributes may explain


@dataclass(frozen=True)
class Averages:
    """Average uplift of each service and its standard error, each of shape (n_services,)."""

    uplift: NDArray[np.float64]
    se: NDArray[np.float64]


@dataclass(frozen=True)
class ListRows:
    """What rows of lists say of one service each, its companions' effects taken off; shapes (m,)."""

    residual: NDArray[np.float64]
    service: NDArray[np.intp]
    propensity: NDArray[np.float64]  # that the service stood where it did
    precision: NDArray[np.float64]  # of the residual, as against that of a service offered alone


def average_uplift(
    residual: NDArray[np.float64],
    service: NDArray[np.intp],
    propensity: NDArray[np.float64],
    attributes: NDArray[np.float64] | None = None,
    lists: ListRows | None = None,
) -> Averages:
    """Average uplift of each service by empirical Bayes.

    Each service's mean residual, weighted by 1 / propensity (capped), less that of the holdout; what lists
    say of it joins in by its precision. Then all are shrunk by a normal model in which services differ by
    their attributes and beyond; the variance between services is after Paule and Mandel (1982), the share of
    it that attributes explain is the likeliest of none, a half and nine tenths. The variance of residuals is
    pooled over services: a service shown five times without a purchase would otherwise look infinitely
    certain. With one or two services nothing is shrunk.

    Parameters
    ----------
    residual : ndarray of shape (n,)
        Outcome less what is expected of this user when nothing is shown.
    service : ndarray of shape (n,)
        −1 where nothing was shown.
    propensity : ndarray of shape (n, n_services + 1)
        Nothing first.
    attributes : ndarray of shape (n_services, k), optional
        Numbers on one scale; services alike in them are alike.

    Returns
    -------
    Averages
        A service without rows gets what its attributes, or else the mean of all, say, and the standard error
        that comes with it.
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
    if lists is not None:
        mean, variance = _join(mean, variance, lists, pooled_variance)
    uplift, variance = _shrink(mean - holdout[0], variance, attributes)
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


def _join(
    mean: NDArray[np.float64], variance: NDArray[np.float64], lists: ListRows, pooled_variance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The means with those of the lists, each by its precision."""
    mean, variance = mean.copy(), variance.copy()
    for j in np.unique(lists.service):
        rows = lists.service == j
        weight = lists.precision[rows] / lists.propensity[rows]
        other, other_variance = _weighted_mean(lists.residual[rows], weight, pooled_variance)
        other_variance /= float(np.average(lists.precision[rows], weights=weight))
        if np.isnan(mean[j]):
            mean[j], variance[j] = other, other_variance
        else:
            share = variance[j] / (variance[j] + other_variance)
            mean[j], variance[j] = mean[j] + share * (other - mean[j]), variance[j] * (1 - share)
    return mean, variance


def _shrink(
    mean: NDArray[np.float64], variance: NDArray[np.float64], attributes: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posterior mean and variance of each service; NaN means are services never shown."""
    seen = np.isfinite(mean)
    own, own_variance = mean[seen], variance[seen]
    if len(own) <= 2:
        return _shrink_to(mean, variance, float(own.var() + own_variance.mean()), None, trust=True)
    spread = _variance_between(own, own_variance)
    if attributes is None or not attributes.any():
        return _shrink_to(mean, variance, spread, None)
    alike = attributes @ attributes.T / max(float((attributes**2).sum(axis=1).mean()), np.finfo(float).tiny)
    fits = []
    for share in _ATTRIBUTE_SHARES:
        prior = spread * (share * alike + (1 - share) * np.eye(len(mean)))
        fits.append((_likelihood(own, own_variance, prior[np.ix_(seen, seen)]), prior))
    return _shrink_to(mean, variance, spread, max(fits, key=lambda fit: fit[0])[1])


def _shrink_to(
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
    spread: float,
    prior: NDArray[np.float64] | None,
    trust: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posterior under a prior covariance around an unknown common mean; with `trust` means stay as found."""
    prior = spread * np.eye(len(mean)) if prior is None else prior
    seen = np.isfinite(mean)
    own, noise = mean[seen], np.diag(variance[seen])
    inverse = np.linalg.inv(prior[np.ix_(seen, seen)] + noise)
    ones = np.ones(len(own))
    centre_variance = 1 / float(ones @ inverse @ ones)
    centre = centre_variance * float(ones @ inverse @ own)
    across = prior[:, seen] @ inverse
    posterior = centre + across @ (own - centre)
    leftover = 1 - across.sum(axis=1)
    posterior_variance = (
        np.diag(prior) - np.einsum("ij,ji->i", across, prior[seen]) + leftover**2 * centre_variance
    )
    if trust:
        posterior[seen], posterior_variance[seen] = own, variance[seen]
    return posterior, np.maximum(posterior_variance, np.finfo(float).tiny)


def _likelihood(
    own: NDArray[np.float64], own_variance: NDArray[np.float64], prior: NDArray[np.float64]
) -> float:
    """Restricted log-likelihood of the means under this prior covariance, the common mean being unknown."""
    covariance = prior + np.diag(own_variance)
    inverse = np.linalg.inv(covariance)
    ones = np.ones(len(own))
    information = float(ones @ inverse @ ones)
    centre = float(ones @ inverse @ own) / information
    departure = own - centre
    log_det = float(np.linalg.slogdet(covariance)[1])
    return -0.5 * (log_det + np.log(information) + float(departure @ inverse @ departure))


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
