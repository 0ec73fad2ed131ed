"""Learners at work: each task in a process of its own, forked where the library is already imported.

python -m benchmarks.uplift.learning causalml      # reads one JSON object a line: learner, task, out

A fork spares the seconds that importing a library takes, and its peak of memory is that of one task alone.
"""

import json
import multiprocessing
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.uplift.learners.bases import Fit
from benchmarks.uplift.tasks import load_task

MODULES = {
    "perkwise": "with_perkwise",
    "sklift": "with_sklift",
    "causalml": "with_causalml",
    "econml": "with_econml",
    "plain": "plain",
}


def learners_of(library: str) -> dict[str, Fit]:
    """The learners of a library by their names; importing it may take seconds."""
    return import_module(f"benchmarks.uplift.learners.{MODULES[library]}").LEARNERS


def run_cell(fit: Fit, task_file: Path, out: Path) -> None:
    """Fit, predict, and write the predictions with what they took; in a process of its own."""
    task = load_task(task_file)
    fitted, fit_cpu, fit_wall = _timed(lambda: fit(task))
    column = task.uptake_column.test if task.uptake_column else None
    predicted, predict_cpu, predict_wall = _timed(lambda: fitted(task.X_test, column))
    if predicted.shape != (len(task.X_test), task.n_services) or not np.isfinite(predicted).all():
        raise ValueError(f"predictions must be finite, of shape (n_test, n_services), got {predicted.shape}.")
    np.savez(
        out,
        predicted=predicted.astype(np.float32),
        fit_cpu_seconds=fit_cpu,
        fit_wall_seconds=fit_wall,
        predict_cpu_seconds=predict_cpu,
        predict_wall_seconds=predict_wall,
        peak_mib=_peak_mib(),
    )


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    cpu, wall = _cpu_seconds(), time.perf_counter()
    result = work()
    return result, _cpu_seconds() - cpu, time.perf_counter() - wall


def _cpu_seconds() -> float:
    """User and system time of this process and of those it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # kilobytes on Linux


def _in_fork(fit: Fit, task_file: Path, out: Path) -> str | None:
    """None, or what went wrong."""
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)

    def work() -> None:
        try:
            run_cell(fit, task_file, out)
        except Exception:
            sender.send(traceback.format_exc())
        else:
            sender.send(None)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    sender.close()
    try:
        fault = receiver.recv()
    except EOFError:
        fault = "the process ended without an answer"
    process.join()
    return fault


def main() -> None:
    warnings.simplefilter("ignore")
    joblib = import_module("joblib")
    learners = learners_of(sys.argv[1])
    answers = sys.stdout
    sys.stdout = sys.stderr  # libraries print
    with joblib.parallel_config("sequential"):
        for line in sys.stdin:
            cell = json.loads(line)
            fault = _in_fork(learners[cell["learner"]], Path(cell["task"]), Path(cell["out"]))
            print(json.dumps({"fault": fault}), file=answers, flush=True)


if __name__ == "__main__":
    main()
