"""The data folder is read while this process still imports what serving needs: both take seconds.

Only the files of ``serving.prepared`` come of it, and its lock keeps two from making them: who starts to
serve meanwhile waits there. Whatever goes wrong is told by the start itself, which then meets it again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen

from serving.child import start_child
from serving.config import ServeConfig


class Ahead:
    """A process that makes the files, where they are not there."""

    def __init__(self, process: "Popen[bytes]") -> None:
        self._process = process

    def wait(self) -> int:
        """Its exit code, when it has ended: 0 where the files are there."""
        return self._process.wait()

    def close(self) -> None:
        """End it, where it has not ended yet."""
        self._process.kill()
        self._process.wait()


@contextmanager
def begun_ahead(config: ServeConfig) -> Iterator[Ahead]:
    """Begin; what has not ended when the context does is ended."""
    with start_child("serving.prepare_ahead", config.to_environment()) as process:
        ahead = Ahead(process)
        try:
            yield ahead
        finally:
            ahead.close()
