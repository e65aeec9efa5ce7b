"""Registration: how far an image has drifted against a reference, to a small part of a pixel, and how to undo it.

Cross-correlation of edges, the magnitude of the gradient after a Gaussian (Marcus, J. Electron Spectrosc. 264 (2023)
147310), finds the shift to a pixel (Guizar-Sicairos et al., Opt. Lett. 33 (2008) 156, without normalising the
spectrum). Least squares on the smoothed images refines it (Lucas and Kanade, Proc. 7th IJCAI (1981) 674), what else
may differ between the two fitted along (Hager and Belhumeur, IEEE Trans. PAMI 20 (1998) 1025), and says how well it is
known. The scans of the constants are in docs/decisions/constants-registration.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage
from skimage.measure import block_reduce
from skimage.registration import phase_cross_correlation

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

SMALLEST_SIDE = 16  # pixels; below, there is too little to compare
PASSES = 2  # of the refinement, each with the contrast found in the one before
ITERATIONS, CONVERGED, NEARLY_CONVERGED = 30, 1e-4, 1e-2  # of a pass; pixels, in the last one and before
LARGEST_STEP = 3.0  # pixels from the start: the refinement would follow another edge
LARGEST_CONDITION = 1e6  # of the curvature: edges in one direction only say nothing of the other
WIDE = 3.0  # times the smoothing: what varies more slowly makes no edges for the search
SLOW = 3  # a cosine of fewer half periods over the field is an overlayer or the beam, and says nothing of the shift
BRIGHTNESS = 0.1  # relative: how well the brightest places tell it
LOWEST = 0.02  # transmission that is told apart from none
BLOCK = 8  # pixels; residuals are correlated over the Gaussian and the probe, and not much further
FADE = 8  # the borders fade out over this fraction of the side (one eighth) at either end
SLOPE_SMOOTHING = 0.7  # pixels; of the image that slopes are taken of
CUBIC_SUPPORT = 4  # pixels that an interpolated pixel is made of, along each axis


class RegistrationSettings(BaseModel):
    """How images are registered; in pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    smoothing: float = Field(1.0, gt=0)  # sigma of the Gaussian
    largest_shift: float = Field(0.25, gt=0, lt=0.5)  # of the shorter side of the image: further is not drift
    largest_sigma: float = Field(0.25, gt=0)  # a shift that is less certain is not used
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
    scatter : numpy.ndarray, shape (2,)
        Of it, what comparing the image with the reference leaves: without what is uncertain for all images in common.
    status : str
        "ok", or why there is no shift.
    """

    shift: FloatArray
    sigma: FloatArray
    scatter: FloatArray
    status: str


@dataclass(frozen=True)
class SmoothImage:
    """A smoothed image.

    Attributes
    ----------
    value : numpy.ndarray, shape (rows, columns)
        What is not known is filled with the mean.
    known : numpy.ndarray of bool, shape (rows, columns)
        False for pixels that depend on one that was not measured.
    """

    value: FloatArray
    known: BoolArray


@dataclass(frozen=True)
class Prediction:
    """How a smoothed image may look where its reference lies: a base times exp(-absorbance) of components.

    Attributes
    ----------
    base : numpy.ndarray, shape (rows, columns)
        Transmission without any of the components.
    known : numpy.ndarray of bool, shape (rows, columns)
    maps : numpy.ndarray, shape (components, rows, columns)
        Absorbance of each component; may be none.
    amount : numpy.ndarray, shape (components,)
        How much there is of each; not below zero of the first.
    spread : numpy.ndarray, shape (components,)
        By how much the amount differs from image to image, rms; infinite where nothing is known of it.
    fine : bool
        Whether only what varies faster than a Gaussian of `WIDE` times the smoothing is compared.
    """

    base: FloatArray
    known: BoolArray
    maps: FloatArray
    amount: FloatArray
    spread: FloatArray
    fine: bool = True

    @property
    def image(self) -> FloatArray:
        """Transmission, shape (rows, columns)."""
        return np.asarray(self.base * np.exp(-np.tensordot(self.amount, self.maps, axes=1)))


@dataclass(frozen=True)
class Match:
    """The shift of an image against a prediction, and the amounts of its components there."""

    shift: Shift
    amount: FloatArray


def register(
    image: FloatArray,
    reference: FloatArray,
    settings: RegistrationSettings | None = None,
    *,
    start: FloatArray | None = None,
) -> Shift:
    """Find the shift of an image against another of the same contrast.

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
    """
    settings = settings or RegistrationSettings()
    if image.shape != reference.shape:
        raise ValueError(f"register: an image of {image.shape} pixels, a reference of {reference.shape}")
    moving, fixed = (_of_mean_one(smoothed(each, settings.smoothing)) for each in (image, reference))
    prediction = Prediction(fixed.value, fixed.known, np.empty((0, *image.shape)), np.empty(0), np.empty(0))
    return match(moving, prediction, settings, start).shift


def smoothed(image: FloatArray, smoothing: float) -> SmoothImage:
    """Smooth an image by a Gaussian, around what was not measured (NaN)."""
    measured = np.isfinite(image)
    known = ndimage.binary_erosion(measured, iterations=math.ceil(2 * smoothing), border_value=1)
    level = float(image[measured].mean()) if measured.any() else 1.0
    return SmoothImage(ndimage.gaussian_filter(np.where(measured, image, level), smoothing), known)


def match(
    moving: SmoothImage, prediction: Prediction, settings: RegistrationSettings, start: FloatArray | None
) -> Match:
    """Find the shift of a smoothed image against a prediction, and the amounts of its components.

    Parameters
    ----------
    moving : SmoothImage
        In units of the prediction.
    prediction : Prediction
    settings : RegistrationSettings
    start : numpy.ndarray, shape (2,), or None
        Where the shift is looked for first, pixel; None for all over the image.

    Returns
    -------
    Match

    Notes
    -----
    The uncertainty is that of least squares with residuals that are correlated within blocks of 8 x 8 pixels (the
    sandwich estimator): it accounts for noise and for differences in contrast alike. The prediction counts as exact.
    """
    if min(moving.value.shape) < SMALLEST_SIDE:
        rows, columns = moving.value.shape
        return _no_match(prediction, f"{columns} x {rows} pixels, expected {SMALLEST_SIDE} or more each way")
    if not (_has_structure(moving.value, moving.known) and _has_structure(prediction.image, prediction.known)):
        return _no_match(prediction, "no structure")
    found = None if start is None else _refine(moving, prediction, start, settings)
    if found is None or found.shift.sigma.max() > settings.largest_sigma:
        whole = _whole_pixels(
            edge_image(moving.value, moving.known, settings.smoothing),
            edge_image(prediction.image, prediction.known, settings.smoothing),
        )
        limit = settings.largest_shift * min(moving.value.shape)
        if np.abs(whole).max() > limit:
            return _no_match(
                prediction, f"the shift of {whole[0]:.1f}, {whole[1]:.1f} pixels is larger than {limit:.1f}"
            )
        found = _refine(moving, prediction, whole, settings)
    if found is None:
        return _no_match(prediction, "the refinement does not converge")
    sigma = found.shift.sigma.max()
    if not sigma <= settings.largest_sigma:
        return _no_match(
            prediction, f"the shift is uncertain by {sigma:.2f} pixels, more than {settings.largest_sigma:g}"
        )
    return found


def edge_image(image: FloatArray, known: BoolArray, smoothing: float) -> FloatArray:
    """Give the magnitude of the gradient of a smoothed image, slow variations subtracted; 0 where not known.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
    known : numpy.ndarray of bool, shape (rows, columns)
    smoothing : float
        Sigma of the Gaussian that it was smoothed by, pixel. The image after one `WIDE` times as wide is subtracted.
    """
    rest = image - ndimage.gaussian_filter(image, WIDE * smoothing)
    edges = np.hypot(ndimage.sobel(rest, axis=0), ndimage.sobel(rest, axis=1))
    return np.where(ndimage.binary_erosion(known, border_value=1), edges, 0.0)


def _of_mean_one(image: SmoothImage) -> SmoothImage:
    mean = float(image.value[image.known].mean()) if image.known.any() else 1.0
    return SmoothImage(image.value / (mean or 1.0), image.known)


def _has_structure(image: FloatArray, known: BoolArray) -> bool:
    return bool(known.any() and np.ptp(image[known]) > 1e-9 * np.abs(image[known]).max())


def _whole_pixels(edges: FloatArray, reference: FloatArray) -> FloatArray:
    """Find the shift to a pixel, by the maximum of the cross-correlation; the borders fade out."""
    window = np.outer(*(_taper(side) for side in edges.shape))
    inside = window > 0.5
    moving, fixed = ((each - each[inside].mean()) * window for each in (edges, reference))
    return np.asarray(phase_cross_correlation(fixed, moving, normalization=None)[0], dtype=np.float64)


def absorbance(transmission: FloatArray) -> FloatArray:
    """Give -ln of a transmission; of one that is not told apart from none, that of the lowest that is."""
    return np.asarray(-np.log(np.clip(transmission, LOWEST, None)))


def fit_absorbance(density: FloatArray, maps: FloatArray) -> tuple[FloatArray, float]:
    """Fit absorbances, shape (pixels,), by amounts of some maps, shape (maps, pixels), and an offset.

    What is darker is noisier, and weighs less.
    """
    weight = np.exp(-density)
    design = np.vstack([maps, np.ones(len(density))]) * weight
    *amount, offset = np.linalg.lstsq(design @ design.T, design @ (weight * density), rcond=None)[0]
    return np.array(amount), float(offset)


class _NotConvergingError(Exception):
    """A fit runs away, or the data do not determine it."""


def _refine(
    moving: SmoothImage, prediction: Prediction, start: FloatArray, settings: RegistrationSettings
) -> Match | None:
    """Fit shift, amounts, and what varies slowly; None where that does not converge."""
    used = _comparable(moving.known, prediction.known, start, settings.smoothing * (WIDE if prediction.fine else 1))
    if used.sum() < SMALLEST_SIDE**2 / 2:
        return None
    try:
        return _least_squares(moving.value, prediction, used, start, settings.smoothing)
    except (_NotConvergingError, np.linalg.LinAlgError):
        return None


def _least_squares(
    image: FloatArray, prediction: Prediction, used: BoolArray, start: FloatArray, smoothing: float
) -> Match:
    """Fit shift, amounts, and what varies slowly, by Gauss-Newton steps.

    An amount is expected to differ by no more than its spread, so that what is hardly seen among the images of a stack,
    such as what is left of their drift, is no explanation of a shift.
    """
    wide = WIDE * smoothing if prediction.fine else 0.0
    spline = ndimage.spline_filter(_without_slow(image, wide))
    number = len(prediction.amount)
    if number:
        moved = absorbance(_moved(ndimage.spline_filter(image), start)[used])
        (first,), _ = fit_absorbance(moved, prediction.maps[:1, used])
        prediction = replace(prediction, amount=np.array([first, *prediction.amount[1:]]))
    amounts = slice(2, 2 + number)
    alike = 4 * math.pi * smoothing**2  # pixels that the Gaussian makes alike
    shift, noise = start, math.inf
    for left in reversed(range(PASSES)):
        expected, design = _linearised(prediction, used, wide)
        normal = design @ design.T
        weight, towards = np.zeros(len(design)), np.zeros(len(design))
        for _ in range(ITERATIONS):
            residual = expected - _moved(spline, shift)[used]
            noise = min(noise, alike * float(residual @ residual) / len(residual))
            weight[amounts] = noise / prediction.spread**2
            towards[amounts] = weight[amounts] * prediction.amount
            if number:  # where there is little contrast, brightness cannot be told from an amount
                weight[2 + number] = noise / BRIGHTNESS**2
            inverse = np.linalg.inv(normal + np.diag(weight))
            step = -inverse @ (design @ residual + towards)
            shift = shift + step[:2]
            residual = residual + step @ design
            noise = alike * float(residual @ residual) / len(residual)
            if not np.abs(shift - start).max() <= LARGEST_STEP:
                raise _NotConvergingError
            if np.abs(step[:2]).max() < (NEARLY_CONVERGED if left else CONVERGED):
                break
        else:
            raise _NotConvergingError
        gain = 1 + step[2 + number]
        amount = prediction.amount + step[amounts]
        if not (gain > 0 and np.all(amount[:1] > 0)):
            raise _NotConvergingError
        prediction = replace(prediction, base=gain * prediction.base, amount=amount)
    if not np.linalg.cond(inverse[:2, :2]) < LARGEST_CONDITION:
        raise _NotConvergingError
    sigma = _sandwich_sigma((inverse[:2] @ design) * residual, used)
    return Match(Shift(shift, sigma, sigma, "ok"), prediction.amount)


def _linearised(prediction: Prediction, used: BoolArray, wide: float) -> tuple[FloatArray, FloatArray]:
    """Give the prediction, shape (pixels,), and what it changes by, shape (parameters, pixels).

    The parameters are the shift, the amounts, what varies slowly in proportion to the transmission, and an offset.
    """
    image = prediction.image
    waves = _slow_waves(used.shape)
    if wide:
        waves = waves[:1]  # of these, the brightness is left
    changes = [*np.gradient(image), *(-image * one for one in prediction.maps), *(image * wave for wave in waves)]
    design = np.array([*(_without_slow(one, wide)[used] for one in changes), np.ones(int(used.sum()))])
    return _without_slow(image, wide)[used], design


def _without_slow(image: FloatArray, wide: float) -> FloatArray:
    """Subtract what varies more slowly than a Gaussian; nothing where it has no width."""
    return image - ndimage.gaussian_filter(image, wide) if wide else image


def _slow_waves(shape: tuple[int, ...]) -> list[FloatArray]:
    """Give cosines that vary slowly over the field, first the constant one."""
    rows, columns = ((np.arange(side) + 0.5) * math.pi / side for side in shape)
    return [
        np.outer(np.cos(along * rows), np.cos(across * columns))
        for along in range(SLOW)
        for across in range(SLOW - along)
    ]


def _comparable(measured: BoolArray, known: BoolArray, start: FloatArray, reached: float) -> BoolArray:
    """Tell which pixels of a prediction can be compared with the image where it is looked for first."""
    inner = np.zeros(measured.shape, dtype=bool)
    reach = [math.ceil(abs(component) + 2 * reached) for component in start]
    inner[reach[0] : -reach[0], reach[1] : -reach[1]] = True
    moved = ndimage.shift(measured.astype(float), start, order=0, cval=0.0) > 0.5
    comparable: BoolArray = inner & known & ndimage.binary_erosion(moved, iterations=2, border_value=1)
    return comparable


def _sandwich_sigma(scores: FloatArray, used: BoolArray) -> FloatArray:
    """Give the standard uncertainty of a shift to which each pixel adds a score, correlated within blocks of pixels."""
    field = np.zeros((2, *used.shape))
    field[:, used] = scores
    blocks = block_reduce(field, (1, BLOCK, BLOCK), np.sum).reshape(2, -1)
    return np.asarray(np.sqrt((blocks**2).sum(axis=1)))


def _taper(side: int) -> FloatArray:
    """Give a window that is 1 in the middle and falls to 0 at either end."""
    fall = max(2, side // FADE)
    edge = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fall) + 0.5) / fall)
    return np.concatenate([edge, np.ones(side - 2 * fall), edge[::-1]])


def _no_match(prediction: Prediction, reason: str) -> Match:
    return Match(no_shift(reason), prediction.amount)


def no_shift(reason: str) -> Shift:
    """Give the shift of an image that has none."""
    return Shift(np.full(2, np.nan), np.full(2, np.nan), np.full(2, np.nan), reason)


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
    shift : numpy.ndarray, shape (2,) or (rows, 2)
        Rows and columns, pixel; of the whole image, or of each line of it: these remain in order.

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
    for axis, moves in enumerate(_at_place(shift, len(image))):
        first, weights = _cubic_weights(moves)
        image = _resampled(image, first, weights, axis)
        variance = _resampled(variance, first, weights**2, axis)
    return image, variance


def left_field(shape: tuple[int, int], shift: FloatArray) -> BoolArray:
    """Tell which pixels of an image that `shifted` moves are made of some outside of it.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    shift : numpy.ndarray, shape (2,) or (rows, 2)
        Rows and columns, pixel.

    Returns
    -------
    numpy.ndarray of bool, shape (rows, columns)
    """
    outside = np.zeros(shape, dtype=bool)
    for side, place, moves in zip(shape, np.ogrid[: shape[0], : shape[1]], _at_place(shift, shape[0]), strict=True):
        first, weights = _cubic_weights(moves)
        lowest = first + (weights != 0).argmax(axis=0)
        highest = first + CUBIC_SUPPORT - 1 - (weights[::-1] != 0).argmax(axis=0)
        outside |= (place + lowest[:, None] < 0) | (place + highest[:, None] >= side)
    return outside


def _at_place(shift: FloatArray, rows: int) -> FloatArray:
    """Give the shift of what comes to lie in each row, shape (2, rows), by the shift of each line, or of all."""
    if shift.ndim == 1:
        return np.repeat(shift[:, None], rows, axis=1)
    place = np.arange(rows)
    return np.array([np.interp(place, place + shift[:, 0], along) for along in shift.T])


def _cubic_weights(shift: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """Give the first of the four pixels that pixel 0 is made of, shape (rows,), and their weights, shape (4, rows)."""
    first = np.floor(-shift).astype(np.intp)
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


def _resampled(image: FloatArray, first: NDArray[np.intp], weights: FloatArray, axis: int) -> FloatArray:
    """Make each pixel of `CUBIC_SUPPORT` ones in a row along an axis, as `_cubic_weights` says for each row."""
    reach, side = int(np.abs(first).max()) + CUBIC_SUPPORT, image.shape[axis]
    padded = np.pad(image, [(reach, reach) if axis == each else (0, 0) for each in range(2)], constant_values=np.nan)
    total = np.zeros(image.shape)
    ends = [0, *(np.flatnonzero(np.diff(first)) + 1), len(first)]
    for rows in map(slice, ends[:-1], ends[1:]):  # of which all move as many whole pixels
        for step, weight in enumerate(weights[:, rows, None]):
            start = reach + int(first[rows.start]) + step
            taken = padded[rows.start + start : rows.stop + start] if axis == 0 else padded[rows, start : start + side]
            if not weight.all():  # a missing pixel that weighs nothing takes nothing away
                taken = np.where(weight == 0, 0.0, taken)
            total[rows] += weight * taken
    return total


def _weighted_sum(image: FloatArray, first: int, weights: FloatArray, axis: int) -> FloatArray:
    """Make each pixel of some in a row along an axis; beyond the borders these go on as they end."""
    side = image.shape[axis]
    reach = abs(first) + CUBIC_SUPPORT
    padding = [(reach, reach) if axis == each else (0, 0) for each in range(2)]
    padded = np.moveaxis(np.pad(image, padding, mode="edge"), axis, 0)
    total = np.zeros((side, *padded.shape[1:]))
    for place in np.flatnonzero(weights):
        begin = reach + first + int(place)
        total += weights[place] * padded[begin : begin + side]
    return np.moveaxis(total, 0, axis)


def _moved(spline: FloatArray, shift: FloatArray) -> FloatArray:
    """Move an image, given by the coefficients of its cubic spline; beyond the borders these go on as they end."""
    for axis in (0, 1):
        first = math.floor(-shift[axis])
        t = -shift[axis] - first
        weights = np.array([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
        spline = _weighted_sum(spline, first - 1, weights, axis)
    return spline
