"""Hillstrom's trial: the published rates come out of the imported tables."""

import tomllib

import numpy as np
import pandas as pd
import pytest

from features.importers.hillstrom import ATTRIBUTES, import_hillstrom
from features.tables import load_tables
from offers.settings import parse_settings

# Two customers an arm, one of whom visits; the mailed men's visitor buys.
TRIAL = pd.DataFrame(
    {
        **{name: [1, 2, 3, 4, 5, 6] for name in ATTRIBUTES},
        "segment": ["Mens E-Mail", "Womens E-Mail", "No E-Mail"] * 2,
        "visit": [1, 1, 1, 0, 0, 0],
        "conversion": [1, 0, 0, 0, 0, 0],
        "spend": [29.99, 0, 0, 0, 0, 0],
    }
)


def settings_of(folder):
    return parse_settings(tomllib.loads((folder / "perkwise.toml").read_text()))


@pytest.fixture(scope="module")
def published(public_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("hillstrom")
    import_hillstrom(public_data / "hillstrom", out)
    return load_tables(out, settings_of(out).money)


def test_every_published_row_is_accepted(published):
    assert len(published.quarantine) == 0
    assert [count.read for count in published.counts] == [64_000, 2, 578, 9_394 + 7_132, 64_000, 0]


def test_the_published_rates_come_out_of_the_tables(published):
    visited = published.events["event"] == "visited"
    assert visited.sum() / len(published.users) == pytest.approx(0.14678, abs=5e-6)
    assert len(published.orders) / len(published.users) == pytest.approx(0.00903, abs=5e-6)
    assert published.orders["amount_cents"].sum() / 100 / len(published.users) == pytest.approx(
        1.0509, abs=5e-5
    )


PUBLISHED_ARMS = [
    ("mens-email", 21_307, 0.18276, 0.01253, 1.42262),
    ("womens-email", 21_387, 0.15140, 0.00884, 1.07720),
    ("", 21_306, 0.10617, 0.00573, 0.65279),
]


@pytest.mark.parametrize("service_id, n, visit, conversion, spend", PUBLISHED_ARMS)
def test_the_published_rates_of_each_arm_come_out_of_the_tables(
    published, service_id, n, visit, conversion, spend
):
    shown = published.exposures["service_id"] == service_id
    users = published.exposures.loc[shown, "user_id"]
    visited = published.events[published.events["event"] == "visited"]
    orders = published.orders[published.orders["user_id"].isin(users)]
    assert len(users) == n
    assert visited["user_id"].isin(users).sum() / n == pytest.approx(visit, abs=5e-6)
    assert len(orders) / n == pytest.approx(conversion, abs=5e-6)
    assert orders["amount_cents"].sum() / 100 / n == pytest.approx(spend, abs=5e-6)
    assert np.allclose(published.exposures["propensity"], 1 / 3)


@pytest.mark.parametrize("service_id, n, visit, conversion, spend", PUBLISHED_ARMS[:2])
def test_a_visit_of_the_mailed_is_the_use_of_their_e_mail(published, service_id, n, visit, conversion, spend):
    used = published.events.query("event == 'used'")
    assert (used["service_id"] == service_id).sum() / n == pytest.approx(visit, abs=5e-6)


@pytest.mark.parametrize("name", ["hillstrom.parquet", "Kevin_Hillstrom_2008.03.20.csv", "hillstrom.csv.zip"])
def test_parquet_and_csv_give_the_same_tables(tmp_path, name):
    source = tmp_path / "source"
    source.mkdir()
    TRIAL.to_parquet(source / name) if name.endswith("parquet") else TRIAL.to_csv(source / name, index=False)
    import_hillstrom(source, tmp_path / "of_folder")
    import_hillstrom(source / name, tmp_path / "of_file")
    for out in ("of_folder", "of_file"):
        tables = load_tables(tmp_path / out, settings_of(tmp_path / out).money)
        assert len(tables.quarantine) == 0
        assert tables.orders[["user_id", "amount_cents"]].values.tolist() == [["00001", 2999]]
        assert tables.events[["user_id", "event", "service_id"]].values.tolist() == [
            ["00001", "visited", ""],
            ["00002", "visited", ""],
            ["00003", "visited", ""],
            ["00001", "used", "mens-email"],
            ["00002", "used", "womens-email"],
        ]
        assert tables.users["recency"].tolist() == [1, 2, 3, 4, 5, 6]


def test_outcomes_lie_in_windows_that_have_closed(tmp_path):
    TRIAL.to_parquet(tmp_path / "hillstrom.parquet")
    import_hillstrom(tmp_path, tmp_path / "out")
    windows = settings_of(tmp_path / "out").windows
    tables = load_tables(tmp_path / "out", settings_of(tmp_path / "out").money)
    (shown_at,) = tables.exposures["shown_at"].unique()
    closes_at = shown_at + pd.Timedelta(days=windows.uptake_days)
    assert windows.uptake_days == windows.repurchase_days == 14
    assert closes_at == pd.Timestamp(windows.complete_until)
    assert tables.orders["ordered_at"].between(shown_at, closes_at, inclusive="left").all()
    assert tables.events["at"].between(shown_at, closes_at, inclusive="left").all()
    assert (tables.users["joined_at"] < shown_at).all()


def test_another_file_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"must hold one of \*\[hH\]illstrom\*.parquet, .* found nothing: give"
    ):
        import_hillstrom(tmp_path, tmp_path / "out")
    TRIAL.drop(columns="segment").to_parquet(tmp_path / "hillstrom.parquet")
    with pytest.raises(ValueError, match="columns of Hillstrom's trial, segment missing, found recency"):
        import_hillstrom(tmp_path, tmp_path / "out")
    TRIAL.replace("No E-Mail", "Kids E-Mail").to_parquet(tmp_path / "hillstrom.parquet")
    with pytest.raises(
        ValueError, match=r"the arms Mens E-Mail, .* in segment, found Kids E-Mail: use the file"
    ):
        import_hillstrom(tmp_path, tmp_path / "out")
