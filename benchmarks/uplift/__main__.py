"""causalml, econml, scikit-uplift and Perkwise on the same rows: real trials, made trials, made worlds.

python -m benchmarks.uplift                                          # all; resumes where it was interrupted
python -m benchmarks.uplift --data uptake-12 --learners perkwise --fresh
python -m benchmarks.uplift --seeds development --most 2             # what the design may be chosen on
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.uplift.cells import Cell, Store, cells_of, judge_again, run_cells
from benchmarks.uplift.environment import make_environment
from benchmarks.uplift.plan import PLAN, SEEDS, DataSet
from benchmarks.uplift.table import Line, as_json, details, lines_of, summary

RESULTS = Path(__file__).with_name("RESULTS.md")
_DATA = tuple(data.name for data in PLAN)


def main() -> None:
    arguments = _parser().parse_args()
    plan = _chosen(arguments.data)
    store = Store(arguments.folder)
    wanted = cells_of(plan, arguments.seeds, arguments.learners, arguments.most)
    cells = [cell for cell in wanted if cell.learner not in arguments.without]
    if arguments.judge:
        judge_again(cells, store, _show)
    elif not arguments.table:
        results = {} if arguments.fresh else store.results()
        done = {key for key, result in results.items() if not result.get("fault")}
        run_cells([cell for cell in cells if cell.key not in done], store, _python(arguments), _show)
    _write_tables(plan, store, arguments)
    _say_faults(cells, store)


def _chosen(names: Sequence[str]) -> list[DataSet]:
    """The data sets of these names or families; without a name all that run unasked.

    Raises
    ------
    SystemExit
        For a name that there is not.
    """
    unknown = set(names) - {name for data in PLAN for name in (data.name, data.family)}
    if unknown:
        raise SystemExit(f"--data must be of {', '.join(_DATA)}, got {', '.join(sorted(unknown))}.")
    return [data for data in PLAN if ({data.name, data.family} & set(names) if names else not data.named)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.uplift",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", nargs="+", default=[], metavar="NAME", help=f"of {', '.join(_DATA)}")
    parser.add_argument(
        "--learners", nargs="+", default=[], metavar="NAME", help="such as perkwise causalml-x"
    )
    parser.add_argument("--without", nargs="+", default=[], metavar="NAME", help="learners to leave out")
    parser.add_argument("--seeds", choices=list(SEEDS), default="reported", help="(reported)")
    parser.add_argument("--most", type=int, metavar="N", help="at most so many seeds of each data set")
    parser.add_argument("--fresh", action="store_true", help="run cells again that are done")
    parser.add_argument("--judge", action="store_true", help="figures of kept predictions anew; fits nothing")
    parser.add_argument("--table", action="store_true", help="only the tables of what is done")
    parser.add_argument(
        "--python", type=Path, help="an interpreter with the libraries, instead of making one"
    )
    parser.add_argument("--folder", type=Path, default=Path("var/benchmarks/uplift"), help="of the results")
    parser.add_argument("--out", type=Path, help="Markdown file (RESULTS.md here, for a full plan)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser


def _python(arguments: argparse.Namespace) -> Path:
    return arguments.python or make_environment(arguments.folder / "environment").absolute()


def _write_tables(plan: Sequence[DataSet], store: Store, arguments: argparse.Namespace) -> None:
    results, seeds = store.results(), SEEDS[arguments.seeds]
    found = {data: lines_of(data, results, seeds) for data in plan}
    found = {data: lines for data, lines in found.items() if lines}
    out = arguments.out or (RESULTS if not arguments.data and arguments.seeds == "reported" else None)
    if out:
        out.write_text(_page(found, arguments.seeds), encoding="utf-8")
    print(json.dumps(as_json(found)) if arguments.json else "\n".join(summary(found)))


def _page(found: Mapping[DataSet, Sequence[Line]], seeds: str) -> str:
    kept, chosen_on = SEEDS[seeds], SEEDS["development"]
    lines = [
        "# Uplift: Perkwise beside causalml, econml and scikit-uplift",
        "",
        f"Written by `python -m benchmarks.uplift` on {datetime.now(UTC):%d %B %Y}, {_machine()}. "
        f"{seeds.capitalize()} seeds ({kept.start} and up): "
        f"the design was chosen on seeds {chosen_on.start} to {chosen_on.stop - 1} alone. "
        "Means over seeds ± their standard error; differences are Perkwise minus the other, paired by seed. "
        "One thread each. [README](../README.md#uplift) says what the data and the figures are.",
        "",
        "## Perkwise and the best peer",
        "",
        "The best peer is the one of the best mean on these very results, a different one on each line.",
        "",
        *summary(found),
        "",
        "## Every learner",
        "",
    ]
    for data, of_data in found.items():
        lines += details(data, of_data)
    return "\n".join(lines).rstrip() + "\n"


def _machine() -> str:
    """Cores, processor and versions of what is measured here."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("lightgbm", "numpy"))
    return f"{os.cpu_count()} cores of {_processor()}, Python {platform.python_version()}, {packages}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if (cpuinfo.is_file())
        else []
    )
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()


def _say_faults(cells: Sequence[Cell], store: Store) -> None:
    results = store.results()
    for cell in cells:
        fault = results.get(cell.key, {}).get("fault")
        if fault:
            print(
                f"failed: {' '.join(map(str, cell.key))}: {fault.strip().splitlines()[-1]}", file=sys.stderr
            )


def _show(what: str, done: int, n: int) -> None:
    """A bar on a terminal, a line a cell elsewhere."""
    if not sys.stderr.isatty():
        print(f"{done}/{n} {what}", file=sys.stderr, flush=True)
        return
    full = int(30 * done / max(n, 1))
    end = "\n" if done == n else ""
    print(
        f"\r[{'=' * full}{' ' * (30 - full)}] {done}/{n} {what:<50.50}", end=end, file=sys.stderr, flush=True
    )


if __name__ == "__main__":
    main()
