"""The log as a data folder: what was decided comes back as rows of a dataset."""

import asyncio
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from features.tables import load_tables
from offers.settings import ExplorationSettings
from serving.answers import iso
from serving.application import Application
from serving.database import Database, reading
from serving.export import export_log
from serving.schemas import FeedbackRequest, RecommendRequest
from tests.project import ROOT, answer, folder_bytes, refused
from tests.project import run as command
from tests.serving.conftest import Clock
from training.source import read_source

NOW = 1_795_000_000_000_000
STRANGER = "用户🙂 never seen"


@pytest.fixture(scope="module")
def moment(tables):
    """A minute after the last row of the data folder."""
    last = max(
        tables.orders["ordered_at"].max(), tables.exposures["shown_at"].max(), tables.events["at"].max()
    )
    return int(last.timestamp() * 1e6) + 60_000_000


@pytest.fixture(scope="module")
def served(tables, bundle, settings, moment, tmp_path_factory):
    """A project's folder with decisions, uses of what they showed, and answers; and the records."""
    home, clock = tmp_path_factory.mktemp("served"), Clock(moment)
    database = Database(home / "var" / "state.db")
    exploring = replace(settings, exploration=ExplorationSettings(holdout=0.2, explore=0.4))
    application = Application(tables, bundle, database, exploring, clock)
    records = asyncio.run(decide(application, clock, [*tables.users["user_id"].astype(str), STRANGER]))
    database.close()
    return home, records


async def decide(application, clock, users):
    """A decision for each user; the first service shown is used, some answer, the first user is deleted."""
    records = []
    for number, user_id in enumerate(users):
        clock.now_us += 1_000_000
        told = await application.recommend(RecommendRequest(user_id=user_id, channel="app"))
        records.append(await application.decision(told["decision_id"]))
        clock.now_us += 1_000_000
        used = {"user_id": user_id, "event": "used", "at": iso(clock.now_us)}
        shown = [one["service_id"] for one in told["services"][:1]]
        ids = {"event_id": f"used-{number}"}
        await application.events([{**used, **ids, "service_id": service_id} for service_id in shown])
        if number % 9 == 0:
            await application.feedback(FeedbackRequest(user_id=user_id, at=iso(clock.now_us), nps=9))
    await application.delete_user(users[0])
    return records[1:]


def export(served, tables, data, out, **options):
    home, _ = served
    with reading(home / "var" / "state.db") as connection:
        return export_log(connection, tables, data, out, NOW, **options)


def test_the_dataset_s_rows_are_the_decisions_with_the_profiles_that_decided(
    served, tables, data, bundle, settings, moment, tmp_path
):
    _, records = served
    exported = export(served, tables, data, tmp_path / "out")
    assert exported.left_out == {} and exported.new_users == 1
    windows = replace(settings.windows, complete_until="2027-12-31T00:00:00Z")
    source = read_source(tmp_path / "out", replace(settings, windows=windows), bundle.layout)
    assert len(source.tables.quarantine) == 0
    found = source.dataset.take(source.dataset.shown_at_us > moment)
    by_user = {record["user_id"]: record for record in records}
    assert len(found) == len(records) == len(by_user)
    for row in range(len(found)):
        record = by_user[source.history.user_ids[found.user[row]]]
        assert iso(int(found.shown_at_us[row])) == record["decided_at"]
        assert found.slate_propensity[row] == record["slate_propensity"]
        places = (
            found.listed[row][found.listed[row] >= 0] if found.service[row] < -1 else [found.service[row]]
        )
        shown = [bundle.catalog.ids[place] for place in places if place >= 0]
        assert shown == [one["service_id"] for one in record["services"]]
        profile = np.array(list(record["profile"].values()), dtype=np.float32)
        np.testing.assert_array_equal(found.X[row], profile)
        if len(shown) == 1:
            assert found.uptake[row] == 1


def test_events_and_answers_are_there_and_the_deleted_user_is_not(served, tables, data, settings, tmp_path):
    exported = export(served, tables, data, tmp_path / "out")
    read = load_tables(tmp_path / "out", settings.money)
    deleted = str(tables.users["user_id"].iloc[0])
    for name in ("users", "orders", "events", "exposures", "feedback"):
        ours, shop = getattr(read, name), getattr(tables, name)
        assert deleted not in set(ours["user_id"])
        n_shop = int((shop["user_id"] != deleted).sum())
        assert len(ours) == n_shop + (1 if name == "users" else exported.rows.get(name, 0))
    assert STRANGER in set(read.users["user_id"])
    assert {"exposures", "events", "feedback"} == set(exported.rows) and min(exported.rows.values()) > 10
    assert len(read.services) == len(tables.services)


def test_exporting_again_writes_the_same_bytes(served, tables, data, tmp_path):
    export(served, tables, data, tmp_path / "out")
    before = folder_bytes(tmp_path / "out")
    (tmp_path / "out" / "quarantine").mkdir()
    export(served, tables, data, tmp_path / "out")
    assert folder_bytes(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_the_shop_holds_by_now_is_not_exported_twice(served, tables, data, settings, tmp_path):
    first = export(served, tables, data, tmp_path / "first")
    grown = load_tables(tmp_path / "first", settings.money)
    again = export(served, grown, tmp_path / "first", tmp_path / "second")
    assert set(again.rows.values()) == {0} and again.new_users == 0
    assert again.left_out == {f"{name}: the data folder holds it": n for name, n in first.rows.items()}
    read = load_tables(tmp_path / "second", settings.money)
    assert [count.accepted for count in read.counts] == [count.accepted for count in grown.counts]


def test_since_and_until_share_the_log_without_a_gap(served, tables, data, moment, tmp_path):
    whole = export(served, tables, data, tmp_path / "whole")
    middle = moment + 300_000_000
    early = export(served, tables, data, tmp_path / "early", until_us=middle)
    late = export(served, tables, data, tmp_path / "late", since_us=middle)
    for name, n in whole.rows.items():
        assert 0 < early.rows[name] < n and early.rows[name] + late.rows[name] == n


def test_what_the_contract_would_refuse_is_left_out_and_counted(served, tables, data, moment, tmp_path):
    services = tables.services[tables.services["service_id"] != tables.services["service_id"].iloc[0]]
    narrow = replace(tables, services=services)
    left_out = export(served, narrow, data, tmp_path / "narrow").left_out
    assert left_out["exposures: of a service that services lacks"] > 0
    users = tables.users.assign(joined_at=pd.Timestamp("2027-01-01", tz="UTC").as_unit("us"))
    left_out = export(served, replace(tables, users=users), data, tmp_path / "young").left_out
    assert left_out["events: before the user's joined_at"] > 0
    home, _ = served
    with reading(home / "var" / "state.db") as connection:
        later = export_log(connection, tables, data, tmp_path / "later", moment + 60_000_000)
    assert later.left_out["exposures: after now"] > 0 and later.rows["exposures"] > 0


def test_a_table_in_csv_is_copied_and_freed_of_a_deleted_user(served, tables, data, settings, tmp_path):
    shutil.copytree(data, tmp_path / "shop")
    users = pd.read_parquet(data / "users.parquet")
    (tmp_path / "shop" / "users.parquet").unlink()
    users.to_csv(tmp_path / "shop" / "users.csv", index=False)
    shop = load_tables(tmp_path / "shop", settings.money)
    export(served, shop, tmp_path / "shop", tmp_path / "out")
    read = load_tables(tmp_path / "out", settings.money)
    assert len(read.quarantine) == 0
    assert read.users["user_id"].tolist() == [*shop.users["user_id"].tolist()[1:], STRANGER]


def test_the_commands_export_and_validate(served, data, tmp_path):
    home, records = served
    (home / "perkwise.toml").write_text((ROOT / "perkwise.toml").read_text(encoding="utf-8"))
    told = answer(command(home, "export-log", tmp_path / "out", "--data", data, "--json"))
    assert told["rows"]["exposures"] >= len(records) and told["left_out"] == {}
    checked = answer(command(home, "validate", tmp_path / "out", "--json"))
    assert {table["quarantined"] for table in checked["tables"].values()} == {0}
    said_of_since = refused(command(home, "export-log", tmp_path / "out", "--data", data, "--since", "today"))
    assert "--since must be a time with its zone" in said_of_since


def test_other_folders_are_left_alone(served, tables, data, tmp_path):
    with pytest.raises(ValueError, match="OUT must be another folder than --data"):
        export(served, tables, data, data)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(ValueError, match="OUT must be a new folder, or one that export-log wrote"):
        export(served, tables, data, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"
