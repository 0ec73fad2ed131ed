"""The evidence that effect learners share: residuals of the R-loss, features and weights of every pair."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.boosting import Binned, is_binary
from training.effect_features import OutOfFold
from training.exposure_log import ExposureLog
from training.pairs import Pairing

_LEAST_VARIANCE, _MOST_VARIANCE = 0.2, 5.0  # of the mean variance, beyond which weights change no more
_LEVELS = 20


@dataclass(frozen=True)
class Evidence:
    """The pairs that effect learners are fitted on; shapes are (m,) unless said otherwise.

    `outcome_residual` = outcome − E[outcome | x, treated or not] and `treatment_residual` = treated −
    p_treated are those of the R-loss, Σ weight (outcome_residual − treatment_residual × uplift)²
    (Nie and Wager, 2021).
    """

    data: Binned  # (m, q) features: x, baseline, uptake uplift if known, service, what is known of it
    categorical: tuple[int, ...]  # columns of features, the service among them
    uptake_column: int | None  # column of the uptake uplift
    service: NDArray[np.intp]
    fold: NDArray[np.intp]
    treated: NDArray[np.bool_]
    baseline_residual: NDArray[np.float64]  # outcome − baseline
    outcome_residual: NDArray[np.float64]
    treatment_residual: NDArray[np.float64]
    average: NDArray[np.float64]  # average uplift of the pair's service
    weight: NDArray[np.float64]  # inverse variance of the outcome, mean 1
    n_services: int

    @property
    def service_column(self) -> int:
        return self.categorical[-1]

    @property
    def remainder(self) -> NDArray[np.float64]:
        """The outcome residual that the service's average leaves unexplained."""
        return self.outcome_residual - self.treatment_residual * self.average

    def given(self, deviation: NDArray[np.float64]) -> "Evidence":
        """The same with the outcome's expectation sharpened by a learner's out-of-fold deviation."""
        p_treated = self.treated - self.treatment_residual
        return replace(self, outcome_residual=self.outcome_residual - p_treated * deviation)


def gather(
    log: ExposureLog,
    pairing: Pairing,
    known: OutOfFold,
    averages: NDArray[np.float64],
    categorical: Sequence[int],
    n_jobs: int,
) -> Evidence:
    """Evidence from a log, its pairs, what was predicted of them out of fold, and the services' averages."""
    average = averages[pairing.service]
    baseline = known.baseline[pairing.row]
    expected = baseline + pairing.p_treated * average
    residual = log.y[pairing.row] - expected
    n_user_columns = log.X.shape[1] + 1 + (known.uptake_column is not None)
    categorical = (*categorical, n_user_columns)
    return Evidence(
        data=Binned.of(known.pairs, categorical, n_jobs),
        categorical=categorical,
        uptake_column=known.uptake_column,
        service=pairing.service,
        fold=log.fold[pairing.row],
        treated=pairing.treated,
        baseline_residual=log.y[pairing.row] - baseline,
        outcome_residual=residual,
        treatment_residual=pairing.treated - pairing.p_treated,
        average=average,
        weight=precision_weights(expected, residual, is_binary(log.y)),
        n_services=log.n_services,
    )


def precision_weights(
    expected: NDArray[np.float64], residual: NDArray[np.float64], binary: bool
) -> NDArray[np.float64]:
    """Weights of mean 1, the inverse of each row's outcome variance; none is more than 25 times another.

    A binary outcome of mean m varies by m (1 − m); any other as squared residuals do among rows of like
    expectation: who spends much also spends unevenly, and unweighted that noise drowns the rest.
    """
    if binary:
        mean = np.clip(expected, 1e-6, 1 - 1e-6)
        variance = mean * (1 - mean)
    else:
        variance = _variance_by_level(expected, residual)
    average = variance.mean()
    if average == 0:
        return np.ones(len(expected))
    weight = average / np.clip(variance, _LEAST_VARIANCE * average, _MOST_VARIANCE * average)
    return weight / weight.mean()


def _variance_by_level(expected: NDArray[np.float64], residual: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) mean squared residual of the rows in the same twentieth of expectation."""
    edges = np.quantile(expected, np.linspace(0, 1, _LEVELS + 1)[1:-1])
    level = np.searchsorted(edges, expected)
    count = np.maximum(np.bincount(level, minlength=_LEVELS), 1)
    return (np.bincount(level, residual**2, minlength=_LEVELS) / count)[level]
