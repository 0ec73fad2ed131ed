"""The supervisor of workers that do nothing but live: who is started, who ends, what is told."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.project import ROOT

TOY = """
import logging, os, pathlib, signal, sys, time
from serving.workers import Supervisor

folder = pathlib.Path(sys.argv[1])
logging.basicConfig(level="INFO", format="%(message)s")


def work(place, tell):
    ends = []
    signal.signal(signal.SIGTERM, lambda *_: ends.append("SIGTERM"))
    signal.signal(signal.SIGINT, lambda *_: ends.append("SIGINT"))
    (folder / f"{place}.{os.getpid()}").touch()
    WHAT
    tell()
    while not ends:
        time.sleep(0.01)
    time.sleep(0.2)
    (folder / f"{place}.{os.getpid()}").write_text(" ".join(ends))


def end(number):
    print("end", number, flush=True)


def bury(place):
    print("dead", place, flush=True)


Supervisor(2, work, lambda: print("ready", flush=True), end, bury).run()
print("over")
"""


@contextmanager
def toy(folder, what="pass"):
    """A supervisor of two workers in a process and a group of its own."""
    command = [sys.executable, "-c", TOY.replace("WHAT", what), str(folder)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=20)


def line(process):
    return process.stdout.readline().strip()


def pids(folder, place):
    """Of all that had this place, alive or not."""
    return [int(file.suffix[1:]) for file in folder.glob(f"{place}.*")]


def is_alive(pid):
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("number, name", [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")])
def test_told_to_end_all_workers_are_told_and_waited_for(tmp_path, number, name):
    with toy(tmp_path) as process:
        assert line(process) == "ready"
        os.killpg(process.pid, number)  # as ctrl-C reaches a whole group: the workers hear of it once
        rest = process.communicate(timeout=60)[0].split("\n")
        assert rest[0] == f"end {int(number)}" and rest[-2] == "over"
        assert process.returncode == 0
    told = [file.read_text() for file in tmp_path.iterdir()]
    assert told == [name, name]


def test_killed_the_supervisor_leaves_no_worker(tmp_path):
    with toy(tmp_path) as process:
        assert line(process) == "ready"
        workers = pids(tmp_path, 0) + pids(tmp_path, 1)
        assert len(workers) == 2 and all(map(is_alive, workers))
        process.kill()
        wait_for(lambda: not any(map(is_alive, workers)))


def test_a_killed_worker_is_started_again_and_the_other_lives_on(tmp_path):
    with toy(tmp_path) as process:
        assert line(process) == "ready"
        (first,), (second,) = pids(tmp_path, 0), pids(tmp_path, 1)
        os.kill(second, signal.SIGKILL)
        assert line(process) == "dead 1"
        wait_for(lambda: len(pids(tmp_path, 1)) == 2)
        assert pids(tmp_path, 0) == [first] and is_alive(first)
        process.terminate()
        told = process.communicate(timeout=60)[1]
        assert "Worker 1 was killed (SIGKILL); it is started again in 0.1 s." in told
        assert process.returncode == 0


def test_a_worker_that_cannot_start_ends_all_with_its_fault(tmp_path):
    what = "if place == 1: raise ValueError('the table users must have joined_at, found none.')"
    with toy(tmp_path, what) as process:
        told = process.communicate(timeout=60)
        assert "ready" not in told[0]
        assert "ValueError: the table users must have joined_at, found none." in told[1]
        assert process.returncode == 1
    assert not any(map(is_alive, pids(tmp_path, 0)))


def test_a_worker_that_ends_without_a_word_before_it_is_ready_is_a_fault_too(tmp_path):
    with toy(tmp_path, "if place == 0: os._exit(7)") as process:
        told = process.communicate(timeout=60)[1]
        assert "A worker must get ready, it ended with the exit code 7 before that." in told
    assert pids(tmp_path, 1) == []  # the first is started alone


def test_a_fault_of_a_later_start_is_told_and_tried_again_more_and_more_seldom(tmp_path):
    what = "if len(list(folder.glob('1.*'))) in (2, 3): raise ValueError('no room')"
    with toy(tmp_path, what) as process:
        assert line(process) == "ready"
        os.kill(pids(tmp_path, 1)[0], signal.SIGKILL)
        wait_for(lambda: len(pids(tmp_path, 1)) == 4)
        process.terminate()
        told = process.communicate(timeout=60)[1]
        for pause in ("0.2", "0.4"):
            assert f"ended with the exit code 1: no room; it is started again in {pause} s." in told
        assert process.returncode == 0
