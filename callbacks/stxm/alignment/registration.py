"""Registration: how far an image has drifted against a reference, to a small part of a pixel, and how to undo it.

The images of a stack differ in contrast from energy to energy, so it is edges that are compared: the magnitude of the
gradient after a Gaussian (Marcus, J. Electron Spectrosc. 264 (2023) 147310). Cross-correlation finds the shift to a
pixel (Guizar-Sicairos et al., Opt. Lett. 33 (2008) 156, without normalising the spectrum), and least squares on the
same edges refines it (Lucas and Kanade, Proc. 7th IJCAI (1981) 674) and says how well it is known. The scans of the
constants are in docs/decisions/constants-registration.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage
from skimage.measure import block_reduce
from skimage.registration import phase_cross_correlation

FloatArray = NDArray[np.floating]

BoolArray = NDArray[np.bool_]

SMALLEST_SIDE = 16  # pixels; below, there are no edges to compare
ITERATIONS, CONVERGED = 30, 1e-4  # of the refinement; pixels
LARGEST_STEP = 3.0  # pixels from the start: the refinement would follow another edge
LARGEST_CONDITION = 1e6  # of the curvature: edges in one direction only say nothing of the other
WIDE = 3.0  # times the smoothing: what varies more slowly is an overlayer, whose contrast is its own
BLOCK = 8  # pixels; residuals are correlated over the Gaussian and the probe, and not much further
FADE = 8  # the borders fade out over this fraction of the side (one eighth) at either end
SLOPE_SMOOTHING = 0.7  # pixels; of the image that slopes are taken of
CUBIC_SUPPORT = 4  # pixels that an interpolated pixel is made of, along each axis


class RegistrationSettings(BaseModel):
    """How images are registered; in pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    smoothing: float = Field(1.0, gt=0)  # sigma of the Gaussian before the edge filter
    largest_shift: float = Field(0.25, gt=0, lt=0.5)  # of the shorter side of the image: further is not drift
    largest_sigma: float = Field(0.25, gt=0)  # a shift that is less certain is not used
    position_noise: float = Field(0.12, ge=0)  # rms: interpolation, and the bias of shifts by a change of contrast
    largest_step: float = Field(4.0, gt=0)  # from the shift of the image before


@dataclass(frozen=True)
class Shift:
    """A shift that registration found.

    Attributes
    ----------
    shift : numpy.ndarray, shape (2,)
        Rows and columns, pixel: what to add to the image's coordinates to get the reference's. NaN where `status` is
        not "ok".
    sigma : numpy.ndarray, shape (2,)
        Standard uncertainty of each.
    status : str
        "ok", or why there is no shift.
    """

    shift: FloatArray
    sigma: FloatArray
    status: str


def register(
    image: FloatArray,
    reference: FloatArray,
    settings: RegistrationSettings | None = None,
    *,
    start: FloatArray | None = None,
) -> Shift:
    """Find the shift of an image against a reference.

    Parameters
    ----------
    image, reference : numpy.ndarray, shape (rows, columns)
        Transmission or counts, best over the incident flux; NaN where not measured.
    settings : RegistrationSettings, optional
    start : numpy.ndarray, shape (2,), optional
        Where the shift is looked for first: that of the image before. Without it, or where nothing is found there, it
        is looked for all over the image.

    Returns
    -------
    Shift

    Raises
    ------
    ValueError
        When the two differ in shape.

    Notes
    -----
    The uncertainty is that of least squares with residuals that are correlated within blocks of 8 x 8 pixels (the
    sandwich estimator): it accounts for noise and for differences in contrast alike.
    """
    settings = settings or RegistrationSettings()
    if image.shape != reference.shape:
        raise ValueError(f"register: an image of {image.shape} pixels, a reference of {reference.shape}")
    if min(image.shape) < SMALLEST_SIDE:
        return _refused(f"{image.shape[0]} x {image.shape[1]} pixels, expected {SMALLEST_SIDE} or more each way")
    edges, measured = edge_image(image, settings.smoothing)
    edges_of_reference, measured_of_reference = edge_image(reference, settings.smoothing)
    if not np.ptp(edges) > 0 or not np.ptp(edges_of_reference) > 0:
        return _refused("no structure")
    pair = edges, measured, edges_of_reference, measured_of_reference
    found = None if start is None else _refine(*pair, start)
    if found is None or found[1].max() > settings.largest_sigma:
        whole = _whole_pixels(edges, edges_of_reference)
        limit = settings.largest_shift * min(image.shape)
        if np.abs(whole).max() > limit:
            return _refused(f"the shift of {whole[0]:.1f}, {whole[1]:.1f} pixels is larger than {limit:.1f}")
        found = _refine(*pair, whole)
    if found is None:
        return _refused("the refinement does not converge")
    shift, sigma = found
    if not sigma.max() <= settings.largest_sigma:
        return _refused(f"the shift is uncertain by {sigma.max():.2f} pixels, more than {settings.largest_sigma:g}")
    return Shift(shift, sigma, "ok")


def edge_image(image: FloatArray, smoothing: float) -> tuple[FloatArray, BoolArray]:
    """Give the magnitude of the gradient of a smoothed image, slow variations subtracted.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        NaN where not measured.
    smoothing : float
        Sigma of the Gaussian, pixel. The image after a Gaussian `WIDE` times as wide is subtracted.

    Returns
    -------
    edges : numpy.ndarray, shape (rows, columns)
        Of the image scaled to a mean of 1; 0 where not known.
    known : numpy.ndarray of bool, shape (rows, columns)
        False for pixels whose edges would depend on one that was not measured.
    """
    measured = np.isfinite(image)
    known = ndimage.binary_erosion(measured, iterations=math.ceil(2 * smoothing) + 1, border_value=1)
    if not known.any():
        return np.zeros(image.shape), known
    mean = float(image[measured].mean())
    smooth = ndimage.gaussian_filter(np.where(measured, image, mean) / (mean or 1.0), smoothing)
    smooth = smooth - ndimage.gaussian_filter(smooth, WIDE * smoothing)
    edges = np.hypot(ndimage.sobel(smooth, axis=0), ndimage.sobel(smooth, axis=1)) / 8  # the kernel's own factor
    return np.where(known, edges, 0.0), known


def _whole_pixels(edges: FloatArray, reference: FloatArray) -> FloatArray:
    """Find the shift to a pixel, by the maximum of the cross-correlation; the borders fade out."""
    window = np.outer(*(_taper(side) for side in edges.shape))
    inside = window > 0.5
    moving, fixed = ((each - each[inside].mean()) * window for each in (edges, reference))
    return np.asarray(phase_cross_correlation(fixed, moving, normalization=None)[0], dtype=np.float64)


def _refine(
    edges: FloatArray, measured: BoolArray, reference: FloatArray, measured_of_reference: BoolArray, start: FloatArray
) -> tuple[FloatArray, FloatArray] | None:
    """Fit shift, contrast and offset by least squares; give shift and standard uncertainty, or None."""
    used = _comparable(measured, measured_of_reference, start)
    if used.sum() < SMALLEST_SIDE**2 / 2:
        return None
    slopes = np.array(np.gradient(reference))[:, used].T
    slopes -= slopes.mean(axis=0)
    spline = ndimage.spline_filter(edges)
    target = reference[used]
    target -= target.mean()
    shift = start.copy()
    for _ in range(ITERATIONS):
        moved = ndimage.shift(spline, shift, order=3, prefilter=False, mode="nearest")[used]
        moved -= moved.mean()  # the offset is fitted: what is left has a mean of 0
        size, along = float(moved @ moved), float(moved @ target)
        if not (size > 0 and along > 0):
            return None
        # Moving the fit by a small step changes it by minus its slopes; offset and contrast take their part of them.
        part = slopes - np.outer(moved, moved @ slopes / size)
        residual = target - moved * (along / size)
        curvature = part.T @ part
        if not np.linalg.cond(curvature) < LARGEST_CONDITION:
            return None
        step = -np.linalg.solve(curvature, part.T @ residual)
        shift = shift + step
        if np.abs(shift - start).max() > LARGEST_STEP:
            return None
        if np.abs(step).max() < CONVERGED:
            return shift, _sandwich_sigma(part, residual, curvature, used)
    return None


def _comparable(measured: BoolArray, measured_of_reference: BoolArray, start: FloatArray) -> BoolArray:
    """Tell which pixels of the reference can be compared with the image where it is looked for first."""
    inner = np.zeros(measured.shape, dtype=bool)
    reach = [int(np.ceil(abs(component) + 2 * WIDE)) for component in start]  # of the borders, by the wide Gaussian
    inner[reach[0] : -reach[0], reach[1] : -reach[1]] = True
    moved = ndimage.shift(measured.astype(float), start, order=0, cval=0.0) > 0.5
    comparable: BoolArray = inner & measured_of_reference & ndimage.binary_erosion(moved, iterations=2, border_value=1)
    return comparable


def _sandwich_sigma(part: FloatArray, residual: FloatArray, curvature: FloatArray, used: BoolArray) -> FloatArray:
    """Give the standard uncertainty of a shift whose residuals are correlated within blocks of pixels."""
    inverse = np.linalg.inv(curvature)
    scores = np.zeros((2, *used.shape))
    scores[:, used] = (part * residual[:, None]).T
    blocks = block_reduce(scores, (1, BLOCK, BLOCK), np.sum).reshape(2, -1)
    sigma: FloatArray = np.sqrt(np.diag(inverse @ (blocks @ blocks.T) @ inverse))
    return sigma


def _taper(side: int) -> FloatArray:
    """Give a window that is 1 in the middle and falls to 0 at either end."""
    fall = max(2, side // FADE)
    edge = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fall) + 0.5) / fall)
    return np.concatenate([edge, np.ones(side - 2 * fall), edge[::-1]])


def _refused(reason: str) -> Shift:
    return Shift(np.full(2, np.nan), np.full(2, np.nan), reason)


def put_in_place(image: FloatArray, off_place: FloatArray) -> FloatArray:
    """Correct an image for the positions at which its pixels were measured.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        NaN where not measured.
    off_place : numpy.ndarray, shape (2, rows, columns)
        Pixel: by how much each pixel was off, by the encoders. A mean displacement is left to registration.

    Returns
    -------
    numpy.ndarray, shape (rows, columns)

    Notes
    -----
    To first order, by the slopes of the smoothed image; a pixel that is off by more than one is left as it is.
    """
    measured = np.isfinite(image)
    if not off_place.any() or not measured.any() or min(image.shape) < 2:
        return image
    off = off_place - off_place[:, measured].mean(axis=1)[:, None, None]
    off = np.where(np.abs(off).max(axis=0) > 1.0, 0.0, off)
    return np.asarray(image - (_slopes(image) * off).sum(axis=0))


def with_position_noise(image: FloatArray, variance: FloatArray, uncertain: FloatArray | float) -> FloatArray:
    """Add to the variance of an image what the uncertainty of its position does to it.

    Parameters
    ----------
    image, variance : numpy.ndarray, shape (rows, columns)
        NaN where not measured.
    uncertain : float or numpy.ndarray, shape (2,)
        Pixel: standard uncertainty of rows and columns.

    Returns
    -------
    numpy.ndarray, shape (rows, columns)
        Variance, by the slopes of the smoothed image.
    """
    if not np.isfinite(image).any() or min(image.shape) < 2:
        return variance
    spread = np.broadcast_to(np.asarray(uncertain, dtype=float), (2,))[:, None, None]
    return np.asarray(variance + ((_slopes(image) * spread) ** 2).sum(axis=0))


def _slopes(image: FloatArray) -> FloatArray:
    """Give the slopes of a smoothed image along rows and columns, shape (2, rows, columns)."""
    measured = np.isfinite(image)
    level = np.median(image[measured])
    return np.array(np.gradient(ndimage.gaussian_filter(np.where(measured, image, level), SLOPE_SMOOTHING)))


def shifted(image: FloatArray, variance: FloatArray, shift: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Move an image by a shift, as `register` gives it, with its variance.

    Parameters
    ----------
    image, variance : numpy.ndarray, shape (rows, columns)
        NaN where not measured.
    shift : numpy.ndarray, shape (2,)
        Rows and columns, pixel.

    Returns
    -------
    image, variance : numpy.ndarray, shape (rows, columns)
        NaN where one of the 4 x 4 pixels that a value is made of was not measured or is outside of the image.

    Notes
    -----
    Cubic convolution (Keys, IEEE Trans. ASSP 29 (1981) 1153): each value is made of its nearest pixels only, so that
    nothing rings from an edge or a missing line into the spectra of others. Interpolation correlates neighbouring
    pixels; the variance given is that of each by itself.
    """
    for axis in (0, 1):
        whole, weights = _cubic_weights(float(shift[axis]))
        image = _weighted_sum(image, whole, weights, axis)
        variance = _weighted_sum(variance, whole, weights**2, axis)
    return image, variance


def left_field(shape: tuple[int, int], shift: FloatArray) -> BoolArray:
    """Tell which pixels of an image that `shifted` moves are made of some outside of it.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    shift : numpy.ndarray, shape (2,)
        Rows and columns, pixel.

    Returns
    -------
    numpy.ndarray of bool, shape (rows, columns)
    """
    outside = []
    for side, move in zip(shape, shift, strict=True):
        first, weights = _cubic_weights(float(move))
        support = first + np.flatnonzero(weights)
        place = np.arange(side)
        outside.append((place + support.min() < 0) | (place + support.max() >= side))
    return np.asarray(outside[0][:, None] | outside[1])


def _cubic_weights(shift: float) -> tuple[int, FloatArray]:
    """Give the first of the four pixels that pixel 0 is made of, and their weights."""
    first = math.floor(-shift)
    t = -shift - first
    weights = np.array(
        [
            -0.5 * t**3 + t**2 - 0.5 * t,
            1.5 * t**3 - 2.5 * t**2 + 1.0,
            -1.5 * t**3 + 2.0 * t**2 + 0.5 * t,
            0.5 * t**3 - 0.5 * t**2,
        ]
    )
    return first - 1, weights


def _weighted_sum(image: FloatArray, first: int, weights: FloatArray, axis: int) -> FloatArray:
    side = image.shape[axis]
    reach = abs(first) + CUBIC_SUPPORT
    padding = [(reach, reach) if axis == each else (0, 0) for each in range(2)]
    padded = np.pad(image, padding, constant_values=np.nan)
    total = np.zeros(image.shape)
    for place in np.flatnonzero(weights):
        begin = reach + first + int(place)
        total += weights[place] * np.take(padded, range(begin, begin + side), axis=axis)
    return total
