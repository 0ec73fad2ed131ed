"""One request to a service of its own: started as a user would start it, asked over a real port, ended."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

_PATIENCE_S = 60


def ask_once(data: Path, bundle: Path, state: Path, request: dict[str, Any]) -> dict[str, Any]:
    """The answer of `POST /recommend` by a service that is started for it.

    Raises
    ------
    RuntimeError
        Where the service ends, or is not ready within a minute; the message holds what it said.
    """
    port = _free_port()
    command = [sys.executable, "-m", "perkwise", "serve", "--data", str(data), "--bundle", str(bundle)]
    command += ["--state", str(state), "--port", str(port)]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(service, url)
        answer = httpx.post(f"{url}/recommend", json=request, timeout=10)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found
    finally:
        service.send_signal(signal.SIGTERM)
        service.communicate(timeout=_PATIENCE_S)


def _wait_until_ready(service: subprocess.Popen[str], url: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if service.poll() is not None:
            raise RuntimeError(f"the service ended before it was ready: {service.communicate()[0].strip()}")
        try:
            if httpx.get(f"{url}/readyz", timeout=1).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"the service at {url} was not ready within {_PATIENCE_S} seconds.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
