"""The policies that every report sets beside Perkwise, fixed before a held-out row is looked at."""

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset
from training.evaluation.policy_value import doubly_robust, match_weights

Floats = NDArray[np.float64]

_PRIOR_OFFERS = 20  # offers at the average rate that a service starts with in the popularity ranking


def baseline_policies(
    constant_value: Floats, popular: Floats, uptake: Floats, eligible: NDArray[np.bool_]
) -> dict[str, Floats]:
    """Nothing, random, best constant, popularity and response, each of shape (n, n_services + 1).

    - `nothing` is never to offer anything.
    - `random` draws uniformly from the services that the user may be offered.
    - `best_constant` is the one choice, nothing included, of the highest `constant_values`; where it may
      not be offered, the next best that may.
    - `popularity` offers the service with the highest `popularity` of those that may be offered.
    - `response` offers each user the service with the highest predicted uptake.

    A user who may be offered no service is shown nothing by all of them.

    Parameters
    ----------
    constant_value : array of shape (n_services + 1,)
        What showing everybody nothing (first) or one service was worth on the training rows.
    popular : array of shape (n_services,)
        Uses per offer on the training rows.
    uptake : array of shape (n, n_services)
        Predicted uptake.
    eligible : bool array of shape (n, n_services)
        Which services each row's user may be offered then.

    Examples
    --------
    >>> policies = baseline_policies(
    ...     np.array([0.0, 2.0]), np.array([0.5]), np.array([[0.1], [0.2]]), np.array([[True], [False]])
    ... )
    >>> policies["best_constant"].tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    may = np.column_stack([np.ones(len(eligible), bool), eligible])
    return {
        "nothing": _best(np.zeros(may.shape), may & (np.arange(may.shape[1]) == 0)),
        "random": _uniform(eligible),
        "best_constant": _best(np.broadcast_to(constant_value, may.shape), may),
        "popularity": _best_service(np.broadcast_to(popular, eligible.shape), eligible),
        "response": _best_service(uptake, eligible),
    }


def constant_values(train: Dataset, value: Floats, q: Floats) -> Floats:
    """Doubly robust value of showing everybody nothing, or one service, shape (n_services + 1,).

    Parameters
    ----------
    train : Dataset
        The rows that the models learned from, n of them.
    value : array of shape (n,)
        What each of them earned: net margin, or repurchase.
    q : array of shape (n, n_services + 1)
        Its expectation for nothing and each service.
    """
    values = np.empty(q.shape[1])
    for column in range(q.shape[1]):
        policy = np.zeros_like(q)
        policy[:, column] = 1.0
        weights = match_weights(policy, train.service, train.slate_propensity)
        values[column] = doubly_robust(policy, weights, value, train.service, q).mean()
    return values


def popularity(train: Dataset) -> Floats:
    """Uses per offer of each service, drawn toward the average rate where offers are few."""
    n_services = len(train.catalog)
    alone = train.service >= 0
    service = train.service[alone].astype(np.int64)
    offers = np.bincount(service, minlength=n_services)
    uses = np.bincount(service, train.uptake[alone], n_services)
    average = uses.sum() / max(offers.sum(), 1)
    return (uses + _PRIOR_OFFERS * average) / (offers + _PRIOR_OFFERS)


def _uniform(eligible: NDArray[np.bool_]) -> Floats:
    n = eligible.sum(axis=1, keepdims=True)
    return np.column_stack([n == 0, eligible / np.maximum(n, 1)]).astype(float)


def _best_service(score: Floats, eligible: NDArray[np.bool_]) -> Floats:
    none = ~eligible.any(axis=1)
    return _best(
        np.column_stack([np.zeros(len(score)), score]),
        np.column_stack([none, eligible]),
    )


def _best(score: Floats, may: NDArray[np.bool_]) -> Floats:
    chosen = np.where(may, score, -np.inf).argmax(axis=1)
    policy = np.zeros(score.shape)
    policy[np.arange(len(score)), chosen] = 1.0
    return policy
