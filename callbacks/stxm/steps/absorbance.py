"""Optical density of every image as it comes, with I0 from the sample-free pixels, or given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from callbacks.contract import DensityResult, ImageOutput, StxmGrid
from callbacks.step import Step
from callbacks.stxm.alignment.appearance import UNABSORBED_PERCENTILE
from callbacks.stxm.density.blank import Blank, BlankSettings, find_blank, incident_rate
from callbacks.stxm.density.masks import GOOD, MASK_REASONS, MaskSettings, even_sample
from callbacks.stxm.density.optical_density import optical_density
from callbacks.stxm.density.stack_density import STACK_DENSITY, StackDensity
from callbacks.stxm.density.sums import mean_of_images, sum_of_images
from callbacks.stxm.edges import POST_EDGE_SHARE, PRE_EDGE_SHARE, Window
from callbacks.stxm.stack import ALIGNED_STACK, AlignedImage, AlignedStack

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

IMAGES_AT_A_TIME = 8  # whose sample-free pixels are gathered


class AbsorbanceSettings(BlankSettings, MaskSettings):
    """Incident flux and masks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    incident_rate: tuple[tuple[float, float], ...] | None = None  # (eV, counts/s), measured elsewhere: takes precedence
    pre_edge: Window | None = None  # eV; the first 12 % of the range where not given
    post_edge: Window | None = None  # eV; the last 15 %: references are scaled to one edge jump here


class Absorbance(Step):
    """Turn aligned images into optical density.

    The sample-free pixels are looked for again whenever the number of images has doubled, and with the last one: they
    improve with more images.
    """

    kept = (
        ImageOutput.INCIDENT_RATE,
        ImageOutput.INCIDENT_SIGMA,
        ImageOutput.I0_STATUS,
        ImageOutput.BLANK_PIXELS,
        ImageOutput.OPTICAL_DENSITY,
    )

    def __init__(self, grid: StxmGrid, settings: AbsorbanceSettings) -> None:
        self._settings = settings
        self._grid = grid
        self._stack = AlignedStack()  # as the last event handed it on
        self._blank = Blank(np.zeros((0, 0), dtype=bool), "no image yet")
        low, high = min(grid.energies), max(grid.energies)
        self._density = StackDensity(
            (grid.lines, max(region.columns for region in grid.regions)),
            settings,
            pre_edge=settings.pre_edge or (low, low + PRE_EDGE_SHARE * (high - low)),
            post_edge=settings.post_edge or (high - POST_EDGE_SHARE * (high - low), high),
        )
        self._searched_at = 0

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take an image; give the incident flux found in it, its optical density, and that of the stack."""
        self._stack = stack = event[ALIGNED_STACK]
        last = len(stack) == len(self._grid.energies)
        if self._settings.incident_rate is None and (len(stack) >= 2 * self._searched_at or last):
            self._search()
        self._density.update(stack, self._blank, self._status, *self._incident(stack.usable))
        newest = np.array([len(stack) - 1])
        rate, sigma = self._incident(newest)
        density, variance = optical_density(*self._rates(newest), rate, sigma)
        return {
            ImageOutput.INCIDENT_RATE: float(rate[0]),
            ImageOutput.INCIDENT_SIGMA: float(sigma[0]),
            ImageOutput.I0_STATUS: self._status,
            ImageOutput.BLANK_PIXELS: int(self._blank.pixels.sum()),
            ImageOutput.OPTICAL_DENSITY: density[0],
            ImageOutput.OPTICAL_DENSITY_VARIANCE: variance[0],
            STACK_DENSITY: self._density,
        }

    @property
    def result(self) -> DensityResult:
        """Incident flux, optical density, masks and the mean spectrum, by ascending energy."""
        if not len(self._stack):
            return DensityResult(i0_status="no image was measured")
        order = self._stack.order
        incident, sigma = self._incident(order)
        density, variance = optical_density(*self._rates(order), incident, sigma)
        mask, edge = self._density.mask, self._density.edge_jump
        sample = mask == GOOD
        if not self._grid.is_image:
            sample = even_sample(self._density.images, mask, self._settings.lowest_jump)
        spectrum = spectrum_sigma = np.full(len(order), np.nan)
        if sample.any():
            spectrum = density[:, sample].mean(axis=1)
            spectrum_sigma = np.sqrt(variance[:, sample].sum(axis=1)) / sample.sum()
        return DensityResult(
            incident_rate=incident,
            incident_sigma=sigma,
            i0_status=self._status,
            blank=self._blank.pixels.astype(int).reshape(-1, density.shape[2]),
            optical_density=density,
            optical_density_sigma=np.sqrt(variance),
            mask=mask,
            mask_reasons=np.array(MASK_REASONS, dtype=str),
            edge_jump=edge.jump,
            edge_jump_sigma=edge.sigma,
            edge_top=np.array([edge.top.min(), edge.top.max()] if len(edge.top) else [np.nan, np.nan]),
            pre_edge=np.array(self._density.pre_edge),
            post_edge=np.array(self._density.post_edge),
            spectrum=spectrum,
            spectrum_sigma=spectrum_sigma,
        )

    @property
    def _status(self) -> str:
        """Why there is no optical density, or "ok"."""
        return "ok" if self._settings.incident_rate is not None else self._blank.status

    def _rates(self, places: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Give some aligned images and their variance, counts/s, shape (images, lines, columns)."""
        images = [self._stack[place] for place in places]
        return np.array([image.rate for image in images]), np.array([image.variance for image in images])

    def _incident(self, places: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Give I0 of some images and its standard uncertainty, counts/s; of their sample-free pixels alone."""
        if (given := self._settings.incident_rate) is not None:
            energy, rate = np.array(given, dtype=float).T
            found = np.interp(self._stack.energies[places], energy, rate, left=np.nan, right=np.nan)
            return found, np.zeros(len(places))
        if self._blank.status != "ok" or not len(places):
            return np.full(len(places), np.nan), np.full(len(places), np.nan)
        # A few images at a time, and never a last one by itself: numpy adds its pixels in another order than a stack's.
        groups = np.array_split(places, max(1, len(places) // IMAGES_AT_A_TIME))
        rate, sigma = zip(*(self._mean_of_blank(group) for group in groups), strict=True)
        return np.concatenate(rate), np.concatenate(sigma)

    def _mean_of_blank(self, places: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Average the sample-free pixels of some images."""
        images = [self._stack[place] for place in places]
        rates = np.array([image.rate[self._blank.pixels] for image in images])[:, None]
        variances = np.array([image.variance[self._blank.pixels] for image in images])[:, None]
        return incident_rate(rates, variances, np.ones(rates.shape[1:], dtype=bool))

    def _search(self) -> None:
        """Look for the sample-free pixels in all images so far."""
        self._searched_at = len(self._stack)
        images = [self._stack[place] for place in self._stack.usable]
        if not images:
            return
        if self._grid.blank is not None:
            pixels = _pixels_inside(self._grid, self._grid.blank)
            blank = Blank(pixels, "ok" if pixels.any() else "no pixel is in the region given as blank")
        else:
            blank = find_blank(*_brightness(images), self._settings)
        if not np.array_equal(blank.pixels, self._blank.pixels) or blank.status != self._blank.status:
            self._blank = blank


def _brightness(images: list[AlignedImage]) -> tuple[FloatArray, FloatArray]:
    """Give the mean transmission of images, each over its unabsorbed level, and its standard uncertainty."""
    level = np.array([np.percentile(one.rate[np.isfinite(one.rate)], UNABSORBED_PERCENTILE) for one in images])
    noise = sum_of_images(one.variance / square for one, square in zip(images, level**2, strict=True))
    mean = mean_of_images((one.rate / each for one, each in zip(images, level, strict=True)), len(images))
    return mean, np.sqrt(noise) / len(images)


def _pixels_inside(grid: StxmGrid, rectangle: tuple[float, float, float, float]) -> BoolArray:
    """Tell which pixels of a grid lie in a rectangle, um: x and y from and to; shape (lines, columns)."""
    left, right, bottom, top = rectangle
    parts = []
    for region in grid.regions:
        x, y = np.linspace(*region.x, region.columns), np.linspace(*region.y, region.rows)
        parts.append(((y >= bottom) & (y <= top))[:, None] & ((x >= left) & (x <= right)))
    return np.concatenate(parts)
