"""The routes behind their edge on a real port, in a thread of this process."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette

from serving.application import Application
from serving.edge import Edge, Guard
from serving.keys import KeyFile
from serving.launch import http_config
from serving.routes import make_app


def make_guard(folder: Path, **options: object) -> Guard:
    """A guard whose line hardly ever refuses anybody, but where told otherwise."""
    usual = {"host": "127.0.0.1", "requests_per_second": 0, "max_waiting": 1000, "max_wait_ms": 60_000}
    return Guard(KeyFile(folder / "keys.json"), **{**usual, "max_body_bytes": 2**20, **options})


def make_routes(application: Application, guard: Guard) -> Starlette:
    routes = make_app()
    routes.state.application, routes.state.guard = application, guard
    return routes


class Live:
    """Where the service listens, and what one may ask of it byte by byte."""

    def __init__(self, port: int, guard: Guard) -> None:
        self.port, self.guard, self.url = port, guard, f"http://127.0.0.1:{port}"

    def connect(self, timeout_s: float = 20) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)

    def send(self, *parts: bytes) -> bytes:
        """All that comes back until the other side closes; it closes when we end our sending."""
        with self.connect() as connection:
            with suppress(ConnectionError):
                for part in parts:
                    connection.sendall(part)
            return read_all(connection)

    def is_alive(self) -> bool:
        return httpx.get(f"{self.url}/livez").status_code == 200


def read_all(connection: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionError):
        while more := connection.recv(65536):
            found += more
    return found


def is_whole(found: bytes) -> bool:
    """Has the body of an answer come to its end?"""
    head, _, rest = found.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")]
    return bool(lengths) and len(rest) >= lengths[0]


@contextmanager
def serving(application: Application, guard: Guard) -> Iterator[Live]:
    """The service, ready; ended at the end."""

    async def no_bento(scope, receive, send):
        raise AssertionError(f"the edge passed on {scope['type']}")

    config = http_config(Edge(no_bento, make_routes(application, guard)))
    config.host, config.port = "127.0.0.1", 0
    config.lifespan = "off"
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    yield Live(server.servers[0].sockets[0].getsockname()[1], guard)
    server.should_exit = True
    thread.join(timeout=30)
    assert not thread.is_alive()
