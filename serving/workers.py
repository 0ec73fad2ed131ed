"""Several workers behind one address: starts them, starts again what died, and ends them all.

The supervisor does nothing else. It has no thread of its own making, so that it may fork whenever a worker
is needed, and what it has imported is shared by all of them. When the supervisor ends, however that comes
about, the kernel ends its workers: none is left over.
"""

import ctypes
import gc
import logging
import os
import pickle
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import NoReturn

logger = logging.getLogger("perkwise")

Work = Callable[[int, Callable[[], None]], None]  # of a worker: its place, and how it tells that it is ready

_PR_SET_PDEATHSIG = 1
_LIVED_S = 10.0  # a worker that was ready for so long is started again at once
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0  # before another try, where one died sooner
_READY = b"R"
_ENDS = (signal.SIGTERM, signal.SIGINT)
_HEARD = (*_ENDS, signal.SIGCHLD)


@dataclass
class _Worker:
    """One of the workers, as the supervisor knows it."""

    place: int  # from 0; the one that is started again has the same
    pid: int = 0  # 0: it does not run now
    tells: int = -1  # what it writes to: the letter R when it is ready, or a fault
    told: bytes = b""
    ready_at_s: float | None = None
    start_at_s: float = 0.0  # where it does not run, when it is to
    pause_s: float = 0.0  # before the latest start

    @property
    def is_ready(self) -> bool:
        return self.pid != 0 and self.told.startswith(_READY)


@dataclass
class _Ears:
    """The signals that came in, and a socket that can be read when there are some."""

    signals: list[int] = field(default_factory=list)

    def __enter__(self) -> "_Ears":
        self.wakes, self._woken = socket.socketpair()
        self.wakes.setblocking(False)
        self._woken.setblocking(False)
        self._waker = signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        self._before = {one: signal.signal(one, self._hear) for one in _HEARD}
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)
        signal.set_wakeup_fd(self._waker)
        self.wakes.close()
        self._woken.close()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self.signals.append(number)


class Supervisor:
    """Runs as many workers as there are to be, until it is told to end.

    Parameters
    ----------
    work : callable
        What each worker does, in a process of its own: it is given its place and a function to call when it
        is ready. It ends by itself at SIGTERM and SIGINT.
    on_ready : callable
        Called once, when all are ready.
    on_end : callable
        Called once with the signal, when the supervisor was told to end, before the workers are.
    on_death : callable
        Called with the place of each worker that ended, before it is started again.
    """

    def __init__(
        self,
        n_workers: int,
        work: Work,
        on_ready: Callable[[], None],
        on_end: Callable[[int], None],
        on_death: Callable[[int], None] = lambda place: None,
    ) -> None:
        self._work, self._on_ready, self._on_end, self._on_death = work, on_ready, on_end, on_death
        self._workers = [_Worker(place) for place in range(n_workers)]
        self._is_ready = self._is_ending = False

    def run(self) -> None:
        """Return when all workers have ended because they were told to.

        The first is started alone: what it prepares, such as the database's tables, the others find.

        Raises
        ------
        Exception
            Whatever kept the first start of a worker from its end.
        """
        gc.collect()
        gc.freeze()  # else the collector writes to what is shared, and each worker has a copy of its own
        with _Ears() as ears:
            try:
                while not (self._is_ending and all(one.pid == 0 for one in self._workers)):
                    self._start_due()
                    self._wait(ears)
                    self._pass_on(ears)
                    for worker in self._workers:
                        if worker.pid:
                            self._hear(worker)
                            self._bury(worker)
            finally:
                for worker in self._workers:
                    if worker.pid:
                        os.kill(worker.pid, signal.SIGKILL)
                        os.waitpid(worker.pid, 0)

    def _start_due(self) -> None:
        """Start whoever is to run and does not."""
        if self._is_ending:
            return
        now_s = time.monotonic()
        first = self._workers[0]
        for worker in self._workers:
            is_its_turn = self._is_ready or worker is first or first.is_ready
            if worker.pid == 0 and is_its_turn and worker.start_at_s <= now_s:
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        tells, told = os.pipe()
        supervisor = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)  # until the worker has forgotten our handlers
        pid = os.fork()
        if pid == 0:
            _be_worker(self._work, worker.place, told, supervisor, [tells, *self._open_pipes()])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        os.close(told)
        os.set_blocking(tells, False)
        worker.pid, worker.tells, worker.told, worker.ready_at_s = pid, tells, b"", None

    def _open_pipes(self) -> list[int]:
        return [one.tells for one in self._workers if one.pid]

    def _wait(self, ears: _Ears) -> None:
        """Until something happens, or a worker is to be started."""
        due = [one.start_at_s for one in self._workers if one.pid == 0 and one.start_at_s]
        pause_s = max(min(due) - time.monotonic(), 0.0) if due and not self._is_ending else None
        pipes = [one.tells for one in self._workers if one.pid and one.tells >= 0]
        select.select([ears.wakes.fileno(), *pipes], [], [], pause_s)
        with suppress(BlockingIOError):
            ears.wakes.recv(4096)

    def _pass_on(self, ears: _Ears) -> None:
        """Tell the workers what we were told."""
        while ears.signals:
            number = ears.signals.pop(0)
            if not self._is_ending:
                self._is_ending = True
                self._on_end(number)
            for worker in self._workers:
                if worker.pid:
                    os.kill(worker.pid, number)

    def _hear(self, worker: _Worker) -> None:
        """Read what a worker tells."""
        if worker.tells < 0:
            return
        try:
            while found := os.read(worker.tells, 65536):
                worker.told += found
            os.close(worker.tells)  # it has ended, or is about to
            worker.tells = -1
        except BlockingIOError:
            pass
        if worker.is_ready and worker.ready_at_s is None:
            worker.ready_at_s = time.monotonic()
            if not self._is_ready and all(one.is_ready for one in self._workers):
                self._is_ready = True
                self._on_ready()

    def _bury(self, worker: _Worker) -> None:
        """Where a worker has ended, have it started again; where it never could start, end it all."""
        pid, status = os.waitpid(worker.pid, os.WNOHANG)
        if pid == 0:
            return
        self._hear(worker)
        if worker.tells >= 0:
            os.close(worker.tells)  # a child of its own may still hold the other end
        was_ready, fault = worker.is_ready, _fault(worker.told)
        worker.pid, worker.tells = 0, -1
        self._on_death(worker.place)
        if self._is_ending:
            return
        how = _how(os.waitstatus_to_exitcode(status))
        if not was_ready and not self._is_ready:
            raise fault or RuntimeError(f"A worker must get ready, it {how} before that. Start it again.")
        lived_s = 0.0 if worker.ready_at_s is None else time.monotonic() - worker.ready_at_s
        worker.pause_s = _pause_s(worker.pause_s, lived_s)
        worker.start_at_s = time.monotonic() + worker.pause_s
        why = f": {fault}" if fault else ""
        logger.error("Worker %d %s%s; it is started again in %g s.", worker.place, how, why, worker.pause_s)


def _pause_s(before_s: float, lived_s: float) -> float:
    """How long to wait with another start: not at all at first, longer and longer where they fail.

    >>> _pause_s(0.0, 3600.0), _pause_s(0.0, 1.0), _pause_s(0.1, 1.0), _pause_s(8.0, 0.0), _pause_s(8.0, 11.0)
    (0.0, 0.1, 0.2, 10.0, 0.0)
    """
    if lived_s >= _LIVED_S:
        return 0.0
    return min(max(2 * before_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)


def _be_worker(work: Work, place: int, told: int, supervisor: int, others: list[int]) -> NoReturn:
    """What a worker's process does, from the fork to its end."""
    code = 1
    try:
        _end_with(supervisor)
        os.setpgid(0, 0)  # ctrl-C is for the supervisor, who passes it on
        signal.set_wakeup_fd(-1)
        for number in _HEARD:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        for other in others:
            os.close(other)
        work(place, lambda: _tell(told, _READY))
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:  # whatever it is, the supervisor tells it
        _tell(told, _pickled(error))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end_with(supervisor: int) -> None:
    """Have the kernel kill this process when the supervisor ends."""
    prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    if prctl is None or prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(
            "Several workers need Linux, which ends them with their supervisor: set serving.workers to 1."
        )
    if os.getppid() != supervisor:  # it has ended already
        os._exit(1)


def _tell(told: int, message: bytes) -> None:
    while message:
        message = message[os.write(told, message) :]


def _pickled(error: BaseException) -> bytes:
    try:
        found = pickle.dumps(error)
        pickle.loads(found)
        return found
    except Exception:  # one that cannot be sent: its words can
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


def _fault(told: bytes) -> BaseException | None:
    """The fault that a worker told, ready or not; None: none, or not all of it."""
    try:
        found = pickle.loads(told.removeprefix(_READY))
    except (EOFError, pickle.UnpicklingError):
        return None
    return found if isinstance(found, BaseException) else None


def _how(code: int) -> str:
    """How a process ended.

    >>> _how(3), _how(-9)
    ('ended with the exit code 3', 'was killed (SIGKILL)')
    """
    if code >= 0:
        return f"ended with the exit code {code}"
    return f"was killed ({signal.Signals(-code).name})"
