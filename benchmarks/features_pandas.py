"""Part of the same profiles by pandas: running totals joined by `merge_asof` at both ends of each window.

This is the way one would do it in pandas with care: one join for each log and window, which brings the
totals of all columns at once, instead of one join a feature.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from benchmarks.features_shop import LAYOUT, Columns, Shop
from features.asof import DAY_US
from features.known import CLICKED, OTHER, USED, VIEWED

_SERVICES = range(len(LAYOUT.service_ids))


def pandas_profiles(shop: Shop) -> pd.DataFrame:
    """The columns of a profile that counts, sums and last times give, a row for each exposure."""
    moments = pd.DataFrame({"user": shop.exposures.user, "at": shop.exposures.at_us})
    return pd.concat(
        [
            _order_columns(shop.orders, moments),
            _event_columns(shop.events, moments),
            _use_columns(shop.events, moments),
            _offer_columns(shop.exposures, moments),
        ],
        axis=1,
    )


def _order_columns(orders: Columns, moments: pd.DataFrame) -> pd.DataFrame:
    log = _frame(orders, n=1, amount=orders.others["amount_cents"], margin=orders.others["margin_cents"])
    windows = _windows(log, moments, (7, 30, 90, 365))
    columns = {"recency_days": windows["since"]}
    for days in ("7d", "30d", "90d", "365d", "all"):
        columns[f"frequency_{days}"] = windows[days]["n"]
        columns[f"monetary_{days}"] = windows[days]["amount"] / 100
    columns |= {f"margin_{days}": windows[days]["margin"] / 100 for days in ("90d", "365d")}
    return pd.DataFrame(columns)


def _event_columns(events: Columns, moments: pd.DataFrame) -> pd.DataFrame:
    kinds = {"viewed": VIEWED, "clicked": CLICKED, "other_events": OTHER}
    log = _frame(events, **{name: events.others["kind"] == kind for name, kind in kinds.items()})
    windows = _windows(log, moments, (30, 90))
    columns = {f"{name}_{days}": windows[days][name] for name in kinds for days in ("30d", "90d")}
    return pd.DataFrame({"events_recency_days": windows["since"], **columns})


def _use_columns(events: Columns, moments: pd.DataFrame) -> pd.DataFrame:
    used = events.others["kind"] == USED
    service, at = events.others["service"][used], events.at_us[used]
    uses = Columns(events.user[used], at, {})
    counted = {f"n{position}": service == position for position in _SERVICES}
    log = _frame(uses, n=1, value=events.others["value"][used], **counted)
    windows = _windows(log, moments, (7, 30, 90, 365))
    columns = {"used_recency_days": windows["since"], "used_value_90d": windows["90d"]["value"]}
    columns |= {f"used_{days}": windows[days]["n"] for days in ("7d", "30d", "90d", "365d", "all")}
    columns |= _by_service("uses_90d", windows["90d"])
    return pd.DataFrame(columns | _last_uses(uses, service, moments))


def _last_uses(uses: Columns, service: np.ndarray, moments: pd.DataFrame) -> dict[str, pd.Series]:
    last = pd.DataFrame(
        {f"n{position}": np.where(service == position, uses.at_us, np.nan) for position in _SERVICES}
    )
    last = last.groupby(uses.user).ffill()
    log = pd.DataFrame({"user": uses.user, "at": uses.at_us}).join(last)
    known = pd.merge_asof(moments, log, on="at", by="user", allow_exact_matches=False)
    return _by_service("uses_recency_days", known.rsub(moments["at"], axis=0) / DAY_US)


def _offer_columns(exposures: Columns, moments: pd.DataFrame) -> pd.DataFrame:
    counted = {f"n{position}": exposures.others["service"] == position for position in _SERVICES}
    windows = _windows(_frame(exposures, n=1, **counted), moments, (7, 30, 90))
    columns = {f"offers_{days}": windows[days]["n"] for days in ("7d", "30d", "90d", "all")}
    columns["offers_recency_days"] = windows["since"]
    return pd.DataFrame(columns | _by_service("seen_90d", windows["90d"]))


def _frame(columns: Columns, **summed: object) -> pd.DataFrame:
    totals = (
        pd.DataFrame(summed, index=range(len(columns.user))).astype("float64").groupby(columns.user).cumsum()
    )
    return totals.assign(user=columns.user, at=columns.at_us, last_at=columns.at_us)


def _windows(log: pd.DataFrame, moments: pd.DataFrame, windows: Iterable[int]) -> dict[str, pd.DataFrame]:
    """Totals within each window and of all time, and the days since the last row."""
    until = _known(log, moments)
    totals = until.drop(columns=["user", "at", "last_at"]).fillna(0)
    found = {"all": totals, "since": (moments["at"] - until["last_at"]) / DAY_US}
    for days in windows:
        before = _known(log, moments.assign(at=moments["at"] - days * DAY_US))
        found[f"{days}d"] = totals - before[totals.columns].fillna(0)
    return found


def _known(log: pd.DataFrame, moments: pd.DataFrame) -> pd.DataFrame:
    return pd.merge_asof(moments, log, on="at", by="user", allow_exact_matches=False)


def _by_service(name: str, frame: pd.DataFrame) -> dict[str, pd.Series]:
    return {f"{name}/{LAYOUT.service_ids[position]}": frame[f"n{position}"] for position in _SERVICES}
