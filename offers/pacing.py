"""Spending a budget over its period: prices that follow the spend, and a stop before it is exceeded.

A period pays for the offers made in it. A contact is spent at once. A use may come until the uptake window
closes, so what it may cost is held from the decision on: the expected cost times ``use_cover`` and room for
chance, less as the window passes, and never more than each offer used once; when the window closes the rest
is released. An offer is made where what is spent and held together stays below the budget less its reserve,
which only a declared shift opens. Users who are eagerer than the cover draw on the reserve; where every
offer is held in full (a cover of 1000) nothing can.

Before that stop the price λ slows the spending: it rises while more is spent than what is left divided by the
time that is left, and falls while less is (dual mirror descent with the target of what remains: Balseiro,
Lu and Mirrokni 2023, The best of many worlds: dual mirror descent for online allocation problems).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray

from offers.calendar import DAY_US, HOUR_US, MINUTE_US
from offers.settings import PacingSettings

_ALL = 1000.0  # a use_cover from which every offer counts as used
_DEVIATIONS = 2.5  # of chance, held on top of the cover
_RATE = 0.08  # of change of the price in a step in which twice the target is spent
_STEPS = 500  # of a period


@dataclass(frozen=True)
class Shift:
    """A declared shift of demand, which opens the reserve of a budget for the period it falls in."""

    budget: str
    at_us: int
    who: str
    why: str

    def __post_init__(self) -> None:
        missing = [name for name in ("budget", "who", "why") if not getattr(self, name).strip()]
        if missing:
            raise ValueError(
                f"A shift of demand must say for which budget, who declares it and why, "
                f"{' and '.join(missing)} is empty: it stays in the audit."
            )


@dataclass
class _Held:
    """What the offers of one hour may still cost."""

    expected: float = 0.0
    full: float = 0.0  # each used once
    variance: float = 0.0  # at most, of independent uses


@dataclass
class Account:
    """One budget in its present period: what is spent and held, and its price.

    Times must not go back. Amounts are money, or services shown for a budget of contacts, of which
    nothing is ever held.
    """

    name: str
    amount: float
    period: str  # month, week or day
    window_us: int  # how long after the offer a use counts
    settings: PacingSettings
    scale: float = 1.0  # the size of a price that is felt: 1 for money, some money for a contact
    price: float = 0.0
    start_us: int = 0
    end_us: int = 0
    spent: float = 0.0
    is_reserve_open: bool = False
    held: dict[int, _Held] = field(default_factory=dict)  # by the hour of the offer
    _seen_us: int = 0
    _seen: float = 0.0
    _sums: tuple[int, float, float, float] | None = None  # of what is held: minute, mean, variance, full

    @property
    def open_amount(self) -> float:
        """The budget, without its reserve where no shift was declared."""
        return self.amount * (1.0 if self.is_reserve_open else 1 - self.settings.reserve_share)

    def committed(self, now_us: int) -> float:
        """Spent, and what the offers still open are expected to cost yet."""
        return self.spent + sum(one.expected * self._left(hour, now_us) for hour, one in self.held.items())

    def holds_of(self, expected: NDArray[np.float64], full: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is held for each of several offers, made alone just now."""
        return (
            full if self.settings.use_cover >= _ALL else np.minimum(full, self.settings.use_cover * expected)
        )

    def room(self, now_us: int) -> float:
        """What a further offer may spend and hold; below 0 where offers were used more than was covered."""
        mean, variance, full = self._held_now(now_us)
        held = full
        if self.settings.use_cover < _ALL:
            held = min(full, self.settings.use_cover * mean + _DEVIATIONS * sqrt(variance))
        return self.open_amount - self.spent - held

    def take_back(self, at_us: int, contact: float, expected: float = 0.0, full: float = 0.0) -> None:
        """An offer came to nothing, as if it had not been made."""
        if at_us >= self.start_us:
            self.spent -= contact
            self._release(at_us, expected, full)

    def offer(
        self, now_us: int, contact: float, expected: float = 0.0, full: float = 0.0, n_offers: int = 1
    ) -> None:
        """Take in an offer, or several alike together: the contact is spent, the use is held."""
        self.advance(now_us)
        self.spent += contact
        if full > 0:
            held = self.held.setdefault(now_us // HOUR_US, _Held())
            held.expected += expected
            held.full += full
            held.variance += expected * full / n_offers
            if self._sums:
                minute, mean, variance, sum_full = self._sums
                self._sums = (minute, mean + expected, variance + expected * full / n_offers, sum_full + full)

    def use(self, offered_at_us: int, cost: float, expected: float) -> None:
        """An offer was used: what was held for it is spent; of an earlier period, nothing of this one."""
        if offered_at_us < self.start_us:
            return
        self.spent += cost
        self._release(offered_at_us, expected, cost)

    def declare(self, shift: Shift) -> bool:
        """Open the reserve, where the shift is of this budget and period; was that so?"""
        is_ours = shift.budget == self.name and self.start_us <= shift.at_us < self.end_us
        self.is_reserve_open = self.is_reserve_open or is_ours
        return is_ours

    def advance(self, now_us: int) -> None:
        """Let time pass: a period ends, windows close, the price follows the spend."""
        if not self.start_us <= now_us < self.end_us:
            self.start_us, self.end_us = period_of(now_us, self.period)
            self.spent, self.held, self.is_reserve_open, self._sums = 0.0, {}, False, None
            self._seen_us, self._seen = self.start_us, 0.0
        closed = now_us - self.window_us - HOUR_US
        for hour in [hour for hour in self.held if hour * HOUR_US <= closed]:
            del self.held[hour]
            self._sums = None
        step = (self.end_us - self.start_us) / _STEPS
        n_steps = int((now_us - self._seen_us) / step)
        if n_steps:
            self._follow(now_us, n_steps)

    def _release(self, offered_at_us: int, expected: float, full: float) -> None:
        self._sums = None
        held = self.held.get(offered_at_us // HOUR_US)
        if held:
            held.expected = max(0.0, held.expected - expected)
            held.full = max(0.0, held.full - full)
            held.variance = max(0.0, held.variance - expected * full)

    def _held_now(self, now_us: int) -> tuple[float, float, float]:
        """Mean and variance of what is still to come of what is held, and all of it; once a minute."""
        minute = now_us // MINUTE_US
        if self._sums is None or self._sums[0] != minute:
            mean = variance = full = 0.0
            for hour, one in self.held.items():
                left = self._left(hour, now_us)
                mean += one.expected * left
                variance += one.variance * left
                full += one.full
            self._sums = (minute, mean, variance, full)
        return self._sums[1:]

    def _left(self, hour: int, now_us: int) -> float:
        """The share of the window that is still to come for offers of this hour."""
        return max(0.0, 1 - max(0, now_us - (hour + 1) * HOUR_US) / self.window_us)

    def _follow(self, now_us: int, n_steps: int) -> None:
        """Dual mirror descent: a step for each part of the period that has passed."""
        committed = self.committed(now_us)
        left = max(self.open_amount - self._seen, 0.0)
        target = left * (now_us - self._seen_us) / max(self.end_us - self._seen_us, 1)
        excess = (committed - self._seen - target) / target if target > 0 else float(committed > self._seen)
        change = exp(_RATE * max(-1.0, min(excess, 3.0)) * min(n_steps, 20))
        self.price = max(0.0, (self.price + 0.1 * self.scale) * change - 0.1 * self.scale)
        self._seen_us, self._seen = now_us, committed


@dataclass(frozen=True)
class Forecast:
    """What a period will have cost at its end, if it goes on as it did."""

    budget: str
    open_amount: float
    amount: float
    spent: float
    committed: float
    projected: float
    price: float
    share_of_revenue: float | None  # of the projected cost; None where no revenue is known
    is_reserve_open: bool
    warnings: tuple[str, ...]


def forecast(account: Account, now_us: int, revenue_a_day: float | None = None) -> Forecast:
    """The period's cost as it will be, with a warning before a limit is reached.

    Parameters
    ----------
    revenue_a_day : float, optional
        What the shop takes a day, against which money is held; None for contacts.
    """
    passed = max(now_us - account.start_us, 1) / max(account.end_us - account.start_us, 1)
    committed = account.committed(now_us)
    projected = committed / passed
    days = (account.end_us - account.start_us) / DAY_US
    share = projected / (revenue_a_day * days) if revenue_a_day else None
    warnings = []
    if projected > account.open_amount:
        warnings.append(
            f"{account.name}: {projected:,.2f} are projected to the end of the {account.period}, "
            f"{account.open_amount:,.2f} may be spent; the price rises, and offers stop before it."
        )
    if share is not None and share > account.settings.most_of_revenue:
        warnings.append(
            f"{account.name}: {share:.1%} of revenue is projected to go to services, "
            f"at {account.settings.most_of_revenue:.1%} only free ones are shown."
        )
    return Forecast(
        account.name,
        account.open_amount,
        account.amount,
        account.spent,
        committed,
        projected,
        account.price,
        share,
        account.is_reserve_open,
        tuple(warnings),
    )


def is_throttled(cost: float, revenue: float, was_throttled: bool, settings: PacingSettings) -> bool:
    """Are only free services shown, because services cost too much of the revenue?

    Throttled at ``most_of_revenue``, and open again only below ``reopen_at``.

    >>> settings = PacingSettings()
    >>> [is_throttled(cost, 100.0, was, settings) for cost, was in [(6.5, False), (7, False), (6.5, True)]]
    [False, True, True]
    """
    limit = settings.reopen_at if was_throttled else settings.most_of_revenue
    return cost > 0 and (revenue <= 0 or cost / revenue >= limit)


def period_of(now_us: int, period: str) -> tuple[int, int]:
    """Beginning and end, microseconds since 1970, of the calendar's month, week or day in UTC.

    >>> [at // DAY_US for at in period_of(40 * DAY_US, "month")]
    [31, 59]
    """
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    midnight = epoch + timedelta(days=now_us // DAY_US)
    if period == "day":
        first, after = midnight, midnight + timedelta(days=1)
    elif period == "week":
        first = midnight - timedelta(days=midnight.weekday())
        after = first + timedelta(days=7)
    else:
        first = midnight.replace(day=1)
        after = (first + timedelta(days=31)).replace(day=1)
    return tuple((at - epoch) // timedelta(microseconds=1) for at in (first, after))  # type: ignore[return-value]
