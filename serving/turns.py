"""Who may decide now: where something is nearly used up, one worker after the other.

Each worker tells the others how many decisions it is making that they cannot read yet. As long as there is
room for the worst of all of these, all decide at once. Where there is not, a worker decides only while the
others have nothing at work, and those who wait for that go one by one. A worker tells what it begins before
it looks at what the others do, so of two that begin together at least one sees the other.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import copy
from typing import Self

from serving.following import Following
from serving.shared import Shared

_LOOK_AGAIN_S = 0.001


class Turns:
    """Used inside one event loop.

    Parameters
    ----------
    is_scarce : callable
        Could so many decisions together exceed a budget or a capacity, for all that is known here?
    """

    def __init__(self, shared: Shared | None, following: Following, is_scarce: Callable[[int], bool]) -> None:
        self._shared, self._following, self._is_scarce = shared, following, is_scarce
        self._lock = asyncio.Lock()  # of those of this worker who wait

    def asking(self, is_scarce: Callable[[int], bool]) -> Self:
        """The same turns, taken by others too who know by themselves what is scarce."""
        other = copy(self)
        other._is_scarce = is_scarce
        return other

    @asynccontextmanager
    async def taken(self, n_decisions: int) -> AsyncIterator[None]:
        """A turn for so many decisions, up to their commit; what others acknowledged is known in it.

        Raises
        ------
        Unavailable
            Where what others did cannot be read.
        """
        if self._shared is None:
            yield
            return
        self._shared.add_at_work(n_decisions)
        try:
            if self._is_free(self._shared, n_decisions):
                yield
                return
        finally:
            self._shared.add_at_work(-n_decisions)
        async with self._lock:
            while not self._shared.take_scarce():
                await asyncio.sleep(_LOOK_AGAIN_S)
            self._shared.add_at_work(n_decisions)
            try:
                while not self._is_free(self._shared, n_decisions):
                    await asyncio.sleep(_LOOK_AGAIN_S)
                yield
            finally:
                self._shared.add_at_work(-n_decisions)
                self._shared.leave_scarce()

    def _is_free(self, shared: Shared, n_decisions: int) -> bool:
        """May we decide beside what others do?"""
        n_beside = shared.at_work_beside()  # first: what has ended by now is followed
        self._following.follow()
        return n_beside == 0 or not self._is_scarce(n_decisions + n_beside)
