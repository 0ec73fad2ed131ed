"""Tuning by held-out R-loss: defaults, seeds, resumed studies."""

import numpy as np
import pytest

from training.lockstep import DEFAULTS
from training.tuning import tune


@pytest.fixture(scope="module")
def log():
    """One service that adds the sign of x times another column, to 1,500 users: only trees can see it."""
    rng = np.random.default_rng(0)
    X, service = rng.normal(size=(1500, 3)), rng.integers(-1, 1, 1500)
    y = X[:, 1] + (service == 0) * np.sign(X[:, 0] * X[:, 2]) + 0.3 * rng.normal(size=1500)
    return {
        "X": X,
        "service": service,
        "propensity": np.full((1500, 2), 0.5),
        "y": y,
        "uptake": None,
        "n_jobs": 1,
    }


@pytest.fixture(scope="module")
def unbroken(log):
    return tune(**log, n_trials=3)


def test_no_trials_return_the_defaults(log):
    settings, trials = tune(**log, n_trials=0)
    assert settings == DEFAULTS
    assert trials.empty


def test_settings_that_see_more_of_a_plain_effect_replace_the_defaults(unbroken):
    # 200 rows a leaf, the default, are too many for 1,000 rows of steps at 0.
    settings, trials = unbroken
    best = trials.loc[trials["loss"].idxmin()]
    assert best["gain"] > best["gain_se"] > 0
    assert settings.min_rows == best["min_rows"] < DEFAULTS.min_rows


def test_without_evidence_the_defaults_stand(log):
    noise = {**log, "y": np.random.default_rng(1).normal(size=1500)}
    assert tune(**noise, n_trials=2)[0] == DEFAULTS


def test_a_resumed_study_ends_as_an_unbroken_one(log, unbroken, tmp_path):
    storage = f"sqlite:///{tmp_path / 'optuna.db'}"
    seen = []
    tune(**log, n_trials=1, storage=storage)
    settings, trials = tune(**log, n_trials=3, storage=storage, progress=lambda *step: seen.append(step))
    assert seen == [("tuning", 2, 3), ("tuning", 3, 3)]
    assert settings == unbroken[0]
    assert trials.equals(unbroken[1])
    assert tune(**log, n_trials=3, storage=storage)[0] == settings


def test_fewer_than_no_trials_are_refused(log):
    with pytest.raises(ValueError, match="n_trials must be at least 0, got -1"):
        tune(**log, n_trials=-1)


def test_trials_that_cannot_be_read_are_named(log, tmp_path):
    (tmp_path / "optuna.db").write_bytes(b"not SQLite" * 1000)
    with pytest.raises(ValueError, match=r"optuna.db cannot be read or written .* Move that file away"):
        tune(**log, n_trials=1, storage=f"sqlite:///{tmp_path / 'optuna.db'}")
