"""The undulator: the energy of its first harmonic at a gap and phase, the flux beside it, and its polarisation.

It is an APPLE-II: four rows of magnets, of which two that lie across from one another are shifted along the beam (S.
Sasaki, Nucl. Instrum. Methods A 347 (1994) 83). A shift z, the phase, is of the angle p = 2 pi z / period. Both rows
shifted the same way (mode "parallel"), the field on the axis is By cos(p/2) upright and Bx sin(p/2) across, a quarter
of a period apart: horizontal light without a shift, vertical light at half a period, circular where the two are equal,
of the one or the other sign. Shifted against one another ("antiparallel") it is By cos(p/2)^2 and Bx sin(p/2)^2, in
step: linear light at an angle; a negative phase stands for the other two rows, by which the angle changes its sign.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from callbacks.contract import CIRCULAR, angle_of

Mode = Literal["parallel", "antiparallel"]

PERIOD = 49.0  # mm
RING_ENERGY = 3.0  # GeV
FIELD = 1.6  # T on the poles
WIDTH = 6.0  # eV rms of the harmonic, as the beamline accepts it
SHORTEST_GAP, LONGEST_GAP = 5.0, 49.0  # mm, between which gaps are looked for
HALF_PERIOD = PERIOD / 2
_ZERO_GAP_ENERGY = 950.0 * RING_ENERGY**2 / (PERIOD / 10.0)  # eV, of the first harmonic without a field


@dataclass(frozen=True)
class Setting:
    """How the undulator stands: gap and phase, mm, and the mode of the phase."""

    gap: float
    phase: float = 0.0
    mode: Mode = "parallel"


@dataclass(frozen=True)
class Stokes:
    """Stokes parameters of light, over its intensity.

    Attributes
    ----------
    horizontal : float
        1 for linear light that is horizontal, -1 for vertical.
    diagonal : float
        1 for linear light at 45 degrees, -1 at -45.
    circular : float
        1 for C+, -1 for C-.
    """

    horizontal: float = 1.0
    diagonal: float = 0.0
    circular: float = 0.0


HORIZONTAL = Stokes()


def energy_of(gap: float, phase: float = 0.0, mode: Mode = "parallel") -> float:
    """Give the energy, eV, of the first harmonic on axis at gap and phase, mm (X-ray Data Booklet, section 2.1)."""
    across, upright = _amplitudes(gap, phase, mode)
    deflection = _deflection(gap) * np.hypot(across, upright)
    return float(_ZERO_GAP_ENERGY / (1 + deflection**2 / 2))


def gap_of(energy: float, polarisation: str = "LH") -> float:
    """Give the gap, mm, at which the first harmonic has an energy, eV."""
    return setting_for(energy, polarisation).gap


def setting_for(energy: float, polarisation: str) -> Setting:
    """Give gap and phase at which the first harmonic has an energy, eV, and light is polarised so.

    Raises
    ------
    ValueError
        Where no gap gives this energy with that polarisation.
    """
    if polarisation == "LH":
        deflection = np.sqrt(2 * (_ZERO_GAP_ENERGY / energy - 1))
        return Setting(float(-PERIOD / np.pi * np.log(deflection / (0.0934 * PERIOD * FIELD))))
    mode: Mode = "parallel" if polarisation in (*CIRCULAR, "LV") else "antiparallel"

    def off(gap: float) -> float:
        return energy_of(gap, _phase_for(gap, polarisation), mode) - energy

    if not off(SHORTEST_GAP) < 0 < off(LONGEST_GAP):
        raise ValueError(f"undulator: no gap gives {energy:g} eV with {polarisation}")
    gap = float(brentq(off, SHORTEST_GAP, LONGEST_GAP, xtol=1e-9))
    return Setting(gap, _phase_for(gap, polarisation), mode)


def tuning(energy: float, setting: Setting) -> float:
    """Give the fraction of the flux at an energy, eV, with the undulator as it stands; 1 when it is tuned."""
    return float(beside(energy, energy_of(setting.gap, setting.phase, setting.mode)))


def beside(energy: ArrayLike, harmonic: ArrayLike) -> NDArray[np.floating]:
    """Give the fraction of the flux at an energy where the harmonic is at another, both eV; 1 where they are one."""
    off = np.asarray(harmonic, dtype=float) - np.asarray(energy, dtype=float)
    result: NDArray[np.floating] = np.exp(-0.5 * (off / WIDTH) ** 2)
    return result


def follow(energy: float, setting: Setting) -> Setting:
    """Give the setting at which the first harmonic has an energy, eV, with the phase left where it is."""
    gap = brentq(lambda gap: energy_of(gap, setting.phase, setting.mode) - energy, SHORTEST_GAP, LONGEST_GAP, xtol=1e-9)
    return replace(setting, gap=float(gap))


def stokes_of(setting: Setting) -> Stokes:
    """Give the polarisation of the first harmonic on axis, by the fields across and upright."""
    vertical, horizontal = _amplitudes(setting.gap, setting.phase, setting.mode)  # the electric field is across them
    total = horizontal**2 + vertical**2
    plain, mixed = (horizontal**2 - vertical**2) / total, 2 * horizontal * vertical / total
    return Stokes(plain, 0.0, mixed) if setting.mode == "parallel" else Stokes(plain, mixed, 0.0)


def _deflection(gap: float) -> float:
    """Give the deflection parameter of the upright field without a phase."""
    return float(0.0934 * PERIOD * FIELD * np.exp(-np.pi * gap / PERIOD))


def _ratio(gap: float) -> float:
    """Give the largest field across, over the largest upright one.

    Of undulators of permanent magnets with either field: P. Elleaume, J. Chavanne and B. Faatz, Nucl. Instrum. Methods
    A 455 (2000) 503, table 1.
    """
    part = gap / PERIOD
    return float(2.400 / 2.076 * np.exp(-(5.69 - 3.24) * part + 1.46 * part**2))


def _amplitudes(gap: float, phase: float, mode: Mode) -> tuple[float, float]:
    """Give the fields across and upright, over the upright one without a phase."""
    half = np.pi * phase / PERIOD
    if mode == "parallel":
        return _ratio(gap) * float(np.sin(half)), float(np.cos(half))
    return _ratio(gap) * float(np.copysign(np.sin(half) ** 2, phase)), float(np.cos(half) ** 2)


def _phase_for(gap: float, polarisation: str) -> float:
    """Give the phase, mm, for a polarisation at a gap."""
    if polarisation == "LV":
        return HALF_PERIOD
    if polarisation in CIRCULAR:
        size = PERIOD / np.pi * np.arctan(1.0 / _ratio(gap))
        return float(size if polarisation == "C+" else -size)
    angle = np.radians(angle_of(polarisation))
    return float(np.copysign(PERIOD / np.pi * np.arctan(np.sqrt(np.tan(abs(angle)) / _ratio(gap))), angle))
