"""Each service's average uplift, shrunk toward what services like it add: the less it was shown, the more."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

_POOLED_ROWS = 200  # the pooled residual variance counts as this many rows of each service
_WEIGHT_CAP_QUANTILE = 0.99
_LEAST_SPREAD = 0.05  # least variance between services, in units of their median squared error
_ATTRIBUTE_SHARES = (0.0, 0.5, 0.9)  # of the variance between services, that their attributes may explain
_LEAST_INFORMATION = 1e-6  # of a service's own, added: two that only ever stood together are not told apart
_MOST_LIST_WEIGHT = 5.0  # of a list, in mean weights of lists as long


@dataclass(frozen=True)
class Averages:
    """Average uplift of each service and its standard error, each of shape (n_services,)."""

    uplift: NDArray[np.float64]
    se: NDArray[np.float64]
    unasked: float  # mean residual where nothing was shown: the baseline's own error, taken off the uplifts


@dataclass(frozen=True)
class ListRows:
    """m lists as equations `residual = Σ proportion × average uplift + noise`."""

    residual: NDArray[np.float64]  # (m,) outcome less baseline and what this user departs from the averages
    service: NDArray[np.intp]  # (m, longest), −1 pads
    proportion: NDArray[np.float64]  # (m, longest) of the uplift of an offer alone; 0 at pads
    propensity: NDArray[np.float64]  # (m,) of the whole list


def average_uplift(
    residual: NDArray[np.float64],
    service: NDArray[np.intp],
    propensity: NDArray[np.float64],
    attributes: NDArray[np.float64] | None = None,
    lists: ListRows | None = None,
) -> Averages:
    """Average uplift of each service by empirical Bayes.

    Each service's mean residual, weighted by 1 / propensity (capped), less that of the holdout. Where there
    are lists, those means and the equations of the lists are solved together by least squares. Then all are
    shrunk by a normal model in which services differ by their attributes and beyond; the variance between
    services is after Paule and Mandel (1982), the share of it that attributes explain is the likeliest of
    none, a half and nine tenths. The variance of residuals is pooled over services: a service shown five
    times without a purchase would otherwise look infinitely certain. With one or two services nothing is
    shrunk. Standard errors allow for the variance between services being an estimate (Morris, 1983,
    Parametric empirical Bayes inference).

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
    mean = mean - holdout[0]
    if lists is not None:
        mean, variance = _join(mean, variance, lists, holdout[0])
    uplift, variance = shrink_alike(mean, variance, attributes)
    return Averages(uplift, np.sqrt(variance + holdout[1]), holdout[0])


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
    mean: NDArray[np.float64], variance: NDArray[np.float64], lists: ListRows, unasked: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Averages that fit the services' own means and the lists best, and their variances.

    Were each list divided among its services one by one instead, an error that they share would be handed
    from companion to companion, and grow.
    """
    weight = _list_weights(lists)
    noise = float(np.average((lists.residual - unasked) ** 2, weights=weight)) or 1.0
    n, longest = len(mean), lists.service.shape[1]
    information, evidence = np.zeros((n, n)), np.zeros(n)
    for a in range(longest):
        rows = lists.service[:, a] >= 0
        one = lists.service[rows, a]
        own = weight[rows] * lists.proportion[rows, a] / noise
        evidence += np.bincount(one, own * (lists.residual[rows] - unasked), n)
        for b in range(longest):
            other, product = np.maximum(lists.service[rows, b], 0), own * lists.proportion[rows, b]
            information += np.bincount(one * n + other, product, n * n).reshape(n, n)
    seen = np.isfinite(mean)
    information[np.diag_indices(n)] += 1 / variance
    evidence[seen] += mean[seen] / variance[seen]
    known = np.diag(information) > 0
    inner = information[np.ix_(known, known)]
    covariance = np.linalg.inv(inner + _LEAST_INFORMATION * np.diag(np.diag(inner)))
    mean, variance = np.full(n, np.nan), np.full(n, np.inf)
    mean[known], variance[known] = covariance @ evidence[known], np.diag(covariance)
    return mean, variance


def _list_weights(lists: ListRows) -> NDArray[np.float64]:
    """1 / propensity against the mean of lists as long, capped; all sum to as many rows as they are worth.

    Longer lists are rarer one by one, which is no reason to trust them more.
    """
    weight = 1 / lists.propensity
    length = (lists.service >= 0).sum(axis=1)
    mean = np.bincount(length, weight) / np.maximum(np.bincount(length), 1)
    weight = np.minimum(weight / mean[length], _MOST_LIST_WEIGHT)
    return weight * weight.sum() / (weight**2).sum()


def shrink_alike(
    mean: NDArray[np.float64], variance: NDArray[np.float64], attributes: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posterior mean and variance of each service; NaN means are services never shown.

    Services alike in their attributes are drawn together more than others are, as far as the means say so.
    """
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
    elif len(own) > 3:
        # the variance between services is itself known from so few of them (Morris 1983)
        posterior_variance[seen] += 2 / (len(own) - 3) * (own - posterior[seen]) ** 2
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
