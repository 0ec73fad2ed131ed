"""The engine of this project."""

from benchmarks.uplift.learners.bases import Fit, Predict
from benchmarks.uplift.tasks import Task
from training.uplift import UpliftModel


def _perkwise(task: Task) -> Predict:
    model = UpliftModel(seed=0, n_jobs=1, categorical=task.categorical)
    model.fit(task.X, task.service, task.propensity, task.y, task.uptake)
    return lambda X, uptake: model.predict(X)


LEARNERS: dict[str, Fit] = {"perkwise": _perkwise}
