"""The project that a command works in: its folder, its settings, its bundles and its files."""

import os
import tomllib
from pathlib import Path

from offers.settings import Settings, parse_settings

ROOT = Path(__file__).parent.parent  # the folder of perkwise.py


def home() -> Path:
    """The folder of perkwise.toml, var/ and mlruns/."""
    return Path(os.environ.get("PERKWISE_HOME", ROOT)).resolve()


def audit_file() -> Path:
    """Where shifts of demand are declared, one a line."""
    return home() / "var" / "budget-audit.jsonl"


def read_settings(data: Path | None = None, further: Path | None = None) -> Settings:
    """The project's perkwise.toml, overridden key by key by the data folder's own, and by a further file."""
    files = [home() / "perkwise.toml"] + ([data / "perkwise.toml"] if data else [])
    files += [further] if further else []
    layers = []
    for file in files:
        if file.is_file():
            try:
                layers.append(tomllib.loads(file.read_text(encoding="utf-8-sig")))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise ValueError(f"{file} must be TOML, got: {error}.") from error
    return parse_settings(*layers)


def database_at(state: Path | None) -> Path | str:
    """The service's database: a file that is named, else what perkwise.toml names, else var/state.db."""
    return state or read_settings().serving.database or home() / "var" / "state.db"


def find_bundle(name: str | None) -> Path:
    """A bundle by its folder, by the beginning of its hash, or the champion."""
    from training.champion import read_champion

    if name is None:
        return read_champion(home() / "var")
    if name and Path(name).is_dir():
        return Path(name)
    bundles = sorted((home() / "var" / "bundles").glob("[!.]*"))  # with a dot: not written to its end
    found = [path for path in bundles if path.name.startswith(name)]
    if len(found) != 1:
        known = ", ".join(path.name for path in bundles) or "none; train first"
        raise ValueError(
            f"--bundle must be a bundle's folder or begin one hash, got {name!r}; known are {known}."
        )
    return found[0]
