"""Who is inside the application, and how it is emptied for a moment: whoever comes then waits outside."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LOOK_AGAIN_S = 0.005


class Door:
    """``async with door`` is for requests, inside one event loop; ``closed`` is for another thread.

    A request is counted before it looks whether the door is closed, and the other thread closes before it
    looks whether somebody is counted: nobody is inside unseen.
    """

    def __init__(self) -> None:
        self._n_inside = 0
        self._is_closed = False

    async def __aenter__(self) -> None:
        self._n_inside += 1
        while self._is_closed:
            self._n_inside -= 1
            await asyncio.sleep(_LOOK_AGAIN_S)
            self._n_inside += 1

    async def __aexit__(self, *_: object) -> None:
        self._n_inside -= 1

    @contextmanager
    def closed(self, patience_s: float) -> Iterator[None]:
        """Nobody is inside, and nobody comes in.

        Raises
        ------
        TimeoutError
            Where somebody stays inside for longer than that.
        """
        self._is_closed = True
        try:
            until_s = time.monotonic() + patience_s
            while self._n_inside:
                if time.monotonic() > until_s:
                    raise TimeoutError(f"a request must end within {patience_s:g} s, got one that does not.")
                time.sleep(_LOOK_AGAIN_S)
            yield
        finally:
            self._is_closed = False
