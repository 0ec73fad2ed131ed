from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chi2

from features.simulation.customers import draw_customers
from features.simulation.decisions import (
    BURN_IN_DAYS,
    EXPLORE,
    HOLDOUT,
    LONGEST,
    LoggingPolicy,
    decide,
    draw_decision_days,
)
from features.simulation.response import REPURCHASE_DAYS
from features.simulation.services import draw_offering

OFFERING = draw_offering(6, np.random.default_rng(3))  # one of six is rare
N_USES = np.array([[0, 0, 0, 0, 0, 0], [5, 0, 0, 1, 0, 0], [0, 0, 2, 0, 0, 9]])
POLICY = LoggingPolicy.of(OFFERING, N_USES)


def every_list() -> np.ndarray:
    """All lists that six services allow, padded; also those that the policy never shows."""
    lists = [list(chosen) for n in range(LONGEST + 1) for chosen in permutations(range(6), n)]
    return np.array([chosen + [-1] * (LONGEST - len(chosen)) for chosen in lists])


@pytest.mark.parametrize("user", [0, 1, 2])
def test_the_probabilities_of_all_lists_sum_to_one(user):
    lists = every_list()
    assert POLICY.slate_propensity(np.full(len(lists), user), lists).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("user", [0, 1, 2])
def test_a_position_has_the_sum_of_the_lists_that_have_the_service_there(user):
    lists = every_list()
    p_list = POLICY.slate_propensity(np.full(len(lists), user), lists)
    p_place = POLICY.position_propensity(np.full(len(lists), user), lists)
    for place in range(LONGEST):
        for service in range(6):
            there = lists[:, place] == service
            assert p_place[there, place] == pytest.approx(p_list[there].sum(), abs=1e-12)


@pytest.mark.parametrize("user", [0, 1])
def test_lists_are_shown_as_often_as_their_probability_says(user):
    n = 200_000
    slates, _ = POLICY.draw(np.full(n, user), np.random.default_rng(4))
    lists = every_list()
    p = POLICY.slate_propensity(np.full(len(lists), user), lists)
    code = (7 ** np.arange(LONGEST)) @ (lists.T + 1)
    shown = (7 ** np.arange(LONGEST)) @ (slates.T + 1)
    counts = np.array([(shown == each).sum() for each in code])
    assert counts[p == 0].sum() == 0
    possible = p > 0
    statistic = ((counts - n * p)[possible] ** 2 / (n * p[possible])).sum()
    assert statistic < chi2.ppf(1 - 1e-4, possible.sum() - 1)


def test_early_uses_and_rarity_make_propensities_unequal():
    assert POLICY.weights[1, 0] > POLICY.weights[0, 0]
    rare = int(np.flatnonzero(OFFERING.is_rare)[0])
    assert POLICY.weights[0, rare] == POLICY.weights[0].min() < 0.02
    assert rare not in POLICY.pool


def test_every_logged_probability_is_above_zero_and_at_most_one():
    customers = draw_customers(300, 150, np.random.default_rng(5))
    n_uses = np.random.default_rng(6).poisson(1.0, (300, 6))
    decisions = decide(customers, LoggingPolicy.of(OFFERING, n_uses), 150, np.random.default_rng(7))
    shown = decisions.slates >= 0
    assert ((decisions.slate_propensity > 0) & (decisions.slate_propensity <= 1)).all()
    assert ((decisions.propensity[shown] > 0) & (decisions.propensity[shown] <= 1)).all()
    nothing = decisions.length == 0
    assert (decisions.slate_propensity[nothing] == HOLDOUT).all()
    assert nothing.mean() == pytest.approx(HOLDOUT, abs=0.04)
    assert (decisions.length > 1).mean() == pytest.approx(EXPLORE * 3 / 4, abs=0.04)


def test_outcome_windows_never_overlap_and_always_close():
    customers = draw_customers(300, 150, np.random.default_rng(8))
    user, day = draw_decision_days(customers, 150, np.random.default_rng(9))
    same = user[1:] == user[:-1]
    assert (np.diff(day)[same] >= REPURCHASE_DAYS).all()
    assert (day >= customers.start_day[user] + BURN_IN_DAYS).all()
    assert (day + REPURCHASE_DAYS < 150).all()


def test_two_services_make_lists_of_at_most_two():
    policy = LoggingPolicy.of(draw_offering(2, np.random.default_rng(0)), np.zeros((1, 2), int))
    slates, _ = policy.draw(np.zeros(1000, int), np.random.default_rng(1))
    lists = np.array([[-1, -1], [0, -1], [1, -1], [0, 1], [1, 0]])
    assert slates.shape == (1000, 2)
    assert policy.slate_propensity(np.zeros(5, int), lists).sum() == pytest.approx(1)
