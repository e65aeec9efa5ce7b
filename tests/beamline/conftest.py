"""Fixtures of the tests of `beamline`: a data folder with a catalogue."""

import pytest
from store import Store

from beamline.storage.catalogue.embedded import create_catalogue


@pytest.fixture
def store(tmp_path):
    create_catalogue(tmp_path)  # the program that fills it would take its time to do so
    return Store(tmp_path)
