"""An endstation: the devices a plan measures with."""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import Any

from bluesky.protocols import Movable, Readable

from plans.endstation.devices import Ccd, LineScanner, Positioner, Ring, SampleHolder, Scaler, ZonePlate
from plans.endstation.light import Light


@dataclass(frozen=True)
class Endstation:
    """The devices of an endstation, each under the name it has in documents."""

    energy: Positioner  # excitation energy, eV
    scaler: Scaler
    ring: Ring
    front_end_shutter: Readable[str]  # the facility's; plans look at it only
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
    # When points are worth keeping; None: always. No device, so no field, but `dataclasses.replace` knows it.
    light: InitVar[Light | None] = None

    def __post_init__(self, light: Light | None) -> None:
        object.__setattr__(self, "light", light)
