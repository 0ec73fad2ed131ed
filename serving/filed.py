"""What the service keeps of a data folder: everything that its answers need, in flat arrays and a few facts.

``Filed.of`` makes it of the tables; ``serving.prepared`` keeps it in files, which workers map. There is no
object for each user or row in it, so that a million users cost what their arrays cost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.asof import DAY_US
from features.encoding import Encoding
from features.history import History
from features.stored_history import arrays_of, history_of, user_ids_of
from features.tables import Tables
from features.text_hashes import Hashes, Texts, hash_of, stir
from features.user_ids import UserIds
from serving.shown_today import ShownToday

_REVENUE_DAYS = 28


@dataclass(frozen=True)
class FiledRows:
    """Which events, lists and answers the data folder holds, as sorted 64-bit hashes: 8 bytes each."""

    events: Hashes
    slates: Hashes
    feedback: Hashes

    @classmethod
    def of(cls, tables: Tables) -> Self:
        """The keys of a data folder's rows."""
        answers = tables.feedback
        of_answers = _answer_hash(
            Texts.of(answers["user_id"]).hashes(),
            _us(answers["at"]).view(np.uint64),
            Texts.of(answers["service_id"]).hashes(),
        )
        return cls(
            np.sort(Texts.of(tables.events["event_id"]).hashes()),
            np.unique(Texts.of(tables.exposures["slate_id"]).hashes()),
            np.unique(of_answers),
        )

    def has_event(self, event_id: str) -> bool:
        return _holds(self.events, hash_of(event_id))

    def has_slate(self, slate_id: str) -> bool:
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
        used = tables.events[tables.events["event"] == "used"].sort_values("at", kind="stable")
        user = pd.Index(tables.users["user_id"]).get_indexer(pd.Index(used["user_id"]))
        service, service_ids = pd.factorize(used["service_id"], sort=True)
        return cls(
            _revenue_a_day(tables),
            _us(used["at"]),
            user.astype(np.int32),
            service.astype(np.int32),
            Texts.of(used["event_id"]).hashes(),
            UserIds.of(tables.users["user_id"]),
            tuple(map(str, service_ids)),
        )

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
        history = History.of(tables, layout, uptake_days)
        user_ids = UserIds.of(tables.users["user_id"])
        return cls(
            history=replace(history, user_ids=user_ids),
            user_ids=user_ids,
            rows=FiledRows.of(tables),
            sales=Sales.of(tables),
            shown=_recently_shown(history, layout.n_services),
            channels=tuple(map(str, tables.exposures["channel"].unique())),
        )

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
            rows=FiledRows(arrays["rows.events"], arrays["rows.slates"], arrays["rows.feedback"]),
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


def _recently_shown(history: History, n_services: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts of what the data folder's last days show."""
    at_us, service = history.offers.at_us, history.offers.columns["service"]
    recent = at_us >= at_us.max(initial=0) - 3 * DAY_US
    return ShownToday.count(n_services, at_us[recent], service[recent])


def _revenue_a_day(tables: Tables) -> float | None:
    orders = tables.orders
    if not len(orders):
        return None
    recent = orders["ordered_at"] > orders["ordered_at"].max() - timedelta(days=_REVENUE_DAYS)
    return float(orders.loc[recent, "amount_cents"].sum()) / 100 / _REVENUE_DAYS


def _us(times: pd.Series) -> NDArray[np.int64]:
    return times.to_numpy("datetime64[us]").astype(np.int64)


def _answer_hash(user: Any, at_us: Any, service: Any) -> Any:
    """Of an answer, of the hashes of its ids; for one and for arrays."""
    return stir(stir(user, at_us), service)


def _holds(hashes: Hashes, key: int) -> bool:
    place = int(hashes.searchsorted(np.uint64(key)))
    return place < len(hashes) and int(hashes[place]) == key
