"""The budgets of a running service: what each decision must earn, what is closed, and what it spends."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from offers.budget import MONEY, prices_of
from offers.calendar import MINUTE_US
from offers.catalog import Catalog
from offers.pacing import Forecast, Shift
from offers.settings import Settings
from offers.types import Estimates
from serving.recommender import Asked, Decision
from serving.spending import Offer, Shown, Spending, Tracked, read_shifts

logger = logging.getLogger("perkwise")

_FORECAST = ("open_amount", "committed", "projected", "share_of_revenue", "is_reserve_open", "warnings")


class LiveShifts:
    """The declared shifts of an audit file that grows; ``poll`` is for a thread of its own."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._seen = self._waiting = self._read()
        self._found: list[Shift] = []

    def poll(self) -> None:
        """Read the file again where it changed; a content counts when it is seen twice."""
        content = self._read()
        if content == self._seen or self._file is None:
            return
        if content != self._waiting:
            self._waiting = content
            return
        self._seen = content
        try:
            self._found = read_shifts(self._file)
        except ValueError as error:
            logger.error("No further shift is taken: %s", error)

    def take(self) -> list[Shift]:
        """The shifts of a file that changed; each time once."""
        found, self._found = self._found, []
        return found

    def _read(self) -> bytes:
        try:
            return self._file.read_bytes() if self._file else b""
        except OSError:
            return b""


class LiveBudgets:
    """Accounts that follow the service's decisions; where no budget is named, they do nothing.

    All but ``poll`` belong to the thread that decides.

    Parameters
    ----------
    spending : Spending
        As the log tells it when the service starts.
    audit : Path, optional
        Where shifts of demand are declared.
    """

    def __init__(self, settings: Settings, catalog: Catalog, spending: Spending, audit: Path | None) -> None:
        self._settings, self._catalog = settings, catalog
        self._spending, self._shifts = spending, LiveShifts(audit)
        self._tracked = Tracked.of(settings, catalog)
        self._told_us = 0
        self._told: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self._spending.budgets)

    @property
    def is_throttled(self) -> bool:
        """Are only free services shown?"""
        return self._spending.is_throttled

    def poll(self) -> None:
        """See whether a shift was declared."""
        if self:
            self._shifts.poll()

    def advance(self, now_us: int) -> None:
        """Let time pass, open what was declared, and tell warnings that are new."""
        for shift in self._shifts.take():
            if self._spending.declare(shift):
                logger.info(
                    "The reserve of the budget %r is open: %s (%s).", shift.budget, shift.why, shift.who
                )
        self._spending.advance(now_us)
        if now_us - self._told_us >= MINUTE_US:
            self._told_us = now_us
            self._warn(self._spending.forecasts(now_us))

    def is_scarce(self, longest: int, n_requests: int, now_us: int) -> bool:
        """Could these requests together exceed a budget?"""
        return not self._spending.has_room(longest, n_requests, now_us)

    def priced(self, asked: Sequence[Asked], estimates: Estimates, now_us: int) -> list[Asked]:
        """The requests with what their lists must earn on top, and what is closed to them."""
        tracks = np.array([self._track(one) for one in asked], dtype=np.intp)
        price = self._spending.price()
        prices = None
        if price.any():
            prices = prices_of(price, self._spending.budgets, estimates, self._catalog, tracks)
        found = []
        for user, one in enumerate(asked):
            closed = self._spending.closed(
                int(tracks[user]), one.max_services, now_us, estimates.uptake[user]
            )
            one = one._replace(closed=closed or None)
            if prices is not None:
                showing = prices.showing[user]
                one = one._replace(
                    money=float(prices.money[user]), showing=showing if showing.any() else None
                )
            found.append(one)
        return found

    def count(self, decision: Decision, user_id: str) -> None:
        """A decision spends; ``user_id`` is "" where nothing may be known of the user."""
        for service_id, offer in self._offers(decision):
            self._spending.offer(offer)
            if user_id:
                self._spending.open.add(user_id, service_id, offer)

    def take_in(self, shown: Sequence[Shown]) -> None:
        """What other workers decided spends, too."""
        for one in shown:
            offer = self._tracked.offer(one)
            self._spending.offer(offer)
            if one.user_id:
                self._spending.open.add(one.user_id, one.service_id, offer)

    def take_back(self, decision: Decision, user_id: str) -> None:
        """A decision came to nothing: an earlier one was answered again."""
        for service_id, offer in self._offers(decision):
            self._spending.take_back(offer)
            self._spending.open.take_back(user_id, service_id, offer)

    def use(self, user_id: str, service_id: str, at_us: int) -> None:
        """A service was used; where it was not offered before, that is no budget's business."""
        found = self._spending.open.take(user_id, service_id, at_us) if self else None
        if found is not None:
            self._spending.use(found)

    def forget(self, user_id: str) -> None:
        """A user was deleted; what was spent on him stays spent."""
        self._spending.open.forget(user_id)

    def forget_all(self, is_deleted: Callable[[str], bool]) -> None:
        """Other workers removed users; safe from another thread."""
        self._spending.open.forget_all(is_deleted)

    def answer(self, now_us: int) -> list[dict[str, Any]]:
        """Each budget in its present period."""
        if not self:
            return []
        self.advance(now_us)
        forecasts = self._spending.forecasts(now_us)
        return [
            {
                "name": budget.name,
                "kind": budget.kind,
                "period": account.period,
                "amount": account.amount,
                "spent": account.spent,
                "price": account.price,
                "forecast": {key: value for key, value in asdict(one).items() if key in _FORECAST},
                "is_throttled": self.is_throttled and budget.kind == MONEY,
            }
            for budget, account, one in zip(self._spending.budgets, self._spending.accounts, forecasts)
        ]

    def _offers(self, decision: Decision) -> list[tuple[str, Offer]]:
        """What is shown, by service."""
        if not self:
            return []
        found = []
        for one in decision.offered:
            service_id, tier = self._catalog.ids[one.position], decision.asked.tier
            shown = Shown("", decision.decided_at_us, service_id, tier, one.uptake, one.cost)
            found.append((service_id, self._tracked.offer(shown)))
        return found

    def _track(self, asked: Asked) -> int:
        return self._tracked.track_of_tier.get(asked.tier, -1)

    def _warn(self, forecasts: Sequence[Forecast]) -> None:
        """Each warning once: when it begins to hold, whatever its numbers."""
        warnings = [warning for one in forecasts for warning in one.warnings]
        if self._spending.is_throttled:
            warnings.append("Services cost too much of the revenue: only free ones are shown.")
        kinds = {re.sub(r"[\d.,%]+", "", warning): warning for warning in warnings}
        for kind, warning in kinds.items():
            if kind not in self._told:
                logger.warning("%s", warning)
        for kind in self._told - kinds.keys():
            logger.info("No more: %s", " ".join(kind.split()))
        self._told = frozenset(kinds)
