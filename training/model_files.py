"""A model on disk: one JSON file and one text file for each booster, no pickle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_model(folder: Path, name: str, state: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    """Write `<name>.json` and a `.txt` for each booster; the folder is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for booster, text in texts.items():
        (folder / f"{booster}.txt").write_text(text, encoding="utf-8", newline="\n")
    body = json.dumps({**state, "boosters": sorted(texts)}, indent=1, allow_nan=False)
    (folder / f"{name}.json").write_text(body + "\n", encoding="utf-8", newline="\n")


def read_model(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The state and the boosters' texts that `write_model` wrote.

    A damaged text can kill the process that parses it: check the files' hashes first.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {folder} holds no saved {name} model.")
    state = json.loads(path.read_text(encoding="utf-8"))
    return state, {
        booster: (folder / f"{booster}.txt").read_text(encoding="utf-8") for booster in state["boosters"]
    }
