"""Principal components of a stack while it is measured, updated with every image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callbacks.contract import ImageOutput
from callbacks.step import Step
from callbacks.stxm.components import Components, StreamingPCA, noise_cut
from callbacks.stxm.edges import Edge
from callbacks.stxm.steps.absorbance import GOOD, NOT_MEASURED, Absorbance
from callbacks.stxm.unmixing.analysis import AnalysisSettings, widened, windows

FloatArray = NDArray[np.floating]


class StreamingComponents(Step):
    """Keep the principal components of all images so far, and the pixels they rest on."""

    kept = (
        ImageOutput.PCA_STATUS,
        ImageOutput.PCA_EXPLAINED,
        ImageOutput.PCA_SIGNIFICANT,
        ImageOutput.PIXELS_USED,
    )

    def __init__(self, settings: AnalysisSettings, absorbance: Absorbance, edge: Edge) -> None:
        self._settings = settings
        self._absorbance = absorbance
        self._windows = windows(settings, edge, absorbance.stack.planned_energies)
        self._generation = -1
        self._pca: StreamingPCA | None = None
        self._added: list[int] = []  # images, in the order in which the components know them
        self.found: Components | None = None
        self.mask: NDArray[np.intp] = np.zeros((0, 0), dtype=int)  # of the images so far

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take an image; give how much of the variance each component explains."""
        self._update(event)
        ratio = np.full(self._settings.components, np.nan)
        found = self.found
        if found is not None and found.status == "ok":
            explained = found.explained_variance_ratio
            ratio[: len(explained)] = explained
        return {
            ImageOutput.PCA_STATUS: "no image can be used yet" if found is None else found.status,
            ImageOutput.PCA_EXPLAINED: ratio,
            ImageOutput.PCA_SIGNIFICANT: 0 if found is None else found.significant,
            ImageOutput.PIXELS_USED: 0 if found is None else found.n_kept,
        }

    def _update(self, event: Mapping[str, Any]) -> None:
        absorbance, images = self._absorbance, self._absorbance.stack.usable
        if absorbance.status != "ok" or not len(images):
            self.found, self._pca = None, None
            self.mask = np.full(event[ImageOutput.OPTICAL_DENSITY].shape, NOT_MEASURED)
            return
        density, variance = absorbance.density(images)
        self.mask = absorbance.mask(density, images)
        if self._pca is None or self._generation != absorbance.generation:  # another I0: all is to be made anew
            self._pca, self._added, self._generation = self._empty(), [], absorbance.generation
        places = {int(image): place for place, image in enumerate(images)}
        for image in sorted(places.keys() - set(self._added)):
            self._pca.add_energy(absorbance.stack.energies[image], density[places[image]])
            self._added.append(image)
        self._filter(self._pca)
        noise = None
        if (kept := self._pca.kept).any():
            order = [places[image] for image in self._added]
            noise = (variance.reshape(len(images), -1)[:, kept] / self._pca.area[kept] ** 2).mean(axis=1)[order]
        self.found = self._pca.result(self._settings.components, noise_variance=noise)

    def _filter(self, pca: StreamingPCA) -> None:
        """Leave out the pixels that are masked, and those with a noisy background."""
        good = (self.mask == GOOD).ravel()
        cut = None
        if self._settings.normalise:
            noise = pca.noise[good]
            noise = noise[np.isfinite(noise)]
            cut = noise_cut(noise, self._settings.noise_share) if noise.size > 1 and noise.max() > 0 else None
        pca.set_filter(mask=good, noise_cut=cut)

    def _empty(self) -> StreamingPCA:
        if not self._settings.normalise:
            return StreamingPCA()
        return StreamingPCA(background=widened(self._windows[0]), area=widened(self._windows[1]))
