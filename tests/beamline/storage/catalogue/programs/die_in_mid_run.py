"""Measure, and end in the middle of a run as if killed."""

import os
import sys
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky import RunEngine
from soft import Camera

from beamline.storage.recorder import Recorder

data_dir = Path(sys.argv[1])
camera = Camera("ccd", data_dir / "frames")


@bpp.stage_decorator([camera])
@bpp.run_decorator(md={"scan_id": 12})
def scan():
    for _ in range(3):
        yield from bps.trigger_and_read([camera])
    yield from bps.trigger(camera, wait=True)
    os._exit(0)  # as if killed: nothing is closed


RE = RunEngine()
RE.subscribe(Recorder(data_dir))
RE(scan())
