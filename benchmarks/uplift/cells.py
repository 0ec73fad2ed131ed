"""The comparison cell by cell: a learner on a task. What is done is kept, so that a run can be resumed."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.uplift.families import make_task
from benchmarks.uplift.judging import Judge
from benchmarks.uplift.plan import OURS, RULES, DataSet
from benchmarks.uplift.tasks import Task, save_task
from benchmarks.uplift.uptake_column import with_uptake_column

Progress = Callable[[str, int, int], None]  # what is under way, cells done, cells in all
_ROOT = Path(__file__).resolve().parents[2]
_MEASURES = ("fit_cpu_seconds", "fit_wall_seconds", "predict_cpu_seconds", "predict_wall_seconds", "peak_mib")


@dataclass(frozen=True)
class Cell:
    """One learner on one task."""

    data: DataSet
    seed: int
    library: str
    learner: str

    @property
    def key(self) -> tuple[str, int, str]:
        return self.data.name, self.seed, self.learner


@dataclass(frozen=True)
class Store:
    """Results as JSON lines in `results.jsonl` (the last line of a cell counts), predictions beside it."""

    folder: Path

    def results(self) -> dict[tuple[str, int, str], dict[str, Any]]:
        """The result of each cell that is done, by (data set, seed, learner)."""
        if not self._file.is_file():
            return {}
        lines = [json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines()]
        return {(line["data"], line["seed"], line["learner"]): line for line in lines}

    def add(self, cell: Cell, result: dict[str, Any]) -> None:
        name, seed, learner = cell.key
        line = {"data": name, "seed": seed, "library": cell.library, "learner": learner, **result}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def predictions_of(self, cell: Cell) -> Path:
        name, seed, learner = cell.key
        file = self.folder / "predictions" / name.replace("/", "-") / f"{seed}.{learner}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    @property
    def _file(self) -> Path:
        return self.folder / "results.jsonl"


class Workers:
    """One process a library, which has it imported and forks for each cell."""

    def __init__(self, python: Path) -> None:
        self.python = python
        self._of: dict[str, subprocess.Popen] = {}

    def run(self, library: str, learner: str, task: Path, out: Path) -> str | None:
        """None, or what went wrong."""
        worker = self._of.get(library) or self._start(library)
        cell = {"learner": learner, "task": str(task), "out": str(out)}
        worker.stdin.write(json.dumps(cell) + "\n")
        worker.stdin.flush()
        answer = worker.stdout.readline()
        if not answer:
            raise RuntimeError(
                f"The process of {library} ended: run `{' '.join(map(str, worker.args))}` to see why."
            )
        return json.loads(answer)["fault"]

    def close(self) -> None:
        for worker in self._of.values():
            worker.stdin.close()
            worker.wait()

    def _start(self, library: str) -> subprocess.Popen:
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self._of[library] = subprocess.Popen(
            [str(self.python), "-m", "benchmarks.uplift.learning", library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=_ROOT,
            env={**os.environ, **one_thread, "PYTHONPATH": str(_ROOT)},
        )
        return self._of[library]


def cells_of(
    plan: Sequence[DataSet], seeds: str, learners: Sequence[str] = (), most: int | None = None
) -> list[Cell]:
    """All cells of a plan, task by task, on the reported or the development seeds."""
    cells = [
        Cell(data, seed, library, learner)
        for data in plan
        for library, learner in data.learners()
        if not learners or learner in learners
        for seed in data.seeds(seeds, learner, most)
    ]
    place = {data.name: number for number, data in enumerate(plan)}
    return sorted(cells, key=lambda cell: (place[cell.data.name], cell.seed))


def run_cells(cells: Sequence[Cell], store: Store, python: Path, progress: Progress) -> None:
    """Run each cell and keep its result; a learner that fails leaves a line with its fault."""
    store.folder.mkdir(parents=True, exist_ok=True)
    workers, done = Workers(python), 0
    task_file = store.folder / f"task-{os.getpid()}.npz"
    try:
        for cells_of_task in _by_task(cells):
            task = _task_of(cells_of_task[0])
            save_task(task, task_file)
            judge = Judge(task)
            for cell in cells_of_task:
                progress(" ".join(map(str, cell.key)), done, len(cells))
                out = store.predictions_of(cell)
                fault = workers.run(cell.library, cell.learner, task_file, out)
                store.add(cell, {"fault": fault} if fault else _result(cell, judge, out))
                done += 1
        progress("done", done, len(cells))
    finally:
        workers.close()
        task_file.unlink(missing_ok=True)


def judge_again(cells: Sequence[Cell], store: Store, progress: Progress) -> None:
    """The figures of kept predictions anew, as after a metric has changed; nothing is fitted."""
    kept, done = [cell for cell in cells if store.predictions_of(cell).is_file()], 0
    for cells_of_task in _by_task(kept):
        judge = Judge(_task_of(cells_of_task[0]))
        for cell in cells_of_task:
            progress(" ".join(map(str, cell.key)), done, len(kept))
            store.add(cell, _result(cell, judge, store.predictions_of(cell)))
            done += 1


def _by_task(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    for _, group in groupby(cells, key=lambda cell: (cell.data.name, cell.seed)):
        yield list(group)


def _task_of(cell: Cell) -> Task:
    task = make_task(cell.data.family, cell.seed)
    if cell.data.uptake is False:
        return task.without_uptake()
    return task if task.uptake is None else with_uptake_column(task)


def _result(cell: Cell, judge: Judge, predictions: Path) -> dict[str, Any]:
    """Figures and what they took, the predicting of the uptake included where it is a feature."""
    with np.load(predictions) as kept:
        figures = judge.figures(kept["predicted"].astype(np.float64))
        took = {name: float(kept[name]) for name in _MEASURES}
    column = judge.task.uptake_column
    if column and cell.learner != OURS and cell.learner not in RULES:
        for work in ("fit", "predict"):
            for clock in ("cpu", "wall"):
                took[f"{work}_{clock}_seconds"] += getattr(column, f"{work}_cpu_seconds")
    return {**asdict(figures), **took}
