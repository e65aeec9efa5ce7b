"""Incident flux of a stack from its sample-free pixels, which are found in the images.

Sample-free pixels are the brightest that are many and of one brightness: a peak at the bright end of the histogram. The
scans of the constants are in docs/decisions/constants-blank.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

# The histogram is looked at in intervals of one width: the sigmas of the noise that pixels of one brightness spread
# over. The noise is that of the bright pixels, the median of those above this percentile: the noise of all pixels would
# be that of the outlines of opaque grains, where the uncertainty of the position counts most.
PEAK_WIDTH, BRIGHT_PERCENTILE = 4.0, 90.0
STEPS_PER_WIDTH = 8  # of the intervals' centres
IGNORED_BRIGHTEST = 0.001  # share of the pixels above which no peak is looked for: hot pixels
STANDS_OUT = 2.0  # times as many pixels in the peak as in an equal interval on its dark side
DARK_SIDE = 2.0  # widths below the peak's centre: where that interval lies
BRIGHTER = 1.5  # widths above the peak's centre: brighter pixels do not belong to it
HOT_PIXELS, HOT_SHARE = 3, 0.005  # pixels, and their share, that may be brighter than no sample
# Of what a pixel close by is darker: as much an image that was moved by a cubic spline rises beside a sharp edge, in
# the mean over all displacements; over so many pixels each way.
OVERSHOOT, OVERSHOOT_REACH = 0.065, 2
HOLE = 4  # of the 9 pixels around and with one: as many bright ones are a hole in the sample, not hot pixels
ALIKE_WIDTHS, ALIKE_SIGMAS = 0.75, 3.0  # from the peak's centre, whichever is more: pixels as bright as it
NEIGHBOURS = 6  # of the 9 pixels around and with it that are as bright
LARGEST_SPREAD = 2.0  # spread of the pixels found over their noise


class BlankSettings(BaseModel):
    """How sample-free pixels are found, or where they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fewest_pixels: int = Field(20, ge=1)
    fewest_share: float = Field(0.004, ge=0, lt=1)  # of the image


@dataclass(frozen=True)
class Blank:
    """The sample-free pixels of a stack.

    Attributes
    ----------
    pixels : numpy.ndarray of bool, shape (lines, columns)
    status : str
        "ok", or why there are none.
    """

    pixels: BoolArray
    status: str


def find_blank(brightness: FloatArray, sigma: FloatArray, settings: BlankSettings | None = None) -> Blank:
    """Find the pixels without sample: the brightest that are many and of one brightness.

    Parameters
    ----------
    brightness, sigma : numpy.ndarray, shape (lines, columns)
        Mean transmission of the aligned images in any unit, and its standard uncertainty; NaN where not known.
    settings : BlankSettings, optional

    Returns
    -------
    Blank
        Refused where no such pixels stand out: a sample that covers the field leaves a brightness that fades out, not
        a peak at the bright end of the histogram. A perfectly uniform film all over the field cannot be told from
        empty space.

    Notes
    -----
    Where pixels as they are have no such peak, it is looked for in what they are at least: images are interpolated, and
    rise beside sharp edges.
    """
    settings = settings or BlankSettings()
    known = np.isfinite(brightness) & (sigma > 0)
    found = _find(brightness, brightness, sigma, known, settings)
    if found.status == "ok" or not known.any():
        return found
    again = _find(brightness, _without_overshoot(brightness, known), sigma, known, settings)
    return again if again.status == "ok" else found


def _find(
    brightness: FloatArray, settled: FloatArray, sigma: FloatArray, known: BoolArray, settings: BlankSettings
) -> Blank:
    """Find the pixels without sample by the peak of `settled`."""
    nothing = np.zeros(brightness.shape, dtype=bool)
    fewest = max(settings.fewest_pixels, int(settings.fewest_share * known.sum()))
    if known.sum() < 2 * fewest:
        return Blank(nothing, f"{known.sum()} pixels are known, expected {2 * fewest} or more")
    values = np.sort(settled[known])
    width = PEAK_WIDTH * float(np.median(sigma[known & (settled >= np.percentile(values, BRIGHT_PERCENTILE))]))
    centre, count = _brightest_peak(values, width, fewest)
    if not np.isfinite(centre):
        return Blank(nothing, f"no {fewest} pixels of one brightness at the bright end: no place without sample")
    in_peak = known & (np.abs(settled - centre) <= width / 2)
    if why_not := _does_not_stand_out(known & (settled > centre + BRIGHTER * width), values, width, centre, count):
        return Blank(nothing, why_not)
    centre += float(np.median((brightness - settled)[in_peak]))
    alike = known & (np.abs(brightness - centre) <= np.maximum(ALIKE_WIDTHS * width, ALIKE_SIGMAS * sigma))
    around = ndimage.convolve(alike.astype(int), np.ones((3, 3), dtype=int), mode="nearest")
    pixels = alike & (around >= NEIGHBOURS)
    if pixels.sum() < fewest:
        return Blank(nothing, f"{pixels.sum()} sample-free pixels lie together, expected {fewest} or more")
    spread = float(np.sqrt(np.mean(((brightness[pixels] - brightness[pixels].mean()) / sigma[pixels]) ** 2)))
    if spread > LARGEST_SPREAD:
        return Blank(nothing, f"the brightest pixels spread over {spread:.1f} times their noise")
    return Blank(pixels, "ok")


def incident_rate(
    rates: FloatArray, variances: FloatArray, pixels: BoolArray, shared: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Average the sample-free pixels of each image.

    Parameters
    ----------
    rates, variances : numpy.ndarray, shape (energies, lines, columns)
        counts/s.
    pixels : numpy.ndarray of bool, shape (lines, columns)
    shared : numpy.ndarray, shape (lines,)
        Relative variance that all pixels of a line share, which the mean of a line has as well.

    Returns
    -------
    rate, sigma : numpy.ndarray, shape (energies,)
        NaN where fewer than half of the pixels are known.
    """
    inside, noise = rates[:, pixels], variances[:, pixels]
    known = np.isfinite(inside)
    count = known.sum(axis=1)
    enough = count >= max(1, pixels.sum() / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(known, inside, 0.0).sum(axis=1) / count
        of_line = (np.isfinite(rates) & pixels).sum(axis=2) / count[:, None]
        sigma = np.sqrt(np.where(known, noise, 0.0).sum(axis=1) / count**2 + (of_line**2 @ shared) * rate**2)
    return np.where(enough, rate, np.nan), np.where(enough, sigma, np.nan)


def _brightest_peak(values: FloatArray, width: float, fewest: int) -> tuple[float, int]:
    """Give centre and content of the brightest interval that holds enough pixels and more than its neighbours."""
    top = values[-max(1, int(len(values) * IGNORED_BRIGHTEST))]
    centres = np.arange(top, values[0], -width / STEPS_PER_WIDTH)
    counts = _count(values, centres, width)
    enough = np.flatnonzero(counts >= fewest)
    if not len(enough):
        return float("nan"), 0
    # Climb from the first one to the top of its peak, looking one width ahead.
    place = int(enough[0])
    while True:
        ahead = counts[place + 1 : place + 1 + STEPS_PER_WIDTH]
        if not len(ahead) or ahead.max() <= counts[place]:
            return float(centres[place]), int(counts[place])
        place += 1 + int(ahead.argmax())


def _without_overshoot(brightness: FloatArray, known: BoolArray) -> FloatArray:
    """Give what pixels are at least, were they as much too bright as they may be beside something dark."""
    darkest = ndimage.minimum_filter(np.where(known, brightness, np.inf), 2 * OVERSHOOT_REACH + 1, mode="nearest")
    return np.asarray((brightness + OVERSHOOT * darkest) / (1 + OVERSHOOT))


def _does_not_stand_out(bright: BoolArray, values: FloatArray, width: float, centre: float, count: int) -> str:
    """Say why a peak is not that of places without sample; empty where it may be.

    Pixels that are `bright`er than it are hot where they are few and lie alone, and a hole in the sample otherwise.
    """
    brighter = int(bright.sum())
    around = ndimage.convolve(bright.astype(int), np.ones((3, 3), dtype=int), mode="constant")
    if brighter > max(HOT_PIXELS, HOT_SHARE * len(values)) or (bright & (around >= HOLE)).any():
        return f"{brighter} pixels are brighter than the {count} that stand out: no place without sample"
    darker = _count(values, np.array([centre - DARK_SIDE * width]), width)[0]
    if count < STANDS_OUT * darker:
        return (
            f"the brightest pixels do not stand out: {count} of one brightness, {darker} a little darker;"
            " no place without sample"
        )
    return ""


def _count(values: FloatArray, centres: FloatArray, width: float) -> NDArray[np.intp]:
    """Count the sorted values in intervals of one width."""
    return np.searchsorted(values, centres + width / 2) - np.searchsorted(values, centres - width / 2)
