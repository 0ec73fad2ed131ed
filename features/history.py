"""The history of some users: the sorted logs that their profiles are computed from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from features.asof import DAY_US, At, Floats, Ints, Log, sort_rows
from features.encoding import Encoding
from features.known import EVENT_KINDS, OTHER, Known
from features.logs import event_log, feedback_log, offer_log, order_log, take_log, use_log
from features.positions import positions_in
from features.tables import Tables
from features.user_rows import UserRows

LOGS = ("orders", "events", "uses", "offers", "takes", "feedback")
LOGGED_TABLES = ("orders", "events", "exposures", "feedback")

_KIND_NAMES = np.array([*EVENT_KINDS, "other"], object)
_KIND_OF = {name: kind for kind, name in enumerate(EVENT_KINDS)}


@dataclass(frozen=True, eq=False)
class History:
    """Logs of users, who are numbered from 0 in the order of `user_ids`."""

    encoding: Encoding
    user_ids: Sequence[str]
    joined_at_us: Ints  # (n_users,)
    attributes: Floats  # (n_users, n_attributes)
    orders: Log
    events: Log
    uses: Log
    offers: Log
    takes: Log
    feedback: Log

    @classmethod
    def of(cls, tables: Tables, layout: Encoding, uptake_days: int) -> Self:
        """The history of all users, numbered as in the table `users`.

        A use within `uptake_days` after its service was shown takes the offer.
        """
        user_ids = tables.users["user_id"]
        frames = {name: getattr(tables, name) for name in LOGGED_TABLES}
        columns = {
            name: columns_of(name, frame, positions_in(user_ids, frame["user_id"]), layout)
            for name, frame in frames.items()
        }
        return cls.of_columns(tables.users, tuple(user_ids), columns, layout, uptake_days)

    @classmethod
    def of_columns(
        cls,
        users: pd.DataFrame,
        user_ids: Sequence[str],
        columns: dict[str, dict[str, NDArray]],
        layout: Encoding,
        uptake_days: int,
    ) -> Self:
        """The same of each table's `columns_of`, which are taken out of the mapping: they need much room."""
        n_users, n_services = len(users), layout.n_services
        for rows in columns.values():
            sort_rows(rows)  # here, as a log could not give up what its maker still holds
        return cls.from_logs(
            layout,
            uptake_days,
            user_ids=user_ids,
            joined_at_us=_us(users["joined_at"]),
            attributes=layout.encode_users(users),
            orders=order_log(n_users=n_users, **columns.pop("orders")),
            events=event_log(n_users=n_users, n_services=n_services, **columns.pop("events")),
            offers=offer_log(n_users=n_users, n_services=n_services, **columns.pop("exposures")),
            feedback=feedback_log(n_users=n_users, **columns.pop("feedback")),
        )

    @classmethod
    def of_one(cls, rows: UserRows, layout: Encoding, uptake_days: int) -> Self:
        """The history of one user, number 0. Profiles from it equal those among all users bit for bit."""
        attributes = [part.encode_one(rows.attributes.get(part.name)) for part in layout.attributes]
        return cls.from_logs(
            layout,
            uptake_days,
            user_ids=("",),
            joined_at_us=np.array([rows.joined_at_us], np.int64),
            attributes=np.array([attributes], np.float64),
            orders=order_log(
                _nobody_else(rows.order_at_us),
                rows.order_at_us,
                1,
                amount_cents=rows.order_amount_cents,
                margin_cents=rows.order_margin_cents,
            ),
            events=event_log(
                _nobody_else(rows.event_at_us),
                rows.event_at_us,
                1,
                layout.n_services,
                kind=_codes(rows.event, _KIND_OF, OTHER),
                service=_codes(rows.event_service, layout.position_of),
                value=rows.event_value,
            ),
            offers=offer_log(
                _nobody_else(rows.exposure_at_us),
                rows.exposure_at_us,
                1,
                layout.n_services,
                service=_codes(rows.exposure_service, layout.position_of),
            ),
            feedback=feedback_log(
                _nobody_else(rows.feedback_at_us),
                rows.feedback_at_us,
                1,
                nps=rows.feedback_nps,
                service=_codes(rows.feedback_service, layout.position_of),
            ),
        )

    @classmethod
    def from_logs(
        cls,
        layout: Encoding,
        uptake_days: int,
        *,
        user_ids: Sequence[str],
        joined_at_us: Ints,
        attributes: Floats,
        orders: Log,
        events: Log,
        offers: Log,
        feedback: Log,
    ) -> Self:
        """The history over logs that were made already; uses and takes follow from them."""
        uses = use_log(events)
        takes = take_log(uses, offers, uptake_days * DAY_US)
        return cls(layout, user_ids, joined_at_us, attributes, orders, events, uses, offers, takes, feedback)

    def users(self, first: int, n_users: int) -> "History":
        """The history of `n_users` users in a row, or of as many as there are, numbered from 0.

        What is asked of it takes the room of these users alone, and says the same of them.
        """
        of = slice(first, first + n_users)
        logs = {name: getattr(self, name).users(first, n_users) for name in LOGS}
        return replace(
            self,
            user_ids=self.user_ids[of],
            joined_at_us=self.joined_at_us[of],
            attributes=self.attributes[of],
            **logs,
        )

    @cached_property
    def user_position(self) -> dict[str, int]:
        """The number of each user_id."""
        return {user_id: position for position, user_id in enumerate(self.user_ids)}

    def known(self, user: ArrayLike, as_of_us: ArrayLike) -> Known:
        """What was known of each user, by number, strictly before each time."""
        user, as_of_us = np.asarray(user, np.int64), np.asarray(as_of_us, np.int64)
        return Known(
            as_of_us=as_of_us,
            joined_at_us=self.joined_at_us[user],
            attributes=self.attributes[user],
            category_of=self.encoding.category_of,
            orders=At(self.orders, user, as_of_us),
            events=At(self.events, user, as_of_us),
            uses=At(self.uses, user, as_of_us),
            offers=At(self.offers, user, as_of_us),
            takes=At(self.takes, user, as_of_us),
            feedback=At(self.feedback, user, as_of_us),
        )

    def rows_of(self, user_id: str) -> UserRows:
        """All rows of one user; an event of the shop's own name is called ``other``, an unknown service "".

        Raises
        ------
        LookupError
            Where the user is not in this history.
        """
        if user_id not in self.user_position:
            raise LookupError(
                f"user_id must be one of the {len(self.user_ids)} users of this history, got {user_id!r}. "
                "For a user never seen take UserRows.unknown."
            )
        return self.rows_of_number(self.user_position[user_id])

    def rows_of_number(self, user: int) -> UserRows:
        """The same of the user of this number."""
        orders, events, offers, feedback = (
            log.rows_of(user) for log in (self.orders, self.events, self.offers, self.feedback)
        )
        service_name = np.array([*self.encoding.service_ids, ""], object)  # -1 is the last
        return UserRows(
            joined_at_us=int(self.joined_at_us[user]),
            attributes={
                part.name: part.decode(code)
                for part, code in zip(self.encoding.attributes, self.attributes[user])
            },
            order_at_us=self.orders.at_us[orders],
            order_amount_cents=self.orders.columns["amount_cents"][orders],
            order_margin_cents=self.orders.columns["margin_cents"][orders],
            event_at_us=self.events.at_us[events],
            event=_KIND_NAMES[self.events.columns["kind"][events]],
            event_service=service_name[self.events.columns["service"][events]],
            event_value=self.events.columns["value"][events],
            exposure_at_us=self.offers.at_us[offers],
            exposure_service=service_name[self.offers.columns["service"][offers]],
            feedback_at_us=self.feedback.at_us[feedback],
            feedback_nps=self.feedback.columns["nps"][feedback],
            feedback_service=service_name[self.feedback.columns["service"][feedback]],
        )


def _us(times: pd.Series) -> Ints:
    return times.to_numpy("datetime64[us]").astype(np.int64)


def columns_of(
    table: str, rows: pd.DataFrame, user: NDArray[np.int32], layout: Encoding
) -> dict[str, NDArray]:
    """What logs keep of rows of one of the `LOGGED_TABLES`, whose users stand at these positions."""
    at = {"orders": "ordered_at", "exposures": "shown_at"}.get(table, "at")
    columns: dict[str, NDArray] = {"user": user, "at_us": _us(rows[at])}
    if table == "orders":
        return columns | {name: rows[name].to_numpy(np.int64) for name in ("amount_cents", "margin_cents")}
    columns["service"] = layout.encode_services(rows["service_id"])
    if table == "events":
        columns |= {"kind": _kinds(rows["event"]), "value": rows["value"].to_numpy(np.float64)}
    if table == "feedback":
        columns["nps"] = rows["nps"].to_numpy(np.int64)
    return columns


def _kinds(events: pd.Series) -> NDArray[np.int8]:
    kinds = positions_in(EVENT_KINDS, events)
    return np.where(kinds < 0, OTHER, kinds).astype(np.int8)


def _nobody_else(at_us: Ints) -> NDArray[np.int32]:
    return np.zeros(len(at_us), np.int32)


def _codes(names: NDArray, code_of: Mapping[str, int], otherwise: int = -1) -> NDArray[np.int16]:
    return np.array([code_of.get(name, otherwise) for name in names], np.int16)
