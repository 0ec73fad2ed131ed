"""scikit-uplift: one binary treatment at a time, so each service against nothing."""

from sklift.models import SoloModel, TwoModels

from benchmarks.uplift.learners.bases import ROUNDS_OF_SINGLE_MODEL, Fit, outcome_model
from benchmarks.uplift.learners.per_service import each_service


def _solo(method: str) -> Fit:
    def fit_arm(X, treated, y, p, categorical):
        model = SoloModel(outcome_model(y, categorical, ROUNDS_OF_SINGLE_MODEL), method=method)
        return model.fit(X, y, treated).predict

    return each_service(fit_arm)


def _two(method: str) -> Fit:
    def fit_arm(X, treated, y, p, categorical):
        models = outcome_model(y, categorical), outcome_model(y, categorical)
        return TwoModels(*models, method=method).fit(X, y, treated).predict

    return each_service(fit_arm)


LEARNERS: dict[str, Fit] = {
    "sklift-solo": _solo("dummy"),
    "sklift-solo-interaction": _solo("treatment_interaction"),
    "sklift-two": _two("vanilla"),
    "sklift-two-ddr": _two("ddr_control"),
}
