"""What is measured of running servers."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from benchmarks.serving.load import Ask, Load, run_load
from benchmarks.serving.processes import Server

_MOST_PER_S = 8000  # answers of any of the servers
MOST_S = 30  # until all workers answer, or know an event


@dataclass
class Rounds:
    """The loads of one server, round by round."""

    per_second: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)  # of the server, for each answer
    p50_ms: list[float] = field(default_factory=list)
    p95_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    errors: int = 0

    def add(self, load: Load, cpu_s: float) -> None:
        self.per_second.append(load.per_second)
        self.cpu_us.append(1e6 * cpu_s / load.n_answers)
        self.p50_ms.append(load.p50_ms)
        self.p95_ms.append(load.p95_ms)
        self.p99_ms.append(load.p99_ms)
        self.errors += load.errors

    def summary(self) -> dict[str, object]:
        """Medians of the rounds, and the lowest and highest rate."""
        rates = {"min_per_s": min(self.per_second), "max_per_s": max(self.per_second)}
        return {
            "per_s": median(self.per_second),
            **rates,
            "cpu_us": median(self.cpu_us),
            "p50_ms": median(self.p50_ms),
            "p95_ms": median(self.p95_ms),
            "p99_ms": median(self.p99_ms),
            "errors": self.errors,
        }


def for_users(user_ids: Sequence[str], path: str, holds: str) -> Iterator[Ask]:
    """Requests for one user after another, over and over."""
    return (Ask(path, json.dumps({"user_id": user_id}), holds) for user_id in cycle(user_ids))


def load_of(
    server: Server, asks: Iterator[Ask], n_connections: int, seconds: float, most_per_s: float = _MOST_PER_S
) -> tuple[Load, float]:
    """What callers got, and the server's CPU seconds; requests for ``most_per_s`` are taken from ``asks``."""
    cpu_s = server.cpu_s()
    load = run_load(server.port, list(islice(asks, int(most_per_s * seconds))), n_connections, seconds)
    cpu_s = server.cpu_s() - cpu_s
    if load.errors:
        print(f"{load.errors} errors, such as: {load.first_error}", file=sys.stderr)
    if not load.n_answers:
        raise SystemExit(f"nothing was answered: {load.first_error}")
    return load, cpu_s


def in_rounds(
    servers: Mapping[str, tuple[Server, Iterator[Ask]]], n_rounds: int, seconds: float, n_connections: int
) -> dict[str, Rounds]:
    """Each server in turn, over and over, so that all meet the same moods of the machine."""
    rounds = {name: Rounds() for name in servers}
    most_per_s: dict[str, float] = {}  # few, so that no user of a shop is asked for twice
    for name, (server, asks) in servers.items():  # whatever is made at the first request
        first, _ = load_of(server, asks, n_connections, 1)
        most_per_s[name] = 2 * first.per_second
    for number in range(n_rounds):
        for name, (server, asks) in servers.items():
            rounds[name].add(*load_of(server, asks, n_connections, seconds, most_per_s[name]))
        told = ", ".join(f"{name} {one.per_second[-1]:,.0f}/s" for name, one in rounds.items())
        print(f"round {number + 1} of {n_rounds}: {told}", file=sys.stderr)
    return rounds


def ratios(ours: Rounds, other: Rounds) -> dict[str, float]:
    """How many times as many requests a second: of the medians, and the lowest and highest of a round.

    >>> ratios(Rounds(per_second=[10.0, 20.0, 60.0]), Rounds(per_second=[10.0, 10.0, 20.0]))
    {'median': 2.0, 'min': 1.0, 'max': 3.0}
    """
    by_round = [mine / its for mine, its in zip(ours.per_second, other.per_second, strict=True)]
    return {
        "median": median(ours.per_second) / median(other.per_second),
        "min": min(by_round),
        "max": max(by_round),
    }


def first_answer_cpu_ms(server: Server, user_ids: Sequence[str]) -> float:
    """CPU of an answer for a user of whom something was learned since the last one.

    Half of the users get an event and then an answer, the others an event alone; one connection.
    """
    half = len(user_ids) // 2
    both = [ask for user_id in user_ids[:half] for ask in (_event(user_id), _recommend(user_id))]
    events = [_event(user_id) for user_id in user_ids[half : 2 * half]]
    both_s, events_s = (_cpu_s_of_all(server, asks) for asks in (both, events))
    return 1000 * (both_s - events_s) / half


def wait_until_scored(server: Server) -> float:
    """Seconds until the process is gone that scores all users beforehand."""
    began = ended = time.perf_counter()
    time.sleep(2)  # until it was started, or scores of before are mapped
    while any(b"fill_scores" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in server.pids()):
        time.sleep(0.2)
        ended = time.perf_counter()
    time.sleep(2)  # until they are mapped
    return ended - began


def visible_ms(server: Server, n_workers: int, user_ids: Sequence[str]) -> list[float]:
    """For each user, from sending an event until it is in the profile that every worker tells.

    Empty where an event is not known to all within ``MOST_S``.

    Raises
    ------
    SystemExit
        Where not all workers can be reached.
    """
    connections = _to_each_worker(server, n_workers)
    found = []
    for number, user_id in enumerate(user_ids):
        n_before = _n_events(connections[0], user_id)
        path, body, _ = _event(user_id)
        began = time.perf_counter()
        _answer(connections[number % n_workers], "POST", path, body)
        for connection in connections:
            while _n_events(connection, user_id) <= n_before:
                if time.perf_counter() > began + MOST_S:
                    return []
        found.append(1000 * (time.perf_counter() - began))
    for connection in connections:
        connection.close()
    return found


def _to_each_worker(server: Server, n_workers: int) -> list[HTTPConnection]:
    """A connection to each, when all are ready; which worker takes a connection is up to the system."""
    found: dict[int | None, HTTPConnection] = {}
    until = time.perf_counter() + MOST_S
    while time.perf_counter() < until:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=MOST_S)
        _answer(connection, "GET", "/services")
        found.setdefault(server.answering(connection.sock), connection)
        if len(found) == n_workers:
            return list(found.values())
    raise SystemExit(f"{n_workers} workers must answer, {len(found)} did within {MOST_S} s")


def _n_events(connection: HTTPConnection, user_id: str) -> float:
    return float(_answer(connection, "GET", f"/users/{user_id}/profile")["features"]["viewed_30d"])


def _answer(connection: HTTPConnection, method: str, path: str, body: str | None = None) -> dict[str, Any]:
    connection.request(method, path, body)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{method} {path} must answer 200, got {answer.status}: {content[:300]!r}")
    found: dict[str, Any] = json.loads(content)
    return found


def _cpu_s_of_all(server: Server, asks: Sequence[Ask]) -> float:
    cpu_s = server.cpu_s()
    load = run_load(server.port, asks, n_connections=1, seconds=60)
    cpu_s = server.cpu_s() - cpu_s
    if load.n_answers < len(asks):
        raise SystemExit(
            f"{len(asks)} requests must be answered within a minute, got {load.n_answers}; {load.first_error}"
        )
    return cpu_s


def _recommend(user_id: str) -> Ask:
    return Ask("/recommend", json.dumps({"user_id": user_id}), '"degraded":null')


def _event(user_id: str) -> Ask:
    row = {
        "event_id": uuid4().hex,
        "user_id": user_id,
        "event": "viewed",
        "at": datetime.now(UTC).isoformat(),
    }
    return Ask("/events", json.dumps({"events": [row]}), '"accepted":1')
