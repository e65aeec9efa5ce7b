"""Optical density of every image as it comes, with I0 from the sample-free pixels, or given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from callbacks.contract import DensityResult, ImageOutput, StxmGrid
from callbacks.step import Step
from callbacks.stxm.density.blank import BlankSettings
from callbacks.stxm.density.incident import IncidentFlux
from callbacks.stxm.density.masks import GOOD, MASK_REASONS, MaskSettings, even_sample
from callbacks.stxm.density.optical_density import density_image
from callbacks.stxm.density.stack_density import CHANGES, STACK_DENSITY, StackDensity
from callbacks.stxm.density.whole import WholeDensity
from callbacks.stxm.edges import POST_EDGE_SHARE, PRE_EDGE_SHARE, Window
from callbacks.stxm.stack import ALIGNED_STACK, PLACEMENTS, Placement

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]


class AbsorbanceSettings(BlankSettings, MaskSettings):
    """Incident flux and masks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    incident_rate: tuple[tuple[float, float], ...] | None = None  # (eV, counts/s), measured elsewhere: takes precedence
    pre_edge: Window | None = None  # eV; the first 12 % of the range where not given
    post_edge: Window | None = None  # eV; the last 15 %: references are scaled to one edge jump here


class Absorbance(Step):
    """Turn aligned images into optical density.

    The sample-free pixels are looked for until there are some, again whenever the number of images has doubled, and in
    the result: they improve with more images. An image that came before gets its new I0 when it is registered again.
    """

    kept = (
        ImageOutput.INCIDENT_RATE,
        ImageOutput.INCIDENT_SIGMA,
        ImageOutput.I0_STATUS,
        ImageOutput.BLANK_PIXELS,
        ImageOutput.OPTICAL_DENSITY,
    )

    def __init__(self, grid: StxmGrid, settings: AbsorbanceSettings) -> None:
        self._is_image = grid.is_image
        self._lowest_jump = settings.lowest_jump
        low, high = min(grid.energies), max(grid.energies)
        self._density = StackDensity(
            (grid.lines, max(region.columns for region in grid.regions)),
            IncidentFlux(grid, settings, settings.incident_rate),
            settings,
            pre_edge=settings.pre_edge or (low, low + PRE_EDGE_SHARE * (high - low)),
            post_edge=settings.post_edge or (high - POST_EDGE_SHARE * (high - low), high),
        )

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take an image; give the incident flux found in it, its optical density, and that of the stack."""
        placements: list[Placement] = event[PLACEMENTS]
        changes = self._density.update(event[ALIGNED_STACK], placements)
        newest = placements[0]
        rate, sigma = self._density.incident(newest)
        image = density_image(newest.place, newest.after, rate, sigma)
        return {
            ImageOutput.INCIDENT_RATE: rate,
            ImageOutput.INCIDENT_SIGMA: sigma,
            ImageOutput.I0_STATUS: self._density.status,
            ImageOutput.BLANK_PIXELS: int(self._density.blank.pixels.sum()),
            ImageOutput.OPTICAL_DENSITY: image.density,
            ImageOutput.OPTICAL_DENSITY_VARIANCE: image.variance,
            STACK_DENSITY: self._density,
            CHANGES: changes,
        }

    @property
    def result(self) -> DensityResult:
        """Incident flux, optical density, masks and the mean spectrum, by ascending energy."""
        whole = self._density.final
        if whole is None:
            return DensityResult(i0_status="no image was measured")
        edge = whole.edge_jump
        spectrum, spectrum_sigma = whole.spectrum(self._sample(whole))
        return DensityResult(
            incident_rate=whole.incident,
            incident_sigma=whole.incident_sigma,
            i0_status=whole.status,
            blank=whole.blank.pixels.astype(int),
            optical_density=whole.density,
            optical_density_sigma=whole.sigma,
            mask=whole.mask,
            mask_reasons=np.array(MASK_REASONS, dtype=str),
            edge_jump=edge.jump,
            edge_jump_sigma=edge.sigma,
            edge_top=np.array([edge.top.min(), edge.top.max()] if len(edge.top) else [np.nan, np.nan]),
            pre_edge=np.array(self._density.pre_edge),
            post_edge=np.array(self._density.post_edge),
            spectrum=spectrum,
            spectrum_sigma=spectrum_sigma,
        )

    def _sample(self, whole: WholeDensity) -> BoolArray:
        """Tell which pixels hold the sample."""
        if self._is_image or not whole.usable.any():
            return np.asarray(whole.mask == GOOD)
        return even_sample(whole.density[whole.usable].mean(axis=0, dtype=np.float64), whole.mask, self._lowest_jump)
