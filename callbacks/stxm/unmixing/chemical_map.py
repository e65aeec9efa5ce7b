"""Chemical maps as Gent et al. (2017) define them: hue by the reduced fraction, brightness by the area of the edge."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

from callbacks.stxm.edges import Window, inside

FloatArray = NDArray[np.floating]

REDUCED_HUE = 1 / 3  # green; 0, red, is oxidised
FULL_BRIGHTNESS = 99.0  # percentile of the edge area that is shown at full brightness


def edge_area(
    energies: FloatArray, density: FloatArray, window: Window, background: FloatArray | float = 0.0
) -> FloatArray:
    """Integrate the optical density over an energy window by trapezoids.

    Parameters
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV, ascending.
    density : numpy.ndarray, shape (energies, ...)
        Optical density.
    window : (float, float)
        eV.
    background : numpy.ndarray, shape (...), or float
        Mean optical density below the edge, subtracted first.

    Returns
    -------
    numpy.ndarray, shape (...)
        eV; NaN where a value is, or the window holds less than two energies.
    """
    chosen = inside(energies, window)
    if chosen.sum() < 2:
        return np.full(density.shape[1:], np.nan)
    return np.asarray(np.trapezoid(density[chosen] - background, energies[chosen], axis=0))


def colours(reduced_fraction: FloatArray, area: FloatArray, *, full: float | None = None) -> FloatArray:
    """Give the colour of each pixel of a chemical map.

    Parameters
    ----------
    reduced_fraction : numpy.ndarray, shape (...)
        0 is red, 1 is green, along the hue of the HSV scale; saturation is full. NaN is black.
    area : numpy.ndarray, shape (...)
        Integrated edge area; the brightness is proportional to it. NaN and what is below 0 is black.
    full : float, optional
        The area at full brightness; the 99th percentile where not given.

    Returns
    -------
    numpy.ndarray, shape (..., 3)
        Red, green, blue from 0 to 1.
    """
    known = np.isfinite(reduced_fraction) & np.isfinite(area)
    if full is None:
        full = float(np.percentile(area[known], FULL_BRIGHTNESS)) if known.any() else 1.0
    brightness = np.clip(np.where(known, area, 0.0) / max(full, np.finfo(float).tiny), 0.0, 1.0)
    hue = REDUCED_HUE * np.clip(np.where(known, reduced_fraction, 0.0), 0.0, 1.0)
    # Between red and green HSV at full saturation is this; see `colour_scale` for the same by colorsys.
    red, green = np.clip(2.0 - 6.0 * hue, 0.0, 1.0), np.clip(6.0 * hue, 0.0, 1.0)
    return np.stack([red, green, np.zeros_like(red)], axis=-1) * brightness[..., None]


def colour_scale(steps: int = 256) -> FloatArray:
    """Give the colours of reduced fractions from 0 to 1 at full brightness, shape (steps, 3)."""
    return np.array([colorsys.hsv_to_rgb(REDUCED_HUE * value, 1.0, 1.0) for value in np.linspace(0, 1, steps)])
