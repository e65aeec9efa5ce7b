"""The databroker catalogue of a data folder: filled from the logs by a process of its own, searched, and recovered.

Importing this room is cheap. Tiled and databroker, which take seconds, are imported when a catalogue is opened.
Documents are replayed by `beamline.storage.catalogue.documents`; what fills it is `beamline.storage.catalogue.ingest`.
"""

from beamline.storage.catalogue.errors import CatalogueError, DamagedCatalogueError
from beamline.storage.catalogue.find import RunNotFoundError, derived_of, derived_runs, open_catalog, resolve_run
from beamline.storage.catalogue.recovery import RecoveredRun, Recovery, recover

__all__ = [
    "CatalogueError",
    "DamagedCatalogueError",
    "RecoveredRun",
    "Recovery",
    "RunNotFoundError",
    "derived_of",
    "derived_runs",
    "open_catalog",
    "recover",
    "resolve_run",
]
