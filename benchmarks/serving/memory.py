"""What a service of a million users takes of memory, and each further worker.

python -m benchmarks.serving.memory                                # 1,000,000 users of 35 services
python -m benchmarks.serving.memory --users 20000 --times 2 --json # small
"""

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.__main__ import perkwise_served
from benchmarks.serving.load import Ask, run_load
from benchmarks.serving.measures import for_users, wait_until_scored
from benchmarks.serving.processes import ROOT, Server
from benchmarks.serving.shop import Shop, enlarged, make_shop, with_workers

_N_ASKED = 20_000  # users
_MOST_S = 600.0  # for asking them
_N_CONNECTIONS = 16


def measure(shop: Shop, most_workers: int) -> dict[str, Any]:
    """The first start, which reads the tables and scores all users; then one worker, two and so on."""
    shutil.rmtree(shop.state, ignore_errors=True)
    shop.state.mkdir(parents=True)
    with perkwise_served(shop) as server:
        first = {"first_ready_s": server.ready_s, "scored_s": wait_until_scored(server)}
    user_ids = np.random.default_rng(0).permutation(shop.user_ids())[:_N_ASKED].tolist()
    asks = list(islice(for_users(user_ids, "/recommend", '"degraded":null'), len(user_ids)))
    found = [_sizes(shop, n_workers, asks) for n_workers in range(1, most_workers + 1)]
    return {**first, "workers": found, "errors": sum(one["errors"] for one in found)}


def _sizes(shop: Shop, n_workers: int, asks: list[Ask]) -> dict[str, Any]:
    """After so many users have asked."""
    with perkwise_served(shop if n_workers == 1 else with_workers(shop, n_workers)) as server:
        wait_until_scored(server)
        load = run_load(server.port, asks, _N_CONNECTIONS, _MOST_S)
        told = _told(server)
    n_lost = len(asks) - load.n_answers  # errors are among them
    return {"n": n_workers, "ready_s": server.ready_s, **told, "errors": n_lost}


def _told(server: Server) -> dict[str, float]:
    sizes = server.sizes_mib()
    names = {"pss_mib": "Pss", "rss_mib": "Rss", "anonymous_mib": "Pss_Anon", "files_mib": "Pss_File"}
    return {told: sizes[name] for told, name in names.items()}


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """The table of the README."""
    yield "| workers | ready s | PSS, MiB | of it no file's | of it mapped files' | RSS |"
    yield "|---|---|---|---|---|---|"
    for one in found["workers"]:
        yield (
            f"| {one['n']} | {one['ready_s']:.1f} | {one['pss_mib']:,.0f} "
            f"| {one['anonymous_mib']:,.0f} | {one['files_mib']:,.0f} | {one['rss_mib']:,.0f} |"
        )
    yield ""
    ready_s, scored_s = found["first_ready_s"], found["scored_s"]
    yield f"First start: ready after {ready_s:,.0f} s, all users scored {scored_s:,.0f} s later."


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--users", type=int, default=100_000, help="of the shop that is simulated")
    parser.add_argument("--times", type=int, default=10, help="how many times as many are served")
    parser.add_argument("--services", type=int, default=35)
    parser.add_argument("--workers", type=int, default=3, help="measured from one up to as many")
    parser.add_argument("--work", type=Path, default=ROOT / "var" / "benchmarks" / "serving")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # what was started is ended too
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # children inherit it
    shop = enlarged(make_shop(asked.work.resolve(), asked.users, asked.services), asked.times)
    told = {"users": asked.users * asked.times, "services": asked.services, "asked": _N_ASKED}
    found = {**told, **measure(shop, asked.workers)}
    print(json.dumps(found) if asked.json else "\n".join(lines_of(found)))
    if found["errors"]:
        sys.exit(f"{found['errors']} requests were not answered with 200 and a whole answer")


if __name__ == "__main__":
    main()
