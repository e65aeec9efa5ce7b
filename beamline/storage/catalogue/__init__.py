"""The databroker catalogue of a data folder: filled from the logs by a process of its own, searched, and recovered.

Importing this room is cheap. Tiled and databroker, which take seconds, are imported when a catalogue is opened.
Documents are replayed by `beamline.storage.catalogue.documents`; the process is `beamline.storage.catalogue.process`.
"""

from beamline.storage.catalogue.condition import CatalogueError, DamagedCatalogueError
from beamline.storage.catalogue.find import RunNotFoundError, derived_of, derived_runs, open_catalog, resolve_run
from beamline.storage.catalogue.recovery import RecoveredRun, Recovery, recover
from beamline.storage.catalogue.supervisor import INGEST_TIMEOUT, IngestStatus, IngestSupervisor, ingest_now

__all__ = [
    "INGEST_TIMEOUT",
    "CatalogueError",
    "DamagedCatalogueError",
    "IngestStatus",
    "IngestSupervisor",
    "RecoveredRun",
    "Recovery",
    "RunNotFoundError",
    "derived_of",
    "derived_runs",
    "ingest_now",
    "open_catalog",
    "recover",
    "resolve_run",
]
