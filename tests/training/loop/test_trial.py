"""Two policies side by side: probabilities of the mixture by enumeration, and gains that are known."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from offers.catalog import Catalog
from offers.decision import make_decisions
from offers.eligibility import eligible
from offers.settings import DecisionSettings, ExplorationSettings, Settings
from offers.types import Estimates, Service
from training.gate import judge
from training.loop.trial import Week, list_gain, predicts_better, side_by_side
from training.loop.worth import list_worth

CATALOG = Catalog.of([Service("a", "A"), Service("b", "B"), Service("c", "C")])
SETTINGS = replace(
    Settings(),
    decision=DecisionSettings(max_services=2, choice_load=3.0),  # one service is best
    exploration=ExplorationSettings(holdout=0.2, explore=0.4),
)
SHARE = 0.7


def likes(service, n):
    """Estimates under which this service alone is shown."""
    uptake, margin = np.full((n, 3), 0.2), np.full((n, 3), -1.0)
    margin[:, service] = 1.0
    return Estimates(uptake, margin, margin)


def decided(n, seed, rng):
    held_out = rng.random(n) < SETTINGS.exploration.holdout
    allowed, seeds = eligible(CATALOG, [""] * n, 0), [(seed, user) for user in range(n)]
    ours, theirs = (
        make_decisions(likes(service, n), allowed, SETTINGS, held_out, seeds) for service in (0, 1)
    )
    by_lot = rng.random(n) < SHARE
    return ours, theirs, side_by_side(ours, theirs, by_lot, SHARE, SETTINGS.exploration)


def test_each_list_is_shown_as_often_as_its_probability_says():
    n = 30_000
    _, _, shown = decided(n, 0, np.random.default_rng(0))
    lists = [tuple(one) for one in shown.lists.tolist()]
    of_list = dict(zip(lists, shown.slate_propensity.tolist(), strict=True))
    for one, count in Counter(lists).items():
        assert count / n == pytest.approx(of_list[one], abs=4 * np.sqrt(of_list[one] / n))
    assert sum(of_list.values()) == pytest.approx(1)
    at_first = Counter(one[0] for one in lists)
    for service in range(3):
        (p,) = {round(float(p), 12) for p in shown.propensity[shown.lists[:, 0] == service, 0]}
        assert at_first[service] / n == pytest.approx(p, abs=4 * np.sqrt(p / n))


def test_the_gain_is_the_difference_of_what_both_earn():
    rng = np.random.default_rng(1)
    ours, theirs, shown = decided(20_000, 1, rng)
    earns = np.array([3.0, 1.0, 0.0, 0.0])  # the last: nothing
    net = earns[shown.lists].max(axis=1) + rng.standard_normal(len(shown.lists))
    week = Week(shown.lists, shown.slate_propensity, net, np.zeros(len(net)))
    unknown = np.zeros(len(net))
    gain = list_gain(
        week, ours.slates.services, theirs.slates.services, (unknown, unknown, unknown), net.max(), 10.0
    )
    assert gain.gain.mean() == pytest.approx(2.0, abs=0.15)
    verdict = judge({"champion": gain}, np.arange(len(net)), "EUR")
    assert verdict.promote and verdict.comparisons[0].low < 2 < verdict.comparisons[0].high


def test_the_better_prediction_is_the_nearer_one():
    margin = np.array([0.0, 10.0])
    assert predicts_better(margin, np.array([1.0, 9.0]), np.array([5.0, 5.0]))
    assert not predicts_better(margin, np.array([5.0, 5.0]), np.array([5.0, 5.0]))


def test_a_list_is_worth_what_the_decision_says():
    rng = np.random.default_rng(2)
    catalog = Catalog.of(
        [Service(name, name, unit_cost=float(k), contact_cost=0.1 * k) for k, name in enumerate("abcd")]
    )
    uptake = rng.uniform(0.05, 0.5, (200, 4))
    estimates = Estimates(uptake, uptake, rng.normal(1, 1, uptake.shape))
    settings = replace(Settings(), decision=DecisionSettings(max_services=3, similarity_load=0.0))
    made = make_decisions(
        estimates, eligible(catalog, [""] * 200, 0), settings, np.zeros(200, bool), list(range(200))
    )
    worth = list_worth(made.slates.services, estimates, catalog, settings.decision.choice_load)
    np.testing.assert_allclose(worth, made.slates.worth_by_length.max(axis=1), atol=1e-12)
