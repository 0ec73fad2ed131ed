"""What becomes of answers when four times as much is asked as can be answered: python -m benchmarks.overload

Starts a service on the loopback address, measures how many lists it answers a second (capacity), how long an
answer takes at half of that (calm), then sends four times the capacity, on time, whether or not anything
comes back, then half again.
"""

import argparse
import asyncio
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import uvloop

ROOT = Path(__file__).resolve().parents[1]
N_CONNECTIONS = 400
CALM, OVERLOAD = 0.5, 4.0  # of the capacity
MUST_NOT_BE = ("calm_refused", "refused_without_retry_after", "other_statuses", "not_sent")
SETTLED_S = 1.0  # of each phase, left out: queues fill and empty


@dataclass
class Sent:
    """Requests of one phase: when each was sent, how long its answer took, and the status."""

    at: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    n_without_retry_after: int = 0
    n_not_sent: int = 0  # no connection was free

    def accepted(self, since: float = SETTLED_S, until: float = math.inf) -> np.ndarray:
        chosen = [s for at, s, status in zip(self.at, self.seconds, self.status)
                  if status == 200 and since <= at < until]  # fmt: skip
        return np.array(chosen)


class Users:
    """Nobody is answered twice: whoever was shown something is scored anew, which takes ten times as long."""

    def __init__(self, user_ids: Sequence[str]) -> None:
        self._left = deque(user_ids)

    def next(self) -> str:
        if not self._left:
            raise SystemExit(
                "every user was answered: ask for fewer rounds or shorter ones (--rounds, --seconds)"
            )
        return self._left.popleft()

    def give_back(self, user_id: str) -> None:
        """The user was refused, and so can be asked for again."""
        self._left.append(user_id)


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self.found = b""
        self.answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.found += data
        head, _, body = self.found.partition(b"\r\n\r\n")
        place = head.find(b"content-length: ")
        if place >= 0 and len(body) >= int(head[place + 16 :].split(b"\r\n")[0]) and self.answer:
            self.found, answer, self.answer = b"", self.answer, None
            answer.set_result(head)

    async def ask(self, request: bytes) -> bytes:
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answer


def request_for(user_id: str) -> bytes:
    body = json.dumps({"user_id": user_id}).encode()
    return b"POST /recommend HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body


async def open_loop(port: int, users: Users, per_second: float, seconds: float) -> Sent:
    """So many a second, on time, on whichever connection is free."""
    loop = asyncio.get_running_loop()
    free = [(await loop.create_connection(Connection, "127.0.0.1", port))[1] for _ in range(N_CONNECTIONS)]
    sent, tasks = Sent(), set()
    rng = np.random.default_rng(0)
    start = due = time.perf_counter()

    async def one(connection: Connection) -> None:
        began, user_id = time.perf_counter(), users.next()
        head = await connection.ask(request_for(user_id))
        sent.at.append(began - start)
        sent.seconds.append(time.perf_counter() - began)
        sent.status.append(int(head[9:12]))
        if sent.status[-1] == 429:
            users.give_back(user_id)
        sent.n_without_retry_after += sent.status[-1] == 429 and b"retry-after" not in head
        free.append(connection)

    for number in range(int(per_second * seconds)):
        due += rng.exponential(1 / per_second)
        pause = due - time.perf_counter()
        if pause > 0.001:
            await asyncio.sleep(pause)
        elif number % 16 == 0:
            await asyncio.sleep(0)
        if free:
            task = asyncio.ensure_future(one(free.pop()))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        else:
            sent.n_not_sent += 1
    await asyncio.gather(*tasks)
    for connection in free:
        connection.transport.close()
    return sent


async def capacity(port: int, users: Users, seconds: float, n_connections: int = 4) -> float:
    """Answers a second when each of a few callers asks again as soon as it is answered."""
    loop = asyncio.get_running_loop()
    until, n_answered = time.perf_counter() + seconds, 0

    async def caller() -> None:
        nonlocal n_answered
        _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
        while time.perf_counter() < until:
            head = await connection.ask(request_for(users.next()))
            n_answered += head[9:12] == b"200"
        connection.transport.close()

    await asyncio.gather(*(caller() for _ in range(n_connections)))
    return n_answered / seconds


def calm_after(sent: Sent, most_s: float) -> float | None:
    """Seconds from which on no half second's p99 is above `most_s`; None: it never got calm."""
    calm = None
    for start in np.arange(0, max(sent.at), 0.5):
        found = sent.accepted(start, start + 0.5)
        if len(found) and np.quantile(found, 0.99) > most_s:
            calm = None
        elif calm is None:
            calm = float(start)
    return calm


def measure(port: int, users: Users, seconds: float) -> dict[str, float | None]:
    """One round."""
    most = uvloop.run(capacity(port, users, seconds / 2))
    calm = uvloop.run(open_loop(port, users, CALM * most, seconds))
    over = uvloop.run(open_loop(port, users, OVERLOAD * most, seconds))
    after = uvloop.run(open_loop(port, users, CALM * most, seconds))
    calm_p99, over_p99 = (float(np.quantile(one.accepted(), 0.99)) for one in (calm, over))
    statuses = np.array(over.status)
    refused = np.array(over.seconds)[statuses == 429]
    return {
        "capacity_per_s": most,
        "calm_p50_ms": 1000 * float(np.quantile(calm.accepted(), 0.5)),
        "calm_p99_ms": 1000 * calm_p99,
        "calm_refused": float((np.array(calm.status) == 429).sum()),
        "accepted_p50_ms": 1000 * float(np.quantile(over.accepted(), 0.5)),
        "accepted_p99_ms": 1000 * over_p99,
        "p99_ratio": over_p99 / calm_p99,
        "asked_per_s": len(statuses) / seconds,
        "accepted_per_s": float((statuses == 200).sum()) / seconds,
        "refused": float((statuses == 429).sum()),
        "refused_p99_ms": 1000 * float(np.quantile(refused, 0.99)) if len(refused) else None,
        "refused_without_retry_after": over.n_without_retry_after,
        "other_statuses": float((~np.isin(statuses, (200, 429))).sum()),
        "not_sent": over.n_not_sent,
        "calm_again_after_s": calm_after(after, 2 * calm_p99),
    }


def summary(rounds: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Medians of the rounds, sums of what must not be; None where a round has none, as it never got calm."""
    found: dict[str, float | None] = {}
    for name in rounds[0]:
        values = [value for one in rounds if (value := one[name]) is not None]
        whole = sum(values) if name in MUST_NOT_BE else float(np.median(values)) if values else None
        found[name] = whole if len(values) == len(rounds) else None
    ratios = [float(one["p99_ratio"] or 0.0) for one in rounds]
    return {**found, "lowest_ratio": min(ratios), "highest_ratio": max(ratios)}


def wait_until_ready(service: subprocess.Popen[bytes], port: int) -> None:
    while service.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the service ended before it was ready")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    parser.add_argument(
        "--state", type=Path, help="a state file with kept scores beside it; else an empty one"
    )
    parser.add_argument("--seconds", type=float, default=6, help="of each phase")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    users = Users(users_of(options.data))
    with tempfile.TemporaryDirectory() as folder:
        state = options.state or Path(folder, "state.db")
        command = [
            sys.executable,
            "-m",
            "perkwise",
            "serve",
            "--data",
            options.data,
            "--bundle",
            options.bundle,
        ]
        command += ["--state", state, "--port", str(port)]
        service = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
        try:
            wait_until_ready(service, port)
            uvloop.run(capacity(port, users, 2))
            rounds = [measure(port, users, options.seconds) for _ in range(options.rounds)]
        finally:
            service.terminate()
            service.wait()
    found = summary(rounds)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<28} {value if value is None else round(value, 2):>10}")


def users_of(data: Path) -> list[str]:
    return pd.read_parquet(data / "users.parquet", columns=["user_id"])["user_id"].astype(str).tolist()


if __name__ == "__main__":
    main()
