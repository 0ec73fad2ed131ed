"""Tables that changed their unit or their clock, stand there twice, or belong to one user."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.asof import DAY_US, Log
from features.history import History
from features.known import USED
from features.tables import Tables
from training.dataset import Dataset, at_us
from training.suspicions.explained import correlation
from training.suspicions.suspicion import Suspicion

_QUARANTINED, _LEAST_QUARANTINED = 0.01, 10
_REPEATED, _LEAST_REPEATED = 0.01, 5
_LEAST_ORDERS = 3  # by which two users are taken for one person
_LEAST_ROWS, _DOMINANT, _TIMES_MEDIAN = 100, 0.1, 20
_BUSY, _BUSY_RATIO = 500, 30  # rows of one user, and how many times the 95 % quantile
_LEAST_ACTIVE, _UNRELATED, _ERRORS_OF_R = 300, 0.15, 2  # users, a correlation, its standard errors
_PARTS = np.arange(0.1, 0.95, 0.05)  # of the rows, at which a change is looked for
_ENOUGH = 100_000  # rows to look for one in
_LEAST_SIDE = 50
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_FACTOR = 2.0
_STANDARD_ERRORS = 8
_ABOVE_AMOUNT = 0.05
_HOURS, _HOUR_US = 24, 3_600_000_000
_LEAST_TIMES = 500
_LEAST_HOURS = 6.0  # over which the times spread, so that there is a day's course
_LEAST_LAG = 2  # hours; summer time moves a shop's day by one
_MISFIT, _FIT = 100.0, 0.25


def rows_quarantined(tables: Tables) -> Iterator[Suspicion]:
    """Tables of which more than 1 % break the contract."""
    for count in tables.counts:
        if count.quarantined >= max(_LEAST_QUARANTINED, _QUARANTINED * count.read):
            faults = tables.quarantine[tables.quarantine["table"] == count.table]
            rules = faults["rule"].value_counts().head(2)
            named = ", ".join(f"{rule} {n:,}" for rule, n in rules.items())
            found = f"{count.quarantined:,} of {count.read:,} rows are in quarantine ({named})"
            yield Suspicion("rows_quarantined", count.table, found)


def duplicated_exposures(dataset: Dataset) -> Iterator[Suspicion]:
    """The same user, moment and service under several slate ids."""
    keys = pd.DataFrame({"user": dataset.user, "at": dataset.shown_at_us, "service": dataset.service})
    n = int(keys.duplicated().sum())
    if n >= max(_LEAST_REPEATED, _REPEATED * len(dataset)):
        found = f"{n:,} of {len(dataset):,} slates have the user, moment and service of another"
        yield Suspicion("duplicated_exposures", "exposures", found)


def duplicated_users(history: History) -> Iterator[Suspicion]:
    """Users who joined at one moment, are alike, and have at least three orders, all the same."""
    orders = history.orders
    rank = np.arange(len(orders)) - orders.start[orders.user]
    mark = pd.util.hash_array(orders.at_us) ^ pd.util.hash_array(orders.columns["amount_cents"] * 31 + rank)
    n_orders = np.diff(orders.start)
    user = np.flatnonzero(n_orders >= _LEAST_ORDERS)
    if len(user) < 2:
        return
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mark, dtype=np.uint64)])  # modulo 2 ** 64
    of_orders = total[orders.start[user + 1]] - total[orders.start[user]]
    keys = pd.DataFrame(np.nan_to_num(history.attributes[user], nan=-1.0))
    n = int(keys.assign(joined=history.joined_at_us[user], orders=of_orders).duplicated().sum())
    if n >= max(_LEAST_REPEATED, _REPEATED * len(user)):
        found = f"{n:,} of {len(user):,} users have the orders of another, to the moment and the amount"
        yield Suspicion("duplicated_users", "users", found)


def dominant_user(rows: Dataset, history: History) -> Iterator[Suspicion]:
    """One user with more than a tenth of the rows."""
    n = np.bincount(rows.user)
    most = int(n.argmax())
    if len(rows) >= _LEAST_ROWS and n[most] > max(_DOMINANT * len(rows), _TIMES_MEDIAN * np.median(n[n > 0])):
        found = f"{n[most]:,} of {len(rows):,} exposures to learn from are of one user"
        yield Suspicion("dominant_user", f"user {history.user_ids[most]}", found)


def busy_user(history: History) -> Iterator[Suspicion]:
    """Users with 30 times as many rows of a table as all but the busiest twentieth."""
    for name, log in (("orders", history.orders), ("events", history.events)):
        n = np.diff(log.start)
        if not (n > 0).any():
            continue
        usual = float(np.quantile(n[n > 0], 0.95))
        busy = np.flatnonzero(n > max(_BUSY, _BUSY_RATIO * usual))
        if len(busy):
            most = int(n.argmax())
            found = (
                f"{len(busy):,} users with up to {n[most]:,} rows, such as {history.user_ids[most]}; "
                f"95 % have at most {usual:,.0f}"
            )
            yield Suspicion("busy_user", name, found)


def tables_unrelated(history: History) -> Iterator[Suspicion]:
    """Orders and other events of the same users that have nothing in common."""
    n_orders = np.diff(history.orders.start)
    n_events = np.diff(history.events.only(history.events.columns["kind"] != USED).start)
    n, both = len(n_orders), int(((n_orders > 0) & (n_events > 0)).sum())
    r = correlation(np.log1p(n_orders), np.log1p(n_events))
    if both >= _LEAST_ACTIVE and r + _ERRORS_OF_R / np.sqrt(n) < _UNRELATED:
        found = f"the numbers of orders and of events of {n:,} users have a correlation of {r:.2f}"
        yield Suspicion("tables_unrelated", "orders, events", found)


def unit_change(orders: pd.DataFrame) -> Iterator[Suspicion]:
    """A moment at which all quantiles of the amounts, or of the margin rates, move by one factor."""
    amount = orders["amount_cents"].to_numpy(np.float64)
    margin = orders["margin_cents"].to_numpy(np.float64)
    good = (amount > 0) & (margin > 0)
    some = np.flatnonzero(good)[:: 1 + len(orders) // _ENOUGH]
    order = some[np.argsort(at_us(orders["ordered_at"])[some], kind="stable")]
    times = at_us(orders["ordered_at"])[order]
    for column, values in (("amount", amount), ("margin", margin / np.where(good, amount, 1.0))):
        shift, position = _largest_shift(np.log(values[order]))
        if abs(shift) > np.log(_FACTOR):
            day = np.datetime64(int(times[position]), "us").astype("datetime64[D]")
            what = "amounts" if column == "amount" else "margins by amount"
            found = (
                f"{what} are about {np.exp(shift):,.3g} times as large from about {day} on, "
                f"{position / len(times):.0%} into the {len(orders):,} orders"
            )
            yield Suspicion("unit_change", f"orders.{column}", found)


def _largest_shift(values: NDArray[np.float64]) -> tuple[float, int]:
    """The largest move that all quantiles make at one position and chance does not; 0 if there is none."""
    largest, where = 0.0, 0
    for position in (_PARTS * len(values)).astype(int):
        left, right = values[:position], values[position:]
        if min(len(left), len(right)) < _LEAST_SIDE:
            continue
        moves = np.quantile(right, _QUANTILES) - np.quantile(left, _QUANTILES)
        shift = float(moves[np.abs(moves).argmin()])
        same = bool((np.sign(moves) == np.sign(shift)).all())
        error = min(left.std(), right.std()) / np.sqrt(min(len(left), len(right)))
        if same and abs(shift) > max(abs(largest), _STANDARD_ERRORS * error):
            largest, where = shift, position
    return largest, where


def margin_above_amount(orders: pd.DataFrame) -> Iterator[Suspicion]:
    """More than one order in twenty whose margin exceeds what was paid."""
    above = orders["margin_cents"] > orders["amount_cents"]
    if above.sum() >= max(_LEAST_QUARANTINED, _ABOVE_AMOUNT * len(orders)):
        found = f"{above.sum():,} of {len(orders):,} margins are larger than their amounts"
        yield Suspicion("margin_above_amount", "orders.margin", found)


def clock_shift(history: History) -> Iterator[Suspicion]:
    """A moment at which the hours of the day of a table move by two hours or more."""
    for name, log in (("orders", history.orders), ("events", history.events)):
        lag, times, position = _largest_lag(log)
        if lag:
            day = np.datetime64(int(times[position]), "us").astype("datetime64[D]")
            found = f"the hours of the day are {lag:+d} h from about {day} on ({len(log):,} rows)"
            yield Suspicion("clock_shift", name, found)


def _largest_lag(log: Log) -> tuple[int, NDArray[np.int64], int]:
    times = np.sort(log.at_us[:: 1 + len(log) // _ENOUGH])
    hour = times % DAY_US // _HOUR_US
    best, lag, where = _MISFIT, 0, 0
    for position in (_PARTS * len(times)).astype(int):
        left = np.bincount(hour[:position], minlength=_HOURS)
        right = np.bincount(hour[position:], minlength=_HOURS)
        if min(left.sum(), right.sum()) < _LEAST_TIMES or _hours(left) < _LEAST_HOURS:
            continue
        misfit = [_misfit(left, np.roll(right, -move)) for move in range(_HOURS)]
        move = int(np.argmin(misfit))
        signed = move - _HOURS if move > _HOURS // 2 else move
        gained = misfit[0] - misfit[move]
        if abs(signed) >= _LEAST_LAG and misfit[move] < _FIT * misfit[0] and gained > best:
            best, lag, where = gained, signed, position
    return lag, times, where


def _hours(n: NDArray[np.int64]) -> float:
    """Over how many hours the counts spread: the exponential of their entropy."""
    share = n[n > 0] / n.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _misfit(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """The chi-square of two histograms, on 23 degrees of freedom where both are drawn alike."""
    scale = np.sqrt(b.sum() / a.sum())
    return float(((a * scale - b / scale) ** 2 / np.maximum(a + b, 1)).sum())
