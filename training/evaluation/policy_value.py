"""What a policy would have earned on logged exposures: IPS, SNIPS, doubly robust, Switch, DRos; by row.

A policy is an array of shape (n, n_services + 1) of the probabilities of showing nothing (first) and
each service; its rows sum to 1. `service` is the logged position: -1 nothing, -2 a list of several.
A list of several never matches a policy of single offers: its weight is 0, so it stays in the mean and
adds what the outcome model expects. Every estimate is a mean over the same rows, so the difference of
two policies is the mean of the differences.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TINY = np.finfo(float).tiny


def match_weights(policy: Floats, service: NDArray, slate_propensity: Floats) -> Floats:
    """Probability of what was logged under the policy, over that under the logging policy, shape (n,).

    Raises
    ------
    ValueError
        Where the policy's rows do not sum to 1, or a propensity lies outside (0, 1].

    Examples
    --------
    >>> match_weights(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, -2]), np.array([0.25, 0.5])).tolist()
    [2.0, 0.0]
    """
    _check_policy(policy, service)
    if not ((slate_propensity > 0) & (slate_propensity <= 1)).all():
        bad = int(np.sum(~((slate_propensity > 0) & (slate_propensity <= 1))))
        raise ValueError(
            f"slate_propensity must lie in (0, 1], got {bad} of {len(service)} that do not: "
            "what was shown cannot have been impossible."
        )
    return logged_column(policy, service) / slate_propensity


def ips(weights: Floats, value: Floats) -> Floats:
    """Inverse propensity scoring: unbiased where the propensities are right; noisy. Mean it over rows.

    References
    ----------
    Horvitz and Thompson (1952), A generalization of sampling without replacement.
    """
    return weights * value


def snips(weights: Floats, value: Floats) -> Floats:
    """Self-normalised IPS: weights divided by their mean, so that adding a constant to every value adds it.

    Slightly biased in small samples. Where no logged row matches the policy it is nan.

    References
    ----------
    Swaminathan and Joachims (2015), The self-normalized estimator for counterfactual learning.

    Examples
    --------
    >>> snips(np.array([2.0, 0.0, 4.0]), np.array([1.0, 9.0, 2.5])).mean()
    np.float64(2.0)
    """
    mean = weights.mean()
    return weights * value / mean if mean > 0 else np.full(len(weights), np.nan)


def doubly_robust(policy: Floats, weights: Floats, value: Floats, service: NDArray, q: Floats) -> Floats:
    """What the model expects of the policy, corrected by the model's error on the rows that match.

    Unbiased where either the propensities or the model `q` are right, and less noisy than IPS.

    Parameters
    ----------
    policy, q : arrays of shape (n, n_services + 1)
        The policy, and the expected value of showing nothing and each service, from models that have
        not seen these rows.
    weights, value, service : arrays of shape (n,)
        `match_weights` of the policy, value of the logged row, logged position.

    References
    ----------
    Dudík, Langford and Li (2011), Doubly robust policy evaluation and learning.
    """
    return (policy * q).sum(axis=1) + weights * (value - logged_column(q, service))


def switch(weights: Floats, threshold: float) -> Floats:
    """The weights of Switch-DR: w where w <= threshold, else 0, so that there the model alone speaks.

    `doubly_robust` with these weights is sum_a pi(a|x) q(x, a) + w 1[w <= threshold] (r - q(x, a)): the
    model's value at threshold 0, doubly robust at infinity.

    References
    ----------
    Wang, Agarwal and Dudík (2017), Optimal and adaptive off-policy evaluation in contextual bandits.

    Examples
    --------
    >>> switch(np.array([0.0, 2.0, 50.0]), 10).tolist()
    [0.0, 2.0, 0.0]
    """
    _check_not_negative("threshold", threshold)
    return np.where(weights <= threshold, weights, 0.0)


def shrink(weights: Floats, strength: float) -> Floats:
    """The weights of DRos, the doubly robust estimator with optimistic shrinkage: s w / (w^2 + s).

    `doubly_robust` with these weights is the model's value at strength 0 and doubly robust at infinity; a
    weight w is halved where s = w^2. The greatest weight left is sqrt(s) / 2.

    References
    ----------
    Su, Dimakopoulou, Krishnamurthy and Dudík (2020), Doubly robust off-policy evaluation with shrinkage.

    Examples
    --------
    >>> shrink(np.array([0.0, 1.0, 3.0]), 9).tolist()
    [0.0, 0.9, 1.5]
    """
    _check_not_negative("strength", strength)
    return (
        weights.copy()
        if np.isinf(strength)
        else strength * weights / np.maximum(weights**2 + strength, _TINY)
    )


def best_threshold(policy: Floats, weights: Floats, value: Floats, service: NDArray, q: Floats) -> float:
    """The threshold of `switch` with the least `estimated_error`: 0, ten quantiles of w, or infinity."""
    matching = weights[weights > 0]
    if not matching.size:
        return np.inf
    candidates = np.unique(np.quantile(matching, np.linspace(0, 1, 11)[:-1]))
    return _least_error(switch, [0.0, *candidates], policy, weights, value, service, q)


def best_strength(policy: Floats, weights: Floats, value: Floats, service: NDArray, q: Floats) -> float:
    """The strength of `shrink` with the least `estimated_error`.

    Candidates are 0, infinity, and thirty from a hundredth of the squared 5 % quantile of the positive
    weights to a hundred times their squared 95 % quantile, equally far apart on a log scale (Su et al. 2020).
    """
    matching = weights[weights > 0]
    if not matching.size:
        return np.inf
    low, high = np.quantile(matching, [0.05, 0.95])
    candidates = np.geomspace(0.01 * low**2, 100 * high**2, 30)
    return _least_error(shrink, [0.0, *candidates], policy, weights, value, service, q)


def estimated_error(rows: Floats, unbiased: Floats) -> float:
    """Estimated mean squared error of a mean over rows, against one that is unbiased and noisier.

    variance(rows) / n + b^2, where b is the difference of the two means. The noise in b is left in, so that
    what cannot be told from biased is not preferred. Rows are taken as independent.

    References
    ----------
    Su, Dimakopoulou, Krishnamurthy and Dudík (2020), section 5, with the bias estimated directly.

    Examples
    --------
    >>> estimated_error(np.array([1.0, 1.0]), np.array([3.0, 3.0]))
    4.0
    """
    return float(rows.var() / len(rows) + (rows - unbiased).mean() ** 2)


def _least_error(
    lighten: Callable[[Floats, float], Floats],
    candidates: list[float],
    policy: Floats,
    weights: Floats,
    value: Floats,
    service: NDArray,
    q: Floats,
) -> float:
    expected, residual = (policy * q).sum(axis=1), value - logged_column(q, service)
    unbiased = expected + weights * residual
    errors = [
        estimated_error(expected + lighten(weights, candidate) * residual, unbiased)
        for candidate in candidates
    ]
    least = int(np.argmin(errors))
    return candidates[least] if errors[least] < estimated_error(unbiased, unbiased) else np.inf


def effect_of_offer(
    outcome: Floats, service: NDArray, slate_propensity: Floats, position: int, mu0: Floats, uplift: Floats
) -> Floats:
    """Doubly robust signal of the uplift of one service against nothing, shape (n,).

    The doubly robust value of always offering it minus that of never offering anything; its mean over
    any set of rows chosen without the outcome is an unbiased estimate of their average uplift.

    Parameters
    ----------
    outcome : array of shape (n,)
        Repurchase or margin, before the costs of the service.
    position : int
        Catalogue position of the service.
    mu0, uplift : arrays of shape (n,)
        Predicted outcome of nothing, and predicted uplift of the service.

    References
    ----------
    Robins, Rotnitzky and Zhao (1994), Estimation of regression coefficients when some regressors are not
    always observed.
    """
    weight = 1 / slate_propensity
    offered = uplift + (service == position) * weight * (outcome - mu0 - uplift)
    return offered - (service == -1) * weight * (outcome - mu0)


def effective_sample_size(weights: Floats) -> float:
    """How many equally weighted rows would be as noisy: (sum w)^2 / sum w^2; 0 where no row matches.

    Examples
    --------
    >>> effective_sample_size(np.array([1.0, 1.0, 0.0]))
    2.0
    """
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def logged_column(per_service: Floats, service: NDArray) -> Floats:
    """The entry of what was shown in an array of shape (n, n_services + 1); 0 for a list of several."""
    shown = np.take_along_axis(per_service, np.maximum(service.astype(np.int64) + 1, 0)[:, None], axis=1)[
        :, 0
    ]
    return np.where(service >= -1, shown, 0.0)


def _check_policy(policy: Floats, service: NDArray) -> None:
    if policy.ndim != 2 or len(policy) != len(service):
        raise ValueError(f"policy must have one row an exposure ({len(service)}), got shape {policy.shape}.")
    total = policy.sum(axis=1)
    if (policy < 0).any() or not np.allclose(total, 1):
        worst = int(np.argmax(np.abs(total - 1)))
        raise ValueError(
            f"policy must hold probabilities that sum to 1 in every row, got {total[worst]:g} in row {worst} "
            f"and a smallest entry of {policy.min():g}."
        )


def _check_not_negative(name: str, number: float) -> None:
    if not number >= 0:
        raise ValueError(f"{name} must be at least 0 (0: the model alone, inf: doubly robust), got {number}.")
