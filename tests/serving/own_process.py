"""The service as a process of its own, as `perkwise serve` runs it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from serving.config import ServeConfig
from tests.project import ROOT

RUN = "import os; from serving.config import *; from serving.launch import serve; \
c = ServeConfig.from_environment(os.environ); \
serve(c.data, c.bundle, c.state, c.settings, c.host, int(os.environ['PORT']), c.rules, \
champion=c.champion)"


@contextmanager
def started(
    config: ServeConfig, port: int, before: str = "", under: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The process, and the lines that it has said so far; killed at the end where it still runs.

    ``before`` is Python that runs first in it; ``under`` a command that runs it, such as strace.
    """
    environment = {**os.environ, **config.to_environment(), "PORT": str(port)}
    command = [*under, sys.executable, "-c", before + RUN]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    told: list[str] = []
    reader = threading.Thread(target=lambda: told.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        yield process, told
    finally:
        process.kill()
        process.wait(timeout=20)
        reader.join(timeout=20)


def wait_until_ready(port: int, process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the service ended before it was ready"
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the service was not ready within a minute")


def children(pid: int) -> list[int]:
    """The processes that this one started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, NotADirectoryError):
            continue
        if entry.name.isdigit() and int(fields[1]) == pid:
            found.append(int(entry.name))
    return found
