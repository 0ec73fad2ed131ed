"""Outcomes that contradict the log: of the wrong service, the wrong sign, the wrong time, or none at all."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from features.asof import At, Log
from features.history import History
from features.known import CLICKED, USED
from training.dataset import NOTHING, Dataset
from training.suspicions.explained import correlation
from training.suspicions.happened import OfService, orders_within
from training.suspicions.suspicion import Suspicion

_LEAST_OFFERS = 100  # of a service
_RARE = 0.25  # of the rate of all services together: no service is expected to be rarer than that
_NEVER = 1e-6  # a chance that is none
_MOSTLY_USED = 0.8  # where this is common, a service used by all is nothing strange
_LEAST_ROWS = 200
_INVERTED, _INVERTED_Z = -0.1, -5.0  # a correlation, and its standard errors
_ALIKE, _ALIKE_ERROR = 1.25, 0.2  # a ratio of rates, and the standard error of its logarithm at most
_MANY = 3.0  # uses in the holdout, for one among those shown another service
_LEAST_EXPECTED = 20.0
_N_PARTS = 20
_GAP = 0.1  # of the outcomes expected
_LEAST_EARLY = 10
_EARLY_DAYS, _USUAL_DAYS = (0.25, 1.0, 3.0), (-7.0, -3.0)
_EARLY_RATIO, _EARLY_Z = 1.5, 6.0
_OUTNUMBERED = 3.0  # uses before an offer for one after it; offers should make it the other way round
_CHOICE_GAP = 0.1


def one_class_service(rows: Dataset) -> Iterator[Suspicion]:
    """Services that nobody used, or everybody, where chance does not explain it."""
    shown = rows.service >= 0
    n = np.bincount(rows.service[shown], minlength=len(rows.catalog))
    taken = np.bincount(rows.service[shown], rows.uptake[shown], minlength=len(rows.catalog))
    rate = taken.sum() / max(n.sum(), 1)
    for s in np.flatnonzero(n >= _LEAST_OFFERS):
        never = taken[s] == 0 and (1 - _RARE * rate) ** n[s] < _NEVER
        always = taken[s] == n[s] and rate < _MOSTLY_USED
        if never or always:
            found = f"{taken[s]:,.0f} of {n[s]:,} offers used, {rate:.1%} of all services together"
            yield Suspicion("one_class_service", f"service {rows.catalog.ids[s]}", found)


def inverted(rows: Dataset, history: History) -> Iterator[Suspicion]:
    """Uptake that falls with clicks or earlier uses, repurchase that falls with earlier orders or events."""
    offered = rows.take(rows.service >= 0)
    hint, what = _close_to_use(offered, history)
    if _falls(_within_service(hint, offered), _within_service(offered.uptake, offered)):
        found = (
            f"{offered.uptake[hint].mean():.0%} of {hint.sum():,} with {what} use it, "
            f"{offered.uptake[~hint].mean():.0%} of {(~hint).sum():,} others"
        )
        yield Suspicion("uptake_inverted", "events used", found)
    quiet = rows.take(rows.service == NOTHING)
    visits = history.events.only(history.events.columns["kind"] != USED)
    before = {
        "orders": orders_within(history, quiet, -365, 0)[0],
        "events": At(visits, quiet.user, quiet.shown_at_us).count(30),
    }
    for table, n in before.items():
        if _falls(np.log1p(n), quiet.repurchase):
            found = (
                f"orders after an exposure of nothing and {table} before it have a correlation of "
                f"{correlation(np.log1p(n), quiet.repurchase):.2f} in {len(quiet):,}"
            )
            yield Suspicion("repurchase_inverted", "orders", found)
            return


def _close_to_use(offered: Dataset, history: History) -> tuple[NDArray[np.bool_], str]:
    """Who clicked the service shown; where clicks are not logged, who had used it before."""
    clicks = history.events.only(history.events.columns["kind"] == CLICKED)
    clicked = _count(clicks, offered, 0, offered.windows.uptake_days) > 0
    if clicked.any():
        return clicked, "a click"
    return _count(history.uses, offered, -365, 0) > 0, "a use before"


def _within_service(values: NDArray, rows: Dataset) -> NDArray[np.float64]:
    n = np.maximum(np.bincount(rows.service), 1)
    return values - (np.bincount(rows.service, values) / n)[rows.service]


def _falls(a: NDArray, b: NDArray) -> bool:
    r, n = correlation(a, b), len(a)
    return n >= _LEAST_ROWS and r < min(_INVERTED, _INVERTED_Z / np.sqrt(n))


def holdout_like_offered(rows: Dataset, history: History) -> Iterator[Suspicion]:
    """Uses of each service where nothing was shown, against those where it was, and where another was.

    Uses in the holdout may come unasked. They should then be fewer than of those to whom that service was
    shown, and no more frequent than among those who were shown another one.
    """
    n_services, n_quiet = len(rows.catalog), int((rows.service == NOTHING).sum())
    used = _used_within(rows, history)
    shown = rows.service[:, None] == np.arange(n_services)
    other = (rows.service >= 0)[:, None] & ~shown
    n, taken = shown.sum(axis=0), (used & shown).sum(axis=0)
    unasked = used[rows.service == NOTHING].sum(axis=0)
    beside, n_beside = (used & other).sum(axis=0), other.sum(axis=0)
    if unasked.sum() == 0 or taken.sum() == 0:
        return
    as_holdout = float((n * unasked).sum()) / n_quiet
    as_others = float((n_quiet * beside / np.maximum(n_beside, 1)).sum())
    error = np.sqrt(1 / taken.sum() + 1 / unasked.sum())
    alike = error < _ALIKE_ERROR and taken.sum() < _ALIKE * as_holdout
    many = n_services > 1 and unasked.sum() > max(
        _LEAST_EXPECTED, _MANY * as_others, as_others + _EARLY_Z * np.sqrt(as_others)
    )
    if alike or many:
        figures = (
            f"{taken.sum():,} of {n.sum():,} offers used, {as_holdout:,.0f} to expect by the {n_quiet:,} "
            f"exposures of nothing; {unasked.sum():,} uses after these, {as_others:,.0f} to expect by offers "
            "of other services"
        )
        yield Suspicion("holdout_like_offered", "events used", figures)


def _used_within(rows: Dataset, history: History) -> NDArray[np.bool_]:
    """Whether each service was used within the uptake window, shown or not, shape (n, n_services)."""
    uses = OfService(history.uses, len(rows.catalog))
    days = rows.windows.uptake_days
    columns = [uses.within(rows, np.full(len(rows), s), 0, days) > 0 for s in range(len(rows.catalog))]
    return np.stack(columns, axis=1)


def outcome_gap(dataset: Dataset) -> Iterator[Suspicion]:
    """Parts of the log after which hardly anything happened; all rows with closed windows."""
    alone = dataset.take(dataset.service >= 0)
    for where, rows, happened in (
        ("orders", dataset, dataset.repurchase),
        ("events used", alone, alone.uptake),
    ):
        n_parts = int(min(_N_PARTS, happened.sum() / _LEAST_EXPECTED))
        part = np.arange(len(rows)) * n_parts // max(len(rows), 1)
        n, found = np.bincount(part), np.bincount(part, happened)
        expected = n * (found.sum() - found) / np.maximum(n.sum() - n, 1)
        empty = np.flatnonzero((expected >= _LEAST_EXPECTED) & (found < _GAP * expected))
        if n_parts > 1 and len(empty):
            begin = rows.shown_at_us[np.searchsorted(part, empty[0])]
            day = np.datetime64(int(begin), "us").astype("datetime64[D]")
            figures = (
                f"{found[empty].sum():,.0f} of {n[empty].sum():,} exposures from {day} on are followed by "
                f"one, about {expected[empty].sum():,.0f} to expect by the others"
            )
            yield Suspicion("outcome_gap", where, figures)


def use_before_offer(dataset: Dataset, history: History) -> Iterator[Suspicion]:
    """Uses of the service shown that pile up just before it was, or far outnumber those after it."""
    alone, days = dataset.take(dataset.service >= 0), dataset.windows.uptake_days
    n_usual = float(_count(history.uses, alone, *_USUAL_DAYS).sum())
    for before_days in _EARLY_DAYS:
        found = float(_count(history.uses, alone, -before_days, 0).sum())
        share = before_days / (_USUAL_DAYS[1] - _USUAL_DAYS[0])
        usual, error = share * n_usual, np.sqrt(share * (1 + share) * n_usual)
        if found > max(_LEAST_EARLY, _EARLY_RATIO * usual, usual + _EARLY_Z * error):
            hours = f"{24 * before_days:.0f} hours before {len(alone):,} offers"
            figures = f"{found:,.0f} uses of the service in the {hours}, {usual:,.0f} to expect"
            yield Suspicion("use_before_offer", "exposures.shown_at", figures)
            return
    before, after = (_count(history.uses, alone, -days, 0) > 0).sum(), alone.uptake.sum()
    if before > max(_LEAST_EARLY, _OUTNUMBERED * after):
        figures = (
            f"{before:,} of {len(alone):,} offers of a service used in the {days} days before, {after:,.0f} "
            "in those after"
        )
        yield Suspicion("use_before_offer", "exposures.shown_at", figures)


def order_before_choice(rows: Dataset, history: History) -> Iterator[Suspicion]:
    """The share of exposures with an order in the day before, offered against nothing, by 1 / propensity."""
    ordered = (orders_within(history, rows, -1, 0)[0] > 0).astype(np.float64)
    weight, shown = 1 / rows.slate_propensity, rows.service >= 0
    shares, variance = [], 0.0
    for arm in (shown, ~shown):
        if arm.sum() < _LEAST_ROWS:
            return
        w, x = weight[arm], ordered[arm]
        shares.append(float((w * x).sum() / w.sum()))
        variance += float((w**2 * (x - shares[-1]) ** 2).sum() / w.sum() ** 2)
    gap = abs(shares[0] - shares[1])
    if gap > max(_CHOICE_GAP, _EARLY_Z * np.sqrt(variance)):
        figures = (
            f"{shares[0]:.1%} of those offered a service had one, {shares[1]:.1%} of those shown nothing"
        )
        yield Suspicion("order_before_choice", "exposures.shown_at", figures)


def _count(log: Log, rows: Dataset, begin_days: float, end_days: float) -> NDArray[np.int64]:
    return OfService(log, len(rows.catalog)).within(rows, rows.service, begin_days, end_days)
