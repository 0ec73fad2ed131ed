"""A process of its own for work beside the service, which ends when the service does."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path


def start_child(
    module: str, environment: Mapping[str, str], output: int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    """Run one of our modules; by the end of its standard input it learns that this process has ended."""
    return subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    )


def end_with_parent() -> None:
    """From now on this process ends when the one that started it does, however that ended."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
