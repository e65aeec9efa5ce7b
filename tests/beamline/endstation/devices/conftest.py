"""An IOC of the simulated endstation, in a process of its own, and an engine on the devices it serves."""

import os
from contextlib import ExitStack

import pytest
from ioc_faults import clear_faults
from recorded import Documents

from beamline.acquire.session import Session
from beamline.endstation.config import EPICS, load_config
from beamline.operations.demonstrate.epics import on_port
from beamline.operations.simulated_ioc import running_ioc

PORT = int(os.environ["EPICS_CA_SERVER_PORT"])


class Served:
    """The IOC of the tests: always on the same port, which EPICS reads but once; it can be killed and started again."""

    port = PORT

    def __init__(self):
        self._stack = ExitStack()
        self.start()

    def start(self):
        self._running = self._stack.enter_context(running_ioc(EPICS, port=PORT))

    def kill(self):
        self._running.process.kill()
        self._running.process.wait()

    def stop(self):
        self._stack.close()


@pytest.fixture(scope="session")
def ioc():
    served = Served()
    yield served
    served.stop()


@pytest.fixture(scope="session")
def configured(ioc):
    """Gives the configuration of the endstation on EPICS; a device that does not answer is noticed within seconds."""
    return lambda: quick(on_port(load_config(EPICS), ioc.port))


@pytest.fixture
def config(configured):
    return configured()


def quick(config):
    for name, options in {
        "scaler": {"margin": 2.0},
        "scanner": {"margin": 2.0},
        "ccd": {"readout_time": 2.0, "write_timeout": 2.0},
        "ccd_dark": {"readout_time": 2.0, "write_timeout": 2.0},
        "energy": {"margin": 2.0},
        "energy_sweep": {"margin": 5.0},
    }.items():
        config.devices[name].options.update(options)
    assert config.suspenders is not None
    suspenders = config.suspenders.model_copy(update={"settle_time": 0.2})
    channel_access = config.channel_access.model_copy(update={"timeout": 60.0})  # the computer may have much else to do
    return config.model_copy(update={"suspenders": suspenders, "channel_access": channel_access})


@pytest.fixture
def session(config, tmp_path):
    """A session without a catalogue: recorder, reduction and suspenders are there."""
    session = Session(config, tmp_path)
    yield session
    clear_faults()
    session.close()


@pytest.fixture
def documents(session):
    return Documents(session.RE)
