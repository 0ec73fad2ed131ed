"""Callers that ask again as soon as they are answered, in a process of their own.

Reads a task on standard input, writes what became of it to standard output. Needs the standard library and
uvloop alone, so that it takes as little as can be of the processors it shares with the service.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, cast

import uvloop

_MOST_S = 30  # how long one answer may take


class Ask(NamedTuple):
    """A POST, and what a complete answer to it holds."""

    path: str
    body: str
    holds: str


@dataclass(frozen=True)
class Load:
    """What callers got in a while."""

    n_answers: int
    seconds: float
    errors: int  # other statuses, answers that do not hold what they must, connections that broke
    first_error: str
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.n_answers / self.seconds


def run_load(port: int, asks: Sequence[Ask], n_connections: int, seconds: float) -> Load:
    """Ask until the time is over or everything was asked once."""
    task = {"port": port, "asks": asks, "n_connections": n_connections, "seconds": seconds}
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving.load"],
        input=json.dumps(task),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Load(**json.loads(ran.stdout))


class Callers:
    """What all callers share: the requests to come, and what became of those that were."""

    def __init__(self, asks: Sequence[Ask], seconds: float) -> None:
        self.asks: Iterator[tuple[bytes, bytes]] = map(_spelled, asks)
        self.loop = asyncio.get_running_loop()
        self.seconds: list[float] = []
        self.errors: list[str] = []
        self.began = self.ended = time.perf_counter()
        self.until = self.began + seconds

    def next(self) -> tuple[bytes, bytes] | None:
        return next(self.asks, None) if time.perf_counter() < self.until else None

    def result(self) -> Load:
        sorted_ms = sorted(1000 * one for one in self.seconds)

        def quantile(share: float) -> float:
            return sorted_ms[min(int(share * len(sorted_ms)), len(sorted_ms) - 1)] if sorted_ms else 0.0

        return Load(
            n_answers=len(sorted_ms),
            seconds=self.ended - self.began,
            errors=len(self.errors),
            first_error=self.errors[0] if self.errors else "",
            p50_ms=quantile(0.5),
            p95_ms=quantile(0.95),
            p99_ms=quantile(0.99),
        )


class Caller(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, callers: Callers) -> None:
        self._callers, self._loop = callers, callers.loop
        self.done: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._found += data
        head, _, body = self._found.partition(b"\r\n\r\n")
        place = head.lower().find(b"content-length: ")
        if place < 0 or len(body) < int(head[place + 16 :].partition(b"\r\n")[0]):
            return
        now = time.perf_counter()
        if head[9:12] == b"200" and self._holds in body:
            self._callers.seconds.append(now - self._asked)
        else:
            self._callers.errors.append((head[9:12] + b" " + body[:300]).decode(errors="replace"))
        self._callers.ended = now
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self._callers.errors.append(f"the connection broke: {error}")
            self.done.set_result(None)

    def _ask(self) -> None:
        following = self._callers.next()
        if following is None:
            self.done.set_result(None)
            self._transport.close()
            return
        request, self._holds = following
        self._found = b""
        self._asked = time.perf_counter()
        self._transport.write(request)


def _spelled(ask: Ask) -> tuple[bytes, bytes]:
    path, body, holds = (part.encode() for part in ask)
    head = (
        b"POST %b HTTP/1.1\r\nhost: benchmark\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    )
    return head % (path, len(body)) + body, holds


async def _call(port: int, asks: Sequence[Ask], n_connections: int, seconds: float) -> Load:
    callers = Callers(asks, seconds)
    made = [
        await callers.loop.create_connection(lambda: Caller(callers), "127.0.0.1", port)
        for _ in range(n_connections)
    ]
    _, late = await asyncio.wait([caller.done for _, caller in made], timeout=seconds + _MOST_S)
    callers.errors += [f"no answer within {_MOST_S} s"] * len(late)
    return callers.result()


def main() -> None:
    task = json.load(sys.stdin)
    asks = [Ask(*ask) for ask in task.pop("asks")]
    json.dump(asdict(uvloop.run(_call(asks=asks, **task))), sys.stdout)


if __name__ == "__main__":
    main()
