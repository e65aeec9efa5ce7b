"""Optical density of every pixel with its variance, and which pixels not to trust, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from callbacks.contract import DensityResult, ImageOutput, StxmGrid
from callbacks.step import Step
from callbacks.stxm.alignment.appearance import UNABSORBED_PERCENTILE
from callbacks.stxm.density.blank import Blank, BlankSettings, find_blank, incident_rate
from callbacks.stxm.edges import POST_EDGE_SHARE, PRE_EDGE_SHARE, Window, inside
from callbacks.stxm.steps.stack import AlignedStack

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

EVEN_PERCENTILE, EVEN_SHARE = 75.0, 0.9  # of the optical density along a line spectrum: what counts as the sample
TOP_ENERGIES = 5  # that the top of the edge is averaged over

# Why a pixel is left out of the analysis; the first that holds.
GOOD, NOT_MEASURED, DRIFTED_OUT, OPAQUE, SATURATED, LOW_JUMP = range(6)
MASK_REASONS = ("good", "not measured", "drifted out", "opaque", "saturated", "low edge jump")


class AbsorbanceSettings(BlankSettings):
    """Incident flux and masks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    incident_rate: tuple[tuple[float, float], ...] | None = None  # (eV, counts/s), measured elsewhere: goes before all
    opaque_above: float = Field(3.0, gt=0)  # optical density: what comes through is stray light
    saturated_above: float = Field(1.5, gt=0)  # optical density beyond which spectra are flattened
    lowest_jump: float = Field(0.1, ge=0)  # optical density from below the edge to its top
    pre_edge: Window | None = None  # eV; the first 12 % of the range where not given
    post_edge: Window | None = None  # eV; the last 15 %: references are brought to one edge jump here


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
    The logarithm of a noisy number is low on average by half its relative variance; that is put right to first order.
    """
    shape = (-1,) + (1,) * (rate.ndim - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        through = np.where(rate > 0, rate, np.nan)
        relative = variance / through**2
        density = np.log(incident).reshape(shape) - np.log(through) - 0.5 * relative
        return density, relative + ((incident_sigma / incident) ** 2).reshape(shape)


class Absorbance(Step):
    """Turn the aligned stack into optical density.

    The sample-free pixels are looked for again whenever the number of images has doubled, and with the last one, for
    they are the better known the more images there are; `generation` counts how often they changed.
    """

    kept = (
        ImageOutput.INCIDENT_RATE,
        ImageOutput.INCIDENT_SIGMA,
        ImageOutput.I0_STATUS,
        ImageOutput.BLANK_PIXELS,
        ImageOutput.OPTICAL_DENSITY,
    )

    def __init__(self, grid: StxmGrid, settings: AbsorbanceSettings, stack: AlignedStack) -> None:
        self._settings = settings
        self._grid = grid
        self.stack = stack
        self.blank = Blank(np.zeros((0, 0), dtype=bool), "no image yet")
        self.generation = 0
        low, high = float(stack.planned_energies[0]), float(stack.planned_energies[-1])
        self.pre_edge = settings.pre_edge or (low, low + PRE_EDGE_SHARE * (high - low))
        self.post_edge = settings.post_edge or (high - POST_EDGE_SHARE * (high - low), high)
        self._searched_at = 0
        self._aligned = 0

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take an image; give the incident flux found in it, and its optical density."""
        images = len(self.stack)
        last = images == len(self._grid.energies)
        if self._settings.incident_rate is None and (images >= 2 * self._searched_at or last):
            self._search()
        if self.stack.generation != self._aligned:
            self._aligned = self.stack.generation
            self.generation += 1
        density, variance = self.density(np.array([images - 1]))
        rate, sigma = self.incident(np.array([images - 1]))
        return {
            ImageOutput.INCIDENT_RATE: float(rate[0]),
            ImageOutput.INCIDENT_SIGMA: float(sigma[0]),
            ImageOutput.I0_STATUS: self.status,
            ImageOutput.BLANK_PIXELS: int(self.blank.pixels.sum()),
            ImageOutput.OPTICAL_DENSITY: density[0],
            ImageOutput.OPTICAL_DENSITY_VARIANCE: variance[0],
        }

    @property
    def status(self) -> str:
        """Why there is no optical density, or "ok"."""
        return "ok" if self._settings.incident_rate is not None else self.blank.status

    def incident(self, images: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Give I0 of some images and its standard uncertainty, counts/s."""
        if (given := self._settings.incident_rate) is not None:
            energy, rate = np.array(given, dtype=float).T
            found = np.interp(np.array(self.stack.energies)[images], energy, rate, left=np.nan, right=np.nan)
            return found, np.zeros(len(images))
        if self.blank.status != "ok":
            return np.full(len(images), np.nan), np.full(len(images), np.nan)
        return incident_rate(*self.stack.rates(images), self.blank.pixels)

    def density(self, images: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Give the optical density of some images and its variance, shape (images, lines, columns)."""
        return optical_density(*self.stack.rates(images), *self.incident(images))

    def blank_pixels(self, pixels: int) -> BoolArray:
        """Tell which of all pixels, in one axis, are sample-free; none where I0 was given."""
        return self.blank.pixels.ravel() if self.blank.status == "ok" else np.zeros(pixels, dtype=bool)

    def mask(self, density: FloatArray, images: NDArray[np.intp]) -> NDArray[np.intp]:
        """Give the reason why each pixel is left out: an index of `MASK_REASONS`.

        Parameters
        ----------
        density : numpy.ndarray, shape (images, lines, columns)
            Optical density of these images.
        images : numpy.ndarray of int
        """
        mask = np.full(density.shape[1:], GOOD)
        if not len(images):
            return np.full(density.shape[1:], NOT_MEASURED)
        jump, _ = self.edge_jump(density, np.zeros_like(density), images)
        with np.errstate(invalid="ignore"):
            if np.isfinite(jump).any() and np.nanpercentile(jump, UNABSORBED_PERCENTILE) > self._settings.lowest_jump:
                mask[jump < self._settings.lowest_jump] = LOW_JUMP  # not before the edge is reached
            highest = np.nanmax(np.where(np.isnan(density), -np.inf, density), axis=0)
            mask[highest > self._settings.saturated_above] = SATURATED
            dark = np.isfinite(self.stack.rates(images)[0]) & np.isnan(density)  # nothing at all comes through
            mask[(highest > self._settings.opaque_above) | (dark.any(axis=0) & (self.status == "ok"))] = OPAQUE
        missing = np.isnan(self.stack.rates(images)[0])
        drifted = self.stack.drifted(images)
        mask[drifted.any(axis=0)] = DRIFTED_OUT
        mask[(missing & ~drifted).any(axis=0)] = NOT_MEASURED
        return mask

    def edge_jump(
        self, density: FloatArray, variance: FloatArray, images: NDArray[np.intp]
    ) -> tuple[FloatArray, FloatArray]:
        """Give the optical density of each pixel at the top of the edge less that below it, and its sigma.

        The top is where the mean spectrum of the field is highest, over a few energies: the white line of an L edge.
        NaN until an energy above the pre-edge is there.
        """
        energies = np.array(self.stack.energies)[images]
        below, above = inside(energies, self.pre_edge), self._top(density, energies)
        if not below.any() or not above.any():
            return np.full(density.shape[1:], np.nan), np.full(density.shape[1:], np.nan)
        jump = density[above].mean(axis=0) - density[below].mean(axis=0)
        noise = variance[above].sum(axis=0) / above.sum() ** 2 + variance[below].sum(axis=0) / below.sum() ** 2
        return jump, np.sqrt(noise)

    def _top(self, density: FloatArray, energies: FloatArray) -> BoolArray:
        """Tell which energies are the top of the edge."""
        top = np.zeros(len(energies), dtype=bool)
        beyond = np.flatnonzero(energies > self.pre_edge[1])
        if len(beyond) >= TOP_ENERGIES:
            known = np.isfinite(density).all(axis=0)
            mean = density[beyond][:, known].mean(axis=1) if known.any() else np.zeros(len(beyond))
            sums = np.convolve(mean, np.ones(TOP_ENERGIES), mode="valid")
            top[beyond[int(sums.argmax()) :][:TOP_ENERGIES]] = True
        return top

    @property
    def result(self) -> DensityResult:
        """Incident flux, optical density, masks and the mean spectrum, by ascending energy."""
        if not len(self.stack):
            return DensityResult(i0_status="no image was measured")
        order = self.stack.order
        density, variance = self.density(order)
        incident, sigma = self.incident(order)
        images = self.stack.usable
        good = np.isin(order, images)
        mask = self.mask(density[good], images)
        sample = mask == GOOD if self._grid.is_image else self._even_sample(density[good], mask)
        jump, jump_sigma = self.edge_jump(density[good], variance[good], images)
        energies = np.array(self.stack.energies)[images]
        top = energies[self._top(density[good], energies)]
        spectrum = spectrum_sigma = np.full(len(order), np.nan)
        if sample.any():
            spectrum = density[:, sample].mean(axis=1)
            spectrum_sigma = np.sqrt(variance[:, sample].sum(axis=1)) / sample.sum()
        return DensityResult(
            incident_rate=incident,
            incident_sigma=sigma,
            i0_status=self.status,
            blank=self.blank.pixels.astype(int).reshape(-1, density.shape[2]),
            optical_density=density,
            optical_density_sigma=np.sqrt(variance),
            mask=mask,
            mask_reasons=np.array(MASK_REASONS, dtype=str),
            edge_jump=jump,
            edge_jump_sigma=jump_sigma,
            edge_top=np.array([top.min(), top.max()] if len(top) else [np.nan, np.nan]),
            pre_edge=np.array(self.pre_edge),
            post_edge=np.array(self.post_edge),
            spectrum=spectrum,
            spectrum_sigma=spectrum_sigma,
        )

    def _even_sample(self, density: FloatArray, mask: NDArray[np.intp]) -> BoolArray:
        """Tell which pixels of a line hold the sample, and not its rim, which drifts; it needs no edge."""
        mean = density.mean(axis=0)
        known = np.isin(mask, (GOOD, LOW_JUMP)) & np.isfinite(mean)
        full = np.percentile(mean[known], EVEN_PERCENTILE) if known.any() else np.inf
        return known & (mean > max(EVEN_SHARE * full, self._settings.lowest_jump))

    def _search(self) -> None:
        """Look for the sample-free pixels in all images so far."""
        self._searched_at = len(self.stack)
        images = self.stack.usable
        if not len(images):
            return
        rate, variance = self.stack.rates(images)
        level = np.array([np.percentile(one[np.isfinite(one)], UNABSORBED_PERCENTILE) for one in rate])[:, None, None]
        sigma = np.sqrt((variance / level**2).sum(axis=0)) / len(images)
        given = self._given()
        if given is not None:
            blank = Blank(given, "ok" if given.any() else "no pixel is in the region given as blank")
        else:
            blank = find_blank((rate / level).mean(axis=0), sigma, self._settings)
        if not np.array_equal(blank.pixels, self.blank.pixels) or blank.status != self.blank.status:
            self.generation += 1
            self.blank = blank

    def _given(self) -> BoolArray | None:
        """Give the pixels of the region that the plan was told is blank, if it was."""
        if (blank := self._grid.blank) is None:
            return None
        parts = []
        for region in self._grid.regions:
            x, y = np.linspace(*region.x, region.columns), np.linspace(*region.y, region.rows)
            parts.append(((y >= blank[2]) & (y <= blank[3]))[:, None] & ((x >= blank[0]) & (x <= blank[1])))
        return np.concatenate(parts)
