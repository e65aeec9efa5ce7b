"""Leave a camera acquiring and a file open, and stage another device on them."""

import time

import epics
from client import answer, logged, make, number, path

from beamline.endstation.devices.ccd import Ccd

crashed = make(Ccd, "ccd")
crashed.stage()
crashed.exposure_time.set(1.0).wait(60)
crashed.trigger().wait(60)
epics.caput("SIM:CCD:cam1:ImageMode", "Continuous", wait=True, timeout=5)
epics.caput("SIM:CCD:cam1:Acquire", 1)
while not crashed.cam.acquire.get(use_monitor=False):
    time.sleep(0.01)
files = [path(crashed)]
logged.clear()
ccd = make(Ccd, "ccd")
ccd.stage()
ccd.trigger().wait(60)
answer(files=[*files, path(ccd)], number=number(ccd), logged=logged)
