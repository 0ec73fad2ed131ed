"""What other workers wrote, read before a decision or an answer can need it.

The database is the truth. A worker tells in the page that all share how far it has got, after its commit and
before its acknowledgement; whoever answers later compares that with what he has seen, and reads the rows
between, less his own. So what one worker acknowledged is in the next answer of every other.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from serving.database import Database
from serving.deletion import DeletedUsers
from serving.engines import Unavailable, trouble_of
from serving.live_budgets import LiveBudgets
from serving.shared import Numbers
from serving.spending import shown_of
from serving.state import State
from serving.tables import FOLLOWED, decisions, deleted_users, events, exposures, feedback, newest_numbers

_DELETED = FOLLOWED.index(deleted_users)


class Following:
    """Keeps state, budgets and deleted users up with the database; does nothing where one worker is alone.

    All but ``sweep`` belong to the thread that decides.
    """

    def __init__(self, database: Database, deleted: DeletedUsers) -> None:
        self._shared, self._own = database.shared, database.own
        self._database, self._deleted = database, deleted
        self._seen: tuple[int, ...] = (0,) * len(FOLLOWED)
        self._state: State | None = None
        self._budgets: LiveBudgets | None = None
        self._is_to_sweep = False

    @contextmanager
    def start(self) -> Iterator[sa.Connection]:
        """A connection to read all of the database as it is now; what comes later is followed.

        It reads beside who writes, and holds nobody up.
        """
        with self._database.connect() as connection:
            self._seen = newest_numbers(connection)
            yield connection

    def begin(self, state: State, budgets: LiveBudgets) -> None:
        """From now on these are kept up."""
        self._state, self._budgets = state, budgets

    @property
    def is_beside_others(self) -> bool:
        """Are there other workers?"""
        return self._shared is not None

    @property
    def n_deletions(self) -> int:
        """The number of the last deletion that is known here."""
        return self._seen[_DELETED]

    def follow(self) -> None:
        """Take in what other workers have acknowledged by now.

        Raises
        ------
        Unavailable
            Where it cannot be read.
        """
        if self._shared is None or self._state is None or self._budgets is None:
            return
        newest = self._shared.newest()
        if newest == self._seen:
            return
        if not self._own.covers(self._seen, newest):
            try:
                with self._database.connect() as connection:
                    self._take_in(connection, newest, self._state, self._budgets)
            except sa.exc.DBAPIError as error:
                trouble = trouble_of(error)
                if not trouble:
                    raise
                raise Unavailable(trouble) from error
        self._seen = newest
        self._own.drop(newest)

    def deleted_since(self, connection: sa.Connection, n_deletions: int, user_ids: Iterable[str]) -> set[str]:
        """Of these users, those who were deleted after so many deletions were known; for whoever writes."""
        if self._shared is None or self._shared.newest()[_DELETED] <= n_deletions:
            return set()
        return self._deleted.among(connection, user_ids)

    def sweep(self) -> None:
        """Drop from memory what is kept of users whom others deleted; for a thread of its own.

        They are known as deleted before that; their ids are not told, so all users must be looked at.
        """
        if self._is_to_sweep and self._state is not None and self._budgets is not None:
            self._is_to_sweep = False
            self._state.forget_all(self._deleted.__contains__)
            self._budgets.forget_all(self._deleted.__contains__)

    def _take_in(
        self, connection: sa.Connection, newest: Numbers, state: State, budgets: LiveBudgets
    ) -> None:
        found = {
            table.name: self._rows(connection, place, newest)
            for place, table in enumerate(FOLLOWED)
            if budgets or table is not decisions  # long rows, which budgets alone ask for
        }
        if found[deleted_users.name]:
            self._deleted.add_hashes(row.user_hash for row in found[deleted_users.name])
            self._is_to_sweep = True
        happened = [row for row in found[events.name] if row.user_id not in self._deleted]
        state.load(
            happened,
            [row for row in found[feedback.name] if row.user_id not in self._deleted],
            [row for row in found[exposures.name] if row.user_id not in self._deleted],
        )
        if budgets:
            budgets.take_in(shown_of(connection, found[decisions.name]))
            for row in happened:
                if row.event == "used" and row.service_id:
                    budgets.use(row.user_id, row.service_id, row.at_us)

    def _rows(self, connection: sa.Connection, place: int, newest: Numbers) -> list[Any]:
        """The rows of others in one of the followed tables that were not seen yet."""
        table, seen = FOLLOWED[place], self._seen[place]
        if newest[place] <= seen:
            return []
        where = sa.and_(table.c.number > seen, table.c.number <= newest[place])
        rows = connection.execute(sa.select(table).where(where).order_by(table.c.number))
        return [row for row in rows if not self._own.has(place, row.number)]
