"""Fixtures of all tests."""

import os

# Before numpy is imported: several workers share the processors, and each computes on one of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

from beamline.endstation.config import ChannelAccess
from simulated_devices.ports import free_port

# EPICS reads where to look when it is first used, once a process: each worker has a port of its own for its IOCs.
os.environ |= ChannelAccess(port=free_port()).environment()


@pytest.fixture(scope="session")
def measured_data() -> Path:
    """Folder of the measured data, beside the project; it is not part of it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"the measured data are not at {folder}; CI must run their tests")
        pytest.skip(f"the measured data are not at {folder}")
    return folder
