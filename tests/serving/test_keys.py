"""API keys: kept as hashes, several, revoked without a restart."""

import json
import os
import stat
from datetime import UTC, datetime

import pytest

from serving.keys import PREFIX, KeyFile, Keys, beside
from tests.project import answer, make_project, refused, run, said

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def file(tmp_path):
    return KeyFile(tmp_path / "keys.json")


def test_a_key_is_known_by_its_hash_alone(file):
    key = file.add("shop", False, NOW)
    keys = Keys(file, False, Clock())
    assert key.startswith(PREFIX) and len(key) > 40
    assert keys.find(key).name == "shop"
    assert keys.find(key[:-1]) is None and keys.find("") is None and keys.find("é") is None
    kept = file.path.read_text(encoding="utf-8")
    assert key not in kept and key.removeprefix(PREFIX) not in kept


def test_the_file_is_for_its_owner_alone_and_stands_beside_the_database(tmp_path):
    file = beside(tmp_path / "var" / "state.db")
    old = os.umask(0)
    try:
        file.add("shop", False, NOW)
    finally:
        os.umask(old)
    assert file.path == tmp_path / "var" / "keys.json"
    assert {stat.S_IMODE(path.stat().st_mode) for path in file.path.parent.iterdir()} == {0o600}


def test_the_same_key_has_another_hash_in_another_file(file, tmp_path):
    file.add("shop", False, NOW)
    other = KeyFile(tmp_path / "other.json")
    other.add("shop", False, NOW)
    assert json.loads(file.path.read_text())["salt"] != json.loads(other.path.read_text())["salt"]


def test_several_keys_differ_in_what_they_may(file):
    keys_made = {name: file.add(name, name == "dash", NOW) for name in ("shop", "dash")}
    keys = Keys(file, False, Clock())
    assert len(set(keys_made.values())) == 2
    assert {name: keys.find(key).read_only for name, key in keys_made.items()} == {
        "shop": False,
        "dash": True,
    }


def test_a_key_that_was_added_or_revoked_is_noticed_without_a_restart(file):
    clock = Clock()
    keys = Keys(file, False, clock)
    assert not keys.required
    key = file.add("shop", False, NOW)
    clock.now = 1
    assert keys.required and keys.find(key) is not None
    file.revoke("shop")
    clock.now = 2
    assert keys.required and keys.find(key) is None


def test_where_the_file_goes_nobody_gets_in_who_needed_a_key(file):
    clock = Clock()
    key = file.add("shop", False, NOW)
    keys = Keys(file, False, clock)
    file.path.unlink()
    clock.now = 1
    assert keys.required and keys.find(key) is None


def test_a_file_that_is_damaged_while_serving_changes_nothing_and_is_told(file):
    clock = Clock()
    key = file.add("shop", False, NOW)
    keys = Keys(file, False, clock)
    file.path.write_text("{", encoding="utf-8")
    clock.now = 1
    assert keys.required and keys.find(key) is not None
    assert "must be a file of keys, got JSONDecodeError" in keys.fault


@pytest.mark.parametrize("content", ["", "[]", '{"keys": []}', '{"salt": "00", "keys": [{"name": "a"}]}'])
def test_a_damaged_file_is_told_at_the_start(file, content):
    file.path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"must be a file of keys, got .* perkwise keys add NAME"):
        Keys(file, False, Clock())


def test_names_are_checked(file):
    file.add("shop", False, NOW)
    with pytest.raises(ValueError, match="there is a key 'shop' already: take another name, or revoke"):
        file.add("shop", False, NOW)
    with pytest.raises(ValueError, match="the name of a key cannot be ''"):
        file.add("", False, NOW)
    with pytest.raises(LookupError, match="there is no key 'shpo'; known are shop"):
        file.revoke("shpo")


def test_keys_are_made_listed_and_revoked_from_the_command_line(tmp_path):
    home = make_project(tmp_path / "home")
    made = answer(run(home, "keys", "add", "dash", "--read-only", "--json"))
    assert (made["name"], made["read_only"]) == ("dash", True)
    assert "Send it as Authorization: Bearer" in said(run(home, "keys", "add", "shop"))
    listed = answer(run(home, "keys", "list", "--json"))["keys"]
    assert [(one["name"], one["read_only"]) for one in listed] == [("dash", True), ("shop", False)]
    assert "read and write" in said(run(home, "keys", "list"))
    assert Keys(KeyFile(home / "var" / "keys.json"), False, Clock()).find(made["key"]).name == "dash"
    assert "there is a key 'shop' already" in refused(run(home, "keys", "add", "shop"))
    assert answer(run(home, "keys", "revoke", "dash", "--json")) == {"revoked": "dash"}
    assert "there is no key 'dash'; known are shop" in refused(run(home, "keys", "revoke", "dash"))
