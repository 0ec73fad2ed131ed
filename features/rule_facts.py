"""What benefit rules ask: the names they may use, and what profiles and histories say of users."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.asof import DAY_US, At, Ints, Log
from features.history import History
from features.pipeline import Layout
from offers.calendar import day_start_us
from offers.catalog import Catalog
from offers.rule_evaluation import Facts, Past
from offers.rules import DECLINED, SHOWN, TIER, USED, ColumnKind, Needs, Vocabulary
from offers.settings import Settings

_SIGNED = ("frequency_trend", "monetary_trend", "used_trend", "margin_", "used_value", "attribute/")


def vocabulary_of(
    layout: Layout,
    tier_names: Sequence[str],
    catalog: Catalog,
    settings: Settings,
    channels: Sequence[str] = (),
) -> Vocabulary:
    """The services, columns, tiers, tracks and channels that rules may name."""
    levels = {f"attribute/{part.name}": part.levels for part in layout.attributes}
    columns = {
        name: ColumnKind(levels.get(name), None if levels.get(name) or name.startswith(_SIGNED) else 0.0)
        for name in layout.columns
    }
    tracks = {track.name: track.services for track in settings.tracks}
    known = tuple(sorted(set(channels) - {""}))
    return Vocabulary(catalog, {**columns, TIER: ColumnKind(tuple(tier_names))}, tracks, known)


def facts_of(
    needs: Needs,
    layout: Layout,
    tier_names: Sequence[str],
    profiles: NDArray[np.float32],
    tiers: Sequence[str],
    now_us: ArrayLike,
    past: Past,
    scenarios: Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
) -> Facts:
    """The facts of n users that rules need, from their profiles, tiers and past.

    Parameters
    ----------
    profiles : ndarray of shape (n_users, n_columns)
        In the order of the layout.
    now_us : int or array of shape (n_users,)
        The moment of the decision.
    scenarios, channels : sequences of n_users names, optional
        By default none is told.
    """
    nothing = ("",) * len(tiers)
    return Facts(
        now_us=np.full(len(tiers), now_us, dtype=np.int64),
        scenarios=nothing if scenarios is None else tuple(scenarios),
        channels=nothing if channels is None else tuple(channels),
        columns=_columns(needs, layout, tier_names, profiles, tiers),
        past=past,
    )


def _columns(
    needs: Needs,
    layout: Layout,
    tier_names: Sequence[str],
    profiles: NDArray[np.float32],
    tiers: Sequence[str],
) -> Mapping[str, NDArray[np.float64]]:
    found: dict[str, NDArray[np.float64]] = {}
    for name in needs.columns - {TIER}:
        found[name] = profiles[:, layout.position_of_column[name]].astype(np.float64)
    if TIER in needs.columns:
        code_of = {name: float(code) for code, name in enumerate(tier_names)}
        found[TIER] = np.array([code_of.get(tier, np.nan) for tier in tiers], dtype=np.float64)
    return found


def past_of(needs: Needs, history: History, user: ArrayLike, as_of_us: ArrayLike, uptake_days: int) -> Past:
    """What was shown to users and used by them strictly before each moment.

    An offer that is not used within `uptake_days` counts as declined, from the end of that time on. What
    all users were shown today is not part of it: see `shown_today`.
    """
    user, as_of_us = np.asarray(user, np.int64), np.asarray(as_of_us, np.int64)
    logs = {SHOWN: history.offers, USED: history.uses}
    if DECLINED in needs.since:
        logs[DECLINED] = _declines(history, uptake_days * DAY_US)
    at = {kind: At(logs[kind], user, as_of_us) for kind in needs.since}
    shown = at.get(SHOWN) or At(history.offers, user, as_of_us)
    return Past(
        showings={days: shown.count_by("service", days) for days in needs.showings},
        days_since={kind: at[kind].days_since_last_by("service") for kind in needs.since},
    )


def shown_today(history: History, n_services: int, now_us: ArrayLike, timezone: str) -> Ints:
    """How often each service was shown to anybody today before each moment, shape (n or 1, n_services)."""
    now = np.atleast_1d(np.asarray(now_us, np.int64))
    if len(now) and (now == now[0]).all():
        now = now[:1]
    since = day_start_us(now, timezone)
    service, at_us = history.offers.columns["service"], history.offers.at_us
    found = np.zeros((len(now), n_services), np.int64)
    for place in range(n_services):
        times = np.sort(at_us[service == place])
        found[:, place] = np.searchsorted(times, now) - np.searchsorted(times, since)
    return found


def _declines(history: History, uptake_us: int) -> Log:
    """The offers that were not used in time, each at the moment at which the time was over."""
    offers, end_us = history.offers, history.offers.at_us + uptake_us
    service = offers.columns["service"]
    if not len(history.uses) or not len(offers):
        used = np.zeros(len(offers), dtype=bool)
    else:
        last_use_us = At(history.uses, offers.user, end_us).last_at_us_of("service", service)
        used = last_use_us >= offers.at_us
    rest = ~used
    n_levels = {"service": offers.n_levels["service"]}
    return Log(offers.user[rest], end_us[rest], offers.n_users, n_levels, service=service[rest])
