"""What the gate lets through: false promotions, power and the wait, when asked on each of 30 days.

python -m benchmarks.gate                          # 500 worlds of each kind: half an hour
python -m benchmarks.gate --worlds 50 --powered 20 --json
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from benchmarks.gate_shop import N_DAYS, Shop, simulate
from training.confidence_sequence import Spread
from training.gate import judge

LEVEL = 0.95
NO_GAIN = {
    "12 services": Shop(),
    "35 services": Shop(n_services=35),
    "a tenth of the customers differ": Shop(differ=0.1),
    "half gain what half lose": Shop(kind="mixed"),
    "few but large orders are lost": Shop(kind="quiet", n_a_day=1000),
    "the champion was served": Shop(logged_by="champion", n_a_day=1000),
    "the challenger was served": Shop(logged_by="challenger", n_a_day=1000),
}
GAINS = (0.1, 0.2, 0.3, 0.4, 0.6)
SIZES = (300, 1000, 3000)


@dataclass(frozen=True)
class World:
    """What became of one challenger."""

    promoted_after: int | None  # exposures
    low_failed: bool  # against the champion, on any day
    high_failed: bool
    once_promoted: bool  # on any day, by the interval that is valid for one look


@dataclass(frozen=True)
class Errors:
    """Of one kind of world without a gain; shares of the worlds."""

    kind: str
    n_worlds: int
    promoted: float
    low_failed: float
    high_failed: float
    covered: float
    once_promoted: float  # if each day's ordinary interval were asked


@dataclass(frozen=True)
class Power:
    """Of worlds with a gain."""

    gain: float  # share of the mean margin
    n_a_day: int
    n_worlds: int
    promoted: float  # share, within the days
    median_exposures: float | None  # until promotion, where half are promoted


def follow(shop: Shop, seed: int, number: int, to_the_end: bool = True) -> World:
    """Asks the gate at the end of each day, as if the answer of the day before were forgotten."""
    log = simulate(shop, np.random.default_rng([seed, number]))
    promoted_after, low_failed, high_failed, once_promoted = None, False, False, False
    for day in range(N_DAYS):
        gains, users = log.until(day)
        verdict = judge(gains, users, "EUR", LEVEL)
        if verdict.promote and promoted_after is None:
            promoted_after = len(users)
        (of_champion,) = (one for one in verdict.comparisons if one.rival == "champion")
        if of_champion.low is not None and of_champion.high is not None:
            low_failed |= of_champion.low > log.truth["champion"]
            high_failed |= of_champion.high < log.truth["champion"]
        gain = gains["champion"]
        spread = Spread.of(gain.gain, users, gain.least, gain.most)
        once_promoted |= spread.mean * spread.n > 1.96 * math.sqrt(spread.variance)
        if verdict.promote and not to_the_end:
            break
    return World(promoted_after, bool(low_failed), bool(high_failed), bool(once_promoted))


def errors(kind: str, worlds: Iterable[World]) -> Errors:
    """What went wrong in worlds without a gain."""
    found = list(worlds)

    def share(wrong: Iterator[bool]) -> float:
        return sum(wrong) / len(found)

    return Errors(
        kind,
        len(found),
        promoted=share(world.promoted_after is not None for world in found),
        low_failed=share(world.low_failed for world in found),
        high_failed=share(world.high_failed for world in found),
        covered=share(not (world.low_failed or world.high_failed) for world in found),
        once_promoted=share(world.once_promoted for world in found),
    )


def power(shop: Shop, worlds: Iterable[World]) -> Power:
    """How many were promoted, and when."""
    found = [world.promoted_after for world in worlds]
    waits = [math.inf if wait is None else wait for wait in found]
    median = float(np.median(waits))
    promoted = sum(wait is not None for wait in found) / len(found)
    return Power(shop.gain, shop.n_a_day, len(found), promoted, median if math.isfinite(median) else None)


def measure(n_worlds: int, n_powered: int, seed: int, n_jobs: int) -> tuple[list[Errors], list[Power]]:
    """All kinds of worlds without a gain, then all gains and sizes."""
    shops = [Shop(gain=gain, n_a_day=size) for size in SIZES for gain in GAINS]
    total = n_worlds * len(NO_GAIN) + n_powered * len(shops)
    done = 0
    wrong, powers = [], []
    with ProcessPoolExecutor(n_jobs) as pool:
        for kind, shop in NO_GAIN.items():
            wrong.append(errors(kind, pool.map(partial(follow, shop, seed), range(n_worlds), chunksize=10)))
            done += n_worlds
            _say(done, total, kind)
        for shop in shops:
            worlds = pool.map(partial(follow, shop, seed, to_the_end=False), range(n_powered), chunksize=5)
            powers.append(power(shop, worlds))
            done += n_powered
            _say(done, total, f"a gain of {shop.gain:.0%}, {shop.n_a_day:,} exposures a day")
    return wrong, powers


def _say(done: int, total: int, what: str) -> None:
    print(f"{done:,} of {total:,} worlds: {what}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--worlds", type=int, default=500, help="without a gain, of each kind (500)")
    parser.add_argument("--powered", type=int, default=100, help="with a gain, of each gain and size (100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the tables")
    arguments = parser.parse_args()
    wrong, powers = measure(arguments.worlds, arguments.powered, arguments.seed, arguments.jobs)
    if arguments.json:
        answer = {"errors": [asdict(one) for one in wrong], "power": [asdict(one) for one in powers]}
        print(json.dumps(answer))
        return
    print(_error_table(wrong), _power_table(powers), sep="\n\n")


def _error_table(wrong: list[Errors]) -> str:
    lines = [
        "| no gain | worlds | promoted | low wrong | high wrong | covered | by one-look intervals |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in wrong:
        shares = (one.promoted, one.low_failed, one.high_failed, one.covered, one.once_promoted)
        cells = " | ".join(f"{share:.1%}" for share in shares)
        lines.append(f"| {one.kind} | {one.n_worlds:,} | {cells} |")
    return "\n".join(lines)


def _power_table(powers: list[Power]) -> str:
    lines = [
        "| true gain, of the mean margin | " + " | ".join(f"{size:,} a day" for size in SIZES) + " |",
        "|---" * (len(SIZES) + 1) + "|",
    ]
    for gain in GAINS:
        row = [one for size in SIZES for one in powers if (one.gain, one.n_a_day) == (gain, size)]
        cells = " | ".join(_power_cell(one) for one in row)
        lines.append(f"| {gain:.0%} | {cells} |")
    return "\n".join(lines)


def _power_cell(one: Power) -> str:
    wait = "" if one.median_exposures is None else f", half by {one.median_exposures:,.0f}"
    return f"{one.promoted:.0%}{wait}"


if __name__ == "__main__":
    main()
