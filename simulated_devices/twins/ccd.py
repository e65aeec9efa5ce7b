"""Twin of the RIXS camera."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ophyd import Component, Kind

from beamline.endstation.devices.frames import FrameReferences, describe_frames
from beamline.endstation.devices.task import TaskStatus
from callbacks.contract import UNITS, CcdConfig, Key
from callbacks.external import HDF5_DATASET
from simulated_devices.twins.base import SoftSignal, Twin
from simulated_devices.twins.frame_files import create_frames, is_disk_full


class Ccd(Twin):
    """RIXS camera: each trigger writes a frame to an HDF5 file, and events refer to it, as with area detectors."""

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
    chip_size = 2048  # pixels a side; a frame is binned to the columns and rows of the spectrograph's model
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
        model = self.world.truth.spectrograph  # the numbers that a maker's data sheet gives
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
        self._frames = FrameReferences()
        self._datum = ""  # reference to the newest frame

    def stage(self) -> list[Any]:
        """Open a new file."""
        staged: list[Any] = super().stage()
        folder = Path(self.write_path)
        frames = FrameReferences.for_new_file(folder, self.name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = h5py.File(frames.path, "w", libver="latest")
            create_frames(self._file, self._shape)
            self._file.swmr_mode = True  # readable from now on, by this process and others
        except OSError as error:
            raise OSError(f"{self.name}: {frames.path} cannot be written: {error}") from error
        self._frames = frames
        return staged

    def unstage(self) -> list[Any]:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        result: list[Any] = super().unstage()
        return result

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
        reading: OrderedDict[str, dict[str, Any]] = super().read()
        reading[self.image_key] = {"value": self._datum, "timestamp": self.world.clock.now()}
        return reading

    def describe(self) -> OrderedDict[str, dict[str, Any]]:
        """Describe the frames."""
        described: OrderedDict[str, dict[str, Any]] = super().describe()
        described[self.image_key] = describe_frames(self._shape, source=f"SIM:{self.name}", units=UNITS[Key.CCD_IMAGE])
        return described

    def collect_asset_docs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the documents that say where the frames are."""
        yield from self._frames.collect()

    def _write(self, file: h5py.File, frame: np.ndarray) -> None:
        dataset = file[HDF5_DATASET]
        number = len(dataset)
        if is_disk_full(file, frame.nbytes):
            raise OSError(f"{self.name}: frame {number} cannot be written to {file.filename}: the disk is full")
        try:
            dataset.resize(number + 1, axis=0)
            dataset[number] = frame
            dataset.flush()
        except (OSError, RuntimeError) as error:
            raise OSError(f"{self.name}: frame {number} cannot be written to {file.filename}: {error}") from error
        self._datum = self._frames.add(number)


class CcdDark(Ccd):
    """The same camera with a second file, for dark frames."""

    image_key = str(Key.CCD_DARK_IMAGE)
