"""What an effect learner reads: a user's profile and baseline, and the uptake of each service."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.attribution import Attribution
from training.boosting import CrossFit, sigmoid
from training.exposure_log import ExposureLog
from training.lockstep import LearnerSettings, at_once
from training.nuisance import Baseline, fit_baseline
from training.pairs import Pairing
from training.uptake import PooledUptake, fit_pooled_uptake, uptake_settings


@dataclass(frozen=True)
class Known:
    """What is known of n users and S services; the columns of a pair are x, baseline, and uptake uplift."""

    of_user: NDArray[np.float32]  # (n, p + 1): x, baseline
    uptake: NDArray[np.float32] | None  # (n, S) uptake less that with nothing shown; None: not logged

    def pairs(self, position: int) -> NDArray[np.float32]:
        """(n, q) features of every user beside one service."""
        if self.uptake is None:
            return self.of_user
        return np.column_stack([self.of_user, self.uptake[:, position]])

    def each_pair(self, n_services: int) -> Iterator[NDArray[np.float32]]:
        """``pairs`` of one service after the other, in one array: whoever keeps them must copy it."""
        pairs = self.pairs(0)
        for position in range(n_services):
            if self.uptake is not None:
                pairs[:, -1] = self.uptake[:, position]
            yield pairs

    def column(self, position: int) -> NDArray[np.float64]:
        """One column, as (n, 1) where it is the user's and (n, S) where it is the pair's."""
        if position < self.of_user.shape[1] or self.uptake is None:
            return self.of_user[:, position, None].astype(np.float64)
        return self.uptake.astype(np.float64)


@dataclass(frozen=True)
class Sources:
    """What is known of n users and k services, and what p columns of the profile add to what was derived."""

    known: Known  # of these services alone
    services: NDArray[np.intp]  # (k,) their positions among all
    baseline: Attribution  # base (n, 1), contributions (n, 1, p)
    uptake: Attribution | None  # of the uptake uplift, base (n, k), contributions (n, k, p)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, k)"""
        return len(self.known.of_user), len(self.services)

    @property
    def n_columns(self) -> int:
        """Columns of the profile: p."""
        return self.known.of_user.shape[1] - 1

    def derived(self, position: int) -> Attribution:
        """Of the baseline or the uptake uplift, by its position in a pair; base (n, 1) or (n, k).

        A learner reads these as float32; that rounding is in the base.
        """
        value = self.known.column(position)
        if position == self.n_columns:
            contributions = self.baseline.contributions
        else:
            assert self.uptake is not None
            contributions = self.uptake.contributions
        return Attribution(value - contributions.sum(axis=-1), contributions)


@dataclass(frozen=True)
class EffectFeatures:
    """The models behind the columns that a profile does not have."""

    baseline: Baseline
    uptake: PooledUptake | None
    holdout_uptake: Baseline | None  # uptake with nothing shown, where there is any

    def users(self, features: NDArray[np.float32], baseline: NDArray[np.float64]) -> Known:
        """What is known of users alone, from features of shape (n, p) and their baseline (n,)."""
        return Known(np.column_stack([features, baseline.astype(np.float32)]), None)

    def of(
        self, features: NDArray[np.float32], n_jobs: int = -1, services: NDArray[np.intp] | None = None
    ) -> Known:
        """What is known of users with features of shape (n, p), and of each service, or of some, for them."""
        users = self.users(features, self.baseline.predict(features, n_jobs))
        if self.uptake is None:
            return users
        uptake = sigmoid(self.uptake.raw(features, n_jobs, services))
        if self.holdout_uptake is not None:
            uptake = uptake - self.holdout_uptake.predict(features, n_jobs)[:, None]
        return replace(users, uptake=uptake.astype(np.float32))

    def explain(self, features: NDArray[np.float32], services: NDArray[np.intp], n_jobs: int = -1) -> Sources:
        """What is known of users, and how it comes about, for some of the services."""
        known = self.of(features, n_jobs, services)
        baseline = _of_one(self.baseline.explain(features, n_jobs))
        if self.uptake is None:
            return Sources(known, services, baseline, None)
        uptake = self.uptake.explain(features, services, n_jobs).through(sigmoid)
        if self.holdout_uptake is not None:
            nothing = _of_one(self.holdout_uptake.explain(features, n_jobs))
            uptake = uptake.plus(nothing.times(-1.0))
        return Sources(known, services, baseline, uptake)

    def dump(self, texts: dict[str, str]) -> dict[str, Any]:
        holdout_uptake = self.holdout_uptake
        return {
            "baseline": self.baseline.dump("baseline", texts),
            "uptake": self.uptake and self.uptake.dump("uptake_feature", texts),
            "holdout_uptake": holdout_uptake and holdout_uptake.dump("uptake_holdout", texts),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str]) -> "EffectFeatures":
        uptake, holdout_uptake = state["uptake"], state["holdout_uptake"]
        return cls(
            Baseline.restore(state["baseline"], texts),
            uptake and PooledUptake.restore(uptake, texts),
            holdout_uptake and Baseline.restore(holdout_uptake, texts),
        )


def _of_one(found: Attribution) -> Attribution:
    """(n,) and (n, p) as (n, 1) and (n, 1, p), to stand beside services."""
    return Attribution(found.base[:, None], found.contributions[:, None])


@dataclass(frozen=True)
class OutOfFold:
    """What was predicted of the training rows and pairs by models that never saw them."""

    baseline: NDArray[np.float64]  # (n,)
    pairs: NDArray[np.float32]  # (m, q) effect features
    uptake_column: int | None


def fit_effect_features(
    log: ExposureLog,
    pairing: Pairing,
    attributes: NDArray[np.float64],
    categorical: Sequence[int],
    settings: LearnerSettings,
    seed: int,
    n_jobs: int,
) -> tuple[EffectFeatures, OutOfFold]:
    """The models behind the features, and the features of every training pair, out of fold.

    Parameters
    ----------
    attributes : ndarray of shape (S, k)
        What is known of each service.
    """
    common = (categorical, settings, seed)
    works: list[Callable[[int], Any]] = [
        lambda jobs: fit_baseline(log.X, log.y, log.service, log.fold, *common, jobs)
    ]
    uptake_of_rows = log.uptake
    if uptake_of_rows is not None:
        works.append(lambda jobs: _fit_uptake(log, uptake_of_rows, pairing, attributes, *common, jobs))
        works.append(lambda jobs: _fit_holdout_uptake(log, uptake_of_rows, *common, jobs))
    (baseline, expected), *of_uptake = at_once(len(log.y), n_jobs, works)
    of_pairs = np.column_stack([log.X, expected.astype(np.float32)])[pairing.row]
    if not of_uptake:
        return EffectFeatures(baseline, None, None), OutOfFold(expected, of_pairs, None)
    (uptake, uplift), (holdout_uptake, nothing) = of_uptake
    uplift = uplift - nothing[pairing.row]
    features = EffectFeatures(baseline, uptake, holdout_uptake)
    pairs = np.column_stack([of_pairs, uplift.astype(np.float32)])
    return features, OutOfFold(expected, pairs, of_pairs.shape[1])


def _fit_holdout_uptake(
    log: ExposureLog,
    uptake: NDArray[np.float64],
    categorical: Sequence[int],
    settings: LearnerSettings,
    seed: int,
    n_jobs: int,
) -> tuple[Baseline | None, NDArray[np.float64]]:
    """The uptake with nothing shown, where there is any, and its (n,) probabilities out of fold."""
    held_out = np.flatnonzero(~log.shown)
    if not uptake[held_out].any():
        return None, np.zeros(len(uptake))
    model, unasked = fit_baseline(
        log.X[held_out],
        uptake[held_out],
        log.service[held_out],
        log.fold[held_out],
        categorical,
        settings,
        seed,
        n_jobs,
    )
    nothing = model.predict(log.X, n_jobs)
    nothing[held_out] = unasked
    return model, nothing


def quick_uptake(settings: LearnerSettings) -> LearnerSettings:
    """Settings of the uptake as a feature, which need not be the last word on it."""
    twice = 2 * settings.learning_rate
    return replace(uptake_settings(settings), learning_rate=min(1.0, twice), max_rounds=settings.max_rounds)


def _fit_uptake(
    log: ExposureLog,
    uptake: NDArray[np.float64],
    pairing: Pairing,
    attributes: NDArray[np.float64],
    categorical: Sequence[int],
    settings: LearnerSettings,
    seed: int,
    n_jobs: int,
) -> tuple[PooledUptake, NDArray[np.float64]]:
    """The uptake model and its (m,) probabilities for the pairs, none by a model that saw the pair's row."""
    shown = np.flatnonzero(log.shown)
    service, fold = log.service[shown], log.fold[shown]
    quick = quick_uptake(settings)
    model, learned = fit_pooled_uptake(
        log.X[shown], service, uptake[shown], fold, attributes, categorical, quick, seed, n_jobs
    )
    raw = np.empty(len(pairing.row))
    raw[pairing.treated] = learned.out_of_fold
    others = ~pairing.treated
    if others.any():
        raw[others] = _drawn(log, pairing, others, model, learned, n_jobs)
    return model, sigmoid(model.starts[pairing.service] + raw)


def _drawn(
    log: ExposureLog,
    pairing: Pairing,
    others: NDArray[np.bool_],
    model: PooledUptake,
    learned: CrossFit,
    n_jobs: int,
) -> NDArray[np.float64]:
    rows = pairing.row[others]
    return learned.raw_by_fold(model.pairs(log.X[rows], pairing.service[others]), log.fold[rows], n_jobs)
