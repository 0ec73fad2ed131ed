"""A bundle as files: named by the hash of its content, whole or not there, checked before it is parsed."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

MANIFEST = "manifest.json"
_HASH_LENGTH = 16  # hexadecimal digits of the folder's name: enough against accidents


class BundleError(ValueError):
    """A bundle that cannot be trusted; the message says which, why, and what to do."""


def seal(root: Path, fill: Callable[[Path], Mapping[str, Any]]) -> Path:
    """A new folder `root/<hash>` with the files that `fill` writes and a manifest of the facts it returns.

    The manifest lists the sha256 of each file, and the folder's name is the sha256 of the manifest: the
    same content has the same name. The folder appears by one rename after all of it is on disk. Where the
    same content is there already, that is returned; where it is there damaged, it is replaced.
    """
    return _appear(root, lambda folder: _fill_and_sign(folder, fill))


def copy_sealed(folder: Path, root: Path) -> Path:
    """The copy `root/<hash>` of a sealed folder, made and checked as carefully as the original."""
    check_seal(folder)
    copy = _appear(root, lambda temporary: _copy(folder, temporary))
    check_seal(copy)
    return copy


def check_seal(folder: Path) -> dict[str, Any]:
    """The manifest of a folder whose files are, to the byte, those that were written.

    Raises
    ------
    BundleError
        If the folder is not there, was renamed, or holds a file that is missing, damaged or too many.
    """
    manifest_path = folder / MANIFEST
    if not manifest_path.is_file():
        raise BundleError(f"there is no bundle at {folder}: a folder with a {MANIFEST} was expected.")
    content = manifest_path.read_bytes()
    if _hash(content) != folder.name:
        raise BundleError(
            f"{manifest_path} is damaged: its hash is {_hash(content)}, the folder's name {folder.name}. "
            "Copy the bundle anew (and keep the folder's name), or train again."
        )
    manifest = _parse(manifest_path, content)
    _check_files(folder, manifest["files"])
    return manifest


def sync(path: Path) -> None:
    """Returns when the file, or the list of names in the folder, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _appear(root: Path, fill: Callable[[Path], str]) -> Path:
    """`fill` writes to a temporary folder beside the final one and returns the final name."""
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f".writing-{uuid4().hex}"
    temporary.mkdir()
    try:
        final = root / fill(temporary)
        if not _is_whole(final):
            shutil.rmtree(final, ignore_errors=True)
            for path in [*temporary.rglob("*"), temporary]:
                sync(path)
            temporary.rename(final)
            sync(root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def _fill_and_sign(folder: Path, fill: Callable[[Path], Mapping[str, Any]]) -> str:
    facts = fill(folder)
    files = {name: _sha256(folder / name) for name in sorted(_files(folder))}
    manifest = {**facts, "files": files}
    content = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    (folder / MANIFEST).write_bytes(content)
    return _hash(content)


def _copy(source: Path, temporary: Path) -> str:
    shutil.copytree(source, temporary, dirs_exist_ok=True)
    return source.name


def _is_whole(folder: Path) -> bool:
    try:
        check_seal(folder)
    except BundleError:
        return False
    return True


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise BundleError(f"{path} is not JSON: {error}.") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise BundleError(f"{path} must be an object that lists the bundle's 'files' with their sha256.")
    return manifest


def _check_files(folder: Path, expected: Mapping[str, str]) -> None:
    found = _files(folder) - {MANIFEST}
    missing, extra = sorted(expected.keys() - found), sorted(found - expected.keys())
    damaged = [name for name in sorted(expected.keys() & found) if _sha256(folder / name) != expected[name]]
    faults = [
        f"{names} {fault}"
        for names, fault in (
            (missing, "missing"),
            (extra, "not of the bundle"),
            (damaged, "damaged (sha256 differs from the manifest's)"),
        )
        if names
    ]
    if faults:
        raise BundleError(
            f"the bundle {folder} is not as it was written: {'; '.join(faults)}. "
            "Copy the bundle anew, or train again."
        )


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_HASH_LENGTH]
