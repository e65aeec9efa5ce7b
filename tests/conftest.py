"""Fixtures of all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def measured_data() -> Path:
    """Folder of the measured data, beside the project; it is not part of it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"the measured data are not at {folder}; CI must run their tests")
        pytest.skip(f"the measured data are not at {folder}")
    return folder
