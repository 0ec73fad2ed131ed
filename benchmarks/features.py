"""Profiles as of two million exposures: CPU seconds and memory, beside pandas on a tenth of them.

python -m benchmarks.features                       # 20 M events, 5 M orders, 2 M exposures: two minutes
python -m benchmarks.features --users 20000 --json  # a tenth of it, and a hundredth for pandas
"""

import argparse
import json
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np

from benchmarks.features_pandas import pandas_profiles
from benchmarks.features_shop import LAYOUT, Shop, make_history, make_shop
from features.pipeline import compute


@dataclass(frozen=True)
class Measured:
    """What one way of computing profiles took; CPU seconds are user and system time of the process."""

    way: str
    n_rows: int
    n_columns: int
    cpu_seconds: dict[str, float]
    peak_gib: float  # of the whole process, the logs and their making included

    @property
    def nanoseconds_a_value(self) -> float:
        return sum(self.cpu_seconds.values()) / (self.n_rows * self.n_columns) * 1e9


def measure_perkwise(n_users: int, seed: int) -> Measured:
    """Logs sorted and all features computed, from arrays in the order of time."""
    return _perkwise(make_shop(n_users, np.random.default_rng(seed)))[0]


def measure_pandas(n_users: int, seed: int) -> tuple[Measured, Measured]:
    """Perkwise and pandas one after the other on the same logs; their common columns must agree."""
    shop = make_shop(n_users, np.random.default_rng(seed))
    ours, profiles = _perkwise(shop)
    seconds, frame = _timed(lambda: pandas_profiles(shop))
    columns = [LAYOUT.columns.index(name) for name in frame.columns]
    np.testing.assert_allclose(profiles[:, columns], frame.to_numpy(), rtol=1e-5)
    n_rows, n_columns = frame.shape
    return ours, Measured("pandas merge_asof", n_rows, n_columns, {"all": seconds}, _peak_gib())


def _perkwise(shop: Shop) -> tuple[Measured, np.ndarray]:
    history_seconds, history = _timed(lambda: make_history(shop))
    exposures = shop.exposures
    seconds, profiles = _timed(lambda: compute(history, LAYOUT, exposures.user, exposures.at_us))
    parts = {"history": history_seconds, "compute": seconds}
    n_rows, n_columns = profiles.shape
    return Measured("perkwise", n_rows, n_columns, parts, _peak_gib()), profiles


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, result


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kilobytes on Linux


def _apart(measure: Callable[..., Any], *arguments: int) -> Any:
    """The measurement in a process of its own, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=200_000, help="100 events, 25 orders, 10 exposures each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    whole = _apart(measure_perkwise, arguments.users, arguments.seed)
    measured = [whole, *_apart(measure_pandas, arguments.users // 10, arguments.seed)]
    if arguments.json:
        print(json.dumps([asdict(one) | {"ns_a_value": one.nanoseconds_a_value} for one in measured]))
        return
    print("| way | exposures | columns | CPU s | ns a value | peak GiB |\n|---|---|---|---|---|---|")
    for one in measured:
        total = sum(one.cpu_seconds.values())
        parts = ", ".join(
            f"{name} {seconds:.1f}" for name, seconds in one.cpu_seconds.items() if name != "all"
        )
        print(
            f"| {one.way} | {one.n_rows:,} | {one.n_columns} | {total:.1f}{f' ({parts})' if parts else ''} "
            f"| {one.nanoseconds_a_value:.0f} | {one.peak_gib:.1f} |"
        )


if __name__ == "__main__":
    main()
