"""What a policy would have earned on logged exposures: IPS, SNIPS, doubly robust, Switch, DRos; by row.

A policy is an array of shape (n, n_services + 1) of the probabilities of showing nothing (first) and
each service; its rows sum to 1. `service` is the logged position: -1 nothing, -2 a list of several.
A list of several never matches a policy of single offers: its weight is 0, so it stays in the mean and
adds what the outcome model expects. Every estimate is a mean over the same rows, so the difference of
two policies is the mean of the differences.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TINY = np.finfo(float).tiny
_EQUAL = 1e-6


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


def thresholds(weights: Floats) -> Floats:
    """Candidates for `switch`, infinity first: then 0 and ten quantiles of the positive weights."""
    matching = weights[weights > 0]
    if not matching.size:
        return np.array([np.inf, 0.0])
    return np.concatenate([[np.inf, 0.0], np.quantile(matching, np.linspace(0, 0.9, 10))])


def strengths(weights: Floats) -> Floats:
    """Candidates for `shrink`, infinity first: then 0 and twelve on a log scale.

    They go from a hundredth of the squared 5 % quantile of the positive weights to a hundred times their
    squared 95 % quantile (Su et al. 2020).
    """
    matching = weights[weights > 0]
    if not matching.size:
        return np.array([np.inf, 0.0])
    low, high = np.quantile(matching, [0.05, 0.95])
    return np.concatenate([[np.inf, 0.0], np.geomspace(0.01 * low**2, 100 * high**2, 12)])


def candidate_columns(rows: Floats) -> Floats:
    """What `least_error` needs of rows of shape (n, n_candidates): sum over rows, or resample."""
    return np.column_stack([np.ones(len(rows)), rows, rows**2])


def least_error(summed: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Which candidate has the least estimated mean squared error, and its value; the first is unbiased.

    The error of a mean over rows is estimated as variance / n + (mean - unbiased mean)^2, rows being taken
    as independent. On the log alone the winner's variance flatters it, for what is biased is not seen to be:
    an interval must choose anew in every replicate.

    Parameters
    ----------
    summed : array of shape (..., 1 + 2 * n_candidates)
        Sums of `candidate_columns`.

    References
    ----------
    Su, Dimakopoulou, Krishnamurthy and Dudík (2020), section 5, with the bias estimated directly.

    Examples
    --------
    >>> rows = np.array([[0.0, 1.0], [4.0, 2.0]])  # 2 with an error of 4 / 2; 1.5 with 1/4 / 2 + 1/4
    >>> chosen, value = least_error(candidate_columns(rows).sum(axis=0))
    >>> int(chosen), float(value)
    (1, 1.5)
    """
    n, sums = summed[..., :1], summed[..., 1:]
    mean, square = np.split(sums / n, 2, axis=-1)
    # As a difference of two sums a variance of 0 has noise; it must not decide between equals.
    error = np.maximum(square - mean**2, 0) / n + (mean - mean[..., :1]) ** 2
    error[..., 0] *= 1 - _EQUAL
    chosen = error.argmin(axis=-1)
    return chosen, np.take_along_axis(mean, chosen[..., None], axis=-1)[..., 0]


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


def weight_carried(weights: Floats) -> Floats:
    """Share of all weight that the heaviest 0, 5, … 100 % of the matching rows carry: a straight line where
    all weigh alike, and where no row matches.

    Examples
    --------
    >>> weight_carried(np.array([3.0, 1.0, 0.0]))[[0, 10, 20]].tolist()
    [0.0, 0.75, 1.0]
    """
    share = np.linspace(0, 1, 21)
    matching = np.sort(weights[weights > 0])[::-1]
    if not len(matching):
        return share
    carried = np.concatenate([[0.0], np.cumsum(matching) / matching.sum()])
    return np.interp(share, np.linspace(0, 1, len(carried)), carried)


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
