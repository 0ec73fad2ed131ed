"""Rows × services: the matrix that uptake is learned from, and the pairs that effects are learned from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.exposure_log import ExposureLog

FEW_SERVICES = 4  # up to here the holdout is a large part of the rows, and teaches each service directly
MOST_DRAWS = 3  # services that each holdout row is compared with, at most


def beside_service(
    features: NDArray[np.float32], service: NDArray[np.intp], per_service: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(n, p + 1 + k): each row's features, its service as a category, and what is known of that service."""
    known = per_service[service]
    return np.column_stack([features, service.astype(np.float32), known.astype(np.float32)])


def smoothed_rate(
    values: NDArray[np.float64], service: NDArray[np.intp], n_services: int, prior_rows: float
) -> NDArray[np.float64]:
    """(n_services,) mean of each service's values, with the mean of all added as `prior_rows` rows.

    Examples
    --------
    >>> smoothed_rate(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1]), 3, prior_rows=2).tolist()
    [0.75, 0.25, 0.5]
    """
    count = np.bincount(service, minlength=n_services)
    total = np.bincount(service, values, minlength=n_services)
    return (total + prior_rows * values.mean()) / (count + prior_rows)


@dataclass(frozen=True)
class Pairing:
    """Which row stands beside which service: shown rows with their own, holdout rows with some drawn."""

    row: NDArray[np.intp]  # (m,) positions in the log
    service: NDArray[np.intp]  # (m,)
    treated: NDArray[np.bool_]  # (m,)
    p_treated: NDArray[np.float64]  # (m,) probability that a pair of this row is a treated one


def pair_rows(log: ExposureLog, seed: int) -> Pairing:
    """Pair every shown row with its service; where services are few, every holdout row with some too.

    A holdout row draws n = min(n_services, 3) services without favour, each as likely as the policy would
    have shown it, by systematic sampling. Among the pairs of one service, treated ones and others then
    stand as (1 − e0) to n × e0, whatever the service, e0 being the row's propensity of nothing. With more
    than four services it draws none: the rows of all services together say what is usual.
    """
    shown, held_out = np.flatnonzero(log.shown), np.flatnonzero(~log.shown)
    n_draws = min(log.n_services, MOST_DRAWS) if log.n_services <= FEW_SERVICES else 0
    row = np.concatenate([shown, *[held_out] * n_draws])
    nothing = log.propensity[row, 0]
    return Pairing(
        row=row,
        service=np.concatenate([log.service[shown], *_draw(log.propensity[held_out, 1:], n_draws, seed)]),
        treated=np.arange(len(row)) < len(shown),
        p_treated=(1 - nothing) / (1 - nothing + n_draws * nothing),
    )


def _draw(policy: NDArray[np.float64], n_draws: int, seed: int) -> list[NDArray[np.intp]]:
    """Services for each row of the policy, n_draws times, in proportion to its entries."""
    ladder = np.cumsum(policy / policy.sum(axis=1, keepdims=True), axis=1)
    first = np.random.default_rng(seed).random(len(policy))
    last = policy.shape[1] - 1
    return [
        np.minimum((((first + k) / n_draws)[:, None] >= ladder).sum(axis=1), last) for k in range(n_draws)
    ]
