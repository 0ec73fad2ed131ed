"""Columns that know too much or nothing: of the outcome, of the offer, of who the user is."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.asof import DAY_US
from features.history import History
from training.dataset import NOTHING, Dataset
from training.evaluation.policy_value import effective_sample_size
from training.suspicions.explained import association, cells_of, correlation, explained, merge_small
from training.suspicions.happened import orders_within
from training.suspicions.suspicion import Suspicion

_LEAST_USERS = 50
_LEAST_ROWS = 100  # with fewer, what a column explains is chance
_MOST_ROWS = 10_000  # enough for what is looked for
_LEAST_PAIRS = 200
_LEAST_ORDERS_BEFORE = 20  # with fewer, the past of the users is not in the tables
_IMPLAUSIBLE = 0.7  # of an outcome's variance; an AUC of about 0.97
_BEYOND_PAST = 0.05
_STANDARD_ERRORS = 3
_TELLS_OFFER = 0.3  # Cramér's V
_MOSTLY_UNIQUE = 0.9
_DIGITS_PER_USER = 1000  # numbers spread more widely than this a user may be unique by chance


def attribute_values(users: pd.DataFrame) -> Iterator[Suspicion]:
    """Attributes of `users` without a value, with one value, or with a value for each user."""
    if len(users) < _LEAST_USERS:
        return
    for name in sorted(set(users.columns) - {"user_id", "joined_at"}):
        known = users[name].dropna()
        known = known[known.astype(str) != ""]
        n_values = known.nunique()
        if len(known) == 0:
            yield Suspicion("empty_attribute", f"users.{name}", f"no value in {len(users):,} users")
        elif n_values == 1 and len(known) == len(users):
            yield Suspicion("constant_attribute", f"users.{name}", f"1 value in {len(users):,} users")
        elif len(known) >= _LEAST_USERS and _names_users(known, n_values):
            found = f"{n_values:,} different values in {len(known):,} users"
            yield Suspicion("identifier_attribute", f"users.{name}", found)


def _names_users(known: pd.Series, n_values: int) -> bool:
    if pd.api.types.is_datetime64_any_dtype(known):
        return False
    if not pd.api.types.is_numeric_dtype(known):
        return n_values > _MOSTLY_UNIQUE * len(known)
    numbers = known.to_numpy(np.float64)
    whole = np.isfinite(numbers).all() and bool((numbers == np.floor(numbers)).all())
    return whole and n_values == len(known) and np.ptp(numbers) < _DIGITS_PER_USER * len(known)


def outcome_in_profile(rows: Dataset, history: History) -> Iterator[Suspicion]:
    """Columns that explain more of an outcome than can be known before it.

    What a user is like for good explains no more of an outcome than the same user's outcomes at two times
    have in common (the attenuation of Spearman, 1904): an attribute that explains more of what came after
    the exposures than that, and than it explains of what came before, was filled in afterwards. Where the
    past is not in the tables, and for columns that change with time, seven tenths of the variance are too
    much.
    """
    for outcome in (*_orders(rows, history), *_uptake(rows)):
        for position, name in enumerate(rows.columns):
            is_attribute = name.startswith("attribute/")
            share = outcome.explained_by(rows, position)
            if share > outcome.allowed(rows, position, is_attribute):
                where = f"users.{name.removeprefix('attribute/')}" if is_attribute else name
                found = (
                    f"it explains {share:.0%} of the variance of {outcome.name} in {outcome.n:,} exposures"
                )
                yield Suspicion("outcome_in_profile", where, f"{found}, {outcome.comparison}")


@dataclass(frozen=True)
class _Outcome:
    """What may have leaked: an outcome of some rows, and how far the past tells it."""

    name: str
    row: NDArray[np.intp]  # positions in the training rows
    y: NDArray[np.float64]
    group: NDArray[np.intp]  # a column may mean another thing in each group
    repeated: float | None  # correlation of the outcomes of one user at two times; None: not in the tables
    n_repeated: int = 0
    before: NDArray[np.float64] | None = None  # the outcome of an equal window before

    @property
    def n(self) -> int:
        return len(self.y)

    @property
    def comparison(self) -> str:
        if self.repeated is None:
            return f"at most {_IMPLAUSIBLE:.0%} are plausible"
        return f"two outcomes of one user have {max(self.repeated, 0):.0%} in common"

    def explained_by(self, rows: Dataset, position: int) -> float:
        return explained(self.y, self._cells(rows, position))

    def allowed(self, rows: Dataset, position: int, is_attribute: bool) -> float:
        """The share of the variance that a column may explain."""
        if self.repeated is None:
            return _IMPLAUSIBLE
        past = max(self.repeated, 0.0)
        if is_attribute and self.before is not None:
            past = max(past, explained(self.before, self._cells(rows, position)))
        by_past = past + _BEYOND_PAST + _STANDARD_ERRORS / float(np.sqrt(self.n_repeated))
        return by_past if is_attribute else max(by_past, _IMPLAUSIBLE)

    def _cells(self, rows: Dataset, position: int) -> NDArray[np.intp]:
        cell = cells_of(rows.X[self.row, position], position in rows.categorical)
        return merge_small(self.group * (cell.max() + 1) + cell)


def _orders(rows: Dataset, history: History) -> Iterator[_Outcome]:
    """Orders and margin after nothing was shown, where no offer stands between profile and outcome."""
    row = _spread(np.flatnonzero(rows.service == NOTHING))
    if len(row) < _LEAST_ROWS:
        return
    days = rows.windows.repurchase_days
    quiet = rows.take(row)
    group = np.zeros(len(row), np.intp)
    first_us = history.orders.at_us.min(initial=np.iinfo(np.int64).max)
    window_us = quiet.shown_at_us - days * DAY_US
    known = (window_us >= first_us) & (window_us >= history.joined_at_us[quiet.user])
    n_before, margin_before = orders_within(history, quiet, -days, 0)
    after = {"repurchase": quiet.repurchase, "margin": np.log1p(np.maximum(quiet.margin, 0))}
    before = {
        "repurchase": (n_before > 0).astype(np.float64),
        "margin": np.log1p(np.maximum(margin_before, 0)),
    }
    has_past = known.sum() >= _LEAST_ROWS and (n_before[known] > 0).sum() >= _LEAST_ORDERS_BEFORE
    for name, y in after.items():
        if has_past:
            past, now = before[name][known], y[known]
            yield _Outcome(name, row[known], now, group[known], correlation(past, now), len(now), past)
        else:
            yield _Outcome(name, row, y, group, None)


def _uptake(rows: Dataset) -> Iterator[_Outcome]:
    """Uptake less the rate of its service, where one was shown."""
    row = _spread(np.flatnonzero(rows.service >= 0))
    if len(row) < _LEAST_ROWS:
        return
    service = rows.service[row].astype(np.intp)
    n = np.maximum(np.bincount(service), 1)
    y = rows.uptake[row] - (np.bincount(service, rows.uptake[row]) / n)[service]
    order = np.lexsort((rows.shown_at_us[row], service, rows.user[row]))
    same = (np.diff(rows.user[row][order]) == 0) & (np.diff(service[order]) == 0)
    earlier, later = y[order][:-1][same], y[order][1:][same]
    repeated = correlation(earlier, later) if len(later) >= _LEAST_PAIRS else None
    yield _Outcome("uptake", row, y, service, repeated, len(later))


def offer_in_profile(rows: Dataset) -> Iterator[Suspicion]:
    """Attributes that tell what was shown, rows weighted by 1 / propensity."""
    row = _spread(np.arange(len(rows)))
    if len(row) < _LEAST_ROWS:
        return
    weight = 1 / rows.slate_propensity[row]
    action = cells_of(rows.service[row].astype(np.float64), is_category=True)
    for position, name in enumerate(rows.columns):
        if not name.startswith("attribute/"):
            continue
        cell = cells_of(rows.X[row, position], position in rows.categorical)
        v = association(cell, action, weight, effective_sample_size(weight))
        if v > _TELLS_OFFER:
            found = (
                f"its association with the service shown is {v:.2f} (Cramér's V) in {len(row):,} exposures"
            )
            yield Suspicion("offer_in_profile", f"users.{name.removeprefix('attribute/')}", found)


def _spread(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """At most `_MOST_ROWS` of these, spread evenly."""
    return rows[:: max(1, -(-len(rows) // _MOST_ROWS))]
