"""An endstation: the devices a plan measures with, when it has light, and what it knows where it is simulated."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from bluesky.protocols import Movable, Readable

from plans.endstation.devices import Ccd, Feedback, LineScanner, Positioner, Ring, SampleHolder, Scaler, ZonePlate
from plans.endstation.light import Light
from plans.endstation.truth import Truth


@dataclass(frozen=True)
class Devices:
    """The devices of an endstation, each under the name it has in documents."""

    energy: Positioner  # excitation energy, eV
    scaler: Scaler
    ring: Ring
    front_end_shutter: Readable[str]  # the facility's; plans only read it
    shutter: Movable[str]  # "open" or "closed"
    sample: SampleHolder
    exit_slit: Positioner  # um
    spectrograph: Readable[Any]
    ccd: Ccd
    ccd_dark: Ccd  # the same camera, with frames into the stream `dark`
    zone_plate: ZonePlate
    order_sorting_aperture: Readable[Any]
    coarse_x: Positioner  # um, sample stage
    coarse_y: Positioner
    scanner: LineScanner


DEVICE_NAMES = tuple(field.name for field in fields(Devices))


@dataclass(frozen=True)
class Endstation(Devices):
    """The devices of an endstation, and what else is known of it.

    Attributes
    ----------
    light : Light, optional
        Without light by these limits, a point is measured again; None: every point is kept.
    truth : Truth, optional
        What a simulated endstation knows; None for hardware.
    feedback : Feedback, optional
        What the live reduction tells plans that measure until a precision is reached; None where nothing reduces.
    """

    light: Light | None = None
    truth: Truth | None = None
    feedback: Feedback | None = None
