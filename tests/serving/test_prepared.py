"""A data folder kept in files: opened for what it is, made anew where anything is wrong with it."""

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from features.pipeline import Layout, compute
from features.tables import TableError, load_tables
from offers.settings import MoneySettings
from serving.application import Application
from serving.database import Database
from serving.deletion import DeletedUsers
from serving.filed import Filed, Sales
from serving.prepared import MANIFEST, Recipe, forget, opened, prepared, right_until_us, write
from serving.shown_today import ShownToday
from serving.state import State
from tests.features.shop import NOW as SHOP_NOW
from tests.features.shop import shop
from tests.project import ROOT

NOW_US = 1_800_000_000_000_000
LONG_AGO_US = 0
ORDERS = "order_id,user_id,ordered_at,amount\n"
MONEY = MoneySettings(margin_rate=0.5)


def state_of(filed, bundle):
    return State(filed, bundle.layout, bundle.tiers, 7, DeletedUsers(b"key", set()))


def n_made(caplog):
    return sum("read for the first time" in record.message for record in caplog.records)


@pytest.fixture(autouse=True)
def hear(caplog):
    caplog.set_level(logging.INFO, logger="perkwise")


@pytest.fixture(scope="session")
def filed(tables, bundle):
    return Filed.of(tables, bundle.layout, 7)


@pytest.fixture
def folder(filed, tmp_path):
    return write(filed, tmp_path / "prepared", "some-key")


@pytest.fixture
def small(tmp_path):
    """A shop of two users in a folder, and how it is made ready."""
    (tmp_path / "data").mkdir()
    data = shop(tmp_path / "data")
    return Recipe(data, Layout.of(load_tables(data, MONEY)), 7, MONEY)


def test_every_profile_is_that_of_the_tables_to_the_last_bit(folder, tables, bundle):
    mapped, read = opened(folder, bundle.layout, NOW_US), Filed.of(tables, bundle.layout, 7)
    from_files, from_tables = state_of(mapped, bundle), state_of(read, bundle)
    users = np.arange(len(mapped.user_ids))
    batch = compute(mapped.history, bundle.layout, users, np.full(len(users), NOW_US))
    expected = compute(read.history, bundle.layout, users, np.full(len(users), NOW_US))
    assert batch.tobytes() == expected.tobytes()
    for user_id, row in zip(tables.users["user_id"], expected, strict=True):
        found, same = (one.profile(user_id, NOW_US) for one in (from_files, from_tables))
        assert found.features.tobytes() == same.features.tobytes() == row.tobytes()
        assert found.tier == same.tier
        assert from_files.joined_at_us(user_id) == from_tables.joined_at_us(user_id)


def test_everything_else_is_that_of_the_tables_too(folder, filed, tables, bundle):
    mapped = opened(folder, bundle.layout, NOW_US)
    for name, array in filed.arrays().items():
        assert mapped.arrays()[name].tobytes() == array.tobytes()
        assert not mapped.arrays()[name].flags.writeable
    assert mapped.facts() == filed.facts()
    assert list(mapped.channels) == tables.exposures["channel"].unique().tolist()
    assert all(mapped.rows.has_event(event_id) for event_id in tables.events["event_id"])
    shown_us = tables.exposures["shown_at"].to_numpy("datetime64[us]").astype(np.int64)
    for slate_id, at in zip(tables.exposures["slate_id"], shown_us.tolist(), strict=True):
        assert mapped.rows.has_slate(slate_id, at)
    assert not mapped.rows.has_slate("nobody's", int(shown_us.max()))
    at_us = tables.feedback["at"].to_numpy("datetime64[us]").astype(np.int64)
    for user_id, at, service_id in zip(tables.feedback["user_id"], at_us, tables.feedback["service_id"]):
        assert mapped.rows.has_feedback(user_id, int(at), service_id)
        assert not mapped.rows.has_feedback(user_id, int(at) + 1, service_id)
    assert not mapped.rows.has_event("nobody's")


def test_what_was_shown_of_late_is_counted_as_row_by_row(folder, filed, bundle):
    log, n_services = filed.history.offers, bundle.layout.n_services
    one_by_one = ShownToday(n_services)
    newest = int(log.at_us.max())
    for at_us, place in zip(log.at_us.tolist(), log.columns["service"].tolist()):
        one_by_one.add(at_us, place)
    mapped = ShownToday(n_services, opened(folder, bundle.layout, NOW_US).shown)
    for hours in range(48):
        since_us = newest // 900_000_000 * 900_000_000 - hours * 3_600_000_000
        assert mapped.since(since_us).tolist() == one_by_one.since(since_us).tolist()
    mapped.add(newest, 0)  # goes on counting, though the files are not to be written to
    one_by_one.add(newest, 0)
    assert mapped.since(newest).tolist() == one_by_one.since(newest).tolist()


def test_uses_since_a_moment_are_those_of_the_table(filed, tables):
    used = tables.events[tables.events["event"] == "used"]
    at_us = used["at"].to_numpy("datetime64[us]").astype(np.int64)
    since_us = int(np.median(at_us))
    expected = sorted(
        (int(at), user, service)
        for at, user, service in zip(at_us, used["user_id"], used["service_id"])
        if at >= since_us
    )
    assert sorted(filed.sales.used_since(since_us).values()) == expected
    assert filed.sales.used_since(int(at_us.max()) + 1) == {}


def test_revenue_a_day_is_that_of_the_last_four_weeks(tmp_path):
    orders = ORDERS + "1,ann,2024-02-01T00:00:00Z,5\n2,ann,2024-05-01T00:00:00Z,28\n"
    tables = load_tables(shop(tmp_path, orders=orders), MONEY, SHOP_NOW)
    assert Sales.of(tables).revenue_a_day == 1.0


def test_a_shop_where_nothing_happened_is_kept_too(tmp_path):
    users = "user_id,joined_at\nann,2024-01-01T00:00:00Z\n"
    orders = ORDERS + "1,nobody,2024-02-01T00:00:00Z,5\n"  # refused
    nothing = {"events": None, "exposures": None, "feedback": None}
    tables = load_tables(shop(tmp_path, users=users, orders=orders, **nothing), MONEY, SHOP_NOW)
    layout = Layout.of(tables)
    found = opened(write(Filed.of(tables, layout, 7), tmp_path / "kept", "key"), layout, NOW_US)
    assert list(found.user_ids) == ["ann"] and found.sales.revenue_a_day is None
    assert compute(found.history, layout, [0], [NOW_US])[0][layout.columns.index("frequency_all")] == 0
    assert not found.rows.has_event("e1") and found.sales.used_since(0) == {}


def test_it_is_made_once_and_then_opened(small, tmp_path, caplog):
    first = prepared(small, tmp_path / "kept")
    assert n_made(caplog) == 1
    second = prepared(small, tmp_path / "kept")
    assert n_made(caplog) == 1
    assert list(first.user_ids) == list(second.user_ids) == ["ann", "bob"]
    assert isinstance(second.history.events.at_us.base, np.memmap)
    assert [path.name for path in (tmp_path / "kept").iterdir() if path.is_dir()] == [small.key]


def test_another_content_layout_window_or_margin_is_made_anew(small, tmp_path, caplog):
    prepared(small, tmp_path / "kept")
    other_layout = replace(small.layout, service_categories=("x", "y"))
    others = [
        replace(small, uptake_days=8),
        replace(small, layout=other_layout),
        replace(small, money=MoneySettings(margin_rate=0.4)),
    ]
    assert len({one.key for one in [small, *others]}) == 4
    (small.data / "users.csv").write_text("user_id,joined_at\neve,2024-01-01T00:00:00Z\n")
    assert list(prepared(small, tmp_path / "kept").user_ids) == ["eve"]
    assert n_made(caplog) == 2
    folders = [path.name for path in (tmp_path / "kept").iterdir() if path.is_dir()]
    assert folders == [small.key]  # the older one went


def test_the_same_size_at_another_time_is_another_content(small):
    before, file = small.key, small.data / "users.csv"
    os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns + 1))
    assert small.key != before


def test_files_of_other_purposes_do_not_count(small):
    before = small.key
    (small.data / "rules.yaml").write_text("rules: []\n")
    (small.data / "truth").mkdir()
    assert small.key == before


@pytest.mark.parametrize(
    "damage", ["cut", "grown", "gone", "type", "shape", "manifest", "fact", "no manifest"]
)
def test_a_damaged_folder_is_not_trusted(folder, bundle, damage):
    file, manifest = folder / "orders.at_us.npy", folder / MANIFEST
    content = file.read_bytes()
    told = manifest.read_text()
    if damage == "cut":
        file.write_bytes(content[:-8])
    elif damage == "grown":
        file.write_bytes(content + b"\0")
    elif damage == "gone":
        file.unlink()
    elif damage == "type":
        file.write_bytes(content.replace(b"<i8", b"<f8", 1))
    elif damage == "shape":
        np.save(file, np.load(file).reshape(1, -1))
    elif damage == "manifest":
        manifest.write_text(told[:-20])
    elif damage == "fact":
        manifest.write_text(told.replace('"revenue_a_day": ', '"revenue_a_day": 1'))
    else:
        manifest.unlink()
    assert opened(folder, bundle.layout, NOW_US) is None


def test_what_is_damaged_is_made_anew(small, tmp_path, caplog):
    prepared(small, tmp_path / "kept")
    (tmp_path / "kept" / small.key / "ids.content.npy").write_bytes(b"")
    (tmp_path / "kept" / ".new").mkdir()  # of one who was killed
    (tmp_path / "kept" / ".new" / "orders.at_us.npy").write_bytes(b"half")
    assert list(prepared(small, tmp_path / "kept").user_ids) == ["ann", "bob"]
    assert n_made(caplog) == 2
    assert not (tmp_path / "kept" / ".new").exists()


def test_several_at_once_make_it_once(small, tmp_path, caplog):
    with ThreadPoolExecutor(3) as workers:
        found = list(workers.map(lambda _: prepared(small, tmp_path / "kept"), range(3)))
    assert [list(one.user_ids) for one in found] == [["ann", "bob"]] * 3
    assert n_made(caplog) == 1


def test_who_has_a_folder_mapped_reads_on_when_it_goes(folder, filed, bundle):
    mapped = opened(folder, bundle.layout, NOW_US)
    shutil.rmtree(folder)
    assert mapped.history.events.at_us.tobytes() == filed.history.events.at_us.tobytes()


def test_rows_that_lay_ahead_are_taken_in_when_their_time_has_come(tmp_path):
    orders = ORDERS + "1,ann,2024-07-01T00:00:00Z,5\n2,ann,2024-08-01T00:00:00Z,5\n"
    tables = load_tables(shop(tmp_path, orders=orders), MONEY, SHOP_NOW)
    until_us = right_until_us(tables.quarantine)
    assert until_us == int(np.datetime64("2024-07-01", "us").astype(int))
    layout = Layout.of(tables)
    folder = write(Filed.of(tables, layout, 7), tmp_path / "kept", "key", until_us)
    assert opened(folder, layout, until_us - 1) is not None
    assert opened(folder, layout, until_us) is None


def test_without_rows_that_lie_ahead_it_stays_right(tmp_path):
    assert right_until_us(load_tables(shop(tmp_path), MONEY, SHOP_NOW).quarantine) > NOW_US * 100


def test_a_table_that_cannot_be_used_says_so(small, tmp_path):
    (small.data / "users.csv").write_text("")
    with pytest.raises(TableError, match=r"users\.csv is empty \(0 bytes\)"):
        prepared(small, tmp_path / "kept")


def test_where_nothing_can_be_written_it_is_read_into_memory(small, tmp_path, caplog):
    (tmp_path / "kept").write_text("a file where a folder should be")
    assert list(prepared(small, tmp_path / "kept").user_ids) == ["ann", "bob"]
    assert any("it is read into memory" in record.message for record in caplog.records)


def test_a_process_that_dies_is_reported(small, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(RuntimeError, match=r"the process that reads .* ended \(1\) before it was done"):
        prepared(small, tmp_path / "kept")


def test_the_process_that_makes_it_ends_with_the_one_that_asked(small, tmp_path):
    command = [sys.executable, "-m", "serving.prepared"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    os.mkfifo(small.data / "orders.parquet")  # a table that takes for ever to read
    (small.data / "orders.csv").unlink()
    told = {"recipe": small.to_json(), "root": str(tmp_path), "key": "key"}
    process.stdin.write(json.dumps(told).encode() + b"\n")
    process.stdin.close()
    assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("place", [0, 150, 299])
def test_of_a_user_who_is_forgotten_no_file_knows_the_id(folder, bundle, place):
    mapped, beside = (opened(folder, bundle.layout, NOW_US) for _ in range(2))
    number = int(mapped.user_ids.arrays()["numbers"][place])  # the first, one amid, and the last by hash
    user_ids = list(mapped.user_ids)
    forget(mapped, number)
    for one in (mapped, beside, opened(folder, bundle.layout, NOW_US)):
        expected = [None if other == number else other for other in range(300)]
        assert [one.user_ids.number_of(user_id) for user_id in user_ids] == expected
        assert not one.history.events.at_us[one.history.events.rows_of(number)].any()
    assert user_ids[number].encode() not in (folder / "ids.content.npy").read_bytes()


def test_others_keep_their_profiles_when_one_is_forgotten(folder, bundle):
    mapped = opened(folder, bundle.layout, NOW_US)
    others, now_us = np.delete(np.arange(300), 7), np.full(299, NOW_US)
    before = compute(mapped.history, bundle.layout, others, now_us)
    forget(mapped, 7)
    after = compute(opened(folder, bundle.layout, NOW_US).history, bundle.layout, others, now_us)
    assert after.tobytes() == before.tobytes()


def test_a_removed_person_is_in_no_file_of_the_service(folder, bundle, settings, tmp_path, clock):
    filed = opened(folder, bundle.layout, NOW_US)
    user_id, other = filed.user_ids[11], filed.user_ids[12]
    database = Database(tmp_path / "state.db")
    application = Application(filed, bundle, database, settings, clock)
    asyncio.run(application.delete_user(user_id))
    database.close()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert user_id.encode() not in written and other.encode() in written
    assert not application.state.knows(user_id) and application.state.knows(other)
