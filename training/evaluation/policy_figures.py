"""The value of several policies on the same rows and replicates, and the gain of one over the others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset
from training.evaluation.bootstrap import Interval, Resampled, UserBootstrap
from training.evaluation.figures import Floats, PolicyFigures
from training.evaluation.policy_value import (
    candidate_columns,
    doubly_robust,
    effective_sample_size,
    ips,
    least_error,
    logged_column,
    match_weights,
    shrink,
    snips,
    strengths,
    switch,
    thresholds,
    weight_carried,
)


@dataclass(frozen=True)
class ValuedPolicy:
    """One policy on the held-out rows: what it is worth on each row, and its figures in each replicate."""

    rows: Floats  # (n,) doubly robust values
    replicates: Floats  # (n_replicates,) their means
    figures: PolicyFigures


def value_policy(
    test: Dataset, policy: Floats, value: Floats, q: Floats, resampled: UserBootstrap, level: float
) -> ValuedPolicy:
    """The value of a policy of shape (n, n_services + 1) by five estimators, with intervals.

    The hyperparameters of Switch and DRos are chosen on the log, and anew in each replicate.
    """
    weights = match_weights(policy, test.service, test.slate_propensity)
    robust = doubly_robust(policy, weights, value, test.service, q)
    weighted = ips(weights, value)
    n, robust_sum, weighted_sum, weights_sum = resampled.sums(
        np.column_stack([np.ones(len(test)), robust, weighted, weights])
    ).T
    threshold, switched = _best(
        switch, thresholds(weights), policy, weights, value, test.service, q, resampled
    )
    strength, shrunk = _best(shrink, strengths(weights), policy, weights, value, test.service, q, resampled)
    normalised = np.divide(weighted_sum, weights_sum, out=np.full(len(n), np.nan), where=weights_sum > 0)
    figures = PolicyFigures(
        doubly_robust=Interval.of(robust.mean(), robust_sum / n, level),
        ips=Interval.of(weighted.mean(), weighted_sum / n, level),
        snips=Interval.of(snips(weights, value).mean(), normalised, level),
        switch=switched.interval(level),
        shrunk=shrunk.interval(level),
        threshold=threshold,
        strength=strength,
        matched=float((weights > 0).mean()),
        effective_n=effective_sample_size(weights),
        largest_weight=float(weights.max()),
        carried=weight_carried(weights),
        n_offers=float(1 - policy[:, 0].mean()),
    )
    return ValuedPolicy(robust, robust_sum / n, figures)


def _best(
    lighten: Callable[[Floats, float], Floats],
    candidates: Floats,
    policy: Floats,
    weights: Floats,
    value: Floats,
    service: NDArray,
    q: Floats,
    resampled: UserBootstrap,
) -> tuple[float, Resampled]:
    """The candidate of least estimated error, and the value with it."""
    expected, residual = (policy * q).sum(axis=1), value - logged_column(q, service)
    rows = [expected + lighten(weights, candidate) * residual for candidate in candidates]
    columns = candidate_columns(np.column_stack(rows))
    best, _ = least_error(columns.sum(axis=0))
    return float(candidates[best]), resampled.figure(lambda summed: least_error(summed)[1], columns)


def paired_gains(valued: Mapping[str, ValuedPolicy], of: str, level: float) -> dict[str, Interval]:
    """The doubly robust value of one policy less that of each other, paired by row and by replicate."""
    ours = valued[of]
    return {
        name: Interval.of((ours.rows - theirs.rows).mean(), ours.replicates - theirs.replicates, level)
        for name, theirs in valued.items()
        if name != of
    }
