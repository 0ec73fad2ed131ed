"""The service value matrix as a page: demand over supply in four quadrants, and a table."""

import html

import numpy as np
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from training.evaluation.bootstrap import Interval
from training.evaluation.plots import ACCENT, MUTED, drawing
from training.evaluation.portfolio import Portfolio, ServiceWorth

_CORNERS = (
    ((0.99, 0.98), "KEEP"),
    ((0.01, 0.98), "FIX SUPPLY"),
    ((0.99, 0.02), "FIX DEMAND"),
    ((0.01, 0.02), "DROP"),
)


_NAMED = 12  # services named in the picture, those that add most, beside the core; the table has all
_LABEL = 0.03, 0.16  # height and width that a name takes, as shares of the picture


def matrix_plot(found: Portfolio) -> str:
    """Every service with the intervals of both sides; the lines are the medians.

    Demand is spread over powers of ten above a cent and even below, as few services bring in most. Named
    are the core and the services that add most, as far as names do not overlap.
    """
    services = found.services
    label = f"supply: net margin of an offer, {found.currency}"
    unit = f"demand: {found.currency} a user, by powers of ten above 0.01"
    with drawing("portfolio", label, unit, size=(9, 6)) as (ax, svg):
        x, y = (np.array([getattr(one, side).value for one in services]) for side in ("supply", "demand"))
        errors = []
        for side, value in (("supply", x), ("demand", y)):
            ends = [(getattr(one, side).low, getattr(one, side).high) for one in services]
            low, high = np.array(ends).T
            errors.append(np.maximum([value - low, high - value], 0))
        is_core = np.array([one.service_id in found.core for one in services])
        for some, color in ((is_core, ACCENT), (~is_core, MUTED)):
            ax.errorbar(
                x[some],
                y[some],
                errors[1][:, some],
                errors[0][:, some],
                fmt="o",
                ms=5,
                color=color,
                elinewidth=0.5,
                alpha=0.75,
            )
        ax.set_yscale("symlog", linthresh=0.01, linscale=0.5)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda money, _: f"{money:g}"))
        ax.set_ylim(min(0.0, float(y.min()) * 2) - 0.004, max(float(y.max()) * 3, 0.02))
        ax.axvline(float(np.median(x)), color=MUTED, lw=1, ls=(0, (4, 3)))
        ax.axhline(float(np.median(y)), color=MUTED, lw=1, ls=(0, (4, 3)))
        inverse, forth = ax.transAxes.inverted(), ax.transData
        at = inverse.transform(forth.transform(np.column_stack([x, y])))
        for number in names_that_fit(at, y, is_core):
            ax.annotate(
                services[number].name, (x[number], y[number]), (5, 4), textcoords="offset points", fontsize=8
            )
        for place, text in _CORNERS:
            side, level = ("right" if place[0] > 0.5 else "left"), ("top" if place[1] > 0.5 else "bottom")
            ax.text(*place, text, transform=ax.transAxes, ha=side, va=level, color=MUTED, fontweight="bold")
    return svg[0]


def names_that_fit(at: NDArray, demand: NDArray, is_core: NDArray[np.bool_]) -> list[int]:
    """Which services are named: the core first, then by demand, none over another.

    Parameters
    ----------
    at : ndarray of shape (n_services, 2)
        Where each stands, as shares of the picture's width and height.

    Examples
    --------
    >>> at = np.array([[0.1, 0.5], [0.12, 0.51], [0.6, 0.5]])
    >>> names_that_fit(at, np.array([3.0, 2.0, 1.0]), np.array([False, True, False]))
    [1, 2]
    """
    height, width = _LABEL
    named: list[int] = []
    for number in np.lexsort((-demand, ~is_core)).tolist()[: _NAMED + int(is_core.sum())]:
        gaps = np.abs(at[named] - at[number])
        if not ((gaps[:, 0] < width) & (gaps[:, 1] < height)).any() and (
            demand[number] > 0 or is_core[number]
        ):
            named.append(number)
    return named


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#2b3137}"
    "table{border-collapse:collapse;font-size:13px}"
    "td,th{padding:.3rem .6rem;border-bottom:1px solid #dde1e5;text-align:left}"
    "svg{max-width:100%;height:auto}"
)
_COLUMNS = (
    *("service", "provider", "verdict", "", "in the best list of", "uses a user", "demand", "supply"),
    *("deliverable", "NPS score"),
)


def render_portfolio(found: Portfolio) -> str:
    """One page that loads nothing: the core, the matrix as a picture and as a table."""
    ordered = sorted(found.services, key=lambda one: -one.demand.value)
    rows = "".join(_row(one, one.service_id in found.core) for one in ordered)
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    core = html.escape(", ".join(found.core))
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Service portfolio</title>'
        f"<style>{_STYLE}</style></head><body><h1>Service portfolio</h1>"
        f"<p>The best lists of all {len(found.services)} services are worth {_told(found.worth)} "
        f"{html.escape(found.currency)} a user. The core of {len(found.core)} ({core}) "
        f"loses {_told(found.regret)} of it. {found.n_users:,} users; brackets hold the interval.</p>"
        f"{matrix_plot(found)}"
        "<p>Demand is what a service adds to the best lists, a user; supply the net margin of an offer, "
        "as far as capacity can deliver what is expected. The lines are the medians; the core is in colour. "
        "Providers and NPS scores stand in the table and do not count in supply: scores are those of users "
        "who used a service and chose to answer, what a margin would lose by a lower score is not known, and "
        "the data tell nothing of a provider but his capacity.</p>"
        "<p>Intervals are over users drawn anew. They hold for this core: that other users might have led to "
        "another core is not in them.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></body></html>"
    )


def _row(one: ServiceWorth, is_core: bool) -> str:
    cells = (
        html.escape(one.name),
        html.escape(one.provider),
        one.verdict,
        "core" if is_core else "",
        f"{one.reach:.0%}",
        f"{one.uses:.3f}",
        _told(one.demand),
        _told(one.supply),
        f"{one.delivered:.0%}",
        "" if one.nps is None else f"{one.nps:.1f}",
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _told(one: Interval) -> str:
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"
