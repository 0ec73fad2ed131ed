"""The uplift model on logs whose answer is known by construction."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.lockstep import LearnerSettings
from training.uplift import LEARNERS, UpliftModel

SMALL = LearnerSettings(min_rows=20, l2=1.0)


@dataclass(frozen=True)
class Log:
    """A randomised log: every user was shown nothing or one service, each with the same probability."""

    X: np.ndarray
    service: np.ndarray
    propensity: np.ndarray
    y: np.ndarray
    uptake: np.ndarray | None = None

    def fit(self, **options) -> UpliftModel:
        model = UpliftModel(n_jobs=1, **{"settings": SMALL, **options})
        return model.fit(self.X, self.service, self.propensity, self.y, self.uptake)

    def take(self, rows) -> "Log":
        return Log(self.X[rows], self.service[rows], self.propensity[rows], self.y[rows], None)


def randomised(effect, n: int, seed: int = 0, noise: float = 0.5, n_services: int = 2) -> Log:
    """A log whose service j adds effect(X)[:, j] to a baseline of X[:, 1] and normal noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    service = rng.integers(-1, n_services, n)
    added = np.column_stack([effect(X), np.zeros(n)])[np.arange(n), service]
    propensity = np.full((n, n_services + 1), 1 / (n_services + 1))
    return Log(X, service, propensity, X[:, 1] + added + noise * rng.normal(size=n))


def checkerboard(X: np.ndarray) -> np.ndarray:
    """Service 0 helps those left of 0 and harms those right of it; service 1 the other way round."""
    return np.where(X[:, [0]] < 0, [1.0, -1.0], [-1.0, 1.0])


@pytest.fixture(scope="module")
def board() -> UpliftModel:
    return randomised(checkerboard, n=6000).fit()


@pytest.fixture(scope="module")
def new_users() -> np.ndarray:
    X = np.random.default_rng(9).normal(size=(2000, 4))
    return X[np.abs(X[:, 0]) > 0.1]


def test_on_a_checkerboard_every_user_gets_the_service_that_helps(board, new_users):
    chosen = board.predict(new_users).argmax(axis=1)
    assert (chosen == (new_users[:, 0] > 0)).mean() > 0.98
    assert np.abs(board.predict(new_users) - checkerboard(new_users)).mean() < 0.2


def test_the_baseline_is_what_happens_with_nothing_shown(board, new_users):
    assert np.corrcoef(board.predict_baseline(new_users), new_users[:, 1])[0, 1] > 0.95


def test_without_any_effect_predictions_are_flat_and_near_zero():
    log = randomised(lambda X: np.zeros((len(X), 2)), n=4000)
    model = log.fit()
    predicted = model.predict(log.X)
    assert np.abs(model.average_).max() < 3 * model.average_se_.max()
    assert predicted.std(axis=0).max() < 0.1 * log.y.std()


def test_an_effect_equal_for_all_is_found_as_a_constant():
    log = randomised(lambda X: np.tile([1.0, 0.3], (len(X), 1)), n=4000)
    model = log.fit()
    assert model.average_ == pytest.approx([1.0, 0.3], abs=0.08)
    assert model.predict(log.X).std(axis=0).max() < 0.08


def test_a_service_that_harms_is_predicted_to_harm():
    model = randomised(lambda X: np.tile([-1.0, 0.5], (len(X), 1)), n=3000).fit()
    assert (model.predict(np.zeros((5, 4)))[:, 0] < -0.8).all()


def test_a_binary_outcome_with_uptake_finds_those_who_gain_by_use():
    # Users right of 0 use what they are offered with probability 0.6, others never; use adds 0.5.
    rng = np.random.default_rng(1)
    n = 8000
    X, service = rng.normal(size=(n, 4)), rng.integers(-1, 4, n)
    uptake = (service >= 0) & (X[:, 0] > 0) & (rng.random(n) < 0.6)
    y = rng.random(n) < 0.2 + 0.5 * uptake
    log = Log(X, service, np.full((n, 5), 0.2), y.astype(float), uptake.astype(float))
    predicted = log.fit().predict(X)
    assert predicted[X[:, 0] > 0.1].mean() == pytest.approx(0.3, abs=0.05)
    assert predicted[X[:, 0] < -0.1].mean() == pytest.approx(0.0, abs=0.05)


def test_heavy_tails_do_not_unsettle_a_model_without_an_effect():
    log = randomised(lambda X: np.zeros((len(X), 2)), n=4000)
    spent = np.exp(2 * np.random.default_rng(2).normal(size=4000))
    model = replace(log, y=spent).fit()
    assert model.predict(log.X).std(axis=0).max() < 0.1 * spent.std()


def test_learning_from_permuted_treatments_yields_about_nothing():
    log = randomised(checkerboard, n=6000)
    dealt = np.random.default_rng(5).permutation(log.service)  # all propensities are alike
    model = replace(log, service=dealt).fit()
    assert (np.abs(model.average_) < 3 * model.average_se_).all()
    assert model.predict(log.X).std(axis=0).max() < 0.1 * log.fit().predict(log.X).std(axis=0).min()


def test_a_service_never_shown_gets_the_average_of_the_others():
    log = randomised(lambda X: np.ones((len(X), 2)), n=2000)
    propensity = np.column_stack([log.propensity, np.zeros(2000)])
    model = replace(log, propensity=propensity).fit()
    assert model.average_[2] == pytest.approx(model.average_[:2].mean(), abs=0.05)
    assert model.average_se_[2] >= model.average_se_[:2].max()


@pytest.fixture(scope="module")
def small() -> Log:
    """Few rows, but enough of service 0 for a model of its own, with uptake and unknown values."""
    log = randomised(checkerboard, n=3200, noise=0.2)
    log.X[::7, 2] = np.nan
    log.X[:, 3] = np.arange(3200) % 3
    uptake = (log.service >= 0) & (np.random.default_rng(3).random(3200) < 0.3 + 0.3 * (log.X[:, 0] < 0))
    return replace(log, uptake=uptake.astype(float))


@pytest.fixture(scope="module")
def fitted(small) -> UpliftModel:
    return small.fit(categorical=(3,))


def test_fit_returns_the_model_and_reports_a_weight_for_every_learner(fitted):
    assert isinstance(fitted, UpliftModel)
    assert set(fitted.coefficients_) == set(LEARNERS)
    assert min(fitted.coefficients_.values()) >= 0


def test_the_order_of_the_rows_does_not_matter(small, fitted):
    order = np.random.default_rng(4).permutation(len(small.y))
    shuffled = replace(small.take(order), uptake=small.uptake[order]).fit(categorical=(3,))
    assert np.array_equal(shuffled.predict(small.X), fitted.predict(small.X))


def test_the_same_seed_writes_the_same_bytes_whatever_the_threads(small, fitted, tmp_path):
    again = UpliftModel(n_jobs=2, settings=SMALL, categorical=(3,))
    again.fit(small.X, small.service, small.propensity, small.y, small.uptake)
    fitted.save(tmp_path / "one")
    again.save(tmp_path / "two")
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert all(
        (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files
    )


def test_a_saved_model_answers_bit_for_bit_after_loading(small, fitted, tmp_path):
    fitted.save(tmp_path)
    loaded = UpliftModel.load(tmp_path, n_jobs=1)
    assert np.array_equal(loaded.predict(small.X), fitted.predict(small.X))
    assert np.array_equal(loaded.predict_baseline(small.X), fitted.predict_baseline(small.X))
    assert np.array_equal(loaded.average_se_, fitted.average_se_)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".txt"}


@settings(max_examples=30, deadline=None)
@given(row=st.integers(0, 3199))
def test_one_user_alone_is_answered_as_among_many(small, fitted, row):
    alone = fitted.predict(small.X[row : row + 1])
    assert np.array_equal(alone[0], fitted.predict(small.X[max(0, row - 70) : row + 70])[min(row, 70)])


def test_nobody_to_predict_gives_no_rows(fitted):
    assert fitted.predict(np.empty((0, 4))).shape == (0, 2)


def test_columns_of_a_frame_are_found_by_name(small):
    names = ["a", "b", "c", "d"]
    frame = pd.DataFrame(small.X, columns=names)
    model = UpliftModel(n_jobs=1, settings=SMALL).fit(frame, small.service, small.propensity, small.y)
    assert np.array_equal(model.predict(frame[["d", "b", "a", "c"]]), model.predict(frame))
    with pytest.raises(ValueError, match=r"missing \['a'\], unexpected \['z'\]"):
        model.predict(frame.rename(columns={"a": "z"}))


def test_another_number_of_columns_is_refused(fitted):
    with pytest.raises(ValueError, match="X must have 4 columns as in fit, got 3"):
        fitted.predict(np.zeros((2, 3)))


def test_loading_from_an_empty_folder_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no saved uplift model"):
        UpliftModel.load(tmp_path)
