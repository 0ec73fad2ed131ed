"""What needs no library: one pooled model with the service as a category, and rules without a model."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.uplift.learners.bases import (
    ROUNDS_OF_SINGLE_MODEL,
    Fit,
    Floats,
    Predict,
    is_binary,
    outcome_model,
)
from benchmarks.uplift.tasks import Task
from training.averages import average_uplift


def _pooled_s(task: Task) -> Predict:
    """One model of features and service, with the uptake of that service beside it; nothing is code 0."""
    rows = np.arange(len(task.y))
    own = np.zeros(len(task.y))
    if task.uptake_column:
        own = np.where(task.service >= 0, task.uptake_column.train[rows, task.service], 0.0)
    model = outcome_model(task.y, [*task.categorical, task.X.shape[1]], ROUNDS_OF_SINGLE_MODEL)
    model.fit(np.column_stack([task.X, task.service + 1, own]), task.y)

    def mean(X: NDArray[np.float32], code: int, uptake: Floats) -> Floats:
        features = np.column_stack([X, np.full(len(X), code), uptake])
        return model.predict_proba(features)[:, 1] if is_binary(task.y) else model.predict(features)

    def predict(X: NDArray[np.float32], uptake: NDArray[np.float32] | None) -> Floats:
        none = np.zeros(len(X))
        uptakes = none[:, None].repeat(task.n_services, axis=1) if uptake is None else uptake
        shown = [mean(X, service + 1, uptakes[:, service]) for service in range(task.n_services)]
        return np.column_stack(shown) - mean(X, 0, none)[:, None]

    return predict


def _best_constant(task: Task) -> Predict:
    """Each service's average uplift, by empirical Bayes: the best for everybody, or nothing."""
    average = average_uplift(task.y, task.service, task.propensity).uplift
    return lambda X, uptake: np.tile(average, (len(X), 1))


def _popularity(task: Task) -> Predict:
    """The service with the most uses an offer; the one most often shown where uptake is unknown."""
    shown = np.bincount(task.service + 1, minlength=task.n_services + 1)[1:]
    score = shown / shown.sum()
    if task.uptake is not None:
        score = (_uses(task) + 1) / (shown + 1 / max(task.uptake.mean(), 1e-3))
    return lambda X, uptake: np.tile(score, (len(X), 1))


def _uses(task: Task) -> Floats:
    shown = task.service >= 0
    return np.bincount(task.service[shown], task.uptake[shown], task.n_services)


def _response(task: Task) -> Predict:
    """To each user the service that he or she is likeliest to take up."""
    return lambda X, uptake: uptake


def _random(task: Task) -> Predict:
    """Any service, each as likely."""
    return lambda X, uptake: np.random.default_rng(task.seed).random((len(X), task.n_services))


LEARNERS: dict[str, Fit] = {
    "pooled-s": _pooled_s,
    "best-constant": _best_constant,
    "popularity": _popularity,
    "response": _response,
    "random": _random,
}
