"""The value of several policies on the same rows and replicates, and the gain of one over the others."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.dataset import Dataset
from training.evaluation.bootstrap import Interval, UserBootstrap
from training.evaluation.figures import Floats, PolicyFigures
from training.evaluation.policy_value import (
    doubly_robust,
    effective_sample_size,
    ips,
    match_weights,
    snips,
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
    """The value of a policy of shape (n, n_services + 1) by three estimators, with intervals."""
    weights = match_weights(policy, test.service, test.slate_propensity)
    robust = doubly_robust(policy, weights, value, test.service, q)
    weighted = ips(weights, value)
    n, robust_sum, weighted_sum, weights_sum = resampled.sums(
        np.column_stack([np.ones(len(test)), robust, weighted, weights])
    ).T
    normalised = np.divide(weighted_sum, weights_sum, out=np.full(len(n), np.nan), where=weights_sum > 0)
    figures = PolicyFigures(
        doubly_robust=Interval.of(robust.mean(), robust_sum / n, level),
        ips=Interval.of(weighted.mean(), weighted_sum / n, level),
        snips=Interval.of(snips(weights, value).mean(), normalised, level),
        matched=float((weights > 0).mean()),
        effective_n=effective_sample_size(weights),
        largest_weight=float(weights.max()),
        n_offers=float(1 - policy[:, 0].mean()),
    )
    return ValuedPolicy(robust, robust_sum / n, figures)


def paired_gains(valued: Mapping[str, ValuedPolicy], of: str, level: float) -> dict[str, Interval]:
    """The doubly robust value of one policy less that of each other, paired by row and by replicate."""
    ours = valued[of]
    return {
        name: Interval.of((ours.rows - theirs.rows).mean(), ours.replicates - theirs.replicates, level)
        for name, theirs in valued.items()
        if name != of
    }
