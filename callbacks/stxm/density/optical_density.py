"""Optical density -ln(I / I0) with its variance, of one image or of many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from callbacks.stxm.stack import AlignedImage

FloatArray = NDArray[np.floating]


class DensityMap(NamedTuple):
    """Optical density of an image, without what it was made of: shape (lines, columns), and its energy, eV."""

    energy: float
    density: FloatArray
    variance: FloatArray


@dataclass(frozen=True)
class DensityImage:
    """Optical density of an aligned image.

    Attributes
    ----------
    place : int
        Of the image in the order of measurement.
    aligned : AlignedImage
        What it was made of.
    incident, incident_sigma : float
        I0 that it was made with and its standard uncertainty, counts/s; NaN where not known.
    density, variance : numpy.ndarray, shape (lines, columns)
        NaN where not known.
    """

    place: int
    aligned: AlignedImage
    incident: float
    incident_sigma: float
    density: FloatArray
    variance: FloatArray

    @property
    def energy(self) -> float:
        """Energy, eV."""
        return self.aligned.energy

    @property
    def map(self) -> DensityMap:
        """Energy, density and variance alone."""
        return DensityMap(self.energy, self.density, self.variance)


def optical_density(
    rate: FloatArray, variance: FloatArray, incident: FloatArray, incident_sigma: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Give -ln(I / I0) and its variance.

    Parameters
    ----------
    rate, variance : numpy.ndarray, shape (energies, ...)
        counts/s of each pixel.
    incident, incident_sigma : numpy.ndarray, shape (energies,)
        I0, counts/s.

    Returns
    -------
    density, variance : numpy.ndarray, shape (energies, ...)
        NaN where nothing comes through, or I0 is not known.

    Notes
    -----
    The logarithm of a noisy number is low on average by half its relative variance: this is corrected to first order.
    """
    shape = (-1,) + (1,) * (rate.ndim - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        through = np.where(rate > 0, rate, np.nan)
        relative = variance / through**2
        density = np.log(incident).reshape(shape) - np.log(through) - 0.5 * relative
        return density, relative + ((incident_sigma / incident) ** 2).reshape(shape)


def density_image(place: int, aligned: AlignedImage, incident: float, incident_sigma: float) -> DensityImage:
    """Give the optical density of one image."""
    density, variance = optical_density(
        aligned.rate[None], aligned.variance[None], np.array([incident]), np.array([incident_sigma])
    )
    return DensityImage(place, aligned, incident, incident_sigma, density[0], variance[0])
