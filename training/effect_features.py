"""What an effect learner reads of a user and a service: profile, baseline, uptake, and the service itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.boosting import CrossFit, LearnerSettings, sigmoid
from training.exposure_log import ExposureLog
from training.nuisance import Baseline, fit_baseline
from training.pairs import Pairing, beside_service, smoothed_rate
from training.uptake import PooledUptake, fit_pooled_uptake, uptake_settings

_PRIOR_ROWS = 200.0


@dataclass(frozen=True)
class EffectFeatures:
    """Columns in order: x, baseline, uptake uplift (if known), service, its mean outcome and uptake."""

    baseline: Baseline
    uptake: PooledUptake | None
    holdout_uptake: Baseline | None  # uptake with nothing shown, where there is any
    per_service: NDArray[np.float64]  # (S, k)

    def of_all_services(self, features: NDArray[np.float32], n_jobs: int = -1) -> NDArray[np.float32]:
        """(n, S, q) for features of shape (n, p)."""
        n, n_services = len(features), len(self.per_service)
        blocks = [features, self.baseline.predict(features, n_jobs)[:, None].astype(np.float32)]
        of_user = np.repeat(np.column_stack(blocks), n_services, axis=0)
        if self.uptake is not None:
            uptake = sigmoid(self.uptake.raw(features, n_jobs))
            if self.holdout_uptake is not None:
                uptake = uptake - self.holdout_uptake.predict(features, n_jobs)[:, None]
            of_user = np.column_stack([of_user, uptake.reshape(-1).astype(np.float32)])
        pairs = beside_service(of_user, np.tile(np.arange(n_services), n), self.per_service)
        return pairs.reshape(n, n_services, pairs.shape[1])

    def dump(self, texts: dict[str, str]) -> dict[str, Any]:
        holdout_uptake = self.holdout_uptake
        return {
            "baseline": self.baseline.dump("baseline", texts),
            "uptake": self.uptake and self.uptake.dump("uptake_feature", texts),
            "holdout_uptake": holdout_uptake and holdout_uptake.dump("uptake_holdout", texts),
            "per_service": self.per_service.tolist(),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str]) -> "EffectFeatures":
        uptake, holdout_uptake = state["uptake"], state["holdout_uptake"]
        return cls(
            Baseline.restore(state["baseline"], texts),
            uptake and PooledUptake.restore(uptake, texts),
            holdout_uptake and Baseline.restore(holdout_uptake, texts),
            np.array(state["per_service"]),
        )


@dataclass(frozen=True)
class OutOfFold:
    """What was predicted of the training rows and pairs by models that never saw them."""

    baseline: NDArray[np.float64]  # (n,)
    pairs: NDArray[np.float32]  # (m, q) effect features
    uptake_column: int | None


def fit_effect_features(
    log: ExposureLog,
    pairing: Pairing,
    categorical: Sequence[int],
    settings: LearnerSettings,
    seed: int,
    n_jobs: int,
) -> tuple[EffectFeatures, OutOfFold]:
    """The models behind the features, and the features of every training pair, out of fold."""
    held_out = ~log.shown
    baseline, mu0 = fit_baseline(log.X, log.y, held_out, log.fold, categorical, settings, seed, n_jobs)
    of_user = np.column_stack([log.X, mu0.astype(np.float32)])[pairing.row]
    means = [smoothed_rate(log.y[log.shown], log.service[log.shown], log.n_services, _PRIOR_ROWS)]
    uptake, holdout_uptake, column = None, None, None
    if log.uptake is not None:
        uptake, of_pairs = _fit_uptake(log, log.uptake, pairing, categorical, settings, seed, n_jobs)
        if log.uptake[held_out].any():
            holdout_uptake, nothing = fit_baseline(
                log.X, log.uptake, held_out, log.fold, categorical, settings, seed, n_jobs
            )
            of_pairs = of_pairs - nothing[pairing.row]
        column = of_user.shape[1]
        of_user = np.column_stack([of_user, of_pairs.astype(np.float32)])
        means.append(uptake.rates)
    per_service = np.stack(means, axis=1)
    features = EffectFeatures(baseline, uptake, holdout_uptake, per_service)
    return features, OutOfFold(mu0, beside_service(of_user, pairing.service, per_service), column)


def quick_uptake(settings: LearnerSettings) -> LearnerSettings:
    """Settings of the uptake as a feature, which need not be the last word on it."""
    twice = 2 * settings.learning_rate
    return replace(uptake_settings(settings), learning_rate=min(1.0, twice), max_rounds=settings.max_rounds)


def _fit_uptake(
    log: ExposureLog,
    uptake: NDArray[np.float64],
    pairing: Pairing,
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
        log.X[shown], service, uptake[shown], fold, log.n_services, categorical, quick, seed, n_jobs
    )
    others = ~pairing.treated
    raw = np.empty(len(pairing.row))
    raw[pairing.treated] = learned.out_of_fold
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
