"""Take light and dark frames in turn in one run, count in another, and compare the devices with their twins."""

import time

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
from bluesky import RunEngine
from client import answer, folder, logged, make, path, switch

from beamline.endstation.devices.ccd import Ccd, CcdDark
from callbacks.external import ExternalFrames
from simulated_devices import twins
from simulated_devices.world import SimulatedEndstation

given = {"counts_per_ev": 0.21, "read_noise": 4.0, "full_scale": 65535.0}
ccd, ccd_dark = make(Ccd, "ccd", **given), make(CcdDark, "ccd_dark", **given)
engine = RunEngine({})
frames, seen = ExternalFrames(), []


def follow(name, doc):
    if name in ("resource", "datum"):
        getattr(frames, name)(doc)
    elif name == "event":
        (key,) = (key for key in doc["data"] if key.endswith("_image"))
        seen.append([key, doc["data"][key], int(frames.read(doc, key).astype(int).sum())])
    elif name == "stop":
        frames.close()


engine.subscribe(follow)
switch("shutter", 1)


@bpp.stage_decorator([ccd, ccd_dark])
@bpp.run_decorator()
def alternate():
    yield from bps.mv(ccd.exposure_time, 10.0)
    for index in range(3):
        yield from bps.abs_set(ccd.exposure_time, 10.0, wait=True)
        yield from bps.trigger_and_read([ccd], "primary")
        switch("shutter", 0)
        for _ in range(2 if index == 1 else 1):
            yield from bps.trigger_and_read([ccd_dark], "dark")
        switch("shutter", 1)


engine(alternate())
files = [path(ccd), path(ccd_dark)]
alternated, seen[:] = list(seen), []

took = []


def timed(name, doc):
    took.append(time.monotonic())


token = engine.subscribe(timed, "event")
engine(bps.mv(ccd.exposure_time, 0.001))
engine(bp.count([ccd], num=10))
counted = list(seen)

ccd.stage()
bare = []
for _ in range(10):
    begin = time.monotonic()
    ccd.trigger().wait(60)
    bare.append(time.monotonic() - begin)
ccd.unstage()


def plain(described):
    left_out = ("source", "lower_ctrl_limit", "upper_ctrl_limit", "precision", "enum_strs")
    return {key: {k: v for k, v in value.items() if k not in left_out} for key, value in described.items()}


world = SimulatedEndstation()
agreement = []
for device, twin_class in ((ccd, twins.Ccd), (ccd_dark, twins.CcdDark)):
    twin = twin_class(name=device.name, shared=world)
    twin.write_path = str(folder)
    agreement.append(
        {
            "describe": [plain(each.describe()) for each in (device, twin)],
            "configuration": [plain(each.describe_configuration()) for each in (device, twin)],
            "values": [{k: v["value"] for k, v in each.read_configuration().items()} for each in (device, twin)],
        }
    )
answer(
    alternated=alternated,
    files=files,
    counted=counted,
    bare=bare,
    in_run=np.diff(took).tolist(),
    agreement=agreement,
    logged=logged,
)
