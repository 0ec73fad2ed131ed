"""What a command is given at the edge of what it takes, and what it does when a store or a disk fails."""

import errno
import shutil

import pytest

from perkwise import in_words, read_settings
from tests.project import refused, run, said
from training.champion import install_champion, read_champion


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "var/shop", "--seed", -1],
        ["train", "var/shop", "--trials", -1],
        ["evaluate", "var/shop", "--seed", 2**31],
        ["world", "var/new", "--seed", "x"],
        ["serve", "--port", 65536],
        ["serve", "--port", -1],
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_a_number_out_of_its_range_is_refused_before_anything_is_read(tmp_path, arguments):
    result = run(tmp_path, *arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{arguments[-2]}': " in result.stderr


def test_a_moment_outside_the_calendar_is_refused(tmp_path):
    told = refused(run(tmp_path, "profile", "shop", "--as-of", "0001-01-01T00:00:00+14:00", "--out", "out"))
    assert told.startswith("--as-of must be a time with its zone") and told.endswith("+14:00'.")


def test_settings_saved_with_a_byte_order_mark_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("PERKWISE_HOME", str(tmp_path))
    (tmp_path / "perkwise.toml").write_text('[money]\ncurrency = "CNY"\n', encoding="utf-8-sig")
    assert read_settings().money.currency == "CNY"


@pytest.mark.parametrize(
    "error, told",
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "var/x"),
            "var/x cannot be written or read (No space left on device). "
            "Free some space on the disk, then run it again.",
        ),
        (  # as Arrow raises it
            OSError(errno.EISDIR, "Failed to open local file 'var/x'. Detail: [errno 21] Is a directory"),
            "Failed to open local file 'var/x'. Detail: [errno 21] Is a directory. "
            "Check the path, and that you may use it.",
        ),
        (OSError("port 3000 is taken: take another."), "port 3000 is taken: take another."),
    ],
)
def test_an_error_of_the_system_says_what_to_do(error, told):
    assert in_words(error) == told


def test_no_name_and_what_was_not_written_to_its_end_are_no_bundle(trained, home):
    (home / "var" / "bundles" / ".writing-1").mkdir()
    for name in ("", ".w"):
        told = refused(run(home, "score", "var/shop", "--bundle", name, "--out", "out.parquet"))
        assert (
            told.startswith("--bundle must be a bundle's folder or begin one hash") and ".writing" not in told
        )


def test_a_rollback_is_done_although_mlflow_cannot_follow(trained, home):
    first, second = trained.first.bundle, trained.second.bundle
    for bundle in (first, second):
        install_champion(bundle, home / "var")
    shutil.rmtree(home / "mlruns")
    result = run(home, "rollback")
    assert said(result) == f"The champion is {first.name} again."
    assert result.stderr.startswith("The alias `champion` in MLflow stays where it was: there is no MLflow")
    assert read_champion(home / "var").name == first.name
