"""Linear deviations: slopes that all services share, and each service's own, by empirical Bayes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from training.attribution import Attribution
from training.effect_features import Known, Sources
from training.evidence import Evidence
from training.exposure_log import N_FOLDS

MOST_COLUMNS = 40  # of the basis, those on which services' targets depend most
_STEPS = 25
_PRIOR_SLOPES = 3.0  # as many slopes' worth of belief that all columns matter alike
_LEAST = 1e-10
_N_KNOTS = 33
_KNOT_ROWS = 20_000  # that knots are read from
_MOST_LEVELS = 20


@dataclass
class HierarchicalRidge:
    """Deviation = x'(shared + own of the service) in standardised normal scores of the columns.

    Every slope has a normal prior of mean 0. Its variance is a column's own, one for the shared slope and
    one for the services' own slopes; both are fitted to the data (automatic relevance determination) and
    lean on the mean over all columns, the more the fewer services there are to tell them apart.

    References
    ----------
    MacKay (1992), Bayesian interpolation; Tipping (2001), Sparse Bayesian learning.
    """

    name: ClassVar[str] = "ridge"

    @threadpool_limits.wrap(limits=1, user_api="blas")  # small matrices: threads would mostly wait
    def fit(self, evidence: Evidence) -> "HierarchicalRidge":
        """Learn the slopes of each service; sets `out_of_fold_`, the deviation of each pair."""
        basis = Basis.learn(evidence)
        moments = _moments(basis, evidence)
        slopes = [_without_fold(moments, k) for k in range(N_FOLDS)]
        used = np.flatnonzero(np.any([one.slope != 0 for one in slopes], axis=(0, 1)))
        self.basis_ = basis.take(used)
        self.slopes_ = np.mean([one.slope[:, used] for one in slopes], axis=0)
        self.variance_ = np.mean([one.variance[:, used] for one in slopes], axis=0)
        by_fold = np.stack([one.slope[:, used] for one in slopes])
        self.out_of_fold_ = np.zeros(len(evidence.service))
        for position, scale in enumerate(self.basis_.scales):
            column = scale.apply(evidence.data.features[:, scale.column].astype(np.float64))
            self.out_of_fold_ += column * by_fold[evidence.fold, evidence.service, position]
        return self

    def predict_uplift(self, known: Known) -> NDArray[np.float64]:
        """(n, S) deviations from the averages."""
        return self._sum(known, self.slopes_, power=1)

    def explain(self, sources: Sources) -> Attribution:
        """The same for some services, taken apart; a column at its mean score adds nothing."""
        found = Attribution.nothing(sources.shape, sources.n_columns)
        for scale, slope in zip(self.basis_.scales, self.slopes_[sources.services].T, strict=True):
            if scale.column < sources.n_columns:
                score = scale.apply(sources.known.column(scale.column))
                found.contributions[:, :, scale.column] += score * slope
            else:
                found = found.plus(sources.derived(scale.column).through(_line(scale, slope)))
        return found

    def predict_variance(self, known: Known) -> NDArray[np.float64]:
        """(n, S) posterior variance of the deviations, slopes taken as independent."""
        return self._sum(known, self.variance_, power=2)

    def _sum(self, known: Known, factors: NDArray[np.float64], power: int) -> NDArray[np.float64]:
        total = np.zeros((len(known.of_user), len(factors)))
        # a sum column by column, unlike a matrix product, is the same for one row and for many
        for scale, factor in zip(self.basis_.scales, factors.T, strict=True):
            score = scale.apply(known.column(scale.column))
            total += (score if power == 1 else score**power) * factor
        return total

    def dump(self, texts: dict[str, str]) -> dict[str, Any]:
        return {
            "basis": self.basis_.to_json(),
            "slopes": self.slopes_.tolist(),
            "variance": self.variance_.tolist(),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str], n_jobs: int) -> "HierarchicalRidge":
        learner = cls()
        learner.basis_ = Basis.from_json(state["basis"])
        shape = (-1, len(learner.basis_.scales))
        learner.slopes_ = np.array(state["slopes"]).reshape(len(state["slopes"]), shape[1])
        learner.variance_ = np.array(state["variance"]).reshape(len(state["variance"]), shape[1])
        return learner


def _line(scale: "Scale", slope: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    return lambda values: scale.apply(values) * slope


@dataclass(frozen=True)
class Scale:
    """How one column enters: values at knots are mapped to scores, unknown to 0; a level to its indicator."""

    column: int
    knots: tuple[float, ...]  # rising; of a category, the one code
    scores: tuple[float, ...]  # at each knot; of a category, elsewhere and at the code

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardised scores, of the shape of the values."""
        if len(self.knots) == 1:
            return np.where(values == self.knots[0], self.scores[1], self.scores[0])
        scores = np.interp(values, *self._points)
        return np.where(np.isnan(values), 0.0, scores)

    @cached_property
    def _points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Knots and scores as numpy takes them: to make arrays of them takes longer than to look one up."""
        return np.array(self.knots, dtype=np.float64), np.array(self.scores, dtype=np.float64)


@dataclass(frozen=True)
class Basis:
    """The columns of the linear model: numbers as normal scores, categories as 0 and 1 for common levels."""

    scales: tuple[Scale, ...]

    @classmethod
    def learn(cls, evidence: Evidence) -> "Basis":
        features, scales = evidence.data.features, []
        some = features[:: max(1, len(features) // _KNOT_ROWS)]
        for column in range(features.shape[1]):
            values = some[:, column].astype(np.float64)
            values = values[~np.isnan(values)]
            if column in evidence.categorical:
                scales += _levels(column, values)
            else:
                scales += _normal_scores(column, values)
        return cls(tuple(scales))

    def take(self, positions: NDArray[np.intp]) -> "Basis":
        return Basis(tuple(self.scales[position] for position in positions))

    def to_json(self) -> list[Any]:
        return [[scale.column, list(scale.knots), list(scale.scores)] for scale in self.scales]

    @classmethod
    def from_json(cls, state: list[Any]) -> "Basis":
        return cls(tuple(Scale(column, tuple(knots), tuple(scores)) for column, knots, scores in state))


def _normal_scores(column: int, values: NDArray[np.float64]) -> list[Scale]:
    """The scale of a number column, or none when it holds one value only; tied quantiles share a score."""
    if not len(values) or values.min() == values.max():
        return []
    levels = (np.arange(_N_KNOTS) + 0.5) / _N_KNOTS
    knots, position = np.unique(np.quantile(values, levels), return_inverse=True)
    if len(knots) < 2:  # nearly all values are one
        knots, position = np.unique([knots[0], values.min(), values.max()])[:2], np.arange(2)
        scores = np.array([0.0, 1.0])
    else:
        scores = np.bincount(position, norm.ppf(levels)) / np.bincount(position)
    entered = np.interp(values, knots, scores)
    if entered.std() == 0:
        return []
    scores = (scores - entered.mean()) / entered.std()
    return [Scale(column, tuple(knots.tolist()), tuple(scores.tolist()))]


def _levels(column: int, values: NDArray[np.float64]) -> list[Scale]:
    codes, counts = np.unique(values, return_counts=True)
    common = np.argsort(-counts, kind="stable")[:_MOST_LEVELS]
    scales = []
    for code, share in zip(codes[common].tolist(), (counts[common] / max(len(values), 1)).tolist()):
        if 0 < share < 1:
            spread = (share * (1 - share)) ** 0.5
            scales.append(Scale(column, (code,), (-share / spread, (1 - share) / spread)))
    return scales


@dataclass(frozen=True)
class _Moments:
    """X'X and X'y of every fold and service, in units of the noise."""

    gram: NDArray[np.float64]  # (N_FOLDS, S, q, q)
    cross: NDArray[np.float64]  # (N_FOLDS, S, q)


def _moments(basis: Basis, evidence: Evidence) -> _Moments:
    q, n_services = len(basis.scales), evidence.n_services
    root = np.sqrt(evidence.weight)
    noise = float(np.average(evidence.target**2, weights=evidence.weight)) or 1.0
    gram = np.zeros((N_FOLDS, n_services, q, q))
    cross = np.zeros((N_FOLDS, n_services, q))
    order = np.lexsort((evidence.service, evidence.fold))
    cell = (evidence.fold * n_services + evidence.service)[order]
    ends = np.searchsorted(cell, np.arange(N_FOLDS * n_services + 1))
    for k, j in product(range(N_FOLDS), range(n_services)):
        rows = order[ends[k * n_services + j] : ends[k * n_services + j + 1]]
        features = evidence.data.features[rows].astype(np.float64)
        design = np.empty((len(rows), q))
        for position, scale in enumerate(basis.scales):
            design[:, position] = scale.apply(features[:, scale.column])
        design *= (root[rows] * evidence.multiplier[rows])[:, None]
        gram[k, j] = design.T @ design / noise
        cross[k, j] = design.T @ (evidence.target[rows] * root[rows]) / noise
    return _Moments(gram, cross)


@dataclass(frozen=True)
class _Slopes:
    slope: NDArray[np.float64]  # (S, q)
    variance: NDArray[np.float64]  # (S, q)


def _without_fold(moments: _Moments, left_out: int) -> _Slopes:
    """Slopes learned without one fold; columns that hardly matter are left out before."""
    gram = np.delete(moments.gram, left_out, axis=0).sum(axis=0)
    cross = np.delete(moments.cross, left_out, axis=0).sum(axis=0)
    slope, variance = np.zeros_like(cross), np.zeros_like(cross)
    kept = _most_telling(gram, cross)
    if len(kept):
        slope[:, kept], variance[:, kept] = _fit_slopes(gram[:, kept][:, :, kept], cross[:, kept])
    return _Slopes(slope, variance)


def _most_telling(gram: NDArray[np.float64], cross: NDArray[np.float64]) -> NDArray[np.intp]:
    """The columns whose chi-squares, taken one at a time, exceed chance most: over services, or in common."""
    square = np.maximum(np.diagonal(gram, axis1=1, axis2=2), _LEAST)
    n_services = len(cross)
    own = (cross**2 / square).sum(axis=0) - n_services
    shared = cross.sum(axis=0) ** 2 / square.sum(axis=0) - 1
    excess = np.maximum(own, 0) / np.sqrt(2 * n_services) + np.maximum(shared, 0) / np.sqrt(2)
    return np.sort(np.argsort(-excess, kind="stable")[:MOST_COLUMNS])


def _fit_slopes(
    gram: NDArray[np.float64], cross: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posterior means and variances (S, q) of shared + own slopes, with their prior variances fitted."""
    n_services, q = cross.shape
    total_gram, total_cross = gram.sum(axis=0), cross.sum(axis=0)
    information = float(np.diagonal(gram, axis1=1, axis2=2).mean()) or 1.0
    own_prior = np.full(q, 0.3 / information)
    shared_prior = own_prior / n_services
    own = np.zeros((n_services, q))
    for _ in range(_STEPS):
        shared_cov = np.linalg.inv(total_gram + np.diag(1 / shared_prior))
        shared = shared_cov @ (total_cross - np.einsum("sfg,sg->f", gram, own))
        own_cov = np.linalg.inv(gram + np.diag(1 / own_prior))
        own = np.einsum("sfg,sg->sf", own_cov, cross - gram @ shared)
        shared_var = np.diag(shared_cov)
        own_var = np.diagonal(own_cov, axis1=1, axis2=2)
        shared_prior = _prior_variance(shared**2, 1 - shared_var / shared_prior, 1)
        own_prior = _prior_variance((own**2).sum(axis=0), (1 - own_var / own_prior).sum(axis=0), n_services)
    return shared + own, shared_var + own_var


def _prior_variance(square: NDArray[np.float64], known: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """(q,) variance of each column's slopes from their squares and how many of them the data determine."""
    known = np.maximum(known, 1e-3)
    of_all = square.sum() / known.sum()
    weight = _PRIOR_SLOPES * known.mean() / n
    return np.maximum((weight * of_all + square) / (weight + known), _LEAST)
