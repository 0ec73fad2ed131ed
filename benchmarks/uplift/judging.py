"""One implementation of every figure, for all learners alike: what predictions are worth on the test rows."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.uplift.learners.bases import is_binary, regressor
from benchmarks.uplift.tasks import Task, share_of_oracle
from training.evaluation.curves import qini
from training.evaluation.policy_value import doubly_robust, match_weights

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """What one learner's predictions are worth on one task.

    Attributes
    ----------
    gain : float
        Outcome won a user by offering the service of greatest predicted uplift, or nothing where
        none is above 0, against never offering anything: the true mean where the truth is known, else
        doubly robust.
    share : float, optional
        Of the gain of the best policy there is; where the truth is known.
    qini : float
        Mean over the services of the Qini coefficient: the area between the Qini curve and the random order,
        as a share of the same area for the perfect order. Real outcomes of 0 and 1: as scikit-uplift's
        `qini_auc_score`. Real money: the area itself, in money a user, since it has no perfect order. Truth
        known: both curves are those of the true uplift, without noise.
    """

    gain: float
    share: float | None
    qini: float


@dataclass(frozen=True)
class Judge:
    """The test rows of a task."""

    task: Task

    def figures(self, predicted: Floats) -> Figures:
        """Figures of predictions of shape (n_test, S)."""
        if self.task.uplift_test is not None:
            share = share_of_oracle(predicted, self.task.uplift_test)
            oracle = float(np.maximum(self.task.uplift_test.max(axis=1), 0).mean())
            return Figures(share * oracle, share, self._true_qini(predicted))
        return Figures(float(self._doubly_robust_gain(predicted).mean()), None, self._logged_qini(predicted))

    def _true_qini(self, predicted: Floats) -> float:
        truth = self.task.uplift_test
        each = [true_qini(predicted[:, s], truth[:, s]) for s in range(truth.shape[1])]
        return float(np.nanmean(each)) if np.isfinite(each).any() else 0.0

    def _logged_qini(self, predicted: Floats) -> float:
        task, each = self.task, []
        score = qini_coefficient if is_binary(task.y_test) else qini
        for service in range(task.n_services):
            rows = (task.service_test == service) | (task.service_test == -1)
            treated = task.service_test[rows] == service
            each.append(score(task.y_test[rows], predicted[rows, service], treated))
        return float(np.mean(each))

    def _doubly_robust_gain(self, predicted: Floats) -> Floats:
        """(n_test,) of the policy against never offering anything."""
        worth = np.column_stack([np.zeros(len(predicted)), predicted])
        policy = np.eye(worth.shape[1])[worth.argmax(axis=1)]
        nothing = np.zeros_like(policy)
        nothing[:, 0] = 1.0
        return self._value(policy) - self._value(nothing)

    def _value(self, policy: Floats) -> Floats:
        task = self.task
        logged = np.take_along_axis(task.propensity_test, task.service_test[:, None] + 1, axis=1)[:, 0]
        weights = match_weights(policy, task.service_test, logged)
        return doubly_robust(policy, weights, task.y_test, task.service_test, self._expected)

    @cached_property
    def _expected(self) -> Floats:
        """(n_test, S + 1) outcomes for the doubly robust value: users' own level plus each action's mean.

        The same for all learners, learned on the training rows, and not taken from any of them; with known
        propensities it makes the value less noisy and cannot bias it.
        """
        task, action = self.task, self.task.service + 1
        mean = np.array([task.y[action == one].mean() for one in range(task.n_services + 1)])
        level = regressor(task.categorical).fit(task.X, task.y - mean[action])
        return level.predict(task.X_test)[:, None] + mean


def qini_coefficient(outcome: Floats, predicted: Floats, treated: NDArray[np.bool_]) -> float:
    """Area of the Qini curve over the random order, as a share of the perfect order's, for 0 and 1.

    The perfect order knows the outcomes: first come the treated who answer, then the holdout who do not, then
    the treated who do not and the holdout who do; the last two change places where more of the treated
    answer than of the holdout do not.

    References
    ----------
    Radcliffe (2007), Using control groups to target on predicted lift; scikit-uplift's `qini_auc_score`.
    """
    answers = outcome == 1
    more_answer = (answers & treated).sum() > (~answers & ~treated).sum()
    perfect = 2.0 * (answers == treated) + (answers if more_answer else treated)
    return qini(outcome, predicted, treated) / qini(outcome, perfect, treated)


def true_qini(predicted: Floats, uplift: Floats) -> float:
    """The same where every user's uplift is known: each user stands in both arms, with the expected outcome.

    NaN where the uplift is the same for all, so that no order is better than another.

    Examples
    --------
    >>> true_qini(np.array([0.3, 0.2, 0.1]), np.array([2.0, 1.0, -1.0]))
    1.0
    """
    if np.ptp(uplift) < 1e-9:
        return float("nan")
    both = np.repeat([1, 0], len(uplift))
    outcome = np.concatenate([uplift, np.zeros(len(uplift))])
    of_order = [qini(outcome, np.tile(order, 2), both) for order in (predicted, uplift)]
    return of_order[0] / of_order[1]
