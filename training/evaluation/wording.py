"""Figures in words: numbers with the digits their interval allows, and verdicts anybody can read."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from training.evaluation.bootstrap import Interval
from training.evaluation.figures import CostFigures, Evaluation, ServiceFigures
from training.evaluation.list_value import MIN_USERS, Change, ListFigures
from training.evaluation.service_figures import MIN_EXPOSURES

Kind = Literal["good", "bad", "unclear"]

POLICY_NAMES = {
    "perkwise": "Perkwise",
    "best_constant": "Best single offer",
    "response": "Likeliest to be used",
    "popularity": "Most popular offer",
    "random": "Random offer",
    "nothing": "Nothing",
    "champion": "Current champion",
}

LIST_NAMES = {
    "perkwise": "Perkwise's lists",
    "single": "Perkwise, one service at most",
    "best_constant": "Best single offer",
    "popularity": "Most popular, lists as long",
    "random": "Drawn at random, lists as long",
    "nothing": "Nothing",
}

REFUSAL = (
    "This log does not tell what the offers brought: below are differences between those offered and others."
)


@dataclass(frozen=True)
class Verdict:
    """What may be said, and how sure it is."""

    kind: Kind
    text: str


def number(value: float, decimals: int, sign: bool = False) -> str:
    """A number with thousands commas and a true minus; negative `decimals` round to tens, hundreds, ...

    Examples
    --------
    >>> number(-1234.567, 1), number(14323, -2, sign=True)
    ('−1,234.6', '+14,300')
    """
    text = f"{round(value, decimals):{'+' if sign else ''},.{max(decimals, 0)}f}"
    if not text.strip("+-0.,"):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def p_value(p: float | None) -> str:
    """A p-value; a dash where the check has none.

    Examples
    --------
    >>> p_value(0.034), p_value(1e-9), p_value(None)
    ('0.034', '< 0.0001', '–')
    """
    return "–" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def without_uplift(text: str) -> str:
    """The text with uplift called what is left of it where chance did not decide who was offered what.

    Examples
    --------
    >>> without_uplift("Uplift by tenth: an uplift curve")
    'Difference by tenth: a difference curve'
    """
    text = re.sub(r"\b([Aa])n uplift", r"\1 uplift", text)
    return re.sub(r"uplift", "difference", re.sub(r"Uplift", "Difference", text))


def decimals_for(*intervals: Interval) -> int:
    """Decimals that leave two meaningful digits in the half width of the narrowest interval, at most six."""
    return max((_decimals(interval) for interval in intervals), default=2)


def bounds(interval: Interval, decimals: int | None = None) -> str:
    """The interval alone.

    Examples
    --------
    >>> bounds(Interval(0.42, -0.2101, 0.63))
    '−0.21 to 0.63'
    """
    if not math.isfinite(interval.low):
        return "no interval"
    digits = _decimals(interval) if decimals is None else decimals
    return f"{number(interval.low, digits)} to {number(interval.high, digits)}"


def estimate(interval: Interval, decimals: int | None = None, sign: bool = False) -> str:
    """The estimate with as many decimals as its interval carries; a dash where there is none."""
    if not math.isfinite(interval.value):
        return "–"
    return number(interval.value, _decimals(interval) if decimals is None else decimals, sign)


def with_bounds(interval: Interval) -> str:
    """Estimate and interval.

    Examples
    --------
    >>> with_bounds(Interval(0.4213, 0.21, 0.63))
    '0.42 (0.21 to 0.63)'
    """
    return f"{estimate(interval)} ({bounds(interval)})"


def more_needed(interval: Interval, n: int, question: str = "") -> str:
    """How far the data are from an answer to the question; empty where they give one.

    Examples
    --------
    >>> more_needed(Interval(0.5, -0.5, 1.5), 1000, "whether it pays")
    'not enough data to say whether it pays: about 3,000 more exposures needed'
    """
    if interval.is_clear():
        return ""
    more = interval.more_needed(n)
    short = f"not enough data to say {question}:" if question else "not enough data,"
    if more is None:
        return f"{short} too near 0 for any realistic number of exposures to tell"
    return f"{short} about {more:,} more exposures needed"


def headline(evaluation: Evaluation) -> Verdict:
    """The main finding: Perkwise against the best single offer."""
    gain, unit = evaluation.gains["best_constant"], evaluation.unit
    rival = "the best single offer" if evaluation.best_constant else "offering nothing to anybody"
    if gain.value == gain.low == gain.high == 0:
        return Verdict("unclear", f"Perkwise earns exactly what {rival} earns: it chooses the same.")
    if not gain.is_clear():
        question = f"whether Perkwise beats {rival}"
        return Verdict("unclear", f"{_sentence(more_needed(gain, evaluation.n_test, question))}.")
    size = Interval(abs(gain.value), *sorted((abs(gain.low), abs(gain.high))))
    better = gain.value > 0
    if evaluation.outcome == "margin":
        difference = f"earns {estimate(size)} {unit} {'more' if better else 'less'}"
    else:
        difference = f"wins {estimate(size)} {'more' if better else 'fewer'} {unit}"
    return Verdict(
        "good" if better else "bad",
        f"Perkwise {difference} per customer contact than {rival} ({bounds(size)}).",
    )


def service_verdict(service: ServiceFigures) -> Verdict:
    """Does the service pay (in margin) or work (in repurchase)?"""
    if service.uplift is None:
        return Verdict("unclear", _too_few(service))
    basis = service.net or service.uplift
    if basis.low > 0:
        return Verdict("good", "earns more than it costs" if service.net else "brings people back")
    if basis.high < 0:
        return Verdict("bad", "costs more than it earns" if service.net else "keeps people away")
    return Verdict("unclear", more_needed(basis, service.n))


def ranking_verdict(service: ServiceFigures) -> Verdict:
    """Does the predicted uplift put the right people first?"""
    if service.qini is None:
        return Verdict("unclear", _too_few(service))
    if service.qini.low > 0:
        return Verdict("good", "The ranking finds those whom the offer moves better than chance does.")
    if service.qini.high < 0:
        return Verdict("bad", "The ranking is worse than chance: do not target by it.")
    needed = more_needed(service.qini, service.n, "whether the ranking beats chance")
    return Verdict("unclear", f"{_sentence(needed)}.")


def budget_verdict(costs: CostFigures, n: int) -> Verdict:
    """Does a budget buy more when the customers are chosen?"""
    if costs.added.low > 0:
        return Verdict("good", "Choosing whom to offer what makes more of the same budget.")
    if costs.added.high < 0:
        return Verdict("bad", "Choosing by these predictions makes less of a budget than not choosing.")
    needed = more_needed(costs.added, n, "whether choosing makes more of a budget")
    return Verdict("unclear", f"{_sentence(needed)}.")


def list_interval(of: ListFigures | Change) -> Interval:
    """The figure to read: the exact one, or where the log starves it the one that rests on an assumption."""
    return of.by_service if of.is_starved else of.exact


def lists_verdict(change: Change, rival: str, unit: str) -> Verdict:
    """Are lists worth more than what they would replace? Judged by the exact figure alone."""
    if change.n_differ == 0:
        return Verdict("unclear", f"Perkwise's lists are those of {rival}, on every contact.")
    if change.n_seen < MIN_USERS:
        more = f": about {change.n_more:,} more contacts needed" if change.n_more else ""
        few = f"only {change.n_seen} customers were shown what the two differ in"
        return Verdict("unclear", f"Not enough data to say whether lists beat {rival}{more}. So far {few}.")
    gain = change.exact
    if not gain.is_clear():
        if change.n_more is None:
            return Verdict("unclear", f"Lists and {rival} are too close to tell on any realistic log.")
        question = f"whether lists beat {rival}"
        return Verdict(
            "unclear", f"Not enough data to say {question}: about {change.n_more:,} more contacts needed."
        )
    size = Interval(abs(gain.value), *sorted((abs(gain.low), abs(gain.high))))
    kind: Kind = "good" if gain.value > 0 else "bad"
    more = "more" if gain.value > 0 else "less"
    return Verdict(
        kind, f"Lists earn {estimate(size)} {unit} {more} per customer contact than {rival} ({bounds(size)})."
    )


def _decimals(interval: Interval) -> int:
    half = (interval.high - interval.low) / 2
    if not math.isfinite(half) or half <= 0:
        half = abs(interval.value) / 10
    return min(1 - math.floor(math.log10(half)), 6) if half > 0 else 2


def _too_few(service: ServiceFigures) -> str:
    short, what = MIN_EXPOSURES - service.n, "exposures"
    if short <= 0:
        short, what = MIN_EXPOSURES - service.n_nothing, "exposures of nothing"
    return f"not enough data, at least {short:,} more {what} needed before anything can be estimated"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
