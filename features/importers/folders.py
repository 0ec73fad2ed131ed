"""What every importer does with folders: find a file in its source, write a data folder with its settings."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from features.tables import write_table


def find_file(source: Path, pattern: str, suffixes: tuple[str, ...]) -> Path:
    """The file that `source` is, or the one in the folder `source` whose name fits.

    Parameters
    ----------
    pattern : str
        A glob of the name without its suffixes; of several that fit, the first of the first suffix counts.

    Raises
    ------
    ValueError
        When there is no such file.
    """
    if source.is_file():
        return source
    found = [path for suffix in suffixes for path in sorted(source.glob(f"{pattern}{suffix}"))]
    if not found:
        expected = ", ".join(f"{pattern}{suffix}" for suffix in suffixes)
        there = sorted(path.name for path in source.iterdir()) if source.is_dir() else []
        raise ValueError(
            f"{source} must hold one of {expected}, found {', '.join(there) or 'nothing'}: "
            "give the file or the folder it lies in."
        )
    return found[0]


def write_data_folder(out: Path, tables: Mapping[str, pd.DataFrame], settings: str) -> None:
    """Write each table as Parquet, and `settings` as the perkwise.toml that overrides the project's."""
    for name, frame in tables.items():
        write_table(out, name, frame)
    (out / "perkwise.toml").write_text(settings, encoding="utf-8")
