"""Fixtures of the tests of `beamline`: a catalogue copied from an empty one, and a small disk."""

import shutil
import subprocess

import pytest
from store import Store

from beamline.storage.catalogue.find import open_catalog


@pytest.fixture(scope="session")
def empty_catalogue(tmp_path_factory):
    """An empty catalogue, to be copied: to create one takes seconds."""
    data_dir = tmp_path_factory.mktemp("empty")
    open_catalog(data_dir)
    return data_dir / "catalog"


@pytest.fixture
def store(tmp_path, empty_catalogue):
    shutil.copytree(empty_catalogue, tmp_path / "catalog")
    return Store(tmp_path)


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
