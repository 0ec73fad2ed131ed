"""The policies that every report sets beside Perkwise, fixed before a held-out row is looked at."""

import numpy as np
from numpy.typing import NDArray

from offers.catalog import Catalog
from training.dataset import Dataset

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
        `constant_values` of the training rows.
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


def constant_values(average_uplift: Floats, popular: Floats, catalog: Catalog) -> Floats:
    """Net gain over nothing of showing everybody nothing (first) or one service, shape (n_services + 1,).

    Parameters
    ----------
    average_uplift : array of shape (n_services,)
        In margin, on the training rows, shrunk where rows are few: the largest of raw averages is mostly
        that of a service hardly ever shown.
    popular : array of shape (n_services,)
        `popularity` on the training rows.
    """
    return np.append(0.0, average_uplift - popular * catalog.unit_cost - catalog.contact_cost)


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
