"""Minimal soft devices with the interface of real ones, which the tests of storage measure with."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import h5py
import numpy as np

ROWS, COLUMNS = 4, 16


class Done:
    """A status that is done."""

    done = success = True

    def add_callback(self, callback):
        callback(self)

    def exception(self, timeout=None):
        return None

    def wait(self, timeout=None):
        return None


class Motor:
    """A positioner that arrives immediately."""

    parent = None

    def __init__(self, name, value=0.0):
        self.name = name
        self._value = value
        self.hints = {"fields": [name]}

    def set(self, value):
        self._value = value
        return Done()

    def read(self):
        return {self.name: {"value": self._value, "timestamp": time.time()}}

    def describe(self):
        return {self.name: {"dtype": "number", "shape": [], "source": "soft", "units": "eV"}}

    def read_configuration(self):
        return {}

    def describe_configuration(self):
        return {}


class Values:
    """A detector whose readings are the next of a list of dicts; `keys` are its data keys."""

    parent = None

    def __init__(self, name, keys, readings, configuration=None):
        self.name = name
        self._keys = keys
        self._readings = iter(readings)
        self._reading = None
        self.configuration = configuration or {}

    def trigger(self):
        self._reading = next(self._readings)
        return Done()

    def read(self):
        return {key: {"value": value, "timestamp": time.time()} for key, value in self._reading.items()}

    def describe(self):
        return {key: {"source": "soft", "shape": [], **data_key} for key, data_key in self._keys.items()}

    def read_configuration(self):
        return {key: {"value": value, "timestamp": 1.0} for key, value in self.configuration.items()}

    def describe_configuration(self):
        return {key: {"dtype": "number", "shape": [], "source": "soft"} for key in self.configuration}

    def configure(self, values):
        old = self.read_configuration()
        self.configuration.update(values)
        return old, self.read_configuration()


class Camera:
    """An area detector that writes one HDF5 file per stage with SWMR; all pixels of frame n are n."""

    parent = None

    def __init__(self, name, folder, frame_axis=False, rows=ROWS, columns=COLUMNS):
        self.name = name
        self._folder = Path(folder)
        self._shape = (rows, columns)
        self._described = [1, rows, columns] if frame_axis else [rows, columns]
        self._docs = []
        self._file = None

    def stage(self):
        self._folder.mkdir(parents=True, exist_ok=True)
        self._resource = str(uuid.uuid4())
        self.path = self._folder / f"{self._resource}.h5"
        self._file = h5py.File(self.path, "w", libver="latest")
        self._dataset = self._file.create_dataset(
            "entry/data/data", (0, *self._shape), maxshape=(None, *self._shape), chunks=(1, *self._shape), dtype="u2"
        )
        self._file.swmr_mode = True
        resource = {
            "uid": self._resource,
            "spec": "AD_HDF5",
            "root": str(self._folder),
            "resource_path": self.path.name,
            "resource_kwargs": {"frame_per_point": 1},
            "path_semantics": "posix",
        }
        self._docs.append(("resource", resource))
        return [self]

    def unstage(self):
        self._file.close()
        return [self]

    def trigger(self):
        number = len(self._dataset)
        self._dataset.resize(number + 1, axis=0)
        self._dataset[number] = np.full(self._shape, number, dtype="u2")
        self._dataset.flush()
        self._datum = f"{self._resource}/{number}"
        datum = {"resource": self._resource, "datum_id": self._datum, "datum_kwargs": {"point_number": number}}
        self._docs.append(("datum", datum))
        return Done()

    def read(self):
        return {self.name: {"value": self._datum, "timestamp": time.time()}}

    def describe(self):
        data_key = {"dtype": "array", "dtype_numpy": "<u2", "shape": self._described, "source": "soft"}
        return {self.name: {**data_key, "external": "FILESTORE:"}}

    def collect_asset_docs(self):
        docs, self._docs = self._docs, []
        yield from docs

    def read_configuration(self):
        return {}

    def describe_configuration(self):
        return {}


def number(values, key="signal"):
    """A detector of one number, `key`."""
    return Values("det", {key: {"dtype": "number", "units": "counts"}}, ({key: value} for value in values))


class Kept:
    """A callback that keeps the documents it receives."""

    def __init__(self):
        self.documents = []

    def __call__(self, name, doc):
        self.documents.append((name, doc))


def as_logged(value):
    """A document as a log gives it back: tuples have become lists."""
    if isinstance(value, dict):
        return {key: as_logged(part) for key, part in value.items()}
    return [as_logged(part) for part in value] if isinstance(value, list | tuple) else value


def run_program(program, *arguments, check=True, **options):
    """Run a program, which may import the modules of this folder, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=check, **options)
