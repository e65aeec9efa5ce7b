"""The HDF5 plugin of areaDetector: opens a file, has frames written to it one by one, and closes it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ophyd.areadetector.plugins import HDF5Plugin_V34

from beamline.endstation.devices.camera import StagedByCcd, shape_of
from beamline.endstation.devices.task import DeviceError, StoppedError
from beamline.endstation.devices.waits import ANSWER_TIMEOUT, present, wait_for, write

log = logging.getLogger(__name__)

FILE_TEMPLATE = "%s%s.h5"  # areaDetector fills in folder and name
APPEARS = 5.0  # s until a file that another computer has opened is visible here
CREATED_FOLDERS = -3  # areaDetector creates so many of the last folders of a path where they are missing
QUIET = 0.3  # s without a new frame, after which none of an aborted exposure is expected
STREAM, WRITE_OK = 2, 0  # of FileWriteMode, WriteStatus
USED = (  # signals
    *("enable", "capture", "num_captured", "write_status", "write_message", "queue_size", "queue_free"),
    *("height", "width", "data_type", "create_directory", "file_path", "file_path_exists", "full_file_name"),
    *("file_name", "file_template", "temp_suffix", "auto_increment", "file_write_mode", "num_capture"),
    *("num_extra_dims", "position_mode", "num_frames_chunks", "num_frames_flush", "lazy_open", "swmr_mode"),
    "blocking_callbacks",
)


class FrameWriter(StagedByCcd, HDF5Plugin_V34):
    """The HDF5 plugin, whose file `Ccd` opens and closes.

    Attributes
    ----------
    path : Path or None
        The file that is open.
    timeout : float
        s that a frame may take from the camera into the file.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.path: Path | None = None
        self.timeout = 10.0
        self._written = 0  # frames in the file, at least
        self._has_old_error = False  # the plugin still shows the error of an earlier frame

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of the frames it has seen; zeros where it has seen none."""
        return shape_of(self.height, self.width)

    def connect_early(self) -> None:
        """Make the signals that are used, so that they connect with the device: ophyd makes them when first used."""
        self.lazy_wait_for_connection = False
        for name in USED:
            getattr(self, name)

    def take_frames(self, *, on: bool) -> None:
        """Switch whether the plugin takes what the camera exposes."""
        write(self.enable, int(on))

    def wait_for_shape(self, wanted: tuple[int, int]) -> None:
        """Wait until the plugin has seen a frame of a shape, of any where `wanted` is (0, 0)."""
        wait_for(
            self.height,
            lambda rows: rows > 0 and wanted in ((0, 0), self.frame_shape),
            timeout=self.timeout,
            wanted=f"{wanted[0]} rows of a frame",
        )

    # --- the file

    def open(self, path: Path) -> None:
        """Open a file, readable (SWMR) at once.

        Raises
        ------
        OSError
            Where it cannot be written: names it, and quotes the plugin.
        DeviceError
            Where the plugin does not do what it is asked to.
        """
        if present(self.capture) != 0:
            log.warning("%s: %s is writing a file; it is closed", self.root.name, self.capture.setpoint_pvname)
            self.close()
        self._configure(path)
        self._begin_capture(path)
        try:
            self._check_opened(path)
        except (OSError, DeviceError):
            self.close()
            raise
        self.path, self._written, self._has_old_error = path, 0, False

    def close(self) -> None:
        """Close the file that is open."""
        self.take_frames(on=False)
        self.capture.put(0, force=True, use_complete=False, timeout=ANSWER_TIMEOUT)
        wait_for(
            self.capture,
            lambda value: value == 0,
            timeout=self.timeout,
            wanted=f"0, {self.path or 'its file'} closed",
        )

    def _configure(self, path: Path) -> None:
        for signal, value in (
            (self.create_directory, CREATED_FOLDERS),
            (self.file_path, f"{path.parent}/"),
            (self.file_name, path.stem),
            (self.file_template, FILE_TEMPLATE),
            (self.temp_suffix, ""),  # else it has another name until it is closed
            (self.auto_increment, 0),
            (self.file_write_mode, STREAM),
            (self.num_capture, 0),
            (self.num_extra_dims, 0),
            (self.position_mode, 0),
            (self.num_frames_chunks, 1),
            (self.num_frames_flush, 1),
            (self.lazy_open, 0),
            (self.swmr_mode, 1),
            (self.blocking_callbacks, 0),
        ):
            write(signal, value)
        if present(self.file_path_exists) != 1:
            raise self._cannot_write(path, f"{self.file_path_exists.pvname} is 0, no such folder")

    def _begin_capture(self, path: Path) -> None:
        status_before = present(self.write_status)
        # Without completion: it would come when the file is closed.
        self.capture.put(1, force=True, use_complete=False, timeout=ANSWER_TIMEOUT)

        def is_open(capture: Any) -> bool:
            if status_before == WRITE_OK and present(self.write_status) != WRITE_OK:
                raise self._cannot_write(path, self._message())
            return bool(capture == 1)

        try:
            wait_for(self.capture, is_open, timeout=ANSWER_TIMEOUT, wanted=f"1, writing {path}")
        except DeviceError as error:
            raise self._cannot_write(path, self._message() or str(error)) from error

    def _check_opened(self, path: Path) -> None:
        """Check that the file that was opened is the one asked for, can be seen here, and takes frames of 16 bit."""
        name = self.root.name
        opened = present(self.full_file_name)
        if Path(opened) != path:
            raise OSError(f"{name}: {self.full_file_name.pvname} is {opened}, expected {path}")
        deadline = time.monotonic() + APPEARS
        while not path.exists():
            if time.monotonic() > deadline:
                raise OSError(f"{name}: the IOC writes {path} to a disk of its own: it is not seen here")
            time.sleep(0.05)
        kind = present(self.data_type)
        if kind != "UInt16":
            raise DeviceError(f"{name}: {self.data_type.pvname} is {kind}, expected UInt16")

    # --- frames

    def begin_frame(self) -> int:
        """Let the plugin take the next frame; give the index that it will have in the file."""
        self.take_frames(on=True)
        number = int(present(self.num_captured))
        if number < self._written:
            raise DeviceError(
                f"{self.root.name}: {self.num_captured.pvname} is {number}, expected {self._written} or more: "
                f"{self.path} is no longer the file being written"
            )
        return number

    def finish_frame(self, number: int, stopped: threading.Event) -> None:
        """Wait until a frame is in the file.

        Raises
        ------
        OSError
            Where it cannot be written: names it, and quotes the plugin.
        DeviceError
            When it is not written in time, or not alone.
        """
        try:
            captured = wait_for(
                self.num_captured,
                self._has_written(number + 1),
                timeout=self.timeout,
                wanted=f"{number + 1} in {self.path}",
                stopped=stopped,
            )
        except StoppedError:
            raise
        except DeviceError as error:
            self._raise_write_error(number, error)
            raise
        if captured != number + 1:
            raise DeviceError(
                f"{self.root.name}: {self.num_captured.pvname} is {captured}, expected {number + 1} in {self.path}: "
                "somebody else took frames"
            )
        self.take_frames(on=False)
        self._written, self._has_old_error = number + 1, False

    def wait_for_late_frames(self, stopped: threading.Event) -> None:
        """Wait until all frames of an aborted exposure are written, so that they are not taken for the next."""
        size = present(self.queue_size)
        wait_for(
            self.queue_free,
            lambda free: free >= size,
            timeout=self.timeout,
            wanted=f"{size} (frames before are written)",
            stopped=stopped,
        )
        before = None
        deadline = time.monotonic() + self.timeout
        while before != (before := present(self.num_captured)) and time.monotonic() < deadline:
            stopped.wait(QUIET)
        # The plugin shows the error of a frame until the next one is written.
        self._has_old_error = present(self.write_status) != WRITE_OK

    def _has_written(self, wanted: int) -> Callable[[Any], bool]:
        """Tell whether there are so many frames; raise the plugin's error where it could not write."""

        def has_written(captured: Any) -> bool:
            if captured < wanted and not self._has_old_error:
                self._raise_write_error(wanted - 1)
            return bool(captured >= wanted)

        return has_written

    def _raise_write_error(self, number: int, cause: Exception | None = None) -> None:
        if present(self.write_status) != WRITE_OK:
            raise OSError(
                f"{self.root.name}: frame {number} cannot be written to {self.path}: {self._message()}"
            ) from cause

    def _cannot_write(self, path: Path, why: str) -> OSError:
        return OSError(f"{self.root.name}: {path} cannot be written: {why}")

    def _message(self) -> str:
        return str(present(self.write_message)).strip()
