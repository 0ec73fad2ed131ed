"""What the service keeps of a data folder, in files: made once, then opened in a moment and shared.

A folder ``<key>/`` of plain ``.npy`` files and a manifest. It appears by one rename when all of it is on
disk, and is mapped, so that workers share its pages and a page that nobody asks for takes no memory. It is
made by a process of its own, whose memory goes with it. Whatever is not whole is made anew.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.contract.reading import table_files
from features.history import LOGS
from features.pipeline import Layout
from features.tables import TABLES, Piece, TableError, read_pieces
from offers.settings import MoneySettings
from serving.child import end_with_parent, start_child
from serving.filed import Filed
from training.bundle_files import sync

logger = logging.getLogger("perkwise")

FORMAT = 2  # of the files, and of what they mean: profiles made of them must be those of the tables
MANIFEST = "manifest.json"
_BYTES_A_SECOND = 7e6  # of tables read, checked and sorted; measured on one core
_ALWAYS_US = 2**62


@dataclass(frozen=True)
class Recipe:
    """All that the files of a data folder depend on."""

    data: Path
    layout: Layout  # the bundle's
    uptake_days: int
    money: MoneySettings

    @property
    def key(self) -> str:
        """The name of the folder.

        Of the tables their names, sizes and times of change count. The times stand for the content: to
        hash it would read again everything that need not be read, seconds for each gigabyte of a cold disk.
        Who writes a table gives it another time; who sets the old one back must remove the prepared folder.
        """
        told = [FORMAT, self._files(), self.layout.to_json(), self.uptake_days, asdict(self.money)]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]

    def n_bytes(self) -> int:
        """Size of the tables."""
        return sum(size for _, size, _ in self._files())

    def _files(self) -> list[tuple[str, int, int]]:
        files = [(path, path.stat()) for name in sorted(TABLES) for path in table_files(self.data, name)]
        return [(str(path.relative_to(self.data)), of.st_size, of.st_mtime_ns) for path, of in files]

    def to_json(self) -> dict[str, Any]:
        """As text of JSON holds it."""
        told = {
            "data": str(self.data.resolve()),
            "layout": self.layout.to_json(),
            "uptake_days": self.uptake_days,
        }
        return {**told, "money": asdict(self.money)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """What `to_json` told."""
        layout, money = Layout.from_json(told["layout"]), MoneySettings(**told["money"])
        return cls(Path(told["data"]), layout, told["uptake_days"], money)


def prepared(recipe: Recipe, root: Path) -> Filed:
    """The data folder from its files in `root`, which are made where they are not there.

    Where they cannot be kept (a full disk, a folder that may not be written to), all of it is in memory.

    Raises
    ------
    TableError
        When a table cannot be used at all.
    RuntimeError
        When the process that reads the tables ends without a word: it may have lacked memory.
    """
    found = opened(root / recipe.key, recipe.layout, time.time_ns() // 1000)
    if found is not None:
        return found
    try:
        found = prepare(recipe, root, _make_elsewhere)
    except OSError as error:
        logger.warning("The data folder cannot be kept in %s (%s): it is read into memory.", root, error)
    return read(recipe)[0] if found is None else found


def prepare(recipe: Recipe, root: Path, how: Callable[[Recipe, Path, str], None]) -> Filed | None:
    """The files, opened; made by `make`, or as it does, where they are not there. One process makes them.

    Raises
    ------
    OSError
        Where they cannot be kept.
    """
    key, may_take_s = recipe.key, 1 + recipe.n_bytes() / _BYTES_A_SECOND
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root / ".lock", may_take_s):
        found = opened(root / key, recipe.layout, time.time_ns() // 1000)
        if found is None:
            logger.info(
                "The data folder is read for the first time as it is now; the next start does without. "
                "This may take %.0f s.",
                may_take_s,
            )
            how(recipe, root, key)
            found = opened(root / key, recipe.layout, 0)
        return found


def read(recipe: Recipe) -> tuple[Filed, int]:
    """The data folder from its tables, in memory, and until when that is right."""
    until_us = [_ALWAYS_US]

    def pieces() -> Iterator[Piece]:
        for piece in read_pieces(recipe.data, recipe.money):
            until_us.append(right_until_us(piece.quarantine))
            yield piece

    return Filed.of_pieces(pieces(), recipe.layout, recipe.uptake_days), min(until_us)


def opened(folder: Path, layout: Layout, now_us: int) -> Filed | None:
    """What a folder holds, mapped; None where it is not there, not whole, or not right any more.

    Checked are the manifest by its digest, and each file by its size, type and shape. That a disk gives back
    what was synced to it is taken for granted: to read every byte would take what mapping saves.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest.pop("digest") != _digest(manifest) or now_us >= manifest["right_until_us"]:
            return None
        arrays = {name: _mapped(folder, name, told) for name, told in manifest["arrays"].items()}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None
    return replace(Filed.from_parts(arrays, manifest["facts"], layout), folder=folder)


def forget(filed: Filed, number: int) -> None:
    """Overwrite the id and the rows of a user who was deleted; it is on disk when this returns.

    All who have the files mapped find nobody of that id from then on.
    """
    if filed.folder is not None:
        with suppress(FileNotFoundError):  # others were made since, of other columns
            _forget(filed, filed.folder, number)


def _forget(filed: Filed, folder: Path, number: int) -> None:
    ids = filed.user_ids.arrays()
    start, end = ids["offsets"][number : number + 2].tolist()
    place = int(np.flatnonzero(ids["numbers"] == number)[0])
    near = ids["hashes"][place - 1 if place else place]  # the hashes stay sorted
    _overwrite(folder, "ids.content", slice(start, end), 0)
    _overwrite(folder, "ids.hashes", place, near)
    _overwrite(folder, "users.joined_at_us", number, 0)
    _overwrite(folder, "users.attributes", number, np.nan)
    for log in LOGS:
        rows = getattr(filed.history, log).rows_of(number)
        for name in getattr(filed.history, log).arrays():
            if name not in ("user", "start"):
                _overwrite(folder, f"{log}.{name}", rows, 0)


def write(filed: Filed, root: Path, key: str, right_until_us: int = _ALWAYS_US) -> Path:
    """The folder `root/<key>`, whole and on disk. Those of other keys go; who has them mapped keeps them."""
    folder, beside = root / key, root / ".new"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    arrays = {name: _save(beside, name, array) for name, array in filed.arrays().items()}
    manifest = {"key": key, "right_until_us": right_until_us, "facts": filed.facts(), "arrays": arrays}
    (beside / MANIFEST).write_text(json.dumps({**manifest, "digest": _digest(manifest)}), encoding="utf-8")
    sync(beside / MANIFEST)
    sync(beside)
    for old in root.iterdir():
        if old.is_dir() and old != beside:
            shutil.rmtree(old, ignore_errors=True)
    beside.rename(folder)
    sync(root)
    return folder


def right_until_us(quarantine: pd.DataFrame) -> int:
    """When tables say more than what was made of them: a row that lies ahead is refused until then."""
    ahead = quarantine.loc[quarantine["rule"] == "not_future", "value"]
    if not len(ahead):
        return _ALWAYS_US
    times = pd.to_datetime(ahead, utc=True, errors="coerce", format="ISO8601")
    return 0 if times.isna().any() else int(times.min().timestamp() * 1e6)


def prepared_beside(state: Path) -> Path:
    """Where the files of a service stand."""
    return state.with_name("prepared")


def _save(folder: Path, name: str, array: NDArray) -> dict[str, Any]:
    file = folder / f"{name}.npy"
    np.save(file, array, allow_pickle=False)
    sync(file)
    return {"bytes": file.stat().st_size, "type": array.dtype.str, "shape": list(array.shape)}


def _mapped(folder: Path, name: str, told: Mapping[str, Any]) -> NDArray:
    file = folder / f"{name}.npy"
    if file.stat().st_size != told["bytes"]:
        raise ValueError(f"{file} must have {told['bytes']} bytes.")
    array = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))  # indexed sooner than a memmap
    if array.dtype.str != told["type"] or list(array.shape) != told["shape"]:
        raise ValueError(f"{file} must be of type {told['type']} and shape {told['shape']}.")
    return array


def _overwrite(folder: Path, name: str, where: int | slice, value: Any) -> None:
    array = np.load(folder / f"{name}.npy", mmap_mode="r+", allow_pickle=False)
    if array[where].size:
        array[where] = value
        array.flush()


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


@contextmanager
def _alone(lock: Path, may_take_s: float) -> Iterator[None]:
    """Waits until no other process makes files here."""
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info(
                "Another process reads the data folder as it is now; this one waits for what it makes. "
                "The next start does without. This may take %.0f s.",
                may_take_s,
            )
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _make_elsewhere(recipe: Recipe, root: Path, key: str) -> None:
    """Make the folder in a process of its own; it ends when this one does."""
    with start_child("serving.prepared", {}, subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            told = {"recipe": recipe.to_json(), "root": str(root.resolve()), "key": key}
            with suppress(BrokenPipeError):  # it ended already: its exit code tells
                process.stdin.write(json.dumps(told).encode() + b"\n")
            said = process.stdout.read()
        except BaseException:
            process.kill()
            raise
    fault = json.loads(said) if said else {}
    if fault:
        raise {"TableError": TableError, "OSError": OSError}.get(fault["type"], RuntimeError)(
            fault["message"]
        )
    if process.returncode:
        how = signal.Signals(-process.returncode).name if process.returncode < 0 else process.returncode
        raise RuntimeError(
            f"the process that reads {recipe.data} ended ({how}) before it was done. "
            "It may have lacked memory: free some, and start again."
        )


def make(recipe: Recipe, root: Path, key: str) -> None:
    """Make the folder in this process."""
    filed, until_us = read(recipe)
    write(filed, root, key, until_us)


def main() -> None:
    """Make what a line on standard input tells; say on standard output what went wrong, as JSON."""
    told = json.loads(sys.stdin.buffer.readline())
    end_with_parent()
    try:
        make(Recipe.from_json(told["recipe"]), Path(told["root"]), told["key"])
    except Exception as error:
        kind = next((one for one in (TableError, OSError) if isinstance(error, one)), type(error))
        sys.stdout.write(json.dumps({"type": kind.__name__, "message": str(error) or kind.__name__}))
        sys.stdout.flush()
    os._exit(0)  # the thread sits in a read that an orderly end would wait for


if __name__ == "__main__":
    main()
