"""The Starbucks rewards data: waves, uptake and money as published, and by hand on a log of one user."""

import gzip
import json
import tomllib

import numpy as np
import pandas as pd
import pytest

from features.importers.starbucks import START, import_starbucks
from features.tables import catalog_of, load_tables
from offers.settings import parse_settings

TERMS = ["id", "offer_type", "difficulty", "reward", "duration", "channels"]
PORTFOLIO = [
    dict(zip(TERMS, ["five", "bogo", 5, 5, 7.0, ["web", "email"]])),
    dict(zip(TERMS, ["news", "informational", 0, 0, 3.0, ["web"]])),
]
PROFILE = [
    {"id": "ann", "gender": "F", "age": 31, "income": 50000.0, "became_member_on": "20180726"},
    {"id": "bob", "gender": None, "age": 118, "income": None, "became_member_on": "20130729"},
]


def received(time, offer="five", person="ann"):
    return {"person": person, "event": "offer received", "value": {"offer id": offer}, "time": time}


def viewed(time, offer="five"):
    return {"person": "ann", "event": "offer viewed", "value": {"offer id": offer}, "time": time}


def completed(time):
    return {
        "person": "ann",
        "event": "offer completed",
        "value": {"offer_id": "five", "reward": 5},
        "time": time,
    }


def bought(time, amount):
    return {"person": "ann", "event": "transaction", "value": {"amount": amount}, "time": time}


def write_source(folder, transcript, suffix=".json"):
    folder.mkdir(exist_ok=True)
    for name, rows in {"portfolio": PORTFOLIO, "profile": PROFILE, "transcript": transcript}.items():
        content = "\n\n".join(json.dumps(row) for row in rows).encode()
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    return folder


def settings_of(folder):
    return parse_settings(tomllib.loads((folder / "perkwise.toml").read_text()))


def tables_of(tmp_path, transcript):
    everything = [*transcript, bought(714, 1)]
    import_starbucks(write_source(tmp_path / "source", everything), tmp_path / "out")
    return load_tables(tmp_path / "out", settings_of(tmp_path / "out").money)


def hours(at):
    return ((at - START) // pd.Timedelta(hours=1)).tolist()


@pytest.fixture(scope="module")
def published(public_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("starbucks")
    import_starbucks(public_data / "starbucks_rewards", out)
    return load_tables(out, settings_of(out).money)


def test_every_published_row_is_accepted(published):
    assert len(published.quarantine) == 0
    assert [count.read for count in published.counts] == [17_000, 10, 138_953, 124_914, 102_000, 0]
    assert published.orders["amount_cents"].sum() == 177_545_197


def test_the_shares_of_nothing_are_those_of_the_published_waves(published):
    nothing = published.exposures["service_id"] == ""
    waves = nothing.groupby(published.exposures["shown_at"]).agg(["sum", "count", "mean"])
    assert hours(waves.index.to_series()) == [0, 168, 336, 408, 504, 576]
    assert waves["sum"].tolist() == [4_350, 4_331, 4_289, 4_222, 4_296, 4_235]
    assert waves["count"].tolist() == [17_000] * 6
    assert (100 * waves["mean"]).round(1).tolist() == [25.6, 25.5, 25.2, 24.8, 25.3, 24.9]
    assert set(published.exposures.loc[nothing, "propensity"]) == {0.25}
    assert set(published.exposures.loc[~nothing, "propensity"]) == {0.075}


def test_the_ten_offers_have_equal_shares(published):
    counts = published.exposures["service_id"].value_counts().drop("")
    assert len(counts) == 10 and counts.sum() == 76_277
    assert np.allclose(counts, 7_628, atol=75)
    assert set(published.services["unit_cost_cents"]) == {0, 200, 300, 500, 1000}


def test_events_are_those_of_the_log_and_the_uses_among_them(published):
    counts = published.events["event"].value_counts().to_dict()
    assert (counts["viewed"], counts["completed"]) == (57_725, 33_579)
    informational = published.services.loc[published.services["category"] == "informational", "service_id"]
    used = published.events[published.events["event"] == "used"]
    by_view = used["service_id"].isin(informational)
    assert (by_view.sum(), (~by_view).sum()) == (9_947, 23_663)


def test_plain_and_zipped_sources_give_the_same_tables(tmp_path):
    transcript = [received(0), viewed(6), bought(12, 9.5), completed(12), received(168, "news", "bob")]
    for suffix in (".json", ".json.gz"):
        import_starbucks(write_source(tmp_path / f"source{suffix}", transcript, suffix), tmp_path / suffix)
    import_starbucks(tmp_path / "source.json" / "profile.json", tmp_path / "of_file")
    for name in ("users", "services", "orders", "events", "exposures"):
        plain = pd.read_parquet(tmp_path / ".json" / f"{name}.parquet")
        pd.testing.assert_frame_equal(plain, pd.read_parquet(tmp_path / ".json.gz" / f"{name}.parquet"))
        pd.testing.assert_frame_equal(plain, pd.read_parquet(tmp_path / "of_file" / f"{name}.parquet"))


def test_every_user_has_one_exposure_a_wave(tmp_path):
    exposures = tables_of(tmp_path, [received(0), received(72, "news", "bob")]).exposures
    assert exposures[["slate_id", "user_id", "service_id", "propensity"]].values.tolist() == [
        ["hour-000-ann", "ann", "five", 0.075],
        ["hour-000-bob", "bob", "", 0.25],
        ["hour-072-ann", "ann", "", 0.25],
        ["hour-072-bob", "bob", "news", 0.075],
    ]
    assert hours(exposures["shown_at"]) == [0, 0, 72, 72]


def test_users_and_services_keep_what_is_known_of_them(tmp_path):
    tables = tables_of(tmp_path, [received(0), received(168)])
    users = tables.users.set_index("user_id")
    assert users.loc["ann", ["gender", "age", "income"]].tolist() == ["F", 31, 50_000]
    assert users.loc["bob", "gender"] == "" and users.loc["bob", ["age", "income"]].isna().all()
    assert users["joined_at"].max() < START
    five, news = catalog_of(tables.services).services
    assert (five.name, five.category, five.unit_cost) == ("bogo 5/5 7d", "bogo", 5.0)
    assert (news.name, news.category, news.unit_cost) == ("informational 3d", "informational", 0.0)


USES = {
    "seen, then completed": ([received(0), viewed(6), completed(12)], [12]),
    "completed in the last hour": ([received(0), viewed(6), completed(168)], [168]),
    "completed unseen": ([received(0), completed(12)], []),
    "seen after it was completed": ([received(0), completed(12), viewed(18)], []),
    "seen and completed in one hour": ([received(0), viewed(6), completed(6)], [6]),
    "completed and seen in one hour": ([received(0), completed(6), viewed(6)], []),
    "seen, never completed": ([received(0), viewed(6)], []),
    "only an earlier receipt was seen": ([received(0), viewed(6), received(336), completed(342)], []),
    "held twice, completed twice by one purchase": (
        [received(0), received(72), viewed(78), completed(84), completed(84)],
        [84, 84],
    ),
    "the oldest open receipt is completed first": (
        [received(0), viewed(6), received(72), completed(78), completed(90), viewed(96)],
        [78],
    ),
    "news seen in time": ([received(0, "news"), viewed(72, "news")], [72]),
    "news seen too late": ([received(0, "news"), viewed(78, "news")], []),
}


@pytest.mark.parametrize("transcript, expected", USES.values(), ids=USES)
def test_used_is_seen_and_then_completed_while_open(tmp_path, transcript, expected):
    events = tables_of(tmp_path, [*transcript, received(600)]).events
    assert hours(events.loc[events["event"] == "used", "at"]) == expected


def test_transactions_are_orders(tmp_path):
    orders = tables_of(tmp_path, [received(0), bought(6, 0.05), bought(708, 1062.28)]).orders
    assert orders["amount_cents"].tolist() == [5, 106_228, 100]
    assert hours(orders["ordered_at"]) == [6, 708, 714]
    assert orders["order_id"].tolist() == ["order-3", "order-5", "order-7"]  # blank lines of the file count


def test_the_window_ends_before_the_next_wave_unless_it_is_set(tmp_path):
    source = write_source(tmp_path / "source", [received(0), received(168), received(240), bought(714, 1)])
    import_starbucks(source, tmp_path / "out")
    windows = settings_of(tmp_path / "out").windows
    assert (windows.uptake_days, windows.repurchase_days) == (3, 3)
    assert pd.Timestamp(windows.complete_until) == START + pd.Timedelta(hours=714)
    import_starbucks(source, tmp_path / "out", window_days=5)
    assert settings_of(tmp_path / "out").windows.repurchase_days == 5
    assert settings_of(tmp_path / "out").money.currency == "USD"
    with pytest.raises(ValueError, match="window_days must be at least 1, got 0"):
        import_starbucks(source, tmp_path / "out", window_days=0)


UNKNOWN_EVENT = json.dumps({**received(0), "event": "offer lost"}).encode()
BAD_FILES = [
    ("transcript.json", b'{"person": "ann', r"must hold a JSON object on each line, line 1 is none"),
    ("transcript.json", b"\n\n", r"transcript.json must hold a JSON object on each line, found none"),
    ("profile.json", b'{"id": "ann"}', r"profile.json must have the fields age, .* line 1 has '{.*ann\"}'"),
    ("portfolio.json", b"[1]", r"portfolio.json must have the fields channels, .* line 1 has '\[1\]'"),
    ("transcript.json", UNKNOWN_EVENT, r"its transcript's events, found offer lost: use the file"),
]


@pytest.mark.parametrize("name, content, message", BAD_FILES)
def test_another_file_is_refused(tmp_path, name, content, message):
    source = write_source(tmp_path / "source", [received(0)])
    (source / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        import_starbucks(source, tmp_path / "out")


def test_a_truncated_or_absent_file_is_refused(tmp_path):
    source = write_source(tmp_path / "source", [received(0)], ".json.gz")
    (source / "profile.json.gz").write_bytes((source / "profile.json.gz").read_bytes()[:-9])
    with pytest.raises(
        ValueError, match=r"profile.json.gz must be a gzip file, found .*: it may be truncated"
    ):
        import_starbucks(source, tmp_path / "out")
    (source / "profile.json.gz").unlink()
    with pytest.raises(
        ValueError, match=r"must hold one of profile.json, profile.json.gz, found portfolio.json.gz"
    ):
        import_starbucks(source, tmp_path / "out")
