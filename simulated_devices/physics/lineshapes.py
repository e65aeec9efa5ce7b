"""Shapes that spectra are made of: peaks, lines and edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating]

FWHM_PER_SIGMA = 2.3548  # of a Gaussian: 2 sqrt(2 ln 2)


def peak(x: ArrayLike, centre: float, fwhm: float) -> FloatArray:
    """Give a Gaussian of height 1."""
    return np.exp(-0.5 * ((np.asarray(x) - centre) * FWHM_PER_SIGMA / fwhm) ** 2)


def line(x: FloatArray, centre: float, fwhm: float) -> FloatArray:
    """Give a Gaussian of area 1."""
    result: FloatArray = peak(x, centre, fwhm) * FWHM_PER_SIGMA / (fwhm * np.sqrt(2 * np.pi))
    return result


def step(x: ArrayLike, centre: float, width: float) -> FloatArray:
    """Give an arctan of height 1: an edge, broadened by the lifetime of the core hole."""
    return 0.5 + np.arctan((np.asarray(x) - centre) / (width / 2)) / np.pi
