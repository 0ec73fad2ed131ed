"""The placebo: its closed form against permutations, nothing on a sound log, something on a wrong one."""

from types import SimpleNamespace

import numpy as np
import pytest

from training.evaluation.placebo import placebo

P = np.array([0.3, 0.5, 0.2])  # nothing, a, b


def shop(seed: int, n: int = 2000, factor: float = 1.0) -> SimpleNamespace:
    """A policy that offers a to x > 0 and b to others; a truly brings 1; its propensity is × factor."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    service = rng.choice(3, n, p=P) - 1
    outcome = 5 + x + (service == 0) + rng.normal(size=n)
    offered = np.where(x > 0, 1, 2)
    return SimpleNamespace(
        offered=offered,
        p_offered=P[offered],
        service=service,
        propensity=P[service + 1] * np.where(service == 0, factor, 1),
        user=np.arange(n),
        outcome=outcome,
        mu0=5 + x,
        uplift=np.where(x > 0, 1.2, 0.3),
    )


def run(log: SimpleNamespace):
    return placebo(**vars(log), unit="EUR", level=0.95)


def test_the_closed_form_is_that_of_all_permutations():
    log, rng = shop(0, n=400), np.random.default_rng(1)
    match = np.where(log.service == log.offered - 1, 1 / log.propensity, 0.0)
    nothing = np.where(log.service == -1, 1 / log.propensity, 0.0)
    drawn = []
    for _ in range(4000):
        turn = np.arange(400)
        for one in (1, 2):
            rows = np.flatnonzero(log.offered == one)
            turn[rows] = rng.permutation(rows)
        rest, base = log.outcome - log.mu0 - log.uplift, log.outcome - log.mu0
        drawn.append((log.uplift + match[turn] * rest - nothing[turn] * base).mean())
    found = run(log)
    assert found.figure == pytest.approx(np.mean(drawn), abs=3 * np.std(drawn) / np.sqrt(4000))
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.05)


def test_a_sound_log_has_a_placebo_of_nothing_though_the_policy_truly_gains():
    found = run(shop(2))
    assert found.verdict == "fine"
    assert found.low < 0 < found.high
    assert "with the true ones" in found.text and "as it should be" in found.text
    assert "the models are not fitted anew" in found.text


def test_the_placebo_raises_alarms_at_the_rate_it_claims():
    p = np.array([run(shop(seed, n=600)).p for seed in range(300)])
    assert 0.01 <= (p < 0.05).mean() <= 0.09
    assert (p < 0.001).mean() <= 0.01


def test_propensities_wrong_by_a_factor_leave_a_placebo_that_is_not_nothing():
    log = shop(3, factor=0.5)
    log.mu0 = np.full(2000, 4.0)  # a model that is right would hide it
    found = run(log)
    assert found.verdict == "alert"
    assert "the propensities are not those of what was shown" in found.text


def test_where_the_log_hardly_did_what_the_policy_does_nothing_is_said():
    log = shop(4, n=100)
    log.service = np.where(log.service == 0, -1, log.service)
    assert run(log).verdict == "note"


def test_a_policy_of_nothing_gains_nothing():
    log = shop(5)
    log.offered, log.uplift = np.zeros(2000, int), np.zeros(2000)
    found = run(log)
    assert found.verdict == "fine"
    assert (found.low, found.high) == pytest.approx((0, 0), abs=1e-6)
