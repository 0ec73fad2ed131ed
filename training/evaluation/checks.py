"""What was found out about a log: each check a pure function of a few arrays, each answer a `Finding`.

An alert is an event that a sound log shows less than once in a thousand times. Users are the units of
chance everywhere: rows of one user are alike.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from training.dataset import NOTHING

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

ALERT_P = 0.001
_LEAST_EXPECTED = 25  # rows of an arm; of fewer the normal approximation says nothing
_LEAST_GAIN = 0.001  # log-likelihood a row; what is smaller is how propensities were rounded
_CLIP = 3.0  # of a log-ratio, so that no single row decides
_MIXED_HOLDOUT = 0.01  # share of a holdout kept by user that may have crossed before it is an alert
_FEW_PAIRS = 10
_TIES = 5


@dataclass(frozen=True)
class Finding:
    """One check of the log or of the models, its figure, and what it means."""

    key: str
    name: str
    verdict: Literal["fine", "note", "alert"]
    text: str  # one or two sentences: what was found, what it means, what to do
    n: int  # rows that speak of it
    figure: float | None = None
    measures: str = ""  # what the figure is, with its unit
    low: float | None = None
    high: float | None = None
    p: float | None = None  # of a figure as far off as this, were all as it should be
    refuses: bool = False  # the report may not call its differences uplift

    def to_json(self) -> dict[str, Any]:
        return {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def sample_ratio(
    service: NDArray, propensity: Floats, expected: Floats, user: NDArray, judged: Mask, names: Sequence[str]
) -> tuple[Finding, Floats]:
    """Was each arm shown as often as the propensities say? A chi-square test, with users as clusters.

    Of arm k, sum over its rows of e_k(x) / p is set against the sum of e_k(x) over all rows, p being the
    logged propensity and e_k any function that is about the propensity of k: with constant propensities
    these are the rows of the arm and the sum of its propensities. The statistic is the sum of the squared
    standardised gaps; its law, a weighted sum of chi-squares, is met in mean and variance by the covariance
    of the users' sums.

    Parameters
    ----------
    service : array of shape (n,)
        Catalogue position, −1 nothing, −2 a list of several (whose rows are in no arm).
    propensity : array of shape (n,)
        Logged, of what was shown.
    expected : array of shape (n, n_services + 1)
        `single_propensities`; NaN for what was never shown.
    judged : bool array of shape (n_services + 1,)
        Arms that could be shown to everybody at any time.

    Returns
    -------
    Finding
    gaps : array of shape (n_services + 1,)
        Standardised gaps; NaN for arms that are not judged, or of which fewer than 25 rows were expected.

    References
    ----------
    Fabijan et al. (2019), Diagnosing sample ratio mismatch in online controlled experiments; Rao and Scott
    (1981), The analysis of categorical data from complex sample surveys.
    """
    gaps = np.full(expected.shape[1], np.nan)
    due = np.where(judged, np.nan_to_num(expected.sum(axis=0)), 0.0)
    arms = np.flatnonzero((due >= _LEAST_EXPECTED) & (due <= len(service) - _LEAST_EXPECTED))
    if not len(arms):
        return _too_few("sample_ratio", "Sample ratio", len(service)), gaps
    met, sums = [], []
    for k in arms:
        weighted = np.where(service == k - 1, expected[:, k] / propensity, 0.0)
        met.append(weighted.sum())
        sums.append(by_user(weighted - expected[:, k], user))
    of_users = np.stack(sums, axis=1)
    independent = (expected[:, arms] * (1 - expected[:, arms])).sum(axis=0)
    spread = np.sqrt(np.maximum((of_users**2).sum(axis=0), independent))
    gaps[arms] = of_users.sum(axis=0) / spread
    shares = np.linalg.eigvalsh((of_users / spread).T @ (of_users / spread))
    scale = (shares**2).sum() / shares.sum()
    p_all = float(chi2.sf(np.nansum(gaps**2) / scale, shares.sum() / scale))
    worst = int(np.nanargmax(np.abs(gaps)))
    p_worst = len(arms) * 2 * NormalDist().cdf(-abs(gaps[worst]))
    p = min(1.0, 2 * min(p_all, p_worst))
    shown, due_worst = met[int(np.searchsorted(arms, worst))], due[worst]
    text = f"By the logged propensities {names[worst]} was due {due_worst:,.0f} times and came {shown:,.0f} "
    text += "times, the largest gap of any arm: "
    is_alert = p < ALERT_P
    text += (
        "more than chance explains. Rows are missing or doubled, or the propensities are not those of what "
        "was shown; a service that not everybody may have needs its tiers and dates in services."
        if is_alert
        else "chance explains it."
    )
    finding = Finding(
        "sample_ratio",
        "Sample ratio",
        "alert" if is_alert else "fine",
        text,
        n=len(service),
        figure=float(shown / due_worst - 1),
        measures=f"more of {names[worst]} than due (share)",
        p=p,
    )
    return finding, gaps


def kept_by_user(service: NDArray, expected: Floats, user: NDArray, at_us: NDArray) -> bool:
    """Do users tend to be shown again what they were shown before, beyond what the propensities say?

    Then an arm is kept by user, and what a profile tells of earlier offers tells the arm.
    """
    order = np.lexsort((at_us, user))
    pairs = user[order][1:] == user[order][:-1]
    earlier, later = order[:-1][pairs], order[1:][pairs]
    alike = np.zeros(len(earlier))
    for k in range(expected.shape[1]):
        rest = np.nan_to_num((service == k - 1) - expected[:, k])
        alike += rest[earlier] * rest[later]
    z = _z(alike, user[earlier])
    return bool(z > NormalDist().inv_cdf(1 - ALERT_P))


def predictability(
    service: NDArray,
    propensity: Floats,
    learned: Floats,
    user: NDArray,
    comparable: Mask,
    declared: Literal["logged", "none"],
) -> Finding:
    """Can what was shown be predicted from the profile, beyond the propensities?

    The mean over arms, weighted by their shares, of how much higher `learned` is for those who were shown
    the arm (weighted by 1 / propensity) than for everybody: 0 where the propensities are true, whatever was
    learned, because 1 / propensity undoes every targeting that they tell of.

    Parameters
    ----------
    learned : array of shape (n, n_services + 1)
        Log of how much likelier each action is by the profile than by its propensity, as learned from other
        users.
    comparable : bool array of shape (n_services + 1,)
        Arms that, by their propensities, could be shown to everybody.
    declared : str
        `logged` where the log names propensities; `none` where it does not, and they are taken to be the
        arms' shares.

    References
    ----------
    Imbens and Rubin (2015), Causal inference for statistics, chapter 15; Gagnon-Bartsch and Shem-Tov (2019),
    The classification permutation test.
    """
    log_ratio = np.clip(learned, -_CLIP, _CLIP)
    total = np.zeros(len(service))
    for k in np.flatnonzero(comparable):
        rows = service == k - 1
        if rows.sum() < _LEAST_EXPECTED:
            continue
        share, weight = rows.mean(), np.where(rows, 1 / propensity, 0.0)
        weight /= weight.mean()
        in_arm = (weight * log_ratio[:, k]).mean()
        total += share * (weight * (log_ratio[:, k] - in_arm) + in_arm - log_ratio[:, k])
    gain = float(total.mean())
    z = _z(total, user) if gain > 0 else 0.0
    p = 1 - NormalDist().cdf(z)
    predicted = z > NormalDist().inv_cdf(1 - ALERT_P / 10) and gain > _LEAST_GAIN
    found: dict[str, Any] = {
        "key": "predictability",
        "name": "Offers predictable from the profile",
        "n": len(service),
        "figure": gain,
        "measures": "log-likelihood a contact beyond the propensities",
        "p": p,
    }
    if declared == "none":
        text = (
            "The log names no propensities, and the profile tells in part who was shown what: somebody or "
            "something chose. The estimates account for what the profile tells, and for nothing else."
            if predicted
            else "The log names no propensities, and the profile does not tell who was shown "
            "what: it looks like "
            "a draw."
        )
        return Finding(verdict="note" if predicted else "fine", text=text, **found)
    text = (
        "By the log chance decided, with the propensities it names, but who was shown what can be predicted "
        "from the profile beyond them. Those who were offered a service differ from the others in more than "
        "the offer, so that the differences here are not what the offers brought. Log the propensities under "
        "which the choice was really made, or leave the column empty to have them estimated."
        if predicted
        else "The profile does not tell who was shown what beyond what the logged propensities say."
    )
    return Finding(verdict="alert" if predicted else "fine", text=text, refuses=predicted, **found)


def users_in_two_arms(is_holdout: Mask, user: NDArray, at_us: NDArray[np.int64], window_us: int) -> Finding:
    """Were users of the holdout shown something within the outcome window of it, or the reverse?

    A log may draw the holdout anew at each contact: then users are in it and out of it as chance has it,
    and that is no fault. It may keep users in it: then nobody should cross, and who does counts on both
    sides. Which of the two a log does shows in how often neighbouring contacts of a user differ: as often
    as independent draws, or (under half as often) not. A new salt draws a new holdout; crossings that lie
    further apart than a window are left out for that.

    Parameters
    ----------
    is_holdout : bool array of shape (n,)
        The column `arm` says ``holdout``; one row a list.
    at_us, window_us : ints
        When, and how long an outcome is counted after it.
    """
    order = np.lexsort((at_us, user))
    next_to = user[order][1:] == user[order][:-1]
    earlier, later = order[:-1][next_to], order[1:][next_to]
    differ = is_holdout[earlier] != is_holdout[later]
    share = is_holdout.mean()
    by_chance = 2 * share * (1 - share) * len(earlier)
    crossed = np.unique(user[earlier[differ & (at_us[later] - at_us[earlier] < window_us)]])
    n_holdout = len(np.unique(user[is_holdout]))
    part = len(crossed) / max(n_holdout, 1)
    found: dict[str, Any] = {
        "key": "users_in_two_arms",
        "name": "Users in two arms",
        "n": len(user),
        "figure": part,
        "measures": "share of the holdout's users",
    }
    many = (
        f"{len(crossed):,} of {n_holdout:,} users of the holdout were also shown offers "
        f"within one outcome window"
    )
    if not is_holdout.any() or is_holdout.all():
        return Finding(verdict="fine", text="The column arm names no holdout beside other arms.", **found)
    if not len(crossed):
        text = "No user was in the holdout and out of it within one outcome window."
        return Finding(verdict="fine", text=text, **found)
    if by_chance < _FEW_PAIRS:
        text = f"{many}; too few contacts follow one another to say whether the holdout is kept by user."
        return Finding(verdict="note", text=text, **found)
    if differ.sum() >= by_chance / 2:
        text = f"{many}: the holdout is drawn anew at each contact, so this is chance and no fault."
        return Finding(verdict="fine", text=text, **found)
    text = (
        f"{many}, though the holdout is otherwise kept by user. They count on both sides "
        f"and make every effect "
        "smaller than it is: find out what showed them offers, and leave these users out."
    )
    return Finding(verdict="alert" if part > _MIXED_HOLDOUT else "note", text=text, **found)


def exposure_after_outcome(
    service: NDArray,
    propensity: Floats,
    user: NDArray,
    comparable: Mask,
    just_before: dict[str, Mask],
    at_once: Mask,
    is_fine_clock: bool,
) -> Finding:
    """Do orders or uses stand just before offers more often than just before nothing?

    What comes before an offer cannot be its effect, so that both should be alike, each row weighted by
    1 / propensity. An excess before offers says that offers were logged when, or because, somebody used or
    ordered. What happened at the very moment of an exposure is counted as its outcome: with a clock of
    seconds or finer that does not come about by chance.

    Parameters
    ----------
    just_before : mapping of words for a span to bool arrays of shape (n,)
        Rows whose user ordered or used anything within that span before the exposure, the moment itself not
        counted.
    at_once : bool array of shape (n,)
        Rows whose user ordered or used anything at the very moment.
    is_fine_clock : bool
        Whether exposures are told to the second or finer.
    """
    found: dict[str, Any] = {
        "key": "exposure_after_outcome",
        "name": "Exposure after outcome",
        "n": len(service),
    }
    n_ties = int(at_once.sum())
    if is_fine_clock and n_ties >= max(_TIES, len(service) / 1000):
        text = (
            f"{n_ties:,} contacts were logged at the very moment of an order or a use, which "
            f"then counts as what "
            "the contact brought: log a decision when it is made, before its outcome."
        )
        return Finding(
            verdict="alert", text=text, figure=n_ties / len(service), measures="share of contacts", **found
        )
    worst = None
    for span, happened in just_before.items():
        excess, z = _excess(service, propensity, user, comparable, happened.astype(float))
        p = min(1.0, len(just_before) * (1 - NormalDist().cdf(z)))
        if worst is None or p < worst[0]:
            worst = p, span, excess
    if worst is None or not np.isfinite(worst[2]):
        return _too_few(found["key"], found["name"], len(service))
    p, span, excess = worst
    where = f"within {span} before an offer than before nothing"
    text = (
        f"An order or use stands {digits(100 * abs(excess))} points "
        f"{'more' if excess > 0 else 'less'} often {where}: "
    )
    text += (
        "it cannot be the offer's effect. Offers seem to be logged when, or because, "
        "somebody uses or orders: "
        "log each decision when it is made, offers and nothing alike."
        if p < ALERT_P
        else "chance explains it."
    )
    if n_ties and not is_fine_clock:
        text += (
            f" {n_ties:,} contacts share their moment with an order or use: the clock is too "
            f"coarse to say which "
            "came first, and they count as outcomes."
        )
    verdict: Literal["fine", "note", "alert"] = "alert" if p < ALERT_P else "note" if n_ties else "fine"
    return Finding(verdict=verdict, text=text, figure=excess, measures="share of contacts", p=p, **found)


def digits(value: float) -> str:
    """A number with two digits that mean something, at least; six decimals at most.

    Examples
    --------
    >>> digits(-0.01234), digits(12345.6), digits(-1e-9)
    ('−0.012', '12,346', '0')
    """
    if not np.isfinite(value):
        return "–"
    if abs(value) < 5e-7:
        return "0"
    decimals = min(max(1 - int(np.floor(np.log10(abs(value)))), 0), 6)
    return f"{value:,.{decimals}f}".replace("-", "−")


def _excess(
    service: NDArray, propensity: Floats, user: NDArray, comparable: Mask, happened: Floats
) -> tuple[float, float]:
    """How much more often it happened before offers than before nothing, and its standardised size.

    Spread is counted as if both were alike, so that an arm in which it never happened is not called certain.
    """
    offered = np.zeros(len(service))
    for k in np.flatnonzero(comparable[1:]):
        rows = service == k
        offered += np.where(rows, rows.mean() / propensity, 0.0)
    nothing = np.where(service == NOTHING, 1 / propensity, 0.0)
    if min((offered > 0).sum(), (nothing > 0).sum()) < _LEAST_EXPECTED:
        return float("nan"), 0.0
    offered, nothing = offered / offered.sum(), nothing / nothing.sum()
    rest = happened - (offered * happened).sum() / 2 - (nothing * happened).sum() / 2
    return float(((offered - nothing) * happened).sum()), _z((offered - nothing) * rest, user)


def by_user(values: Floats, user: NDArray) -> Floats:
    """Sums of each user's rows."""
    return np.bincount(np.unique(user, return_inverse=True)[1], values).astype(np.float64)


def _z(values: Floats, user: NDArray) -> float:
    """The sum of values over its standard error, users being independent and the mean 0."""
    sums = by_user(values, user)
    spread = float(np.sqrt((sums**2).sum()))
    return float(sums.sum()) / spread if spread > 0 else 0.0


def _too_few(key: str, name: str, n: int) -> Finding:
    return Finding(key, name, "note", "Not enough data: no two arms have 25 contacts each.", n)
