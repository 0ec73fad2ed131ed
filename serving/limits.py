"""How much is let in: a rate for each key, and a line of bounded length and age before the work."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

Clock = Callable[[], float]  # seconds that only grow

TOO_MUCH = "more is asked than can be answered: come again later"

_TOGETHER = 32  # are at work at a time: as many as are decided together
_IN_OVERLOAD = 4  # where there is more than can be done, so many times fewer
_ROUNDING_S = 1e-9


class TooMuch(Exception):
    """A request that is refused because there are too many; ``retry_after_s`` says when to come again."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimit:
    """For each key a second's worth at once, then ``per_second``.

    What is kept of a key is when its next request is due, were they sent evenly (the generic cell rate
    algorithm); a second's worth may come before that.

    Parameters
    ----------
    due : mapping, optional
        Where that is kept, in seconds of the clock: what several workers share, or memory of our own.

    Examples
    --------
    >>> limit = RateLimit(2, clock=lambda: 0.0)
    >>> limit.take("shop"), limit.take("shop"), limit.take("shop")
    (0.0, 0.0, 0.5)
    """

    def __init__(
        self, per_second: float, clock: Clock, due: MutableMapping[str, float] | None = None
    ) -> None:
        self._per_second, self._clock = per_second, clock
        self._due: MutableMapping[str, float] = {} if due is None else due
        self._early_s = (max(per_second, 1.0) - 1) / per_second if per_second else 0.0

    def take(self, name: str) -> float:
        """0 where one more request is let in; else the seconds until it would be."""
        if not self._per_second:
            return 0.0
        now = self._clock()
        due = max(self._due.get(name, now), now)
        wait = due - now - self._early_s
        if wait > _ROUNDING_S:
            return wait
        self._due[name] = due + 1 / self._per_second
        return 0.0


@dataclass(eq=False)
class _Waiting:
    turn: asyncio.Future[None]
    since: float
    weight: int


class Line:
    """Lets requests begin in the order in which they came, and refuses those that would wait too long.

    The work blocks the event loop, so only so many are at work at a time: who is let in waits nowhere else,
    and in between, what has arrived is read, and refused at once where the line is full.

    A burst may wait for ``max_wait_s``. A line that was not empty for as long is no burst: it stands, and
    then there is room for twice as many as are at work, so that who is answered is answered soon (Nichols and
    Jacobson 2012, Controlling queue delay). Once somebody was refused for that, it is overload: a quarter
    are at work, who are done sooner, and there is room for a quarter. It is used as
    ``async with line.turn()``, inside one event loop.

    Parameters
    ----------
    max_waiting : int
        The length of the line.
    clock : callable
        Seconds that only grow.
    together : int
        How many may be at work; a heavy one begins alone.
    """

    def __init__(self, max_waiting: int, max_wait_s: float, clock: Clock, together: int = _TOGETHER) -> None:
        self.n_working = 0
        self._together, self._fewest = together, max(together // _IN_OVERLOAD, 1)
        self._max_waiting, self._max_wait_s, self._clock = max_waiting, max_wait_s, clock
        self._waiting: deque[_Waiting] = deque()
        self._empty_at = clock()  # the last time that nobody waited
        self._begun = 0  # weight of those that began in this turn of the loop
        self._refused_at = -math.inf  # the last time that somebody was, for the line that stood
        self._is_watched = False

    def __len__(self) -> int:
        return len(self._waiting)

    def refuses(self) -> bool:
        """Must whoever comes now be refused, before anything is done for the request?"""
        if self._is_full:
            self._refuse_old()
        if self._is_full:
            self._tell_refused(self._clock())
            return True
        return False

    def check(self) -> None:
        """Raise TooMuch where whoever comes now must be refused."""
        if self.refuses():
            raise TooMuch(TOO_MUCH)

    @property
    def _is_full(self) -> bool:
        n_waiting = len(self._waiting)
        n_inside = n_waiting + self.n_working
        if n_waiting >= self._max_waiting:
            return True
        if n_inside < 2 * self._fewest:  # nobody is refused, whatever was before: the usual case
            return False
        now = self._clock()
        return n_inside >= 2 * self._most_together(now) and self._stands(now)

    def _stands(self, now: float) -> bool:
        """Is it no burst?"""
        is_old = bool(self._waiting) and now - self._empty_at >= self._max_wait_s
        return is_old or self._is_overloaded(now)

    def _is_overloaded(self, now: float) -> bool:
        """Was somebody refused just now because the line stood?"""
        return now - self._refused_at < self._max_wait_s

    def _most_together(self, now: float) -> int:
        return self._fewest if self._is_overloaded(now) else self._together

    def _tell_refused(self, now: float) -> None:
        if self._stands(now):
            self._refused_at = now

    def turn(self, is_heavy: bool = False) -> "_Turn":
        """The time in which a request is at work; TooMuch where it is refused."""
        return _Turn(self, is_heavy)

    async def enter(self, is_heavy: bool) -> None:
        """Wait for a turn, and begin; ``leave`` must follow."""
        weight = self._together if is_heavy else 1
        if not self._waiting and self._may_begin(weight):
            self._empty_at = self._clock()
            self._begin(weight)
            return
        self.check()
        if not self._waiting:
            self._empty_at = self._clock()
        waiting = _Waiting(asyncio.get_running_loop().create_future(), self._clock(), weight)
        self._waiting.append(waiting)
        self._watch()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled() and waiting.turn.exception() is None:
                self.leave()
            raise

    def _may_begin(self, weight: int) -> bool:
        if self._begun + weight > self._together:
            return False
        return self.n_working < self._fewest or self.n_working < self._most_together(self._clock())

    def _begin(self, weight: int) -> None:
        self.n_working += 1
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._resume)
        self._begun += weight

    def leave(self) -> None:
        """The work is over."""
        self.n_working -= 1
        if not self._begun:
            self._next()

    def _resume(self) -> None:
        self._begun = 0
        self._next()

    def _next(self) -> None:
        """Let those begin whose wait was short enough."""
        if not self._waiting:
            return
        now = self._clock()
        while self._waiting and self._may_begin(self._waiting[0].weight):
            first = self._waiting.popleft()
            if first.turn.done():  # whoever asked has gone
                continue
            if now - first.since > self._max_wait_s:
                self._tell_refused(now)
                self._refuse(first)
                continue
            first.turn.set_result(None)
            self._begin(first.weight)
        if not self._waiting:
            self._empty_at = now

    def _refuse(self, waiting: _Waiting) -> None:
        waiting.turn.set_exception(TooMuch(TOO_MUCH))

    def _refuse_old(self) -> None:
        """Refuse those who have waited for as long as anybody may."""
        now = self._clock()
        while self._waiting and now - self._waiting[0].since >= self._max_wait_s:
            first = self._waiting.popleft()
            if not first.turn.done():
                self._tell_refused(now)
                self._refuse(first)
        if not self._waiting:
            self._empty_at = now

    def _watch(self) -> None:
        """Refuse in time even where nothing moves, as on a disk that does not answer."""
        if not self._is_watched:
            self._is_watched = True
            asyncio.get_running_loop().call_later(self._max_wait_s, self._look)

    def _look(self) -> None:
        self._is_watched = False
        self._refuse_old()
        if self._waiting:
            self._watch()


class _Turn:
    """``Line.turn``: a generator would take as long again."""

    def __init__(self, line: Line, is_heavy: bool) -> None:
        self._line, self._is_heavy = line, is_heavy

    async def __aenter__(self) -> None:
        await self._line.enter(self._is_heavy)

    async def __aexit__(self, *_: object) -> None:
        self._line.leave()
