import gc
import pickle

import lightgbm as lgb
import numpy as np
import pytest

from training.boosting import Ensemble


@pytest.fixture(scope="module")
def ensemble():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(600, 5)).astype(np.float32)
    features[:, 3] = rng.integers(0, 6, 600)
    features[rng.random((600, 5)) < 0.2] = np.nan
    target = np.nan_to_num(features[:, 0]) * (features[:, 3] == 2) + rng.normal(size=600)
    boosters = [
        lgb.train(
            {"verbosity": -1, "num_threads": 1, "seed": seed},
            lgb.Dataset(features, label=target, categorical_feature=[3]),
            20,
        )
        for seed in range(5)
    ]
    return Ensemble.of(boosters)


def test_one_row_is_answered_as_among_many_to_the_last_bit(ensemble):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(300, 5)).astype(np.float32)
    rows[:, 3] = rng.integers(-1, 9, 300)  # categories that were never seen, too
    rows[rng.random((300, 5)) < 0.3] = np.nan
    together = ensemble.raw(rows)
    assert np.ptp(together) > 0.1
    for row, expected in zip(rows, together):
        assert ensemble.raw(row[None])[0] == expected


def test_one_row_of_another_width_is_refused(ensemble):
    with pytest.raises(ValueError, match=r"a row must have the shape \(1, 5\), got \(1, 4\)"):
        ensemble.raw(np.zeros((1, 4), dtype=np.float32))


def test_an_ensemble_that_answered_can_be_copied_and_let_go(ensemble):
    row = np.zeros((1, 5), dtype=np.float32)
    expected = ensemble.raw(row)
    gc.freeze()  # what other tests made need not be looked through 50 times
    try:
        for _ in range(50):
            copy = pickle.loads(pickle.dumps(ensemble))
            assert copy.raw(row) == expected
            del copy
            gc.collect()
    finally:
        gc.unfreeze()
    assert ensemble.raw(row) == expected
