"""What is left of trees, where some columns are known, says what the trees say."""

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.known_splits import Trees


@pytest.fixture(scope="module")
def booster() -> lgb.Booster:
    """Trees of a number with gaps, two categories and two levels of a number."""
    rng = np.random.default_rng(0)
    X = np.column_stack(
        [rng.normal(size=3000), rng.integers(0, 40, 3000), rng.integers(0, 5, 3000), rng.integers(0, 2, 3000)]
    )
    X[::5, 0] = np.nan
    y = np.nan_to_num(X[:, 0]) * (X[:, 1] % 3) + X[:, 2] * X[:, 3] + (X[:, 1] > 30)
    data = lgb.Dataset(X, y, categorical_feature=[1, 2])
    return lgb.train({"num_leaves": 12, "verbosity": -1, "num_threads": 1, "seed": 0}, data, 30)


@pytest.fixture(scope="module")
def trees(booster) -> Trees:
    return Trees.parse(booster.model_to_string())


@settings(max_examples=40, deadline=None)
@given(
    known=st.dictionaries(st.sampled_from([1, 2, 3]), st.integers(0, 60), max_size=3),
    number=st.floats(-3, 3) | st.just(float("nan")),
)
def test_trees_with_known_columns_predict_the_same(booster, trees, known, number):
    row = np.array([[number, 7.0, 2.0, 1.0]])
    for column, value in known.items():
        row[0, column] = value
    constant, text = trees.where(known)
    parts = lgb.Booster(model_str=text).predict(row, pred_contrib=True)[0]
    assert constant + parts.sum() == pytest.approx(booster.predict(row)[0], abs=1e-9)
    assert not parts[list(known)].any()


def test_where_all_is_known_a_number_is_left(booster, trees):
    row = [0.3, 12.0, 4.0, 1.0]
    constant, text = trees.where(dict(enumerate(row)))
    assert text is None
    assert constant == pytest.approx(booster.predict([row])[0])


def test_shares_of_the_rows_stay_as_they_were(booster, trees):
    # With nothing known the trees are those they were: TreeSHAP finds the same expected value.
    _, text = trees.where({})
    row = np.array([[0.3, 12.0, 4.0, 1.0]])
    same = lgb.Booster(model_str=text).predict(row, pred_contrib=True)
    assert same == pytest.approx(booster.predict(row, pred_contrib=True), abs=1e-7)


def test_the_expected_value_is_that_of_rows_with_the_same_known_values():
    # y = x · g, x and g independent: among the rows with g = 1 the mean is that of x, and 0 where g = 0.
    rng = np.random.default_rng(1)
    x, g = 1.0 + (rng.random(4000) < 0.25), rng.integers(0, 2, 4000)
    options = {"num_leaves": 4, "learning_rate": 1.0, "verbosity": -1, "num_threads": 1, "lambda_l2": 0}
    booster = lgb.train(options, lgb.Dataset(np.column_stack([x, g]), x * g), 3)
    constant, text = Trees.parse(booster.model_to_string()).where({1: 1.0})
    expected = lgb.Booster(model_str=text).predict(np.array([[2.0, 1.0]]), pred_contrib=True)[0, -1]
    assert constant + expected == pytest.approx(x[g == 1].mean(), abs=0.02)
