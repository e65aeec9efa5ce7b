"""Measure until the disk is full under the logs: data folder, bytes reserved."""

import sys
from pathlib import Path

import bluesky.plans as bp
import numpy as np
from bluesky import RunEngine
from soft import Values

from beamline.storage import recorder as module
from beamline.storage.recorder import Recorder, RecorderError

if len(sys.argv) > 2:
    module.EVENT_RESERVE = module.STOP_RESERVE = int(sys.argv[2])
recorder = Recorder(Path(sys.argv[1]))
acknowledged = []
keys = {"line": {"dtype": "array", "shape": [2000], "dtype_numpy": "<f8"}}
detector = Values("det", keys, ({"line": np.full(2000, n)} for n in range(10_000)))
RE = RunEngine()
RE.subscribe(recorder)
RE.subscribe(lambda name, doc: acknowledged.append(name))
try:
    RE(bp.count([detector], num=10_000))
except RecorderError as error:
    print(type(error).__name__, error, sep="|")
print(len(acknowledged))
