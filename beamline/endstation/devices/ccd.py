"""RIXS camera: an Andor CCD under areaDetector, whose frames an HDF5 plugin writes to files."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ophyd import Component, EpicsSignal, EpicsSignalRO, FormattedComponent, Kind
from ophyd.areadetector.cam import AndorDetectorCam
from ophyd.areadetector.plugins import HDF5Plugin_V34

from beamline.endstation.devices.base import (
    ANSWER_TIMEOUT,
    NO_ANSWER,
    Reading,
    Setting,
    SoftSetting,
    put_and_wait,
    wait_for,
)
from beamline.endstation.devices.task import DeviceError, StoppedError, TaskDevice
from callbacks.contract import UNITS, CcdConfig, Key

log = logging.getLogger(__name__)

FILE_TEMPLATE = "%s%s.h5"  # what areaDetector makes a file's name of: folder and name
APPEARS = 5.0  # s in which a file that another computer has opened is seen here
CREATED_FOLDERS = -3  # areaDetector creates so many of the last folders of a path where they are missing
WARM_UP_TIME = 0.1  # s, exposure of the frame that tells the plugin how large frames are
WARM = 2.0  # degC from the setpoint, beyond which dark current is not what it was
SETTLING = 0.3  # s without a new frame, after which none of an aborted exposure is to come
SINGLE, STREAM, WRITE_OK = 0, 2, 0  # of ImageMode, FileWriteMode, WriteStatus
_ONE_EXPOSURE: dict[str, threading.Lock] = {}  # by prefix of the camera, which several devices may use


class FrameWriter(HDF5Plugin_V34):
    """The HDF5 plugin; `Ccd` opens and closes its file, so that staging it does nothing by itself."""

    def stage(self) -> list[Any]:
        """Do nothing: ophyd's would refuse a plugin that has seen no frame."""
        return [self]

    def unstage(self) -> list[Any]:
        """Do nothing."""
        return [self]


class Camera(AndorDetectorCam):
    """The camera driver; `Ccd` sets it."""

    def stage(self) -> list[Any]:
        """Do nothing."""
        return [self]

    def unstage(self) -> list[Any]:
        """Do nothing."""
        return [self]


def _config(suffix: str, key: CcdConfig, **kwargs: Any) -> Component:
    return Component(Reading, f"cam1:{suffix}", key=str(key), units=UNITS.get(key, ""), kind=Kind.config, **kwargs)


def _soft(value: float, key: CcdConfig) -> Component:
    return Component(SoftSetting, value=value, key=str(key), units=UNITS.get(key, ""), kind=Kind.config)


class Ccd(TaskDevice):
    """RIXS camera: each trigger exposes a frame, which an HDF5 plugin writes to a file of this stage.

    Light and dark frames come from one camera and go to two files. A plugin writes one file at a time, so `Ccd` and
    `CcdDark` have a plugin each (``HDF1:`` and ``HDF2:``), both fed by the camera's driver. A plugin takes frames
    (``EnableCallbacks``) only while the device it belongs to is triggered: so each frame goes to the right file, and
    what somebody exposes at a screen in between goes to none.

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
    binning_x = _config("BinX_RBV", CcdConfig.BINNING_X)
    binning_y = _config("BinY_RBV", CcdConfig.BINNING_Y)
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
        self._readout_time, self._write_timeout = readout_time, write_timeout
        self.counts_per_ev.put(float(counts_per_ev))
        self.read_noise.put(float(read_noise))
        self.full_scale.put(float(full_scale))
        self.pedestal_subtracted.put(int(pedestal_subtracted))
        self._one_exposure = _ONE_EXPOSURE.setdefault(self.cam.prefix, threading.Lock())
        self._settled = True  # nothing of an aborted exposure is under way
        self._was_unwritten = False  # the plugin still says so of an earlier frame
        self._frames = 0  # in the file, at least
        self._path: Path | None = None
        self._resource = ""
        self._datum = ("", 0.0)
        self._documents: list[tuple[str, dict[str, Any]]] = []
        self._connect_early()

    def stage(self) -> list[Any]:
        """Open a new file.

        Raises
        ------
        OSError
            Where the file cannot be written: names it, and says what the plugin says.
        DeviceError
            Where camera or plugin do not do what they are told.
        """
        staged = super().stage()
        try:
            self._set_camera()
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
            if self._path is not None:
                self.stop(success=True)
                with self._camera():
                    self._close()
        finally:
            self._path, self._resource = None, ""
            staged = super().unstage()
        return staged

    def trigger(self) -> Any:
        """Expose a frame; done when it is in the file."""
        if self._path is None:
            raise RuntimeError(f"{self.name}: triggered without being staged")
        self._datum = ("", time.time())  # a frame that is not there is not mistaken for the one before
        return self.work(self._expose)

    def read(self) -> OrderedDict[str, dict[str, Any]]:
        """Give the reference to the newest frame."""
        reading = super().read()
        datum, timestamp = self._datum
        reading[self.image_key] = {"value": datum, "timestamp": timestamp}
        return reading

    def describe(self) -> OrderedDict[str, dict[str, Any]]:
        """Describe the frames."""
        described = super().describe()
        described[self.image_key] = {
            "dtype": "array",
            "dtype_numpy": "<u2",
            "shape": list(self._shape()),
            "source": f"PV:{self.hdf.prefix}",
            "external": "FILESTORE:",
            "units": UNITS[Key.CCD_IMAGE],
        }
        return described

    def collect_asset_docs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the documents that say where the frames are."""
        documents, self._documents = self._documents, []
        yield from documents

    # --- exposing

    def _expose(self, stopped: threading.Event) -> None:
        with self._camera():
            try:
                number = self._take(stopped)
            except Exception:
                self._abort()
                raise
        self._datum = (f"{self._resource}/{number}", time.time())
        datum = {
            "resource": self._resource,
            "datum_id": self._datum[0],
            "datum_kwargs": {"point_number": number},
        }
        self._documents.append(("datum", datum))

    def _take(self, stopped: threading.Event) -> int:
        """Take a frame and give its index in the file."""
        exposure = float(self.exposure_time.get(use_monitor=False))
        if not self._settled:
            self._settle(stopped)
        self._put(self.hdf.enable, 1)
        number = int(self.hdf.num_captured.get(use_monitor=False))
        if number < self._frames:
            raise DeviceError(
                f"{self.name}: {self.hdf.num_captured.pvname} is {number}, expected {self._frames} or more: "
                f"{self._path} is not what is written any more"
            )
        put_and_wait(
            self.cam.acquire,
            1,
            timeout=exposure + self._readout_time,
            wanted=f"0 after an exposure of {exposure:g} s",
            stopped=stopped,
        )
        try:
            captured = wait_for(
                self.hdf.num_captured,
                self._has_written(number + 1),
                timeout=self._write_timeout,
                wanted=f"{number + 1} in {self._path}",
                stopped=stopped,
            )
        except StoppedError:
            raise
        except DeviceError as error:
            self._raise_unwritten(number, error)
            raise
        if captured != number + 1:
            raise DeviceError(
                f"{self.name}: {self.hdf.num_captured.pvname} is {captured}, expected {number + 1} in {self._path}: "
                "somebody else took frames"
            )
        self._put(self.hdf.enable, 0)
        self._frames, self._was_unwritten = number + 1, False
        return number

    def _has_written(self, wanted: int) -> Callable[[Any], bool]:
        """Tell whether there are so many frames; raise what the plugin says where it could not write."""

        def has_written(captured: Any) -> bool:
            if captured < wanted and not self._was_unwritten:
                self._raise_unwritten(wanted - 1)
            return bool(captured >= wanted)

        return has_written

    def _raise_unwritten(self, number: int, cause: Exception | None = None) -> None:
        if self.hdf.write_status.get(use_monitor=False) != WRITE_OK:
            raise OSError(
                f"{self.name}: frame {number} cannot be written to {self._path}: {self._message()}"
            ) from cause

    def _abort(self) -> None:
        """End an exposure that is not wanted any more; a frame that is read out already may yet be written."""
        self._settled = False
        try:
            # Without completion: that of the exposure is still awaited by the server.
            self.cam.acquire.put(0, force=True, use_complete=False, timeout=ANSWER_TIMEOUT)
            wait_for(self.cam.acquire, lambda value: value == 0, timeout=ANSWER_TIMEOUT, wanted="0 when aborted")
            self._put(self.hdf.enable, 0)
        except (DeviceError, *NO_ANSWER) as error:  # why it is aborted is the error to raise
            log.error("%s could not be aborted: %s", self.name, error)

    def _settle(self, stopped: threading.Event) -> None:
        """Wait until all frames of an aborted exposure are written, so that they are not taken for the next."""
        size = self.hdf.queue_size.get(use_monitor=False)
        wait_for(
            self.hdf.queue_free,
            lambda free: free >= size,
            timeout=self._write_timeout,
            wanted=f"{size} (frames before are written)",
            stopped=stopped,
        )
        before = None
        deadline = time.monotonic() + self._write_timeout
        while before != (before := self.hdf.num_captured.get(use_monitor=False)) and time.monotonic() < deadline:
            stopped.wait(SETTLING)
        # What the plugin says of a frame before stands until the next is written.
        self._was_unwritten = self.hdf.write_status.get(use_monitor=False) != WRITE_OK
        self._settled = True

    # --- the camera and its file

    def _set_camera(self) -> None:
        cam = self.cam
        if cam.acquire.get(use_monitor=False) != 0:
            log.warning("%s: %s is acquiring; it is stopped", self.name, cam.acquire.setpoint_pvname)
            cam.acquire.put(0, force=True, use_complete=False, timeout=ANSWER_TIMEOUT)
            wait_for(cam.acquire, lambda value: value == 0, timeout=ANSWER_TIMEOUT, wanted="0 when stopped")
        self._put(cam.image_mode, SINGLE)
        self._put(cam.array_callbacks, 1)

    def _warm_up(self) -> None:
        """Let the plugin see a frame where it does not know how large frames are."""
        hdf = self.hdf
        self._put(hdf.enable, 0)
        wanted = self._shape()
        if wanted == _size(hdf.height, hdf.width) != (0, 0):
            return
        log.warning(
            "%s: %s has seen no frame of %d x %d yet; one of %g s is taken",
            self.name,
            hdf.prefix,
            *wanted,
            WARM_UP_TIME,
        )
        exposure = self.exposure_time.get(use_monitor=False)
        with self._camera():
            try:
                self._put(self.exposure_time, WARM_UP_TIME)
                self._put(hdf.enable, 1)
                put_and_wait(
                    self.cam.acquire, 1, timeout=WARM_UP_TIME + self._readout_time, wanted="0 after a frame to warm up"
                )
                wait_for(
                    hdf.height,
                    lambda rows: rows > 0 and wanted in ((0, 0), _size(hdf.height, hdf.width)),
                    timeout=self._write_timeout,
                    wanted=f"{wanted[0]} rows of a frame",
                )
            except Exception:
                self._abort()
                raise
            finally:
                self._put(self.exposure_time, exposure)
        self._put(hdf.enable, 0)

    def _open(self) -> None:
        hdf = self.hdf
        if not self.write_path:
            raise DeviceError(f"{self.name}: write_path is empty, expected the folder of the files")
        if hdf.capture.get(use_monitor=False) != 0:
            log.warning("%s: %s is writing a file; it is closed", self.name, hdf.capture.setpoint_pvname)
            self._close()
        folder = Path(self.write_path).absolute()
        resource = str(uuid.uuid4())
        path = folder / f"{self.name}_{resource}.h5"
        for signal, value in (
            (hdf.create_directory, CREATED_FOLDERS),
            (hdf.file_path, f"{folder}/"),
            (hdf.file_name, path.stem),
            (hdf.file_template, FILE_TEMPLATE),
            (hdf.temp_suffix, ""),  # else it has another name until it is closed
            (hdf.auto_increment, 0),
            (hdf.file_write_mode, STREAM),
            (hdf.num_capture, 0),
            (hdf.num_extra_dims, 0),
            (hdf.position_mode, 0),
            (hdf.num_frames_chunks, 1),
            (hdf.num_frames_flush, 1),
            (hdf.lazy_open, 0),
            (hdf.swmr_mode, 1),
            (hdf.blocking_callbacks, 0),
        ):
            self._put(signal, value)
        if hdf.file_path_exists.get(use_monitor=False) != 1:
            raise OSError(f"{self.name}: {path} cannot be written: {hdf.file_path_exists.pvname} is 0, no such folder")
        was = hdf.write_status.get(use_monitor=False)
        hdf.capture.put(
            1, force=True, use_complete=False, timeout=ANSWER_TIMEOUT
        )  # which would complete when the file is closed

        def is_open(capture: Any) -> bool:
            if was == WRITE_OK and hdf.write_status.get(use_monitor=False) != WRITE_OK:
                raise OSError(f"{self.name}: {path} cannot be written: {self._message()}")
            return capture == 1

        try:
            wait_for(hdf.capture, is_open, timeout=ANSWER_TIMEOUT, wanted=f"1, writing {path}")
        except DeviceError as error:
            raise OSError(f"{self.name}: {path} cannot be written: {self._message() or error}") from error
        opened = hdf.full_file_name.get(use_monitor=False)
        if Path(opened) != path:
            self._close()
            raise OSError(f"{self.name}: {hdf.full_file_name.pvname} is {opened}, expected {path}")
        deadline = time.monotonic() + APPEARS
        while not path.exists():
            if time.monotonic() > deadline:
                self._close()
                raise OSError(f"{self.name}: the IOC writes {path} to a disk of its own: it is not seen here")
            time.sleep(0.05)
        kind = hdf.data_type.get(use_monitor=False)
        if kind != "UInt16":
            self._close()
            raise DeviceError(f"{self.name}: {hdf.data_type.pvname} is {kind}, expected UInt16")
        self._path, self._resource = path, resource
        self._settled, self._was_unwritten, self._frames = True, False, 0
        self._datum = ("", time.time())
        document = {
            "uid": resource,
            "spec": "AD_HDF5",
            "root": str(folder),
            "resource_path": path.name,
            "resource_kwargs": {"frame_per_point": 1},
            "path_semantics": "posix",
        }
        self._documents = [("resource", document)]

    def _close(self) -> None:
        self._put(self.hdf.enable, 0)
        self.hdf.capture.put(0, force=True, use_complete=False, timeout=ANSWER_TIMEOUT)
        wait_for(
            self.hdf.capture,
            lambda value: value == 0,
            timeout=self._write_timeout,
            wanted=f"0, {self._path or 'its file'} closed",
        )

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

    # --- small things

    def _camera(self) -> _Exclusive:
        """Have the camera alone; an exposure that is being aborted ends before."""
        return _Exclusive(self._one_exposure, self.name, self._readout_time)

    def _put(self, signal: EpicsSignal, value: Any) -> None:
        put_and_wait(signal, value, timeout=ANSWER_TIMEOUT, wanted=f"{value} written")

    def _message(self) -> str:
        return str(self.hdf.write_message.get(use_monitor=False)).strip()

    def _shape(self) -> tuple[int, int]:
        """Give rows and columns of a frame: the camera's, or the plugin's where the camera does not say."""
        size = self.cam.array_size
        shape = _size(size.array_size_y, size.array_size_x)
        return shape if min(shape) > 0 else _size(self.hdf.height, self.hdf.width)

    def _connect_early(self) -> None:
        """Make the signals that are used, so that they connect with the device: ophyd makes them when first used."""
        self.cam.lazy_wait_for_connection = self.hdf.lazy_wait_for_connection = False
        self.cam.array_size.lazy_wait_for_connection = False
        for device, names in (
            (self.cam, "acquire image_mode array_callbacks"),
            (self.cam.array_size, "array_size_x array_size_y"),
            (
                self.hdf,
                "enable capture num_captured write_status write_message queue_size queue_free height width data_type "
                "create_directory file_path file_name file_template temp_suffix auto_increment file_write_mode "
                "num_capture num_extra_dims position_mode num_frames_chunks num_frames_flush lazy_open swmr_mode "
                "blocking_callbacks file_path_exists full_file_name",
            ),
        ):
            for name in names.split():
                getattr(device, name)


class CcdDark(Ccd):
    """The same camera with a second plugin and file, for dark frames."""

    image_key = str(Key.CCD_DARK_IMAGE)
    default_plugin = "HDF2:"
    warns_when_warm = False  # `Ccd` does, of the same camera


def _size(rows: EpicsSignalRO, columns: EpicsSignalRO) -> tuple[int, int]:
    return int(rows.get(use_monitor=False)), int(columns.get(use_monitor=False))


class _Exclusive:
    """Holds a lock that is free again within a time, or says who waited for it."""

    def __init__(self, lock: threading.Lock, name: str, timeout: float) -> None:
        self._lock, self._name, self._timeout = lock, name, timeout

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=self._timeout):
            raise DeviceError(f"{self._name}: the camera is exposing, expected it to end within {self._timeout:g} s")

    def __exit__(self, *_: object) -> None:
        self._lock.release()
