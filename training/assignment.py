"""Who is shown what, learned from the profile: one multiclass model, cross-fitted by user."""

from collections.abc import Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from training.boosting import Binned, LearnerSettings
from training.exposure_log import N_FOLDS

Floats = NDArray[np.float64]


def cross_fit_assignment(
    X: NDArray[np.float32],
    action: NDArray[np.intp],
    user: NDArray,
    start: Floats,
    categorical: Sequence[int],
    settings: LearnerSettings,
    most_rows: int,
    seed: int,
    n_jobs: int = -1,
) -> Floats:
    """What the profile adds to the log-probability of each action, shape (n, n_actions).

    Boosted from `start` (multiclass log-loss), one model a fold, all stopped at the round of the least
    held-out loss. Each row is answered by the model that never saw it, nor another row of its user.

    Parameters
    ----------
    action : array of shape (n,)
        What was shown, 0 … n_actions − 1.
    user : array of shape (n,)
        Whose row it is.
    start : array of shape (n, n_actions)
        Log-probabilities from which the trees start.
    most_rows : int
        The models learn from the rows of so many users, drawn at random, that there are about this many.

    Returns
    -------
    array of shape (n, n_actions)
        Zeros where no round lowers the held-out loss of the start: then the profile tells nothing.
    """
    rng = np.random.default_rng(seed)
    users, of_row = np.unique(user, return_inverse=True)
    turn = rng.permutation(len(users))[of_row]
    fold = turn % N_FOLDS
    learned = np.flatnonzero(turn < len(users) * min(1.0, most_rows / max(len(action), 1)))
    boosters = _grow(X, action, start, learned, fold, categorical, settings, seed, n_jobs)
    raw = np.zeros(start.shape)
    for k, booster in enumerate(boosters):
        rows = np.flatnonzero(fold == k)
        raw[rows] = booster.predict(X[rows], raw_score=True, num_threads=max(n_jobs, 0))
    return raw


def log_softmax(raw: Floats) -> Floats:
    """Log-probabilities of raw scores, row by row.

    Examples
    --------
    >>> np.exp(log_softmax(np.log([[1.0, 3.0]]))).tolist()
    [[0.25, 0.75]]
    """
    shifted = raw - raw.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _grow(
    X: NDArray[np.float32],
    action: NDArray[np.intp],
    start: Floats,
    learned: NDArray[np.intp],
    fold: NDArray[np.intp],
    categorical: Sequence[int],
    settings: LearnerSettings,
    seed: int,
    n_jobs: int,
) -> list[lgb.Booster]:
    """One booster a fold, grown on the rows `learned`; none where nothing can be learned."""
    label, of_fold, begin = action[learned], fold[learned], start[learned]
    folds = [(np.flatnonzero(of_fold != k), np.flatnonzero(of_fold == k)) for k in range(N_FOLDS)]
    n_actions = start.shape[1]
    if n_actions < 2 or min(len(rows) for _, rows in folds) < n_actions or np.ptp(label) == 0:
        return []
    data = Binned.of(X[learned], categorical, n_jobs).dataset
    data.set_label(label)
    data.set_init_score(begin)
    result: dict[str, Any] = lgb.cv(
        _parameters(settings, n_actions, seed, n_jobs),
        data,
        num_boost_round=settings.max_rounds,
        folds=folds,
        callbacks=[lgb.early_stopping(settings.patience, verbose=False)],
        return_cvbooster=True,
    )
    losses = next(values for name, values in result.items() if name.endswith("-mean"))
    of_start = -log_softmax(begin)[np.arange(len(label)), label]
    if min(losses) >= np.mean([of_start[rows].mean() for _, rows in folds]):
        return []
    grown = result["cvbooster"]
    return [
        lgb.Booster(model_str=booster.model_to_string(num_iteration=grown.best_iteration))
        for booster in grown.boosters
    ]


def _parameters(settings: LearnerSettings, n_actions: int, seed: int, n_jobs: int) -> dict[str, Any]:
    return {
        "objective": "multiclass",
        "num_class": n_actions,
        "num_leaves": settings.leaves,
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": settings.min_rows,
        "lambda_l2": settings.l2,
        "feature_fraction": 0.8,
        "cat_smooth": 50,
        "cat_l2": 50,
        "max_bin": 63,
        "feature_pre_filter": False,
        "bin_construct_sample_cnt": 20_000,
        "boost_from_average": False,
        "deterministic": True,
        "force_col_wise": True,
        "seed": seed,
        "num_threads": max(n_jobs, 0),
        "verbosity": -1,
    }
