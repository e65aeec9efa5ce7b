"""Principal components of a stack while it is measured, updated with every image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from callbacks.contract import ImageOutput, StxmGrid
from callbacks.step import Step
from callbacks.stxm.components import GroupedSpectra, PixelComponents
from callbacks.stxm.density.masks import GOOD
from callbacks.stxm.density.stack_density import CHANGES, STACK_DENSITY, Change, StackDensity
from callbacks.stxm.edges import Edge
from callbacks.stxm.stack import ALIGNED_STACK, AlignedStack
from callbacks.stxm.unmixing.analysis import AnalysisSettings, used_windows


class StreamingComponents(Step):
    """Keep the principal components of all images so far; of many energies those of groups of neighbours."""

    kept = (
        ImageOutput.PCA_STATUS,
        ImageOutput.PCA_EXPLAINED,
        ImageOutput.PCA_SIGNIFICANT,
        ImageOutput.PIXELS_USED,
    )

    def __init__(self, grid: StxmGrid, settings: AnalysisSettings, edge: Edge) -> None:
        self._settings = settings
        # An energy that is measured in several passes is one.
        self._energies, self._place = np.unique(np.array(grid.energies), return_inverse=True)
        self._windows = used_windows(settings, edge, np.sort(self._energies))
        self._spectra: GroupedSpectra | None = None
        self._added: set[int] = set()  # places of the images in the spectra
        self._generation = 0  # of the optical density that they are made of

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take an image; give how much of the variance each component explains."""
        density: StackDensity = event[STACK_DENSITY]
        status, significant, used = "no image can be used yet", 0, 0
        explained = np.full(self._settings.components, np.nan)
        found = self._update(density, event[CHANGES])
        if found is not None:
            status, significant, used = found.components.status, found.components.significant, found.components.n_kept
            stack: AlignedStack = event[ALIGNED_STACK]
            status += self._windows.left_out(found.components.energies, *stack.not_used)
            if status == "ok":
                explained[: len(found.components.components)] = found.components.explained_variance_ratio
        return {
            ImageOutput.PCA_STATUS: status,
            ImageOutput.PCA_EXPLAINED: explained,
            ImageOutput.PCA_SIGNIFICANT: significant,
            ImageOutput.PIXELS_USED: used,
        }

    def _update(self, density: StackDensity, changes: Sequence[Change]) -> PixelComponents | None:
        """Take in the images that changed; give the components, None while there is no optical density."""
        if self._spectra is None or self._generation != density.generation:
            pixels, used = density.shape[0] * density.shape[1], self._windows
            self._spectra = GroupedSpectra(self._energies, pixels, background=used.background, area=used.area)
            self._added, self._generation = set(), density.generation
        for change in changes:
            for image, sign in ((change.before, -1), (change.after, 1)):
                if image is not None and (sign > 0) != (image.place in self._added):
                    place = int(self._place[image.aligned.index])
                    self._spectra.add(place, image.energy, image.density, image.variance, sign)
                    (self._added.add if sign > 0 else self._added.discard)(image.place)
        if density.status != "ok" or not density.number:
            return None
        good = (density.mask == GOOD).ravel()
        return self._spectra.components(good, self._settings.components, noise_share=self._settings.noise_share)
