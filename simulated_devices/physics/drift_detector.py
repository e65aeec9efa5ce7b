"""The silicon drift detector: the lines of light elements as it resolves them, and the time that it is blind."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

BINS, FIRST, WIDTH = 512, 0.0, 4.0  # of a spectrum, eV
CARBON, OXYGEN = 277.0, 524.9  # eV, K alpha (X-ray Data Booklet, table 1-2)
# Resolution: noise of the electronics, and the number of pairs of charges (G. F. Knoll, Radiation Detection and
# Measurement, chapter 11): energy of a pair, Fano factor.
NOISE, PAIR, FANO = 17.0, 3.65, 0.12  # eV rms, eV
DEAD_TIME = 2e-6  # s behind each photon, which another does not prolong


def response(energy: float) -> FloatArray:
    """Give the share of photons of an energy, eV, in each bin, shape (BINS,)."""
    sigma = np.sqrt(NOISE**2 + PAIR * FANO * energy)
    bins = FIRST + WIDTH * np.arange(BINS)
    shares: FloatArray = WIDTH / sigma / np.sqrt(2 * np.pi) * np.exp(-0.5 * ((bins - energy) / sigma) ** 2)
    return shares


def spectrum(rates: Mapping[float, float], seconds: float, rng: np.random.Generator) -> tuple[FloatArray, float]:
    """Count photons in a time.

    Parameters
    ----------
    rates : mapping of float to float
        photons/s by energy, eV.
    seconds : float
        s
    rng : numpy.random.Generator

    Returns
    -------
    counts : numpy.ndarray, shape (BINS,)
    live_time : float
        s
    """
    live_time = seconds / (1 + sum(rates.values()) * DEAD_TIME)
    expected = sum((rate * response(energy) for energy, rate in rates.items()), np.zeros(BINS))
    return rng.poisson(expected * live_time).astype(float), live_time
