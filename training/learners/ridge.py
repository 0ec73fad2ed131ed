"""Linear deviations: slopes that all services share, and smaller ones of each service's own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from training.evidence import Evidence
from training.exposure_log import N_FOLDS

_SHARED_SLOPES = (3.0, 1.0, 0.3, 0.1, 0.03)  # prior sd of a shared slope, in tenths of the outcome's sd
_OWN_SLOPES = (1.0, 0.3, 0.1, 0.03, 0.003)  # prior sd of a service's own slope, likewise
_CLIP_QUANTILES = (0.01, 0.99)
_MOST_LEVELS = 20

_Eigen = tuple[NDArray[np.float64], NDArray[np.float64]]  # eigenvalues, and eigenvectors as columns


@dataclass
class HierarchicalRidge:
    """R-learner with uplift = average + x'(shared + own of the service), each slope with a normal prior.

    The two prior widths are those of the least out-of-fold R-loss; where none beats the averages, slopes
    are 0.
    """

    name: ClassVar[str] = "ridge"

    @threadpool_limits.wrap(limits=1, user_api="blas")  # small matrices: threads would mostly wait
    def fit(self, evidence: Evidence) -> "HierarchicalRidge":
        """Learn the slopes of each service; sets `out_of_fold_`, the deviation of each pair."""
        self.basis_ = Basis.learn(evidence)
        root = np.sqrt(evidence.weight)
        basis = np.stack(list(self.basis_.columns(evidence.data.features)), axis=1)
        target = evidence.remainder * root
        moments = _moments(basis * (evidence.treatment_residual * root)[:, None], target, evidence)
        slopes = _best_slopes(moments, noise=float(target.var()), unit=0.1 * float(target.std()))
        self.slopes_ = slopes.mean(axis=0)
        self.out_of_fold_ = np.empty(len(target))
        for k in range(N_FOLDS):
            rows = np.flatnonzero(evidence.fold == k)
            self.out_of_fold_[rows] = (basis[rows] * slopes[k][evidence.service[rows]]).sum(axis=1)
        return self

    def predict_uplift(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, S) deviations from the averages for features of shape (n, S, q)."""
        deviation = np.zeros(features.shape[:2])
        # a sum column by column, unlike a matrix product, is the same for one row and for many
        for column, slope in zip(self.basis_.columns(features), self.slopes_.T, strict=True):
            if slope.any():
                deviation += column * slope
        return deviation

    def dump(self, texts: dict[str, str]) -> dict[str, Any]:
        return {"basis": self.basis_.to_json(), "slopes": self.slopes_.tolist()}

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str], n_jobs: int) -> "HierarchicalRidge":
        learner = cls()
        learner.basis_ = Basis.from_json(state["basis"])
        learner.slopes_ = np.array(state["slopes"])
        return learner


@dataclass(frozen=True)
class Scale:
    """How one number column enters: clipped, centred, divided by its spread; unknown becomes the mean."""

    column: int
    low: float
    high: float
    mean: float
    spread: float


@dataclass(frozen=True)
class Basis:
    """The columns of the linear model: numbers standardised, categories as 0 and 1 for each common level."""

    scales: tuple[Scale, ...]
    levels: tuple[tuple[int, float], ...]  # (column, code)

    @classmethod
    def learn(cls, evidence: Evidence) -> "Basis":
        features, scales, levels = evidence.data.features, [], []
        for column in range(evidence.service_column):
            values = features[:, column].astype(np.float64)
            if column in evidence.categorical:
                codes, counts = np.unique(values[np.isfinite(values)], return_counts=True)
                common = codes[np.argsort(-counts, kind="stable")[:_MOST_LEVELS]]
                levels += [(column, float(code)) for code in common]
            else:
                scales += _scale(column, values)
        return cls(tuple(scales), tuple(levels))

    def columns(self, features: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
        """One array at a time, of the shape of `features` without its last axis."""
        for scale in self.scales:
            values = features[..., scale.column].astype(np.float64)
            values = (np.clip(values, scale.low, scale.high) - scale.mean) / scale.spread
            yield np.where(np.isnan(values), 0.0, values)
        for column, code in self.levels:
            yield (features[..., column] == code).astype(np.float64)

    def to_json(self) -> dict[str, Any]:
        scales = [[s.column, s.low, s.high, s.mean, s.spread] for s in self.scales]
        return {"scales": scales, "levels": [list(level) for level in self.levels]}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "Basis":
        return cls(
            tuple(Scale(*scale) for scale in state["scales"]),
            tuple((column, code) for column, code in state["levels"]),
        )


def _scale(column: int, values: NDArray[np.float64]) -> list[Scale]:
    """The scale of a column, or none when it holds one value only."""
    known = values[~np.isnan(values)]
    if not len(known):
        return []
    low, high = (float(q) for q in np.quantile(known, _CLIP_QUANTILES))
    clipped = np.clip(known, low, high)
    spread = float(clipped.std())
    return [Scale(column, low, high, float(clipped.mean()), spread)] if spread > 0 else []


@dataclass(frozen=True)
class _Moments:
    """X'X and X'y of every fold and service."""

    gram: NDArray[np.float64]  # (N_FOLDS, S, q, q)
    cross: NDArray[np.float64]  # (N_FOLDS, S, q)


def _moments(design: NDArray[np.float64], target: NDArray[np.float64], evidence: Evidence) -> _Moments:
    q = design.shape[1]
    gram = np.zeros((N_FOLDS, evidence.n_services, q, q))
    cross = np.zeros((N_FOLDS, evidence.n_services, q))
    for k, j in product(range(N_FOLDS), range(evidence.n_services)):
        rows = np.flatnonzero((evidence.fold == k) & (evidence.service == j))
        part = design[rows]
        gram[k, j], cross[k, j] = part.T @ part, part.T @ target[rows]
    return _Moments(gram, cross)


def _best_slopes(moments: _Moments, noise: float, unit: float) -> NDArray[np.float64]:
    """(N_FOLDS, S, q) slopes learned without each fold, at the prior widths of the least held-out loss."""
    best, least_loss = np.zeros_like(moments.cross), 0.0
    if noise == 0:
        return best
    without = [_WithoutFold.of(moments, k) for k in range(N_FOLDS)]
    for shared_sd in _SHARED_SLOPES:
        shared = [one.shared_slopes(noise / (shared_sd * unit) ** 2) for one in without]
        for own_sd in _OWN_SLOPES:
            penalty = noise / (own_sd * unit) ** 2
            slopes = np.stack([one.slopes(beta, penalty) for one, beta in zip(without, shared, strict=True)])
            fitted = (moments.gram @ slopes[..., None])[..., 0]
            loss = float((slopes * (fitted - 2 * moments.cross)).sum())
            if loss < least_loss:
                best, least_loss = slopes, loss
    return best


@dataclass(frozen=True)
class _WithoutFold:
    """The normal equations of all folds but one, diagonalised once so that every penalty is cheap."""

    gram: NDArray[np.float64]  # (S, q, q)
    cross: NDArray[np.float64]  # (S, q)
    own: _Eigen  # of gram: (S, q) and (S, q, q)
    shared: _Eigen  # of its sum over services

    @classmethod
    def of(cls, moments: _Moments, left_out: int) -> "_WithoutFold":
        gram = np.delete(moments.gram, left_out, axis=0).sum(axis=0)
        cross = np.delete(moments.cross, left_out, axis=0).sum(axis=0)
        return cls(gram, cross, _eigen(gram), _eigen(gram.sum(axis=0)))

    def shared_slopes(self, penalty: float) -> NDArray[np.float64]:
        """(q,) ridge solution when all services have the same slopes."""
        return _ridge(*self.shared, self.cross.sum(axis=0), penalty)

    def slopes(self, shared: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        """(S, q): the shared slopes, plus each service's own on what they leave."""
        return shared + _ridge(*self.own, self.cross - self.gram @ shared, penalty)


def _eigen(gram: NDArray[np.float64]) -> _Eigen:
    values, vectors = np.linalg.eigh(gram)
    return values, vectors


def _ridge(
    eigenvalues: NDArray[np.float64],
    eigenvectors: NDArray[np.float64],
    cross: NDArray[np.float64],
    penalty: float,
) -> NDArray[np.float64]:
    """(X'X + penalty I)⁻¹ X'y from the eigenvectors of X'X, whose columns they are."""
    rotated = (np.swapaxes(eigenvectors, -1, -2) @ cross[..., None])[..., 0]
    return (eigenvectors @ (rotated / (eigenvalues + penalty))[..., None])[..., 0]
