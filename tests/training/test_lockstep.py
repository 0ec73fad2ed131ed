"""Models of the folds: they never see what judges them, stop when patience ends, and heed no threads."""

import lightgbm as lgb
import numpy as np
import pytest

from training.boosting import Binned
from training.lockstep import DEFAULTS, Labels, at_once, grow_folds, split

N = 1500
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3)).astype(np.float32)
Y = X[:, 0] + RNG.normal(size=N)
FOLD = np.arange(N) % 3


def grown(y=Y, n_jobs=1, most_rounds=30, patience=None) -> tuple[list[float], list[str]]:
    losses, boosters = grow_folds(
        Binned.of(X, (), n_jobs).dataset,
        split(FOLD),
        Labels(y, [np.zeros(N)] * 3),
        DEFAULTS.parameters("regression", seed=0),
        most_rounds,
        n_jobs,
        patience,
    )
    return losses.tolist(), [text(booster, len(losses)) for booster in boosters]


def text(booster: lgb.Booster, n_rounds: int) -> str:
    return booster.model_to_string(num_iteration=n_rounds).partition("\nparameters:")[0]


def test_losses_and_trees_do_not_depend_on_the_threads():
    for patience in (None, 2):
        assert grown(n_jobs=1, patience=patience) == grown(n_jobs=3, patience=patience)


def test_what_is_held_out_teaches_its_model_nothing():
    other = np.where(FOLD == 1, -Y, Y)
    (losses, trees), (worse, with_other) = grown(), grown(other)
    assert trees[1] == with_other[1]
    assert trees[0] != with_other[0]
    assert worse[-1] > losses[-1]


def test_the_loss_is_that_of_rows_which_the_models_did_not_see():
    losses, _ = grown(most_rounds=200)
    assert min(losses) == pytest.approx(1.0, abs=0.15)  # the variance of the noise
    assert losses[0] == pytest.approx(np.mean(Y**2), rel=0.15)


def test_growth_ends_when_patience_does():
    noise = np.random.default_rng(1).normal(size=N)  # nothing to learn: every round is worse
    losses, _ = grown(noise, most_rounds=200, patience=5)
    assert len(losses) == int(np.argmin(losses)) + 6


def test_work_done_side_by_side_is_returned_in_its_order():
    works = [lambda n_jobs, i=i: i for i in range(20)]
    assert at_once(10, 3, works) == at_once(10**6, 3, works) == list(range(20))


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_models_that_find_nothing_to_split_grow_in_silence(n_jobs, capfd):
    grown(np.zeros(N), n_jobs)
    at_once(10, n_jobs, [lambda n_jobs: grown(np.zeros(N)), lambda n_jobs: grown(np.zeros(N))])
    assert capfd.readouterr() == ("", "")
