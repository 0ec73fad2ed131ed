"""The README tells the truth: every command and setting is in it, and its examples run."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from offers.settings import Settings
from perkwise import main
from tests.project import ROOT, free_port

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(group, prefix="perkwise"):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


@pytest.mark.parametrize("command", sorted(commands(main)))
def test_every_command_is_in_the_readme(command):
    assert f"`{command}" in README


@pytest.mark.parametrize("section", fields(Settings), ids=lambda section: section.name)
def test_every_setting_is_in_the_readme_and_in_perkwise_toml(section):
    toml = (ROOT / "perkwise.toml").read_text(encoding="utf-8")
    is_list = get_args(section.type)  # such as [[holdouts]]; its example is a comment
    heading, start = (f"[[{section.name}]]", "# ") if is_list else (f"[{section.name}]", "")
    (row,) = [line for line in README.splitlines() if line.startswith(f"| `{heading}`")]
    for setting in fields(is_list[0] if is_list else section.type):
        assert f"`{setting.name}`" in row
        assert re.search(rf"^{start}{setting.name} = ", toml, flags=re.M)


def test_what_the_readme_links_to_is_there():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert targets and all((ROOT / target).exists() for target in targets)


def test_the_readme_s_examples_run(tmp_path):
    """All of them, in their order and in one shell, as a reader would; the last asks a live service."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, flags=re.M | re.S)
    port = free_port()
    script = "set -euo pipefail\n" + "\n".join(blocks).replace("3000", str(port))
    shutil.copy(ROOT / "perkwise.toml", tmp_path)
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    environment = {
        **os.environ,
        "PERKWISE_HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    ran = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "promote: it gains" in ran.stdout
    assert '"n_reason"' in ran.stdout and '"accepted":1' in ran.stdout and '"features"' in ran.stdout
