"""What plans ask of each device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bluesky.protocols import Movable, Readable, Stageable, Triggerable

from callbacks.contract import Output, Stream
from callbacks.incident_flux import IncidentFluxSettings

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


class Polarisation(Movable[str], Readable[Any], Protocol):
    """Sets the polarisation of the light: LH, LV, C+, C- or an angle; see `callbacks.contract.polarisation`."""

    @property
    def position(self) -> str:
        """The present polarisation; "" where it is none of those that it knows."""
        ...

    def check_value(self, value: str) -> None:
        """Raise ValueError for a polarisation that it cannot give."""
        ...

    def check_energy(self, polarisation: str, energy: float) -> None:
        """Raise ValueError where an energy, eV, is out of reach with a polarisation; "" is the present one."""
        ...

    def change_time(self, before: str, after: str) -> float:
        """Give the time that a change takes, s; `before` is "" for the present polarisation."""
        ...


class Counter(Triggerable, Stageable, Readable[Any], Protocol):
    """Counts for `dwell` s, or averages: a scaler, an electrometer, a detector of fluorescence."""

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


class EnergySweep(Triggerable, Stageable, Readable[Any], Protocol):
    """Flies from `start` to `stop_at` (eV, the ends of what is counted) in `bins` time bins of `bin_time` s each."""

    channels: Sequence[str]  # those of the counters that it counts
    start: Positioner
    stop_at: Positioner
    bins: Positioner
    bin_time: Positioner

    def check_sweep(self, start: float, stop: float, seconds: float) -> None:
        """Raise ValueError naming device, velocity and limits where a range, eV, cannot be flown over in a time, s."""
        ...


@dataclass(frozen=True)
class Question:
    """What a plan asks of the reduction of its run.

    Attributes
    ----------
    run : str
        Uid of the raw run.
    number : int
        Of the frame, point or image that the answer has to know of.
    of : Output
        Which output; NaN is answered where the run has none.
    stream : Stream
        Of the derived run: `FRAMES`, or `IMAGES` for images.
    mark : Output or None
        Which output says why a frame or point is not to be trusted; None where there is none.
    patient : bool
        Whether to wait for the answer; otherwise it is what is known at once.
    """

    run: str
    number: int
    of: Output
    stream: Stream = Stream.FRAMES
    mark: Output | None = None
    patient: bool = True


class Feedback(Movable[Question], Triggerable, Readable[Any], Protocol):
    """What the live reduction has told of the run under way.

    It is set to a `Question`. Its trigger always ends and never fails: when the reduction has told of that run and at
    least of that number, or after a time. Its data keys are the first of `callbacks.contract.DecisionKey`.
    """

    @property
    def flux(self) -> IncidentFluxSettings:
        """When the I0 of a RIXS frame counts as lost, partial or high, as the reduction has it."""
        ...

    def why_not(self, of: Output) -> str:
        """Say why the reduction will not tell of an output, whatever is measured; empty where it will."""
        ...
