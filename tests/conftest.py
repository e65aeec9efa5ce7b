"""Fixtures of all tests."""

import gc
import os

# Before numpy is imported: several workers share the processors, and each computes on one of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
import tempfile
from pathlib import Path

# A program that a test starts imports some thousand modules of others. Where Python is told to keep no bytecode, and
# none was made when they were installed (as by uv), it would compile them each time, for 10 s: here it is kept, apart.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    kept = Path(tempfile.gettempdir()) / "stxm-rixs-beamline" / "__pycache__"
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(kept))
    sys.dont_write_bytecode, sys.pycache_prefix = False, os.environ["PYTHONPYCACHEPREFIX"]

import pytest

from beamline.endstation.config import ChannelAccess
from simulated_devices.ports import free_port

# EPICS reads where to look when it is first used, once a process: each worker has a port of its own for its IOCs.
os.environ |= ChannelAccess(port=free_port()).environment()


# The garbage collector took a twelfth of all the time: most of it to look again and again at a thousand modules, which
# are imported now, as tests are collected.
gc.disable()
gc.set_threshold(20_000, 20, 20)


def pytest_configure(config: pytest.Config) -> None:
    """Leave out what is marked as long, unless marks or single tests are asked for."""
    if not config.option.markexpr and not any("::" in asked for asked in config.args):
        config.option.markexpr = "not long"


def pytest_collection_finish() -> None:
    """Let the garbage collector begin, but leave alone what is there by now."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def measured_data() -> Path:
    """Folder of the measured data, beside the project; it is not part of it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"the measured data are not at {folder}; CI must run their tests")
        pytest.skip(f"the measured data are not at {folder}")
    return folder


@pytest.fixture
def small_disk(tmp_path_factory):
    """A file system of 3 MB."""
    folder = tmp_path_factory.mktemp("small")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server; one for each worker that needs it."""
    from postgres import Cluster, programs

    if programs() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed; CI must run its tests")
        pytest.skip("PostgreSQL is not installed")
    cluster = Cluster()
    yield cluster
    cluster.close()
