"""The undulator: the energy of its first harmonic at a gap, and the flux beside it."""

from __future__ import annotations

import numpy as np

PERIOD = 49.0  # mm
RING_ENERGY = 3.0  # GeV
FIELD = 1.6  # T on the poles
WIDTH = 6.0  # eV rms of the harmonic, as the beamline accepts it


def energy_of(gap: float) -> float:
    """Give the energy, eV, of the first harmonic on axis at a gap, mm (X-ray Data Booklet, section 2.1)."""
    deflection = 0.0934 * PERIOD * FIELD * np.exp(-np.pi * gap / PERIOD)
    return float(950.0 * RING_ENERGY**2 / (PERIOD / 10.0) / (1 + deflection**2 / 2))


def gap_of(energy: float) -> float:
    """Give the gap, mm, at which the first harmonic has an energy, eV."""
    deflection = np.sqrt(2 * (950.0 * RING_ENERGY**2 / (PERIOD / 10.0) / energy - 1))
    return float(-PERIOD / np.pi * np.log(deflection / (0.0934 * PERIOD * FIELD)))


def tuning(energy: float, gap: float) -> float:
    """Give the fraction of the flux at an energy, eV, with the undulator at a gap, mm; 1 when it is tuned."""
    return float(np.exp(-0.5 * ((energy_of(gap) - energy) / WIDTH) ** 2))
