"""The checks of a log as a whole: what was shown to whom and when, before any model of outcomes is asked."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.asof import DAY_US
from offers.catalog import Catalog
from training.assignment import boosted_scores, deal_users, log_softmax
from training.dataset import Dataset, at_us
from training.evaluation.checks import (
    Finding,
    exposure_after_outcome,
    kept_by_user,
    predictability,
    sample_ratio,
    users_in_two_arms,
)
from training.exposure_log import N_FOLDS
from training.lockstep import LearnerSettings
from training.propensity import single_propensities
from training.propensity_estimate import LEAST_OF_SHARE
from training.source import Source

_HOUR_US = DAY_US // 24
_SECOND_US = 1_000_000
_SPANS_US = {"an hour": _HOUR_US, "a day": DAY_US}
_PREDICTOR = LearnerSettings(leaves=4, learning_rate=0.2, min_rows=50, l2=10.0, max_rounds=40, patience=4)
_MOST_ROWS = 60_000  # contacts asked whether they can be predicted
_FAR_BELOW = -3.0  # standard errors below what was due: such an arm was not open to everybody
_MANY_TRIMMED = 0.05


def check_log(source: Source, seed: int = 0, n_jobs: int = -1) -> tuple[Finding, ...]:
    """Every finding about who was shown what, and when, on contacts whose windows have closed.

    What propensities say is asked of all contacts of so many users, drawn at random, that there are about
    60,000 of them; a larger log would only take longer.
    """
    rows = source.dataset.take(deal_users(source.dataset.user, _MOST_ROWS, seed)[1])
    names = ("nothing", *(service.name for service in rows.catalog.services))
    everybody = open_to_everybody(rows.catalog, rows.shown_at_us)
    comparable = everybody
    found = list(_estimate(rows))
    logged = rows.take(~rows.is_estimated)
    if (logged.service >= -1).any():
        expected = single_propensities(
            logged.X, logged.service, logged.slate_propensity, len(rows.catalog), seed, n_jobs
        )
        ratio, gaps = sample_ratio(
            logged.service, logged.slate_propensity, expected, logged.user, everybody, names
        )
        comparable = everybody & ~(np.nan_to_num(gaps) < _FAR_BELOW)
        comparable[0] = True
        found += [ratio, _predictability(logged, expected, comparable, "logged", seed, n_jobs)]
    else:
        shares = _shares(rows)
        constant = np.where(rows.service >= -1, shares[np.maximum(rows.service.astype(int) + 1, 0)], 1.0)
        found.append(
            _predictability(
                replace(rows, slate_propensity=constant),
                np.tile(shares, (len(rows), 1)),
                everybody,
                "none",
                seed,
                n_jobs,
            )
        )
    found += [_two_arms(source), _after_outcome(source, comparable)]
    return tuple(found)


def open_to_everybody(catalog: Catalog, shown_at_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Nothing, and services that the catalogue lets everybody have throughout, shape (n_services + 1,)."""
    begins, ends = shown_at_us.min(), shown_at_us.max()
    return np.array(
        [True]
        + [
            not service.tiers
            and not service.scenario
            and service.capacity_per_day is None
            and catalog.active_from_us[position] <= begins
            and catalog.active_until_us[position] > ends
            for position, service in enumerate(catalog.services)
        ]
    )


def _estimate(rows: Dataset) -> tuple[Finding, ...]:
    """How many propensities are estimates, and how far they were trimmed; nothing where all are logged."""
    if rows.trimmed is None:
        return ()
    n, n_trimmed = int(rows.is_estimated.sum()), int(rows.trimmed.sum())
    several = int((rows.is_estimated & (rows.service == -2)).sum())
    text = (
        f"{n:,} of {len(rows):,} contacts name no propensity: it was estimated from the profile, by models "
        f"that saw neither the contact nor its user. At {n_trimmed or 'none'} some arm was hardly ever "
        f"possible, and counts as {LEAST_OF_SHARE:.0%} of its share"
    )
    text += f"; of {several:,} lists of several only that some list was shown is known. " if several else ". "
    many = n_trimmed > _MANY_TRIMMED * n
    text += (
        "So many say that the log hardly ever did for such customers what it did here: "
        "differences rest on the "
        "models."
        if many
        else "What decided but stands in no profile biases every figure."
    )
    return (
        Finding(
            "estimated_propensities",
            "Propensities are estimated",
            "alert" if many else "note",
            text,
            n=n,
            figure=n_trimmed / n,
            measures="share trimmed",
        ),
    )


def _shares(rows: Dataset) -> NDArray[np.float64]:
    """How often nothing and each service was shown alone, as shares of all contacts."""
    alone = rows.service[rows.service >= -1].astype(np.int64) + 1
    return np.bincount(alone, minlength=len(rows.catalog) + 1) / len(rows)


def _predictability(
    rows: Dataset,
    expected: NDArray[np.float64],
    comparable: NDArray[np.bool_],
    declared: Literal["logged", "none"],
    seed: int,
    n_jobs: int,
) -> Finding:
    """Of each user's first contact alone where arms are kept by user: later "
    "profiles tell of earlier offers."""
    asked = np.ones(len(rows), bool)
    if kept_by_user(rows.service, expected, rows.user, rows.shown_at_us):
        asked = _is_first(rows)
    asked &= _some_users(rows.user, asked, seed)
    rows, expected = rows.take(asked), expected[asked]
    learned = _learn(rows, expected, seed, n_jobs)
    return predictability(rows.service, rows.slate_propensity, learned, rows.user, comparable, declared)


def _is_first(rows: Dataset) -> NDArray[np.bool_]:
    order = np.lexsort((rows.shown_at_us, rows.user))
    first = np.zeros(len(rows), bool)
    first[order[np.append(True, np.diff(rows.user[order]) != 0)]] = True
    return first


def _some_users(user: NDArray, asked: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Rows of so many users that about `_MOST_ROWS` are asked."""
    if asked.sum() <= _MOST_ROWS:
        return np.ones(len(user), bool)
    users, of_row = np.unique(user, return_inverse=True)
    return (np.random.default_rng(seed).random(len(users)) < _MOST_ROWS / asked.sum())[of_row]


def _learn(rows: Dataset, expected: NDArray[np.float64], seed: int, n_jobs: int) -> NDArray[np.float64]:
    """Log of how much likelier each single action is by the profile than expected, shape of `expected`."""
    shown = np.flatnonzero(np.isfinite(expected).all(axis=0))
    start = expected[:, shown]
    action = np.searchsorted(shown, rows.service.astype(np.intp) + 1)
    several = rows.service == -2
    if several.any():
        start = np.column_stack([start, np.full(len(rows), several.mean())])
        action[several] = len(shown)
    start = log_softmax(np.log(start))
    fold, rows_learned = deal_users(rows.user, _MOST_ROWS, seed)
    scores = boosted_scores(
        rows.X,
        action,
        fold,
        rows_learned,
        [start] * N_FOLDS,
        rows.categorical,
        _PREDICTOR,
        seed,
        n_jobs,
    )
    found = np.zeros(expected.shape)
    found[:, shown] = (scores - start)[:, : len(shown)]
    return found


def _two_arms(source: Source) -> Finding:
    lists = source.tables.exposures.drop_duplicates("slate_id")
    windows = source.dataset.windows
    return users_in_two_arms(
        is_holdout=(lists["arm"] == "holdout").to_numpy(),
        user=pd.factorize(lists["user_id"])[0],
        at_us=at_us(lists["shown_at"]),
        window_us=max(windows.uptake_days, windows.repurchase_days) * DAY_US,
    )


def _after_outcome(source: Source, comparable: NDArray[np.bool_]) -> Finding:
    rows, history = source.dataset, source.history
    logs = history.orders, history.uses

    def between(from_us: NDArray[np.int64], to_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.any(
            [log.rows_before(rows.user, to_us) > log.rows_before(rows.user, from_us) for log in logs], axis=0
        )

    shown_at_us = rows.shown_at_us
    return exposure_after_outcome(
        rows.service,
        rows.slate_propensity,
        rows.user,
        comparable,
        just_before={span: between(shown_at_us - us, shown_at_us) for span, us in _SPANS_US.items()},
        at_once=between(shown_at_us, shown_at_us + 1),
        is_fine_clock=bool((shown_at_us % (60 * _SECOND_US)).any()),
    )
