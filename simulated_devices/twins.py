"""Soft twins: ophyd devices with the names, keys and behaviour of the real ones, in process, without any hardware."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ophyd import Component, Kind, Signal

from beamline.endstation.devices.base import check_limits
from beamline.endstation.devices.task import Stop, StoppedError, TaskDevice, TaskStatus
from callbacks.contract import UNITS, CcdConfig, Key
from callbacks.external import HDF5_DATASET
from simulated_devices.endstation import SimulatedEndstation
from simulated_devices.samples import PLACES
from simulated_devices.undulator import gap_of

FREE_FOR_HDF5 = 1 << 20  # bytes that a frame's file needs beside the frame


class SoftSignal(Signal):
    """A signal with units and, for a number that is set, limits; it bears its data key as its name.

    Parameters
    ----------
    key : str
        Data key; the attribute's name with the device's in front where not given.
    units : str
    limits : (float, float), optional
    """

    def __init__(
        self, *, key: str | None = None, units: str = "", limits: tuple[float, float] | None = None, **kwargs: Any
    ) -> None:
        if key is not None:
            kwargs["name"] = key
        super().__init__(**kwargs)
        self._units = units
        self._limits = limits

    @property
    def limits(self) -> tuple[float, float] | None:
        """Lowest and highest value."""
        return self._limits

    def check_value(self, value: Any, **_kwargs: Any) -> None:
        """Raise LimitError where `value` is out of the limits."""
        if self._limits is not None:
            check_limits(self.name, value, self._limits, self._units)

    def describe(self) -> dict[str, Any]:
        """Describe the signal, with its units and limits."""
        described = super().describe()
        extra: dict[str, Any] = {"source": f"SIM:{self.name}"}
        if self._units:
            extra["units"] = self._units
        if self._limits is not None:
            extra["lower_ctrl_limit"], extra["upper_ctrl_limit"] = self._limits
        for description in described.values():
            description.update(extra)
        return described


class Twin(TaskDevice):
    """A device of the simulated endstation.

    Parameters
    ----------
    prefix : str
        Not used; real devices have one.
    name : str
    shared : SimulatedEndstation
    """

    def __init__(self, prefix: str = "", *, name: str, shared: SimulatedEndstation, **kwargs: Any) -> None:
        self.world = shared
        self._under_way = Stop()  # of the task that runs
        super().__init__(prefix, name=name, **kwargs)

    def in_background(self, work: Callable[[], None]) -> TaskStatus:
        """Do work on a thread; the status is done with it, and fails with what it raises."""

        def task(stop: Stop) -> None:
            self._under_way = stop
            work()

        return self.work(task)

    def wait_until(self, moment: float) -> None:
        """Let simulated time pass; raise `StoppedError` where the device is stopped before."""
        if not self.world.clock.wait_until(moment, self._under_way):
            raise StoppedError(f"{self.name}: stopped")

    def put(self, signal: Signal, value: Any) -> None:
        """Put a value into a signal, stamped with the simulated time."""
        signal.put(value, timestamp=self.world.clock.now(), force=True)


class Energy(Twin):
    """Monochromator and undulator: excitation energy, eV."""

    readback = Component(SoftSignal, value=530.0, key=str(Key.ENERGY), units="eV", kind=Kind.hinted)
    setpoint = Component(SoftSignal, value=530.0, key=str(Key.ENERGY_SETPOINT), units="eV", kind=Kind.normal)
    gap = Component(SoftSignal, value=gap_of(530.0), key=str(Key.UNDULATOR_GAP), units="mm", kind=Kind.normal)
    limits = (200.0, 1500.0)
    speed, settle_time, jitter = 5.0, 0.8, 0.002  # eV/s, s, eV rms

    @property
    def position(self) -> float:
        """Energy read back, eV."""
        return self.readback.get()

    def check_value(self, value: float, **_kwargs: Any) -> None:
        """Raise LimitError where the energy is out of reach."""
        check_limits(self.name, value, self.limits, "eV")

    def set(self, value: float) -> TaskStatus:
        """Move to an energy; done when it has settled."""
        value = float(value)
        self.check_value(value)
        self.put(self.setpoint, value)
        distance = abs(value - self.world.energy)

        def move() -> None:
            self.wait_until(self.world.clock.now() + distance / self.speed + self.settle_time)
            self.world.energy, self.world.gap = value, gap_of(value)
            self.put(self.gap, self.world.gap)
            self.put(self.readback, value + self.jitter * self.world.rng("energy").standard_normal())

        return self.in_background(move)


class ExitSlit(Twin):
    """Exit slit, um: flux against resolution."""

    gap = Component(SoftSignal, value=30.0, key="exit_slit", units="um", kind=Kind.hinted)
    limits = (5.0, 200.0)

    def check_value(self, value: float, **_kwargs: Any) -> None:
        """Raise LimitError where the gap is out of reach."""
        check_limits(self.name, value, self.limits, "um")

    def set(self, value: float) -> TaskStatus:
        """Move to a gap."""
        self.check_value(value)

        def move() -> None:
            self.wait_until(self.world.clock.now() + 1.0)
            self.world.slit = float(value)
            self.put(self.gap, float(value))

        return self.in_background(move)


class RingCurrent(SoftSignal):
    """The ring current, which is shown to whoever watches it. Without beam, time passes while it is waited for."""

    PERIOD = 0.1  # s on the wall

    def subscribe(self, *args: Any, **kwargs: Any) -> int:
        """Watch it; see `ophyd.Signal.subscribe`."""
        token = super().subscribe(*args, **kwargs)
        if not any(thread.name == self._thread_name for thread in threading.enumerate()):
            threading.Thread(target=self._show, name=self._thread_name, daemon=True).start()
        return token

    @property
    def _thread_name(self) -> str:
        return f"ring current {id(self)}"

    def _show(self) -> None:
        clock = self.parent.world.clock
        while not self._destroyed:
            self.parent.show()
            time.sleep(self.PERIOD)
            if self.get() == 0:
                clock.reach(clock.now() + self.PERIOD * clock.speed_up)


class Ring(Twin):
    """Storage ring: current, mA."""

    current = Component(RingCurrent, value=0.0, key=str(Key.RING_CURRENT), units="mA", kind=Kind.normal)

    def read(self) -> OrderedDict[str, dict[str, Any]]:
        """Read the current as it is now."""
        self.show()
        return super().read()

    def show(self) -> None:
        """Show the current as it is now."""
        now = self.world.clock.now()
        self.put(self.current, float(self.world.ring.current(np.array([now]))[0]))


class Shutter(Twin):
    """Sample shutter: "open" or "closed"."""

    state = Component(SoftSignal, value="closed", kind=Kind.normal)
    opens = "shutter_open"  # what of the shared world it opens

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.state.name = self.name
        self.put(self.state, "open" if getattr(self.world, self.opens) else "closed")

    def set(self, value: str) -> TaskStatus:
        """Open or close it."""
        if value not in ("open", "closed"):
            raise ValueError(f"{self.name}: {value!r} is neither 'open' nor 'closed'")

        def move() -> None:
            self.wait_until(self.world.clock.now() + 0.1)
            setattr(self.world, self.opens, value == "open")
            self.put(self.state, value)

        return self.in_background(move)


class FrontEndShutter(Shutter):
    """The facility's shutter: "open" or "closed"."""

    opens = "front_end_open"


class Sample(Twin):
    """Sample holder: moves a sample into the beam by its name."""

    samples = tuple(PLACES)
    in_beam = Component(SoftSignal, value="", key="sample", kind=Kind.hinted)
    x = Component(SoftSignal, value=0.0, key="sample_x", units="mm", kind=Kind.normal)
    y = Component(SoftSignal, value=0.0, key="sample_y", units="mm", kind=Kind.normal)
    z = Component(SoftSignal, value=0.0, key="sample_z", units="mm", kind=Kind.normal)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._place(self.world.sample)

    def set(self, value: str) -> TaskStatus:
        """Move a sample into the beam."""
        if value not in self.samples:
            raise ValueError(f"{self.name}: holds no {value!r}, only {', '.join(self.samples)}")
        travel = 0.0 if value == self.world.sample else 5.0

        def move() -> None:
            self.wait_until(self.world.clock.now() + travel)
            self.world.sample = value
            self._place(value)

        return self.in_background(move)

    def _place(self, sample: str) -> None:
        self.put(self.in_beam, sample)
        for signal, value in zip((self.x, self.y, self.z), PLACES[sample], strict=True):
            self.put(signal, value)


class Spectrograph(Twin):
    """RIXS spectrograph: emission energy in the middle of the chip as its motors say, eV."""

    energy = Component(SoftSignal, value=525.0, key="spectrograph_energy", units="eV", kind=Kind.normal)


class Scaler(Twin):
    """Counts I0, TEY and TFY for `dwell` s."""

    i0 = Component(SoftSignal, value=0.0, key=str(Key.I0), units=UNITS[Key.I0], kind=Kind.hinted)
    tey = Component(SoftSignal, value=0.0, key=str(Key.TEY), units=UNITS[Key.TEY], kind=Kind.hinted)
    tfy = Component(SoftSignal, value=0.0, key=str(Key.TFY), units=UNITS[Key.TFY], kind=Kind.hinted)
    dwell = Component(SoftSignal, value=1.0, key=str(Key.DWELL), units="s", limits=(0.001, 36000.0), kind=Kind.normal)

    def trigger(self) -> TaskStatus:
        """Count."""
        begin = self.world.clock.now()
        end = begin + float(self.dwell.get())

        def count() -> None:
            self.wait_until(end)
            for name, value in self.world.counts(begin, end).items():
                self.put(getattr(self, name), value)

        return self.in_background(count)


class Ccd(Twin):
    """RIXS camera: each trigger writes a frame to an HDF5 file and leaves a reference to it, as area detectors do."""

    image_key = str(Key.CCD_IMAGE)
    exposure_time = Component(
        SoftSignal, value=1.0, key=str(Key.EXPOSURE_TIME), units="s", limits=(0.001, 36000.0), kind=Kind.normal
    )
    counts_per_ev = Component(
        SoftSignal, value=0.0, key=str(CcdConfig.COUNTS_PER_EV), units="counts/eV", kind=Kind.config
    )
    read_noise = Component(SoftSignal, value=0.0, key=str(CcdConfig.READ_NOISE), units="counts", kind=Kind.config)
    full_scale = Component(SoftSignal, value=0.0, key=str(CcdConfig.FULL_SCALE), units="counts", kind=Kind.config)
    pedestal_subtracted = Component(SoftSignal, value=0, key=str(CcdConfig.PEDESTAL_SUBTRACTED), kind=Kind.config)
    # A chip of 2048 x 2048 pixels; each row of a frame is the sum of as many of its rows as leave the frame's rows.
    chip_size = 2048
    temperature = Component(
        SoftSignal, value=-60.0, key=str(CcdConfig.TEMPERATURE), units=UNITS[CcdConfig.TEMPERATURE], kind=Kind.config
    )
    temperature_setpoint = Component(
        SoftSignal,
        value=-60.0,
        key=str(CcdConfig.TEMPERATURE_SETPOINT),
        units=UNITS[CcdConfig.TEMPERATURE_SETPOINT],
        kind=Kind.config,
    )
    cooler = Component(SoftSignal, value="On", key=str(CcdConfig.COOLER), kind=Kind.config)
    cooling_state = Component(
        SoftSignal, value="Stabilized at set point", key=str(CcdConfig.COOLING_STATE), kind=Kind.config
    )
    gain = Component(SoftSignal, value="4.00", key=str(CcdConfig.GAIN), kind=Kind.config)
    readout_speed = Component(SoftSignal, value="0.05 MHz", key=str(CcdConfig.READOUT_SPEED), kind=Kind.config)
    binning_x = Component(SoftSignal, value=1, key=str(CcdConfig.BINNING_X), kind=Kind.config)
    binning_y = Component(SoftSignal, value=1, key=str(CcdConfig.BINNING_Y), kind=Kind.config)
    model = Component(SoftSignal, value="DO936N", key=str(CcdConfig.MODEL), kind=Kind.config)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.write_path = ""  # folder of the files; the engine sets it
        model = self.world.truth.spectrograph  # what a maker's data sheet says of a camera
        for signal, value in (
            (self.counts_per_ev, model.counts_per_ev),
            (self.read_noise, model.read_noise),
            (self.full_scale, float(model.full_scale)),
            (self.binning_x, max(1, self.chip_size // model.columns)),
            (self.binning_y, max(1, self.chip_size // model.rows)),
        ):
            self.put(signal, value)
        self._shape = (model.rows, model.columns)
        self._file: h5py.File | None = None
        self._resource = ""
        self._datum = ""
        self._documents: list[tuple[str, dict[str, Any]]] = []

    def stage(self) -> list[Any]:
        """Open a new file."""
        staged = super().stage()
        folder = Path(self.write_path)
        self._resource = str(uuid.uuid4())
        path = folder / f"{self.name}_{self._resource}.h5"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = h5py.File(path, "w", libver="latest")
            self._file.create_dataset(
                HDF5_DATASET, (0, *self._shape), maxshape=(None, *self._shape), chunks=(1, *self._shape), dtype="uint16"
            )
            self._file.swmr_mode = True  # readable from now on, by this process and others
        except OSError as error:
            raise OSError(f"{self.name}: {path} cannot be written: {error}") from error
        resource = {
            "uid": self._resource,
            "spec": "AD_HDF5",
            "root": str(folder),
            "resource_path": path.name,
            "resource_kwargs": {"frame_per_point": 1},
            "path_semantics": "posix",
        }
        self._documents = [("resource", resource)]
        return staged

    def unstage(self) -> list[Any]:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        return super().unstage()

    def trigger(self) -> TaskStatus:
        """Expose a frame; done when it is in the file."""
        if self._file is None:
            raise RuntimeError(f"{self.name}: triggered without being staged")
        file = self._file
        begin = self.world.clock.now()
        end = begin + float(self.exposure_time.get())

        def expose() -> None:
            self.wait_until(end)
            self._write(file, self.world.frame(begin, end))

        return self.in_background(expose)

    def read(self) -> OrderedDict[str, dict[str, Any]]:
        """Give the reference to the newest frame."""
        reading = super().read()
        reading[self.image_key] = {"value": self._datum, "timestamp": self.world.clock.now()}
        return reading

    def describe(self) -> OrderedDict[str, dict[str, Any]]:
        """Describe the frames."""
        described = super().describe()
        described[self.image_key] = {
            "dtype": "array",
            "dtype_numpy": "<u2",
            "shape": list(self._shape),
            "source": f"SIM:{self.name}",
            "external": "FILESTORE:",
            "units": "counts",
        }
        return described

    def collect_asset_docs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the documents that say where the frames are."""
        documents, self._documents = self._documents, []
        yield from documents

    def _write(self, file: h5py.File, frame: np.ndarray) -> None:
        dataset = file[HDF5_DATASET]
        number = len(dataset)
        # Asked before: a file that HDF5 could not extend is not to be closed in peace, and takes the process with it.
        free = shutil.disk_usage(Path(file.filename).parent).free
        if free < frame.nbytes + FREE_FOR_HDF5:
            raise OSError(f"{self.name}: frame {number} cannot be written to {file.filename}: the disk is full")
        try:
            dataset.resize(number + 1, axis=0)
            dataset[number] = frame
            dataset.flush()
        except (OSError, RuntimeError) as error:
            raise OSError(f"{self.name}: frame {number} cannot be written to {file.filename}: {error}") from error
        self._datum = f"{self._resource}/{number}"
        datum = {"resource": self._resource, "datum_id": self._datum, "datum_kwargs": {"point_number": number}}
        self._documents.append(("datum", datum))


class CcdDark(Ccd):
    """The same camera with a second file, for dark frames."""

    image_key = str(Key.CCD_DARK_IMAGE)
