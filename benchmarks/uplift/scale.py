"""What the engine costs at size: seconds and memory of fitting and of scoring, each in a process of its own.

python -m benchmarks.uplift.scale                  # with 1 M rows of 35 services: several minutes
python -m benchmarks.uplift.scale --only 44800x2 60000x12 --json
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.uplift.families import make_task
from benchmarks.uplift.tasks import Task, load_task, save_task
from benchmarks.uplift.worlds import World, draw_task, make_world
from training.uplift import UpliftModel

_SEED = 0  # a development seed
_ROWS_AT_ONCE = 50_000  # of the million, made one part after the other
SIZES = ("44800x2", "60000x12", "1000000x35")


@dataclass(frozen=True)
class Measured:
    """What one piece of work took; the peak is that of its whole process, rows and libraries included."""

    work: str
    n_rows: int
    n_columns: int
    n_services: int
    wall_seconds: float
    cpu_seconds: float
    peak_gib: float
    gib_before: float  # of the process when the rows were read and nothing was done yet


def measure_fit(task_file: Path, model_folder: Path, n_jobs: int) -> Measured:
    """Fit on a kept task, and keep the model."""
    task = load_task(task_file)
    model = UpliftModel(seed=0, n_jobs=n_jobs, categorical=task.categorical)
    measured = _measure("fit", task.X.shape, task.n_services, lambda: model.fit(*_learned(task)))
    model_folder.mkdir()
    model.save(model_folder)
    return measured


def measure_scores(users_file: Path, model_folder: Path, n_jobs: int) -> Measured:
    """The uplift of every service for every user, by a kept model."""
    X, model = np.load(users_file), UpliftModel.load(model_folder, n_jobs)
    n_services = len(model.average_)
    return _measure("score", X.shape, n_services, lambda: model.predict(X))


def _learned(task: Task) -> tuple[Any, ...]:
    return task.X, task.service, task.propensity, task.y, task.uptake


def _measure(work: str, shape: tuple[int, ...], n_services: int, do: Callable[[], Any]) -> Measured:
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    do()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak, so_far = (usage.ru_maxrss / 2**20 for usage in (after, before))  # kilobytes on Linux
    n_rows, n_columns = shape
    return Measured(work, n_rows, n_columns, n_services, wall, cpu, peak, so_far)


def task_of_size(size: str) -> Task:
    """Rows x services: two e-mails of Hillstrom's trial, or a made world with the uptake logged."""
    if size == "44800x2":
        return make_task("hillstrom-visit", _SEED)
    n_rows, n_services = map(int, size.split("x"))
    rng = np.random.default_rng([_SEED, n_services])
    world = make_world("uptake", n_services, "repurchase", rng)
    return large_task(world, n_rows, rng)


def large_task(world: World, n_rows: int, rng: np.random.Generator) -> Task:
    """Many rows of a world, made part by part so that making them takes little memory."""
    starts = range(0, n_rows, _ROWS_AT_ONCE)
    parts = [
        draw_task(world, "scale", _SEED, rng, min(_ROWS_AT_ONCE, n_rows - start), n_test=1, n_lists=0)
        for start in starts
    ]
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Task)
        if field.name in ("X", "service", "propensity", "y", "uptake")
    }
    return replace(parts[0], **joined)


def measure(size: str, n_jobs: int, folder: Path) -> Iterator[Measured]:
    """Fitting at this size; and scoring as many users where they are a million."""
    task_file, users_file, model_folder = folder / "task.npz", folder / "users.npy", folder / "model"
    _apart(_write, size, task_file, users_file)
    fit = _apart(measure_fit, task_file, model_folder, n_jobs)
    yield fit
    if fit.n_rows >= 1_000_000:
        yield _apart(measure_scores, users_file, model_folder, n_jobs)


def _write(size: str, task_file: Path, users_file: Path) -> None:
    task = task_of_size(size)
    save_task(task, task_file)
    np.save(users_file, task.X)


def _apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """In a process of its own, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.uplift.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", default=SIZES, metavar="SIZE", help=f"rows x services: {SIZES}")
    parser.add_argument("--jobs", type=int, default=-1, help="threads; -1 takes all")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    found: list[Measured] = []
    for number, size in enumerate(arguments.only):
        print(f"{number}/{len(arguments.only)} {size}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            for one in measure(size, arguments.jobs, Path(folder)):
                print(f"{one.work}: {one.wall_seconds:.1f} s", file=sys.stderr, flush=True)
                found.append(one)
    print(json.dumps([asdict(one) for one in found]) if arguments.json else _table(found))


def _table(found: list[Measured]) -> str:
    lines = [
        "| work | rows | columns | services | wall s | CPU s | peak GiB | GiB before |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        size = f"{one.work} | {one.n_rows:,} | {one.n_columns} | {one.n_services}"
        took = f"{one.wall_seconds:.1f} | {one.cpu_seconds:.1f} | {one.peak_gib:.2f} | {one.gib_before:.2f}"
        lines.append(f"| {size} | {took} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
