"""Who uses a service once it is offered: one model for all services, calibrated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from training.attribution import Attribution, check_services
from training.averages import shrink_alike
from training.boosting import Binned, CrossFit, Ensemble, cross_fit, logit, sigmoid
from training.exposure_log import (
    N_FOLDS,
    NOTHING,
    Columns,
    check_attributes,
    check_categorical,
    check_service,
    check_uptake,
    content_order,
    deal_folds,
)
from training.known_splits import Trees
from training.lockstep import DEFAULTS, LearnerSettings
from training.model_files import read_model, write_model
from training.pairs import beside_service, smoothed_rate

_PRIOR_ROWS = 50.0
_OFFSET_PRIOR_SD = 0.3  # of a service's own shift of the logit, in calibration
_CHUNK_PAIRS = 50_000
_LEAST, _MOST = 1e-6, 1 - 1e-6


@dataclass(frozen=True)
class PooledUptake:
    """P(used | offered, x) before calibration; each service starts at its own smoothed rate."""

    rates: NDArray[np.float64]  # (S,)
    attributes: NDArray[np.float64]  # (S, k)
    ensemble: Ensemble

    def raw(
        self, features: NDArray[np.float32], n_jobs: int = -1, services: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """(n, S) logits for features of shape (n, p), or (n, k) of some services."""
        which = np.arange(len(self.rates)) if services is None else services
        service = np.tile(which, len(features))
        pairs = self.pairs(np.repeat(features, len(which), axis=0), service)
        raw = self.starts[service] + self.ensemble.raw(pairs, n_jobs)
        return raw.reshape(len(features), len(which))

    @cached_property
    def starts(self) -> NDArray[np.float64]:
        """(S,) the logit of each rate."""
        return np.array([logit(rate) for rate in self.rates])

    def pairs(self, features: NDArray[np.float32], service: NDArray[np.intp]) -> NDArray[np.float32]:
        """(n, p + 2 + k): each row's features, its service, and that service's rate and attributes."""
        return beside_service(features, service, np.column_stack([self.rates, self.attributes]))

    def explain(
        self, features: NDArray[np.float32], services: NDArray[np.intp], n_jobs: int = -1
    ) -> Attribution:
        """What each of p columns adds to the logits, base (n, k) and contributions (n, k, p) of k services.

        The trees are asked with the service known: what it is like, alone or with a column, is not a
        contribution of its own. So a service's base is the same for all users.
        """
        pairs = self.pairs(features, np.zeros(len(features), dtype=np.intp))
        found = Attribution.nothing((len(features), len(services)), features.shape[1])
        for position, service in enumerate(services.tolist()):
            level, ensemble = self._of_service(service, features.shape[1])
            parts = ensemble.explain(pairs, n_jobs)
            found.base[:, position] = level + parts.base
            found.contributions[:, position] = parts.contributions[:, : features.shape[1]]
        return found

    def _of_service(self, service: int, n_features: int) -> tuple[float, Ensemble]:
        """What is said of a service whoever the user is, and the trees that ask for the user."""
        if service not in self._restricted:
            start = float(self.starts[service])
            (told,) = self.pairs(np.empty((1, 0), dtype=np.float32), np.array([service])).tolist()
            level, text = self._trees.where(dict(enumerate(told, start=n_features)))
            ensemble = Ensemble.restore(text and "service", {"service": text or ""})
            self._restricted[service] = start + level / N_FOLDS, ensemble
        return self._restricted[service]

    @cached_property
    def _restricted(self) -> dict[int, tuple[float, Ensemble]]:
        return {}

    @cached_property
    def _trees(self) -> Trees:
        texts: dict[str, str] = {}
        name = self.ensemble.dump("trees", texts)
        return Trees.parse(texts[name]) if name else Trees("", ())

    def dump(self, name: str, texts: dict[str, str]) -> dict[str, Any]:
        return {
            "rates": self.rates.tolist(),
            "attributes": self.attributes.tolist(),
            "booster": self.ensemble.dump(name, texts),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str]) -> "PooledUptake":
        rates = np.array(state["rates"])
        attributes = np.array(state["attributes"], dtype=np.float64).reshape(len(rates), -1)
        return cls(rates, attributes, Ensemble.restore(state["booster"], texts))


def uptake_settings(settings: LearnerSettings) -> LearnerSettings:
    """Settings of the uptake: larger trees and more of them, as they must tell the services apart too."""
    return replace(settings, leaves=2 * settings.leaves + 1, max_rounds=2 * settings.max_rounds)


def fit_pooled_uptake(
    features: NDArray[np.float32],
    service: NDArray[np.intp],
    uptake: NDArray[np.float64],
    fold: NDArray[np.intp],
    attributes: NDArray[np.float64],
    categorical: Sequence[int],
    settings: LearnerSettings,
    seed: int,
    n_jobs: int,
) -> tuple[PooledUptake, CrossFit]:
    """The pooled model of rows where a service was shown, and what its cross-fitting leaves.

    `attributes`, of shape (S, k), let a service that was hardly shown lean on those like it.
    """
    rates = _rates(uptake, service, attributes)
    empty = PooledUptake(rates, attributes, Ensemble())
    data = Binned.of(empty.pairs(features, service), [*categorical, features.shape[1]], n_jobs)
    learned = cross_fit(data, uptake, fold, empty.starts[service], "binary", settings, seed, n_jobs)
    return replace(empty, ensemble=learned.ensemble), learned


def _rates(
    uptake: NDArray[np.float64], service: NDArray[np.intp], attributes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(S,) how often each service is used; one hardly shown leans on those like it, or else on all."""
    rates = smoothed_rate(uptake, service, len(attributes), _PRIOR_ROWS)
    count = np.bincount(service, minlength=len(attributes))
    if not attributes.any():
        return rates
    shown = np.maximum(count, 1)
    mean = np.where(count > 0, np.bincount(service, uptake, len(count)) / shown, np.nan)
    noise = float(uptake.mean() * (1 - uptake.mean()))
    leaning, _ = shrink_alike(mean, np.where(count > 0, noise / shown, np.inf), attributes)
    return np.clip(leaning, rates.min(), rates.max())


@dataclass(frozen=True)
class Calibration:
    """logit(p) = slope × raw + offset of the service: Platt's scaling with an intercept for each service."""

    slope: float
    offset: NDArray[np.float64]  # (S,)

    @classmethod
    def learn(
        cls, raw: NDArray[np.float64], service: NDArray[np.intp], uptake: NDArray[np.float64], n_services: int
    ) -> "Calibration":
        """From out-of-fold logits; a service's offset leans on the common one, the more the fewer its rows.

        References
        ----------
        Platt (1999), Probabilistic outputs for support vector machines.
        """
        design = np.column_stack([raw, np.ones(len(raw)), service[:, None] == np.arange(n_services)])
        penalty = np.concatenate([[0.0, 0.0], np.full(n_services, _OFFSET_PRIOR_SD**-2)])
        beta = np.concatenate([[1.0, 0.0], np.zeros(n_services)])
        for _ in range(20):  # Newton; a handful of steps suffices from so near
            p = sigmoid(design @ beta)
            gradient = design.T @ (uptake - p) - penalty * beta
            hessian = design.T @ (design * (p * (1 - p))[:, None]) + np.diag(penalty)
            step = np.linalg.solve(hessian + 1e-9 * np.eye(len(beta)), gradient)
            beta = beta + step
            if np.abs(step).max() < 1e-9:
                break
        return cls(float(beta[0]), beta[1] + beta[2:])

    def of(self, services: NDArray[np.intp]) -> "Calibration":
        """That of some of the services, in this order."""
        return Calibration(self.slope, self.offset[services])

    def apply(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, S) probabilities of (n, S) logits."""
        return np.clip(sigmoid(self.slope * raw + self.offset), _LEAST, _MOST)


class UptakeModel:
    """P(used within the window | offered alone, x) of every service, calibrated.

    Parameters
    ----------
    seed : int
        The same seed and rows, in any order, give the same model.
    n_jobs : int
        Threads; −1 takes all. The answers do not depend on it.
    settings : LearnerSettings
    categorical : sequence of int
        Columns of X that hold category codes.
    attributes : array-like of shape (n_services, k), optional
        What is known of each service, as numbers.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> service = np.tile([0, 1], 200)
    >>> model = UptakeModel().fit(X, service, uptake=rng.random(400) < np.where(service == 0, 0.2, 0.8))
    >>> model.predict(X[:3]).round(1).tolist()
    [[0.2, 0.8], [0.2, 0.8], [0.2, 0.8]]
    """

    def __init__(
        self,
        seed: int = 0,
        n_jobs: int = -1,
        settings: LearnerSettings = DEFAULTS,
        categorical: Sequence[int] = (),
        attributes: ArrayLike | None = None,
    ) -> None:
        self.seed = seed
        self.n_jobs = n_jobs
        self.settings = settings
        self.categorical = categorical
        self.attributes = attributes

    def fit(
        self,
        X: ArrayLike | pd.DataFrame,
        service: ArrayLike,
        uptake: ArrayLike,
        n_services: int | None = None,
    ) -> "UptakeModel":
        """Learn from rows where one service was shown; rows of nothing (−1) are passed over.

        Parameters
        ----------
        X : array-like or frame of shape (n, p)
            Features; NaN is "unknown".
        service : array-like of shape (n,)
            Position of the service shown, −1 for nothing.
        uptake : array-like of shape (n,)
            1 where the service was used within the window, else 0.
        n_services : int, optional
            Services in the catalogue; by default the greatest position shown, plus 1. One never shown
            gets the rate of all.

        Raises
        ------
        ValueError
            Wrong shapes, labels that are not 0 and 1 or do not vary, no service shown.
        """
        self.columns_ = Columns.of(X)
        features = self.columns_.matrix(X)
        categorical = check_categorical(self.categorical, features.shape[1])
        most = np.iinfo(np.int32).max if n_services is None else n_services
        positions = check_service(service, len(features), most)
        labels = check_uptake(uptake, positions)
        n_services = int(positions.max()) + 1 if n_services is None else n_services
        order = content_order(self.seed, features, positions, labels)
        order = order[positions[order] != NOTHING]
        features, positions, labels = features[order], positions[order], labels[order]
        self.model_, learned = fit_pooled_uptake(
            features,
            positions,
            labels,
            deal_folds(positions),
            check_attributes(self.attributes, n_services),
            categorical,
            uptake_settings(self.settings),
            self.seed,
            self.n_jobs,
        )
        raw = self.model_.starts[positions] + learned.out_of_fold
        self.calibration_ = Calibration.learn(raw, positions, labels, n_services)
        return self

    def predict(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """(n, n_services) probabilities, each strictly between 0 and 1."""
        features = self.columns_.matrix(X)
        step = max(1, _CHUNK_PAIRS // len(self.model_.rates))
        chunks = [features[i : i + step] for i in range(0, max(len(features), 1), step)]
        return np.vstack([self.calibration_.apply(self.model_.raw(chunk, self.n_jobs)) for chunk in chunks])

    def explain(self, X: ArrayLike | pd.DataFrame, services: Sequence[int] | None = None) -> Attribution:
        """What each of p columns adds to the probabilities: base (n, k) and contributions (n, k, p).

        Parameters
        ----------
        services : sequence of int, optional
            Positions of the k services to explain; by default all.
        """
        features = self.columns_.matrix(X)
        which = check_services(services, len(self.model_.rates))
        logits = self.model_.explain(features, which, self.n_jobs)
        return logits.through(self.calibration_.of(which).apply)

    def save(self, folder: Path) -> None:
        """Write `uptake.json` and the boosters' texts into an existing or new folder."""
        texts: dict[str, str] = {}
        state = {
            "columns": [self.columns_.n_columns, list(self.columns_.names)],
            "model": self.model_.dump("uptake", texts),
            "slope": self.calibration_.slope,
            "offset": self.calibration_.offset.tolist(),
        }
        write_model(folder, "uptake", state, texts)

    @classmethod
    def load(cls, folder: Path, n_jobs: int = -1) -> "UptakeModel":
        """The model that `save` wrote; it answers bit for bit as the saved one."""
        state, texts = read_model(folder, "uptake")
        model = cls(n_jobs=n_jobs)
        model.columns_ = Columns(state["columns"][0], tuple(state["columns"][1]))
        model.model_ = PooledUptake.restore(state["model"], texts)
        model.calibration_ = Calibration(state["slope"], np.array(state["offset"]))
        return model
