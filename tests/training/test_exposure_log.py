"""What the models refuse to be fitted on, each with a message that says what was expected."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.exposure_log import content_order
from training.uplift import UpliftModel

N = 6
GOOD = {
    "X": np.arange(12.0).reshape(N, 2),
    "service": np.array([-1, 0, 1, -1, 0, 1]),
    "propensity": np.full((N, 3), 1 / 3),
    "y": np.array([0.0, 1, 0, 1, 0, 1]),
    "uptake": np.array([0.0, 1, 0, 0, 0, 1]),
}


def with_value(name: str, where, value) -> np.ndarray:
    array = GOOD[name].astype(float)
    array[where] = value
    return array


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("X", np.zeros(N), r"X must have the shape \(n_rows, n_columns\), got \(6,\)"),
        ("X", with_value("X", (3, 1), np.inf), "X must be finite or NaN .* infinite value in column 1"),
        ("X", [["red", "blue"]] * N, "X must hold numbers only.*Encode categories as codes first"),
        ("service", [0, 1], r"service must have the shape \(6,\) as X has rows, got \(2,\)"),
        ("service", with_value("service", 0, 0.5), "service must hold whole numbers"),
        ("service", with_value("service", 0, np.nan), "service must hold whole numbers"),
        ("service", with_value("service", 0, 2), r"service must be -1 \(nothing\) to 1, got -1 to 2"),
        ("service", with_value("service", 0, -2), r"service must be -1 \(nothing\) to 1, got -2 to 1"),
        ("service", np.full(N, -1), "service must hold rows where a service was shown, got none"),
        ("service", np.zeros(N, int), "service must hold -1 for some rows.*Without a holdout"),
        ("propensity", np.full(N, 0.5), r"propensity must have the shape \(6, n_services \+ 1\)"),
        ("propensity", with_value("propensity", (0, 0), np.nan), "propensity must be between 0 and 1"),
        ("propensity", with_value("propensity", (0, 0), -1 / 3), "propensity must be between 0 and 1"),
        ("propensity", with_value("propensity", (2, 0), 0.5), "must sum to 1, got 1.16667 in row 2"),
        (
            "propensity",
            with_value("propensity", 1, [1, 0, 0]),
            r"was shown, got 0 in row 1 \(service 0\)",
        ),
        (
            "propensity",
            with_value("propensity", 1, [0, 1, 0]),
            "of nothing must be above 0.*row 1",
        ),
        ("y", [0, 1], r"y must have the shape \(6,\)"),
        ("y", with_value("y", 2, np.nan), "y must be finite, got nan in row 2"),
        ("y", np.ones(N), "y must vary, got 1 in all 6 rows"),
        ("uptake", with_value("uptake", 1, 2), "uptake must be 0 or 1, got 2"),
        ("uptake", np.zeros(N), "uptake must hold both 0 and 1 where a service was shown, got 0 in all 4"),
        ("uptake", with_value("uptake", 1, np.nan), "uptake must be finite, got nan in row 1"),
    ],
)
def test_poisoned_input_is_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        UpliftModel(n_jobs=1).fit(**{**GOOD, name: value})


def test_a_categorical_column_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"categorical must be columns of X, 0 to 1, got \[2\]"):
        UpliftModel(n_jobs=1, categorical=(0, 2)).fit(**GOOD)


def test_a_handful_of_rows_is_enough_for_averages():
    model = UpliftModel(n_jobs=1).fit(**GOOD)
    assert np.array_equal(model.predict(GOOD["X"]), np.tile(model.average_, (N, 1)))


@given(
    values=st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    seed=st.integers(0, 99),
    shuffle=st.integers(0),
)
def test_content_order_is_the_same_for_any_order_given(values, seed, shuffle):
    rows = np.array(values, dtype=float)[:, None]
    other = np.random.default_rng(shuffle).permutation(rows)
    assert np.array_equal(rows[content_order(seed, rows)], other[content_order(seed, other)])
    assert sorted(content_order(seed, rows)) == list(range(len(rows)))
