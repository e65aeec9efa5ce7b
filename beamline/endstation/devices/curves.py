"""Quantities that follow the photon energy, and the polarisation: tables and polynomials of the configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from beamline.endstation.devices.signals import check_limits
from callbacks.contract import CIRCULAR, angle_of

CIRCULAR_BOTH = "C"  # of a table for both helicities
OF_CURVE = {"polynomial", "table"}
BY_POLARISATION = "expected LH, LV, C+, C-, C for both of these, or an angle from 0 to 90 degrees"


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


class PolarisedCurve:
    """A quantity as a function of energy and polarisation.

    Parameters
    ----------
    name : str
        Name of the quantity, for errors.
    options : dict
        As `Curve` takes it, for any polarisation; or a number or such a table for each of ``LH``, ``LV``, ``C+``,
        ``C-`` (or ``C`` for both of these) and some angles of linear light, degrees from 0 to 90.
    signed : bool
        Whether it has the other sign for C- where ``C`` is given, and for negative angles.

    Raises
    ------
    ValueError
        For another name, or a table that is not valid.

    Notes
    -----
    Between the angles that are given, and LH (0) and LV (90), it is a cubic spline of atan(sqrt(tan(angle))): half the
    angle of the phase that gives this angle in an undulator whose two fields are equal (see S. Sasaki, Nucl. Instrum.
    Methods A 347 (1994) 83). What has the other sign for negative angles is odd about LH and LV, and nearly straight;
    what has not is even, so that the spline ends there without a slope.
    """

    def __init__(self, name: str, options: Mapping[str, Any], *, signed: bool = False) -> None:
        self.name, self._signed = name, signed
        self._curves: dict[str, Curve] = {}
        self._angles: dict[float, Curve] = {}
        self._one: Curve | None = None
        if not options or set(options) & OF_CURVE:
            self._one = Curve(name, **options)
            return
        for key, value in options.items():
            given = value if isinstance(value, Mapping) else {"polynomial": [value]}
            self._add(key, Curve(f"{name} {key}", **given))
        for named in ("LH", "LV"):
            if self._angles and named in self._curves:
                self._angles[angle_of(named)] = self._curves[named]

    @property
    def names(self) -> list[str]:
        """What there are curves for; none where one is for all."""
        both = list(CIRCULAR) if CIRCULAR_BOTH in self._curves else []
        angles = [f"{angle:g}" for angle in sorted(self._angles) if 0 < angle < 90]
        return [*(name for name in self._curves if name != CIRCULAR_BOTH), *both, *angles]

    def check(self, polarisation: str) -> None:
        """Raise ValueError where there is nothing for a polarisation."""
        if self._one is not None or self._exact(polarisation) is not None:
            return
        angle = abs(angle_of(polarisation))
        if not (self._angles and min(self._angles) <= angle <= max(self._angles)):
            raise ValueError(f"{self.name}: has nothing for {polarisation}, only for {', '.join(self.names)}")

    def __call__(self, energy: float, polarisation: str) -> float:
        """Give the value at an energy, eV; `LimitError` outside a table, `ValueError` for another polarisation."""
        if self._one is not None:
            return self._one(energy)
        self.check(polarisation)
        sign = -1.0 if self._signed and self._is_mirrored(polarisation) else 1.0
        if (exact := self._exact(polarisation)) is not None:
            return sign * exact(energy)
        angles = sorted(self._angles)
        values = [self._angles[angle](energy) for angle in angles]
        whole = self._signed or angles[0] > 0 or angles[-1] < 90
        between = CubicSpline([_straight(each) for each in angles], values, bc_type="natural" if whole else "clamped")
        return sign * float(between(_straight(abs(angle_of(polarisation)))))

    def _add(self, key: str, curve: Curve) -> None:
        if key in ("LH", "LV", *CIRCULAR, CIRCULAR_BOTH):
            self._curves[key] = curve
            return
        try:
            angle = float(key)
        except ValueError:
            raise ValueError(f"{self.name}: {key!r}: {BY_POLARISATION}") from None
        if not 0 < angle < 90:
            raise ValueError(f"{self.name}: {key!r}: {BY_POLARISATION}")
        self._angles[angle] = curve

    def _exact(self, polarisation: str) -> Curve | None:
        if polarisation in self._curves:
            return self._curves[polarisation]
        if polarisation in CIRCULAR:
            return self._curves.get(CIRCULAR_BOTH)
        return self._angles.get(abs(angle_of(polarisation)))

    def _is_mirrored(self, polarisation: str) -> bool:
        if polarisation in CIRCULAR:
            return polarisation == "C-" and "C-" not in self._curves
        return angle_of(polarisation) < 0


def _straight(angle: float) -> float:
    return math.pi / 2 if angle == 90.0 else math.atan(math.sqrt(math.tan(math.radians(angle))))
