"""The learning curves of the loop as one self-contained HTML page, and as a picture."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from training.evaluation.plots import ACCENT, INK, MUTED, NO_METADATA, STYLE, inline
from training.loop.simulate import Simulation
from training.loop.summary import LEVEL, NAMES, curves, findings

_HERE = Path(__file__).parent
_COLORS = {"perkwise": ACCENT, "no_exploration": "#d3a312", "uptake_only": "#b4472b", "best_constant": MUTED}
_DASHES = {
    "perkwise": "solid",
    "no_exploration": (0, (5, 2)),
    "uptake_only": (0, (1, 1)),
    "best_constant": (0, (4, 3)),
}


def render(runs: Sequence[Simulation], command: str) -> str:
    """The page of one or several runs of the same world size; the same runs, the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.0f} %"
    css = (_HERE.parent / "evaluation" / "report.css").read_text(encoding="utf-8")
    found = curves(runs)
    ends = {name: float(curve.mean[-1]) for name, curve in found.items()}
    return environment.get_template("report.html.j2").render(
        runs=runs,
        first=runs[0],
        findings=findings(runs),
        curves=found,
        kind="good" if ends["perkwise"] == max(ends.values()) else "unclear",
        served=curves(runs, served=True),
        names=NAMES,
        level=LEVEL,
        plot=Markup(_svg(draw(runs))),
        command=command,
        css=Markup(css),
    )


def draw(runs: Sequence[Simulation]) -> Figure:
    """Share of the oracle's value by week; bands are intervals over runs, the dotted line is the shift."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 4.0), layout="constrained")
        ax = figure.add_subplot()
        found = curves(runs)
        weeks = np.arange(1, len(runs[0].weeks) + 1)
        for name, curve in found.items():
            ax.fill_between(weeks, curve.low, curve.high, color=_COLORS[name], alpha=0.14, lw=0)
            width = 2.4 if name == "perkwise" else 1.5
            ax.plot(weeks, curve.mean, color=_COLORS[name], ls=_DASHES[name], lw=width)
        _name_lines(ax, {name: float(curve.mean[-1]) for name, curve in found.items()}, weeks[-1])
        _mark_promotions(ax, runs, found["perkwise"].mean)
        if runs[0].shift_week:
            ax.axvline(runs[0].shift_week, color=INK, lw=1, ls=(0, (1, 2)))
            ax.annotate(
                "the world shifts",
                (runs[0].shift_week, 1.0),
                xytext=(4, -2),
                textcoords="offset points",
                va="top",
                color=INK,
            )
        ax.axhline(0, color="#c3c8cd", lw=0.8, zorder=0)
        ax.set_ylim(min(-0.1, *(float(curve.mean.min()) - 0.05 for curve in found.values())), 1.02)
        ax.set_xlim(1, weeks[-1] + max(1.0, 0.32 * len(weeks)))
        ax.set_xticks(weeks)
        ax.set_xlabel("week")
        ax.set_ylabel("share of the oracle's value")
        ax.yaxis.set_major_locator(MaxNLocator(6))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    return figure


def write_picture(runs: Sequence[Simulation], file: Path) -> None:
    """The learning curves as PNG, for where no HTML can stand."""
    figure = draw(runs)
    FigureCanvasAgg(figure)
    figure.savefig(file, dpi=150, metadata={"Software": None})


def _name_lines(ax: Axes, ends: dict[str, float], last: int) -> None:
    """Each line's name at its end, moved apart where ends are close."""
    at = -np.inf
    for name, end in sorted(ends.items(), key=lambda item: item[1]):
        at = max(end, at + 0.075)
        ax.annotate(
            f"{NAMES[name]} {100 * end:.0f} %",
            (last, end),
            xytext=(last + 0.2, at),
            textcoords="data",
            color=_COLORS[name],
            va="center",
            annotation_clip=False,
        )


def _mark_promotions(ax: Axes, runs: Sequence[Simulation], mean: np.ndarray) -> None:
    """A dot on the curve in each week in which the gate promoted; hollow where it did in some runs only."""
    for place, week in enumerate(zip(*(run.weeks for run in runs), strict=True)):
        promoted = [one.loops["perkwise"].notes.promoted for one in week]
        if any(promoted):
            face = ACCENT if all(promoted) else "white"
            ax.plot(place + 1, mean[place], "o", ms=5.5, mec=ACCENT, mfc=face, zorder=3)


def _svg(figure: Figure) -> str:
    with mpl.rc_context(STYLE | {"svg.hashsalt": "loop"}):
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata=NO_METADATA)
    return re.sub('class="plot"', 'class="loop"', inline(buffer.getvalue()))
