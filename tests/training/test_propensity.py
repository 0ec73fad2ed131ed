"""Whole rows of propensities from what was logged of the shown action alone."""

import numpy as np
import pytest

from training.propensity import full_propensities


def logged_by(propensity: np.ndarray, rng: np.random.Generator):
    """Services drawn from rows of propensities, and the probability of each."""
    drawn = (rng.random((len(propensity), 1)) >= propensity.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return drawn - 1, propensity[np.arange(len(drawn)), drawn]


def test_constant_propensities_are_given_to_every_row():
    propensity = np.tile([0.25, 0.45, 0.3], (50, 1))
    service, logged = logged_by(propensity, np.random.default_rng(0))
    full = full_propensities(np.zeros((50, 1)), service, logged, n_services=2)
    assert full == pytest.approx(propensity, abs=1e-12)


@pytest.fixture(scope="module")
def varying():
    """A holdout of a fifth; service 0 is the likelier, the greater x."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(6000, 2))
    first = 0.8 / (1 + np.exp(-X[:, 0]))
    propensity = np.column_stack([np.full(6000, 0.2), first, 0.8 - first])
    service, logged = logged_by(propensity, rng)
    return X, service, logged, propensity, full_propensities(X, service, logged, 2, n_jobs=1)


def test_propensities_that_depend_on_the_user_are_recovered(varying):
    _, _, _, propensity, full = varying
    assert np.abs(full - propensity).mean() < 0.01
    assert full[:, 0] == pytest.approx(0.2, abs=1e-12)


def test_rows_sum_to_1_and_keep_the_logged_entry_to_the_last_bit(varying):
    _, service, logged, _, full = varying
    assert full.sum(axis=1) == pytest.approx(1, abs=1e-12)
    assert np.array_equal(full[np.arange(len(full)), service + 1], logged)


def test_the_same_seed_gives_the_same_propensities_in_any_order(varying):
    X, service, logged, _, full = varying
    order = np.random.default_rng(2).permutation(len(X))
    again = full_propensities(X[order], service[order], logged[order], 2, n_jobs=1)
    assert np.array_equal(again, full[order])


def test_actions_never_logged_share_what_is_left():
    full = full_propensities(np.zeros((4, 1)), [-1, -1, 0, 0], [0.4, 0.4, 0.2, 0.2], n_services=3)
    assert full == pytest.approx(np.tile([0.4, 0.2, 0.2, 0.2], (4, 1)))


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.1])
def test_an_impossible_propensity_is_refused(bad):
    with pytest.raises(ValueError, match=f"logged must be above 0 and at most 1, got {bad:g} in row 1"):
        full_propensities(np.zeros((2, 1)), [-1, 0], [0.5, bad], n_services=1)
