"""An endstation: the devices a plan measures with, by their roles, and what else is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar, overload

from bluesky.protocols import Movable, Readable

from callbacks.contract import Channel
from plans.endstation.devices import (
    Ccd,
    Counter,
    EnergySweep,
    Feedback,
    LineScanner,
    Polarisation,
    Positioner,
    Ring,
    SampleHolder,
    ZonePlate,
)
from plans.endstation.light import Light
from plans.endstation.truth import Truth
from plans.errors import PlanError

DeviceT = TypeVar("DeviceT")
COUNTERS = ("scaler", "electrometer", "fluorescence")  # roles


class Role(Generic[DeviceT]):
    """What a device can be to a plan: an attribute of `Endstation` that gives the device, `PlanError` without one.

    Parameters
    ----------
    does : str
        As in "what ...".
    """

    def __init__(self, does: str) -> None:
        self.does = does

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, endstation: None, _owner: type) -> Self: ...

    @overload
    def __get__(self, endstation: Endstation, _owner: type) -> DeviceT: ...

    def __get__(self, endstation: Endstation | None, _owner: type) -> Self | DeviceT:
        """Give the device of an endstation."""
        if endstation is None:
            return self
        try:
            found: DeviceT = endstation.devices[self._name]
        except KeyError:
            raise PlanError(lacking(self._name)) from None
        return found


@dataclass(frozen=True)
class Endstation:
    """The devices of an endstation, by their roles, and what else is known of it.

    A plan asks for the device of a role; where there is none, it is refused in one line, before anything moves.

    Attributes
    ----------
    devices : mapping of str to device
        By role; those that there are. In documents a device has the name of its role.
    light : Light, optional
        Without light by these limits, a point is measured again; None: every point is kept.
    truth : Truth, optional
        What a simulated endstation knows; None for hardware.
    feedback : Feedback, optional
        What the live reduction tells plans that measure until a precision is reached; None where nothing reduces.
    added : mapping of str to device
        By name; those that have no role. Plans read, monitor or move them where they are asked to.
    units : mapping of str to str
        Of the position of each device that has one, by name.
    at_points : tuple of device
        Read at each point of the stream `primary`, whichever the plan.
    monitored : tuple of signal
        What of each changes during a run goes into a stream of its own.
    channels : tuple of Channel
        What the counters measure.
    """

    devices: Mapping[str, Any] = field(default_factory=dict)
    light: Light | None = None
    truth: Truth | None = None
    feedback: Feedback | None = None
    added: Mapping[str, Any] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    at_points: tuple[Any, ...] = ()
    monitored: tuple[Any, ...] = ()
    channels: tuple[Channel, ...] = ()

    energy = Role[Positioner]("sets the excitation energy")  # eV
    polarisation = Role[Polarisation]("sets how the light is polarised")
    scaler = Role[Counter]("counts incident flux and yields")
    electrometer = Role[Counter]("reads currents")  # beside the scaler; alone it has its role
    fluorescence = Role[Counter]("takes spectra of the fluorescence")
    ring = Role[Ring]("reads the ring current")
    front_end_shutter = Role[Readable[str]]("tells whether the facility gives light")  # plans only read it
    shutter = Role[Movable[str]]("keeps the light from the sample")  # "open" or "closed"
    sample = Role[SampleHolder]("moves samples into the beam")
    exit_slit = Role[Positioner]("sets the resolution")  # um
    spectrograph = Role[Readable[Any]]("disperses what is emitted")
    ccd = Role[Ccd]("takes frames of what is emitted")
    ccd_dark = Role[Ccd]("takes frames without light: the same camera, for the stream `dark`")
    zone_plate = Role[ZonePlate]("focuses onto the sample")
    order_sorting_aperture = Role[Readable[Any]]("keeps unfocused light from the sample")
    coarse_x = Role[Positioner]("moves the sample of the microscope by much")  # um, as the next
    coarse_y = Role[Positioner]("moves the sample of the microscope by much")
    energy_sweep = Role[EnergySweep]("moves the energy while it counts")
    scanner = Role[LineScanner]("scans lines of the sample, and counts what it transmits")

    def __contains__(self, role: str) -> bool:
        """Tell whether there is a device of a role."""
        return role in self.devices

    @property
    def all_devices(self) -> dict[str, Any]:
        """All devices by the name they have in documents."""
        return {**self.devices, **self.added}

    def those(self, *roles: str) -> list[Any]:
        """Give the devices of these roles that there are, in this order."""
        return [self.devices[role] for role in roles if role in self.devices]

    @property
    def counters(self) -> list[Counter]:
        """The devices that count at each point of a spectrum."""
        return self.those(*COUNTERS)

    def positions(self, role: str, value: Any) -> list[Any]:
        """Give a move as plans take it, device and value; nothing where there is no device of this role."""
        return [item for device in self.those(role) for item in (device, value)]


ROLES: dict[str, str] = {name: role.does for name, role in vars(Endstation).items() if isinstance(role, Role)}


def lacking(*roles: str) -> str:
    """Say that an endstation has no device of these roles."""
    return f"the endstation has no {' and no '.join(f'{role} (what {ROLES[role]})' for role in roles)}"
