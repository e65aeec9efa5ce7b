"""The driver of the RIXS camera: an Andor CCD under areaDetector."""

from __future__ import annotations

import logging
import threading
from typing import Any

from ophyd import EpicsSignalRO
from ophyd.areadetector.cam import AndorDetectorCam

from beamline.endstation.devices.waits import ANSWER_TIMEOUT, present, put_and_wait, wait_for, write

log = logging.getLogger(__name__)

SINGLE = 0  # of ImageMode


class StagedByCcd:
    """A part of the camera that `Ccd` sets when it is staged itself: staging the part does nothing.

    That of ophyd would refuse a plugin that has seen no frame.
    """

    def stage(self) -> list[Any]:
        """Do nothing."""
        return [self]

    def unstage(self) -> list[Any]:
        """Do nothing."""
        return [self]


class Camera(StagedByCcd, AndorDetectorCam):
    """The camera driver, which `Ccd` sets and triggers."""

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of a frame; zeros where the camera does not say."""
        return shape_of(self.array_size.array_size_y, self.array_size.array_size_x)

    def connect_early(self) -> None:
        """Make the signals that are used, so that they connect with the device: ophyd makes them when first used."""
        self.lazy_wait_for_connection = self.array_size.lazy_wait_for_connection = False
        for name in ("acquire", "image_mode", "array_callbacks", "array_size.array_size_x", "array_size.array_size_y"):
            getattr(self, name)

    def prepare(self) -> None:
        """Set the camera to single frames that the plugins are given; it is stopped where it is acquiring."""
        if present(self.acquire) != 0:
            log.warning("%s: %s is acquiring; it is stopped", self.root.name, self.acquire.setpoint_pvname)
            self._end_acquisition("0 when stopped")
        write(self.image_mode, SINGLE)
        write(self.array_callbacks, 1)

    def expose(self, *, timeout: float, wanted: str, stopped: threading.Event | None = None) -> None:
        """Expose a frame and wait until it is read out; parameters and errors as `put_and_wait`."""
        put_and_wait(self.acquire, 1, timeout=timeout, wanted=wanted, stopped=stopped)

    def abort(self) -> None:
        """End the exposure under way; a frame that is read out already may yet be written."""
        self._end_acquisition("0 when aborted")

    def _end_acquisition(self, wanted: str) -> None:
        # Without completion: that of the exposure is still awaited by the server.
        self.acquire.put(0, force=True, use_complete=False, timeout=ANSWER_TIMEOUT)
        wait_for(self.acquire, lambda value: value == 0, timeout=ANSWER_TIMEOUT, wanted=wanted)


def shape_of(rows: EpicsSignalRO, columns: EpicsSignalRO) -> tuple[int, int]:
    """Read the shape of a frame from its two PVs."""
    return int(present(rows)), int(present(columns))
