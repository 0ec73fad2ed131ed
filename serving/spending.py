"""What is spent of each budget in its period: the log of decisions, and the uses that followed."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from features.tables import Tables, catalog_of
from offers.budget import MONEY, Budget, budgets_of
from offers.catalog import Catalog
from offers.pacing import DAY_US, Account, Forecast, Shift, forecast
from offers.settings import Settings
from serving.database import events, exposures


@dataclass(frozen=True)
class Offer:
    """A service that was shown, or (``used_at_us``) shown and then used."""

    at_us: int
    service: int  # a catalogue position
    track: int  # of the user; −1: none
    used_at_us: int | None = None


class Spending:
    """The accounts of all budgets of the settings.

    Parameters
    ----------
    uptake : ndarray of shape (n_services,)
        How likely each is to be used once it is offered, where the offer itself does not say.
    """

    def __init__(self, settings: Settings, catalog: Catalog, uptake: NDArray[np.float64]) -> None:
        names = tuple(track.name for track in settings.tracks)
        periods = {limit.name: limit.period for limit in settings.budgets}
        self.budgets: tuple[Budget, ...] = budgets_of(settings.budgets, catalog, names)
        self.accounts = tuple(
            Account(
                one.name,
                one.amount,
                periods[one.name],
                settings.windows.uptake_days * DAY_US,
                settings.pacing,
                1.0 if one.kind == MONEY else max(float(np.mean(catalog.unit_cost * uptake)), 0.01),
            )
            for one in self.budgets
        )
        self._catalog, self._uptake = catalog, uptake

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
        """Let time pass."""
        for account in self.accounts:
            account.advance(now_us)

    def offer(self, offer: Offer) -> None:
        """A service was shown."""
        full = float(self._catalog.unit_cost[offer.service])
        contact = float(self._catalog.contact_cost[offer.service])
        expected = float(self._uptake[offer.service]) * full
        for budget, account in self._covering(offer):
            if budget.kind == MONEY:
                account.offer(offer.at_us, contact, expected, full)
            else:
                account.offer(offer.at_us, 1.0)

    def use(self, offer: Offer) -> None:
        """A service that was shown was used."""
        full = float(self._catalog.unit_cost[offer.service])
        for budget, account in self._covering(offer):
            if budget.kind == MONEY:
                account.use(offer.at_us, full, float(self._uptake[offer.service]) * full)

    def declare(self, shift: Shift) -> bool:
        """Open the reserve of the budget of this name; was there one in the present period?"""
        opened = [account.declare(shift) for account in self.accounts]  # of each: money and contacts
        return any(opened)

    def barred(self, track: int, longest: int, now_us: int) -> NDArray[np.bool_]:
        """Services for which there is no room, in the worst list of this length for a user of this track."""
        barred = np.zeros(len(self._catalog), dtype=bool)
        full = self._catalog.unit_cost
        for budget, account in zip(self.budgets, self.accounts):
            if budget.track not in (-1, track):
                continue
            covered = (
                np.arange(len(barred)) == budget.service if budget.service >= 0 else ~np.zeros_like(barred)
            )
            if budget.kind == MONEY:
                hold = [account.hold_of(p * c, c) for p, c in zip(self._uptake.tolist(), full.tolist())]
                needed = np.array(hold) + self._catalog.contact_cost
            else:
                needed = np.ones(len(barred))
            places = 1 if budget.service >= 0 else longest
            barred |= covered & (needed > 0) & (needed * places > account.room(now_us))
        return barred

    def price(self) -> NDArray[np.float64]:
        """λ of each budget, as ``offers.budget.prices_of`` takes it."""
        return np.array([account.price for account in self.accounts], dtype=np.float64)

    def forecasts(self, now_us: int, revenue_a_day: float | None) -> list[Forecast]:
        """Of each budget; money is held against the revenue."""
        return [
            forecast(account, now_us, revenue_a_day if budget.kind == MONEY else None)
            for budget, account in zip(self.budgets, self.accounts)
        ]

    def _covering(self, offer: Offer) -> list[tuple[Budget, Account]]:
        return [
            (budget, account)
            for budget, account in zip(self.budgets, self.accounts)
            if budget.service in (-1, offer.service) and budget.track in (-1, offer.track)
        ]


def spending_of(
    connection: sa.Connection, tables: Tables, settings: Settings, shifts: Sequence[Shift], now_us: int
) -> tuple[Spending, float | None]:
    """The accounts as the service's log tells them, and the shop's revenue a day; None without orders.

    Uptake is the rate at which each service was used so far, after ten offers of which one was used.
    Users' tracks are not in these tables, so budgets of a track count what is of its services.
    """
    catalog = catalog_of(tables.services)
    track_of = {service: place for place, track in enumerate(settings.tracks) for service in track.services}
    window_us = settings.windows.uptake_days * DAY_US
    used: dict[tuple[str, str], list[int]] = {}
    for row in connection.execute(sa.select(events).where(events.c.event == "used")):
        used.setdefault((row.user_id, row.service_id), []).append(row.at_us)
    offers = []
    for row in connection.execute(sa.select(exposures).order_by(exposures.c.shown_at_us)):
        if row.service_id in catalog.position_of:
            later = [at for at in used.get((row.user_id, row.service_id), ()) if at >= row.shown_at_us]
            used_at = min((at for at in later if at < row.shown_at_us + window_us), default=None)
            place = catalog.position_of[row.service_id]
            offers.append(Offer(row.shown_at_us, place, track_of.get(row.service_id, -1), used_at))
    shown, taken = np.full(len(catalog), 10.0), np.ones(len(catalog))
    for offer in offers:
        shown[offer.service] += 1
        taken[offer.service] += offer.used_at_us is not None
    spending = Spending(settings, catalog, taken / shown)
    spending.replay(offers, shifts, now_us)
    return spending, _revenue_a_day(tables)


def _revenue_a_day(tables: Tables) -> float | None:
    """Of the last 28 days that have orders."""
    orders = tables.orders
    if not len(orders):
        return None
    recent = orders["ordered_at"] > orders["ordered_at"].max() - timedelta(days=28)
    return float(orders.loc[recent, "amount_cents"].sum()) / 100 / 28


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
