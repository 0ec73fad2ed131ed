"""What is known of each user now: the data folder's history, and the rows that came in since."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from features.history import History
from features.pipeline import Layout, compute
from features.rule_facts import past_of
from features.tables import Tables
from features.tiers import TIER_COLUMN, Tiers
from features.user_rows import COLUMNS, UserRows
from offers.calendar import QUARTER_US, day_start_us
from offers.rule_evaluation import Past
from offers.rules import Needs
from serving.deletion import DeletedUsers
from serving.filed import Filed
from serving.shown_today import ShownToday

# One row that came in over HTTP: its table, its moment, and its other columns as ``UserRows`` has them.
# Tuples of numbers and texts, and tuples of these, are no work for Python's collector. With a list for each
# column it stopped the service for 0.14 s now and then, once 40,000 users had been shown something.
LiveRow = tuple[Any, ...]
_MANY = 64  # rows of a user


class Profile(NamedTuple):
    """A user's features at a moment."""

    features: NDArray[np.float32]  # (n_columns,) in the order of the layout
    tier: str
    as_of_us: int
    history: History | None = None  # of this user alone, number 0; None where the profile was kept


@lru_cache(8)
def _day_start_us(quarter: int, timezone: str) -> int:
    """When the local day began of a quarter of an hour: days begin with one."""
    return int(day_start_us(quarter * QUARTER_US, timezone))


class State:
    """Histories, live rows and profiles of users, in memory.

    Parameters
    ----------
    tables : Tables or Filed
        The data folder as it was when the service started, as it was read or made ready already.
    layout, tiers : Layout, Tiers
        The bundle's.
    uptake_days : int
        The window that the bundle was trained for.
    deleted : DeletedUsers
        Of them nothing is known, whatever the data folder says.
    """

    def __init__(
        self, tables: Tables | Filed, layout: Layout, tiers: Tiers, uptake_days: int, deleted: DeletedUsers
    ) -> None:
        self.layout, self.tiers, self.uptake_days = layout, tiers, uptake_days
        self._deleted = deleted
        self.filed = tables if isinstance(tables, Filed) else Filed.of(tables, layout, uptake_days)
        self._history, self._user_ids, self._filed = self.filed.history, self.filed.user_ids, self.filed.rows
        self._live: dict[str, Sequence[LiveRow]] = {}  # by user, in the order in which they came
        self._shown_today = ShownToday(layout.n_services, self.filed.shown)

    def with_tiers(self, tiers: Tiers) -> Self:
        """The same users and rows, also those that come in later, by the tiers of another bundle."""
        other = copy(self)
        other.tiers = tiers
        return other

    @property
    def n_users(self) -> int:
        """Users of the data folder, and those seen since."""
        return len(self._user_ids) + sum(user_id not in self._user_ids for user_id in self._live)

    def knows(self, user_id: str) -> bool:
        """Is anything known of this user?"""
        return bool(self._live_of(user_id)) or self.user_number(user_id) is not None

    def user_number(self, user_id: str) -> int | None:
        """The number of a user of the data folder, in its order; None for all others."""
        return None if user_id in self._deleted else self._user_ids.number_of(user_id)

    def n_live_rows(self, user_id: str) -> int:
        """How many rows came in about a user beside the data folder; they tell one profile from the next."""
        return len(self._live_of(user_id))

    def live_users(self) -> list[str]:
        """Of whom rows came in beside the data folder."""
        return list(self._live)

    @property
    def history(self) -> History:
        """The data folder's."""
        return self._history

    def joined_at_us(self, user_id: str) -> int | None:
        """When a user of the data folder joined; None for all others."""
        number = self.user_number(user_id)
        return None if number is None else int(self._history.joined_at_us[number])

    def has_event(self, event_id: str) -> bool:
        """Does the data folder hold this event already?"""
        return self._filed.has_event(event_id)

    def add_event(self, user_id: str, event: str, at_us: int, service_id: str, value: float | None) -> None:
        """An event that happened; part of the user's next profile."""
        self._add(user_id, ("events", at_us, event, service_id, np.nan if value is None else value))

    def add_feedback(self, user_id: str, at_us: int, nps: int, service_id: str) -> None:
        """An answer of the user; part of the next profile."""
        self._add(user_id, ("feedback", at_us, nps, service_id))

    def add_exposure(self, user_id: str, at_us: int, service_id: str) -> None:
        """A service that was shown; part of the next profile."""
        self._add(user_id, ("exposures", at_us, service_id))

    def forget(self, user_id: str) -> None:
        """Drop the rows that came in about this user, who was deleted."""
        self._live.pop(user_id, None)

    def forget_all(self, is_deleted: Callable[[str], bool]) -> None:
        """The same of all who were deleted by others; safe from another thread."""
        for user_id in list(self._live):
            if is_deleted(user_id):
                self.forget(user_id)

    def rows_of(self, user_id: str, now_us: int) -> UserRows:
        """All rows of a user; of one who is not known, those of somebody who joins now."""
        live, number = self._live_of(user_id), self.user_number(user_id)
        if number is not None:
            rows = self._history.rows_of_number(number)
        else:
            rows = UserRows.unknown(min([now_us, *_times_us(live)]))
        return rows.plus(**_columns(live)) if live else rows

    def profile(self, user_id: str, now_us: int) -> Profile:
        """The user's features now.

        A row may be a moment ahead of this clock; the profile's moment is then just after it, so that
        whatever was acknowledged is known.
        """
        history, as_of_us = self._history_of(user_id, now_us)
        features = compute(history, self.layout, [0], [as_of_us])[0]
        spent = features[self.layout.columns.index(TIER_COLUMN)]
        return Profile(features, str(self.tiers.of([spent])[0]), as_of_us, history)

    def past(self, user_id: str, profile: Profile, needs: Needs, now_us: int) -> Past:
        """What rules need to know of what the user was shown and used, and of what all were shown today."""
        shown_today = self.shown_today(needs.timezone, now_us)[None]
        if not (needs.showings or needs.since):
            return Past(shown_today=shown_today)
        return replace(self._past(user_id, profile, needs, now_us), shown_today=shown_today)

    def shown_today(self, timezone: str, now_us: int) -> NDArray[np.int64]:
        """How often each service was decided to be shown since the day began there, to all users."""
        return self._shown_today.since(_day_start_us(now_us // QUARTER_US, timezone))

    def count_showing(self, at_us: int, service_id: str, times: int = 1) -> None:
        """A service was decided to be shown, to whomever; -1 times where it came to nothing."""
        self._shown_today.add(at_us, self.layout.position_of.get(service_id, -1), times)

    def replace_rows(
        self, user_id: str, events: Sequence[Any], feedback: Sequence[Any], exposures: Sequence[Any]
    ) -> None:
        """Take the database's rows of one user for what came in about them; showings were counted before."""
        self._live.pop(user_id, None)
        self._load(events, feedback, exposures, counting=False)

    def load(self, events: Sequence[Any], feedback: Sequence[Any], exposures: Sequence[Any]) -> None:
        """Take rows of the database in; those that the data folder holds by now are left out."""
        self._load(events, feedback, exposures, counting=True)

    def _load(
        self, events: Sequence[Any], feedback: Sequence[Any], exposures: Sequence[Any], counting: bool
    ) -> None:
        for row in events:
            if not self._filed.has_event(row.event_id):
                self.add_event(row.user_id, row.event, row.at_us, row.service_id, row.value)
        for row in feedback:
            if not self._filed.has_feedback(row.user_id, row.at_us, row.service_id):
                self.add_feedback(row.user_id, row.at_us, row.nps, row.service_id)
        for row in exposures:
            is_shown = row.user_id and row.service_id
            if is_shown and not self._filed.has_slate(row.slate_id, row.shown_at_us):
                self.add_exposure(row.user_id, row.shown_at_us, row.service_id)
                if counting:
                    self.count_showing(row.shown_at_us, row.service_id)

    def _history_of(self, user_id: str, now_us: int) -> tuple[History, int]:
        """A user's own history, and the moment of a profile that knows all of it that happened."""
        live = self._live_of(user_id)
        as_of_us = max([now_us, *(at_us + 1 for at_us in _times_us(live))])
        return History.of_one(self.rows_of(user_id, now_us), self.layout, self.uptake_days), as_of_us

    def _past(self, user_id: str, profile: Profile, needs: Needs, now_us: int) -> Past:
        if profile.history is None:
            history, as_of_us = self._history_of(user_id, now_us)
        else:
            history, as_of_us = profile.history, profile.as_of_us
        return past_of(needs, history, [0], [as_of_us], self.uptake_days)

    def _live_of(self, user_id: str) -> Sequence[LiveRow]:
        """What came in about a user; nothing of one whom another worker deleted, though it may be here."""
        return () if user_id in self._deleted else self._live.get(user_id, ())

    def _add(self, user_id: str, row: LiveRow) -> None:
        rows = self._live.get(user_id, ())
        if isinstance(rows, list):
            rows.append(row)
        else:  # a list once there are many, for a tuple is made anew with each
            self._live[user_id] = [*rows, row] if len(rows) >= _MANY else (*rows, row)


def _times_us(rows: Sequence[LiveRow]) -> list[int]:
    return [row[1] for row in rows]


def _columns(rows: Sequence[LiveRow]) -> dict[str, list[Any]]:
    """The rows by column of ``UserRows``."""
    columns: dict[str, list[Any]] = {}
    for table, *values in rows:
        for name, value in zip(COLUMNS[table], values, strict=True):
            columns.setdefault(name, []).append(value)
    return columns
