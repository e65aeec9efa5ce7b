"""Incident flux of the images of a stack: of their sample-free pixels, wherever these are known from, or as given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from callbacks.contract import StxmGrid
from callbacks.stxm.density.blank import Blank, BlankSettings, find_blank, incident_rate
from callbacks.stxm.density.sums import Brightness
from callbacks.stxm.stack import AlignedImage

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]


class IncidentFlux:
    """Find the sample-free pixels of a stack, and I0 of its images; it keeps nothing of them.

    Parameters
    ----------
    grid : StxmGrid
        May say where there is no sample.
    settings : BlankSettings
    given : sequence of (float, float), optional
        eV and counts/s, measured elsewhere: takes precedence.
    """

    def __init__(
        self, grid: StxmGrid, settings: BlankSettings, given: Sequence[tuple[float, float]] | None = None
    ) -> None:
        self._grid = grid
        self._settings = settings
        self._given = (
            None
            if given is None
            else (np.array([energy for energy, _ in given]), np.array([rate for _, rate in given]))
        )

    @property
    def is_given(self) -> bool:
        """Whether no sample-free pixels are needed."""
        return self._given is not None

    def find(self, brightness: Brightness) -> Blank:
        """Find the sample-free pixels in the mean of all images."""
        if self._grid.blank is None:
            return find_blank(brightness.mean, brightness.sigma, self._settings)
        pixels = _pixels_inside(self._grid, self._grid.blank)
        return Blank(pixels, "ok" if pixels.any() else "no pixel is in the region given as blank")

    def status(self, blank: Blank) -> str:
        """Give "ok", or why there is no I0."""
        return "ok" if self.is_given else blank.status

    def of(self, image: AlignedImage, blank: Blank) -> tuple[float, float]:
        """Give I0 of an image and its standard uncertainty, counts/s; NaN where not known."""
        if self._given is not None:
            return float(np.interp(image.energy, *self._given, left=float("nan"), right=float("nan"))), 0.0
        if blank.status != "ok":
            return float("nan"), float("nan")
        rate, sigma = incident_rate(image.rate[None], image.variance[None], blank.pixels, image.shared)
        return float(rate[0]), float(sigma[0])


def _pixels_inside(grid: StxmGrid, rectangle: tuple[float, float, float, float]) -> BoolArray:
    """Tell which pixels of a grid lie in a rectangle, um: x and y from and to; shape (lines, columns)."""
    left, right, bottom, top = rectangle
    parts = []
    for region in grid.regions:
        x, y = np.linspace(*region.x, region.columns), np.linspace(*region.y, region.rows)
        parts.append(((y >= bottom) & (y <= top))[:, None] & ((x >= left) & (x <= right)))
    return np.concatenate(parts)
