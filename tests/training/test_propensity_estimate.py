"""Propensities that no log names: learned where something decided, flat where chance did, trimmed, honest."""

import numpy as np
import pytest

from training.evaluation.bootstrap import Interval, UserBootstrap
from training.evaluation.policy_value import doubly_robust, match_weights
from training.propensity_estimate import LEAST_OF_SHARE, estimate_propensities

N = 6000
HOUR_US = 3_600_000_000


def drawn(probability: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Catalogue positions drawn from columns nothing, services, a list of several."""
    column = (rng.random((len(probability), 1)) >= probability.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return np.where(column == probability.shape[1] - 1, -2, column - 1)


def softmax(*scores: np.ndarray) -> np.ndarray:
    raw = np.exp(np.column_stack(np.broadcast_arrays(*scores)))
    return raw / raw.sum(axis=1, keepdims=True)


def estimate(X, service, user=None, hour=None, n_services=2):
    user = np.arange(len(X)) // 2 if user is None else user
    at_us = (np.arange(len(X)) if hour is None else hour) * HOUR_US
    return estimate_propensities(X.astype(np.float32), service, user, at_us, n_services, n_jobs=1)


@pytest.fixture(scope="module")
def targeted():
    """Service 0 is the likelier, and nothing the less so, the greater the first of ten columns."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 10))
    truth = softmax(-X[:, 0] / 2, X[:, 0], np.zeros(N), np.full(N, -1.0))
    service = drawn(truth, rng)
    return X, service, truth, estimate(X, service)


def test_a_policy_that_targets_is_learned(targeted):
    _, _, truth, found = targeted
    shares = np.tile(truth.mean(axis=0), (N, 1))
    off, of_shares = (np.abs(p - truth).mean(axis=0) for p in (found.probability, shares))
    assert (off[:2] < of_shares[:2] / 4).all()
    assert (off < 0.03).all()
    assert found.probability.sum(axis=1) == pytest.approx(1)


def test_of_what_was_shown_a_list_of_several_has_the_last_column(targeted):
    _, service, _, found = targeted
    of_shown = found.of_shown(service)
    several = service == -2
    assert several.sum() > 500
    assert np.array_equal(of_shown[several], found.probability[several, -1])
    assert np.array_equal(
        of_shown[~several], found.probability[np.flatnonzero(~several), service[~several] + 1]
    )


def test_the_same_log_has_the_same_estimates(targeted):
    X, service, _, found = targeted
    assert np.array_equal(estimate(X, service).probability, found.probability)


def test_where_chance_decided_everybody_has_nearly_the_share():
    rng = np.random.default_rng(1)
    service = rng.choice([-2, -1, 0, 1], N, p=[0.1, 0.3, 0.3, 0.3])
    found = estimate(rng.normal(size=(N, 10)), service)
    assert found.probability.std(axis=0).max() < 0.02
    assert not found.trimmed.any()


def test_no_row_is_answered_by_a_model_that_saw_its_user():
    # What a user is shown is settled by a number of theirs that says nothing of other users'.
    rng = np.random.default_rng(2)
    user = np.repeat(np.arange(300), 10)
    service = rng.integers(-1, 2, 300)[user]
    found = estimate(rng.normal(size=300)[user][:, None], service, user)
    assert found.of_shown(service).mean() == pytest.approx(1 / 3, abs=0.05)


def test_a_rule_that_changed_is_told_from_the_one_before():
    rng = np.random.default_rng(3)
    late = np.arange(N) >= N // 2
    truth = np.column_stack([np.where(late, 0.6, 0.2), np.where(late, 0.2, 0.4), np.where(late, 0.2, 0.4)])
    service = drawn(np.column_stack([truth, np.zeros(N)]), rng)
    found = estimate(rng.normal(size=(N, 3)), service)
    assert found.probability[late, 0].mean() == pytest.approx(0.6, abs=0.03)
    assert found.probability[~late, 0].mean() == pytest.approx(0.2, abs=0.03)


def test_what_was_hardly_possible_is_lifted_and_counted():
    rng = np.random.default_rng(4)
    x = rng.integers(0, 2, N)
    truth = np.where(x[:, None] == 1, [0.6, 0.399, 0.001, 0], [0.4, 0.2, 0.4, 0])
    service = drawn(truth, rng)
    found = estimate(x[:, None], service)
    least = LEAST_OF_SHARE * (service == 1).mean()
    assert found.probability[x == 1, 2].min() >= least * 0.97  # lifted, and scaled so that the row sums to 1
    assert np.array_equal(found.trimmed, x == 1)


def test_a_service_never_shown_keeps_a_trace():
    service = np.tile([-1, 0, 0], 100)
    found = estimate(np.zeros((300, 1)), service, n_services=3)
    assert 0 < found.probability[:, 2:].max() < 1e-5
    assert found.probability[:, :2] == pytest.approx(np.tile([1 / 3, 2 / 3], (300, 1)), abs=0.03)


def gain_of_offering_to_all(seed: int) -> tuple[Interval, Interval]:
    """Offering service 0 to everybody over nothing, truly 1: by estimated propensities, and by plain means.

    Those with a high first column are offered more and earn more anyway; the outcome model is a constant.
    """
    rng = np.random.default_rng(seed)
    n = 3000
    user = rng.integers(0, n // 2, n)
    X = rng.normal(size=(n // 2, 3))[user] + rng.normal(size=(n, 3)) / 3
    truth = softmax(np.zeros(n), X[:, 0] / 2, -X[:, 0] / 2)
    service = drawn(np.column_stack([truth, np.zeros(n)]), rng)
    effect = np.column_stack([np.zeros(n), 1 + X[:, 1], 0.5 - X[:, 1]])
    outcome = 2 * X[:, 0] + effect[np.arange(n), service + 1] + rng.normal(size=n)
    propensity = estimate(X, service, user).of_shown(service)
    q = np.tile(outcome.mean(), (n, 3))
    resampled = UserBootstrap(user, rng, 200)

    def gain(propensity: np.ndarray) -> Interval:
        value = []
        for column in (1, 0):
            policy = np.tile(np.eye(3)[column], (n, 1))
            weights = match_weights(policy, service, propensity)
            value.append(doubly_robust(policy, weights, outcome, service, q))
        rows = value[0] - value[1]
        sums, count = resampled.sums(np.column_stack([rows, np.ones(n)])).T
        return Interval.of(rows.mean(), sums / count, 0.95)

    return gain(propensity), gain(np.array([np.mean(service == s) for s in range(-1, 2)])[service + 1])


@pytest.mark.slow
def test_policy_values_by_estimated_propensities_cover_the_truth():
    estimated, naive = zip(*(gain_of_offering_to_all(seed) for seed in range(40)), strict=True)
    assert np.mean([one.low <= 1 <= one.high for one in estimated]) >= 0.9
    assert np.mean([one.low <= 1 <= one.high for one in naive]) <= 0.1
    assert np.mean([one.value for one in estimated]) == pytest.approx(1, abs=0.06)
