"""Fixtures that several rooms share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder of public data sets beside the checkout; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PERKWISE_PUBLIC_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"public data sets are not at {folder}; set PERKWISE_PUBLIC_DATA to their folder")
    return folder
