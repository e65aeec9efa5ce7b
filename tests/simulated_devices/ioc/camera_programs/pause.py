"""Pause a run while a frame is exposed; then stop and unstage the device while it exposes."""

import threading
import time
from contextlib import suppress

import bluesky.plans as bp
import epics
import h5py
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from client import answer, make, message, path

from beamline.endstation.devices.ccd import Ccd

ccd = make(Ccd, "ccd")
ccd.exposure_time.set(60.0).wait(60)  # 0.6 s here
engine = RunEngine({})
seen, timers = [], []
engine.subscribe(lambda name, doc: seen.append(doc["data"]["ccd_image"]), "event")


def pause_second(name, doc):
    if doc["seq_num"] == 1:
        timers.append(threading.Timer(0.3, engine.request_pause))
        timers[-1].start()


engine.subscribe(pause_second, "event")
with suppress(RunEngineInterrupted):
    engine(bp.count([ccd], num=3))
begin = time.monotonic()
while ccd.cam.acquire.get(use_monitor=False) != 0:
    assert time.monotonic() - begin < 5
idle_within = time.monotonic() - begin
state = epics.caget("SIM:CCD:cam1:DetectorState_RBV", as_string=True)
captured = ccd.hdf.num_captured.get(use_monitor=False)
engine.resume()
file = path(ccd)
with h5py.File(file) as written:
    ids = written["entry/instrument/NDAttributes/NDArrayUniqueId"][:].tolist()

ccd.stage()
ccd.exposure_time.set(600.0).wait(60)
status = ccd.trigger()
time.sleep(0.2)
ccd.stop()
stopped = message(lambda: status.wait(60))
status = ccd.trigger()
time.sleep(0.2)
ccd.unstage()
unstaged = message(lambda: status.wait(60))
answer(
    seen=seen,
    idle=idle_within,
    state=state,
    captured=captured,
    ids=ids,
    stopped=stopped,
    unstaged=unstaged,
    acquire=ccd.cam.acquire.get(use_monitor=False),
)
