"""A project's folder for tests, and the command line run in it."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from offers.settings import Settings, parse_settings
from perkwise import main

ROOT = Path(__file__).resolve().parents[1]
LOCK = b"lightgbm==4.7.0\n"
LOCK_HASH = hashlib.sha256(LOCK).hexdigest()


def make_project(folder: Path) -> Path:
    """The settings, whose served data are var/shop, and a lock file, in one commit."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = (ROOT / "perkwise.toml").read_text(encoding="utf-8")
    (folder / "perkwise.toml").write_text(settings.replace('"var/demo"', '"var/shop"'), encoding="utf-8")
    (folder / "requirements.lock").write_bytes(LOCK)
    author = ["-c", "user.name=Shop", "-c", "user.email=shop@example.org"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "Open the shop"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def copy_project(home: Path, to: Path) -> Path:
    return Path(shutil.copytree(home, to, symlinks=True))


def settings_of(home: Path, data: Path) -> Settings:
    """The project's settings, overridden by the data folder's."""
    files = [folder / "perkwise.toml" for folder in (home, data)]
    return parse_settings(*(tomllib.loads(file.read_text(encoding="utf-8")) for file in files))


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def registered_champion(home: Path) -> str | None:
    """The bundle that MLflow's alias names; None where it names none."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlruns' / 'mlflow.db'}")
    version = client.get_registered_model("perkwise").aliases.get("champion")
    return client.get_model_version("perkwise", str(version)).tags["bundle"] if version else None


def run(home: Path, *arguments: object) -> Result:
    """What `perkwise` with these arguments says in the project `home`."""
    environment = {"PERKWISE_HOME": str(home)}
    return CliRunner().invoke(main, [str(one) for one in arguments], env=environment)


def answer(result: Result) -> dict[str, Any]:
    """The one JSON object, without NaN, on the standard output of a command that went well."""
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("\n") == 1
    found = json.loads(result.stdout, parse_constant=_refuse)
    assert isinstance(found, dict)
    return found


def said(result: Result) -> str:
    """What a command that went well tells a person, its lines joined and its spaces single."""
    assert result.exit_code == 0, result.stderr
    return " ".join(result.stdout.split())


def refused(result: Result) -> str:
    """The error of a command that went wrong: in words, with nothing on standard output."""
    assert result.exit_code == 1, result.stdout
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.stdout == "" and "Traceback" not in result.stderr
    assert result.stderr.startswith("Error: ")
    return result.stderr.removeprefix("Error: ").rstrip("\n")


def free_port() -> int:
    """A port that nobody listens at, and that no other process of these tests is given."""
    of = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    place = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port // 2 % of == place:  # halved: a system may give odd ones alone
            return port


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")
