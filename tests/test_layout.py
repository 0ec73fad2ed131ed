"""The house: what is imported, packed and locked is what the project says."""

import importlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("offers", "features", "training", "serving", "commands")


@pytest.mark.parametrize("room", [*ROOMS, "perkwise"])
def test_every_room_is_imported_from_this_repository(room):
    assert Path(importlib.import_module(room).__file__).is_relative_to(ROOT)


@pytest.mark.parametrize(
    "folder", sorted({path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")})
)
def test_a_packages_init_is_a_docstring_alone(folder):
    lines = (folder / "__init__.py").read_text().strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith('"""') and lines[0].endswith('"""')


def test_the_wheel_holds_the_rooms_and_nothing_else(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {*ROOMS, "perkwise.py"}


def test_the_lock_has_hashes_and_no_index_address():
    lock = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^[a-z0-9._-]+(?:\[[a-z,]+\])?==", lock, flags=re.M)
    blocks = re.split(r"^(?=[a-z0-9._-]+(?:\[[a-z,]+\])?==)", lock, flags=re.M)[1:]
    assert len(pins) == len(blocks) > 100
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in lock and "--index" not in lock and "--find-links" not in lock


def test_the_lock_pins_what_the_project_declares():
    declared = re.findall(r'"([a-z0-9-]+)(?:\[\w+\])?==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    lock = (ROOT / "requirements.lock").read_text()
    assert declared and all(f"{name}=={version} " in lock for name, version in declared)
