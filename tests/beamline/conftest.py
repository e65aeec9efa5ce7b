"""Fixtures of the tests of storage."""

import shutil

import pytest
from store import Store

from beamline.catalog import open_catalog


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
