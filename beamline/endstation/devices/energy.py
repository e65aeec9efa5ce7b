"""Excitation energy: monochromator and undulator moving together."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from ophyd import FormattedComponent, Kind
from scipy.interpolate import PchipInterpolator

from beamline.endstation.devices.motors import MARGIN, Motor
from beamline.endstation.devices.signals import check_limits
from beamline.endstation.devices.task import StoppedError, TaskDevice, TaskStatus
from beamline.endstation.devices.waits import in_parallel
from callbacks.contract import UNITS, Key


class Curve:
    """A quantity as a function of energy: a polynomial, or a table interpolated without overshoot.

    Parameters
    ----------
    name : str
        Name of the quantity, for errors.
    polynomial : list of float, optional
        Coefficients of energy in eV, the constant first.
    table : list of (float, float), optional
        Energy in eV and value, the energies ascending; valid from the first to the last.

    Raises
    ------
    ValueError
        When not exactly one of the two is given, or the table is not valid.
    """

    def __init__(
        self, name: str, *, polynomial: list[float] | None = None, table: list[list[float]] | None = None
    ) -> None:
        if (polynomial is None) == (table is None):
            raise ValueError(f"{name}: expected either polynomial = [...] or table = [[energy, value], ...]")
        self.name = name
        self.range = (-np.inf, np.inf)
        if polynomial is not None:
            self._evaluate = np.polynomial.Polynomial(np.asarray(polynomial, dtype=float))
            return
        points = np.asarray(table, dtype=float)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 or not (np.diff(points[:, 0]) > 0).all():
            raise ValueError(f"{name}: expected a table of at least two [energy, value], the energies ascending")
        self.range = (float(points[0, 0]), float(points[-1, 0]))
        self._evaluate = PchipInterpolator(points[:, 0], points[:, 1])

    def __call__(self, energy: float) -> float:
        """Give the value at an energy, eV; `LimitError` outside the table."""
        check_limits(f"{self.name} table", energy, self.range, "eV")
        return float(self._evaluate(energy))


class Energy(TaskDevice):
    """Monochromator and undulator: excitation energy, eV.

    Both move at the same time; a move is done when both have arrived, the settling time has passed, and the
    monochromator still reads the energy wanted.

    Parameters
    ----------
    prefix : str
        In front of both records.
    name : str
    monochromator, undulator : str
        Motor records of the energy, eV, and of the gap, mm.
    gap : dict
        Gap, mm, against the energy the undulator is set for, as `Curve` takes it.
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
        self._gap = Curve(f"{name}: gap", **gap)
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

    def gap_for(self, energy: float) -> float:
        """Give the gap, mm, for an energy, eV; `LimitError` outside the table."""
        return self._gap(energy + self._offset(energy))

    def check_value(self, value: float, **_kwargs: Any) -> None:
        """Raise LimitError where the energy is out of reach of grating, monochromator or undulator."""
        check_limits(self.name, float(value), self.grating, "eV")
        self.monochromator.check_value(value)
        self.undulator.check_value(self.gap_for(float(value)))

    def set(self, value: float) -> TaskStatus:
        """Move to an energy; done when it has settled there."""
        value = float(value)
        self.check_value(value)
        return self.work(lambda stopped: self._move(value, stopped))

    def _move(self, energy: float, stopped: threading.Event) -> None:
        gap = self.gap_for(energy)
        moves = [lambda: self.monochromator.move(energy, stopped)]
        if not abs(gap - self.undulator.position) <= self.undulator.tolerance:  # also where it is not known (NaN)
            moves.append(lambda: self.undulator.move(gap, stopped))
        in_parallel(*moves)
        if self._settle_time:
            if stopped.wait(self._settle_time):
                raise StoppedError(f"{self.name}: stopped")
            self.monochromator.check_position(energy, stopped)
