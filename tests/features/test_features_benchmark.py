"""The benchmark's two ways to the same profiles; it compares their values itself."""

from benchmarks.features import measure_pandas


def test_pandas_joins_agree_with_the_engine_in_every_common_column():
    perkwise, pandas = measure_pandas(n_users=60, seed=4)
    assert perkwise.n_rows == pandas.n_rows == 600
    assert perkwise.n_columns > pandas.n_columns > 60
