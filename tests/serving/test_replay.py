"""Decisions made again: the same bytes, in another process, with the bundle and settings of that day."""

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offers.settings import ExplorationSettings
from serving.application import Application
from serving.database import Database, reading
from serving.records import from_text, numbers_of, to_text
from serving.replay import replay_all, replay_one
from serving.schemas import RecommendRequest
from serving.tables import SCHEMA
from tests.project import run as command
from tests.project import said
from tests.serving.conftest import Clock
from tests.serving.test_database import FIRST_SCHEMA
from training.bundle import read_bundle
from training.bundle_files import check_seal, seal
from training.champion import install_champion, keep_bundle, rollback_champion

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def decided(tables, bundle, settings, tmp_path_factory):
    """A project's folder with some hundred decisions: alone and in batches, explained, of a deleted user."""
    folder, clock = tmp_path_factory.mktemp("decided"), Clock(1_800_000_000_000_000)
    keep_bundle(bundle.path, folder / "var")
    exploring = replace(settings, exploration=ExplorationSettings(holdout=0.2, explore=0.4))
    for number, one in enumerate([settings, exploring]):
        database = Database(folder / "var" / "state.db")
        application = Application(tables, bundle, database, one, clock)
        asyncio.run(decide(application, tables.users["user_id"].astype(str).tolist(), number))
        database.close()
        clock.now_us += 1_000_000
    return folder


@pytest.fixture
def log(decided, tmp_path):
    """A copy of that folder."""
    return Path(shutil.copytree(decided, tmp_path / "project"))


async def decide(application, users, number):
    for user_id in users[:40]:
        request = RecommendRequest(user_id=user_id, n=1 + number, channel="app", explain=user_id == users[3])
        await application.recommend(request)
    await application.delete_user(users[number])
    await application.recommend(RecommendRequest(user_id=users[number]))
    rows = [{"user_id": user_id, "n": 1 + place % 4} for place, user_id in enumerate(users[40:])]
    await application.recommend_batch([*rows, {"user_id": "用户🙂 never seen"}])


def read_all(log, bundle):
    with reading(log / "var" / "state.db") as connection:
        return replay_all(connection, lambda name: bundle)


def change(log, statement, *values):
    with sqlite3.connect(log / "var" / "state.db") as file:
        assert file.execute(statement, values).rowcount >= 1
    file.close()


def run(log, *arguments):
    """`perkwise replay` in a process of its own."""
    words = [sys.executable, "-m", "perkwise", "replay", *arguments]
    environment = {**os.environ, "PERKWISE_HOME": str(log)}
    return subprocess.run(words, cwd=PROJECT, env=environment, capture_output=True, text=True)


def another_bundle(bundle, root):
    """The same models under another name."""

    def fill(folder):
        shutil.copytree(bundle.path, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        return {**bundle.manifest, "seed": 1}

    return seal(root, fill)


def test_after_a_restart_and_a_promotion_another_process_decides_the_same(log, bundle):
    install_champion(bundle.path, log / "var")
    second = install_champion(another_bundle(bundle, log / "elsewhere"), log / "var")
    assert second.name != bundle.hash
    ran = run(log, "--all", "--json")
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    n_decisions = answer["replayed"]
    assert n_decisions > 550
    assert answer == {
        "replayed": n_decisions,
        "same": n_decisions,
        "older": 0,
        "missing": 0,
        "missing_bundles": {},
        "different": [],
    }


RULES = """
timezone: Europe/Paris
channels: [app]
rules:
  - name: tired
    services: all
    limits: {showings: {most: 2, days: 7, together: true}, cooldown_days: {shown: 0.001}}
  - name: scarce
    services: [FIRST]
    limits: {capacity_per_day: 15}
  - name: must
    services: [LAST]
    must_show: frequency_all >= 2
  - name: one
    services: all
    when: {channel: app}
    limits: {list_at_most: 2}
"""


def test_decisions_under_rules_are_made_again_with_all_that_the_rules_knew(
    tables, bundle, settings, tmp_path
):
    keep_bundle(bundle.path, tmp_path / "var")
    ids, file, clock = bundle.catalog.ids, tmp_path / "rules.yaml", Clock(1_800_000_000_000_000)
    file.write_text(RULES.replace("FIRST", ids[0]).replace("LAST", ids[-1]))
    database = Database(tmp_path / "var" / "state.db")
    exploring = replace(settings, exploration=ExplorationSettings(holdout=0.05, explore=0.3))
    application = Application(tables, bundle, database, exploring, clock, [file])
    users = tables.users["user_id"].astype(str).tolist()[:60]

    async def ask():
        for turn in range(4):  # the same users again: cooldowns, showings and capacities come to bear
            for user_id in users[:20]:
                await application.recommend(RecommendRequest(user_id=user_id, n=3, channel="app"))
            channel = ["app", ""][turn % 2]
            await application.recommend_batch(
                [{"user_id": user_id, "n": 2, "channel": channel} for user_id in users]
            )
            clock.now_us += 3_600_000_000

    asyncio.run(ask())
    database.close()
    with reading(tmp_path / "var" / "state.db") as connection:
        texts = connection.exec_driver_sql("SELECT record FROM decisions").scalars().all()
    records = [from_text(text) for text in texts]
    reasons = {reason for record in records for reason in record["refusals"]}
    for name in ("tired", "scarce", "one"):
        assert any(f"rule `{name}`" in reason for reason in reasons), name
    assert any(len(ids) - 1 in record["policy_list"] for record in records)
    file.write_text("rules: []\n")  # another day's rules
    ran = run(tmp_path, "--all", "--json")
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["replayed"] == answer["same"] == len(records) == 320 and answer["different"] == []


def test_promotion_and_rollback_remove_no_bundle(bundle, tmp_path):
    first = install_champion(bundle.path, tmp_path / "var")
    second = install_champion(another_bundle(bundle, tmp_path / "elsewhere"), tmp_path / "var")
    rollback_champion(tmp_path / "var")
    assert first.name != second.name
    for folder in (first, second):
        check_seal(folder)


def test_a_bundle_from_elsewhere_is_kept_and_one_that_is_kept_stays(bundle, tmp_path):
    kept = keep_bundle(bundle.path, tmp_path / "var")
    assert kept == tmp_path / "var" / "bundles" / bundle.hash
    before = kept.stat().st_ino
    assert keep_bundle(kept, tmp_path / "var") == kept and kept.stat().st_ino == before


def test_what_differs_is_told_field_by_field(log, bundle):
    change(
        log,
        "UPDATE decisions SET record = json_set(record, "
        "'$.slate_propensity', 0.125, '$.n_reason', 'No reason', '$.worth_by_length[1]', 7.5) "
        "WHERE decision_id = (SELECT max(decision_id) FROM decisions)",
    )
    found = read_all(log, bundle)
    assert not found.is_same and found.n_replayed - found.n_same == len(found.different) == 1
    told = {difference.field: difference.recorded for difference in found.different[0].differences}
    assert told == {"slate_propensity": 0.125, "n_reason": "No reason", "worth_by_length[1]": 7.5}
    ran = command(log, "replay", found.different[0].decision_id)
    assert ran.exit_code == 1 and "differs" in ran.stdout and "worth_by_length[1]" in ran.stdout


def test_a_score_that_was_changed_by_its_last_bit_is_found(log, bundle):
    with sqlite3.connect(log / "var" / "state.db") as file:
        (text,) = file.execute("SELECT record FROM decisions LIMIT 1").fetchone()
        record = from_text(text)
        margins = numbers_of(record, "uplift_margin").copy()
        margins[2] = np.nextafter(margins[2], np.inf)
        record["uplift_margin"] = b64encode(margins.tobytes()).decode()
        file.execute("UPDATE decisions SET record = ? WHERE record = ?", (to_text(record), text))
    file.close()
    (one,) = read_all(log, bundle).different
    assert [(difference.field, difference.recorded) for difference in one.differences] == [
        ("uplift_margin[2]", margins[2])
    ]


def test_one_decision_is_told_to_be_the_same(log):
    with sqlite3.connect(log / "var" / "state.db") as file:
        (decision_id,) = file.execute("SELECT max(decision_id) FROM decisions").fetchone()
    file.close()
    assert said(command(log, "replay", decision_id)) == f"{decision_id}: the same bytes."


def test_either_one_decision_or_all(log):
    for arguments in ([], ["d1", "--all"]):
        ran = command(log, "replay", *arguments)
        assert ran.exit_code == 2 and "Use just one of DECISION_ID and --all." in ran.stderr


def test_a_bundle_that_is_gone_is_named(log, bundle):
    shutil.rmtree(log / "var" / "bundles" / bundle.hash)
    with reading(log / "var" / "state.db") as connection:
        found = replay_all(connection, lambda name: read_bundle(log / "var" / "bundles" / name))
    assert (found.n_replayed, found.n_missing > 550, found.is_same) == (0, True, False)
    assert "there is no bundle at" in found.missing[bundle.hash]


def test_what_is_not_in_the_log_or_not_enough_is_told(log, bundle):
    change(log, "UPDATE decisions SET record = json_remove(record, '$.format') WHERE request_id IS NULL")
    with reading(log / "var" / "state.db") as connection:
        with pytest.raises(LookupError, match="the log must hold the decision d1, found none of this id"):
            replay_one(connection, "d1", read_bundle)
        (decision_id,) = connection.exec_driver_sql("SELECT min(decision_id) FROM decisions").one()
        with pytest.raises(ValueError, match="written before the log kept them, and cannot be replayed"):
            replay_one(connection, decision_id, read_bundle)
    found = read_all(log, bundle)
    assert (found.n_replayed, found.n_older > 550, found.is_same) == (0, True, True)


def test_without_a_state_file_it_is_asked_for(tmp_path):
    message = "must be the state file of a service, found none there"
    with pytest.raises(ValueError, match=message), reading(tmp_path / "state.db"):
        pass


def test_a_reader_brings_an_older_file_forward_and_writes_nothing_itself(tmp_path):
    with sqlite3.connect(tmp_path / "state.db") as older:
        older.executescript(FIRST_SCHEMA)
    older.close()
    with reading(tmp_path / "state.db") as connection:
        assert connection.exec_driver_sql("PRAGMA user_version").scalar() == SCHEMA
        with pytest.raises(Exception, match="readonly"):
            connection.exec_driver_sql("DELETE FROM decisions")
