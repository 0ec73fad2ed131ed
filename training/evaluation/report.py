"""The report as one self-contained HTML page: it opens without a network and can be sent to somebody."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from training.evaluation import wording
from training.evaluation.bootstrap import Interval
from training.evaluation.checks import digits
from training.evaluation.figures import BASELINES, PERKWISE, TOP, Evaluation, ServiceFigures
from training.evaluation.plots import (
    cost_plot,
    decile_plot,
    length_plot,
    overlap_plot,
    qini_plot,
    reliability_plot,
)
from training.uplift import COLD_ROWS

_HERE = Path(__file__).parent
_MARGIN = 2.0  # percent kept free at both ends of a scale, so that a dot at the end is whole


@dataclass(frozen=True)
class Scale:
    """Places numbers on a line from 0 to 100 percent."""

    low: float
    high: float
    reference: float  # where the thin upright line stands
    ticks: tuple[float, ...]
    decimals: int

    @classmethod
    def around(cls, intervals: Iterable[Interval], reference: float = 0.0) -> "Scale":
        """A scale on which the reference and every interval can be seen."""
        ends = [reference]
        for interval in intervals:
            ends += [end for end in (interval.value, interval.low, interval.high) if math.isfinite(end)]
        low, high = min(ends), max(ends)
        if low == high:
            high = low + 1.0
        ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
        step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
        decimals = next((d for d in range(7) if abs(step * 10**d - round(step * 10**d)) < 1e-6), 6)
        return cls(low, high, reference, tuple(ticks), decimals)

    def at(self, number: float) -> str:
        """Percent of the width, for an SVG attribute."""
        share = (number - self.low) / (self.high - self.low)
        return f"{_MARGIN + (100 - 2 * _MARGIN) * share:.2f}%"

    def label(self, tick: float) -> str:
        return wording.number(tick, self.decimals)


class WithoutUplift(Extension):
    """Templates that call uplift a difference in all they say; names of people's own stay as they are."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for token in stream:
            said = token.type in ("data", "string")
            yield Token(token.lineno, token.type, wording.without_uplift(token.value)) if said else token


def render(evaluation: Evaluation) -> str:
    """The page, the same bytes for the same figures.

    Every name in it is escaped; plots are inline SVG; it loads nothing. Where a check refuses the word
    uplift, the page begins with why, and nowhere says it.
    """
    refused = evaluation.refusal is not None
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[WithoutUplift] if refused else [],
    )
    environment.filters |= {
        "count": lambda n: f"{n:,}",
        "percent": _percent,
        "bounds": wording.bounds,
        "estimate": wording.estimate,
        "with_bounds": wording.with_bounds,
        "number": wording.number,
        "digits": digits,
        "p_value": wording.p_value,
        "in_words": wording.without_uplift if refused else str,
    }
    return environment.get_template("report.html.j2").render(
        e=evaluation,
        notes=evaluation.notes,
        css=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        headline=wording.headline(evaluation),
        refusal_headline=wording.REFUSAL,
        names=_policy_names(evaluation),
        policies=_by_value(evaluation),
        policy_scale=Scale.around(
            (figures.doubly_robust for figures in evaluation.policies.values()),
            reference=evaluation.policies["nothing"].doubly_robust.value,
        ),
        baselines=[name for name in _order(evaluation) if name != PERKWISE],
        policy_decimals=wording.decimals_for(*(p.doubly_robust for p in evaluation.policies.values())),
        gain_decimals=wording.decimals_for(*evaluation.gains.values()),
        gain_scale=Scale.around(evaluation.gains.values()),
        more_needed=wording.more_needed,
        services=sorted(evaluation.services, key=_best_first),
        service_scale=Scale.around(s.net or s.uplift for s in evaluation.services if s.uplift),
        service_verdict=wording.service_verdict,
        ranking_verdict=wording.ranking_verdict,
        cold_rows=COLD_ROWS,
        plots=_service_plots(evaluation),
        uptake_plot=_pooled_plot(evaluation),
        cost_plot=_cost_plot(evaluation),
        **_of_lists(evaluation),
        overlap_plot=Markup(overlap_plot(evaluation.policies[PERKWISE].carried, "all-overlap")),
        top=TOP,
        budget_verdict=wording.budget_verdict,
        importance_decimals=_importance_decimals(evaluation),
        service_names=[service.name for service in evaluation.services],
        total=_total(evaluation),
    )


def _of_lists(evaluation: Evaluation) -> dict[str, Any]:
    """What the section on lists asks for beside the figures."""
    lists = evaluation.lists
    if lists is None:
        return {"lists": None}
    values = {name: wording.list_interval(figures) for name, figures in lists.policies.items()}
    gains = {name: wording.list_interval(change) for name, change in lists.changes.items()}
    plot = length_plot(lists.lengths, evaluation.unit, "lists-length") if lists.lengths else None
    return {
        "lists": lists,
        "list_names": wording.LIST_NAMES,
        "list_values": dict(sorted(values.items(), key=lambda pair: -pair[1].value)),
        "list_gains": gains,
        "list_value_scale": Scale.around(values.values(), values["nothing"].value),
        "list_gain_scale": Scale.around(gains.values()),
        "list_value_decimals": wording.decimals_for(*values.values()),
        "list_gain_decimals": wording.decimals_for(*gains.values()),
        "lists_verdict": wording.lists_verdict(
            lists.changes["single"], "showing one service at most", evaluation.unit
        ),
        "list_plot": plot and Markup(plot),
    }


def _percent(share: float | None, decimals: int = 1) -> str:
    return "–" if share is None else f"{wording.number(100 * share, decimals)} %"


def _policy_names(evaluation: Evaluation) -> dict[str, str]:
    return {name: wording.POLICY_NAMES.get(name, name) for name in evaluation.policies}


def _order(evaluation: Evaluation) -> list[str]:
    known = [PERKWISE, *BASELINES]
    return known + [name for name in evaluation.policies if name not in known]


def _by_value(evaluation: Evaluation) -> list[str]:
    return sorted(_order(evaluation), key=lambda name: -evaluation.policies[name].doubly_robust.value)


def _best_first(service: ServiceFigures) -> tuple[bool, float]:
    basis = service.net or service.uplift
    return basis is None, -basis.value if basis else -service.n


def _importance_decimals(evaluation: Evaluation) -> int:
    """As many as give the largest three digits."""
    largest = max(evaluation.importances.overall, default=0.0) if evaluation.importances else 0.0
    return max(0, 2 - math.floor(math.log10(largest))) if largest > 0 else 0


def _total(evaluation: Evaluation) -> Interval:
    """The gain over the best constant on all held-out exposures together."""
    gain, n = evaluation.gains["best_constant"], evaluation.n_test
    return Interval(gain.value * n, gain.low * n, gain.high * n)


def _service_plots(evaluation: Evaluation) -> Mapping[str, dict[str, Markup]]:
    return {
        service.service_id: _plots_of(service, evaluation.unit, f"s{position}")
        for position, service in enumerate(evaluation.services)
    }


def _plots_of(service: ServiceFigures, unit: str, key: str) -> dict[str, Markup]:
    plots = {}
    if service.curve:
        plots["qini"] = Markup(qini_plot(service.curve, unit, f"{key}-qini"))
    if service.deciles:
        plots["deciles"] = Markup(decile_plot(service.deciles, unit, f"{key}-deciles"))
    if service.reliability:
        plots["reliability"] = Markup(reliability_plot(service.reliability, f"{key}-uptake"))
    return plots


def _pooled_plot(evaluation: Evaluation) -> Markup | None:
    if evaluation.reliability is None:
        return None
    return Markup(reliability_plot(evaluation.reliability, "all-uptake"))


def _cost_plot(evaluation: Evaluation) -> Markup | None:
    if evaluation.costs is None:
        return None
    return Markup(cost_plot(evaluation.costs, evaluation.unit, "all-costs"))
