"""Measure until the disk is full under the frames: data folder, folder of frames."""

import os
import sys
from pathlib import Path

import bluesky.plans as bp
from bluesky import RunEngine
from soft import Camera, Kept

from beamline.storage.recorder import Recorder

RE, kept = RunEngine(), Kept()
RE.subscribe(Recorder(Path(sys.argv[1])))
RE.subscribe(kept)
try:
    RE(bp.count([Camera("ccd", sys.argv[2], rows=64, columns=1024)], num=1000))
except (OSError, RuntimeError) as error:
    print("No space left on device" in str(error))
print(sum(name == "event" for name, _ in kept.documents), flush=True)
os._exit(0)  # HDF5 cannot close its file, and falls over that at the end of the interpreter
