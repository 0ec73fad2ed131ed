"""The tables of the contract from what was drawn: ids as text, days as UTC times, rows in order of time."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.simulation.behaviour import Happenings
from features.simulation.customers import PLANS, REGIONS, TOPICS, Customers
from features.simulation.decisions import ARMS, Decisions
from features.simulation.response import Response
from features.simulation.services import Offering

_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Labels:
    """The ids of users and services, and the time that day 0 stands for."""

    users: pd.Index
    services: pd.Index
    starts_at: pd.Timestamp

    @classmethod
    def of(cls, n_users: int, n_services: int, starts_at: pd.Timestamp) -> "Labels":
        return cls(pd.Index(_numbered("U", n_users)), pd.Index(_numbered("S", n_services)), starts_at)

    def time_of(self, day: NDArray[np.float64]) -> pd.DatetimeIndex:
        """UTC times, to the microsecond."""
        offset = np.rint(day * _DAY_US).astype("timedelta64[us]")
        return self.starts_at.as_unit("us") + pd.TimedeltaIndex(offset)

    def service_or_none(self, service: NDArray[np.intp]) -> pd.Index:
        """Service ids; the empty text for -1."""
        return self.services.append(pd.Index([""])).take(service)


def users_table(customers: Customers, labels: Labels) -> pd.DataFrame:
    """One row a user, with the attributes that the shop knows."""
    return pd.DataFrame(
        {
            "user_id": labels.users,
            "joined_at": labels.time_of(customers.joined_day),
            "age": customers.age,
            "region": pd.Index(REGIONS).take(customers.region),
            "plan": pd.Index(PLANS).take(customers.plan),
            "interest": pd.Index(TOPICS).take(customers.interest),
        }
    )


def services_table(offering: Offering, labels: Labels) -> pd.DataFrame:
    """One row a service; its category is its topic, its role is not told."""
    topic = pd.Index(TOPICS).take(offering.topic)
    return pd.DataFrame(
        {
            "service_id": labels.services,
            "name": topic.str.title() + " " + labels.services,
            "category": topic,
            "unit_cost": offering.unit_cost,
            "contact_cost": offering.contact_cost,
        }
    )


def orders_table(orders: Happenings, labels: Labels) -> pd.DataFrame:
    """One row an order; margins are left to the margin rate."""
    rows = orders.take(np.argsort(orders.day, kind="stable"))
    return pd.DataFrame(
        {
            "order_id": _numbered("O", len(rows.user)),
            "user_id": labels.users.take(rows.user),
            "ordered_at": labels.time_of(rows.day),
            "amount": rows.value,
        }
    )


def events_table(happenings: Mapping[str, Happenings], labels: Labels) -> pd.DataFrame:
    """One row an event, of the kinds that the mapping names."""
    rows = Happenings.joined(*happenings.values())
    kind = np.repeat(np.arange(len(happenings)), [len(each.user) for each in happenings.values()])
    order = np.argsort(rows.day, kind="stable")
    rows = rows.take(order)
    return pd.DataFrame(
        {
            "event_id": _numbered("E", len(order)),
            "user_id": labels.users.take(rows.user),
            "event": pd.Index(list(happenings)).take(kind[order]),
            "at": labels.time_of(rows.day),
            "service_id": labels.service_or_none(rows.service),
            "value": rows.value,
        }
    )


def exposures_table(decisions: Decisions, labels: Labels) -> pd.DataFrame:
    """One row for each service shown, and one for each decision to show nothing."""
    position = np.arange(decisions.slates.shape[1])
    length = decisions.length
    by_time = np.argsort(decisions.day, kind="stable")
    slate_number = np.empty(len(by_time), np.int64)
    slate_number[by_time] = np.arange(len(by_time))
    row, place = np.nonzero(position < np.maximum(length, 1)[:, None])
    order = np.lexsort((place, slate_number[row]))
    row, place = row[order], place[order]
    nothing = length[row] == 0
    return pd.DataFrame(
        {
            "slate_id": _numbered("D", len(by_time)).take(slate_number[row]),
            "user_id": labels.users.take(decisions.user[row]),
            "shown_at": labels.time_of(decisions.day[row]),
            "service_id": labels.service_or_none(decisions.slates[row, place]),
            "propensity": np.where(
                nothing, decisions.slate_propensity[row], decisions.propensity[row, place]
            ),
            "position": place + 1,
            "slate_propensity": decisions.slate_propensity[row],
            "arm": pd.Index(ARMS).take(decisions.arm[row]),
        }
    )


def feedback_table(feedback: Happenings, labels: Labels) -> pd.DataFrame:
    """One row an answer to the question how likely the user is to recommend a service."""
    rows = feedback.take(np.argsort(feedback.day, kind="stable"))
    return pd.DataFrame(
        {
            "user_id": labels.users.take(rows.user),
            "at": labels.time_of(rows.day),
            "nps": rows.value.astype(np.int64),
            "service_id": labels.services.take(rows.service),
        }
    )


def effects_table(responses: list[Response], labels: Labels) -> pd.DataFrame:
    """The truth of every pair, users first; one response a service, each of shape (n_users,)."""
    n_users, n_services = len(labels.users), len(labels.services)
    columns = {
        name: np.column_stack([getattr(response, name) for response in responses]).ravel()
        for name in ("uptake", "uplift_repurchase", "uplift_margin")
    }
    return pd.DataFrame(
        {
            "user_id": labels.users.repeat(n_services),
            "service_id": labels.services.take(np.tile(np.arange(n_services), n_users)),
            **columns,
        }
    )


def _numbered(prefix: str, n: int) -> pd.Index:
    """Ids such as U007, of one width, so that their order as text is that of their numbers."""
    return pd.Index(prefix + pd.Series(np.arange(1, n + 1)).astype(str).str.zfill(len(str(n))))
