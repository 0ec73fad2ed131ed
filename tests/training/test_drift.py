"""Drift, service by service, on weeks whose truth is set by hand."""

import numpy as np
import pytest

from training.drift import Departure, drifted, still_true

N, N_SERVICES = 12_000, 4
UPTAKE = np.array([0.1, 0.2, 0.3, 0.2])
SERVICE = (np.arange(N) % N_SERVICES)[:, None]


def week(rng, uptake=UPTAKE, margin=(0.0, 0.0, 0.0, 0.0), common=0.0):
    """Each service shown alone to 3,000 users, predicted to be used as UPTAKE says and to add nothing."""
    taken = rng.random(SERVICE.shape) < uptake[SERVICE]
    residual = common + np.array(margin)[SERVICE[:, 0]] + 10 * rng.standard_normal(N)
    shown_at_random = np.vstack([SERVICE, np.full((N // 4, 1), -1)])
    nobody = np.zeros((N // 4, 1))
    return Departure.of(
        shown_at_random,
        np.vstack([UPTAKE[SERVICE], nobody]),
        np.vstack([taken, nobody.astype(bool)]),
        np.vstack([np.ones(SERVICE.shape), nobody]),
        np.concatenate([residual, common + 10 * rng.standard_normal(N // 4)]),
        N_SERVICES,
    )


def test_departures_are_what_was_put_in():
    found = week(np.random.default_rng(0), uptake=UPTAKE * [1, 2, 1, 0.5], margin=(0, 0, 3, 0), common=5)
    assert (np.abs(found.uptake - [1, 2, 1, 0.5]) < 4 * found.uptake_se).all()
    assert (np.abs(found.margin - [0, 0, 3, 0]) < 4 * found.margin_se).all()


def test_a_world_that_stays_does_not_drift():
    rng = np.random.default_rng(1)
    sound = week(rng)
    assert sum(int(drifted(week(rng), sound).sum()) for _ in range(50)) == 0


def test_what_the_models_always_missed_is_no_drift():
    rng = np.random.default_rng(2)
    missed = {"uptake": UPTAKE * [1, 1, 2, 1], "margin": (0, 3, 0, 0)}
    assert not drifted(week(rng, **missed), week(rng, **missed)).any()


@pytest.mark.parametrize(
    ("change", "service"),
    [({"uptake": UPTAKE * [2, 1, 1, 1]}, 0), ({"margin": (0, 0, 0, -3)}, 3)],
    ids=["uptake", "margin"],
)
def test_a_service_that_changed_is_named_and_no_other(change, service):
    rng = np.random.default_rng(3)
    assert drifted(week(rng, **change), week(rng)).tolist() == [s == service for s in range(N_SERVICES)]


def test_a_service_hardly_shown_is_not_judged():
    few = Departure.of(
        np.zeros((30, 1), np.intp),
        np.full((30, 1), 0.1),
        np.ones((30, 1), bool),
        np.ones((30, 1)),
        np.ones(30),
        1,
    )
    assert np.isnan(few.uptake).all() and not drifted(few, few).any()


def test_uncertain_predictions_excuse_a_departure():
    rng = np.random.default_rng(4)
    sound, now = week(rng), week(rng, margin=(0, 0, 0, -3)).less_sure(np.full(N_SERVICES, 5.0))
    assert not drifted(now, sound).any()


def test_rows_are_kept_from_the_drift_of_each_of_their_services_on():
    lists = np.array([[0, 1], [0, 1], [1, 2], [-1, -1], [2, -1]])
    kept = still_true(lists, np.array([4, 5, 1, 1, 1]), np.array([5, 0, 0]))
    assert kept.tolist() == [False, True, True, True, True]
