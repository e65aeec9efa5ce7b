"""Measure, import, ingest and recover until killed: forks a process for each line of standard input.

The imports are made once, here. A line is a JSON object: `task`, `folder`, `acknowledged` (a file), `seed`. Whatever a
recorder acknowledges is appended to that file in msgpack, and with it a checksum of each frame as it is on the disk.
The process id is printed, and at the end "killed", or "ended" with the exit code.
"""

import itertools
import json
import os
import sys
import zlib
from pathlib import Path

import h5py
import msgpack
import msgpack_numpy

import beamline.processes.reduction  # imported before the first fork, as the catalogue
import beamline.storage.catalogue.ingest  # noqa: F401
from beamline.acquire.session import Session, measure
from beamline.operations.demonstrate.techniques import simulated
from beamline.operations.importing import import_file
from beamline.operations.recover import recover
from beamline.processes import process
from beamline.storage.catalogue import embedded, writer  # noqa: F401 - as above
from beamline.storage.log import RunIndex
from beamline.storage.recorder import Recorder
from callbacks.external import HDF5_DATASET
from plans import rixs_map, stxm_stack, xas

SAMPLE = "LRNMC 311 mAh/g"
ENERGIES = "526:534:0.5"
FIELD = "x=-0.6:0.6:0.06 y=-0.6:0.6:0.06"


def acknowledge_to(path):
    """Make every recorder of this process append what it has acknowledged to a file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    record, files, runs = Recorder.__call__, {}, RunIndex()

    def append(kind, value):
        os.write(fd, msgpack.packb((kind, value), default=msgpack_numpy.encode))

    def acknowledging(self, name, doc):
        is_there = self.passes_over(runs.run_of(name, doc))  # of a reduction that is gone on with
        record(self, name, doc)
        if is_there:
            return
        append(name, doc)
        match name:
            case "resource":
                files[doc["uid"]] = str(Path(doc["root"]) / doc["resource_path"])
            case "datum":
                number = doc["datum_kwargs"]["point_number"]
                with h5py.File(files[doc["resource"]], "r", swmr=True) as file:
                    checksum = zlib.crc32(file[HDF5_DATASET][number].tobytes())
                append("frame", {"file": files[doc["resource"]], "number": number, "checksum": checksum})

    Recorder.__call__ = acknowledging


def measure_for_ever(folder, seed, plan):
    session = Session(simulated(seed, speed_up=1e6), folder)
    while True:
        measure(session, plan(session.endstation))


def task_of(name, folder, seed):
    match name:
        case "xas":
            measure_for_ever(folder, seed, lambda end: xas(end, "520:545:0.05", 1.0, sample=SAMPLE, edge="O K"))
        case "rixs":
            measure_for_ever(folder, seed, lambda end: rixs_map(end, ENERGIES, 300.0, sample=SAMPLE, edge="O K"))
        case "stxm":
            plan = lambda end: stxm_stack(end, ENERGIES, FIELD, 0.002, sample=SAMPLE, edge="O K")  # noqa: E731
            measure_for_ever(folder, seed, plan)
        case "import":
            for _ in itertools.count():
                import_file(folder.parent / "stack.hdf5", data_dir=folder)
        case "ingest" | "reduction":
            process.main([name, str(folder)])
        case "recover":
            recover(folder)


for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(order["acknowledged"] + ".output", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.dup2(2, 1)
        acknowledge_to(order["acknowledged"])
        task_of(order["task"], Path(order["folder"]), order["seed"])
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else f"ended {os.waitstatus_to_exitcode(status)}", flush=True)
