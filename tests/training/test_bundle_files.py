"""A sealed folder is whole or not there, and damage of any kind is seen before anything is parsed."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from training.bundle_files import BundleError, check_seal, copy_sealed, seal

FILES = {"uptake/model.txt": b"tree\nleaf_value=0.25 0.75\n" * 40, "uptake/model.json": b'{"rate": 0.5}'}


def fill(folder: Path) -> dict:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return {"format": 1, "name": "茶"}


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    return seal(tmp_path / "bundles", fill)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_manifest_lists_each_file_and_names_the_folder(sealed):
    manifest = check_seal(sealed)
    assert (manifest["format"], manifest["name"]) == (1, "茶")
    assert manifest["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    assert sealed.name == hashlib.sha256((sealed / "manifest.json").read_bytes()).hexdigest()[:16]
    assert list(sealed.parent.iterdir()) == [sealed]


def test_the_same_content_has_the_same_name_and_bytes(sealed, tmp_path):
    again = seal(tmp_path / "elsewhere", fill)
    assert again.name == sealed.name
    assert bytes_of(again) == bytes_of(sealed)


def test_content_that_is_there_is_not_written_again(sealed):
    before = (sealed / "manifest.json").stat().st_ino
    assert seal(sealed.parent, fill) == sealed
    assert (sealed / "manifest.json").stat().st_ino == before


def test_content_that_is_there_damaged_is_replaced(sealed):
    (sealed / "uptake/model.txt").write_bytes(b"tr")
    assert seal(sealed.parent, fill) == sealed
    assert check_seal(sealed)["name"] == "茶"


def test_an_error_while_writing_leaves_nothing(tmp_path):
    def break_off(folder: Path) -> dict:
        fill(folder)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        seal(tmp_path / "bundles", break_off)
    assert list((tmp_path / "bundles").iterdir()) == []


def test_a_copy_has_the_same_bytes(sealed, tmp_path):
    copy = copy_sealed(sealed, tmp_path / "copies")
    assert copy.name == sealed.name
    assert bytes_of(copy) == bytes_of(sealed)


def test_a_damaged_folder_is_not_copied(sealed, tmp_path):
    (sealed / "uptake/model.json").unlink()
    with pytest.raises(BundleError):
        copy_sealed(sealed, tmp_path / "copies")
    assert not (tmp_path / "copies").exists()


def test_every_flipped_bit_is_seen(sealed):
    rng = np.random.default_rng(1)
    for name, content in bytes_of(sealed).items():
        for _ in range(30):
            damaged = bytearray(content)
            damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
            (sealed / name).write_bytes(damaged)
            with pytest.raises(BundleError, match="damaged"):
                check_seal(sealed)
        (sealed / name).write_bytes(content)
    check_seal(sealed)


def test_missing_extra_and_damaged_files_are_told_at_once(sealed):
    (sealed / "uptake/model.json").unlink()
    (sealed / "uptake/model.txt").write_bytes(b"")
    (sealed / "notes.txt").touch()
    with pytest.raises(
        BundleError,
        match=r"\['uptake/model.json'\] missing; \['notes.txt'\] not of the bundle; "
        r"\['uptake/model.txt'\] damaged \(sha256 differs",
    ):
        check_seal(sealed)


def test_a_renamed_folder_is_refused(sealed):
    with pytest.raises(BundleError, match=r"its hash is [0-9a-f]{16}, the folder's name best\. Copy"):
        check_seal(sealed.rename(sealed.parent / "best"))


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_folder_without_a_manifest_is_no_bundle(tmp_path, folder):
    with pytest.raises(BundleError, match=r"there is no bundle at .*: a folder with a manifest\.json"):
        check_seal(tmp_path / folder)


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"files": {', "is not JSON: "),
        (b"\xff\xfe", "is not JSON: "),
        (b"[]", "must be an object that lists"),
        (b'{"files": ["model.txt"]}', "must be an object that lists"),
    ],
)
def test_a_manifest_that_was_written_wrong_is_refused(tmp_path, content, message):
    folder = tmp_path / hashlib.sha256(content).hexdigest()[:16]
    folder.mkdir()
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=message):
        check_seal(folder)


def test_everything_is_on_disk_before_the_folder_appears(tmp_path, monkeypatch):
    steps: list[Path | str] = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda file: (steps.append(path_of(file)), fsync(file)))
    monkeypatch.setattr(os, "rename", lambda *names: (steps.append("rename"), rename(*names)))

    sealed = seal(tmp_path / "bundles", fill)

    *synced, temporary = steps[: steps.index("rename")]
    assert {path.relative_to(temporary) for path in synced} == {
        path.relative_to(sealed) for path in sealed.rglob("*")
    }
    assert steps[steps.index("rename") + 1 :] == [tmp_path / "bundles"]


def path_of(descriptor: int) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
