"""Soft twins and EPICS devices have the same names, keys, units, shapes and dtypes, and measure the same."""

import numpy as np
import pytest

from beamline.endstation.build import build_devices
from beamline.endstation.config import load_config
from plans.endstation import ROLES

pytestmark = pytest.mark.long

LENGTHS = {"scanner": "columns", "energy_sweep": "bins"}  # what sets the length of the arrays of those that fly
COMPARED = ("units", "dtype", "dtype_numpy", "shape", "external")


def describe(device):
    """What a device says of its data and configuration, as far as both kinds must agree."""
    return {
        part: {
            key: {name: described.get(name) for name in COMPARED if name in described}
            for key, described in getattr(device, part)().items()
        }
        for part in ("describe", "describe_configuration")
    }


def of_both(twins, session, name):
    real, soft = getattr(session.endstation, name), twins[name]
    if name in LENGTHS:
        for device in (real, soft):
            getattr(device, LENGTHS[name]).set(40).wait(60)
    return real, soft


@pytest.fixture(scope="module")
def twins():
    return build_devices(load_config())


@pytest.mark.parametrize("name", ROLES)
def test_a_device_and_its_twin_describe_the_same(name, twins, session):
    real, soft = of_both(twins, session, name)
    assert describe(real) == describe(soft)
    assert real.hints == soft.hints
    assert real.name == soft.name


@pytest.mark.parametrize("name", [name for name in ROLES if not name.startswith("ccd")])
def test_a_device_and_its_twin_read_the_same_kinds_of_values(name, twins, session):
    real, soft = (device.read() for device in of_both(twins, session, name))
    assert real.keys() == soft.keys()
    for key, reading in real.items():
        # A twin that flies has arrays of one value before its first flight.
        shapes = np.shape(reading["value"]), np.shape(soft[key]["value"])
        assert shapes[0] == shapes[1] or name in LENGTHS, key
        assert isinstance(reading["value"], str) == isinstance(soft[key]["value"], str), key
        assert reading["timestamp"] > 0
