"""A PostgreSQL server of the tests' own, in a folder that goes with it."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.project import free_port


class Server:
    """A cluster on a free port of the loopback address, run by somebody who is not root.

    Parameters
    ----------
    binaries : Path
        The folder of PostgreSQL's programs.
    on, log_on : Path, optional
        An empty folder for the cluster, or for its write-ahead log alone, that others can reach; else one
        that goes with the server.
    """

    def __init__(self, binaries: Path, on: Path | None = None, log_on: Path | None = None) -> None:
        self._binaries, self._n_made = binaries, 0
        self._folder = Path(tempfile.mkdtemp(prefix="perkwise-postgres-"))
        self._cluster = str((on or self._folder) / "cluster")
        self.port = free_port()
        if os.getuid() == 0:
            os.chown(self._folder, _nobody(), -1)
        how = ["-U", "perkwise", "-A", "trust", "-E", "UTF8", "--no-sync", "--wal-segsize=1"]
        how += [] if log_on is None else ["-X", str(log_on / "log")]
        self._run("initdb", "-D", self._cluster, *how)
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self._folder} -c max_connections=20"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", self._cluster, "-l", log, "-o", options, "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._cluster, "-m", "fast", "-w", "stop")

    def is_running(self) -> bool:
        """Does it run, if only to recover from what befell it?"""
        return self._ran("pg_ctl", "-D", self._cluster, "status").returncode == 0

    def make_database(self) -> str:
        """The URL of a database with nothing in it."""
        self._n_made += 1
        name = f"shop{self._n_made}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "perkwise", name)
        return f"postgresql+psycopg://perkwise@127.0.0.1:{self.port}/{name}"

    def remove(self) -> None:
        if self.is_running():
            self.stop()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        ran = self._ran(program, *arguments)
        assert ran.returncode == 0, ran.stderr.decode()

    def _ran(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        as_nobody = ["setpriv", f"--reuid={_nobody()}", "--clear-groups"] if os.getuid() == 0 else []
        return subprocess.run(
            [*as_nobody, str(self._binaries / program), *arguments],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )


def binaries_or_skip() -> Path:
    """Where PostgreSQL's programs are; where they are not, the test is skipped."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda one: int(one.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("there is no PostgreSQL on this machine: apt-get install postgresql")
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL refuses root, and there is no setpriv to run it as another user")
    return found[-1].parent if found else Path(str(on_path)).resolve().parent


def _nobody() -> int:
    """A user who is not root."""
    try:
        return pwd.getpwnam("postgres").pw_uid
    except KeyError:
        return pwd.getpwnam("nobody").pw_uid
