"""The service value matrix as a page: demand over supply in four quadrants, and a table."""

import html
from collections.abc import Sequence

import numpy as np

from training.evaluation.bootstrap import Interval
from training.evaluation.plots import ACCENT, MUTED, drawing
from training.evaluation.portfolio import Portfolio, ServiceWorth

_CORNERS = (
    ((0.99, 0.98), "KEEP"),
    ((0.01, 0.98), "FIX SUPPLY"),
    ((0.99, 0.02), "FIX DEMAND"),
    ((0.01, 0.02), "DROP"),
)


def matrix_plot(services: Sequence[ServiceWorth], currency: str) -> str:
    """Every service with the intervals of both sides; the lines are the medians."""
    label = f"supply: net margin of an offer, {currency}"
    with drawing("portfolio", label, f"demand: {currency} a user", size=(8, 5)) as (ax, svg):
        x, y = (np.array([getattr(one, side).value for one in services]) for side in ("supply", "demand"))
        errors = []
        for side, value in (("supply", x), ("demand", y)):
            ends = [(getattr(one, side).low, getattr(one, side).high) for one in services]
            low, high = np.array(ends).T
            errors.append(np.maximum([value - low, high - value], 0))
        ax.errorbar(x, y, errors[1], errors[0], fmt="o", ms=4, color=ACCENT, elinewidth=0.6, alpha=0.8)
        for one, right, up in zip(services, x, y, strict=True):
            ax.annotate(one.name, (right, up), xytext=(4, 3), textcoords="offset points", fontsize=7)
        ax.axvline(float(np.median(x)), color=MUTED, lw=1, ls=(0, (4, 3)))
        ax.axhline(float(np.median(y)), color=MUTED, lw=1, ls=(0, (4, 3)))
        for at, text in _CORNERS:
            side, level = ("right" if at[0] > 0.5 else "left"), ("top" if at[1] > 0.5 else "bottom")
            ax.text(*at, text, transform=ax.transAxes, ha=side, va=level, color=MUTED, fontweight="bold")
    return svg[0]


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
        f"{matrix_plot(found.services, found.currency)}"
        "<p>Demand is what a service adds to the best lists, a user; supply the net margin of an offer, "
        "as far as capacity can deliver what is expected. The lines are the medians.</p>"
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
