"""What each service adds to each user's outcome: a stack of effect learners around each service's average."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from training.averages import average_uplift
from training.boosting import DEFAULTS, LearnerSettings
from training.effect_features import EffectFeatures, fit_effect_features
from training.evidence import Evidence, gather
from training.exposure_log import Columns, ExposureLog, check_categorical
from training.learners.per_service import PerServiceR, PerServiceX
from training.learners.pooled import PooledX
from training.learners.ridge import HierarchicalRidge
from training.learners.surrogate import UptakeUplift
from training.model_files import read_model, write_model
from training.pairs import pair_rows
from training.stacking import stack

_CHUNK_PAIRS = 50_000


class Learner(Protocol):
    """An effect learner: how far a user's uplift lies from the service's average."""

    out_of_fold_: NDArray[np.float64]

    @property
    def name(self) -> str: ...

    def fit(self, evidence: Evidence) -> "Learner": ...

    def predict_uplift(self, features: NDArray[np.float32]) -> NDArray[np.float64]: ...

    def dump(self, texts: dict[str, str]) -> dict[str, Any]: ...

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str], n_jobs: int) -> "Learner": ...


LEARNERS: dict[str, type[Learner]] = {
    learner.name: learner for learner in (PooledX, PerServiceX, PerServiceR, HierarchicalRidge, UptakeUplift)
}


class UpliftModel:
    """E[outcome | offered s, x] − E[outcome | offered nothing, x] of every service.

    Each service's average uplift, shrunk toward the others', plus what a stack of learners says of the user.
    A learner that explains nothing on rows it has not seen gets no weight, so that without evidence every
    user's uplift is the average.

    Parameters
    ----------
    seed : int
        The same seed and rows, in any order, give the same model.
    n_jobs : int
        Threads; −1 takes all. The answers do not depend on it.
    settings : LearnerSettings
    categorical : sequence of int
        Columns of X that hold category codes.

    Attributes
    ----------
    average_ : ndarray of shape (n_services,)
        Average uplift, by empirical Bayes.
    average_se_ : ndarray of shape (n_services,)
        Its standard error.
    coefficients_ : dict of str to float
        How much each learner is listened to.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> n = 4000
    >>> X, service = rng.normal(size=(n, 2)), rng.integers(-1, 1, n)
    >>> y = X[:, 0] + 2.0 * (service == 0) + rng.normal(size=n)
    >>> model = UpliftModel().fit(X, service, np.full((n, 2), 0.5), y)
    >>> model.average_.round(1).tolist()
    [2.0]
    """

    def __init__(
        self,
        seed: int = 0,
        n_jobs: int = -1,
        settings: LearnerSettings = DEFAULTS,
        categorical: Sequence[int] = (),
    ) -> None:
        self.seed = seed
        self.n_jobs = n_jobs
        self.settings = settings
        self.categorical = categorical

    def fit(
        self,
        X: ArrayLike | pd.DataFrame,
        service: ArrayLike,
        propensity: ArrayLike,
        y: ArrayLike,
        uptake: ArrayLike | None = None,
    ) -> "UpliftModel":
        """Learn from logged exposures, each of one service or of nothing.

        Parameters
        ----------
        X : array-like or frame of shape (n, p)
            Features; NaN is "unknown".
        service : array-like of shape (n,)
            Position of the service shown, −1 for nothing.
        propensity : array-like of shape (n, n_services + 1)
            Probability of each action under the policy that logged the row, nothing first.
        y : array-like of shape (n,)
            Outcome: 0 and 1, or a number.
        uptake : array-like of shape (n,), optional
            1 where the service shown was used, else 0. Helps wherever the effect runs through use.

        Raises
        ------
        ValueError
            Wrong shapes, unknown or unvarying labels, no holdout, propensities that cannot be.
        """
        self.columns_ = Columns.of(X)
        matrix = self.columns_.matrix(X)
        categorical = check_categorical(self.categorical, matrix.shape[1])
        log = ExposureLog.of(matrix, service, propensity, y, uptake, self.seed)

        pairing = pair_rows(log, self.seed)
        self.features_, known = fit_effect_features(
            log, pairing, categorical, self.settings, self.seed, self.n_jobs
        )
        averages = average_uplift(log.y - known.baseline, log.service, log.propensity)
        self.average_, self.average_se_ = averages.uplift, averages.se
        evidence = gather(log, pairing, known, self.average_, categorical, self.n_jobs)
        self.learners_, self.coefficients_ = self._fit_learners(evidence)
        return self

    def _fit_learners(self, evidence: Evidence) -> tuple[dict[str, Learner], dict[str, float]]:
        """The learners that earned a weight, and the weights of all."""
        common = (self.settings, self.seed, self.n_jobs)
        pooled = PooledX(*common).fit(evidence)
        evidence = evidence.given(pooled.out_of_fold_)
        learners: list[Learner] = [
            pooled,
            PerServiceX(*common).fit(evidence),
            PerServiceR(*common).fit(evidence),
            HierarchicalRidge().fit(evidence),
        ]
        if evidence.uptake_column is not None:
            learners.append(UptakeUplift().fit(evidence))
        weights = stack(evidence, np.stack([learner.out_of_fold_ for learner in learners], axis=1))
        coefficients = {one.name: float(weight) for one, weight in zip(learners, weights, strict=True)}
        return {one.name: one for one in learners if coefficients[one.name] > 0}, coefficients

    def predict(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """(n, n_services) uplift in the outcome's own unit; one row alone answers as it does among many."""
        matrix = self.columns_.matrix(X)
        step = max(1, _CHUNK_PAIRS // len(self.average_))
        starts = range(0, max(len(matrix), 1), step)
        return np.vstack([self._predict_chunk(matrix[i : i + step]) for i in starts])

    def _predict_chunk(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        uplift = np.tile(self.average_, (len(matrix), 1))
        if self.learners_ and len(matrix):
            features = self.features_.of_all_services(matrix, self.n_jobs)
            for name, learner in self.learners_.items():
                uplift += self.coefficients_[name] * learner.predict_uplift(features)
        return uplift

    def predict_baseline(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """(n,) expected outcome with nothing shown."""
        return self.features_.baseline.predict(self.columns_.matrix(X), self.n_jobs)

    def save(self, folder: Path) -> None:
        """Write `uplift.json` and a text file for each booster that is listened to."""
        texts: dict[str, str] = {}
        state = {
            "columns": [self.columns_.n_columns, list(self.columns_.names)],
            "average": self.average_.tolist(),
            "average_se": self.average_se_.tolist(),
            "coefficients": self.coefficients_,
            "features": self.features_.dump(texts),
            "learners": {name: learner.dump(texts) for name, learner in self.learners_.items()},
        }
        write_model(folder, "uplift", state, texts)

    @classmethod
    def load(cls, folder: Path, n_jobs: int = -1) -> "UpliftModel":
        """The model that `save` wrote; it answers bit for bit as the saved one."""
        state, texts = read_model(folder, "uplift")
        model = cls(n_jobs=n_jobs)
        model.columns_ = Columns(state["columns"][0], tuple(state["columns"][1]))
        model.average_, model.average_se_ = np.array(state["average"]), np.array(state["average_se"])
        model.coefficients_ = state["coefficients"]
        model.features_ = EffectFeatures.restore(state["features"], texts)
        model.learners_ = {
            name: LEARNERS[name].restore(learner, texts, n_jobs)
            for name, learner in state["learners"].items()
        }
        return model
