"""From the probability of what was shown to that of everything that might have been."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from training.boosting import Binned, cross_fit
from training.exposure_log import Columns, check_labels, check_service, content_order, deal_folds
from training.lockstep import LearnerSettings
from training.pairs import beside_service

_SETTINGS = LearnerSettings(leaves=15, learning_rate=0.2, min_rows=50, l2=1.0, max_rounds=150, patience=5)
_CONSTANT = 1e-9  # most that rounding moves a logged constant
_LEAST = 1e-6  # left for actions never logged, at least


def full_propensities(
    X: ArrayLike | pd.DataFrame,
    service: ArrayLike,
    logged: ArrayLike,
    n_services: int,
    seed: int = 0,
    n_jobs: int = -1,
) -> NDArray[np.float64]:
    """Probability of each action for each row, nothing first, from that of the action that was logged.

    An action logged with one probability throughout had that probability for everyone. Where it varied, the
    logarithm of the logged probability is regressed on the features and the action, by one model for all
    actions that never saw the row it answers for. What is left of 1 is shared by actions that were never
    logged. The logged entry is kept to the last bit; the estimated ones of its row are rescaled so that all
    sum to 1, and the constants too where that does not suffice.

    Parameters
    ----------
    X : array-like or frame of shape (n, p)
        Features known to the policy; NaN is "unknown".
    service : array-like of shape (n,)
        Position of the service shown, −1 for nothing.
    logged : array-like of shape (n,)
        Probability, under the policy that logged it, of what was shown.
    n_services : int
    seed : int

    Returns
    -------
    ndarray of shape (n, n_services + 1)
        Each row sums to 1.

    Examples
    --------
    >>> service, logged = np.array([-1, 0, 1, 1]), np.array([0.5, 0.25, 0.25, 0.25])
    >>> full_propensities(np.zeros((4, 1)), service, logged, n_services=2)[0].tolist()
    [0.5, 0.25, 0.25]
    """
    features = Columns.of(X).matrix(X)
    action = check_service(service, len(features), n_services) + 1
    probability = check_labels("logged", logged, len(features))
    if not ((probability > 0) & (probability <= 1)).all():
        row = int(np.flatnonzero(~((probability > 0) & (probability <= 1)))[0])
        raise ValueError(f"logged must be above 0 and at most 1, got {probability[row]:g} in row {row}.")
    known = _constants(action, probability, n_services + 1)
    estimate = _everywhere(features, features[:0], action, probability, known, seed, n_jobs)
    return _complete(estimate, np.isfinite(known), action, probability)


def single_propensities(
    X: NDArray[np.float32],
    service: NDArray,
    logged: NDArray[np.float64],
    n_services: int,
    seed: int = 0,
    n_jobs: int = -1,
) -> NDArray[np.float64]:
    """Probability of each single offer, nothing first, on rows of any list; none of them knows its own row's.

    Parameters
    ----------
    service : array of shape (n,)
        As in `full_propensities`; −2 where a list of several was shown, from which nothing is learned.
    logged : array of shape (n,)
        Not conditional on a list of one.

    Returns
    -------
    ndarray of shape (n, n_services + 1)
        NaN for what was never shown alone. Rows need not sum to 1.

    Examples
    --------
    >>> service, logged = np.array([-1, 0, -2, 0]), np.array([0.5, 0.25, 0.25, 0.25])
    >>> single_propensities(np.zeros((4, 1), np.float32), service, logged, n_services=1)[2].tolist()
    [0.5, 0.25]
    """
    alone = service != -2
    action = service[alone].astype(np.intp) + 1
    known = _constants(action, logged[alone], n_services + 1)
    estimate = _everywhere(X[alone], X[~alone], action, logged[alone], known, seed, n_jobs)
    found = np.empty((len(X), n_services + 1))
    found[alone], found[~alone] = estimate[: alone.sum()], estimate[alone.sum() :]
    return found


def _everywhere(
    features: NDArray[np.float32],
    further: NDArray[np.float32],
    action: NDArray[np.intp],
    probability: NDArray[np.float64],
    known: NDArray[np.float64],
    seed: int,
    n_jobs: int,
) -> NDArray[np.float64]:
    """Constants where there are, regressions where the logged probability varied, "
    "NaN for the never logged."""
    varying = np.setdiff1d(action, np.flatnonzero(np.isfinite(known)))
    estimate = np.tile(known, (len(features) + len(further), 1))
    if len(varying):
        estimate[:, varying] = _regress(
            features, further, action, probability, varying, len(known), seed, n_jobs
        )
    return estimate


def _constants(
    action: NDArray[np.intp], probability: NDArray[np.float64], n_actions: int
) -> NDArray[np.float64]:
    """(n_actions,) the one probability an action was logged with; NaN where it varied or never occurred."""
    constants = np.full(n_actions, np.nan)
    for one in np.unique(action):
        of_action = probability[action == one]
        if np.ptp(of_action) <= _CONSTANT:
            constants[one] = of_action[0]
    return constants


def _regress(
    features: NDArray[np.float32],
    further: NDArray[np.float32],
    action: NDArray[np.intp],
    probability: NDArray[np.float64],
    wanted: NDArray[np.intp],
    n_actions: int,
    seed: int,
    n_jobs: int,
) -> NDArray[np.float64]:
    """Cross-fitted probabilities of the wanted actions, a column each; of further "
    "rows, the mean of the folds."""
    order = content_order(seed, features, action, probability)
    fold = np.empty(len(order), dtype=np.intp)
    fold[order] = deal_folds(action[order])
    target, of_target = np.log(probability[order]), action[order]
    count = np.maximum(np.bincount(action, minlength=n_actions), 1)
    start = np.bincount(of_target, target, minlength=n_actions) / count
    data = Binned.of(beside_service(features, action, start[:, None])[order], [features.shape[1]], n_jobs)
    learned = cross_fit(data, target, fold[order], start[of_target], "regression", _SETTINGS, seed, n_jobs)
    columns = []
    for one in wanted:
        pairs = beside_service(features, np.full(len(features), one), start[:, None])
        raw = learned.raw_by_fold(pairs, fold, n_jobs)
        if len(further):
            pairs = beside_service(further, np.full(len(further), one), start[:, None])
            raw = np.append(raw, learned.ensemble.raw(pairs, n_jobs))
        columns.append(np.exp(np.minimum(start[one] + raw, 0)))
    return np.stack(columns, axis=1)


def _complete(
    estimate: NDArray[np.float64],
    is_constant: NDArray[np.bool_],
    action: NDArray[np.intp],
    probability: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Rows that sum to 1 with the logged entry as it is; constants give way only where they must."""
    never = np.isnan(estimate).all(axis=0)
    left = np.maximum(1 - estimate[:, ~never].sum(axis=1, keepdims=True), _LEAST)
    estimate = np.where(never, left / max(1, never.sum()), estimate)
    is_logged = action[:, None] == np.arange(estimate.shape[1])
    estimate = np.where(is_logged, probability[:, None], estimate)
    estimate = _rescale(estimate, movable=~(is_logged | is_constant))
    return _rescale(estimate, movable=~is_logged)


def _rescale(estimate: NDArray[np.float64], movable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scale the movable entries of each row so that it sums to 1, where the others leave room for it."""
    room = 1 - np.where(movable, 0, estimate).sum(axis=1, keepdims=True)
    total = np.where(movable, estimate, 0).sum(axis=1, keepdims=True)
    scale = np.divide(room, total, out=np.ones_like(total), where=(room >= 0) & (total > 0))
    return np.where(movable, estimate * scale, estimate)
