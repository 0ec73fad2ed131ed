"""The gate: may the challenger replace the champion? Only where the held-out exposures say so."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_USERS = 30  # with fewer the normal interval says more than is known
_MOST_TIMES = 1000  # a gain so small that it needs this many times the exposures is none


@dataclass(frozen=True)
class Comparison:
    """How much more the challenger is worth than one rival, an exposure."""

    rival: str
    value: float
    low: float
    high: float
    n: int  # held-out exposures
    n_more: (
        int | None
    )  # exposures still missing for a low above 0 if the gain stays so; None: no number would do


@dataclass(frozen=True)
class Verdict:
    """Whether to promote, and why in one sentence."""

    promote: bool
    reason: str
    comparisons: tuple[Comparison, ...]
    n_more: int | None  # of all comparisons together; 0 when promoted


def judge(gains: Mapping[str, ArrayLike], user: ArrayLike, level: float = 0.95) -> Verdict:
    """The verdict on a challenger: it must beat every rival by the lower bound of its paired gain.

    Asking every rival to be beaten needs no correction for their number. Asking again every day as exposures
    come in would: the level holds for one look.

    Parameters
    ----------
    gains : mapping of rival to array-like of shape (n_exposures,)
        For each held-out exposure the doubly robust value of the challenger minus that of the rival.
        Rivals are `best_constant` and, when there is one, `champion`.
    user : array-like of shape (n_exposures,)
        Whose exposure it is. Exposures of one user are not taken for independent.
    level : float
        Of the two-sided interval.

    Raises
    ------
    ValueError
        If there is no rival or no exposure, lengths differ, a gain is not finite, or the level is outside
        (0, 1).

    Examples
    --------
    >>> verdict = judge({"best_constant": np.tile([0.5, 1.5], 50)}, user=np.arange(100))
    >>> verdict.reason
    'promote: it gains 1 (0.902 to 1.1) over best_constant an exposure.'
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}.")
    if not gains:
        raise ValueError("gains must name at least one rival, got none.")
    users = np.unique(np.asarray(user), return_inverse=True)[1]
    paired = {rival: _checked(rival, gain, len(users)) for rival, gain in gains.items()}
    n_users = int(users.max()) + 1
    if n_users < MIN_USERS:
        return _too_few(n_users, len(users))
    comparisons = tuple(_compare(rival, gain, users, level) for rival, gain in paired.items())
    return _verdict(comparisons)


def _checked(rival: str, gain: ArrayLike, n: int) -> NDArray[np.float64]:
    values = np.asarray(gain, dtype=np.float64)
    if values.shape != (n,) or n == 0:
        raise ValueError(
            f"gains[{rival!r}] must hold one value for each exposure of user, and at least one: "
            f"got shape {values.shape} for {n} exposures."
        )
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"gains[{rival!r}] must be finite, got {values[row]} in row {row}.")
    return values


def _compare(rival: str, gain: NDArray[np.float64], users: NDArray[np.intp], level: float) -> Comparison:
    value = float(gain.mean())
    half = NormalDist().inv_cdf(0.5 + level / 2) * _standard_error(gain - value, users)
    if value > half:
        n_more: int | None = 0
    elif value * math.sqrt(_MOST_TIMES + 1) > half:
        n_more = math.floor(len(gain) * ((half / value) ** 2 - 1)) + 1
    else:
        n_more = None
    return Comparison(rival, value, value - half, value + half, len(gain), n_more)


def _standard_error(deviation: NDArray[np.float64], users: NDArray[np.intp]) -> float:
    """Of the mean over exposures, with users as clusters (Liang and Zeger 1986)."""
    by_user = np.bincount(users, weights=deviation)
    correction = len(by_user) / (len(by_user) - 1)
    return float(np.sqrt(correction * np.square(by_user).sum()) / len(deviation))


def _too_few(n_users: int, n: int) -> Verdict:
    n_more = math.ceil(n / n_users * (MIN_USERS - n_users))
    reason = (
        f"keep: the held-out exposures are of {n_users} users and at least {MIN_USERS} are needed to judge, "
        f"about {n_more:,} more exposures."
    )
    return Verdict(False, reason, (), n_more)


def _verdict(comparisons: tuple[Comparison, ...]) -> Verdict:
    won = [comparison for comparison in comparisons if comparison.n_more == 0]
    if len(won) == len(comparisons):
        gained = " and ".join(_gain(comparison) for comparison in won)
        return Verdict(True, f"promote: it gains {gained} an exposure.", comparisons, 0)
    missing = [comparison for comparison in comparisons if comparison not in won]
    gained = " and ".join(_gain(comparison) for comparison in missing)
    needs = [comparison.n_more for comparison in missing if comparison.n_more is not None]
    if len(needs) < len(missing):
        reason = f"keep: it gains {gained} an exposure, which is no gain."
        return Verdict(False, reason, comparisons, None)
    reason = (
        f"keep: it gains {gained} an exposure, which may be chance; about {max(needs):,} more exposures are "
        "needed to tell."
    )
    return Verdict(False, reason, comparisons, max(needs))


def _gain(comparison: Comparison) -> str:
    return f"{comparison.value:.3g} ({comparison.low:.3g} to {comparison.high:.3g}) over {comparison.rival}"
