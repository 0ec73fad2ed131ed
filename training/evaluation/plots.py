"""The plots of a report as SVG text: no network, no fonts inside, the same bytes for the same figures."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from training.evaluation.curves import Reliability
from training.evaluation.figures import CostFigures, Curve, Deciles, LengthFigures

ACCENT, BAND, MUTED, INK = "#0b6e74", "#0b6e74", "#8a9199", "#2b3137"

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, and set in the page's own font
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": "#c3c8cd",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
_SIZE = (3.5, 2.7)  # inches: readable at the width of a phone
NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


def qini_plot(curve: Curve, unit: str, key: str) -> str:
    """The Qini curve with its band, and the straight line of a random order."""
    with drawing(key, "share of customers targeted", f"extra {unit} a customer") as (ax, svg):
        ax.fill_between(curve.band_share, curve.low, curve.high, color=BAND, alpha=0.16, lw=0)
        ax.plot([0, 1], [0, curve.gain[-1]], color=MUTED, lw=1.2, ls=(0, (4, 3)))
        ax.plot(curve.share, curve.gain, color=ACCENT, lw=1.8)
        ax.axhline(0, color="#c3c8cd", lw=0.8, zorder=0)
        ax.set_xlim(0, 1)
        _percent(ax.xaxis)
    return svg[0]


def cost_plot(costs: CostFigures, unit: str, key: str) -> str:
    """Gain over budget with its band, and the same without targeting; the dotted line is where to stop."""
    x_label = f"{unit} spent a contact" if costs.cost == "money" else "offers a contact"
    with drawing(key, x_label, f"extra {unit} a contact") as (ax, svg):
        for gains, color in ((costs.untargeted, MUTED), (costs.targeted, ACCENT)):
            ax.fill_between(costs.budgets, gains.low, gains.high, color=color, alpha=0.16, lw=0)
        ax.plot(costs.budgets, costs.untargeted.gain, color=MUTED, lw=1.2, ls=(0, (4, 3)))
        ax.plot(costs.budgets, costs.targeted.gain, color=ACCENT, lw=1.8)
        if costs.worthwhile is not None:
            ax.axvline(costs.worthwhile, color=MUTED, lw=1, ls=(0, (1, 2)))
        ax.axhline(0, color="#c3c8cd", lw=0.8, zorder=0)
        ax.set_xlim(0, costs.budgets[-1])
    return svg[0]


def reliability_plot(bins: Reliability, key: str) -> str:
    """Observed rate against predicted probability; the diagonal is perfect."""
    with drawing(key, "predicted chance of use", "observed") as (ax, svg):
        top = 1.1 * max(bins.predicted.max(), bins.observed.max(), 0.01)
        ax.plot([0, top], [0, top], color=MUTED, lw=1.2, ls=(0, (4, 3)))
        noise = 1.96 * np.sqrt(np.maximum(bins.observed * (1 - bins.observed), 1e-9) / bins.n)
        below = np.minimum(noise, bins.observed)
        ax.errorbar(
            bins.predicted, bins.observed, [below, noise], fmt="o", ms=4.5, color=ACCENT, elinewidth=1
        )
        ax.set_xlim(0, top)
        ax.set_ylim(0, None)
        _percent(ax.xaxis)
        _percent(ax.yaxis)
    return svg[0]


def decile_plot(deciles: Deciles, unit: str, key: str) -> str:
    """Realised uplift with its interval, and the predicted one, by tenth of the prediction."""
    with drawing(key, "tenth of customers, highest predicted first", f"extra {unit} an offer") as (ax, svg):
        at = np.arange(1, len(deciles.predicted) + 1)
        value = np.array([interval.value for interval in deciles.realised])
        low = np.array([interval.low for interval in deciles.realised])
        high = np.array([interval.high for interval in deciles.realised])
        ax.axhline(0, color="#c3c8cd", lw=0.8, zorder=0)
        around = np.maximum([value - low, high - value], 0)
        ax.errorbar(at, value, around, fmt="o", ms=4.5, color=ACCENT, elinewidth=1)
        ax.plot(at, deciles.predicted, color=MUTED, lw=1.2, ls=(0, (4, 3)), marker="_", ms=8)
        ax.set_xticks(at)
    return svg[0]


def length_plot(lengths: Sequence[LengthFigures], unit: str, key: str) -> str:
    """The value of Perkwise by the longest list it may show, and of lists at random by their length.

    A length that was never logged has no dot: nobody knows it.
    """
    with drawing(key, "services in the list", f"{unit} a contact") as (ax, svg):
        logged = [one for one in lengths if one.n_logged]
        drawn = [one.drawn.exact for one in logged]
        at = [one.length for one in logged]
        value = np.array([interval.value for interval in drawn])
        around = [value - [i.low for i in drawn], [i.high for i in drawn] - value]
        ax.errorbar(at, value, around, fmt="o", ms=4.5, color=MUTED, elinewidth=1)
        ours = [one.ours.by_service for one in lengths]
        low, high = [one.low for one in ours], [one.high for one in ours]
        ax.fill_between([one.length for one in lengths], low, high, color=BAND, alpha=0.16, lw=0)
        ax.plot([one.length for one in lengths], [one.value for one in ours], color=ACCENT, lw=1.8)
        ax.set_xticks([one.length for one in lengths])
    return svg[0]


def overlap_plot(carried: NDArray[np.float64], key: str) -> str:
    """Share of all weight over the share of the matching contacts, heaviest first; the diagonal is even."""
    with drawing(key, "contacts that match, heaviest first", "share of all weight") as (ax, svg):
        ax.plot([0, 1], [0, 1], color=MUTED, lw=1.2, ls=(0, (4, 3)))
        ax.plot(np.linspace(0, 1, len(carried)), carried, color=ACCENT, lw=1.8)
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1.02)
        _percent(ax.xaxis)
        _percent(ax.yaxis)
    return svg[0]


@contextmanager
def drawing(
    key: str, x_label: str, y_label: str, size: tuple[float, float] = _SIZE
) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw on; the SVG is put into the list when the block ends. `key` makes its ids its own."""
    with mpl.rc_context(STYLE | {"svg.hashsalt": key}):
        figure = Figure(figsize=size, layout="constrained")
        canvas = FigureCanvasSVG(figure)
        ax = figure.add_subplot()
        ax.set_xlabel(x_label)
        ax.set_ylabel(y_label)
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.xaxis.set_major_locator(MaxNLocator(5))
        done: list[str] = []
        yield ax, done
        buffer = io.StringIO()
        canvas.print_svg(buffer, metadata=NO_METADATA)
        done.append(inline(buffer.getvalue()))


def _percent(axis: mpl.axis.Axis) -> None:
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))


def inline(svg: str) -> str:
    """Only what a page needs: no prologue, no fixed size, no namespaces, no ids that nothing refers to."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\s+(width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r'\s+xmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)
    svg = re.sub(r"\n\s*", "\n", re.sub(r"<!--.*?-->", "", svg, flags=re.S))
    return svg.replace("<svg ", '<svg class="plot" aria-hidden="true" ', 1).strip()
