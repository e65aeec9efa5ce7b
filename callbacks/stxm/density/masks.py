"""Which pixels of a stack not to trust, each with its reason, and the edge jump that shows where the sample is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from callbacks.stxm.density.optical_density import DensityImage
from callbacks.stxm.density.sums import mean_of_images, sum_of_images, sum_of_pixels
from callbacks.stxm.edges import Window, inside

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

# Why a pixel is left out of the analysis; the first that holds.
GOOD, NOT_MEASURED, DRIFTED_OUT, OPAQUE, SATURATED, LOW_JUMP = range(6)
MASK_REASONS = ("good", "not measured", "drifted out", "opaque", "saturated", "low edge jump")

TOP_ENERGIES = 5  # that the top of the edge is averaged over
STRONG_PERCENTILE = 99.0  # of the edge jumps: once this one is high enough the edge has been reached
EVEN_PERCENTILE, EVEN_SHARE = 75.0, 0.9  # of the optical density along a line spectrum: what counts as the sample


class MaskSettings(BaseModel):
    """Which pixels are left out of the analysis."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    opaque_above: float = Field(3.0, gt=0)  # optical density: what comes through is stray light
    saturated_above: float = Field(1.5, gt=0)  # optical density beyond which spectra are flattened
    lowest_jump: float = Field(0.1, ge=0)  # optical density from below the edge to its top


@dataclass(frozen=True)
class EdgeJump:
    """By how much more each pixel absorbs at the top of the edge than below it.

    Attributes
    ----------
    jump, sigma : numpy.ndarray, shape (lines, columns)
        Optical density and its standard uncertainty; NaN until an energy above the pre-edge is there.
    top : numpy.ndarray, shape (n,)
        eV: the energies that are the top; none where there is no jump.
    """

    jump: FloatArray
    sigma: FloatArray
    top: FloatArray


def edge_jump(images: Sequence[DensityImage], shape: tuple[int, ...], pre_edge: Window) -> EdgeJump:
    """Measure the edge jump of each pixel.

    Parameters
    ----------
    images : sequence of DensityImage
        By ascending energy.
    shape : tuple of int
        Lines and columns.
    pre_edge : (float, float)
        eV.

    Returns
    -------
    EdgeJump

    Notes
    -----
    The top is where the mean spectrum of the field is highest, over a few energies: the white line of an L edge.
    """
    energies = np.array([image.energy for image in images])
    below = [image for image, low in zip(images, inside(energies, pre_edge), strict=True) if low]
    top = _top_of_edge(images, energies, pre_edge[1])
    above = [image for image, high in zip(images, top, strict=True) if high]
    if not below or not above:
        return EdgeJump(np.full(shape, np.nan), np.full(shape, np.nan), energies[top])
    jump = mean_of_images((image.density for image in above), len(above)) - mean_of_images(
        (image.density for image in below), len(below)
    )
    noise = (
        sum_of_images(image.variance for image in above) / len(above) ** 2
        + sum_of_images(image.variance for image in below) / len(below) ** 2
    )
    return EdgeJump(jump, np.sqrt(noise), energies[top])


def _top_of_edge(images: Sequence[DensityImage], energies: FloatArray, above: float) -> BoolArray:
    """Tell which energies are the top of the edge: those with the largest mean over the pixels known at all."""
    top = np.zeros(len(energies), dtype=bool)
    beyond = np.flatnonzero(energies > above)
    if len(beyond) >= TOP_ENERGIES:
        known = _known_throughout(images)
        number = known.sum()
        mean = np.array([sum_of_pixels(images[place].density[known]) / max(number, 1) for place in beyond.tolist()])
        sums = np.convolve(mean, np.ones(TOP_ENERGIES), mode="valid")
        top[beyond[int(sums.argmax()) :][:TOP_ENERGIES]] = True
    return top


def _known_throughout(images: Sequence[DensityImage]) -> BoolArray:
    known = np.isfinite(images[0].density)
    for image in images[1:]:
        known &= np.isfinite(image.density)
    return known


def pixel_mask(
    images: Sequence[DensityImage], jump: FloatArray, settings: MaskSettings, *, incident_known: bool
) -> NDArray[np.intp]:
    """Give the reason why each pixel is left out.

    Parameters
    ----------
    images : sequence of DensityImage
        By ascending energy.
    jump : numpy.ndarray, shape (lines, columns)
        As `edge_jump` gives it.
    settings : MaskSettings
    incident_known : bool
        Whether there is an I0: without it a pixel without optical density is not opaque.

    Returns
    -------
    numpy.ndarray of int, shape (lines, columns)
        Index of `MASK_REASONS`.
    """
    if not images:
        return np.full(jump.shape, NOT_MEASURED)
    highest, dark, missing, drifted = _extremes(images)
    mask = np.full(jump.shape, GOOD)
    with np.errstate(invalid="ignore"):
        if np.isfinite(jump).any() and np.nanpercentile(jump, STRONG_PERCENTILE) > settings.lowest_jump:
            mask[jump < settings.lowest_jump] = LOW_JUMP  # not before the edge is reached
        mask[highest > settings.saturated_above] = SATURATED
        mask[(highest > settings.opaque_above) | (dark & incident_known)] = OPAQUE
    mask[drifted] = DRIFTED_OUT
    mask[missing] = NOT_MEASURED
    return mask


def _extremes(images: Sequence[DensityImage]) -> tuple[FloatArray, BoolArray, BoolArray, BoolArray]:
    """Give the highest optical density of each pixel, and whether it was dark, missing or drifted out anywhere."""
    shape = images[0].density.shape
    highest = np.full(shape, -np.inf)
    dark, missing, drifted = (np.zeros(shape, dtype=bool) for _ in range(3))
    for image in images:
        np.fmax(highest, image.density, out=highest)
        dark |= np.isfinite(image.aligned.rate) & np.isnan(image.density)  # nothing at all comes through
        missing |= np.isnan(image.aligned.rate) & ~image.aligned.drifted
        drifted |= image.aligned.drifted
    return highest, dark, missing, drifted


def even_sample(images: Sequence[DensityImage], mask: NDArray[np.intp], lowest_jump: float) -> BoolArray:
    """Tell which pixels of a line hold the sample, and not its rim, which drifts; it needs no edge.

    Parameters
    ----------
    images : sequence of DensityImage
    mask : numpy.ndarray of int, shape (lines, columns)
    lowest_jump : float
        Mean optical density that a pixel of the sample has at least.
    """
    if not images:
        return np.zeros(mask.shape, dtype=bool)
    mean = mean_of_images((image.density for image in images), len(images))
    known = np.isin(mask, (GOOD, LOW_JUMP)) & np.isfinite(mean)
    full = np.percentile(mean[known], EVEN_PERCENTILE) if known.any() else np.inf
    return known & (mean > max(EVEN_SHARE * full, lowest_jump))
