"""Measure until killed: fork a scanning process for each line of standard input, and print its process id.

The imports are made once, here. A line is a data folder and a name. The scanning process appends to the file of that
name, synchronised to the disk, what the recorder has acknowledged: name and uid; of an event the uid of the run, the
number and the value.
"""

import itertools
import json
import os
import sys
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import ophyd  # noqa: F401 - by the engine, when it is made: once here, not in each that is forked
from bluesky import RunEngine
from soft import Camera, Motor, number

from beamline.storage.recorder import Recorder


def acknowledge_to(path):
    file = path.open("a")
    run = ""

    def acknowledge(name, doc):
        nonlocal run
        run = doc["uid"] if name == "start" else run
        match name:
            case "event":
                line = (name, run, doc["seq_num"], doc["data"]["signal"])
            case "datum":
                line = (name, doc["datum_id"])
            case _:
                line = (name, doc["uid"])
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())

    return acknowledge


def scan_for_ever(data_dir, acknowledged):
    engine = RunEngine()
    engine.subscribe(Recorder(data_dir))
    engine.subscribe(acknowledge_to(acknowledged))
    camera, energy, signal = Camera("ccd", data_dir / "frames"), Motor("energy"), number(itertools.count())

    @bpp.stage_decorator([camera])
    @bpp.run_decorator()
    def scan():
        for step in range(150):
            yield from bps.checkpoint()
            yield from bps.mv(energy, float(step))
            yield from bps.trigger_and_read([camera, energy, signal])

    while True:
        engine(scan())


for line in sys.stdin:
    folder, name = line.split()
    child = os.fork()
    if not child:
        scan_for_ever(Path(folder), Path(folder) / name)
    print(child, flush=True)
    os.waitpid(child, 0)
