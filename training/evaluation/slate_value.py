"""What a policy of lists would have earned on logged lists, one value a row: by list, position or cascade.

A row is one list shown; `reward` has shape (n, n_positions), what each position earned, in the order in
which they are read. A list that is shorter earns 0 at the positions it lacks, with a weight of 1 there.
The estimators differ in what they take a position's reward to depend on, and are unbiased where that holds:

| estimator | a position's reward depends on | weight of position l |
|---|---|---|
| `list_ips` | the whole list | pi(list) / p(list) |
| `independent_ips` | what stands there | pi(s_l at l) / p(s_l at l) |
| `cascade_ips`, `cascade_doubly_robust` | that and what stands before it | product over j <= l of steps j |

Less dependence leaves less noise. Mean over the rows; the difference of two policies is the mean of the
differences.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def position_weights(policy: Floats, propensity: Floats) -> Floats:
    """Probability of what was shown under the policy over that under the logging policy, in the same shape.

    Of lists (n,), of services at their positions (n, n_positions), or of steps: the service at position l
    given those before it.

    Raises
    ------
    ValueError
        Where the shapes differ, a propensity lies outside (0, 1] or a policy's probability outside [0, 1].

    Examples
    --------
    >>> position_weights(np.array([[0.5, 0.25]]), np.array([[0.25, 0.5]])).tolist()
    [[2.0, 0.5]]
    """
    if policy.shape != propensity.shape:
        raise ValueError(
            f"policy and propensity must have the same shape, got {policy.shape} and {propensity.shape}."
        )
    if not ((propensity > 0) & (propensity <= 1)).all():
        bad = int(np.sum(~((propensity > 0) & (propensity <= 1))))
        raise ValueError(
            f"propensity must lie in (0, 1], got {bad} of {propensity.size} that do not: "
            "what was shown cannot have been impossible."
        )
    if not ((policy >= 0) & (policy <= 1)).all():
        raise ValueError(f"policy must hold probabilities, got {policy.min():g} to {policy.max():g}.")
    return policy / propensity


def cascade_weights(steps: Floats) -> Floats:
    """Weights of the lists up to each position, from the `position_weights` of the steps.

    Examples
    --------
    >>> cascade_weights(np.array([[2.0, 0.5, 3.0]])).tolist()
    [[2.0, 1.0, 3.0]]
    """
    return steps.cumprod(axis=1)


def list_ips(weights: Floats, reward: Floats) -> Floats:
    """Inverse propensity scoring of whole lists: w(list) * sum_l r_l, with weights of shape (n,).

    Unbiased whatever the rewards depend on; where lists are long, few match and the noise is great.

    References
    ----------
    Horvitz and Thompson (1952), A generalization of sampling without replacement.
    """
    return weights * reward.sum(axis=1)


def independent_ips(weights: Floats, reward: Floats) -> Floats:
    """IPS by position: sum_l w_l r_l, a weight being that of the service at its position alone.

    References
    ----------
    Li, Abbasi-Yadkori, Kveton, Muthukrishnan, Vinay and Wen (2018), Offline evaluation of ranking policies
    with click models: the item-position model.
    """
    return (weights * reward).sum(axis=1)


def cascade_ips(weights: Floats, reward: Floats) -> Floats:
    """IPS of lists read from the top: sum_l w_1:l r_l, with `cascade_weights`.

    References
    ----------
    McInerney, Brost, Chandar, Mehrotra and Carterette (2020), Counterfactual evaluation of slate
    recommendations with sequential reward interactions (there RIPS).
    """
    return (weights * reward).sum(axis=1)


def self_normalised(weights: Floats) -> Floats:
    """Weights divided by their mean over the rows, position by position: for the SNIPS of each estimator.

    nan where no row matches. Slightly biased in small samples; 1 on average at every position.

    References
    ----------
    Swaminathan and Joachims (2015), The self-normalized estimator for counterfactual learning; McInerney
    et al. (2020), who normalise each position too.

    Examples
    --------
    >>> self_normalised(np.array([[2.0, 0.0], [4.0, 0.0]])).tolist()
    [[0.6666666666666666, nan], [1.3333333333333333, nan]]
    """
    mean = weights.mean(axis=0)
    return weights / np.where(mean > 0, mean, np.nan)


def cascade_doubly_robust(weights: Floats, reward: Floats, q_shown: Floats, q_policy: Floats) -> Floats:
    """Doubly robust value of lists read from the top, less noisy than `cascade_ips` where the model is good.

    sum_l w_1:l (r_l - q_l(s_1:l)) + w_1:l-1 E_pi[q_l(s_1:l-1, s)], where w_1:0 = 1. Unbiased where either
    the propensities or the model are right and a reward depends on what stands before it alone.

    Parameters
    ----------
    weights : array of shape (n, n_positions)
        `cascade_weights`.
    reward : array of shape (n, n_positions)
    q_shown : array of shape (n, n_positions)
        Expected reward under the policy of position l and all below it, given what was shown up to l; from
        models that have not seen these rows. 0 at positions a list lacks.
    q_policy : array of shape (n, n_positions)
        The same given what was shown above l, averaged over what the policy would show at l.

    References
    ----------
    Kiyohara, Saito, Matsuhiro, Narita, Shimizu and Yamamoto (2022), Doubly robust off-policy evaluation for
    ranking policies under the cascade behavior model.

    Examples
    --------
    >>> weights, reward = np.array([[2.0, 0.0]]), np.array([[1.0, 1.0]])
    >>> cascade_doubly_robust(weights, reward, np.array([[0.5, 0.5]]), np.array([[1.0, 0.5]])).tolist()
    [3.0]
    """
    above = np.column_stack([np.ones(len(weights)), weights[:, :-1]])
    return (weights * (reward - q_shown) + above * q_policy).sum(axis=1)
