"""Excitation energy: monochromator and undulator moving together."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from ophyd import FormattedComponent, Kind

from beamline.endstation.devices.curves import Curve, PolarisedCurve
from beamline.endstation.devices.motors import MARGIN, Motor
from beamline.endstation.devices.signals import check_limits
from beamline.endstation.devices.task import DeviceError, StoppedError, TaskDevice, TaskStatus
from beamline.endstation.devices.waits import in_parallel
from callbacks.contract import UNITS, Key

POLL = 0.1  # s, in which a stop is noticed


class Follower(Protocol):
    """What moves with the undulator's gap: the phase of one whose polarisation can be set."""

    def follow(self, energy: float, polarisation: str, stopped: threading.Event) -> None:
        """Move to where it is for an energy, eV, and wait until it is there."""
        ...

    def seen(self) -> str:
        """Give the polarisation as it stands; "" where it is none of the tables."""
        ...

    def halt(self) -> None:
        """Stop it."""
        ...


class Energy(TaskDevice):
    """Monochromator and undulator: excitation energy, eV.

    Both move at the same time, and the phase of the undulator with them where it has one; a move is done when all have
    arrived, the settling time has passed, and the monochromator still reads the energy wanted.

    Parameters
    ----------
    prefix : str
        In front of both records.
    name : str
    monochromator, undulator : str
        Motor records of the energy, eV, and of the gap, mm.
    gap : dict
        Gap, mm, against the energy the undulator is set for, and its polarisation, as `PolarisedCurve` takes it.
    offset : dict, optional
        Added to the energy before the gap is looked up, eV, against energy, as `Curve` takes it: the maximum of
        flux is not at the peak of the harmonic.
    grating : (float, float)
        Energies that the grating reaches, eV.
    tolerance : float
        eV, of the monochromator's readback.
    gap_tolerance : float
        mm. The gap is not moved for less.
    settle_time : float
        s to wait once both have stopped.
    margin : float
        s that a move may take beyond distance over speed.
    """

    monochromator = FormattedComponent(
        Motor,
        "{prefix}{_monochromator}",
        key=str(Key.ENERGY),
        setpoint_key=str(Key.ENERGY_SETPOINT),
        units=UNITS[Key.ENERGY],
        kind=Kind.hinted,
    )
    undulator = FormattedComponent(
        Motor, "{prefix}{_undulator}", key=str(Key.UNDULATOR_GAP), units=UNITS[Key.UNDULATOR_GAP], kind=Kind.normal
    )

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        monochromator: str,
        undulator: str,
        gap: dict[str, Any],
        grating: tuple[float, float],
        offset: dict[str, Any] | None = None,
        tolerance: float = 0.02,
        gap_tolerance: float = 0.002,
        settle_time: float = 0.0,
        margin: float = MARGIN,
        **kwargs: Any,
    ) -> None:
        self._monochromator, self._undulator = monochromator, undulator
        self._gap = PolarisedCurve(f"{name}: gap", gap)
        self.last_polarisation = ""  # that was set
        self._goal: float | None = None
        self._follower: Follower | None = None
        self._one_mover = threading.Lock()  # of the undulator
        self._offset = Curve(f"{name}: offset", **(offset or {"polynomial": [0.0]}))
        low, high = grating
        self.grating = (float(low), float(high))
        self._settle_time = settle_time
        super().__init__(prefix, name=name, **kwargs)
        self.monochromator.tolerance, self.undulator.tolerance = tolerance, gap_tolerance
        self.undulator.readback.kind = Kind.normal
        self.monochromator.margin = self.undulator.margin = margin

    @property
    def position(self) -> float:
        """Energy read back, eV."""
        result: float = self.monochromator.position
        return result

    @property
    def polarisation(self) -> str:
        """The polarisation that the undulator is set to; before it is set, as it stands. "" where it has but one.

        Raises
        ------
        DeviceError
            Where the phase is that of no polarisation.
        """
        if not self._gap.names:
            return ""
        found = self.last_polarisation or (self._follower.seen() if self._follower is not None else "")
        if not found:
            raise DeviceError(
                f"{self.name}: the undulator has no polarisation of its tables, expected one of"
                f" {', '.join(self._gap.names)}: set it"
            )
        return found

    @property
    def goal(self) -> float:
        """Energy, eV, that it was set to last; before that, as it is read back."""
        return self.position if self._goal is None else self._goal

    def move_with(self, follower: Follower, polarisations: Sequence[str]) -> None:
        """Let something move with the gap.

        Raises
        ------
        ValueError
            Where there is no gap for one of its polarisations.
        """
        for each in polarisations:
            self._gap.check(each)
        self._follower = follower

    def gap_for(self, energy: float, polarisation: str = "") -> float:
        """Give the gap, mm, for an energy, eV, and a polarisation, the present one where "".

        Raises
        ------
        LimitError
            Outside the table.
        """
        return self._gap(energy + self._offset(energy), polarisation or self.polarisation)

    def check_value(self, value: float, **_kwargs: Any) -> None:
        """Raise LimitError where the energy is out of reach of grating, monochromator, or undulator however polarised.

        Whether it is in reach with one polarisation, `check_with` says.
        """
        check_limits(self.name, float(value), self.grating, "eV")
        self.monochromator.check_value(value)
        problems = []
        for polarisation in self._gap.names or [""]:
            try:
                self.check_with(polarisation, float(value))
            except ValueError as error:  # LimitError is one
                problems.append(error)
            else:
                return
        raise problems[0]

    def check_with(self, polarisation: str, energy: float) -> None:
        """Raise LimitError where no gap gives an energy, eV, with a polarisation, the present one where ""."""
        self.undulator.check_value(self.gap_for(energy, polarisation))

    def set(self, value: float) -> TaskStatus:
        """Move to an energy; done when it has settled there."""
        value = float(value)
        self.check_value(value)
        return self.work(lambda stopped: self._move(value, stopped))

    def halt(self) -> None:
        """Stop monochromator and undulator."""
        super().halt()
        if self._follower is not None:
            self._follower.halt()

    @contextmanager
    def undulator_alone(self, stopped: threading.Event) -> Iterator[None]:
        """Move the undulator while nobody else does; waits until nobody does, `StoppedError` where stopped before."""
        while not self._one_mover.acquire(timeout=POLL):
            if stopped.is_set():
                raise StoppedError(f"{self.name}: stopped")
        try:
            yield
        finally:
            self._one_mover.release()

    def move_gap(self, energy: float, stopped: threading.Event) -> None:
        """Move the gap to where it is for an energy, eV, with the present polarisation, unless it is there."""
        gap = self.gap_for(energy)
        if not abs(gap - self.undulator.position) <= self.undulator.tolerance:  # also where it is not known (NaN)
            self.undulator.move(gap, stopped)

    def _move(self, energy: float, stopped: threading.Event) -> None:
        with self.undulator_alone(stopped):
            self._goal = energy
            moves = [lambda: self.monochromator.move(energy, stopped), lambda: self.move_gap(energy, stopped)]
            if (follower := self._follower) is not None:
                moves.append(lambda: follower.follow(energy, self.polarisation, stopped))
            in_parallel(*moves)
        if self._settle_time:
            if stopped.wait(self._settle_time):
                raise StoppedError(f"{self.name}: stopped")
            self.monochromator.check_position(energy, stopped)
