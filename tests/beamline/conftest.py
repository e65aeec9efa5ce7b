"""Fixtures of the tests of `beamline`: a data folder with a catalogue, and a small disk."""

import subprocess

import pytest
from store import Store

from beamline.storage.catalogue.embedded import create_catalogue


@pytest.fixture
def store(tmp_path):
    create_catalogue(tmp_path)  # the program that fills it would take its time to do so
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
