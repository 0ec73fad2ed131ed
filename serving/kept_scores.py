"""Profiles and estimates of all users, made beforehand and kept in a file from which all workers read.

A request then reads one row where it would compute a profile and walk every tree. A row is of use while
nothing came in about its user since and while it is young enough, for time moves a profile too; whoever
has none is scored when he asks. Rows are checked one by one when they are read: a damaged one is no row.

The file is filled by a process of its own (``serving.fill_scores``) and appears by one rename. Rows are read,
not mapped: whoever maps the file holds, with each row that is asked for, the neighbours that the system maps
along with it, more than a gigabyte of a million users.
"""

import hashlib
import json
import os
import weakref
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.contract.reading import table_files
from features.tables import TABLES
from serving.state import Profile
from training.bundle import Bundle

FORMAT = 1
ROWS, MANIFEST = "rows.npy", "manifest.json"
NEVER = -1  # in place of a number of live rows: the row is of no use
_CHECK_BYTES = 4


class KeptRow(NamedTuple):
    """What is kept of one user."""

    profile: Profile
    uptake: NDArray[np.float64]  # (n_services,)
    uplift_margin: NDArray[np.float64]  # (n_services,)


class KeptScores:
    """The rows of a file.

    Parameters
    ----------
    folder : Path
        ``fill`` made it.
    bundle : Bundle
        By which the rows were scored.

    Attributes
    ----------
    averages : dict
        Uptake and uplift in margin of an average user of each tier, each of shape (n_services,).

    Raises
    ------
    ValueError
        Where the folder is none that ``fill`` made for this bundle.
    """

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
            rows = np.load(folder / ROWS, mmap_mode="r")
            self.as_of_us, of_bundle = int(manifest["as_of_us"]), manifest["bundle"]
            self.averages = {
                tier: (np.array(uptake), np.array(uplift))
                for tier, (uptake, uplift) in manifest["averages"].items()
            }
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{folder} must hold kept scores, got {type(error).__name__}.") from error
        if of_bundle != bundle.hash or rows.dtype != row_type(bundle) or rows.ndim != 1:
            raise ValueError(f"{folder} must hold the scores of the bundle {bundle.hash}, got others.")
        self.folder, self._type, self._n_users = folder, rows.dtype, len(rows)
        self._tiers, self._begin = bundle.tiers.names, rows.offset
        self._file = os.open(folder / ROWS, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return self._n_users

    def row(self, number: int, n_live_rows: int) -> KeptRow | None:
        """What is kept of a user; None where it is of no use.

        Parameters
        ----------
        number : int
            Of the user, in the order of the data folder.
        n_live_rows : int
            How many rows came in about the user so far.
        """
        content, found = self._read(number)
        return self._sound(content, found) if int(found["n_live_rows"]) == n_live_rows else None

    def last_row(self, number: int) -> KeptRow | None:
        """What was kept of a user, though it may be out of date; None where nothing sound is."""
        return self._sound(*self._read(number))

    def _read(self, number: int) -> tuple[bytes, Any]:
        size = self._type.itemsize
        content = os.pread(self._file, size, self._begin + number * size)
        content = content.ljust(size, b"\0")  # of a file that was cut: no sound row
        return content, np.frombuffer(content, self._type)[0]

    def _sound(self, content: bytes, found: Any) -> KeptRow | None:
        if int(found["check"]) != check_of(content):
            return None
        profile = Profile(found["features"], self._tiers[int(found["tier"])], int(found["as_of_us"]))
        return KeptRow(profile, found["uptake"], found["uplift_margin"])

    def forget(self, number: int) -> None:
        """Overwrite what is kept of a user, on disk when this returns; nothing where the file is gone."""
        try:
            rows = np.load(self.folder / ROWS, mmap_mode="r+")
        except FileNotFoundError:  # younger scores have replaced it
            return
        rows[number] = np.zeros((), rows.dtype)
        rows.flush()


def newest(root: Path, key: str, bundle: Bundle, n_users: int) -> KeptScores | None:
    """The youngest scores of a key that can be read; None where there are none."""
    for folder in sorted(root.glob(f"{key}-*"), reverse=True):
        try:
            found = KeptScores(folder, bundle)
        except ValueError:
            continue
        if len(found) == n_users:
            return found
    return None


def scores_beside(state: Path) -> Path:
    """Where the scores of a service stand."""
    return state.with_name("scores")


def key_of(data: Path, bundle: Bundle) -> str:
    """What scores are of: a bundle, and a data folder as it is by the names, sizes and times of its tables.

    The times stand for the content, for the tables of a large shop take minutes to read.
    """
    files = [file for name in sorted(TABLES) for file in table_files(data, name)]
    told = [(str(file.relative_to(data)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    digest = hashlib.sha256(json.dumps([FORMAT, bundle.hash, told]).encode()).hexdigest()
    return f"{bundle.hash}-{digest[:16]}"


def check_of(content: bytes) -> int:
    """Of a row less its check, which stands at its end."""
    return zlib.crc32(content[:-_CHECK_BYTES], 1)  # not 0 of zeros


def row_type(bundle: Bundle) -> np.dtype[Any]:
    n_services, n_columns = len(bundle.catalog), len(bundle.layout.columns)
    return np.dtype(
        [
            ("uptake", "<f8", (n_services,)),
            ("uplift_margin", "<f8", (n_services,)),
            ("as_of_us", "<i8"),
            ("features", "<f4", (n_columns,)),
            ("tier", "<i4"),
            ("n_live_rows", "<i4"),
            ("check", "<u4"),
        ]
    )
