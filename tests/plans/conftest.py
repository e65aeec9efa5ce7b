"""Devices that do no more than a plan asks of them, on a clock of their own, and what runs plans on them."""

from types import SimpleNamespace

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.simulators import RunEngineSimulator
from ophyd.sim import NullStatus
from recorded import Documents

from callbacks.contract import Key
from plans.endstation import Endstation

COUNTERS = [str(Key.I0), str(Key.TEY), str(Key.TFY)]
START = 1_700_000_000.0  # s; the devices' clock, far from the wall clock


class Device:
    parent = None

    def __init__(self, name, clock, value=0.0):
        self.name, self.clock, self.value = name, clock, value

    def values(self):
        return {self.name: self.value}

    def read(self):
        return {key: {"value": value, "timestamp": self.clock.now} for key, value in self.values().items()}

    def describe(self):
        return {
            key: {"source": "test", "dtype": "string" if isinstance(value, str) else "number", "shape": []}
            for key, value in self.values().items()
        }

    def read_configuration(self):
        return {}

    def describe_configuration(self):
        return {}


class Triggered(Device):
    def __init__(self, name, clock):
        super().__init__(name, clock)
        self.staged = False
        self.before_trigger = lambda: None

    def stage(self):
        self.staged = True
        return [self]

    def unstage(self):
        self.staged = False
        return [self]

    def trigger(self):
        self.before_trigger()
        return NullStatus()


class Positioner(Device):
    limits = (200.0, 1500.0)
    units = "eV"

    def __init__(self, name, clock, value=0.0, *, shown=None):
        super().__init__(name, clock, value)
        self.shown = shown or {name: lambda: self.value}
        self.history = []

    def values(self):
        return {key: value() for key, value in self.shown.items()}

    def check_value(self, value):
        low, high = self.limits
        if not low <= value <= high:
            raise ValueError(
                f"{self.name}: {value:g} {self.units} is outside its limits {low:g} to {high:g} {self.units}"
            )

    def set(self, value):
        self.value = value
        self.history.append(value)
        return NullStatus()


class Shutter(Positioner):
    pass


class Sample(Positioner):
    samples = ("NMC charged", "NMC pristine", "carbon")


class Time(Positioner):
    limits = (0.0, 1000.0)
    units = "s"


class ZonePlate(Positioner):
    limits = (-3000.0, 0.0)
    units = "um"

    def focus(self, energy):
        return -2.5 * energy


class Fine(Positioner):
    limits = (-15.0, 15.0)
    units = "um"


class Choice(Positioner):
    def check_value(self, value):
        pass


class Scanner(Triggered):
    """Scans a line at once; what it counts tells where and how it was."""

    def __init__(self, name, clock):
        super().__init__(name, clock)
        self.x_start, self.x_stop, self.y = (Fine(f"scanner_{axis}", clock) for axis in ("x_start", "x_stop", "y"))
        self.columns, self.dwell = Positioner("scanner_columns", clock, 2), Time("scanner_dwell", clock, 1.0)
        self.columns.limits, self.columns.units = (2, 5000), "pixels"
        self.mode = Choice("scanner_mode", clock, "line")

    def values(self):
        columns = int(self.columns.value)
        return {
            str(Key.STXM_COUNTS): np.full(columns, 100.0),
            str(Key.STXM_DWELL): np.full(columns, self.dwell.value),
            str(Key.STXM_X): np.linspace(self.x_start.value, self.x_stop.value, columns),
            str(Key.STXM_Y): np.full(columns, self.y.value),
        }

    def describe(self):
        return {
            key: {"source": "test", "dtype": "array", "shape": list(value.shape)}
            for key, value in self.values().items()
        }


class Detector(Triggered):
    """Counts for a time; the camera's moves the shared clock on, the scaler counts beside it."""

    def __init__(self, name, clock, *, time, keys, moves_clock=True):
        super().__init__(name, clock)
        self.time, self.keys, self.moves_clock = time, keys, moves_clock

    def values(self):
        return dict.fromkeys(self.keys, 1.0) | {self.time.name: self.time.value}

    def trigger(self):
        status = super().trigger()
        self.clock.now += self.time.value if self.moves_clock else 0.0
        return status


@pytest.fixture
def endstation():
    clock = SimpleNamespace(now=START)
    energy = Positioner("energy", clock, 500.0)
    energy.shown = {str(Key.ENERGY): lambda: energy.value, str(Key.ENERGY_SETPOINT): lambda: energy.value}
    scaler = Detector("scaler", clock, time=Time(str(Key.DWELL), clock, 1.0), keys=COUNTERS, moves_clock=False)
    scaler.dwell = scaler.time
    ccd, ccd_dark = (
        Detector(name, clock, time=Time(str(Key.EXPOSURE_TIME), clock, 1.0), keys=[str(key)])
        for name, key in (("ccd", Key.CCD_IMAGE), ("ccd_dark", Key.CCD_DARK_IMAGE))
    )
    ccd.exposure_time, ccd_dark.exposure_time = ccd.time, ccd_dark.time
    devices = {
        "energy": energy,
        "scaler": scaler,
        "ring": Device("ring", clock, 500.0),
        "front_end_shutter": Device("front_end_shutter", clock, "open"),
        "shutter": Shutter("shutter", clock, "closed"),
        "sample": Sample("sample", clock, "carbon"),
        "exit_slit": Positioner("exit_slit", clock, 20.0),
        "spectrograph": Device("spectrograph", clock, 525.0),
        "ccd": ccd,
        "ccd_dark": ccd_dark,
        "zone_plate": ZonePlate(str(Key.ZONE_PLATE), clock, -1300.0),
        "order_sorting_aperture": Device("order_sorting_aperture", clock, -1000.0),
        "coarse_x": Positioner("coarse_x", clock),
        "coarse_y": Positioner("coarse_y", clock),
        "scanner": Scanner("scanner", clock),
    }
    return Endstation(devices)


@pytest.fixture
def simulator():
    """A simulator whose messages reach the devices."""
    simulator = RunEngineSimulator()
    simulator.add_handler("read", lambda message: message.obj.read())
    simulator.add_handler(
        ["set", "trigger", "stage", "unstage"], lambda message: getattr(message.obj, message.command)(*message.args)
    )
    simulator.add_handler("open_run", lambda message: "uid")
    return simulator


@pytest.fixture
def engine():
    return RunEngine(context_managers=[])


@pytest.fixture
def documents(engine):
    return Documents(engine)
