"""causalml: its meta-learners treat each arm against the control, so each service against nothing here too.

The propensities are given wherever the learner takes them.
"""

import numpy as np
from causalml.inference.meta import (
    BaseDRRegressor,
    BaseRClassifier,
    BaseRRegressor,
    BaseSClassifier,
    BaseSRegressor,
    BaseTClassifier,
    BaseTRegressor,
    BaseXClassifier,
    BaseXRegressor,
)

from benchmarks.uplift.learners.bases import ROUNDS_OF_SINGLE_MODEL, Fit, classifier, is_binary, regressor
from benchmarks.uplift.learners.per_service import FitArm, each_service


def _s(X, treated, y, p, categorical):
    shifted = [column + 1 for column in categorical]  # the treatment is put before the features
    if is_binary(y):
        model = BaseSClassifier(learner=classifier(shifted, ROUNDS_OF_SINGLE_MODEL), control_name=0)
    else:
        model = BaseSRegressor(learner=regressor(shifted, ROUNDS_OF_SINGLE_MODEL), control_name=0)
    model.fit(X=X, treatment=treated, y=y)
    return lambda of: model.predict(X=of, verbose=False)[:, 0]


def _t(X, treated, y, p, categorical):
    if is_binary(y):
        model = BaseTClassifier(learner=classifier(categorical), control_name=0)
    else:
        model = BaseTRegressor(learner=regressor(categorical), control_name=0)
    model.fit(X=X, treatment=treated, y=y)
    return lambda of: model.predict(X=of, verbose=False)[:, 0]


def _x(X, treated, y, p, categorical):
    if is_binary(y):
        model = BaseXClassifier(
            outcome_learner=classifier(categorical), effect_learner=regressor(categorical), control_name=0
        )
    else:
        model = BaseXRegressor(learner=regressor(categorical), control_name=0)
    model.fit(X=X, treatment=treated, y=y, p=p)
    share = float(p.mean())
    return lambda of: model.predict(X=of, p=np.full(len(of), share), verbose=False)[:, 0]


def _r(X, treated, y, p, categorical):
    if is_binary(y):
        model = BaseRClassifier(
            outcome_learner=classifier(categorical),
            effect_learner=regressor(categorical),
            control_name=0,
            random_state=0,
        )
    else:
        model = BaseRRegressor(learner=regressor(categorical), control_name=0, random_state=0)
    model.fit(X=X, treatment=treated, y=y, p=p, verbose=False)
    return lambda of: model.predict(X=of)[:, 0]


def _dr(X, treated, y, p, categorical):
    model = BaseDRRegressor(learner=regressor(categorical), control_name=0)
    model.fit(X=X, treatment=treated, y=y, p=p, seed=0)
    return lambda of: model.predict(X=of, verbose=False)[:, 0]


_ARMS: dict[str, FitArm] = {"s": _s, "t": _t, "x": _x, "r": _r, "dr": _dr}
LEARNERS: dict[str, Fit] = {f"causalml-{name}": each_service(arm) for name, arm in _ARMS.items()}
