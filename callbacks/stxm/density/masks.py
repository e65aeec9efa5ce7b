"""Which pixels of a stack not to trust, each with its reason, and the edge jump that shows where the sample is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from callbacks.stxm.density.optical_density import DensityMap
from callbacks.stxm.density.sums import DensitySums

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


def edge_jump(top: Sequence[DensityMap], sums: DensitySums) -> EdgeJump:
    """Measure the edge jump of each pixel.

    Parameters
    ----------
    top : sequence of DensityMap
        The images at the top of the edge: see `top_of_edge`.
    sums : DensitySums
        Of all images.

    Returns
    -------
    EdgeJump
    """
    energies = np.array([image.energy for image in top])
    if not sums.below.number or not len(top):
        nothing = np.full(sums.known.shape, np.nan)
        return EdgeJump(nothing, nothing.copy(), energies)
    jump = sum(image.density for image in top) / len(top) - sums.below.mean
    noise = sum(image.variance for image in top) / len(top) ** 2
    return EdgeJump(jump, np.sqrt(noise + sums.below_variance.total / sums.below.number**2), energies)


def top_of_edge(energies: FloatArray, means: FloatArray, above: float) -> NDArray[np.intp]:
    """Find the images at the top of the edge: where the mean spectrum of the field is highest over a few energies.

    Parameters
    ----------
    energies, means : numpy.ndarray, shape (images,)
        eV, ascending, and the mean optical density of the field: of an L edge the white line is found.
    above : float
        eV: the end of the pre-edge.

    Returns
    -------
    numpy.ndarray of int
        Places of `TOP_ENERGIES` images; none before the edge.
    """
    beyond = np.flatnonzero(energies > above)
    if len(beyond) < TOP_ENERGIES:
        return beyond[:0]
    sums = np.convolve(means[beyond], np.ones(TOP_ENERGIES), mode="valid")
    return beyond[int(sums.argmax()) :][:TOP_ENERGIES]


def pixel_mask(
    sums: DensitySums, jump: FloatArray, settings: MaskSettings, *, incident_known: bool
) -> NDArray[np.intp]:
    """Give the reason why each pixel is left out.

    Parameters
    ----------
    sums : DensitySums
        Of all images, with the limits of the settings.
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
    if not sums.number:
        return np.full(jump.shape, NOT_MEASURED)
    mask = np.full(jump.shape, GOOD)
    with np.errstate(invalid="ignore"):
        if np.isfinite(jump).any() and np.nanpercentile(jump, STRONG_PERCENTILE) > settings.lowest_jump:
            mask[jump < settings.lowest_jump] = LOW_JUMP  # not before the edge is reached
    mask[sums.saturated > 0] = SATURATED
    mask[(sums.opaque > 0) | ((sums.dark > 0) & incident_known)] = OPAQUE
    mask[sums.drifted > 0] = DRIFTED_OUT
    mask[sums.missing > 0] = NOT_MEASURED
    return mask


def even_sample(mean: FloatArray, mask: NDArray[np.intp], lowest_jump: float) -> BoolArray:
    """Tell which pixels of a line hold the sample, and not its rim, which drifts; it needs no edge.

    Parameters
    ----------
    mean : numpy.ndarray, shape (lines, columns)
        Mean optical density of all images.
    mask : numpy.ndarray of int, shape (lines, columns)
    lowest_jump : float
        Mean optical density that a pixel of the sample has at least.
    """
    known = np.isin(mask, (GOOD, LOW_JUMP)) & np.isfinite(mean)
    full = np.percentile(mean[known], EVEN_PERCENTILE) if known.any() else np.inf
    return np.asarray(known & (mean > max(EVEN_SHARE * full, lowest_jump)))
