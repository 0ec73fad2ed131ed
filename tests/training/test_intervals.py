"""Intervals of averages and of users, held to worlds whose uplifts are known."""

import numpy as np
import pytest

from training.uplift import UpliftModel

N_TRAIN, N_NEW, N_SERVICES = 6000, 2000, 8


def made(seed: int):
    """A log of eight services, one hardly shown, whose uplifts rise with columns, and new users."""
    rng = np.random.default_rng(seed)
    n = N_TRAIN + N_NEW
    X = rng.normal(size=(n, 6))
    slopes = 0.04 * rng.normal(size=(6, N_SERVICES)) * (rng.random((6, N_SERVICES)) < 0.4)
    uplift = rng.normal(0.06, 0.04, N_SERVICES) + np.tanh(X) @ slopes
    shares = np.array([0.2, *rng.dirichlet(np.full(N_SERVICES, 20.0)) * 0.8])
    shares[1] = 0.01
    shares /= shares.sum()
    propensity = np.tile(shares, (n, 1))
    service = rng.choice(N_SERVICES + 1, n, p=shares) - 1
    p = 0.3 + 0.1 * np.tanh(X[:, 0]) + np.column_stack([uplift, np.zeros(n)])[np.arange(n), service]
    y = (rng.random(n) < np.clip(p, 0, 1)).astype(float)
    return (X[:N_TRAIN], service[:N_TRAIN], propensity[:N_TRAIN], y[:N_TRAIN]), X[N_TRAIN:], uplift[N_TRAIN:]


def coverage(seeds) -> tuple[float, float]:
    """How often intervals of 95 % hold the true average of a service, and the true uplift of a user."""
    averages, users = [], []
    for seed in seeds:
        log, X, uplift = made(seed)
        model = UpliftModel(n_jobs=1).fit(*log)
        truth = uplift.mean(axis=0)
        low, high = model.average_interval(0.95)
        averages.append((low <= truth) & (truth <= high))
        low, high = model.predict_interval(X, 0.95)
        users.append((low <= uplift) & (uplift <= high))
    return float(np.mean(averages)), float(np.mean(users))


@pytest.mark.slow
def test_intervals_of_averages_cover_as_often_as_they_claim_and_those_of_users_about_so():
    averages, users = coverage(range(100))
    assert averages == pytest.approx(0.95, abs=0.03)
    assert 0.9 < users < 1


def test_a_higher_level_is_a_wider_interval_around_the_same_prediction():
    log, X, _ = made(0)
    model = UpliftModel(n_jobs=1).fit(*log)
    predicted = model.predict(X[:50])
    for interval, centre in (
        (lambda level: model.predict_interval(X[:50], level), predicted),
        (model.average_interval, model.average_),
    ):
        (low, high), (lower, higher) = interval(0.8), interval(0.95)
        assert (lower < low).all() and (high < higher).all()
        assert np.allclose((low + high) / 2, centre) and np.allclose((lower + higher) / 2, centre)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_that_is_no_probability_is_refused(level):
    log, X, _ = made(0)
    model = UpliftModel(n_jobs=1).fit(*(part[:1500] for part in log))
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        model.predict_interval(X, level)
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        model.average_interval(level)
