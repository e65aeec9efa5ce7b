"""Store and read back what is measured: the data folder, logs of documents, large arrays, derived runs.

The databroker catalogue is in `beamline.storage.catalogue`. Files of camera frames are in `beamline.storage.frames`.
"""

from beamline.storage.derived import DerivedRuns
from beamline.storage.large_arrays import externalise, internalise
from beamline.storage.layout import Layout
from beamline.storage.log import Doc, Document, LogError, LogReader, find_log, read_log
from beamline.storage.recorder import Recorder, RecorderError
from beamline.storage.results import Documents, Run, Table, collect, differences
from beamline.storage.runs import Entry, Runs

__all__ = [
    "DerivedRuns",
    "Doc",
    "Document",
    "Documents",
    "Entry",
    "Layout",
    "LogError",
    "LogReader",
    "Recorder",
    "RecorderError",
    "Run",
    "Runs",
    "Table",
    "collect",
    "differences",
    "externalise",
    "find_log",
    "internalise",
    "read_log",
]
