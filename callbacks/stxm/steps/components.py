"""Principal components of a stack while it is measured, updated with every image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callbacks.contract import ImageOutput, StxmGrid
from callbacks.step import Step
from callbacks.stxm.components import Components, StreamingPCA, noise_cut
from callbacks.stxm.density.masks import GOOD
from callbacks.stxm.density.stack_density import STACK_DENSITY, StackDensity
from callbacks.stxm.density.sums import sum_of_pixels
from callbacks.stxm.edges import Edge
from callbacks.stxm.unmixing.analysis import AnalysisSettings, widened, windows

FloatArray = NDArray[np.floating]


class StreamingComponents(Step):
    """Keep the principal components of all images so far."""

    kept = (
        ImageOutput.PCA_STATUS,
        ImageOutput.PCA_EXPLAINED,
        ImageOutput.PCA_SIGNIFICANT,
        ImageOutput.PIXELS_USED,
    )

    def __init__(self, grid: StxmGrid, settings: AnalysisSettings, edge: Edge) -> None:
        self._settings = settings
        background, area, _ = windows(settings, edge, np.sort(np.array(grid.energies)))
        self._windows = (widened(background), widened(area)) if settings.normalise else (None, None)
        self._start_anew(generation=0)

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take an image; give how much of the variance each component explains."""
        density: StackDensity = event[STACK_DENSITY]
        status, significant, used = "no image can be used yet", 0, 0
        explained = np.full(self._settings.components, np.nan)
        if density.status == "ok" and density.images:
            found = self._update(density)
            status, significant, used = found.status, found.significant, found.n_kept
            if status == "ok":
                explained[: len(found.components)] = found.explained_variance_ratio
        else:
            self._start_anew(density.generation)
        return {
            ImageOutput.PCA_STATUS: status,
            ImageOutput.PCA_EXPLAINED: explained,
            ImageOutput.PCA_SIGNIFICANT: significant,
            ImageOutput.PIXELS_USED: used,
        }

    def _start_anew(self, generation: int) -> None:
        background, area = self._windows
        self._pca = StreamingPCA(background=background, area=area)
        self._added: list[int] = []  # places of the images, in the order in which the components know them
        self._generation = generation  # of the optical density that they are made of

    def _update(self, density: StackDensity) -> Components:
        """Add the images that are new, or all of them where they were made again."""
        if self._generation != density.generation:
            self._start_anew(density.generation)
        images = {image.place: image for image in density.images}
        for place in sorted(images.keys() - set(self._added)):
            self._pca.add_energy(images[place].energy, images[place].density)
            self._added.append(place)
        self._leave_out(density)
        noise = None
        if (kept := self._pca.kept).any():
            square = self._pca.area[kept] ** 2
            noise = [
                sum_of_pixels(images[place].variance.ravel()[kept] / square) / len(square) for place in self._added
            ]
        return self._pca.result(self._settings.components, noise_variance=noise)

    def _leave_out(self, density: StackDensity) -> None:
        """Leave out the pixels that are masked, and those with a noisy background."""
        good = (density.mask == GOOD).ravel()
        cut = None
        if self._settings.normalise:
            noise = self._pca.noise[good]
            noise = noise[np.isfinite(noise)]
            cut = noise_cut(noise, self._settings.noise_share) if noise.size > 1 and noise.max() > 0 else None
        self._pca.set_filter(mask=good, noise_cut=cut)
