"""RIXS camera: an Andor CCD under areaDetector, whose frames an HDF5 plugin writes to files."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ophyd import Component, FormattedComponent, Kind

from beamline.endstation.devices.camera import Camera
from beamline.endstation.devices.frame_writer import FrameWriter
from beamline.endstation.devices.frames import FrameReferences, describe_frames
from beamline.endstation.devices.signals import Reading, Setting, SoftSetting, Whole
from beamline.endstation.devices.task import DeviceError, TaskDevice, TaskStatus
from beamline.endstation.devices.waits import NO_ANSWER, write
from callbacks.contract import UNITS, CcdConfig, Key

log = logging.getLogger(__name__)

WARM_UP_TIME = 0.1  # s, exposure of the frame that shows the plugin how large frames are
WARM = 2.0  # degC from the setpoint, beyond which the dark current differs noticeably
_ONE_EXPOSURE: dict[str, threading.Lock] = {}  # by prefix of the camera, which several devices may use


def _config(suffix: str, key: CcdConfig, kind: type[Reading] = Reading, **kwargs: Any) -> Component:
    return Component(kind, f"cam1:{suffix}", key=str(key), units=UNITS.get(key, ""), kind=Kind.config, **kwargs)


def _soft(value: float, key: CcdConfig) -> Component:
    return Component(SoftSetting, value=value, key=str(key), units=UNITS.get(key, ""), kind=Kind.config)


class Ccd(TaskDevice):
    """RIXS camera: each trigger exposes a frame, which an HDF5 plugin writes to a file of this stage.

    Light and dark frames come from one camera and go to two files. A plugin writes one file at a time, so `Ccd` and
    `CcdDark` have a plugin each (``HDF1:`` and ``HDF2:``), both fed by the camera's driver. A plugin takes frames
    (``EnableCallbacks``) only while the device it belongs to is triggered: so each frame goes to the right file, and
    what somebody exposes from a screen in between goes to none.

    The file is open and readable (SWMR) from `stage` on, not from the first frame on (``LazyOpen`` is off): a folder
    that cannot be written to is found before the beam is used. The plugin must know the size of a frame for that;
    where it has seen none of this size since its IOC was started, `stage` takes one of 0.1 s and says so in the log.

    Parameters
    ----------
    prefix : str
        Of the detector; the camera's PVs begin with ``{prefix}cam1:``.
    name : str
    plugin : str, optional
        What the HDF5 plugin's PVs begin with, after `prefix`.
    counts_per_ev, read_noise, full_scale, pedestal_subtracted : float
        As in `CcdConfig`; NaN where it is not known.
    readout_time : float
        s that a frame may take beyond its exposure.
    write_timeout : float
        s that a frame may take from the camera into the file.

    Attributes
    ----------
    write_path : str
        Folder of the files, as IOC and this computer both see it; the engine sets it before `stage`.
    """

    image_key = str(Key.CCD_IMAGE)
    default_plugin = "HDF1:"
    warns_when_warm = True

    exposure_time = Component(
        Setting,
        "cam1:AcquireTime_RBV",
        write_pv="cam1:AcquireTime",
        key=str(Key.EXPOSURE_TIME),
        units=UNITS[Key.EXPOSURE_TIME],
        limits=(0.001, 36000.0),
        kind=Kind.normal,
    )
    counts_per_ev = _soft(float("nan"), CcdConfig.COUNTS_PER_EV)
    read_noise = _soft(float("nan"), CcdConfig.READ_NOISE)
    full_scale = _soft(float("nan"), CcdConfig.FULL_SCALE)
    pedestal_subtracted = _soft(0, CcdConfig.PEDESTAL_SUBTRACTED)
    temperature = _config("TemperatureActual", CcdConfig.TEMPERATURE)
    temperature_setpoint = _config("Temperature_RBV", CcdConfig.TEMPERATURE_SETPOINT)
    cooler = _config("AndorCooler_RBV", CcdConfig.COOLER, string=True)
    cooling_state = _config("AndorTempStatus_RBV", CcdConfig.COOLING_STATE, string=True)
    gain = _config("AndorPreAmpGain_RBV", CcdConfig.GAIN, string=True)
    readout_speed = _config("AndorADCSpeed_RBV", CcdConfig.READOUT_SPEED, string=True)
    binning_x = _config("BinX_RBV", CcdConfig.BINNING_X, Whole)
    binning_y = _config("BinY_RBV", CcdConfig.BINNING_Y, Whole)
    model = _config("Model_RBV", CcdConfig.MODEL, string=True)

    cam = Component(Camera, "cam1:", kind=Kind.omitted)
    hdf = FormattedComponent(FrameWriter, "{self.prefix}{self._plugin}", kind=Kind.omitted)

    def __init__(
        self,
        prefix: str,
        *,
        name: str,
        plugin: str | None = None,
        counts_per_ev: float = float("nan"),
        read_noise: float = float("nan"),
        full_scale: float = float("nan"),
        pedestal_subtracted: int = 0,
        readout_time: float = 30.0,
        write_timeout: float = 10.0,
        **kwargs: Any,
    ) -> None:
        self._plugin = self.default_plugin if plugin is None else plugin
        super().__init__(prefix, name=name, **kwargs)
        self.write_path = ""
        self._readout_time, self.hdf.timeout = readout_time, write_timeout
        self.counts_per_ev.put(float(counts_per_ev))
        self.read_noise.put(float(read_noise))
        self.full_scale.put(float(full_scale))
        self.pedestal_subtracted.put(int(pedestal_subtracted))
        self._one_exposure = _ONE_EXPOSURE.setdefault(self.cam.prefix, threading.Lock())
        self._was_aborted = False  # frames of an aborted exposure may yet be written
        self._frames = FrameReferences()
        self._datum = ("", 0.0)  # reference to the newest frame, and when it was there
        self.cam.connect_early()
        self.hdf.connect_early()

    def stage(self) -> list[Any]:
        """Open a new file.

        Raises
        ------
        OSError
            Where the file cannot be written: names it, and quotes the plugin.
        DeviceError
            Where camera or plugin do not do what they are asked to.
        """
        staged: list[Any] = super().stage()
        try:
            self.cam.prepare()
            self._warm_up()
            self._open()
        except Exception:
            super().unstage()
            raise
        if self.warns_when_warm:
            self._warn_when_warm()
        return staged

    def unstage(self) -> list[Any]:
        """Close the file; an exposure under way is aborted."""
        try:
            if self.hdf.path is not None:
                self.stop(success=True)
                with self._exclusive_use():
                    self.hdf.close()
        finally:
            self.hdf.path = None
            staged: list[Any] = super().unstage()
        return staged

    def trigger(self) -> TaskStatus:
        """Expose a frame; done when it is in the file."""
        if self.hdf.path is None:
            raise RuntimeError(f"{self.name}: triggered without being staged")
        self._datum = ("", time.time())  # so that a missing frame is not mistaken for the one before
        return self.work(self._expose)

    def read(self) -> OrderedDict[str, dict[str, Any]]:
        """Give the reference to the newest frame."""
        reading: OrderedDict[str, dict[str, Any]] = super().read()
        datum, timestamp = self._datum
        reading[self.image_key] = {"value": datum, "timestamp": timestamp}
        return reading

    def describe(self) -> OrderedDict[str, dict[str, Any]]:
        """Describe the frames."""
        described: OrderedDict[str, dict[str, Any]] = super().describe()
        described[self.image_key] = describe_frames(
            self._shape(), source=f"PV:{self.hdf.prefix}", units=UNITS[Key.CCD_IMAGE]
        )
        return described

    def collect_asset_docs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the documents that say where the frames are."""
        yield from self._frames.collect()

    # --- exposing

    def _expose(self, stopped: threading.Event) -> None:
        with self._exclusive_use():
            try:
                number = self._take(stopped)
            except Exception:
                self._abort()
                raise
        self._datum = (self._frames.add(number), time.time())

    def _take(self, stopped: threading.Event) -> int:
        """Take a frame and give its index in the file."""
        exposure = float(self.exposure_time.present())
        if self._was_aborted:
            self.hdf.wait_for_late_frames(stopped)
            self._was_aborted = False
        number: int = self.hdf.begin_frame()
        self.cam.expose(
            timeout=exposure + self._readout_time, wanted=f"0 after an exposure of {exposure:g} s", stopped=stopped
        )
        self.hdf.finish_frame(number, stopped)
        return number

    def _abort(self) -> None:
        """End an exposure that is not wanted any more."""
        self._was_aborted = True
        try:
            self.cam.abort()
            self.hdf.take_frames(on=False)
        except (DeviceError, *NO_ANSWER) as error:  # the error to raise is the one for which it is aborted
            log.error("%s could not be aborted: %s", self.name, error)

    @contextmanager
    def _exclusive_use(self) -> Iterator[None]:
        """Use the camera alone; an exposure that is being aborted ends before."""
        if not self._one_exposure.acquire(timeout=self._readout_time):
            raise DeviceError(
                f"{self.name}: the camera is exposing, expected it to end within {self._readout_time:g} s"
            )
        try:
            yield
        finally:
            self._one_exposure.release()

    # --- staging

    def _open(self) -> None:
        if not self.write_path:
            raise DeviceError(f"{self.name}: write_path is empty, expected the folder of the files")
        frames = FrameReferences.for_new_file(Path(self.write_path).absolute(), self.name)
        assert frames.path is not None
        self.hdf.open(frames.path)
        self._frames, self._was_aborted = frames, False
        self._datum = ("", time.time())

    def _warm_up(self) -> None:
        """Let the plugin see a frame where it does not know how large frames are."""
        self.hdf.take_frames(on=False)
        wanted = self._shape()
        if wanted == self.hdf.frame_shape != (0, 0):
            return
        log.warning(
            "%s: %s has seen no frame of %d x %d yet; one of %g s is taken",
            self.name,
            self.hdf.prefix,
            *wanted,
            WARM_UP_TIME,
        )
        exposure = self.exposure_time.present()
        with self._exclusive_use():
            try:
                write(self.exposure_time, WARM_UP_TIME)
                self.hdf.take_frames(on=True)
                self.cam.expose(timeout=WARM_UP_TIME + self._readout_time, wanted="0 after a frame to warm up")
                self.hdf.wait_for_shape(wanted)
            except Exception:
                self._abort()
                raise
            finally:
                write(self.exposure_time, exposure)
        self.hdf.take_frames(on=False)

    def _warn_when_warm(self) -> None:
        actual, setpoint = (float(each.get()) for each in (self.temperature, self.temperature_setpoint))
        cooler, state = self.cooler.get(), str(self.cooling_state.get())
        if cooler == "On" and abs(actual - setpoint) > WARM:
            log.warning(
                "%s: %s is %.1f degC, expected %g degC within %g degC",
                self.name,
                self.temperature.pvname,
                actual,
                setpoint,
                WARM,
            )
        elif "stabilized at" not in state.lower() or "not " in state.lower():
            log.warning("%s: %s is %r, expected it stabilized", self.name, self.cooling_state.pvname, state)

    def _shape(self) -> tuple[int, int]:
        """Give rows and columns of a frame: the camera's, or the plugin's where the camera does not say."""
        shape: tuple[int, int] = self.cam.frame_shape
        return shape if min(shape) > 0 else self.hdf.frame_shape


class CcdDark(Ccd):
    """The same camera with a second plugin and file, for dark frames."""

    image_key = str(Key.CCD_DARK_IMAGE)
    default_plugin = "HDF2:"
    warns_when_warm = False  # `Ccd` does, of the same camera
