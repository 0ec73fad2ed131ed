"""The package as container and unit run it, on a source that nobody may write: it answers, and follows."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from serving.package import package
from tests.project import ROOT, free_port
from training.champion import install_champion

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    out = tmp_path_factory.mktemp("shipped") / "perkwise"
    package(ROOT, out)
    return out


def of_container(dist, place, port):
    """The command of the Containerfile and its variables, with the folders of this place for its mounts."""
    app = place / "app"
    shutil.copytree(dist / "src", app)
    (app / "var").symlink_to(place / "var")
    text = (dist / "Containerfile").read_text(encoding="utf-8")
    (variables,) = re.findall(r"^ENV (.*)$", text, flags=re.M)
    (entry,), (command,) = (
        re.findall(rf"^{name} (\[.*\])$", text, flags=re.M) for name in ("ENTRYPOINT", "CMD")
    )
    here = {"python": sys.executable, "0.0.0.0": "127.0.0.1", "3000": str(port), "/data": str(place / "shop")}
    here["/state/state.db"] = str(place / "state" / "state.db")
    words = [here.get(word, word) for word in json.loads(entry) + json.loads(command)]
    return app, words, variables


def of_unit(dist, place, port):
    """The same of the systemd unit."""
    app = place / "opt" / "src"
    shutil.copytree(dist / "src", app)
    text = (dist / "perkwise.service").read_text(encoding="utf-8").replace("\\\n", " ")
    text = text.replace("/opt/perkwise/.venv/bin/python", sys.executable).replace(
        "--port 3000", f"--port {port}"
    )
    text = text.replace("/srv/perkwise/tables", str(place / "shop")).replace("/srv/perkwise", str(place))
    text = text.replace("/var/lib/perkwise", str(place / "state"))
    text = text.replace("NUMBA_CACHE_DIR=/var/cache/perkwise", f"NUMBA_CACHE_DIR={place / 'state'}")
    (command,) = re.findall(r"^ExecStart=(.*)$", text, flags=re.M)
    return app, shlex.split(command), " ".join(re.findall(r"^Environment=(.*)$", text, flags=re.M))


def of_bentoml(dist, place, port):
    """BentoML's own command, where nothing but the state may be written."""
    app = place / "bento"
    shutil.copytree(dist, app)
    bento = Path(sys.executable).with_name("bentoml")
    command = [str(bento), "serve", str(app), "--host", "127.0.0.1", "--port", str(port)]
    bundle = (place / "var" / "champion").resolve()
    named = {"DATA": place / "shop", "BUNDLE": bundle, "STATE": place / "state" / "state.db"}
    named |= {"HOST": "127.0.0.1", "CHAMPION": place / "var"}
    variables = " ".join(f"PERKWISE_{name}={value}" for name, value in named.items())
    return app, command, f"{variables} HOME={app} BENTOML_HOME={place / 'state'} PYTHONDONTWRITEBYTECODE=1"


@contextmanager
def run_read_only(folder, command, variables):
    """The process, in a folder that it may not write; root keeps none of its rights beyond those of files."""
    under = ["setpriv", "--bounding-set=-all"] if os.getuid() == 0 else []
    if under and shutil.which("setpriv") is None:
        pytest.skip("root may write everything, and there is no setpriv to take that right away")
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    assert subprocess.run([*under, "touch", folder / "x"], stderr=subprocess.DEVNULL).returncode != 0
    environment = {"PATH": os.environ["PATH"], **dict(one.split("=", 1) for one in shlex.split(variables))}
    process = subprocess.Popen(
        [*under, *command],
        cwd=folder,
        env=environment,
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    told = []
    reader = threading.Thread(target=lambda: told.extend(process.stdout), daemon=True)
    reader.start()
    try:
        yield process, told
    finally:
        process.terminate()
        process.wait(timeout=60)
        reader.join(timeout=20)
        for path in [folder, *folder.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o200)


def answer(process, told, ask, is_it):
    """What comes back once it is what is waited for; the process must live."""
    for _ in range(1200):
        assert process.poll() is None, "".join(told)
        try:
            found = ask()
            if found.status_code == 200 and is_it(found.json()):
                return found.json()
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("".join(told))


@pytest.mark.parametrize("how", [of_container, of_unit, of_bentoml])
def test_what_is_shipped_answers_from_a_read_only_folder_and_follows(
    dist, data, bundle, second, user_id, tmp_path, how
):
    install_champion(bundle.path, tmp_path / "var")
    (tmp_path / "shop").symlink_to(data)
    (tmp_path / "state").mkdir()
    port = free_port()
    folder, command, variables = how(dist, tmp_path, port)
    body, url = {"user_id": user_id}, f"http://127.0.0.1:{port}/recommend"
    with run_read_only(folder, command, variables) as (process, told):

        def ask():
            return httpx.post(url, json=body, timeout=20)

        first = answer(process, told, ask, lambda found: True)
        assert first["bundle"] == bundle.hash and first["degraded"] is None
        install_champion(second.path, tmp_path / "var")
        then = answer(process, told, ask, lambda found: found["bundle"] == second.hash)
        assert then["degraded"] is None
    assert not list(folder.rglob("__pycache__"))


def test_systemd_takes_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze on this machine")
    text = (ROOT / "deploy" / "perkwise.service").read_text(encoding="utf-8")
    unit = tmp_path / "perkwise.service"
    unit.write_text(text.replace("/opt/perkwise/.venv/bin/python", sys.executable), encoding="utf-8")
    ran = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
