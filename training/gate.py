"""The gate: may the challenger replace the champion? Only where the held-out exposures say so.

It may be asked every day as exposures come in. The bounds are those of a confidence sequence for one pair of
policies: a challenger that is no better than a rival is promoted with a probability of at most 1 − level,
on whichever day. Another challenger, as each retraining makes one, has an error of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.confidence_sequence import Spread

MIN_USERS = 30  # shown what one of the two would show, and the other not
RIVALS = {
    "champion": "the champion",
    "best_constant": "the best single offer",
    "response": "the offer likeliest to be used",
}
_MOST_TIMES = 1000  # a gain so small that it needs this many times the exposures is none


@dataclass(frozen=True)
class PairedGain:
    """The doubly robust value of the challenger less that of one rival, exposure by exposure.

    Attributes
    ----------
    gain : array of shape (n,)
        Currency units.
    ours, theirs : bool arrays of shape (n,)
        Where what was shown is what the challenger would rather show than the rival, and the other way round.
    least, most : float
        Between these one exposure's gain was bound to lie, whatever its outcome.
    """

    gain: NDArray[np.float64]
    ours: NDArray[np.bool_]
    theirs: NDArray[np.bool_]
    least: float
    most: float

    @classmethod
    def joined(cls, parts: Sequence["PairedGain"]) -> "PairedGain":
        """The exposures of all parts, one part after the other."""
        return cls(
            np.concatenate([part.gain for part in parts]),
            np.concatenate([part.ours for part in parts]),
            np.concatenate([part.theirs for part in parts]),
            min(part.least for part in parts),
            max(part.most for part in parts),
        )

    @property
    def differs(self) -> NDArray[np.bool_]:
        """Where the two decide differently, shape (n,)."""
        return self.ours | self.theirs | (self.gain != 0)


@dataclass(frozen=True)
class Comparison:
    """How much more the challenger is worth than one rival, an exposure.

    `low` and `high` each hold at all looks at the level; None where too little was seen for bounds.
    """

    rival: str
    value: float
    low: float | None
    high: float | None
    n: int  # held-out exposures
    n_differ: int  # of those, on how many the two decide differently
    n_more: (
        int | None
    )  # exposures still missing for a low above 0 if the gain stays so; None: no number would do
    finding: str  # the same in words


@dataclass(frozen=True)
class Verdict:
    """Whether to promote, and why in one sentence."""

    promote: bool
    reason: str
    comparisons: tuple[Comparison, ...]
    n_more: int | None  # of all comparisons together; 0 when promoted


def judge(gains: Mapping[str, PairedGain], user: ArrayLike, unit: str, level: float = 0.95) -> Verdict:
    """The verdict on a challenger: it must beat every rival by the lower bound of its paired gain.

    Asking every rival to be beaten needs no correction for their number, and asking again as exposures come
    in needs none for the looks.

    Parameters
    ----------
    gains : mapping of rival to PairedGain
        On all held-out exposures so far, in any order.
    user : array-like of shape (n_exposures,)
        Whose exposure it is. Exposures of one user are not taken for independent.
    unit : str
        The currency.
    level : float
        Of each bound by itself.

    Raises
    ------
    ValueError
        If there is no rival or no exposure, lengths differ, a gain is not finite or outside its ends, or the
        level is outside (0, 1).

    Examples
    --------
    >>> shown = np.arange(2000) % 2 == 0
    >>> gain = PairedGain(np.where(shown, 3.5, 0.5), shown, ~shown, least=0.5, most=3.5)
    >>> judge({"best_constant": gain}, np.arange(2000), "EUR").reason
    'promote: it gains 2 EUR an exposure over the best single offer (at least 1.9).'
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}.")
    if not gains:
        raise ValueError("gains must name at least one rival, got none.")
    users = np.unique(np.asarray(user), return_inverse=True)[1]
    for rival, gain in gains.items():
        _check(rival, gain, len(users))
    return _verdict(tuple(_compare(rival, gain, users, unit, 1 - level) for rival, gain in gains.items()))


def _check(rival: str, gain: PairedGain, n: int) -> None:
    for name, values in (("gain", gain.gain), ("ours", gain.ours), ("theirs", gain.theirs)):
        if values.shape != (n,) or n == 0:
            raise ValueError(
                f"{name} of {rival!r} must hold one value for each exposure of user, and at least one: "
                f"got shape {values.shape} for {n} exposures."
            )
    if not np.isfinite(gain.gain).all():
        row = int(np.flatnonzero(~np.isfinite(gain.gain))[0])
        raise ValueError(f"gain of {rival!r} must be finite, got {gain.gain[row]} in row {row}.")
    if not gain.least <= gain.gain.min() <= gain.gain.max() <= gain.most:
        raise ValueError(
            f"gain of {rival!r} must lie between its least ({gain.least:g}) and its most ({gain.most:g}), "
            f"got {gain.gain.min():g} to {gain.gain.max():g}."
        )


def _compare(rival: str, gain: PairedGain, users: NDArray[np.intp], unit: str, error: float) -> Comparison:
    n, n_differ = len(users), int(gain.differs.sum())
    name = RIVALS.get(rival, rival)
    value = float(gain.gain.mean())
    if n_differ == 0:
        finding = f"it decides like {name} on all {n:,} held-out exposures"
        return Comparison(rival, value, None, None, n, n_differ, None, finding)
    seen = min(int(np.count_nonzero(np.bincount(users[shown]))) for shown in (gain.ours, gain.theirs))
    if seen < MIN_USERS:
        n_more = -(-n * (MIN_USERS - seen) // seen) if seen else None
        rarely = f"decides like {name} on all but {n_differ:,} of {n:,}"
        finding = (
            f"it {rarely if 10 * n_differ < n else f'differs from {name} on {n_differ:,} of {n:,}'} held-out "
            f"exposures, where a choice of one of the two was shown to {seen} users only; "
            f"at least {MIN_USERS} are needed"
        )
        return Comparison(rival, value, None, None, n, n_differ, n_more, finding)
    spread = Spread.of(gain.gain, users, gain.least, gain.most)
    low, high, n_more = spread.low(error), spread.high(error), _n_more(spread, error)
    finding = _finding(name, value, low, high, n_more, unit)
    return Comparison(rival, value, low, high, n, n_differ, n_more, finding)


def _n_more(spread: Spread, error: float) -> int | None:
    """Exposures still missing for a lower bound above 0 if the gain and its spread stay as they are."""
    if spread.low(error) > 0:
        return 0
    few, enough = spread.n, spread.n * (_MOST_TIMES + 1)
    if spread.after(enough).low(error) <= 0:
        return None
    while enough - few > 1:  # few do not suffice, enough do
        middle = (few + enough) // 2
        few, enough = (few, middle) if spread.after(middle).low(error) > 0 else (middle, enough)
    return enough - spread.n


def _finding(name: str, value: float, low: float, high: float, n_more: int | None, unit: str) -> str:
    gains = f"it gains {value:.3g} {unit} an exposure over {name}"
    if n_more == 0:
        return f"{gains} (at least {low:.3g})"
    if n_more is not None:
        return f"{gains} ({low:.3g} to {high:.3g}), which may be chance"
    return f"{gains} ({low:.3g} to {high:.3g}), which is {'too little to tell' if value > 0 else 'no gain'}"


def _verdict(comparisons: tuple[Comparison, ...]) -> Verdict:
    missing = [comparison for comparison in comparisons if comparison.n_more != 0]
    if not missing:
        return Verdict(True, f"promote: {_listed(comparisons)}.", comparisons, 0)
    needs = [comparison.n_more for comparison in missing if comparison.n_more is not None]
    if len(needs) < len(missing):
        return Verdict(False, f"keep: {_listed(missing)}.", comparisons, None)
    n_more = max(needs)
    reason = f"keep: {_listed(missing)}; about {_rounded_up(n_more):,} more exposures are needed to tell."
    return Verdict(False, reason, comparisons, n_more)


def _listed(comparisons: Sequence[Comparison]) -> str:
    return "; ".join(comparison.finding for comparison in comparisons)


def _rounded_up(n: int) -> int:
    """To two digits: more were not known.

    >>> [_rounded_up(n) for n in (7, 100, 101, 12_345)]
    [7, 100, 110, 13000]
    """
    step = 10 ** max(len(str(n)) - 2, 0)
    return -(-n // step) * step
