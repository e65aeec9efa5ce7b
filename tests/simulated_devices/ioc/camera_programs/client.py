"""What the programs share that try the device against the IOC: they are run with a folder, and print JSON last."""

import json
import logging
import sys
import time
import warnings
from pathlib import Path

import epics

warnings.simplefilter("error")

logged = []


class Handler(logging.Handler):
    def emit(self, record):
        logged.append(record.getMessage())


logging.getLogger("beamline").addHandler(Handler())
folder = Path(sys.argv[1])
deadline = time.monotonic() + 60  # the server starts meanwhile, on a computer that may be busy
while epics.caget("T:hung", timeout=0.5, connection_timeout=0.5) is None:
    assert time.monotonic() < deadline, "the server did not answer"


def answer(**values):
    """Give the test what was found."""
    print(json.dumps(values))


def make(cls, name, **options):
    device = cls("SIM:CCD:", name=name, **options)
    device.wait_for_connection(timeout=10)
    device.write_path = str(folder)
    return device


def switch(name, value):
    """Turn one of the server's faults, or its shutter, on or off."""
    epics.caput(f"T:{name}", value, wait=True, timeout=5)


def message(action):
    """Kind and text of the error that an action raises, and how long it took, s."""
    begin = time.monotonic()
    try:
        action()
    except Exception as error:  # noqa: BLE001 - whatever it is, the test judges it
        return type(error).__name__, str(error), time.monotonic() - begin
    return "", "", time.monotonic() - begin


def number(device):
    """Index, in its file, of the frame that a device took last."""
    return int(next(v["value"] for k, v in device.read().items() if k.endswith("image")).split("/")[1])


def path(device):
    """The file that a device writes."""
    return device.hdf.full_file_name.get(use_monitor=False)
