"""Sound bundles damaged in every way in which a disk, a copy or a hand damages them."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from training.bundle_files import MANIFEST, check_seal, seal


def flip_a_bit(content: bytes, rng: np.random.Generator) -> bytes:
    position = rng.integers(len(content))
    return content[:position] + bytes([content[position] ^ 1 << rng.integers(8)]) + content[position + 1 :]


def change_a_digit(content: bytes, rng: np.random.Generator) -> bytes:
    position = rng.choice([at for at, byte in enumerate(content) if chr(byte).isdigit()])
    return content[:position] + bytes([48 + (content[position] - 47) % 10]) + content[position + 1 :]


def drop_a_line(content: bytes, rng: np.random.Generator) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(np.delete(np.array(lines, object), rng.integers(len(lines))))


def truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content))]


def zero_a_stretch(content: bytes, rng: np.random.Generator) -> bytes:
    start = rng.integers(len(content) // 2)
    return content[:start] + bytes(len(content) // 4) + content[start + len(content) // 4 :]


DAMAGES = [flip_a_bit, change_a_digit, drop_a_line, truncate, zero_a_stretch]


def resealed(written: Path, root: Path, edit: Callable[[Path, dict], None]) -> Path:
    """The bundle with a change to its files or facts, and hashes that agree with it."""

    def fill(folder: Path) -> dict:
        shutil.copytree(written, folder, dirs_exist_ok=True)
        facts = check_seal(written)
        del facts["files"]
        (folder / "manifest.json").unlink()
        edit(folder, facts)
        return facts

    return seal(root, fill)


def damaged_bundles(
    sound: Path, other: Path, root: Path, n: int, rng: np.random.Generator
) -> Iterator[tuple[str, Path]]:
    """So many copies of a bundle below ``root``, each damaged, with the kind of damage; all kinds in turn.

    ``other`` is a bundle whose manifest may get into the folder of this one.
    """
    for number in range(n):
        folder = Path(shutil.copytree(sound, root / f"damaged{number}" / sound.name))
        kind = number % (len(DAMAGES) + len(_OF_MANIFESTS))
        if kind < len(DAMAGES):
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            file = files[rng.integers(len(files))]
            file.write_bytes(DAMAGES[kind](file.read_bytes(), rng))
            yield DAMAGES[kind].__name__, folder
        else:
            change = _OF_MANIFESTS[kind - len(DAMAGES)]
            yield change.__name__, _signed(folder, change(folder, other, rng))


def _signed(folder: Path, manifest: dict[str, Any]) -> Path:
    """The folder with another manifest, and a name that agrees with it."""
    content = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(content)
    return folder.rename(folder.with_name(hashlib.sha256(content).hexdigest()[:16]))


def manifest_of_another(folder: Path, other: Path, rng: np.random.Generator) -> dict[str, Any]:
    """That of a bundle with the same names of files and other contents."""
    manifest = _manifest(other)
    manifest["files"] = {name: digest[::-1] for name, digest in manifest["files"].items()}
    return manifest


def one_wrong_hash(folder: Path, other: Path, rng: np.random.Generator) -> dict[str, Any]:
    manifest = _manifest(folder)
    name = rng.choice(sorted(manifest["files"]))
    manifest["files"][name] = hashlib.sha256(manifest["files"][name].encode()).hexdigest()
    return manifest


def file_not_listed(folder: Path, other: Path, rng: np.random.Generator) -> dict[str, Any]:
    manifest = _manifest(folder)
    del manifest["files"][rng.choice(sorted(manifest["files"]))]
    return manifest


def facts_of_no_use(folder: Path, other: Path, rng: np.random.Generator) -> dict[str, Any]:
    """One of the facts is lacking or of another kind, and all hashes agree with that."""
    manifest = _manifest(folder)
    fact = rng.choice(["format", "columns", "layout", "tiers", "catalog", "settings", "training", "golden"])
    if rng.random() < 0.5:
        del manifest[fact]
    else:
        manifest[fact] = [17, "", [], [{}]][rng.integers(4)]
    return manifest


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    return found


_OF_MANIFESTS = [manifest_of_another, one_wrong_hash, file_not_listed, facts_of_no_use]
