"""Who is shown what, learned from the profile: multiclass models, cross-fitted by user."""

from collections.abc import Sequence

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from training.boosting import Binned
from training.exposure_log import N_FOLDS
from training.lockstep import Labels, LearnerSettings, grow_folds, split

Floats = NDArray[np.float64]

_MOST_LINEAR_ROWS = 50_000
_FREEDOMS = (0.0, 0.001, 0.03, 1.0)  # 1 / penalty of the regression
_FAR = 4.0  # standard deviations, beyond which a linear score goes no further


def deal_users(user: NDArray, most_rows: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The fold of each row, all rows of a user in one, and the rows to learn from.

    Those are all, or the rows of so many users, drawn at random, that there are about `most_rows`.
    """
    users, of_row = np.unique(user, return_inverse=True)
    turn = np.random.default_rng(seed).permutation(len(users))[of_row]
    share = min(1.0, most_rows / max(len(user), 1))
    return turn % N_FOLDS, np.flatnonzero(turn < len(users) * share)


def linear_scores(
    X: NDArray[np.float32],
    action: NDArray[np.intp],
    fold: NDArray[np.intp],
    learned: NDArray[np.intp],
    categorical: Sequence[int],
    n_actions: int,
) -> list[Floats]:
    """Log-probabilities by multinomial ridge regression, one array of shape (n, n_actions) a fold.

    That of fold k comes from a model that never saw fold k. The penalty is that of the least held-out loss;
    the heaviest leaves the shares alone. Columns are standardised and held within ±4, gaps stand at the mean,
    categories are left to the trees.
    """
    numeric = np.setdiff1d(np.arange(X.shape[1]), np.asarray(categorical, np.intp))
    columns = X[:, numeric].astype(np.float64)
    known = np.isfinite(columns)
    n_known = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, columns, 0).sum(axis=0) / n_known
    rest = np.where(known, columns - mean, 0.0)
    spread = np.sqrt((rest**2).sum(axis=0) / n_known)
    scaled = np.clip(np.divide(rest, spread, out=np.zeros_like(rest), where=spread > 0), -_FAR, _FAR)
    best, least = [], np.inf
    for freedom in _FREEDOMS:
        found, losses = [], []
        for part in split(fold, learned):
            rows = part.learned[:: -(-len(part.learned) // _MOST_LINEAR_ROWS) or 1]
            found.append(_linear(scaled, rows, action, n_actions, freedom))
            losses.append(_held_out_loss(found[-1], part.held_out, action) if len(part.held_out) else 0.0)
        if np.mean(losses) < least:
            best, least = found, float(np.mean(losses))
    return best


def boosted_scores(
    X: NDArray[np.float32],
    action: NDArray[np.intp],
    fold: NDArray[np.intp],
    learned: NDArray[np.intp],
    starts: Sequence[Floats],
    categorical: Sequence[int],
    settings: LearnerSettings,
    seed: int,
    n_jobs: int = -1,
) -> Floats:
    """Log-probability of each action, shape (n, n_actions), each row by models that never saw its fold.

    Boosted (multiclass log-loss) from `starts`, one array a fold that never saw it; all folds stop at the
    round of the least held-out loss. Where no round lowers it the starts are the answer.

    Parameters
    ----------
    action : array of shape (n,)
        What was shown, 0 … n_actions − 1.
    fold, learned : arrays
        As `deal_users` gives them.
    """
    answer = np.empty(starts[0].shape)
    for k in range(N_FOLDS):
        answer[fold == k] = starts[k][fold == k]
    for k, booster in enumerate(_grow(X, action, fold, learned, starts, categorical, settings, seed, n_jobs)):
        rows = np.flatnonzero(fold == k)
        answer[rows] += booster.predict(X[rows], raw_score=True, num_threads=max(n_jobs, 0))
    return log_softmax(answer)


def log_softmax(raw: Floats) -> Floats:
    """Log-probabilities of raw scores, row by row.

    Examples
    --------
    >>> np.exp(log_softmax(np.log([[1.0, 3.0]]))).round(9).tolist()
    [[0.25, 0.75]]
    """
    shifted = raw - raw.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _linear(
    scaled: Floats, rows: NDArray[np.intp], action: NDArray[np.intp], n_actions: int, freedom: float
) -> Floats:
    """Actions that these rows lack have the logit of half a row."""
    count = np.bincount(action[rows], minlength=n_actions)
    seen = np.flatnonzero(count)
    scores = np.tile(np.log(np.maximum(count, 0.5) / max(len(rows), 1)), (len(scaled), 1))
    if len(seen) > 1 and freedom > 0:
        with threadpool_limits(limits=1, user_api="blas"):  # the same sums whatever the machine
            model = LogisticRegression(C=freedom, max_iter=200).fit(scaled[rows], action[rows])
            known = np.log(np.maximum(model.predict_proba(scaled), 1e-12))
        scores[:, seen] = known + np.log(count[seen].sum() / len(rows))
    return log_softmax(scores)


def _grow(
    X: NDArray[np.float32],
    action: NDArray[np.intp],
    fold: NDArray[np.intp],
    learned: NDArray[np.intp],
    starts: Sequence[Floats],
    categorical: Sequence[int],
    settings: LearnerSettings,
    seed: int,
    n_jobs: int,
) -> list[lgb.Booster]:
    """One booster a fold; none where no round lowers the mean held-out loss."""
    n_actions, splits = starts[0].shape[1], split(fold, learned)
    if n_actions < 2 or np.ptp(action[learned]) == 0:
        return []
    if min(len(part.held_out) for part in splits) < n_actions:
        return []
    losses, boosters = grow_folds(
        Binned.of(X, categorical, n_jobs).dataset,
        splits,
        Labels(action, starts),
        settings.parameters("multiclass", seed, num_class=n_actions),
        settings.max_rounds,
        n_jobs,
        settings.patience,
    )
    before = [_held_out_loss(starts[k], part.held_out, action) for k, part in enumerate(splits)]
    if losses.min() >= np.mean(before):
        return []
    n_rounds = int(losses.argmin()) + 1
    return [lgb.Booster(model_str=booster.model_to_string(num_iteration=n_rounds)) for booster in boosters]


def _held_out_loss(log_probability: Floats, rows: NDArray[np.intp], action: NDArray[np.intp]) -> float:
    return -float(log_probability[rows, action[rows]].mean())
