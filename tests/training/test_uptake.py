"""The uptake model on logs with known probabilities."""

import numpy as np
import pandas as pd
import pytest

from training.evaluation.curves import expected_calibration_error
from training.lockstep import LearnerSettings
from training.uptake import UptakeModel

RATES = np.array([0.1, 0.3, 0.6])


def known_uptake(n: int, seed: int):
    """Features, services, uptake, and the (n, 3) probabilities it was drawn with."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    service = rng.integers(-1, 3, n)
    p = 1 / (1 + np.exp(-(np.log(RATES / (1 - RATES)) + X[:, [0]] * [1.0, -1.0, 0.0])))
    drawn = rng.random(n) < p[np.arange(n), service]
    return X, service, np.where(service >= 0, drawn, 0.0), p


@pytest.fixture(scope="module")
def fitted() -> UptakeModel:
    X, service, uptake, _ = known_uptake(12_000, seed=0)
    return UptakeModel(n_jobs=1, settings=LearnerSettings(min_rows=50)).fit(X, service, uptake)


def test_known_probabilities_are_recovered_and_calibrated(fitted):
    X, service, uptake, p = known_uptake(20_000, seed=1)
    predicted = fitted.predict(X)
    assert np.abs(predicted - p).mean() < 0.04
    shown = service >= 0
    of_shown = predicted[np.arange(len(X)), service][shown]
    assert expected_calibration_error(uptake[shown], of_shown) < 0.02


def test_uptake_that_does_not_depend_on_the_user_is_each_services_rate():
    X, service, _, _ = known_uptake(6000, seed=2)
    uptake = np.where(service >= 0, np.random.default_rng(3).random(6000) < RATES[service], 0.0)
    predicted = UptakeModel(n_jobs=1).fit(X, service, uptake).predict(X)
    assert predicted.mean(axis=0) == pytest.approx(RATES, abs=0.04)
    assert predicted.std(axis=0).max() < 0.03


def test_the_order_of_the_rows_does_not_matter():
    X, service, uptake, _ = known_uptake(2000, seed=4)
    order = np.random.default_rng(5).permutation(2000)
    one = UptakeModel(n_jobs=1).fit(X, service, uptake)
    other = UptakeModel(n_jobs=1).fit(X[order], service[order], uptake[order])
    assert np.array_equal(one.predict(X), other.predict(X))


def test_a_saved_model_answers_bit_for_bit_after_loading(fitted, tmp_path):
    X = known_uptake(500, seed=6)[0]
    fitted.save(tmp_path)
    loaded = UptakeModel.load(tmp_path, n_jobs=1)
    assert np.array_equal(loaded.predict(X), fitted.predict(X))
    assert np.array_equal(loaded.predict(X[:1])[0], fitted.predict(X)[0])


def test_a_service_never_offered_gets_the_rate_of_all():
    X, service, uptake, _ = known_uptake(3000, seed=7)
    predicted = UptakeModel(n_jobs=1).fit(X, service, uptake, n_services=4).predict(X)
    assert predicted.shape == (3000, 4)
    assert predicted[:, 3].mean() == pytest.approx(uptake[service >= 0].mean(), abs=0.1)


def test_probabilities_stay_between_0_and_1_where_use_is_certain():
    X = np.random.default_rng(8).normal(size=(3000, 2))
    predicted = UptakeModel(n_jobs=1).fit(X, np.zeros(3000, int), X[:, 0] > 0).predict(X)
    assert predicted.min() > 0
    assert predicted.max() < 1


def test_columns_of_a_frame_are_found_by_name():
    X, service, uptake, _ = known_uptake(1000, seed=9)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = UptakeModel(n_jobs=1).fit(frame, service, uptake)
    assert np.array_equal(model.predict(frame[["c", "a", "b"]]), model.predict(frame))
    with pytest.raises(ValueError, match=r"missing \['c'\]"):
        model.predict(frame[["a", "b"]])


def test_a_service_outside_the_catalogue_is_refused():
    with pytest.raises(ValueError, match=r"service must be -1 \(nothing\) to 1, got 0 to 2"):
        UptakeModel().fit(np.zeros((3, 1)), [0, 1, 2], [0, 1, 0], n_services=2)


def test_uptake_that_never_happened_is_refused():
    with pytest.raises(ValueError, match="uptake must hold both 0 and 1 where a service was shown"):
        UptakeModel().fit(np.zeros((3, 1)), [-1, 0, 0], [1, 0, 0])
