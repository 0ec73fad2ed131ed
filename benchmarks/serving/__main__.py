"""The service beside empty BentoML services and the usual tutorial.

python -m benchmarks.serving                                  # 100,000 users of 35 services, made once
python -m benchmarks.serving --users 3000 --rounds 3 --json   # small
"""

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.measures import (
    MOST_S,
    first_answer_cpu_ms,
    for_users,
    in_rounds,
    load_of,
    ratios,
    visible_ms,
    wait_until_scored,
)
from benchmarks.serving.processes import ROOT, Server, free_port, started
from benchmarks.serving.shop import Shop, make_shop, with_workers
from offers.settings import ServingSettings

_OTHERS = {  # what `bentoml serve` is told, and the path that is asked
    "default_noop": ("noop:Noop", "/recommend"),
    "lean_noop": ("noop:LeanNoop", "/lean/recommend"),
    "tutorial": ("tutorial:Tutorial", "/recommend"),
}
_MOST_ALONE_PER_S = 1500  # answers on one connection
_N_UNKEPT = 400  # users who get an event
_N_EVENTS = 300  # to be seen by every worker


@contextmanager
def perkwise_served(shop: Shop) -> Iterator[Server]:
    """The service as a user starts it: an empty database, with what it kept at earlier starts beside it."""
    port, state = free_port(), shop.state / "state.db"
    for file in shop.state.glob("state.db*"):
        file.unlink()
    command: list[str | Path] = [sys.executable, "-m", "perkwise", "serve", "--port", str(port)]
    command += ["--data", shop.data, "--bundle", shop.bundle, "--state", state]
    with started(command, port, shop.home / "perkwise.log", {"PERKWISE_HOME": str(shop.home)}) as server:
        yield server


def start_first(shop: Shop) -> tuple[float, float]:
    """Seconds until a service with nothing kept is ready, and from then until all users are scored."""
    shutil.rmtree(shop.state, ignore_errors=True)
    shop.state.mkdir()
    with perkwise_served(shop) as server:
        return server.ready_s, wait_until_scored(server)


@contextmanager
def bento_served(name: str, target: str, work: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", f"benchmarks.serving.{target}"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # more threads make LightGBM slower here
    with started(command, port, work / f"{name}.log", environment) as server:
        yield server


def measure(shop: Shop, work: Path, n_rounds: int, seconds: float, n_connections: int) -> dict[str, Any]:
    """Everything, in one run."""
    first_ready_s, scored_s = start_first(shop)
    user_ids = np.random.default_rng(0).permutation(shop.user_ids()).tolist()
    asks = for_users(user_ids, "/recommend", '"degraded":null')
    with ExitStack() as stack:
        others = {
            name: stack.enter_context(bento_served(name, target, work))
            for name, (target, _) in _OTHERS.items()
        }
        ours = stack.enter_context(perkwise_served(shop))
        wait_until_scored(ours)
        servers = {"perkwise": (ours, asks)}
        for name, (_, path) in _OTHERS.items():
            servers[name] = (others[name], for_users([str(n) for n in range(10_000)], path, '"offers":'))
        rounds = in_rounds(servers, n_rounds, seconds, n_connections)
        alone, alone_cpu_s = load_of(ours, asks, 1, 2 * seconds, _MOST_ALONE_PER_S)
        unkept = [json.loads(ask.body)["user_id"] for ask in islice(asks, _N_UNKEPT)]
        pss, rss = ours.memory_mib()
        compared = {name: ratios(rounds["perkwise"], rounds[name]) for name in _OTHERS}
        return {
            **{f"ratio_to_{name}": one["median"] for name, one in compared.items()},
            "ratios": compared,
            "p50_ms": alone.p50_ms,
            "p99_ms": alone.p99_ms,
            "one_connection": {"per_s": alone.per_second, "cpu_us": 1e6 * alone_cpu_s / alone.n_answers},
            "unkept_cpu_ms": first_answer_cpu_ms(ours, unkept),
            "first_ready_s": first_ready_s,
            "scored_s": scored_s,
            "ready_s": ours.ready_s,
            "errors": alone.errors + sum(one.errors for one in rounds.values()),
            "pss_mib": pss,
            "rss_mib": rss,
            "servers": {name: one.summary() for name, one in rounds.items()},
        }


def measure_workers(shop: Shop, n_connections: int, seconds: float) -> dict[str, Any]:
    """What a second worker adds, and how soon both know what one of them was told."""
    if not hasattr(ServingSettings(), "workers"):
        return {}
    user_ids = np.random.default_rng(1).permutation(shop.user_ids()).tolist()
    found: list[dict[str, Any]] = []
    for n_workers in (1, 2):
        with perkwise_served(with_workers(shop, n_workers)) as server:
            visible = visible_ms(server, n_workers, user_ids[:_N_EVENTS])
            wait_until_scored(server)
            asks = for_users(user_ids[_N_EVENTS:], "/recommend", '"degraded":null')
            load, _ = load_of(server, asks, n_connections, seconds)
            pss, _ = server.memory_mib()
        p99_ms = float(np.quantile(visible, 0.99)) if visible else None
        found.append({"per_s": load.per_second, "pss_mib": pss, "visible_p99_ms": p99_ms})
    one, two = found
    return {
        "visible_p99_ms": two["visible_p99_ms"],
        "further_worker_mib": two["pss_mib"] - one["pss_mib"],
        "two_workers_per_s": two["per_s"],
    }


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """The tables of the README."""
    yield "| service | answers a second | CPU µs | p50 / p95 / p99 ms | errors | Perkwise, times (rounds) |"
    yield "|---|---|---|---|---|---|"
    for name, one in found["servers"].items():
        times = found["ratios"].get(name)
        told = "" if times is None else f"{times['median']:.2f} ({times['min']:.2f} to {times['max']:.2f})"
        yield (
            f"| {name} | {one['per_s']:,.0f} ({one['min_per_s']:,.0f} to {one['max_per_s']:,.0f}) "
            f"| {one['cpu_us']:,.0f} | {one['p50_ms']:.1f} / {one['p95_ms']:.1f} / {one['p99_ms']:.1f} "
            f"| {one['errors']:,} | {told} |"
        )
    yield ""
    yield "| measured | |"
    yield "|---|---|"
    one = found["one_connection"]
    yield f"| one connection: p50 / p99 ms | {found['p50_ms']:.2f} / {found['p99_ms']:.2f} |"
    yield f"| one connection: requests a second, CPU µs | {one['per_s']:,.0f}, {one['cpu_us']:,.0f} |"
    yield f"| first answer after an event, CPU ms | {found['unkept_cpu_ms']:.1f} |"
    yield f"| start to ready, first / again, s | {found['first_ready_s']:.1f} / {found['ready_s']:.1f} |"
    yield f"| all users scored beforehand, s after the first start | {found['scored_s']:.1f} |"
    if "visible_p99_ms" in found:
        known = found["visible_p99_ms"]
        told = f"not within {MOST_S} s" if known is None else f"{known:.1f}"
        yield f"| an event in the answers of both workers: p99 ms | {told} |"
        yield f"| two workers: answers a second | {found['two_workers_per_s']:,.0f} |"
        yield f"| a further worker, MiB of PSS | {found['further_worker_mib']:,.0f} |"
    yield f"| memory PSS / RSS, MiB | {found['pss_mib']:,.0f} / {found['rss_mib']:,.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--services", type=int, default=35)
    parser.add_argument("--work", type=Path, default=ROOT / "var" / "benchmarks" / "serving")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of each service in each round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # what was started is ended too
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # children inherit it
    work = asked.work.resolve()
    shop = make_shop(work, asked.users, asked.services)
    found = {
        "users": asked.users,
        "services": asked.services,
        "connections": asked.connections,
        **measure(shop, work, asked.rounds, asked.seconds, asked.connections),
        **measure_workers(shop, asked.connections, asked.seconds),
    }
    print(json.dumps(found) if asked.json else "\n".join(lines_of(found)))
    if found["errors"]:
        sys.exit(f"{found['errors']} requests were not answered with 200 and a whole answer")


if __name__ == "__main__":
    main()
