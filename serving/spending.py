"""What is spent of each budget in its period: the log of decisions, and the uses that followed."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from features.text_hashes import hash_of
from offers.budget import MONEY, Budget, budgets_of
from offers.calendar import DAY_US, HOUR_US, MINUTE_US
from offers.catalog import Catalog
from offers.pacing import Account, Forecast, Shift, forecast, is_throttled, period_of
from offers.settings import Settings
from serving.filed import Sales
from serving.kept import Names
from serving.kept import read as read_kept
from serving.records import from_text, is_replayable
from serving.tables import decisions, events, spent

_ENDLESS = 1e18  # currency units
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Shown:
    """A service that was shown to somebody, as the log has it."""

    user_id: str  # "": a deleted user
    at_us: int
    service_id: str
    tier: str
    uptake: float
    cost: float  # that was expected
    used_at_us: int | None = None


@dataclass(frozen=True)
class Offer:
    """A service that was shown, or (``used_at_us``) shown and then used."""

    at_us: int
    service: int  # a catalogue position; −1: it has left the catalogue
    track: int  # of the user; −1: none
    used_at_us: int | None = None
    uptake: float | None = None  # the probability that the decision knew; None: that of the service
    cost: float = 0.0  # that was expected, of a service that has left the catalogue


class OpenOffers:
    """What each user was shown and did not use yet."""

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._open: dict[str, dict[str, list[Offer]]] = {}

    def add(self, user_id: str, service_id: str, offer: Offer) -> None:
        """A service was shown; what is too old to be used goes."""
        waiting = self._open.setdefault(user_id, {}).setdefault(service_id, [])
        waiting[:] = [one for one in waiting if one.at_us + self._window_us > offer.at_us]
        waiting.append(offer)

    def take(self, user_id: str, service_id: str, at_us: int) -> Offer | None:
        """The latest offer that a use at this moment answers; None where it answers none."""
        waiting = self._open.get(user_id, {}).get(service_id, [])
        for place in reversed(range(len(waiting))):
            if waiting[place].at_us <= at_us < waiting[place].at_us + self._window_us:
                return waiting.pop(place)
        return None

    def take_back(self, user_id: str, service_id: str, offer: Offer) -> None:
        """An offer came to nothing."""
        waiting = self._open.get(user_id, {}).get(service_id, [])
        if offer in waiting:
            waiting.remove(offer)

    def forget(self, user_id: str) -> None:
        """A user was deleted."""
        self._open.pop(user_id, None)

    def forget_all(self, is_deleted: Callable[[str], bool]) -> None:
        """Users were deleted, of whom we do not know the ids; safe from another thread."""
        for user_id in list(self._open):
            if is_deleted(user_id):
                self.forget(user_id)


class Spending:
    """The accounts of all budgets of the settings, and whether services cost too much of the revenue.

    Parameters
    ----------
    uptake : ndarray of shape (n_services,)
        How likely each is to be used once it is offered, where the offer itself does not say.
    revenue_a_day : float, optional
        Of the shop. Where it is given and a budget limits money, only free services are shown while those
        of the month cost ``most_of_revenue`` or more of what came in since its beginning, or in a day.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        uptake: NDArray[np.float64],
        revenue_a_day: float | None = None,
    ) -> None:
        names = tuple(track.name for track in settings.tracks)
        periods = {limit.name: limit.period for limit in settings.budgets}
        self.budgets: tuple[Budget, ...] = budgets_of(settings.budgets, catalog, names)
        window_us, pacing = settings.windows.uptake_days * DAY_US, settings.pacing
        self.accounts = tuple(
            Account(
                one.name,
                one.amount,
                periods[one.name],
                window_us,
                pacing,
                1.0 if one.kind == MONEY else max(float(np.mean(catalog.unit_cost * uptake)), 0.01),
            )
            for one in self.budgets
        )
        self.open = OpenOffers(window_us)
        self.is_throttled = False
        self.revenue_a_day = revenue_a_day
        self._catalog, self._uptake, self._pacing = catalog, uptake, pacing
        self._month = Account("everything", _ENDLESS, "month", window_us, pacing)
        self._has_money = any(one.kind == MONEY for one in self.budgets)
        self._now_us = self._checked_us = 0

    def replay(self, offers: Iterable[Offer], shifts: Sequence[Shift], now_us: int) -> None:
        """Take in a log up to now, in the order of time."""
        happened: list[tuple[int, int, Offer | Shift]] = []
        for offer in offers:
            happened.append((offer.at_us, 0, offer))
            if offer.used_at_us is not None:
                happened.append((offer.used_at_us, 1, offer))
        happened += [(shift.at_us, 2, shift) for shift in shifts]
        for at_us, kind, what in sorted(happened, key=lambda one: one[:2]):
            if at_us <= now_us:
                self.advance(at_us)
                if isinstance(what, Shift):
                    self.declare(what)
                elif kind == 0:
                    self.offer(what)
                else:
                    self.use(what)
        self.advance(now_us)

    def advance(self, now_us: int) -> None:
        """Let time pass; a clock that goes back stands still."""
        self._now_us = now_us = max(now_us, self._now_us)
        for account in (*self.accounts, self._month):
            account.advance(now_us)
        if self.revenue_a_day is not None and self._has_money and now_us - self._checked_us >= MINUTE_US:
            self._checked_us = now_us
            revenue = self.revenue_a_day * max((now_us - self._month.start_us) / DAY_US, 1.0)
            cost = self._month.committed(now_us)
            self.is_throttled = is_throttled(cost, revenue, self.is_throttled, self._pacing)

    def offer(self, offer: Offer) -> None:
        """A service was shown."""
        for kind, account in self._covering(offer):
            if offer.at_us >= account.start_us:  # one of another worker may be of the period before
                account.offer(offer.at_us, *self._amounts(offer, kind))

    def take_back(self, offer: Offer) -> None:
        """The offer came to nothing: its decision was not kept."""
        for kind, account in self._covering(offer):
            account.take_back(offer.at_us, *self._amounts(offer, kind))

    def use(self, offer: Offer) -> None:
        """A service that was shown was used."""
        for kind, account in self._covering(offer):
            if kind == MONEY:
                _, expected, full = self._amounts(offer, kind)
                account.use(offer.at_us, full, expected)

    def declare(self, shift: Shift) -> bool:
        """Open the reserve of the budget of this name; was there one in the present period?"""
        opened = [account.declare(shift) for account in self.accounts]  # of each: money and contacts
        return any(opened)

    def closed(
        self, track: int, longest: int, now_us: int, uptake: NDArray[np.float64] | None = None
    ) -> dict[str, list[int]]:
        """By the reason, services for which there is no room in the worst list of this length of such a user.

        Parameters
        ----------
        track : int
            Of the user; −1: none.
        uptake : ndarray of shape (n_services,), optional
            The user's own chances of use; else those of the services.
        """
        found: dict[str, list[int]] = {}
        cost = self._catalog.unit_cost
        if self.is_throttled:
            places = np.flatnonzero((cost > 0) | (self._catalog.contact_cost > 0)).tolist()
            found[
                f"services cost {self._pacing.most_of_revenue:.1%} of the revenue or more: "
                f"only free ones are shown until they cost less than {self._pacing.reopen_at:.1%}"
            ] = places
        expected = (self._uptake if uptake is None else uptake) * cost
        for budget, account in zip(self.budgets, self.accounts):
            if budget.track not in (-1, track):
                continue
            if budget.kind == MONEY:
                needed = account.holds_of(expected, cost) + self._catalog.contact_cost
            else:
                needed = np.ones(len(cost))
            length = 1 if budget.service >= 0 else longest
            no_room = (needed > 0) & (needed * length > account.room(now_us))
            covered = [budget.service] if budget.service >= 0 else list(range(len(cost)))
            if places := [place for place in covered if no_room[place]]:
                end = (_EPOCH + timedelta(microseconds=account.end_us)).isoformat()
                found.setdefault(f"the budget {budget.name!r} has no room left until {end}", []).extend(
                    places
                )
        return found

    def has_room(self, longest: int, n_users: int, now_us: int) -> bool:
        """Is there room for so many of the dearest lists?"""
        dearest = float(np.max(self._catalog.unit_cost + self._catalog.contact_cost, initial=0.0))
        return all(
            (dearest if budget.kind == MONEY else 1.0) * longest * n_users <= account.room(now_us)
            for budget, account in zip(self.budgets, self.accounts)
        )

    def price(self) -> NDArray[np.float64]:
        """λ of each budget, as ``offers.budget.prices_of`` takes it."""
        return np.array([account.price for account in self.accounts], dtype=np.float64)

    def forecasts(self, now_us: int) -> list[Forecast]:
        """Of each budget; money is held against the revenue."""
        return [
            forecast(account, now_us, self.revenue_a_day if budget.kind == MONEY else None)
            for budget, account in zip(self.budgets, self.accounts)
        ]

    def _amounts(self, offer: Offer, kind: str) -> tuple[float, float, float]:
        """Spent at once, expected of a use, and of a use in full."""
        if kind != MONEY:
            return 1.0, 0.0, 0.0
        if offer.service < 0:  # what a use costs is not known any more: what was expected is spent
            return offer.cost, 0.0, 0.0
        full = float(self._catalog.unit_cost[offer.service])
        uptake = float(self._uptake[offer.service]) if offer.uptake is None else offer.uptake
        return float(self._catalog.contact_cost[offer.service]), uptake * full, full

    def _covering(self, offer: Offer) -> list[tuple[str, Account]]:
        return [(MONEY, self._month)] + [
            (budget.kind, account)
            for budget, account in zip(self.budgets, self.accounts)
            if budget.service in (-1, offer.service) and budget.track in (-1, offer.track)
        ]


@dataclass(frozen=True)
class Tracked:
    """How what was shown becomes offers: services by position, users by track."""

    catalog: Catalog
    track_of_tier: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, catalog: Catalog) -> "Tracked":
        """As the settings and the catalogue say now."""
        tracks = enumerate(settings.tracks)
        return cls(catalog, {tier: place for place, track in tracks for tier in track.tiers})

    def offer(self, shown: Shown) -> Offer:
        """What the budgets count."""
        return Offer(
            shown.at_us,
            self.catalog.position_of.get(shown.service_id, -1),
            self.track_of_tier.get(shown.tier, -1),
            shown.used_at_us,
            shown.uptake,
            shown.cost,
        )


def spending_of(
    connection: sa.Connection,
    sales: Sales,
    settings: Settings,
    shifts: Sequence[Shift],
    now_us: int,
    catalog: Catalog,
) -> tuple[Spending, float | None]:
    """The accounts as the service's log tells them, and the shop's revenue a day; None without orders.

    Where an offer does not say it, uptake is the rate at which each service was used so far, after ten offers
    of which one was used. ``catalog`` is the bundle's, or that of the tables.
    """
    revenue = sales.revenue_a_day
    shown_of, used_of = np.full(len(catalog), 10.0), np.ones(len(catalog))
    shown: list[Shown] = []
    if settings.budgets:
        since_us, window_us = start_of_periods(now_us), settings.windows.uptake_days * DAY_US
        used = used_since(connection, sales, since_us)
        shown = matched(shown_since(connection, since_us), used, window_us)
    tracked = Tracked.of(settings, catalog)
    offers = [tracked.offer(one) for one in shown]
    for offer in offers:
        if offer.service >= 0:
            shown_of[offer.service] += 1
            used_of[offer.service] += offer.used_at_us is not None
    spending = Spending(settings, catalog, used_of / shown_of, revenue)
    spending.replay(offers, shifts, now_us)
    for one, offer in zip(shown, offers):
        if one.user_id and one.used_at_us is None:
            spending.open.add(one.user_id, one.service_id, offer)
    return spending, revenue


def start_of_periods(now_us: int) -> int:
    """From when on any budget may count what was shown."""
    return min(period_of(now_us, period)[0] for period in ("month", "week", "day"))


def shown_since(connection: sa.Connection, since_us: int, user_id: str | None = None) -> list[Shown]:
    """What was decided to be shown, to all users or to one; that of deleted users is without their ids."""
    query = sa.select(decisions.c.user_id, decisions.c.decided_at_us, decisions.c.record)
    query = query.where(decisions.c.decided_at_us >= since_us)
    if user_id is not None:
        query = query.where(decisions.c.user_id == user_id)
    found = shown_of(connection, connection.execute(query))
    if user_id is None:
        rows = connection.execute(sa.select(spent).where(spent.c.at_us >= since_us))
        found += [Shown(user_id="", **row._mapping) for row in rows]
    return found


def shown_of(connection: sa.Connection, rows: Iterable[sa.Row[Any]]) -> list[Shown]:
    """What decisions showed, of rows with user_id, decided_at_us and record."""
    names: dict[str, Names] = {}
    found = []
    for row in rows:
        record = from_text(row.record)
        if is_replayable(record):
            known = record["names"]
            if known not in names:
                names[known] = Names.from_kept(read_kept(connection, known))
            offered = [(names[known].service_id[one[0]], one[1], one[4]) for one in record["shown"]]
        else:
            offered = [(one["service_id"], one["uptake"], one["cost"]) for one in record["services"]]
        found += [
            Shown(row.user_id, row.decided_at_us, service_id, record["tier"], uptake, cost)
            for service_id, uptake, cost in offered
        ]
    return found


def used_since(
    connection: sa.Connection, sales: Sales | None, since_us: int, user_id: str | None = None
) -> list[tuple[int, str, str]]:
    """Moment, user and service of each use, of the log and of the data folder."""
    query = sa.select(events).where(events.c.event == "used", events.c.at_us >= since_us)
    if user_id is not None:
        query = query.where(events.c.user_id == user_id)
    found = connection.execute(query)
    used = {hash_of(row.event_id): (row.at_us, row.user_id, row.service_id) for row in found}
    if sales is not None:
        used.update(sales.used_since(since_us))
    return list(used.values())


def matched(shown: Sequence[Shown], used: Sequence[tuple[int, str, str]], window_us: int) -> list[Shown]:
    """What was shown in the order of time, each with its use; a use answers the latest that waits for one."""
    in_order = sorted(shown, key=lambda one: one.at_us)
    waiting: dict[tuple[str, str], list[int]] = {}
    for number, one in enumerate(in_order):
        if one.user_id:
            waiting.setdefault((one.user_id, one.service_id), []).append(number)
    for at_us, *key in sorted(used):
        places = waiting.get((key[0], key[1]), [])
        since = [place for place in places if 0 <= at_us - in_order[place].at_us < window_us]
        if since:
            places.remove(since[-1])
            in_order[since[-1]] = replace(in_order[since[-1]], used_at_us=at_us)
    return in_order


def keep_spent(connection: sa.Connection, user_id: str, since_us: int, window_us: int) -> None:
    """Keep of a user who is about to be deleted what budgets count: by the hour, without the id."""
    used = used_since(connection, None, since_us, user_id)
    rows = [
        {
            "at_us": one.at_us // HOUR_US * HOUR_US,
            "service_id": one.service_id,
            "tier": one.tier,
            "uptake": one.uptake,
            "cost": one.cost,
            "used_at_us": None if one.used_at_us is None else one.used_at_us // HOUR_US * HOUR_US,
        }
        for one in matched(shown_since(connection, since_us, user_id), used, window_us)
    ]
    if rows:
        connection.execute(spent.insert(), rows)


def read_shifts(file: Path) -> list[Shift]:
    """The declared shifts of an audit file; none where it is not there.

    Raises
    ------
    ValueError
        Where a line is no shift.
    """
    if not file.is_file():
        return []
    shifts = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            shifts.append(Shift(**json.loads(line)))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{file} must hold a declared shift in line {number}, got {line!r}. "
                "Put it right or remove it."
            ) from error
    return shifts


def append_shift(file: Path, shift: Shift) -> None:
    """Add a line to the audit file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(shift), ensure_ascii=False) + "\n")
