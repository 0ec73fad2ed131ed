"""Learners of one arm against nothing, once for each service."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.uplift.learners.bases import Fit, Floats, Predict
from benchmarks.uplift.tasks import Task

# features, treated (0 or 1), outcome, P(treated | one of the two), categorical columns → uplift of features
FitArm = Callable[[NDArray, NDArray, Floats, Floats, Sequence[int]], Callable[[NDArray], Floats]]

LEAST_ROWS = 100  # of a service; with fewer a learner of its own is not fitted and the service not offered


def each_service(fit_arm: FitArm) -> Fit:
    """The learner of all services: each is fitted on its own rows and those of nothing.

    With a logged uptake, the service's predicted uptake is one more feature.
    """

    def fit(task: Task) -> Predict:
        arms = {}
        for service in range(task.n_services):
            rows = np.flatnonzero((task.service == service) | (task.service == -1))
            treated = (task.service[rows] == service).astype(int)
            if treated.sum() < LEAST_ROWS or np.ptp(task.y[rows][treated == 1]) == 0:
                continue
            features = task.X[rows]
            if task.uptake_column:
                features = np.column_stack([features, task.uptake_column.train[rows, service]])
            p = task.propensity[rows, service + 1]
            p = p / (p + task.propensity[rows, 0])
            arms[service] = fit_arm(features.astype(np.float64), treated, task.y[rows], p, task.categorical)

        def predict(X: NDArray[np.float32], uptake: NDArray[np.float32] | None) -> Floats:
            uplift = np.zeros((len(X), task.n_services))
            for service, arm in arms.items():
                own = [] if uptake is None else [uptake[:, service]]
                uplift[:, service] = arm(np.column_stack([X, *own]).astype(np.float64))
            return uplift

        return predict

    return fit
