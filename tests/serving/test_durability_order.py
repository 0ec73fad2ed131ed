"""The order of system calls: no answer is written to its socket before the sync of what it acknowledges."""

import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import httpx
import pytest

from serving.config import ServeConfig
from tests.project import free_port
from tests.serving.own_process import started, wait_until_ready

CALLS = "pwrite64,write,writev,sendto,sendmsg,fdatasync,fsync"
WITHOUT_SYNC = "import serving.engines; serving.engines._SYNCHRONOUS = 'NORMAL'; "  # syncs now and then

_LINE = re.compile(r"(?P<thread>\d+) +(?P<at>\d+\.\d+) (?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<call>\w+)\()")


@dataclass(frozen=True)
class Call:
    """One system call, from its line in the trace to the line on which it came back."""

    name: str
    file: str  # what its first argument stands for
    content: str
    begin: int  # lines of the trace: what stands in an earlier one happened earlier
    end: int


def calls_of(trace):
    """All calls of a trace by `strace -f -y`, those that were interrupted by other threads put together."""
    found, begun = [], {}
    for number, line in enumerate(trace.splitlines()):
        match = _LINE.match(line)
        if match is None:
            continue
        if match["resumed"]:
            text, begin = begun.pop(match["thread"])
            found.append(_call(text, begin, number))
        elif line.endswith("<unfinished ...>"):
            begun[match["thread"]] = (line[match.start("call") :], number)
        else:
            found.append(_call(line[match.start("call") :], number, number))
    return found


def _call(text, begin, end):
    name, _, rest = text.partition("(")
    file = re.match(r"\d+<([^>]*)>", rest)
    return Call(name, file[1] if file else "", rest, begin, end)


def unsynced(calls, ids):
    """Ids whose answer was written before a sync had ended that began after they were written to the log."""
    syncs = [one for one in calls if one.name in ("fdatasync", "fsync") and one.file.endswith("state.db-wal")]
    logged = [one for one in calls if one.name == "pwrite64" and one.file.endswith("state.db-wal")]
    told = [one for one in calls if "socket:" in one.file or one.file.startswith("TCP")]
    early = []
    for one_id in ids:
        written = next(call for call in logged if one_id in call.content)
        answered = next(call for call in told if one_id in call.content)
        if not any(written.end < sync.begin and sync.end < answered.begin for sync in syncs):
            early.append(one_id)
    return early


def traced(config, tmp_path, n_events, before=""):
    """Event ids that were acknowledged by eight clients at once, and the calls that the service made."""
    port, trace = free_port(), tmp_path / "trace"
    strace = ["strace", "-D", "-f", "-y", "-ttt", "-s", "9000", "-o", str(trace), "-e", f"trace={CALLS}"]
    ids = [f"event-number-{number:05}-" for number in range(n_events)]

    def post(one_id):
        row = {"event_id": one_id, "user_id": "u", "event": "used", "at": "2026-05-01T12:00:00Z"}
        return http.post("/events", json={"events": [row]}).json()["accepted"]

    with started(config, port, before, strace) as (process, _):
        wait_until_ready(port, process)
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as http, ThreadPoolExecutor(8) as eight:
            assert sum(eight.map(post, ids)) == n_events
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        while not re.search(rf"^{process.pid} .*exited with", trace.read_text(errors="replace"), re.M):
            time.sleep(0.1)
    return ids, calls_of(trace.read_text(errors="replace"))


@pytest.fixture
def config(data, bundle, settings, tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("there is no strace on this machine")
    if subprocess.run(["strace", "-f", "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this user may not trace a process")
    patient = replace(settings.serving, max_wait_ms=60_000)  # a traced service is slow
    return ServeConfig(data, bundle.path, tmp_path / "state.db", replace(settings, serving=patient))


@pytest.mark.slow
def test_of_1000_answers_none_is_written_before_the_sync_of_its_commit(config, tmp_path):
    ids, calls = traced(config, tmp_path, 1000)
    assert len(ids) == 1000 and unsynced(calls, ids) == []


@pytest.mark.slow
def test_without_a_sync_at_each_commit_the_same_check_fails(config, tmp_path):
    ids, calls = traced(config, tmp_path, 1000, WITHOUT_SYNC)
    assert len(unsynced(calls, ids)) > 900


WAL, SOCKET = "5</s/state.db-wal>", "9<TCP:[1]>"


@pytest.mark.parametrize(
    "lines, early",
    [
        (["pwrite64({w}, 'a')", "fdatasync({w}) = 0", "write({s}, 'a')"], []),
        (["pwrite64({w}, 'a')", "write({s}, 'a')", "fdatasync({w}) = 0"], ["a"]),
        (["fdatasync({w}) = 0", "pwrite64({w}, 'a')", "write({s}, 'a')"], ["a"]),
        (["pwrite64({w}, 'a')", "fdatasync(6</s/state.db>) = 0", "write({s}, 'a')"], ["a"]),
        (
            [
                "pwrite64({w}, 'a')",
                "fdatasync({w} <unfinished ...>",
                "write({s}, 'a')",
                "<... fdatasync resumed>) = 0",
            ],
            ["a"],
        ),
    ],
)
def test_what_the_check_finds_is_known_of_small_traces(lines, early):
    """Of the thread 1 all calls but the answers, which thread 2 writes."""
    trace = "\n".join(
        f"{2 if one.startswith('write') else 1} {at}.0 " + one.format(w=WAL, s=SOCKET)
        for at, one in enumerate(lines)
    )
    assert unsynced(calls_of(trace), ["a"]) == early
