"""econml: several treatments at once, as its own estimators have them.

The uptake, where it is logged, comes as one column a service. Propensities: the doubly robust learners are
given the known ones as controls, and a propensity model that hands them on; the X- and the domain
adaptation learner weight by propensities that they learn (shares, where all users have the same).
"""

from collections.abc import Callable

import numpy as np
from econml.dml import CausalForestDML
from econml.dr import DRLearner, LinearDRLearner
from econml.metalearners import DomainAdaptationLearner, SLearner, XLearner
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.uplift.learners.bases import (
    ROUNDS_OF_SINGLE_MODEL,
    Fit,
    Floats,
    Predict,
    classifier,
    regressor,
)
from benchmarks.uplift.learners.per_service import LEAST_ROWS
from benchmarks.uplift.tasks import Task


class KnownPropensity(ClassifierMixin, BaseEstimator):
    """Hands on the propensities that stand in the last columns of what it is given."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        known = X[:, -len(self.classes_) :]
        return known / known.sum(axis=1, keepdims=True)

    def score(self, X, y):
        return 0.0


def _all_services(fit_all: Callable[[NDArray, NDArray, Floats, Floats, Task], object]) -> Fit:
    """Fit on nothing and every service of LEAST_ROWS rows or more; rarer ones are not offered."""

    def fit(task: Task) -> Predict:
        count = np.bincount(task.service + 1, minlength=task.n_services + 1)
        kept = [service for service in range(task.n_services) if count[service + 1] >= LEAST_ROWS]
        rows = np.isin(task.service, [-1, *kept])
        X = task.X.astype(np.float64)
        if task.uptake_column:
            X = np.column_stack([X, task.uptake_column.train])
        treatment = np.searchsorted([-1, *kept], task.service[rows])
        known = task.propensity[rows][:, [0, *(np.array(kept) + 1)]]
        model = fit_all(X[rows], treatment, task.y[rows], known, task)

        def predict(X: NDArray[np.float32], uptake: NDArray[np.float32] | None) -> Floats:
            features = np.column_stack([X] if uptake is None else [X, uptake]).astype(np.float64)
            uplift = np.zeros((len(X), task.n_services))
            uplift[:, kept] = model.const_marginal_effect(features).reshape(len(X), len(kept))
            return uplift

        return predict

    return fit


def _s(X, treatment, y, known, task):
    model = regressor(task.categorical, ROUNDS_OF_SINGLE_MODEL)
    return SLearner(overall_model=model, allow_missing=True).fit(y, treatment, X=X)


def _x(X, treatment, y, known, task):
    model = XLearner(
        models=regressor(task.categorical),
        propensity_model=_propensity_model(known, task),
        allow_missing=True,
    )
    return model.fit(y, treatment, X=X)


def _domain_adaptation(X, treatment, y, known, task):
    model = DomainAdaptationLearner(
        models=regressor(task.categorical),
        final_models=regressor(task.categorical),
        propensity_model=_propensity_model(known, task),
        allow_missing=True,
    )
    return model.fit(y, treatment, X=X)


def _dr(X, treatment, y, known, task):
    model = DRLearner(
        model_propensity=KnownPropensity(),
        model_regression=regressor(task.categorical),
        model_final=regressor(task.categorical),
        multitask_model_final=False,
        allow_missing=True,
        random_state=0,
    )
    return model.fit(y, treatment, X=X, W=known, inference=None)


class _ImputedLinearDR:
    """LinearDRLearner on standardised features without gaps; where the gaps were is a feature."""

    def __init__(self, X, treatment, y, known):
        self.prepare = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
        self.model = LinearDRLearner(
            model_propensity=KnownPropensity(), model_regression=regressor(), random_state=0
        )
        self.model.fit(y, treatment, X=self.prepare.fit_transform(X), W=known, inference=None)

    def const_marginal_effect(self, X):
        return self.model.const_marginal_effect(self.prepare.transform(X))


def _linear_dr(X, treatment, y, known, task):
    return _ImputedLinearDR(X, treatment, y, known)


def _causal_forest(X, treatment, y, known, task):
    model = CausalForestDML(
        model_y=regressor(task.categorical),
        model_t=DummyClassifier(),
        discrete_treatment=True,
        n_estimators=200,
        min_samples_leaf=50,
        inference=False,
        n_jobs=1,
        random_state=0,
    )
    return model.fit(y, treatment, X=X, inference=None)


def _propensity_model(known: Floats, task: Task):
    same_for_all = np.ptp(known, axis=0).max() < 1e-9
    return DummyClassifier() if same_for_all else classifier(task.categorical)


LEARNERS: dict[str, Fit] = {
    "econml-s": _all_services(_s),
    "econml-x": _all_services(_x),
    "econml-domain": _all_services(_domain_adaptation),
    "econml-dr": _all_services(_dr),
    "econml-linear-dr": _all_services(_linear_dr),
    "econml-causal-forest": _all_services(_causal_forest),
}
