"""What goes wrong on the command line is told in words: what was expected, what was found, what to do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import ROOT, make_project, refused, run
from training.tracking import find_run

AS_OF = ["--as-of", "2025-04-01T00:00:00Z"]


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """A project in which nothing was trained yet."""
    return make_project(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def shop(home) -> Path:
    return home / "var" / "shop"


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "nowhere"],
        ["profile", "nowhere", *AS_OF, "--out", "profiles.parquet"],
        ["train", "nowhere"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_missing_folder_is_named(home, arguments):
    told = refused(run(home, *arguments))
    assert told == "nowhere must be a data folder, found nothing there."


@pytest.mark.parametrize("table", ["users", "services", "orders"])
def test_a_missing_table_is_named_with_its_file(home, shop, table):
    (shop / f"{table}.parquet").unlink()
    for command in ("validate", "train"):
        told = refused(run(home, command, shop))
        assert told.startswith(
            f"{shop} must hold the table {table} as {table}.parquet, {table}.csv or a folder"
        )
        assert told.endswith("export it there.")


def test_a_truncated_table_ends_validate_with_an_error(home, shop):
    orders = shop / "orders.parquet"
    orders.write_bytes(orders.read_bytes()[:1000])
    told = refused(run(home, "validate", shop))
    assert told.startswith(f"{orders} cannot be read as Parquet") and told.endswith("export it again.")


def test_a_data_folder_without_exposures_has_nothing_to_teach(home, shop):
    (shop / "exposures.parquet").unlink()
    told = refused(run(home, "train", shop))
    assert told.startswith(
        "exposures must hold at least one row to learn from, found none. Log what is shown"
    )


@pytest.mark.parametrize(
    "arguments",
    [["serve"], ["rollback"], ["evaluate", "var/shop"], ["score", "var/shop", "--out", "slates.parquet"]],
    ids=lambda arguments: arguments[0],
)
def test_before_the_first_promotion_there_is_no_champion(empty, home, arguments):
    for project in (empty, home):
        assert refused(run(project, *arguments)) == (
            f"there is no champion at {project / 'var' / 'champion'}. "
            "Train and promote first: perkwise train DATA; perkwise promote RUN."
        )


def test_promote_before_train_says_to_train(empty):
    told = refused(run(empty, "promote", "first"))
    assert told.startswith(f"there is no MLflow database at {empty / 'mlruns' / 'mlflow.db'}. Train first")


def test_an_unknown_run_is_told_with_those_that_are_known(home):
    assert refused(run(home, "promote", "third")) == (
        "no finished run is called 'third'. The latest are: second, first."
    )


def test_rollback_of_the_first_champion_is_refused(trained, home):
    bundle = trained.first["bundle"]
    champions = home / "var" / "champions"
    champions.mkdir()
    (champions / "0001").symlink_to(f"../bundles/{bundle}")
    (home / "var" / "champion").symlink_to("champions/0001")
    assert refused(run(home, "rollback")) == f"there is no champion before the first one ({bundle})."
    assert (home / "var" / "champion").resolve().name == bundle


@pytest.mark.parametrize("command", ["evaluate", "score"])
def test_an_unknown_bundle_is_told_with_those_that_are_known(trained, home, shop, command):
    out = ["--out", home / "out"]
    known = ", ".join(sorted([trained.first["bundle"], trained.second.bundle.name]))
    assert refused(run(home, command, shop, "--bundle", "zz", *out)) == (
        f"--bundle must be a bundle's folder or begin one hash, got 'zz'; known are {known}."
    )


def test_where_nothing_was_trained_no_bundle_is_known(empty):
    told = refused(run(empty, "evaluate", "var/shop", "--bundle", "zz"))
    assert told.endswith("got 'zz'; known are none; train first.")


@pytest.mark.parametrize(
    "arguments",
    [["evaluate", "var/shop"], ["score", "var/shop", "--out", "out"], ["serve", "--port", "0"]],
    ids=lambda arguments: arguments[0],
)
def test_a_damaged_bundle_is_never_used(trained, home, arguments):
    bundle = home / "var" / "bundles" / trained.first["bundle"]
    model = bundle / "uptake" / "uptake.json"
    model.write_bytes(model.read_bytes()[:-1])
    told = refused(run(home, *arguments, "--bundle", bundle))
    assert told.startswith(f"the bundle {bundle} is not as it was written: ['uptake/uptake.json'] damaged")
    assert told.endswith("Copy the bundle anew, or train again.")


def test_a_run_whose_bundle_is_damaged_is_never_promoted(trained, home):
    (find_run(home, "first").bundle / "uptake" / "uptake.json").unlink()
    assert "['uptake/uptake.json'] missing" in refused(run(home, "promote", "first"))
    assert not (home / "var" / "champion").is_symlink()


@pytest.mark.parametrize("command", ["validate", "train", "profile", "evaluate", "score", "promote", "serve"])
def test_every_fault_of_the_settings_is_listed_at_once(trained, home, command):
    (home / "perkwise.toml").write_text(
        '[money]\nmargin_rate = 7\ncurency = "USD"\n[exploration]\nholdout = "a lot"\n[serv]\n'
    )
    further = {
        "profile": ["var/shop", *AS_OF, "--out", "out"],
        "score": ["var/shop", "--out", "out"],
        "promote": ["first"],
        "serve": [],
    }
    assert refused(run(home, command, *further.get(command, ["var/shop"]))).splitlines() == [
        "The settings have faults:",
        "- unknown section [serv], did you mean 'serving'.",
        "- money.margin_rate must be between 0 and 1, got 7.",
        "- unknown setting money.curency, did you mean 'currency'.",
        "- exploration.holdout must be a number, got 'a lot'.",
    ]


def test_settings_that_are_not_toml_are_named(home, shop):
    (shop / "perkwise.toml").write_text("[money\n")
    told = refused(run(home, "validate", shop))
    assert told.startswith(f"{shop / 'perkwise.toml'} must be TOML, got: ")


@pytest.mark.parametrize("moment", ["2025-04-01", "2025-04-01T00:00:00", "yesterday"])
def test_a_moment_must_name_its_zone(trained, home, shop, moment):
    out = ["--as-of", moment, "--out", home / "out.parquet"]
    for command in (["profile", shop], ["score", shop, "--bundle", trained.first["bundle"]]):
        assert refused(run(home, *command, *out)) == (
            f"--as-of must be a time with its zone, such as 2026-01-01T00:00:00Z, got {moment!r}."
        )


def test_a_file_that_cannot_be_written_is_named(trained, home, shop):
    out = home / "perkwise.toml" / "out"  # a file is no folder
    bundle = ["--bundle", trained.first["bundle"]]
    for arguments in (
        ["profile", shop, *AS_OF, "--out", out],
        ["evaluate", shop, *bundle, "--out", out],
        ["score", shop, *bundle, "--out", out],
        ["serve", *bundle, "--state", out],
        ["world", "--users", 20, "--services", 2, "--days", 120, out],
    ):
        told = refused(run(home, *arguments))
        assert re.fullmatch(rf"{home}/perkwise\.toml\S* cannot be written or read \(.+\)\. .+", told), told


def test_a_world_that_is_too_small_is_refused(tmp_path):
    told = refused(run(tmp_path, "world", "--users", 0, "--days", 3, tmp_path / "world"))
    assert told == "n_users must be at least 1, got 0. n_days must be at least 100, got 3."


@pytest.mark.parametrize(
    "source, expected", [("hillstrom", "illstrom*.parquet"), ("starbucks", "portfolio.json")]
)
def test_a_public_data_set_that_is_not_there_is_told(tmp_path, source, expected):
    told = refused(run(tmp_path, "import", source, tmp_path, tmp_path / "out"))
    assert told.startswith(f"{tmp_path} must hold one of ") and expected in told
    assert told.endswith("found nothing: give the file or the folder it lies in.")


def test_an_unknown_data_set_or_command_is_told_with_where_to_look(tmp_path):
    for arguments in (["import", "lenta", "a", "b"], ["retrain"]):
        result = run(tmp_path, *arguments)
        assert result.exit_code == 2
        assert "No such command" in result.stderr and "--help" in result.stderr


def test_the_program_itself_ends_with_one_line_and_a_status(tmp_path):
    environment = {**os.environ, "PERKWISE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "perkwise", "validate", "nowhere"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "Error: nowhere must be a data folder, found nothing there.\n"


def test_a_reader_who_has_read_enough_is_no_fault(home, shop):
    environment = {**os.environ, "PERKWISE_HOME": str(home)}
    command = [sys.executable, "-m", "perkwise", "validate", shop]
    reader = ["bash", "-c", '"$@" | true', "bash", *command]
    assert subprocess.run(reader, cwd=ROOT, env=environment, capture_output=True, check=True).stderr == b""
