"""Four loops in a simulated world over several seeds: share of the oracle's value by week, with intervals.

Each seed's run is kept as JSON in --out as soon as it is done; runs that are there are not made again.
"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from offers.settings import Settings
from training.loop.report import render, write_picture
from training.loop.simulate import Simulation, live
from training.loop.summary import NAMES, curves, findings


def run_seed(users: int, services: int, weeks: int, shift_week: int, folder: Path, seed: int) -> Path:
    """The file of a seed's run, made where it is not there yet."""
    file = folder / f"{users}-{services}-{weeks}-{shift_week}-{seed}.json"
    if not file.is_file():
        told = []
        for week in live(users, services, weeks, seed, Settings(), shift_week):
            told.append(week)
            shares = ", ".join(f"{name} {one.policy_share:.0%}" for name, one in week.loops.items())
            ours = week.loops["perkwise"].notes
            said = f"{'promoted; ' if ours.promoted else ''}drifted: {', '.join(ours.drifted) or 'none'}"
            print(f"seed {seed}, week {week.week}: {shares}; {said}", file=sys.stderr, flush=True)
        run = Simulation(users, services, seed, shift_week if shift_week <= weeks else 0, tuple(told))
        file.write_text(json.dumps(run.to_json()), encoding="utf-8")
    return file


def table(runs: list[Simulation]) -> str:
    """The shares of all loops by week, and what customers were really served, as Markdown."""
    found, served = curves(runs), curves(runs, served=True)["perkwise"]
    heads = ["week", *(NAMES[name] for name in found), "Perkwise with holdout and exploration"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for week in range(1, len(runs[0].weeks) + 1):
        cells = [str(week), *(one.told(week) for one in found.values()), served.told(week)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--services", type=int, default=12)
    parser.add_argument("--weeks", type=int, default=12)
    parser.add_argument("--shift-week", type=int, default=7, help="0: the world stays as it is (7)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument(
        "--out", type=Path, default=Path("var/loop"), help="runs, page and picture (var/loop)"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    sizes = (arguments.users, arguments.services, arguments.weeks, arguments.shift_week)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        files = list(pool.map(partial(run_seed, *sizes, arguments.out), arguments.seeds))
    runs = [Simulation.from_json(json.loads(file.read_text(encoding="utf-8"))) for file in files]
    write_picture(runs, arguments.out / "loop.png")
    seeds = " ".join(map(str, arguments.seeds))
    command = f"python -m benchmarks.loop --users {arguments.users} --weeks {arguments.weeks} --seeds {seeds}"
    (arguments.out / "loop.html").write_text(render(runs, command), encoding="utf-8")
    print(*findings(runs), "", table(runs), sep="\n")


if __name__ == "__main__":
    main()
