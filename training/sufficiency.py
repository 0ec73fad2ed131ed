"""Can this log teach anything? Asked once, in the words of the tables, before a model sees a row."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from features.asof import DAY_US
from training.dataset import NOTHING, Dataset
from training.evaluation.policy_value import effective_sample_size

_LEAST_USERS = 30  # in a smaller arm the share of rows is chance
_STANDARD_ERRORS = 5


def check_sufficient(rows: Dataset) -> None:
    """Refuse training rows from which nothing can be learned, or whose propensities cannot be true.

    Parameters
    ----------
    rows : Dataset
        Lists of one service or nothing, as `Dataset.single` gives them.

    Raises
    ------
    ValueError
        That says which table lacks what.
    """
    shown = rows.service != NOTHING
    n, n_shown = len(rows), int(shown.sum())
    if n_shown == 0:
        raise ValueError(
            f"exposures must hold lists of exactly one service among the {n:,} rows to learn from, found "
            "none. Show some users one service, drawn at random."
        )
    if n_shown == n:
        raise ValueError(
            f"exposures must hold rows without a service among the {n:,} rows to learn from, found none. "
            "Show nothing to some users at random, and log that, to have something to compare with."
        )
    windows = rows.windows
    _check_varies(rows.uptake[shown], f"events `used` within {windows.uptake_days} days after an offer")
    _check_varies(rows.repurchase, f"orders within {windows.repurchase_days} days after an exposure")
    _check_varies(rows.margin, f"margins of orders within {windows.repurchase_days} days after an exposure")
    _check_propensities(rows)


def check_apart(train: Dataset, test: Dataset, by: Literal["time", "user"]) -> None:
    """Refuse training and held-out rows of which one is empty or that know of each other.

    Parameters
    ----------
    by : str
        By time the training rows' windows must have closed before the first held-out exposure; by user no
        user may stand in both.

    Raises
    ------
    ValueError
        That says what they share.
    """
    if len(train) == 0 or len(test) == 0:
        raise ValueError(
            f"exposures must hold rows to learn from and rows to hold out, found {len(train):,} and "
            f"{len(test):,}. Log more users, or for longer."
        )
    both = np.intersect1d(train.user, test.user)
    if by == "user" and len(both):
        raise ValueError(
            f"users must be in the training or in the held-out rows, found {len(both):,} in both. "
            "Split by user id, and give each person one."
        )
    longest_us = max(train.windows.uptake_days, train.windows.repurchase_days) * DAY_US
    n_open = int((train.shown_at_us + longest_us > test.shown_at_us.min()).sum())
    if by == "time" and n_open:
        raise ValueError(
            f"windows of training rows must close before the first held-out exposure, found {n_open:,} "
            "open. Split at a later time, or leave these rows out."
        )


def _check_varies(label: NDArray[np.float64], what: str) -> None:
    if label.min() == label.max():
        raise ValueError(
            f"{what} must differ from row to row, found {label[0]:g} in all {len(label):,} to learn from: "
            "there is nothing to learn. Check that table, and [windows] of perkwise.toml."
        )


def _check_propensities(rows: Dataset) -> None:
    """Every action's 1 / propensity sums to the rows on which it was possible: of nothing, to all of them.

    Grossly another sum means that rows were left out of the log, or that the propensities are not those of
    what was shown. Twice or half, and five standard errors, are gross.
    """
    for action in np.unique(rows.service):
        of_action = rows.service == action
        weight = rows.slate_propensity[of_action].min() / rows.slate_propensity[of_action]  # at most 1
        n_users = len(np.unique(rows.user[of_action]))
        if n_users < _LEAST_USERS:
            continue
        ratio = float(weight.mean() / rows.slate_propensity[of_action].min() * of_action.mean())
        slack = max(1.0, _STANDARD_ERRORS / np.sqrt(min(n_users, effective_sample_size(weight))))
        if ratio > 1 + slack or (action == NOTHING and ratio < 1 / (1 + slack)):
            name = "nothing" if action == NOTHING else rows.catalog.ids[action]
            expected = of_action.sum() / ratio
            raise ValueError(
                f"exposures must hold every decision with its true propensity: by them {name} was shown in "
                f"about {expected:,.0f} of {len(rows):,} rows, found {of_action.sum():,}. "
                "Rows are missing, or the propensities are not those of what was shown."
            )
