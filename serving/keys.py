"""Who may ask: API keys, kept as keyed hashes in a file, added and revoked while the service runs."""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

PREFIX = "pwk_"  # so that a key that leaked is recognised by those who search for such

_LOOKED_AT_EVERY_S = 0.5
_NAME = "A name has 1 to 100 characters that can be printed."


@dataclass(frozen=True)
class Key:
    """A key as it is known here: all but the key itself."""

    name: str
    hash: str
    read_only: bool
    added_at: str  # ISO 8601, UTC


class KeyFile:
    """The file of keys, of mode 0600; a key is random, so that one keyed hash hides it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, name: str, read_only: bool, now: datetime) -> str:
        """A new key, which is told this once.

        Raises
        ------
        ValueError
            Where the name is taken or no name.
        """
        if not 1 <= len(name) <= 100 or not name.isprintable():
            raise ValueError(f"the name of a key cannot be {name[:100]!r}. {_NAME}")
        key = PREFIX + secrets.token_urlsafe(32)
        with self._changing() as (salt, keys):
            if name in keys:
                raise ValueError(
                    f"there is a key {name!r} already: take another name, or revoke it first with: "
                    f"perkwise keys revoke {name}"
                )
            keys[name] = Key(name, key_hash(key, salt), read_only, now.isoformat(timespec="seconds"))
        return key

    def revoke(self, name: str) -> None:
        """From now on the key opens nothing; a running service learns it within a second.

        Raises
        ------
        LookupError
            Where there is no key of this name.
        """
        with self._changing() as (_, keys):
            if name not in keys:
                known = ", ".join(keys) or "none"
                raise LookupError(f"there is no key {name!r}; known are {known}. See: perkwise keys list")
            del keys[name]

    def read(self) -> tuple[bytes, dict[str, Key]]:
        """The salt and the keys by their names; of a file that is not there, no keys.

        Raises
        ------
        ValueError
            Where the file is none that this class wrote.
        """
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            return bytes.fromhex(found["salt"]), {one["name"]: Key(**one) for one in found["keys"]}
        except FileNotFoundError:
            return secrets.token_bytes(32), {}
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{self.path} must be a file of keys, got {type(error).__name__}. Put a copy of it back, or "
                "move it away and add the keys anew with: perkwise keys add NAME"
            ) from error

    @contextmanager
    def _changing(self) -> Iterator[tuple[bytes, dict[str, Key]]]:
        """The keys, to be changed in place; written by one rename, one change after the other."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_name(f".{self.path.name}.lock"), "w", opener=_private) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            salt, keys = self.read()
            yield salt, keys
            self._write({"salt": salt.hex(), "keys": [asdict(key) for key in keys.values()]})

    def _write(self, content: Mapping[str, Any]) -> None:
        beside = self.path.with_name(f".{self.path.name}.new")
        with open(beside, "w", encoding="utf-8", opener=_private) as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)


def beside(state: Path) -> KeyFile:
    """The file of keys that belongs to a state database."""
    return KeyFile(state.with_name("keys.json"))


class Keys:
    """The keys as a running service knows them: looked up at each request, read again when the file changes.

    Where a change of the file cannot be read, the keys of before hold, and ``fault`` says why.

    Parameters
    ----------
    required : bool
        Refuse whoever brings no key, even where there are none. Once a key was there, keys are required.
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, file: KeyFile, required: bool, clock: Callable[[], float]) -> None:
        self.fault = ""
        self._file, self._clock = file, clock
        self._seen = self._stamp()
        self._salt, self._keys = file.read()
        self._required = required or bool(self._keys)
        self._look_at = clock() + _LOOKED_AT_EVERY_S

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def required(self) -> bool:
        """Must whoever asks bring a key?"""
        if self._clock() >= self._look_at:
            self._look_again()
        return self._required

    def find(self, presented: str) -> Key | None:
        """The key that was presented, or None; takes as long whichever it is, and if it is none."""
        hashed = key_hash(presented, self._salt)
        found = None
        for key in self._keys.values():
            if hmac.compare_digest(key.hash, hashed):
                found = key
        return found

    def _look_again(self) -> None:
        self._look_at = self._clock() + _LOOKED_AT_EVERY_S
        stamp = self._stamp()
        if stamp == self._seen:
            return
        try:
            salt, keys = self._file.read()
        except (ValueError, OSError) as error:
            self.fault = str(error)
            return
        self._salt, self._keys, self._seen, self.fault = salt, keys, stamp, ""
        self._required = self._required or bool(keys)

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = self._file.path.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_size, found.st_ino)


def key_hash(key: str, salt: bytes) -> str:
    """What is kept of a key."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), key=salt, digest_size=32).hexdigest()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
