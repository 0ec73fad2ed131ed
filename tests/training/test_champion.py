"""The champion changes by one step: whoever looks, whenever, finds the old one or the new one, whole."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project import ROOT, folder_bytes
from training.bundle_files import BundleError, check_seal, seal
from training.champion import install_champion, read_champion, rollback_champion


def a_bundle(root: Path, content: str) -> Path:
    def fill(folder: Path) -> dict:
        (folder / "model.txt").write_text(content)
        return {}

    return seal(root, fill)


@pytest.fixture
def bundles(tmp_path: Path) -> list[Path]:
    return [a_bundle(tmp_path / "runs" / name, name) for name in ("first", "second", "third")]


def served(var: Path) -> str:
    champion = read_champion(var)
    check_seal(champion)
    return (champion / "model.txt").read_text()


def test_the_champion_is_a_copy_that_outlives_the_run(tmp_path, bundles):
    var = tmp_path / "var"
    copy = install_champion(bundles[0], var)
    shutil.rmtree(tmp_path / "runs")
    assert read_champion(var) == copy == var / "bundles" / bundles[0].name
    assert served(var) == "first"
    assert (var / "champion" / "model.txt").read_text() == "first"


def test_rollback_goes_back_champion_by_champion(tmp_path, bundles):
    var = tmp_path / "var"
    for bundle in bundles:
        install_champion(bundle, var)
    assert served(var) == "third"
    assert rollback_champion(var) == read_champion(var)
    assert served(var) == "second"
    rollback_champion(var)
    assert served(var) == "first"
    with pytest.raises(BundleError, match=f"no champion before the first one \\({bundles[0].name}\\)"):
        rollback_champion(var)
    assert served(var) == "first"


def test_a_champion_after_a_rollback_follows_the_one_restored(tmp_path, bundles):
    var = tmp_path / "var"
    install_champion(bundles[0], var)
    install_champion(bundles[1], var)
    rollback_champion(var)
    install_champion(bundles[2], var)
    assert served(var) == "third"
    rollback_champion(var)
    assert served(var) == "first"


def test_installing_the_champion_again_is_no_step(tmp_path, bundles):
    var = tmp_path / "var"
    install_champion(bundles[0], var)
    install_champion(bundles[1], var)
    install_champion(read_champion(var), var)
    rollback_champion(var)
    assert served(var) == "first"


def test_a_moved_var_serves_the_same(tmp_path, bundles):
    install_champion(bundles[0], tmp_path / "var")
    install_champion(bundles[1], tmp_path / "var")
    moved = (tmp_path / "var").rename(tmp_path / "moved")
    assert served(moved) == "second"
    rollback_champion(moved)
    assert served(moved) == "first"


def test_without_a_champion_it_says_how_to_get_one(tmp_path):
    for call in (read_champion, rollback_champion):
        with pytest.raises(
            BundleError, match=r"Train and promote first: perkwise train DATA; perkwise promote RUN"
        ):
            call(tmp_path)


def test_a_champion_whose_bundle_is_gone_is_told_and_may_be_rolled_back(tmp_path, bundles):
    var = tmp_path / "var"
    install_champion(bundles[0], var)
    shutil.rmtree(install_champion(bundles[1], var))
    with pytest.raises(BundleError, match=f"leads to .*{bundles[1].name}, where no bundle is. Copy it there"):
        read_champion(var)
    rollback_champion(var)
    assert served(var) == "first"


def test_a_link_that_somebody_else_made_is_no_step(tmp_path, bundles):
    (tmp_path / "champion").symlink_to(bundles[0])
    for call in (lambda: rollback_champion(tmp_path), lambda: install_champion(bundles[1], tmp_path)):
        with pytest.raises(BundleError, match=r"must lead to a step such as champions/0001, found .*Remove"):
            call()
    assert served(tmp_path) == "first"


def test_a_damaged_bundle_is_not_installed(tmp_path, bundles):
    var = tmp_path / "var"
    install_champion(bundles[0], var)
    (bundles[1] / "model.txt").write_text("secomd")
    with pytest.raises(BundleError, match=r"\['model.txt'\] damaged"):
        install_champion(bundles[1], var)
    assert served(var) == "first"


def test_a_rollback_to_a_damaged_bundle_changes_nothing(tmp_path, bundles):
    var = tmp_path / "var"
    first = install_champion(bundles[0], var)
    install_champion(bundles[1], var)
    (first / "model.txt").unlink()
    with pytest.raises(BundleError, match=r"\['model.txt'\] missing"):
        rollback_champion(var)
    assert served(var) == "second"


def killed_at(step: int, action: Callable[[], object]) -> bool:
    """Runs the action in a process that is killed before its file operation number `step`, if it has one."""
    child = os.fork()
    if child == 0:
        left = [step]

        def count(event: str, _: tuple) -> None:
            if event in {"open", "os.mkdir", "os.rename", "os.symlink", "os.remove", "os.rmdir"}:
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1

        try:
            sys.addaudithook(count)
            action()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize(
    "change, old, new",
    [
        (lambda var, runs: install_champion(runs[2], var), "second", "third"),
        (lambda var, runs: rollback_champion(var), "second", "first"),
    ],
    ids=["install", "rollback"],
)
def test_a_kill_at_any_step_leaves_the_old_or_the_new_champion(tmp_path, bundles, change, old, new):
    install_champion(bundles[0], tmp_path / "var")
    install_champion(bundles[1], tmp_path / "var")
    seen = []
    for step in range(1000):
        var = Path(shutil.copytree(tmp_path / "var", tmp_path / str(step), symlinks=True))
        if not killed_at(step, lambda var=var: change(var, bundles)):
            break
        seen.append(served(var))
        if seen[-1] == old:
            change(var, bundles)
            assert served(var) == new
    assert seen[0] == old
    assert set(seen) == {old, new}
    assert seen == sorted(seen, key=[old, new].index)


CHANGE_FOR_EVER = """
import sys
from pathlib import Path
from training.bundle_files import seal
from training.champion import install_champion, rollback_champion

var, runs = Path(sys.argv[1]), Path(sys.argv[2])
def fill(folder):
    for part in range(5):
        (folder / f"part-{part}.txt").write_text(f"{number} {part} " * 20_000)
    return {}
print("ready", flush=True)
for number in range(int(sys.argv[3]), 1_000_000):
    install_champion(seal(runs, fill), var)
    install_champion(seal(runs, lambda folder: (folder / "model.txt").write_text(str(number)) and {}), var)
    rollback_champion(var)
"""


def test_kills_at_random_moments_leave_one_whole_champion_that_can_be_changed(tmp_path, bundles):
    """Of a process that installs and rolls back without end; in the middle of writes too."""
    var, draw = tmp_path / "var", random.Random(5)
    install_champion(bundles[0], var)
    champions = set()
    for kill in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", CHANGE_FOR_EVER, var, tmp_path / "made", str(1000 * kill)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(draw.uniform(0.005, 0.3))
            process.kill()
        assert process.returncode == -signal.SIGKILL
        check_seal(read_champion(var))
        champions.add(read_champion(var).name)
        before = folder_bytes(read_champion(var))
        install_champion(bundles[1 + kill % 2], var)
        assert served(var) == ("second", "third")[kill % 2]
        rollback_champion(var)
        assert folder_bytes(read_champion(var)) == before
    assert len(champions) > 3
