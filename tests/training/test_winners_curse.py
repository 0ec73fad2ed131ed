"""The best service for everybody is left only where the evidence carries it, and most gain is kept."""

import numpy as np
import pytest

from training.uplift import UpliftModel

N_TRAIN, N_NEW, N_SERVICES = 4000, 3000, 4


def made(seed: int, spread: float):
    """A log, new users and their true uplifts: an average ± spread, by the sign of a column of X."""
    rng = np.random.default_rng(seed)
    n = N_TRAIN + N_NEW
    X = rng.normal(size=(n, 6))
    columns = rng.integers(0, 6, N_SERVICES)
    uplift = rng.normal(0.05, 0.02, N_SERVICES) + spread * np.sign(X[:, columns])
    propensity = np.tile([0.2, *[0.8 / N_SERVICES] * N_SERVICES], (n, 1))
    service = rng.choice(N_SERVICES + 1, n, p=propensity[0]) - 1
    p = 0.25 + 0.08 * np.tanh(X[:, 0]) + np.column_stack([uplift, np.zeros(n)])[np.arange(n), service]
    y = (rng.random(n) < p).astype(float)
    log = X[:N_TRAIN], service[:N_TRAIN], propensity[:N_TRAIN], y[:N_TRAIN]
    return log, X[N_TRAIN:], uplift[N_TRAIN:]


def gain_over_constant(seed: int, spread: float) -> tuple[float, float]:
    """By how much choosing user by user beats the service of the best average, and by how much it could."""
    log, X, uplift = made(seed, spread)
    model = UpliftModel(n_jobs=1).fit(*log)
    chosen = model.predict(X).argmax(axis=1)
    constant = uplift[:, int(model.average_.argmax())].mean()
    gain = uplift[np.arange(len(X)), chosen].mean() - constant
    return float(gain), float(uplift.max(axis=1).mean() - constant)


def test_where_users_do_not_differ_next_to_nothing_is_lost_and_where_they_do_most_is_won():
    lost = [gain_over_constant(seed, spread=0.0)[0] for seed in range(6)]
    assert np.mean(lost) > -0.003
    won = np.array([gain_over_constant(seed, spread=0.15) for seed in range(6)])
    assert won[:, 0].sum() > 0.7 * won[:, 1].sum()


@pytest.mark.slow
def test_in_200_worlds_without_differences_next_to_nothing_is_lost():
    gains = np.array([gain_over_constant(seed, spread=0.0)[0] for seed in range(1000, 1200)])
    assert gains.mean() > -0.003  # a sixteenth of the average uplift of 0.05
    assert (gains > -0.01).mean() > 0.9


@pytest.mark.slow
def test_in_200_worlds_with_differences_most_of_the_gain_is_kept():
    gains = np.array([gain_over_constant(seed, spread=0.15) for seed in range(2000, 2200)])
    assert gains[:, 0].sum() > 0.7 * gains[:, 1].sum()
    assert (gains[:, 0] > 0).mean() > 0.97
