"""Was it chance who saw what: profiles of the arms compared, and how much the logged propensities carry."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from training.dataset import NOTHING, Dataset
from training.evaluation.policy_value import effective_sample_size

Floats = NDArray[np.float64]

_MIN_ARM = 30  # rows; in a smaller arm every difference is chance
_MAX_LEVELS = 50  # of a category, the most frequent ones
_NOTABLE = 0.1  # the usual limit for a standardised difference that matters


@dataclass(frozen=True)
class Difference:
    """One column in one arm against the rows where nothing was shown."""

    column: str
    service: int  # catalogue position
    smd: float  # standardised mean difference
    chance: float  # a difference of this size or less is chance at 95 %


@dataclass(frozen=True)
class Balance:
    """Every column in every arm compared; the worst of them named."""

    n_compared: int
    n_beyond_chance: int  # larger than 0.1 and than chance explains when this many are compared
    largest_expected: float  # the largest difference that chance alone would show in the widest arm
    worst: tuple[Difference, ...]


def balance(data: Dataset, n_worst: int = 10) -> Balance:
    """Standardised mean differences of the profiles, each service against nothing.

    Rows are weighted by 1 / propensity.
    smd = (mean_s - mean_0) / sqrt((var_s + var_0) / 2). Gaps are left out of the means; of a category, the
    level that differs most counts. Arms of fewer than 30 rows are not compared.

    References
    ----------
    Austin (2009), Balance diagnostics for comparing the distribution of baseline covariates.
    """
    weights = 1 / data.slate_propensity
    nothing = data.service == NOTHING
    arms = [s for s in range(len(data.catalog)) if (data.service == s).sum() >= _MIN_ARM]
    if nothing.sum() < _MIN_ARM:
        arms = []
    blocks = _numeric_and_levels(data)
    holdout = [_Moments.of(block[nothing], weights[nothing]) for _, block in blocks]
    found: list[Difference] = []
    for s in arms:
        rows = data.service == s
        effective = effective_sample_size(weights[rows]), effective_sample_size(weights[nothing])
        chance = NormalDist().inv_cdf(0.975) * float(np.sqrt(1 / effective[0] + 1 / effective[1]))
        for (names, block), there in zip(blocks, holdout, strict=True):
            smd = _Moments.of(block[rows], weights[rows]).against(there)
            found += _differences(names, smd, s, chance)
    found.sort(key=lambda difference: -abs(difference.smd))
    z_all = NormalDist().inv_cdf(1 - 0.025 / max(len(found), 1)) / NormalDist().inv_cdf(0.975)
    beyond = [d for d in found if abs(d.smd) > max(_NOTABLE, d.chance * z_all)]
    largest = max((d.chance * z_all for d in found), default=0.0)
    return Balance(len(found), len(beyond), largest, tuple(found[:n_worst]))


@dataclass(frozen=True)
class _Moments:
    mean: Floats
    variance: Floats

    @classmethod
    def of(cls, block: NDArray[np.float32], weights: Floats) -> "_Moments":
        known = np.isfinite(block)
        w = np.where(known, weights[:, None], 0.0)
        total = w.sum(axis=0)
        x = np.where(known, block, 0.0).astype(float)
        mean = np.divide((w * x).sum(axis=0), total, out=np.full(total.shape, np.nan), where=total > 0)
        square = np.divide(
            (w * (x - mean) ** 2).sum(axis=0), total, out=np.full(total.shape, np.nan), where=total > 0
        )
        return cls(mean, square)

    def against(self, other: "_Moments") -> Floats:
        spread = np.sqrt((self.variance + other.variance) / 2)
        gap = self.mean - other.mean
        return np.divide(gap, spread, out=np.where(gap == 0, 0.0, np.nan), where=spread > 0)


def _numeric_and_levels(data: Dataset) -> list[tuple[list[str], NDArray[np.float32]]]:
    numeric = [i for i in range(len(data.columns)) if i not in data.categorical]
    blocks = [([data.columns[i] for i in numeric], data.X[:, numeric])]
    for i in data.categorical:
        levels, n = np.unique(data.X[np.isfinite(data.X[:, i]), i], return_counts=True)
        levels = levels[np.argsort(-n, kind="stable")][:_MAX_LEVELS]
        indicators = (data.X[:, [i]] == levels).astype(np.float32)
        blocks.append(([data.columns[i]] * len(levels), indicators))
    return [(names, block) for names, block in blocks if names]


def _differences(names: list[str], smd: Floats, service: int, chance: float) -> list[Difference]:
    """One difference a column: of a category, that of the level that differs most."""
    largest: dict[str, float] = {}
    for name, value in zip(names, smd.tolist(), strict=True):
        if np.isfinite(value) and abs(value) >= abs(largest.get(name, 0.0)):
            largest[name] = value
    return [Difference(name, service, value, chance) for name, value in largest.items()]
