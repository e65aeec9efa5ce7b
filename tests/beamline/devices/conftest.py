"""An IOC of the simulated endstation, in a process of its own, and an engine on the devices it serves."""

import os

import epics
import pytest

from beamline.config import EPICS, load_config
from beamline.demo_epics import on_port
from beamline.engine import Session
from beamline.ioc import running_ioc

PORT = int(os.environ["EPICS_CA_SERVER_PORT"])
SWITCHES = ("HangCamera", "StallWriter", "NanI0", "DumpBeam", "CloseFrontEnd")


@pytest.fixture(scope="session")
def ioc():
    with running_ioc(EPICS, port=PORT) as running:
        yield running


@pytest.fixture
def config(ioc):
    """The endstation on EPICS; a detector that does not answer is noticed within seconds."""
    return quick(on_port(load_config(EPICS), ioc.port))


def quick(config):
    for name, options in {
        "scaler": {"margin": 2.0},
        "scanner": {"margin": 2.0},
        "ccd": {"readout_time": 2.0, "write_timeout": 2.0},
        "ccd_dark": {"readout_time": 2.0, "write_timeout": 2.0},
        "exit_slit": {"margin": 2.0},
    }.items():
        config.devices[name].options.update(options)
    assert config.suspenders is not None
    return config.model_copy(update={"suspenders": config.suspenders.model_copy(update={"settle_time": 0.2})})


@pytest.fixture
def session(config, tmp_path):
    """A session without a catalogue: recorder, reduction and suspenders are there."""
    session = Session(config, tmp_path)
    yield session
    clear_faults()
    session.close()


@pytest.fixture
def fault():
    """Switch a fault of the IOC."""
    yield switch
    clear_faults()


def switch(name, value):
    assert epics.caput(f"SIM:Fault:{name}", value, wait=True, timeout=5) == 1


def clear_faults():
    if epics.caget("SIM:Ready", timeout=5) != 1:
        return
    for name in SWITCHES:
        switch(name, "Off")
    switch("FreezeMotor", "")


class Documents:
    """The documents of runs as they were recorded."""

    def __init__(self, session):
        self.all = []
        session.RE.subscribe(lambda name, doc: self.all.append((name, doc)))

    def of(self, kind):
        return [doc for name, doc in self.all if name == kind]

    def events(self, stream="primary"):
        descriptors = {doc["uid"] for doc in self.of("descriptor") if doc["name"] == stream}
        return [doc for doc in self.of("event") if doc["descriptor"] in descriptors]

    @property
    def stop(self):
        (stop,) = self.of("stop")
        return stop


@pytest.fixture
def documents(session):
    return Documents(session)
