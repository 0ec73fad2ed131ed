"""LightGBM in cross-fitted ensembles: one model a fold, grown in lockstep, stopped by their held-out loss."""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary, finalize

import lightgbm as lgb
import numpy as np
from lightgbm.basic import _C_API_DTYPE_FLOAT32, _C_API_PREDICT_RAW_SCORE, _LIB, _safe_call
from numpy.typing import NDArray

from training.attribution import Attribution
from training.exposure_log import N_FOLDS
from training.lockstep import BIN_PARAMETERS, Labels, LearnerSettings, grow_folds, split, threads_within

Objective = Literal["binary", "regression"]

_FEW_ROWS = 64  # to answer for: threads cost more than they save on fewer
_HIGHEST_LOGIT = 12.0


def is_binary(y: NDArray[np.float64]) -> bool:
    """Whether the labels are 0 and 1 alone."""
    return bool(np.isin(y, (0, 1)).all())


def sigmoid(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of a logit."""
    return 1 / (1 + np.exp(-raw))


def logit(p: float) -> float:
    """Logit of a probability, held within ±12 so that 0 and 1 stay finite."""
    with np.errstate(divide="ignore"):
        return float(np.clip(np.log(p) - np.log1p(-p) if p < 1 else np.inf, -_HIGHEST_LOGIT, _HIGHEST_LOGIT))


@dataclass(frozen=True)
class Binned:
    """A feature matrix and its LightGBM bins, which are made once and shared by every subset of rows."""

    features: NDArray[np.float32]  # (n, p)
    dataset: lgb.Dataset

    @classmethod
    def of(cls, features: NDArray[np.float32], categorical: Sequence[int], n_jobs: int) -> "Binned":
        dataset = lgb.Dataset(
            features,
            label=np.zeros(len(features)),
            categorical_feature=list(categorical),
            params={**BIN_PARAMETERS, "verbosity": -1, "num_threads": threads_within(len(features), n_jobs)},
        )
        return cls(features, dataset.construct())

    def take(self, rows: NDArray[np.intp]) -> "Binned":
        """These rows, in rising order, with the bins of the whole."""
        return Binned(self.features[rows], self.dataset.subset(rows.tolist()))


@dataclass(frozen=True)
class Ensemble:
    """The fold models as one booster; its answer is their mean. Without a booster it answers 0."""

    booster: lgb.Booster | None = None

    @classmethod
    def of(cls, boosters: Sequence[lgb.Booster]) -> "Ensemble":
        merged = lgb.Booster(model_str=_text(boosters[0]))
        for booster in boosters[1:]:
            _safe_call(_LIB.LGBM_BoosterMerge(merged._handle, booster._handle))
        return cls(lgb.Booster(model_str=_text(merged)))

    def raw(self, features: NDArray[np.float32], n_jobs: int = -1) -> NDArray[np.float64]:
        """(n,) what the trees add to the start, on the raw (logit or outcome) scale."""
        if self.booster is None:
            return np.zeros(len(features))
        if len(features) == 1 and features.dtype == np.float32:
            return np.array([_one_row(self.booster).raw(features)]) / N_FOLDS
        threads = 1 if len(features) <= _FEW_ROWS else max(n_jobs, 0)
        return np.asarray(self.booster.predict(features, raw_score=True, num_threads=threads)) / N_FOLDS

    def explain(self, features: NDArray[np.float32], n_jobs: int = -1) -> Attribution:
        """`raw` taken apart by TreeSHAP: (n,) the expected value, (n, q) what each column adds to it.

        References
        ----------
        Lundberg and others (2020), From local explanations to global understanding with explainable AI for
        trees.
        """
        if self.booster is None or not len(features):
            return Attribution.nothing((len(features),), features.shape[1])
        threads = 1 if len(features) <= _FEW_ROWS else max(n_jobs, 0)
        parts = np.asarray(self.booster.predict(features, pred_contrib=True, num_threads=threads))
        return Attribution(parts[:, -1] / N_FOLDS, parts[:, :-1] / N_FOLDS)

    def dump(self, name: str, texts: dict[str, str]) -> str | None:
        """Put the booster's text under `name`; returns the name, or None when there are no trees."""
        if self.booster is None:
            return None
        texts[name] = _text(self.booster)
        return name

    @classmethod
    def restore(cls, name: str | None, texts: Mapping[str, str]) -> "Ensemble":
        return cls() if name is None else cls(lgb.Booster(model_str=texts[name]))


class _OneRow:
    """Answers of a booster for one row at a time, in half the time: LightGBM sets up its predictor once.

    Whoever uses it holds the booster, which it does not keep alive.
    """

    def __init__(self, booster: lgb.Booster) -> None:
        self._n_columns, self._config = booster.num_feature(), ctypes.c_void_p()
        _safe_call(
            _LIB.LGBM_BoosterPredictForMatSingleRowFastInit(
                booster._handle,
                ctypes.c_int(_C_API_PREDICT_RAW_SCORE),
                ctypes.c_int(0),
                ctypes.c_int(-1),  # of all rounds
                ctypes.c_int(_C_API_DTYPE_FLOAT32),
                ctypes.c_int32(self._n_columns),
                b"num_threads=1",
                ctypes.byref(self._config),
            )
        )
        finalize(self, _LIB.LGBM_FastConfigFree, self._config)

    def raw(self, row: NDArray[np.float32]) -> float:
        """What the trees say of a row of shape (1, p)."""
        if row.shape != (1, self._n_columns):
            raise ValueError(f"a row must have the shape {(1, self._n_columns)}, got {row.shape}.")
        row = np.ascontiguousarray(row)
        n_answers, answer = ctypes.c_int64(), ctypes.c_double()
        _safe_call(
            _LIB.LGBM_BoosterPredictForMatSingleRowFast(
                self._config,
                ctypes.c_void_p(row.ctypes.data),
                ctypes.byref(n_answers),
                ctypes.byref(answer),
            )
        )
        return answer.value


_ONE_ROW: WeakKeyDictionary[lgb.Booster, _OneRow] = WeakKeyDictionary()  # apart, as it cannot be pickled


def _one_row(booster: lgb.Booster) -> _OneRow:
    found = _ONE_ROW.get(booster)
    if found is None:
        found = _ONE_ROW[booster] = _OneRow(booster)
    return found


def _text(booster: lgb.Booster, n_rounds: int | None = None) -> str:
    """A booster as text, without the parameters it was trained with: they do not change what it answers."""
    text = booster.model_to_string(num_iteration=n_rounds)
    trees, _, rest = text.partition("\nparameters:")
    return trees + "\nparameters:\nend of parameters\n" + rest.partition("end of parameters\n")[2]


@dataclass(frozen=True)
class CrossFit:
    """What cross-fitting leaves: the ensemble, one model a fold, and every row's prediction by the others."""

    ensemble: Ensemble
    boosters: tuple[lgb.Booster, ...]  # booster k never saw fold k; empty at zero rounds
    out_of_fold: NDArray[np.float64]  # (n,) raw, without the start

    def raw_by_fold(
        self, features: NDArray[np.float32], fold: NDArray[np.intp], n_jobs: int
    ) -> NDArray[np.float64]:
        """(n,) raw predictions of each row by the model that never saw its fold."""
        return _by_fold(self.boosters, features, fold, n_jobs)


def cross_fit(
    data: Binned,
    y: NDArray[np.float64],
    fold: NDArray[np.intp],
    start: NDArray[np.float64],
    objective: Objective,
    settings: LearnerSettings,
    seed: int,
    n_jobs: int,
    weight: NDArray[np.float64] | None = None,
) -> CrossFit:
    """Boost from `start` with one model a fold, all stopped at the round of the least held-out loss.

    Parameters
    ----------
    data : Binned
        n rows of features.
    y : ndarray of shape (n,)
        Labels; 0 and 1 for the objective "binary".
    fold : ndarray of shape (n,)
        The fold of each row, 0 … N_FOLDS − 1.
    start : ndarray of shape (n,)
        Raw score from which each row begins.
    weight : ndarray of shape (n,), optional
        Weight of each row's loss.

    Returns
    -------
    CrossFit
        With zero rounds (and zero predictions) where no round lowers the held-out loss of the start, where
        labels do not vary, or where rows are too few to grow a leaf.
    """
    if not _can_grow(y, fold):
        return CrossFit(Ensemble(), (), np.zeros(len(y)))
    losses, boosters = _lockstep(
        data, y, fold, start, objective, settings, seed, n_jobs, weight, settings.patience
    )
    if losses[1:].min() >= losses[0]:
        return CrossFit(Ensemble(), (), np.zeros(len(y)))
    return _cut(boosters, int(losses.argmin()), data, fold, n_jobs)


@dataclass(frozen=True)
class Growth:
    """Models of some rows, grown to the last round, before it is known how many rounds to keep."""

    data: Binned
    fold: NDArray[np.intp]
    losses: NDArray[np.float64]  # (rounds + 1,) held-out loss before the first round and after each
    grown: list[lgb.Booster]

    def cut(self, n_rounds: int, n_jobs: int) -> CrossFit:
        """The same models after so many rounds, at least 1."""
        return _cut(self.grown, n_rounds, self.data, self.fold, n_jobs)


def grow(
    data: Binned,
    y: NDArray[np.float64],
    fold: NDArray[np.intp],
    settings: LearnerSettings,
    seed: int,
    n_jobs: int,
    weight: NDArray[np.float64],
) -> Growth | None:
    """Boost a regression from 0 through all rounds, for whoever chooses the round of many models together.

    Each of many small models, stopped at its own best held-out loss, would keep the luck of its fold. None
    where labels do not vary or rows are too few. Parameters as in `cross_fit`.
    """
    if not _can_grow(y, fold):
        return None
    start = np.zeros(len(y))
    losses, grown = _lockstep(data, y, fold, start, "regression", settings, seed, n_jobs, weight)
    return Growth(data, fold, losses, grown)


def _can_grow(y: NDArray[np.float64], fold: NDArray[np.intp]) -> bool:
    in_each_fold = np.bincount(fold, minlength=N_FOLDS).min()
    return bool(len(y) >= 2 * N_FOLDS and np.ptp(y) > 0 and in_each_fold > 0)


def _lockstep(
    data: Binned,
    y: NDArray[np.float64],
    fold: NDArray[np.intp],
    start: NDArray[np.float64],
    objective: Objective,
    settings: LearnerSettings,
    seed: int,
    n_jobs: int,
    weight: NDArray[np.float64] | None,
    patience: int | None = None,
) -> tuple[NDArray[np.float64], list[lgb.Booster]]:
    """Held-out losses from round 0 on, and one model a fold."""
    losses, boosters = grow_folds(
        data.dataset,
        split(fold),
        Labels(y, [start] * N_FOLDS, weight),
        settings.parameters(objective, seed, bagging_fraction=0.8, bagging_freq=1),
        settings.max_rounds,
        n_jobs,
        patience,
    )
    return np.array([_held_out_loss(objective, y, start, weight, fold), *losses]), boosters


def _cut(
    grown: Sequence[lgb.Booster], n_rounds: int, data: Binned, fold: NDArray[np.intp], n_jobs: int
) -> CrossFit:
    boosters = tuple(lgb.Booster(model_str=_text(booster, n_rounds)) for booster in grown)
    return CrossFit(Ensemble.of(boosters), boosters, _by_fold(boosters, data.features, fold, n_jobs))


def _held_out_loss(
    objective: Objective,
    y: NDArray[np.float64],
    raw: NDArray[np.float64],
    weight: NDArray[np.float64] | None,
    fold: NDArray[np.intp],
) -> float:
    """The loss of raw scores as `grow_folds` counts it: the mean over folds of each fold's weighted mean."""
    loss = np.logaddexp(0, raw) - y * raw if objective == "binary" else (y - raw) ** 2
    in_folds = [fold == k for k in range(N_FOLDS)]
    return float(
        np.mean([np.average(loss[f], weights=None if weight is None else weight[f]) for f in in_folds])
    )


def _by_fold(
    boosters: Sequence[lgb.Booster], features: NDArray[np.float32], fold: NDArray[np.intp], n_jobs: int
) -> NDArray[np.float64]:
    raw = np.zeros(len(features))
    for k, booster in enumerate(boosters):
        rows = np.flatnonzero(fold == k)
        if len(rows):
            raw[rows] = booster.predict(features[rows], raw_score=True, num_threads=max(n_jobs, 0))
    return raw
