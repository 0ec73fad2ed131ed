"""The learners' settings, sought with Optuna by what they are for: the held-out loss of the uplift."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sqlalchemy.exc import SQLAlchemyError

from offers.types import Progress
from training.boosting import is_binary
from training.evidence import precision_weights
from training.exposure_log import Columns, ExposureLog
from training.lockstep import DEFAULTS, LearnerSettings
from training.uplift import UpliftModel

_MOST_ROWS = 30_000  # a trial costs as much as a fit: more rows are sampled down to these
_RANDOM_TRIALS = 4
_TUNED = ("leaves", "learning_rate", "min_rows", "l2")


def tune(
    X: ArrayLike | pd.DataFrame,
    service: ArrayLike,
    propensity: ArrayLike,
    y: ArrayLike,
    uptake: ArrayLike | None,
    n_trials: int,
    seed: int = 0,
    categorical: Sequence[int] = (),
    storage: str | None = None,
    study_name: str = "uplift",
    progress: Progress | None = None,
    n_jobs: int = -1,
) -> tuple[LearnerSettings, pd.DataFrame]:
    """The settings whose uplift has the least R-loss on a third of the rows, kept from every trial's fit.

    The default settings stand unless the best trial beats them by more than one standard error of the
    difference, which is paired row by row: eight trials on noise would always find something "better".

    Parameters
    ----------
    X, service, propensity, y, uptake, categorical
        As in `UpliftModel`.
    n_trials : int
        Trials in total; 0 returns the defaults untried. A study found in `storage` is continued up to this
        number and ends as it would have without the interruption.
    storage : str, optional
        Database of the study, such as ``sqlite:///var/optuna.db``; in memory by default.
    study_name : str
        Must change with the data: trials of one study are compared with each other.

    Returns
    -------
    settings : LearnerSettings
    trials : DataFrame
        One row a trial: number, what was tried, `loss`, and `gain` over the defaults with its `gain_se`.

    Raises
    ------
    ValueError
        Where `n_trials` is negative, or `storage` cannot be read or written.
    """
    if n_trials < 0:
        raise ValueError(f"n_trials must be at least 0, got {n_trials}.")
    if n_trials == 0:
        return DEFAULTS, _table([])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _study(storage, study_name)
    if len(_finished(study)) < n_trials:
        contest = _Contest(X, service, propensity, y, uptake, categorical, seed, n_jobs)
        for number in range(len(_finished(study)), n_trials):
            # a sampler of its own for each trial: a resumed study draws what an unbroken one would have drawn
            study.sampler = optuna.samplers.TPESampler(seed=seed + number, n_startup_trials=_RANDOM_TRIALS)
            study.optimize(contest.run, n_trials=1)
            if progress is not None:
                progress("tuning", number + 1, n_trials)
    trials = _finished(study)[:n_trials]
    best = min(trials, key=lambda trial: trial.values[0])
    carried = best.user_attrs["gain"] > best.user_attrs["gain_se"]
    return (replace(DEFAULTS, **best.params) if carried else DEFAULTS), _table(trials)


def _study(storage: str | None, name: str) -> optuna.Study:
    try:
        return optuna.create_study(
            storage=storage, study_name=name, direction="minimize", load_if_exists=True
        )
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise ValueError(
            f"the trials in {storage} cannot be read or written ({str(error).splitlines()[0]}). "
            "Move that file away: trainings that were interrupted then begin anew."
        ) from error


class _Contest:
    """One split of the rows, on which every trial is fitted and judged alike."""

    def __init__(
        self,
        X: ArrayLike | pd.DataFrame,
        service: ArrayLike,
        propensity: ArrayLike,
        y: ArrayLike,
        uptake: ArrayLike | None,
        categorical: Sequence[int],
        seed: int,
        n_jobs: int,
    ) -> None:
        log = ExposureLog.of(Columns.of(X).matrix(X), service, propensity, y, uptake, seed)
        log = log.take(np.arange(len(log.y)) < _MOST_ROWS)  # its order is a shuffle already
        self._fit_part, self._judged = log.take(log.fold != 0), log.take(log.fold == 0)
        self._options: dict[str, Any] = {"seed": seed, "n_jobs": n_jobs, "categorical": categorical}
        model = self._fit(DEFAULTS)
        uplift = model.predict(self._judged.X)
        expected = model.predict_baseline(self._judged.X) + (self._judged.propensity[:, 1:] * uplift).sum(
            axis=1
        )
        self._residual = self._judged.y - expected
        self._weight = precision_weights(expected, self._residual, is_binary(self._judged.y))
        self._default_loss = self._loss(uplift)

    def run(self, trial: optuna.Trial) -> float:
        """The mean R-loss of the settings that the trial suggests."""
        settings = LearnerSettings(
            leaves=trial.suggest_int("leaves", 3, 24, log=True),
            learning_rate=trial.suggest_float("learning_rate", 0.03, 0.2, log=True),
            min_rows=trial.suggest_int("min_rows", 50, 800, log=True),
            l2=trial.suggest_float("l2", 0.5, 100, log=True),
        )
        loss = self._loss(self._fit(settings).predict(self._judged.X))
        gain = self._default_loss - loss
        trial.set_user_attr("gain", float(gain.mean()))
        trial.set_user_attr("gain_se", float(gain.std() / np.sqrt(len(gain))))
        return float(loss.mean())

    def _fit(self, settings: LearnerSettings) -> UpliftModel:
        log = self._fit_part
        model = UpliftModel(settings=settings, **self._options)
        return model.fit(log.X, log.service, log.propensity, log.y, log.uptake)

    def _loss(self, uplift: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) R-loss of each judged row: what the uplift of its action, less the policy's mean, leaves."""
        log = self._judged
        uplift = np.column_stack([np.zeros(len(uplift)), uplift])
        of_action = uplift[np.arange(len(uplift)), log.service + 1]
        return self._weight * (self._residual - of_action + (log.propensity * uplift).sum(axis=1)) ** 2


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])


def _table(trials: Sequence[optuna.trial.FrozenTrial]) -> pd.DataFrame:
    rows = [
        {"number": number, **trial.params, "loss": trial.value, **trial.user_attrs}
        for number, trial in enumerate(trials)
    ]
    return pd.DataFrame(rows, columns=["number", *_TUNED, "loss", "gain", "gain_se"])
