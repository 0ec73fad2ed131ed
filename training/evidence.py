"""The evidence that effect learners share: one equation for each pair, with its features and weight."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.boosting import Binned, is_binary
from training.effect_features import OutOfFold
from training.exposure_log import ExposureLog
from training.pairs import FEW_SERVICES, Pairing

_LEAST_VARIANCE, _MOST_VARIANCE = 0.2, 5.0  # of the mean variance, beyond which weights change no more
_LEVELS = 20


@dataclass(frozen=True)
class Evidence:
    """m equations `target = multiplier × deviation + noise`; arrays have shape (m,) unless said otherwise.

    The deviation is that of the pair's uplift from its service's average. The target is the outcome less
    baseline and average. Where services are few, the pairs are treated ones and others, and the multiplier
    is treated − P(treated), as in the R-loss of Nie and Wager (2021). Where they are many, the pairs are the
    shown rows alone and the multiplier is 1: the baseline, learned from all rows, stands for the holdout,
    and what the services have in common is left to `Holdout`.
    """

    data: Binned  # (m, q) features: x, baseline, uptake uplift if known
    categorical: tuple[int, ...]  # columns of features
    uptake_column: int | None  # column of the uptake uplift
    service: NDArray[np.intp]
    fold: NDArray[np.intp]
    target: NDArray[np.float64]
    multiplier: NDArray[np.float64]
    weight: NDArray[np.float64]  # inverse variance of the target's noise, mean about 1
    average: NDArray[np.float64]  # (S,) average uplifts
    binary: bool  # whether the outcome is 0 or 1
    n_shown: NDArray[np.intp]  # (S,) treated pairs of each service

    @property
    def n_services(self) -> int:
        return len(self.average)

    @property
    def is_few(self) -> bool:
        return self.n_services <= FEW_SERVICES


@dataclass(frozen=True)
class Holdout:
    """The h rows where nothing was shown, and how their outcome departs from the baseline of all rows.

    Users whom every service moves more than usual fall short of the baseline when nothing is shown.
    """

    data: Binned  # (h, p + 1) features: x, baseline
    fold: NDArray[np.intp]
    target: NDArray[np.float64]  # outcome less baseline
    weight: NDArray[np.float64]


def gather(
    log: ExposureLog,
    pairing: Pairing,
    known: OutOfFold,
    average: NDArray[np.float64],
    categorical: Sequence[int],
    n_jobs: int,
) -> Evidence:
    """Evidence from a log, its pairs, what was predicted of them out of fold, and the services' averages."""
    of_pair = average[pairing.service]
    baseline = known.baseline[pairing.row]
    expected = baseline + pairing.p_treated * of_pair
    y = log.y[pairing.row]
    few = log.n_services <= FEW_SERVICES
    alone = log.precision == 1  # the outcome of a list divided among its services is no 0 or 1 any more
    binary = is_binary(log.y[alone])
    weight = precision_weights(expected, y - expected, binary) * log.precision[pairing.row]
    return Evidence(
        data=Binned.of(known.pairs, categorical, n_jobs),
        categorical=tuple(categorical),
        uptake_column=known.uptake_column,
        service=pairing.service,
        fold=log.fold[pairing.row],
        target=y - baseline - pairing.treated * of_pair,
        multiplier=pairing.treated - pairing.p_treated if few else np.ones(len(y)),
        weight=weight,
        average=average,
        binary=binary,
        n_shown=np.bincount(pairing.service[pairing.treated], minlength=len(average)),
    )


def gather_holdout(
    log: ExposureLog, baseline: NDArray[np.float64], categorical: Sequence[int], n_jobs: int
) -> Holdout:
    """The holdout's rows beside their (n,) out-of-fold baseline."""
    rows = np.flatnonzero(~log.shown)
    features = np.column_stack([log.X[rows], baseline[rows].astype(np.float32)])
    target = log.y[rows] - baseline[rows]
    return Holdout(
        data=Binned.of(features, categorical, n_jobs),
        fold=log.fold[rows],
        target=target - target.mean(),
        weight=precision_weights(baseline[rows], target, is_binary(log.y[rows])),
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
