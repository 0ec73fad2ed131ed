"""Which bundle is served: `champion`, a link that moves by one rename and remembers its predecessors.

    var/bundles/<hash>/          the bundles
    var/champions/0001 …         a link to each champion there was, in order
    var/champion                 a link to the one of them that is served

Promotion adds a step and moves `champion` up to it, rollback moves it one step down. Whatever moment the
machine stops, `champion` names the old bundle or the new one, whole.
"""

import os
from pathlib import Path
from uuid import uuid4

from training.bundle_files import BundleError, check_seal, copy_sealed, sync


def read_champion(var: Path) -> Path:
    """The folder of the bundle that is served; read it with `read_bundle`.

    Raises
    ------
    BundleError
        If there is none yet, or its bundle is gone.
    """
    link = var / "champion"
    if not link.is_symlink():
        raise _no_champion(link)
    bundle = link.resolve()
    if not bundle.is_dir():
        raise BundleError(
            f"the champion at {link} leads to {bundle}, where no bundle is. Copy it there again (MLflow "
            "keeps one with its run), or remove the link and promote a run: perkwise promote RUN."
        )
    return bundle


def earlier_champions(var: Path) -> list[Path]:
    """The bundles of the champions before this one that are still there, the latest first."""
    try:
        step = _step(var)
    except BundleError:
        return []
    folders = [(var / "champions" / f"{earlier:04d}").resolve() for earlier in range(step - 1, 0, -1)]
    return [folder for folder in folders if folder.is_dir()]


def install_champion(folder: Path, var: Path) -> Path:
    """Serve a copy of this bundle from now on; returns the copy.

    The files are checked, the models are not: read the bundle with `training.bundle.read_bundle` first.

    Raises
    ------
    BundleError
        If the bundle is not as it was written; the champion stays who it was.
    """
    bundle = copy_sealed(folder, var / "bundles")
    step = _step(var)
    if step == 0 or read_champion(var) != bundle.resolve():
        _link(var / "champions" / f"{step + 1:04d}", f"../bundles/{bundle.name}")
        _link(var / "champion", f"champions/{step + 1:04d}")
    return bundle


def keep_bundle(folder: Path, var: Path) -> Path:
    """The place of a bundle below ``var/bundles``, copied there where it is not; nothing there is removed.

    What decides must be found again when its decisions are replayed.

    Raises
    ------
    BundleError
        If the bundle is not as it was written.
    """
    there = var / "bundles" / folder.resolve().name
    return there if there.resolve() == folder.resolve() else copy_sealed(folder.resolve(), var / "bundles")


def rollback_champion(var: Path) -> Path:
    """Serve the champion before this one again, byte for byte; returns its folder.

    Raises
    ------
    BundleError
        If there is no earlier champion, or its bundle is not as it was written; then nothing changes.
    """
    link, step = var / "champion", _step(var)
    if step == 0:
        raise _no_champion(link)
    if step == 1:
        raise BundleError(f"there is no champion before the first one ({link.resolve().name}).")
    previous = (var / "champions" / f"{step - 1:04d}").resolve()
    check_seal(previous)
    _link(var / "champion", f"champions/{step - 1:04d}")
    return previous


def _no_champion(link: Path) -> BundleError:
    return BundleError(
        f"there is no champion at {link}. Train and promote first: perkwise train DATA; perkwise promote RUN."
    )


def _step(var: Path) -> int:
    """Where on the ladder the champion stands; 0: there is none yet."""
    link = var / "champion"
    if not link.is_symlink():
        return 0
    step = Path(os.readlink(link)).name
    if not step.isdecimal():
        raise BundleError(
            f"{link} must lead to a step such as champions/0001, found {os.readlink(link)}. "
            "Remove the link and promote a run: perkwise promote RUN."
        )
    return int(step)


def _link(link: Path, target: str) -> None:
    """A symbolic link that replaces the one of this name, if any, by one rename."""
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}-{uuid4().hex}")
    temporary.symlink_to(target)
    temporary.replace(link)
    sync(link.parent)
