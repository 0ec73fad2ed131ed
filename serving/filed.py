"""What the service keeps of a data folder: everything that its answers need, in flat arrays and a few facts.

``Filed.of`` makes it of the tables; ``serving.prepared`` keeps it in files, which workers map. There is no
object for each user or row in it, so that a million users cost what their arrays cost.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.asof import DAY_US
from features.encoding import Encoding
from features.history import LOGGED_TABLES, History, columns_of
from features.known import EVENT_KINDS, USED
from features.positions import positions_in
from features.stored_history import arrays_of, history_of, user_ids_of
from features.tables import Piece, Tables, pieces_of
from features.text_hashes import Hashes, Texts, hash_of, stir
from features.user_ids import UserIds
from serving.shown_today import ShownToday

_REVENUE_DAYS = 28
_BEFORE_ALL_US = -(1 << 62)


@dataclass(frozen=True)
class FiledRows:
    """Which events, lists and answers the data folder holds, as sorted 64-bit hashes: 8 bytes each."""

    events: Hashes
    slates: Hashes
    feedback: Hashes
    last_slate_us: int  # when the youngest list was shown; before all times where there is none

    def has_event(self, event_id: str) -> bool:
        return _holds(self.events, hash_of(event_id))

    def has_slate(self, slate_id: str, shown_at_us: int) -> bool:
        """Does it hold this list? Younger lists than its own need no look into the index, page by page.

        A day is for folders whose times were rounded.
        """
        if shown_at_us > self.last_slate_us + DAY_US:
            return False
        return _holds(self.slates, hash_of(slate_id))

    def has_feedback(self, user_id: str, at_us: int, service_id: str) -> bool:
        return _holds(self.feedback, _answer_hash(hash_of(user_id), at_us, hash_of(service_id)))


@dataclass(frozen=True)
class Sales:
    """What budgets need to know of a data folder: its revenue, and every use of a service."""

    revenue_a_day: float | None  # currency units, of the last 28 days that have orders; None without orders
    used_at_us: NDArray[np.int64]  # of each use, in the order of time
    user: NDArray[np.int32]  # a number in `user_ids`
    service: NDArray[np.int32]  # a place in `service_ids`
    event: Hashes  # of the event_id
    user_ids: Sequence[str]
    service_ids: tuple[str, ...]

    @classmethod
    def of(cls, tables: Tables) -> Self:
        """Those of these tables."""
        used = tables.events[tables.events["event"] == EVENT_KINDS[USED]]
        return cls.of_uses(
            used["service_id"],
            UserIds.of(tables.users["user_id"]),
            _revenue_a_day(_us(tables.orders["ordered_at"]), tables.orders["amount_cents"].to_numpy()),
            at_us=_us(used["at"]),
            user=positions_in(tables.users["user_id"], used["user_id"]),
            event=_hashes(used["event_id"]),
        )

    @classmethod
    def of_uses(
        cls,
        service_id: pd.Series,
        user_ids: Sequence[str],
        revenue_a_day: float | None,
        *,
        at_us: NDArray[np.int64],
        user: NDArray[np.int32],
        event: Hashes,
    ) -> Self:
        """The same of columns of the uses, in any order."""
        order = np.argsort(at_us, kind="stable")
        service, service_ids = pd.factorize(service_id, sort=True)
        names = tuple(map(str, service_ids))
        columns = (at_us[order], user[order], service.astype(np.int32)[order], event[order])
        return cls(revenue_a_day, *columns, user_ids, names)

    def used_since(self, since_us: int) -> dict[int, tuple[int, str, str]]:
        """Moment, user and service of each use from a moment on, by the hash of its event's id."""
        first = int(self.used_at_us.searchsorted(since_us))
        columns = (self.event, self.used_at_us, self.user, self.service)
        rows = zip(*(column[first:].tolist() for column in columns), strict=True)
        return {key: (at, self.user_ids[user], self.service_ids[place]) for key, at, user, place in rows}


@dataclass(frozen=True)
class Filed:
    """A data folder, made ready for a bundle's layout."""

    history: History
    user_ids: UserIds  # those of the history
    rows: FiledRows
    sales: Sales
    shown: tuple[NDArray[np.int64], NDArray[np.int64]]  # recently, as ``ShownToday`` counts
    channels: tuple[str, ...]  # that exposures name
    folder: Path | None = None  # of the files that it is mapped from

    @classmethod
    def of(cls, tables: Tables, layout: Encoding, uptake_days: int) -> Self:
        """Made of tables, in memory."""
        return cls.of_pieces(pieces_of(tables), layout, uptake_days)

    @classmethod
    def of_pieces(cls, pieces: Iterable[Piece], layout: Encoding, uptake_days: int) -> Self:
        """The same of tables that come in pieces, of which no more than one is kept."""
        gathered = _Gathered(layout)
        for piece in pieces:
            gathered.add(piece)
        return cls(**gathered.parts(uptake_days))

    def arrays(self) -> dict[str, NDArray]:
        """All of it that is large, by name."""
        rows, sales = self.rows, self.sales
        return {
            **arrays_of(self.history),
            "rows.events": rows.events,
            "rows.slates": rows.slates,
            "rows.feedback": rows.feedback,
            "sales.used_at_us": sales.used_at_us,
            "sales.user": sales.user,
            "sales.service": sales.service,
            "sales.event": sales.event,
            "shown.quarter": self.shown[0],
            "shown.count": self.shown[1],
        }

    def facts(self) -> dict[str, Any]:
        """The rest, as JSON holds it."""
        return {
            "channels": list(self.channels),
            "last_slate_us": self.rows.last_slate_us,
            "revenue_a_day": self.sales.revenue_a_day,
            "used_services": list(self.sales.service_ids),
        }

    @classmethod
    def from_parts(cls, arrays: Mapping[str, NDArray], facts: Mapping[str, Any], layout: Encoding) -> Self:
        """What ``arrays`` and ``facts`` gave."""
        user_ids = user_ids_of(arrays)
        return cls(
            history=history_of(arrays, layout),
            user_ids=user_ids,
            rows=FiledRows(
                arrays["rows.events"],
                arrays["rows.slates"],
                arrays["rows.feedback"],
                facts["last_slate_us"],
            ),
            sales=Sales(
                facts["revenue_a_day"],
                arrays["sales.used_at_us"],
                arrays["sales.user"],
                arrays["sales.service"],
                arrays["sales.event"],
                user_ids,
                tuple(facts["used_services"]),
            ),
            shown=(arrays["shown.quarter"], arrays["shown.count"]),
            channels=tuple(facts["channels"]),
        )


class _Gathered:
    """What was taken of the pieces so far: numbers and hashes."""

    def __init__(self, layout: Encoding) -> None:
        self._layout = layout
        self._logs: dict[str, _Columns] = {name: _Columns() for name in LOGGED_TABLES}
        self._keys, self._uses = _Columns(), _Columns()
        self._used_services: list[pd.Series] = []
        self._channels: dict[str, None] = {}  # in the order in which they came
        self._last_slate_us = _BEFORE_ALL_US

    def add(self, piece: Piece) -> None:
        """Take what is needed; `users` is the first piece."""
        rows = piece.frame
        if piece.table == "users":
            self._users, self._user_ids = rows, UserIds.of(rows["user_id"])
            self._user_hashes = _hashes(rows["user_id"])
        if piece.table in LOGGED_TABLES:
            columns = columns_of(piece.table, rows, piece.user, self._layout)
            self._logs[piece.table].add(**columns)
            if piece.table == "events":
                self._add_events(rows, columns)
            if piece.table == "exposures":
                self._keys.add(slates=_unique(_hashes(rows["slate_id"])))
                self._last_slate_us = int(_us(rows["shown_at"]).max(initial=self._last_slate_us))
                self._channels |= dict.fromkeys(map(str, rows["channel"].unique()))
            if piece.table == "feedback":
                users, at_us = self._user_hashes[piece.user], columns["at_us"].view(np.uint64)
                self._keys.add(feedback=_answer_hash(users, at_us, _hashes(rows["service_id"])))

    def _add_events(self, rows: pd.DataFrame, columns: Mapping[str, NDArray]) -> None:
        hashes = _hashes(rows["event_id"])
        self._keys.add(events=hashes)
        used = np.flatnonzero(columns["kind"] == USED)
        self._uses.add(at_us=columns["at_us"][used], user=columns["user"][used], event=hashes[used])
        self._used_services.append(rows["service_id"].iloc[used])

    def parts(self, uptake_days: int) -> dict[str, Any]:
        """What a ``Filed`` is made of. What was gathered is given away."""
        keys, sales = self._keys.taken(), self._sales()
        events = keys.pop("events")
        events.sort()
        rows = FiledRows(events, _unique(keys["slates"]), _unique(keys["feedback"]), self._last_slate_us)
        logs = {name: columns.taken() for name, columns in self._logs.items()}
        history = History.of_columns(self._users, self._user_ids, logs, self._layout, uptake_days)
        return {
            "history": history,
            "user_ids": self._user_ids,
            "rows": rows,
            "sales": sales,
            "shown": _recently_shown(history, self._layout.n_services),
            "channels": tuple(self._channels),
        }

    def _sales(self) -> Sales:
        service_id = pd.concat(self._used_services, ignore_index=True)
        revenue_a_day = _revenue_a_day(**self._logs["orders"].some("at_us", "amount_cents"))
        return Sales.of_uses(service_id, self._user_ids, revenue_a_day, **self._uses.taken())


class _Columns:
    """Arrays that become longer piece by piece."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[NDArray]] = {}

    def add(self, **columns: NDArray) -> None:
        """A further piece of each."""
        for name, column in columns.items():
            self._pieces.setdefault(name, []).append(column)

    def some(self, *names: str) -> dict[str, NDArray]:
        """Some of them, whole."""
        return {name: np.concatenate(self._pieces[name]) for name in names}

    def taken(self) -> dict[str, NDArray]:
        """All of them, whole; nothing of them is kept here."""
        return {name: np.concatenate(self._pieces.pop(name)) for name in list(self._pieces)}


def _recently_shown(history: History, n_services: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts of what the data folder's last days show."""
    at_us, service = history.offers.at_us, history.offers.columns["service"]
    recent = at_us >= at_us.max(initial=0) - 3 * DAY_US
    return ShownToday.count(n_services, at_us[recent], service[recent])


def _revenue_a_day(at_us: NDArray[np.int64], amount_cents: NDArray[np.int64]) -> float | None:
    if not len(at_us):
        return None
    recent = at_us > at_us.max() - _REVENUE_DAYS * DAY_US
    return float(amount_cents[recent].sum()) / 100 / _REVENUE_DAYS


def _hashes(texts: pd.Series) -> Hashes:
    return Texts.of(texts).hashes()


def _unique(hashes: Hashes) -> Hashes:
    """Sorted, each once; ten times as fast as numpy's own, which has a table of them."""
    ordered = np.sort(hashes)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


def _us(times: pd.Series) -> NDArray[np.int64]:
    return times.to_numpy("datetime64[us]").astype(np.int64)


def _answer_hash(user: Any, at_us: Any, service: Any) -> Any:
    """Of an answer, of the hashes of its ids; for one and for arrays."""
    return stir(stir(user, at_us), service)


def _holds(hashes: Hashes, key: int) -> bool:
    place = int(hashes.searchsorted(np.uint64(key)))
    return place < len(hashes) and int(hashes[place]) == key
