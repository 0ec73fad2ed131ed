"""What each service adds to each user's outcome: a stack of effect learners around each service's average."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from offers.types import Progress
from training.attribution import Attribution, check_services
from training.averages import Averages, average_uplift
from training.effect_features import EffectFeatures, Known, OutOfFold, Sources, fit_effect_features
from training.evidence import Evidence, gather, gather_holdout
from training.exposure_log import Columns, ExposureLog, check_attributes, check_categorical
from training.learners.baseline import BaselineProportion
from training.learners.proportion import UptakeProportion
from training.learners.ridge import HierarchicalRidge
from training.learners.shared import SharedEffect
from training.learners.trees import ServiceTrees
from training.lists import Expected, Lists, Unfolded, rows_of, unfold
from training.lockstep import DEFAULTS, LearnerSettings
from training.model_files import read_model, write_model
from training.pairs import Pairing, pair_rows
from training.stacking import stack

COLD_ROWS = 100  # a service shown less often is cold: what is said of it comes from others
_CHUNK_PAIRS = 200_000
_VARIANCE_FACTOR = 2.0  # what linear slopes leave out of a user's own variance, as measured on made worlds


class Learner(Protocol):
    """An effect learner: how far a user's uplift lies from the service's average."""

    out_of_fold_: NDArray[np.float64]

    @property
    def name(self) -> str: ...

    def fit(self, evidence: Evidence) -> "Learner": ...

    def predict_uplift(self, known: Known) -> NDArray[np.float64]: ...

    def explain(self, sources: Sources) -> Attribution: ...

    def dump(self, texts: dict[str, str]) -> dict[str, Any]: ...

    @classmethod
    def restore(cls, state: Mapping[str, Any], texts: Mapping[str, str], n_jobs: int) -> "Learner": ...


LEARNERS: dict[str, type[Learner]] = {
    learner.name: learner
    for learner in (ServiceTrees, HierarchicalRidge, BaselineProportion, UptakeProportion)
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
    attributes : array-like of shape (n_services, k), optional
        What is known of each service, as numbers on one scale. A service that was hardly shown leans on
        those that are like it in these.

    Attributes
    ----------
    average_ : ndarray of shape (n_services,)
        Average uplift, by empirical Bayes.
    average_se_ : ndarray of shape (n_services,)
        Its standard error.
    coefficients_ : dict of str to float
        How much each learner is listened to.
    cold_ : ndarray of bool, shape (n_services,)
        Services shown so seldom that what is said of them comes from the others.

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
        propensity: ArrayLike,
        y: ArrayLike,
        uptake: ArrayLike | None = None,
        lists: Lists | None = None,
    ) -> "UpliftModel":
        """Learn from logged exposures, each of one service or of nothing, and from lists of several.

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
        lists : Lists, optional
            Rows on which several services were shown together. The model of the single offers says what
            each service's companions add; then all is learned again with every service of every list.

        Raises
        ------
        ValueError
            Wrong shapes, unknown or unvarying labels, no holdout, propensities that cannot be.
        """
        self.columns_ = Columns.of(X)
        matrix = self.columns_.matrix(X)
        categorical = check_categorical(self.categorical, matrix.shape[1])
        log = ExposureLog.of(matrix, service, propensity, y, uptake, self.seed)
        attributes = check_attributes(self.attributes, log.n_services)
        pairing = pair_rows(log, self.seed)
        self.features_, known = fit_effect_features(
            log, pairing, attributes, categorical, self.settings, self.seed, self.n_jobs
        )
        residual = log.y - known.baseline
        averages = average_uplift(residual, log.service, log.propensity, attributes)
        self._fit_effects(log, pairing, known, averages, categorical)
        if lists is not None and len(lists):
            expected = self._expect(lists, log)
            proportion = lists.proportion(expected.uptake)
            rows = rows_of(lists, expected, proportion)
            averages = average_uplift(residual, log.service, log.propensity, attributes, rows)
            unasked = expected.unasked + averages.unasked
            uplift = lists.of_places(averages.uplift) + expected.deviation
            parts = unfold(lists, unasked, uplift, proportion)
            log, pairing, known = self._with_lists(log, pairing, known, lists, expected, unasked, parts)
            self._fit_effects(log, pairing, known, averages, categorical)
        return self

    def _fit_effects(
        self,
        log: ExposureLog,
        pairing: Pairing,
        known: OutOfFold,
        averages: Averages,
        categorical: tuple[int, ...],
    ) -> None:
        """The learners, and the weight of each."""
        self.average_, self.average_se_ = averages.uplift, averages.se
        evidence = gather(log, pairing, known, averages.uplift, categorical, self.n_jobs)
        self.cold_ = evidence.n_shown < COLD_ROWS
        common = (self.settings, self.seed, self.n_jobs)
        learners: list[Learner] = [ServiceTrees(*common), HierarchicalRidge()]
        if evidence.is_few:
            learners.append(BaselineProportion())
        if evidence.uptake_column is not None:
            learners.append(UptakeProportion())
        for learner in learners:
            learner.fit(evidence)
        weights = stack(evidence, np.stack([learner.out_of_fold_ for learner in learners], axis=1))
        self.learners_ = {learner.name: learner for learner in learners}
        self.coefficients_ = dict(zip(self.learners_, weights.tolist(), strict=True))
        self.shared_ = None
        if not evidence.is_few:
            self.shared_ = SharedEffect(*common).fit(
                gather_holdout(log, known.baseline, categorical, self.n_jobs)
            )

    def _expect(self, lists: Lists, log: ExposureLog) -> Expected:
        """What the models of single offers expect of lists.

        Users who are moved more than usual by all services raise the baseline of all rows. With nothing
        shown they fall short of it: by `SharedEffect`, or else by what was learned of each service.
        """
        X, n_services = self.columns_.matrix(lists.X), log.n_services
        shares = np.bincount(log.service[log.shown], minlength=n_services) / len(log.y)
        baseline, unasked = np.empty(len(X)), np.empty(len(X))
        deviation = np.empty(lists.services.shape)
        uptake_uplift = np.empty(lists.services.shape, dtype=np.float32)
        step = max(1, _CHUNK_PAIRS // n_services)
        for start in range(0, len(X), step):
            rows = slice(start, start + step)
            known = self.features_.of(X[rows], self.n_jobs)
            places = np.maximum(lists.services[rows], 0)
            departs = self._uplift(known) - self.average_
            common = departs @ shares if self.shared_ is None else self.shared_.predict_uplift(known)
            baseline[rows] = known.of_user[:, -1]
            unasked[rows] = baseline[rows] - common
            deviation[rows] = np.take_along_axis(departs, places, axis=1)
            if known.uptake is not None:
                uptake_uplift[rows] = np.take_along_axis(known.uptake, places, axis=1)
        if self.features_.uptake is None:
            return Expected(baseline, unasked, deviation, None, None)
        uptake = uptake_uplift.astype(np.float64)
        if self.features_.holdout_uptake is not None:
            uptake += self.features_.holdout_uptake.predict(X, self.n_jobs)[:, None]
        return Expected(baseline, unasked, deviation, uptake, uptake_uplift)

    def _with_lists(
        self,
        log: ExposureLog,
        pairing: Pairing,
        known: OutOfFold,
        lists: Lists,
        expected: Expected,
        unasked: NDArray[np.float64],
        parts: Unfolded,
    ) -> tuple[ExposureLog, Pairing, OutOfFold]:
        """Log, pairs and features with a shown row more for each service of each list.

        `unasked` is each list's expected outcome with nothing shown, shape (n,).
        """
        X = self.columns_.matrix(lists.X)
        baseline = expected.baseline[parts.list_row]
        of_pairs = self.features_.users(X[parts.list_row], baseline).of_user
        if expected.uptake_uplift is not None:
            of_pairs = np.column_stack([of_pairs, expected.uptake_uplift[parts.list_row, parts.place]])
        first = len(log.y)
        longer = log.with_rows(
            X[parts.list_row],
            parts.service,
            unasked[parts.list_row] + parts.uplift,
            parts.fold,
            parts.precision,
        )
        more = Pairing(
            row=np.concatenate([np.arange(first, len(longer.y)), pairing.row]),
            service=np.concatenate([parts.service, pairing.service]),
            treated=np.concatenate([np.ones(len(parts.service), dtype=bool), pairing.treated]),
            p_treated=np.concatenate(
                [np.full(len(parts.service), pairing.p_treated.mean()), pairing.p_treated]
            ),
        )
        return (
            longer,
            more,
            OutOfFold(
                np.concatenate([known.baseline, baseline]),
                np.concatenate([of_pairs, known.pairs]),
                known.uptake_column,
            ),
        )

    def predict(self, X: ArrayLike | pd.DataFrame, progress: Progress | None = None) -> NDArray[np.float64]:
        """(n, n_services) uplift in the outcome's own unit; one row alone answers as it does among many."""
        return self._in_chunks(X, lambda known: self._uplift(known), progress)

    def explain(self, X: ArrayLike | pd.DataFrame, services: Sequence[int] | None = None) -> Attribution:
        """What each of p columns adds to the uplifts: base (n, k) and contributions (n, k, p).

        In the outcome's own unit; base + contributions.sum(axis=-1) is what `predict` says. Trees are taken
        apart by TreeSHAP, linear terms by themselves, and what falls to the baseline and the uptake, which
        are predictions themselves, is passed on to the columns that these are made of. A column that no
        part of the model asks for adds 0. The arrays are large: ask for some thousand users at most.

        Parameters
        ----------
        services : sequence of int, optional
            Positions of the k services to explain; by default all.
        """
        matrix = self.columns_.matrix(X)
        which = check_services(services, len(self.average_))
        found = Attribution.nothing((len(matrix), len(which)), matrix.shape[1])
        found.base[:] = self.average_[which]
        sources = self.features_.explain(matrix, which, self.n_jobs)
        for name, learner in self.learners_.items():
            if self.coefficients_[name]:
                found = found.plus(learner.explain(sources).times(self.coefficients_[name]))
        return found if self.shared_ is None else found.plus(self.shared_.explain(sources))

    def predict_interval(
        self, X: ArrayLike | pd.DataFrame, level: float = 0.95
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Bounds of each user's uplift, each of shape (n, n_services).

        A normal interval around the prediction. Its variance is that of the service's average plus the
        posterior variance of the linear slopes, doubled for what is not linear. How often it covers the true
        uplift of a user is measured on made worlds: docs/uplift.md has the figures.

        Raises
        ------
        ValueError
            If the level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}.")
        uplift = self.predict(X)
        half = NormalDist().inv_cdf(0.5 + level / 2) * np.sqrt(self._in_chunks(X, self._variance))
        return uplift - half, uplift + half

    def average_interval(self, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Bounds of each service's average uplift, each of shape (n_services,)."""
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}.")
        half = NormalDist().inv_cdf(0.5 + level / 2) * self.average_se_
        return self.average_ - half, self.average_ + half

    def predict_baseline(self, X: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
        """(n,) expected outcome with nothing shown."""
        matrix = self.columns_.matrix(X)
        baseline = self.features_.baseline.predict(matrix, self.n_jobs)
        if self.shared_ is None:
            return baseline
        return baseline - self.shared_.predict_uplift(self.features_.users(matrix, baseline))

    def _in_chunks(
        self, X: ArrayLike | pd.DataFrame, answer: Any, progress: Progress | None = None
    ) -> NDArray[np.float64]:
        matrix = self.columns_.matrix(X)
        step = max(1, _CHUNK_PAIRS // len(self.average_))
        found = np.empty((len(matrix), len(self.average_)))
        for start in range(0, len(matrix), step):
            rows = slice(start, start + step)
            found[rows] = answer(self.features_.of(matrix[rows], self.n_jobs))
            if progress is not None:
                progress("uplift", min(start + step, len(matrix)), len(matrix))
        return found

    def _uplift(self, known: Known) -> NDArray[np.float64]:
        uplift = np.tile(self.average_, (len(known.of_user), 1))
        for name, learner in self.learners_.items():
            if self.coefficients_[name]:
                uplift += self.coefficients_[name] * learner.predict_uplift(known)
        if self.shared_ is not None:
            uplift += self.shared_.predict_uplift(known)[:, None]
        return uplift

    def _variance(self, known: Known) -> NDArray[np.float64]:
        ridge = self.learners_[HierarchicalRidge.name]
        assert isinstance(ridge, HierarchicalRidge)
        return self.average_se_**2 + _VARIANCE_FACTOR * ridge.predict_variance(known)

    def save(self, folder: Path) -> None:
        """Write `uplift.json` and a text file for each booster."""
        texts: dict[str, str] = {}
        state = {
            "columns": [self.columns_.n_columns, list(self.columns_.names)],
            "average": self.average_.tolist(),
            "average_se": self.average_se_.tolist(),
            "cold": self.cold_.tolist(),
            "coefficients": self.coefficients_,
            "features": self.features_.dump(texts),
            "learners": {name: learner.dump(texts) for name, learner in self.learners_.items()},
            "shared": self.shared_ and self.shared_.dump(texts),
        }
        write_model(folder, "uplift", state, texts)

    @classmethod
    def load(cls, folder: Path, n_jobs: int = -1) -> "UpliftModel":
        """The model that `save` wrote; it answers bit for bit as the saved one."""
        state, texts = read_model(folder, "uplift")
        model = cls(n_jobs=n_jobs)
        model.columns_ = Columns(state["columns"][0], tuple(state["columns"][1]))
        model.average_, model.average_se_ = np.array(state["average"]), np.array(state["average_se"])
        model.cold_ = np.array(state["cold"], dtype=bool)
        model.coefficients_ = state["coefficients"]
        model.features_ = EffectFeatures.restore(state["features"], texts)
        model.learners_ = {
            name: LEARNERS[name].restore(learner, texts, n_jobs)
            for name, learner in state["learners"].items()
        }
        shared = state["shared"]
        model.shared_ = shared and SharedEffect.restore(shared, texts, n_jobs)
        return model
