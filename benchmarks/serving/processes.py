"""Servers as processes of their own: start and end them, and what they and their children take."""

import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    port: int
    pid: int
    ready_s: float  # from its start until it was ready

    def pids(self) -> list[int]:
        """The process and all below it."""
        found, todo = [], [self.pid]
        while todo:
            found.append(todo.pop())
            with suppress(FileNotFoundError):  # it has ended meanwhile
                for children in Path(f"/proc/{found[-1]}/task").glob("*/children"):
                    todo += map(int, children.read_text().split())
        return found

    def cpu_s(self) -> float:
        """User and system time so far."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids()]
        return sum(int(one[11]) + int(one[12]) for one in fields) / _TICKS

    def answering(self, connection: socket.socket) -> int | None:
        """Which of its processes holds a caller's connection; None: none took it yet."""
        local, remote = (f"0100007F:{port:04X}" for port in (self.port, connection.getsockname()[1]))
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        inodes = {f"socket:[{row[9]}]" for row in rows if row[1:3] == [local, remote]}
        return next((pid for pid in self.pids() if inodes & _open_files(pid)), None)

    def memory_mib(self) -> tuple[float, float]:
        """PSS, in which pages that processes share are counted once, and RSS, in which they are not."""
        sizes = self.sizes_mib()
        return sizes["Pss"], sizes["Rss"]

    def sizes_mib(self) -> Counter[str]:
        """All that the system tells of the memory of these processes; Pss_Anon is what no file holds."""
        kib: Counter[str] = Counter()
        for pid in self.pids():
            with suppress(ProcessLookupError):  # it has ended, and takes nothing
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                    name, size, *_ = line.split()
                    kib[name.rstrip(":")] += int(size)
        return Counter({name: size / 1024 for name, size in kib.items()})


@contextmanager
def started(
    command: Sequence[str | Path], port: int, log: Path, environment: Mapping[str, str]
) -> Iterator[Server]:
    """A server once it is ready at /readyz; it and all that it started are ended at the end.

    Raises
    ------
    SystemExit
        Where it ends before it is ready.
    """
    began = time.perf_counter()
    with log.open("wb") as said:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env={**os.environ, "BENTOML_DO_NOT_TRACK": "True", **environment},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, port, log)
        yield Server(port, process.pid, time.perf_counter() - began)
    finally:
        _end(process)


def _open_files(pid: int) -> set[str]:
    found = set()
    with suppress(FileNotFoundError):  # the process has ended
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found.add(os.readlink(file))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    with httpx.Client() as client:
        while process.poll() is None:
            with suppress(httpx.TransportError):
                if client.get(f"http://127.0.0.1:{port}/readyz").is_success:
                    return
            time.sleep(0.05)
    raise SystemExit(f"a server ended before it was ready; {log} holds what it said")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # whatever it left behind
    process.wait()
