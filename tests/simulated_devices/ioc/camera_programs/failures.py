"""Let folder, camera, writer and disk fail one after the other, and measure again after each."""

import time

import epics
import h5py
from client import answer, folder, logged, make, message, number, path, switch

from beamline.endstation.devices.ccd import Ccd

ccd = make(Ccd, "ccd", readout_time=0.5, write_timeout=0.5)
bad = make(Ccd, "ccd")
bad.write_path = "/proc/nowhere/frames"
folder_missing = message(bad.stage)
bad.write_path = ""
no_folder = message(bad.stage)
ccd.write_path = str(folder / "made" / "by" / "the plugin")
ccd.stage()
file = path(ccd)
ccd.exposure_time.set(1.0).wait(60)
ccd.trigger().wait(60)
ccd.exposure_time.set(0.25).wait(60)
switch("hung", 1)
hung = message(lambda: ccd.trigger().wait(60))
acquire = ccd.cam.acquire.get(use_monitor=False)
empty = ccd.read()["ccd_image"]["value"]
switch("hung", 0)
ccd.trigger().wait(60)
numbers = [number(ccd)]

switch("stalled", 1)
stalled = message(lambda: ccd.trigger().wait(60))
again = message(lambda: ccd.trigger().wait(60))
enabled = epics.caget("SIM:CCD:HDF1:EnableCallbacks_RBV", as_string=True)
switch("stalled", 0)
ccd.trigger().wait(60)
numbers.append(number(ccd))
last = ccd.cam.array_counter.get(use_monitor=False)
with h5py.File(file, swmr=True) as written:
    ids = written["entry/instrument/NDAttributes/NDArrayUniqueId"][:].tolist()

switch("full", 1)
full = message(lambda: ccd.trigger().wait(60))
still_full = message(lambda: ccd.trigger().wait(60))
switch("full", 0)
ccd.trigger().wait(60)
numbers.append(number(ccd))

ccd.hdf.capture.put(0, use_complete=False)
while ccd.hdf.capture.get(use_monitor=False):
    time.sleep(0.02)
ended = message(lambda: ccd.trigger().wait(60))
ccd.unstage()

epics.caput("SIM:CCD:cam1:Temperature", -90.0, wait=True, timeout=5)
logged.clear()
ccd.stage()
warm = list(logged)
ccd.unstage()
epics.caput("SIM:CCD:cam1:Temperature", -60.0, wait=True, timeout=5)
epics.caput("SIM:CCD:cam1:AndorCooler", 0, wait=True, timeout=5)
logged.clear()
ccd.stage()
off = list(logged)
ccd.unstage()
epics.caput("SIM:CCD:cam1:AndorCooler", 1, wait=True, timeout=5)

limits = message(lambda: ccd.exposure_time.check_value(1e6))
answer(
    file=file,
    hung=hung,
    acquire=acquire,
    empty=empty,
    numbers=numbers,
    stalled=stalled,
    again=again,
    enabled=enabled,
    last=last,
    ids=ids,
    full=full,
    still_full=still_full,
    ended=ended,
    warm=warm,
    off=off,
    folder_missing=folder_missing,
    no_folder=no_folder,
    limits=limits,
)
