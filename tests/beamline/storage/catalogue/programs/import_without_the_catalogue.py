"""Import what an engine needs of storage, and print which packages of the catalogue were imported with it."""

import sys

import beamline.processes.followers
import beamline.storage.catalogue.documents
import beamline.storage.catalogue.find
import beamline.storage.catalogue.recovery
import beamline.storage.large_arrays
import beamline.storage.recorder  # noqa: F401

print([name for name in ("tiled", "pandas", "dask", "bluesky_tiled_plugins") if name in sys.modules])
