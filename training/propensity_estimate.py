"""Propensities of a log that names none: learned from who was shown what, trimmed, and called estimated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.asof import DAY_US
from training.assignment import boosted_scores, deal_users, linear_scores
from training.lockstep import LearnerSettings

LEAST_OF_SHARE = 0.1  # an estimate counts as at least this part of how often the action was shown at all

_SETTINGS = LearnerSettings(leaves=4, learning_rate=0.1, min_rows=20, l2=1.0, max_rounds=300, patience=8)
_MOST_ROWS = 200_000  # that the models learn from
_LEAST = 1e-6  # left for actions that were never shown


@dataclass(frozen=True)
class EstimatedPropensities:
    """Probability of everything that might have been shown, for each row."""

    probability: NDArray[np.float64]  # (n, n_services + 2): nothing, each service, a list of several
    trimmed: NDArray[np.bool_]  # (n,) rows on which that of nothing or of a service was lifted

    def of_shown(self, service: NDArray) -> NDArray[np.float64]:
        """(n,) that of what was shown; of a list of several, that some such list was."""
        return self.probability[np.arange(len(service)), _action(service, self.probability.shape[1] - 2)]


def estimate_propensities(
    X: NDArray[np.float32],
    service: NDArray,
    user: NDArray,
    shown_at_us: NDArray[np.int64],
    n_services: int,
    categorical: Sequence[int] = (),
    seed: int = 0,
    n_jobs: int = -1,
) -> EstimatedPropensities:
    """Cross-fitted multiclass LightGBM over nothing, each service and "a list of several".

    The trees start from a multinomial ridge regression: what targets is mostly a smooth score, which small
    trees are slow to draw. Both know the profile and the time of the row, so that a rule that changed is told
    from the one before. No row's estimate comes from a model that saw the row or its user.

    Estimates below a tenth of the action's share of the log are lifted to it (each row then sums to 1
    again): no row weighs more than about ten times what it would if chance alone had decided. Lifting biases
    those rows toward the model of the outcome; leaving them out would change whom the report is about.

    What decided but stands in no profile cannot be learned here.

    Parameters
    ----------
    service : int array of shape (n,)
        Catalogue position, −1 nothing, −2 a list of several.
    shown_at_us : array of shape (n,)
        Microseconds since 1970.

    References
    ----------
    Crump, Hotz, Imbens and Mitnik (2009), Dealing with limited overlap in estimation of average treatment
    effects; Yang et al. (2016), Propensity score matching and subclassification with multi-level
    treatments.
    """
    action = _action(service, n_services)
    share = np.bincount(action, minlength=n_services + 2) / len(action)
    shown = np.flatnonzero(share)
    days = (shown_at_us - shown_at_us.min()) / DAY_US
    features = np.column_stack([X, days.astype(np.float32)])
    known = np.searchsorted(shown, action)
    fold, learned = deal_users(user, _MOST_ROWS, seed)
    starts = linear_scores(features, known, fold, learned, categorical, len(shown))
    scores = boosted_scores(features, known, fold, learned, starts, categorical, _SETTINGS, seed, n_jobs)
    raw = np.full((len(action), n_services + 2), _LEAST)
    raw[:, shown] = np.exp(scores)
    least = LEAST_OF_SHARE * share
    lifted = np.maximum(raw, least)
    return EstimatedPropensities(
        probability=lifted / lifted.sum(axis=1, keepdims=True),
        trimmed=np.asarray((raw < least)[:, : n_services + 1].any(axis=1)),
    )


def _action(service: NDArray, n_services: int) -> NDArray[np.intp]:
    """Column of what was shown: nothing first, a list of several last."""
    return np.where(service == -2, n_services + 1, service.astype(np.intp) + 1)
