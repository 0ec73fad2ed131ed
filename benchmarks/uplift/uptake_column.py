"""The uptake as a feature, for learners that have no other place for it: predicted once for all of them."""

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.uplift.learners.bases import ROUNDS_OF_SINGLE_MODEL, classifier
from benchmarks.uplift.tasks import Task, UptakeColumn

_N_FOLDS = 3


def with_uptake_column(task: Task) -> Task:
    """The task with P(used | offered, x) of one pooled model, the service a category, cross-fitted.

    A row that taught a model is answered by the one that it did not teach; test users by the mean of all.
    """
    started = time.process_time()
    fold = np.random.default_rng(task.seed).permutation(len(task.y)) % _N_FOLDS
    categorical = [*task.categorical, task.X.shape[1]]
    models = []
    for one in range(_N_FOLDS):
        rows = (task.service >= 0) & (fold != one)
        model = classifier(categorical, ROUNDS_OF_SINGLE_MODEL)
        models.append(model.fit(_beside(task.X[rows], task.service[rows]), task.uptake[rows]))
    train = np.empty((len(task.y), task.n_services), np.float32)
    for one, model in enumerate(models):
        train[fold == one] = _of_all_services(model, task.X[fold == one], task.n_services)
    fitted = time.process_time()
    test = np.mean([_of_all_services(model, task.X_test, task.n_services) for model in models], axis=0)
    column = UptakeColumn(train, test, fitted - started, time.process_time() - fitted)
    return replace(task, uptake_column=column)


def _of_all_services(model, X: NDArray[np.float32], n_services: int) -> NDArray[np.float32]:
    each = [model.predict_proba(_beside(X, np.full(len(X), s)))[:, 1] for s in range(n_services)]
    return np.column_stack(each).astype(np.float32)


def _beside(X: NDArray[np.float32], service: NDArray) -> NDArray[np.float32]:
    return np.column_stack([X, service]).astype(np.float32)
