"""Regions of a stack: which pixels they hold, and their mean spectra."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from callbacks.analysis.measured import Spectra
from callbacks.analysis.recipe import Region
from callbacks.contract import StxmResult
from callbacks.stxm.density.masks import GOOD

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]


def pixels_of(region: Region, result: StxmResult) -> BoolArray:
    """Tell which pixels a region holds, of those that hold sample.

    Parameters
    ----------
    region : Region
    result : StxmResult
        With images.

    Returns
    -------
    numpy.ndarray of bool, shape (lines, columns)

    Raises
    ------
    ValueError
        When the region asks for what the stack does not have, or holds no pixel.
    """
    inside: BoolArray = np.asarray(result.mask) == GOOD
    if region.above is not None or region.below is not None:
        values = _quantity(region, result)
        with np.errstate(invalid="ignore"):
            if region.above is not None:
                inside &= values > region.above
            if region.below is not None:
                inside &= values < region.below
    if region.x is not None or region.y is not None:
        x, y = positions(result)
        if x is None or y is None:
            raise ValueError("x, y: the images have several regions, or their positions are not known")
        for window, at in ((region.x, x[None, :]), (region.y, y[:, None])):
            if window is not None:
                inside = inside & (at >= window[0]) & (at <= window[1])
    if region.mask:
        inside &= _masked(region, inside.shape)
    if region.cluster:
        names = [str(name) for name in result.cluster_names]
        if region.cluster not in names:
            raise ValueError(
                f"cluster {region.cluster!r}: expected one of {', '.join(names) or 'none: there are none'}"
            )
        inside &= np.asarray(result.clusters) == names.index(region.cluster) + 1
    if not inside.any():
        raise ValueError("no pixel with sample lies in it")
    return inside


def _masked(region: Region, shape: tuple[int, ...]) -> BoolArray:
    if region.masked is None:
        raise ValueError(f"mask {region.mask}: its pixels were not kept; expected the recipe's file and the runs")
    mask = region.masked.mask()
    if mask.shape != shape:
        raise ValueError(f"mask {region.mask}: {mask.shape} pixels, expected {shape} (lines, columns)")
    return mask


def _quantity(region: Region, result: StxmResult) -> FloatArray:
    match region.quantity:
        case "edge_jump":
            values = np.asarray(result.edge_jump)
        case "brightness":
            values = np.asarray(result.brightness)
        case "optical_density":
            assert region.at is not None  # a region is checked
            values = np.asarray(result.optical_density[_image_at(region.at, result)])
    if values.shape != np.shape(result.mask):
        raise ValueError(f"{region.quantity}: the reduction has none")
    return values


def _image_at(energy: float, result: StxmResult) -> int:
    """Give the place of the usable image next to an energy (eV), which may be half a step beyond the last of them."""
    energies = np.asarray(result.stack_energy, dtype=float)
    away = np.where(usable_images(result), np.abs(energies - energy), np.inf)
    steps = np.diff(np.sort(energies))
    if not away.min() <= (steps.max() / 2 if len(steps) else np.inf):
        raise ValueError(
            f"at: no image at {energy:g} eV; there are {len(energies)} from {energies.min():g} to"
            f" {energies.max():g} eV, {int(np.isfinite(away).sum())} of which can be used"
        )
    return int(away.argmin())


def positions(result: StxmResult) -> tuple[FloatArray | None, FloatArray | None]:
    """Give the positions of columns and lines, um; None where the images have several regions."""
    lines, columns = np.shape(result.mask)
    if len(result.region_rows) != 1 or not len(result.region_x) or not len(result.region_y):
        return None, None
    (left, right), (first, last) = result.region_x[0], result.region_y[0]
    return np.linspace(float(left), float(right), columns), np.linspace(float(first), float(last), lines)


def usable_images(result: StxmResult) -> BoolArray:
    """Tell which images can be used, (images,)."""
    return np.array([status == "ok" for status in result.image_status], dtype=bool)


def spectra_of_pixels(result: StxmResult, chosen: BoolArray) -> Spectra:
    """Give the spectra of some pixels, (pixels, energies); NaN where an image cannot be used.

    So whatever is read off them knows of the gap, and does not draw a line across it.
    """
    used, at = usable_images(result), _with_energy(result)
    density, sigma = np.full((2, int(chosen.sum()), len(at)), np.nan)
    for column, place in enumerate(at):
        if used[place]:
            density[:, column] = np.asarray(result.optical_density[place], dtype=float)[chosen]
            sigma[:, column] = np.asarray(result.optical_density_sigma[place], dtype=float)[chosen]
    with np.errstate(invalid="ignore"):
        variance = np.where(sigma > 0, sigma**2, np.nan)
    return Spectra(np.asarray(result.stack_energy, dtype=float)[at], density, variance)


def _with_energy(result: StxmResult) -> NDArray[np.intp]:
    """Give the places of the images whose energy is known."""
    return np.flatnonzero(np.isfinite(np.asarray(result.stack_energy, dtype=float)))


def mean_picture(result: StxmResult) -> FloatArray:
    """Give the mean optical density of each pixel, sample or not, (lines, columns)."""
    total = number = np.zeros(np.shape(result.mask))
    for image, ok in zip(result.optical_density, usable_images(result), strict=True):
        if ok:
            known = np.isfinite(image)
            total, number = total + np.where(known, image, 0.0), number + known
    mean: FloatArray = np.full(number.shape, np.nan)
    np.divide(total, number, out=mean, where=number > 0)
    return mean


def mean_spectrum(result: StxmResult, pixels: Spectra) -> Spectra:
    """Average the spectra of pixels.

    Notes
    -----
    At each energy those pixels are averaged that were measured there. The noise of I0 is common to all pixels of an
    image, and does not average out.
    """
    at = _with_energy(result)
    rate, sigma = np.asarray(result.incident_rate)[at], np.asarray(result.incident_sigma)[at]
    relative = np.divide(sigma, rate, out=np.zeros(len(rate)), where=rate > 0)
    common = np.where(np.isfinite(relative), relative, 0.0) ** 2
    known = np.isfinite(pixels.values) & np.isfinite(pixels.variance)
    number = known.sum(axis=0)
    total = np.where(known, pixels.values, 0.0).sum(axis=0)
    own = np.where(known, np.maximum(pixels.variance - common, 0.0), 0.0).sum(axis=0)
    mean, noise = (
        np.divide(values, count, out=np.full(len(number), np.nan), where=number > 0)
        for values, count in ((total, number), (own, number**2))
    )
    return Spectra(pixels.energy, mean, noise + common)
