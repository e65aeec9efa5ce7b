"""What plans ask of each device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from bluesky.protocols import Movable, Readable, Stageable, Triggerable

OPEN, CLOSED = "open", "closed"  # states of both shutters


class Positioner(Movable[Any], Readable[Any], Protocol):
    """A device with one position that is set and read back."""

    def check_value(self, value: Any) -> None:
        """Raise ValueError naming device, value and limits where `value` cannot be reached."""
        ...


class SampleHolder(Movable[str], Readable[str], Protocol):
    """Moves a sample into the beam by its name."""

    @property
    def samples(self) -> Sequence[str]:
        """Names of the samples it holds."""
        ...


class Scaler(Triggerable, Stageable, Readable[Any], Protocol):
    """Counts I0, TEY and TFY for `dwell` s."""

    dwell: Positioner


class Ring(Readable[Any], Protocol):
    """The storage ring, with the signal of its current for suspenders."""

    current: Any


class Ccd(Triggerable, Stageable, Readable[Any], Protocol):
    """Takes frames of `exposure_time` s."""

    exposure_time: Positioner


class ZonePlate(Positioner, Protocol):
    """The zone plate, um along the beam."""

    def focus(self, energy: float) -> float:
        """Give the position, um, that is in focus at an energy in eV."""
        ...


class LineScanner(Triggerable, Stageable, Readable[Any], Protocol):
    """Counts along one line of the sample, from `x_start` to `x_stop` (um, centres of the first and last pixel).

    `mode` is "line" (the fine stage flies) or "point" (it stops at each pixel); `dwell` is in s a pixel.
    """

    x_start: Positioner
    x_stop: Positioner
    columns: Positioner  # pixels of a line
    y: Positioner  # um, fine stage
    dwell: Positioner
    mode: Positioner
