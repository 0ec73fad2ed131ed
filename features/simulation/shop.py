"""A simulated shop that lives on from week to week under decisions made outside of it.

The customers, their habits and their answers are those of `features.world`; there a whole log is drawn at
once under a logging policy, here each week is drawn once its decisions are known. All users are decided on
at the same moment, the beginning of a week, and the outcome windows are a week long, so that what a
decision did is known when the next one is made.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.asof import DAY_US
from features.history import History
from features.known import CLICKED, OTHER, USED, VIEWED
from features.logs import event_log, feedback_log, offer_log, order_log
from features.pipeline import Layout
from features.simulation.behaviour import (
    Happenings,
    draw_clicks,
    draw_feedback,
    draw_orders,
    draw_unasked_uses,
    draw_uses,
    draw_views,
    draw_visits,
    outside_uptake_windows,
    with_minutes,
)
from features.simulation.customers import Customers, draw_customers
from features.simulation.decisions import Decisions
from features.simulation.response import MARGIN_RATE, Answer, answer
from features.simulation.services import Offering, draw_offering
from features.simulation.tables import Labels, orders_table, services_table, users_table
from features.tables import to_cents

WEEK_DAYS = 7  # from one decision to the next, and the length of both outcome windows
HISTORY_DAYS = 112  # of customers left alone, before the first decision
HASTE = 2.0  # orders come twice as often as in `features.world`, so that as many fall into the shorter window

_MOST_DRAWS = 1000  # of the services that shift

_KINDS = {"visits": OTHER, "views": VIEWED, "clicks": CLICKED, "uses": USED}  # of events


@dataclass(frozen=True)
class Shop:
    """Customers, services, and all that happened so far; `step` gives the shop of a week later.

    Attributes
    ----------
    customers, offering
        Who there is and what the services do to them now.
    labels : Labels
        Ids of users and services, and the time of day 0.
    day : float
        Days since day 0: the moment of the next decisions.
    happenings : dict of str to Happenings
        orders, visits, views, clicks, uses and feedback before `day`.
    decisions : tuple of Decisions
        One entry a week.
    """

    customers: Customers
    offering: Offering
    labels: Labels
    day: float
    happenings: dict[str, Happenings]
    decisions: tuple[Decisions, ...] = field(default=())

    @classmethod
    def open(
        cls, n_users: int, n_services: int, n_weeks: int, ends_at: pd.Timestamp, rng: np.random.Generator
    ) -> Self:
        """A shop with a history and not a single offer yet; customers come and lapse until its last week.

        Raises
        ------
        ValueError
            One error that lists every size that is too small.
        """
        _check_sizes(n_users, n_services, n_weeks)
        n_days = HISTORY_DAYS + WEEK_DAYS * n_weeks
        customers = draw_customers(n_users, n_days, rng, HASTE)
        offering = draw_offering(n_services, rng)
        labels = Labels.of(n_users, n_services, ends_at - pd.Timedelta(days=n_days))
        empty = cls(customers, offering, labels, 0.0, {})
        return empty._until(float(HISTORY_DAYS), no_decisions(), _no_answers(), rng)

    def step(self, decisions: Decisions, rng: np.random.Generator) -> Self:
        """The shop a week after these decisions; the same state of `rng` draws the same habits and luck.

        Parameters
        ----------
        decisions : Decisions
            At most one for each user, sorted by user, all at `day`.

        Raises
        ------
        ValueError
            Where a decision is of another moment, or a user has two.
        """
        if (decisions.day != self.day).any() or (np.diff(decisions.user) <= 0).any():
            raise ValueError(
                f"decisions must be sorted by user, one a user, all on day {self.day:g}; got "
                f"{len(decisions)} on days {np.unique(decisions.day).tolist()[:3]} of "
                f"{len(np.unique(decisions.user))} users."
            )
        user, day, slates = decisions.user, decisions.day, decisions.slates
        choices, rest = rng.spawn(2)  # so that one more taken service does not shift what others do
        answers = answer(self.customers, self.offering, user, day, slates, choices)
        after = self._until(self.day + WEEK_DAYS, decisions, answers, rest)
        return replace(after, decisions=(*self.decisions, decisions))

    def _until(self, day: float, decisions: Decisions, answers: Answer, rng: np.random.Generator) -> Self:
        """What happens from `day` to that one, added to what did."""
        customers, offering = self.customers.seen_from(self.day), self.offering
        order_luck, visit_luck, view_luck, use_luck, click_luck, say_luck = rng.spawn(6)
        unasked = draw_unasked_uses(customers, offering, int(day), use_luck)
        unasked = outside_uptake_windows(unasked, decisions, len(customers))
        uses = Happenings.joined(unasked, draw_uses(decisions, answers, use_luck))
        uses = with_minutes(customers, offering, uses, use_luck)
        drawn = {
            "orders": draw_orders(customers, decisions, answers, int(day), order_luck, WEEK_DAYS),
            "visits": draw_visits(customers, int(day), visit_luck),
            "views": draw_views(customers, offering, int(day), view_luck),
            "clicks": draw_clicks(customers, decisions, answers, click_luck),
            "uses": uses,
            "feedback": draw_feedback(customers, offering, uses, int(day), say_luck),
        }
        if self.happenings:
            drawn = {name: Happenings.joined(self.happenings[name], rows) for name, rows in drawn.items()}
        return replace(self, day=day, happenings=drawn)

    def at_us(self, day: float) -> int:
        """The time of a day, microseconds since 1970."""
        return int(self._us(np.array([day]))[0])

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables of the contract that know no offer: users, services and orders."""
        return {
            "users": users_table(self.customers, self.labels),
            "services": services_table(self.offering, self.labels),
            "orders": orders_table(self.happenings["orders"], self.labels),
        }

    def history(self, layout: Layout) -> History:
        """What the shop knows of its customers by now, as its tables would tell it."""
        n_users, n_services = len(self.customers), len(self.offering)
        orders, feedback = self.happenings["orders"], self.happenings["feedback"]
        of_kinds = [self.happenings[name] for name in _KINDS]
        events = Happenings.joined(*of_kinds)
        kind = np.repeat(list(_KINDS.values()), [len(rows.user) for rows in of_kinds])
        user, day, service = self._offers()
        amount_cents = to_cents(orders.value)
        return History.from_logs(
            layout,
            WEEK_DAYS,
            user_ids=tuple(self.labels.users),
            joined_at_us=self._us(self.customers.joined_day),
            attributes=layout.encode_users(users_table(self.customers, self.labels)),
            orders=order_log(
                orders.user,
                self._us(orders.day),
                n_users,
                amount_cents=amount_cents,
                margin_cents=np.rint(amount_cents * MARGIN_RATE).astype(np.int64),
            ),
            events=event_log(
                events.user,
                self._us(events.day),
                n_users,
                n_services,
                kind=kind.astype(np.int8),
                service=events.service.astype(np.int16),
                value=events.value,
            ),
            offers=offer_log(user, self._us(day), n_users, n_services, service=service.astype(np.int16)),
            feedback=feedback_log(
                feedback.user,
                self._us(feedback.day),
                n_users,
                nps=feedback.value.astype(np.int64),
                service=feedback.service.astype(np.int16),
            ),
        )

    def _offers(self) -> tuple[NDArray, NDArray, NDArray]:
        """User, day and service of everything that was shown."""
        rows = [np.nonzero(week.slates >= 0) for week in self.decisions]
        if not rows:
            return np.zeros(0, np.intp), np.zeros(0), np.zeros(0, np.intp)
        return (
            np.concatenate([week.user[row] for week, (row, _) in zip(self.decisions, rows)]),
            np.concatenate([week.day[row] for week, (row, _) in zip(self.decisions, rows)]),
            np.concatenate([week.slates[row, place] for week, (row, place) in zip(self.decisions, rows)]),
        )

    def _us(self, day: NDArray[np.float64]) -> NDArray[np.int64]:
        start = int(
            self.labels.starts_at.tz_convert(None).to_datetime64().astype("datetime64[us]").astype(int)
        )
        return start + np.rint(day * DAY_US).astype(np.int64)


def no_decisions() -> Decisions:
    """Nobody was decided on."""
    nobody, never = np.zeros(0, np.intp), np.zeros(0)
    return Decisions(nobody, never, np.zeros((0, 1), np.intp), nobody, never, np.zeros((0, 1)))


def _no_answers() -> Answer:
    return Answer(np.zeros(0, np.intp), np.zeros(0))


def shifted(offering: Offering, share: float, rng: np.random.Generator) -> Offering:
    """The services after a planted shift: a share of them pass their effects on, each to the next.

    What is passed on is how users take a service up and what it does to them; costs, topics and regions stay.
    The services are drawn so that each takes over from one of another role, where that can be.
    """
    n_moved = max(2, round(share * len(offering)))
    for _ in range(_MOST_DRAWS):
        moved = rng.permutation(len(offering))[:n_moved]
        source = np.arange(len(offering))
        source[moved] = np.roll(moved, 1)
        if (offering.role[moved] != offering.role[source[moved]]).all():
            break
    return replace(
        offering,
        role=offering.role[source],
        uptake=offering.uptake[source],
        direct=offering.direct[source],
        through=offering.through[source],
    )


def _check_sizes(n_users: int, n_services: int, n_weeks: int) -> None:
    least = {"users": (n_users, 200), "services": (n_services, 2), "weeks": (n_weeks, 1)}
    faults = [
        f"{name} must be at least {low}, got {size}." for name, (size, low) in least.items() if size < low
    ]
    if faults:
        raise ValueError(" ".join(faults))
