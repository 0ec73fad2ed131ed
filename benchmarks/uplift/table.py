"""The results as tables: mean ± standard error over seeds, and differences paired by seed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.uplift.plan import OURS, PEERS, DataSet

Results = Mapping[tuple[str, int, str], Mapping[str, Any]]
FIGURES = ("share", "gain", "qini")


@dataclass(frozen=True)
class Mean:
    """A mean over seeds; its standard error is NaN for one seed."""

    value: float
    se: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """Examples
        --------
        >>> Mean.of([1.0, 3.0])
        Mean(value=2.0, se=1.0, n=2)
        """
        n = len(values)
        se = float(np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else math.nan
        return cls(float(np.mean(values)), se, n)


@dataclass(frozen=True)
class Line:
    """One learner on one data set."""

    data: str
    learner: str
    seeds: tuple[int, ...]
    figures: dict[str, Mean]  # of FIGURES, those that there are
    behind_ours: dict[str, Mean]  # perkwise − this learner, on the seeds that both have
    fit_cpu_seconds: float
    predict_cpu_seconds: float
    peak_mib: float
    faults: int


def lines_of(data: DataSet, results: Results, seeds: Sequence[int]) -> list[Line]:
    """The learners of a data set that have results, the best gain first."""
    found = [_line(data, learner, results, seeds) for _, learner in data.learners()]
    there = [line for line in found if line]
    return sorted(there, key=lambda line: -line.figures["gain"].value)


def _line(data: DataSet, learner: str, results: Results, seeds: Sequence[int]) -> Line | None:
    name = data.name
    of_seed = {seed: results[name, seed, learner] for seed in seeds if (name, seed, learner) in results}
    good = {seed: one for seed, one in of_seed.items() if not one.get("fault")}
    if not good:
        return None
    ours = {seed: results.get((name, seed, OURS), {}) for seed in good}
    both = [seed for seed in good if "gain" in ours[seed]]
    told = next(iter(good.values()))
    kept = [figure for figure in FIGURES if told[figure] is not None and (figure != "share" or data.shares)]
    return Line(
        data=name,
        learner=learner,
        seeds=tuple(good),
        figures={figure: Mean.of([one[figure] for one in good.values()]) for figure in kept},
        behind_ours={
            figure: Mean.of([ours[seed][figure] - good[seed][figure] for seed in both])
            for figure in kept
            if both and learner != OURS
        },
        fit_cpu_seconds=float(np.mean([one["fit_cpu_seconds"] for one in good.values()])),
        predict_cpu_seconds=float(np.mean([one["predict_cpu_seconds"] for one in good.values()])),
        peak_mib=float(np.max([one["peak_mib"] for one in good.values()])),
        faults=len(of_seed) - len(good),
    )


def best_peer(lines: Sequence[Line], figure: str) -> Line | None:
    """The learner of causalml, econml or scikit-uplift with the best mean of a figure.

    It is chosen on these very results, so it is favoured by chance: the comparison is hard on us.
    """
    peers = [line for line in lines if line.learner in PEERS and figure in line.figures]
    return max(peers, key=lambda line: line.figures[figure].value, default=None)


def summary(lines_of_data: Mapping[DataSet, Sequence[Line]]) -> list[str]:
    """One row a data set and figure: ours, the best peer, the paired difference, the best constant."""
    rows = [
        "| data | figure | Perkwise | best peer | | paired difference | best constant |",
        "|---|---|---|---|---|---|---|",
    ]
    for data, lines in lines_of_data.items():
        of_learner = {line.learner: line for line in lines}
        for figure in FIGURES:
            peer = best_peer(lines, figure)
            if peer is None or (figure == "gain" and "share" in peer.figures):
                continue
            ours, constant = of_learner.get(OURS), of_learner.get("best-constant")
            cells = [
                data.label,
                _TITLES[figure],
                _shown(figure, ours and ours.figures[figure]),
                _shown(figure, peer.figures[figure]),
                peer.learner,
                _shown(figure, peer.behind_ours.get(figure), signed=True),
                _shown(figure, constant and constant.figures[figure]),
            ]
            rows.append("| " + " | ".join(cells) + " |")
    return rows


def details(data: DataSet, lines: Sequence[Line]) -> Iterator[str]:
    """All learners on one data set."""
    figures = [figure for figure in FIGURES if figure in lines[0].figures]
    titles = [_TITLES[figure] for figure in figures]
    behind = [f"Perkwise's lead in {title}" for title in titles]
    columns = ["learner", *titles, *behind, "fit CPU s", "predict CPU s", "peak MiB"]
    yield f"### {data.label} ({_seeds(lines)})"
    yield ""
    yield "| " + " | ".join(columns) + " |"
    yield "|---" * len(columns) + "|"
    for line in lines:
        cells = [line.learner + (f" ({line.faults} failed)" if line.faults else "")]
        cells += [_shown(figure, line.figures[figure]) for figure in figures]
        cells += [_shown(figure, line.behind_ours.get(figure), signed=True) for figure in figures]
        cells += [f"{line.fit_cpu_seconds:.2f}", f"{line.predict_cpu_seconds:.2f}", f"{line.peak_mib:.0f}"]
        yield "| " + " | ".join(cells) + " |"
    yield ""


def as_json(lines_of_data: Mapping[DataSet, Sequence[Line]]) -> list[dict[str, Any]]:
    """One object a data set and learner, for programs."""
    return [asdict(line) for lines in lines_of_data.values() for line in lines]


_TITLES = {"share": "% of the oracle", "gain": "gain a user", "qini": "Qini"}


def _shown(figure: str, mean: Mean | None, signed: bool = False) -> str:
    if mean is None:
        return "–"
    scale, digits = (100, 1) if figure == "share" else (1, 4)
    sign = "+" if signed else ""
    error = "" if math.isnan(mean.se) else f" ± {scale * mean.se:.{digits}f}"
    return f"{scale * mean.value:{sign}.{digits}f}{error}"


def _seeds(lines: Sequence[Line]) -> str:
    most = max(lines, key=lambda line: len(line.seeds)).seeds
    return f"seeds {most[0]} to {most[-1]}, {len(most)} in all"
