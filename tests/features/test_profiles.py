"""Profiles as a frame and as a file."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from features.pipeline import Layout
from features.profiles import build_profiles, read_profiles, write_profiles
from features.tiers import TIER_COLUMN, Tiers

AS_OF = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def tables(random_tables):
    return random_tables(np.random.default_rng(1), n_users=15, n_rows=300)


@pytest.fixture(scope="module")
def layout(tables):
    return Layout.of(tables)


def test_a_row_a_user_and_the_columns_of_the_layout(tables, layout):
    frame = build_profiles(tables, layout, AS_OF, uptake_days=14)
    assert frame["user_id"].tolist() == tables.users["user_id"].tolist()
    assert frame.columns.tolist() == ["user_id", *layout.columns]
    orders = tables.orders[tables.orders["ordered_at"] < AS_OF]
    assert frame["monetary_all"].sum() == pytest.approx(orders["amount_cents"].sum() / 100, rel=1e-6)


def test_tiers_stand_beside_the_amounts_they_are_cut_on(tables, layout):
    tiers = Tiers(("low", "high"), (500.0,))
    frame = build_profiles(tables, layout, AS_OF, uptake_days=14, tiers=tiers)
    assert frame["tier"].tolist() == np.where(frame[TIER_COLUMN] > 500, "high", "low").tolist()


def test_who_has_not_joined_has_no_profile(tables, layout):
    joined_at = tables.users["joined_at"].min()
    frame = build_profiles(
        tables, layout, joined_at.to_pydatetime() + timedelta(microseconds=1), uptake_days=14
    )
    assert (
        frame["user_id"].tolist() == tables.users["user_id"][tables.users["joined_at"] == joined_at].tolist()
    )
    assert build_profiles(tables, layout, joined_at.to_pydatetime(), uptake_days=14).empty


def test_a_file_gives_back_what_was_written(tables, layout, tmp_path):
    frame = build_profiles(tables, layout, AS_OF, 14, Tiers(("low", "high"), (500.0,)))
    path = tmp_path / "out" / "profiles.parquet"
    write_profiles(frame, path, layout, AS_OF.astimezone(timezone(timedelta(hours=8))))
    profiles = read_profiles(path)
    pd.testing.assert_frame_equal(profiles.frame, frame)
    assert profiles.layout == layout and profiles.as_of == AS_OF


def test_a_moment_without_a_zone_is_refused(tables, layout):
    with pytest.raises(ValueError, match="as_of must have a time zone"):
        build_profiles(tables, layout, datetime(2024, 6, 1), uptake_days=14)


def test_other_parquet_is_refused(tmp_path):
    pd.DataFrame({"user_id": ["a"]}).to_parquet(tmp_path / "users.parquet")
    with pytest.raises(ValueError, match="must be a file that write_profiles wrote"):
        read_profiles(tmp_path / "users.parquet")


def test_profiles_with_other_columns_are_refused(tables, layout, tmp_path):
    frame = build_profiles(tables, layout, AS_OF, uptake_days=14).drop(columns="recency_days")
    write_profiles(frame, tmp_path / "profiles.parquet", layout, AS_OF)
    with pytest.raises(ValueError, match="must have the columns recency_days: compute the profiles anew"):
        read_profiles(tmp_path / "profiles.parquet")
