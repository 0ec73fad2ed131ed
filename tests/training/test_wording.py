"""Figures in words: no more digits than the interval carries, and no verdict without evidence."""

from types import MappingProxyType

import numpy as np
import pytest

from training.evaluation.bootstrap import Interval
from training.evaluation.figures import CostFigures, Gains, ServiceFigures
from training.evaluation.wording import (
    budget_verdict,
    more_needed,
    number,
    ranking_verdict,
    service_verdict,
    with_bounds,
)


@pytest.mark.parametrize(
    "interval, text",
    [
        (Interval(0.42134, 0.2111, 0.6333), "0.42 (0.21 to 0.63)"),
        (Interval(-0.00123, -0.0025, 0.0001), "−0.0012 (−0.0025 to 0.0001)"),
        (Interval(14323, 6449, 22201), "14,300 (6,400 to 22,200)"),
        (Interval(5.0, 5.0, 5.0), "5.00 (5.00 to 5.00)"),
        (Interval(0.0, 0.0, 0.0), "0.00 (0.00 to 0.00)"),
        (Interval(float("nan"), float("nan"), float("nan")), "– (no interval)"),
    ],
)
def test_an_estimate_has_the_digits_its_interval_carries(interval, text):
    assert with_bounds(interval) == text


def test_a_number_that_rounds_to_nothing_has_no_sign():
    assert number(-0.001, 2) == "0.00"
    assert number(0.0, 1, sign=True) == "0.0"


def service(**figures):
    return ServiceFigures("a", "Delivery", **{"n": 1000, "n_nothing": 1000, "chosen": 0.1, **figures})


CLEAR_UP, CLEAR_DOWN, OPEN = Interval(1, 0.5, 1.5), Interval(-1, -1.5, -0.5), Interval(1, -1, 3)
VERDICTS = MappingProxyType(
    {
        "earns more than it costs": {"uplift": OPEN, "net": CLEAR_UP},
        "costs more than it earns": {"uplift": CLEAR_UP, "net": CLEAR_DOWN},
        "brings people back": {"uplift": CLEAR_UP},
        "keeps people away": {"uplift": CLEAR_DOWN},
        "not enough data, about 3,000 more exposures needed": {"uplift": CLEAR_UP, "net": OPEN},
        "not enough data, at least 18 more exposures needed before anything can be estimated": {"n": 12},
        "not enough data, at least 30 more exposures of nothing needed before anything can be estimated": {
            "n_nothing": 0
        },
    }
)


@pytest.mark.parametrize("text", VERDICTS)
def test_a_service_is_judged_by_what_the_costs_leave(text):
    assert service_verdict(service(**VERDICTS[text])).text == text


@pytest.mark.parametrize(
    "qini, kind, words",
    [
        (CLEAR_UP, "good", "better than chance"),
        (CLEAR_DOWN, "bad", "do not target by it"),
        (OPEN, "unclear", "Not enough data to say whether the ranking beats chance: about 3,000 more"),
        (None, "unclear", "not enough data, at least"),
    ],
)
def test_a_ranking_is_judged_by_its_qini(qini, kind, words):
    verdict = ranking_verdict(service(qini=qini, n=1000 if qini else 3))
    assert verdict.kind == kind
    assert words in verdict.text


def test_a_hopeless_question_is_called_so():
    assert more_needed(Interval(1e-9, -1, 1), 100) == (
        "not enough data, too near 0 for any realistic number of exposures to tell"
    )


@pytest.mark.parametrize(
    "added, kind, words",
    [
        (CLEAR_UP, "good", "makes more of the same budget"),
        (CLEAR_DOWN, "bad", "makes less of a budget"),
        (OPEN, "unclear", "whether choosing makes more of a budget: about 3,000 more exposures needed"),
    ],
)
def test_targeting_is_judged_by_what_it_adds_to_a_budget(added, kind, words):
    flat = Gains(np.zeros(2), np.zeros(2), np.zeros(2))
    verdict = budget_verdict(CostFigures("money", np.array([0.0, 1.0]), flat, flat, added, 0.5), 1000)
    assert verdict.kind == kind
    assert words in verdict.text
