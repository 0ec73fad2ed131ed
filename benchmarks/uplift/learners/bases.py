"""The base learner that every peer is given, and the contract of a learner."""

from collections.abc import Callable, Sequence

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from benchmarks.uplift.tasks import Task

Floats = NDArray[np.float64]
# features of shape (n, p), and predicted uptake of shape (n, S) if the task had it, to uplift of shape (n, S)
Predict = Callable[[NDArray[np.float32], NDArray[np.float32] | None], Floats]
Fit = Callable[[Task], Predict]

# Trees of the size that is ours by default, and slow steps. Of the settings looked at on development seeds
# these served the peers best: more rounds where one model must tell the services apart, fewer elsewhere.
SETTINGS = {
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_child_samples": 200,
    "reg_lambda": 10.0,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.8,
}
ROUNDS, ROUNDS_OF_SINGLE_MODEL = 100, 200


class _WithCategories:
    """Fits with the columns of category codes that it was made with, which libraries know nothing of."""

    def fit(self, X, y, sample_weight=None):
        columns = self.get_params()["category_columns"]
        return super().fit(X, y, sample_weight=sample_weight, categorical_feature=columns)


class Regressor(_WithCategories, lgb.LGBMRegressor):
    """LightGBM for means."""


class Classifier(_WithCategories, lgb.LGBMClassifier):
    """LightGBM for 0 and 1."""


def regressor(categorical: Sequence[int] = (), rounds: int = ROUNDS) -> Regressor:
    """A base learner of means; squared error serves outcomes of 0 and 1 too."""
    return Regressor(n_estimators=rounds, category_columns=list(categorical), **SETTINGS, **_COMMON)


def classifier(categorical: Sequence[int] = (), rounds: int = ROUNDS) -> Classifier:
    """A base learner of probabilities."""
    return Classifier(n_estimators=rounds, category_columns=list(categorical), **SETTINGS, **_COMMON)


def outcome_model(y: Floats, categorical: Sequence[int] = (), rounds: int = ROUNDS) -> lgb.LGBMModel:
    """A classifier for 0 and 1, a regressor for money."""
    return classifier(categorical, rounds) if is_binary(y) else regressor(categorical, rounds)


def is_binary(y: Floats) -> bool:
    """Whether the outcome is 0 and 1 alone."""
    return bool(np.isin(y, (0, 1)).all())


_COMMON = {"random_state": 0, "n_jobs": 1, "verbose": -1}
