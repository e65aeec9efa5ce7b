"""References fitted to every pixel of a growing stack, by normal equations that are summed up image by image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.nonnegative import Unmixed, no_fractions
from callbacks.fitting.normal_equations import solve_normal_equations
from callbacks.stxm.density.masks import GOOD, LOW_JUMP
from callbacks.stxm.density.optical_density import DensityImage
from callbacks.stxm.density.stack_density import StackDensity
from callbacks.stxm.edges import Window
from callbacks.stxm.unmixing.fractions import with_uncertain_references
from callbacks.stxm.unmixing.references import (
    ChemistrySettings,
    reference_spread,
    references_at,
    uncovered,
    why_not,
)

FloatArray = NDArray[np.floating]

PIXELS_AT_A_TIME = 2**15  # whose normal equations are solved at once


class RunningFit:
    """Normal equations of the references in every pixel, with all images so far.

    What an image adds does not depend on the others, so that its cost does not either; neither do the fractions depend
    on the order of the images, but for rounding.

    Parameters
    ----------
    pixels : int
    settings : ChemistrySettings
        With two references or more.
    pre_edge, post_edge : (float, float)
        eV.
    """

    def __init__(self, pixels: int, settings: ChemistrySettings, *, pre_edge: Window, post_edge: Window) -> None:
        self._settings = settings
        self._windows = {"pre_edge": pre_edge, "post_edge": post_edge}
        count = len(settings.references)
        self._pairs = [(i, j) for i in range(count) for j in range(i, count)]
        self._products = np.zeros((len(self._pairs), pixels))  # of the references with one another
        self._offered = np.zeros((count, pixels))  # with the optical density
        self._square = np.zeros(pixels)  # of the optical density with itself
        self._known = np.zeros(pixels, dtype=np.int32)  # images in which a pixel is known
        self._energies: dict[int, float] = {}  # eV, of all images so far, by place
        self._references: dict[int, FloatArray] = {}  # values at the images that are in the sums, by place
        self._weights: dict[int, float] = {}  # mean over the pixels of these images, by place

    def take(self, image: DensityImage, sign: int) -> None:
        """Add an image, or with sign -1 take it out; one beyond the energies of a reference is left out."""
        self._energies[image.place] = image.energy
        if (sign > 0) == (image.place in self._references):
            return
        phases = (self._settings.reduced, self._settings.oxidised)
        energy = np.array([image.energy])
        values = references_at(energy, self._settings.references, phases=phases, **self._windows)[:, 0]
        if not np.isfinite(values).all():
            return
        if sign < 0:
            del self._references[image.place]
        known = np.isfinite(image.density).ravel()
        density = np.where(known, image.density.ravel(), 0.0)
        weight = np.divide(sign, image.variance.ravel(), out=np.zeros(known.size), where=known)
        if sign > 0:
            self._references[image.place], self._weights[image.place] = values, float(weight.mean())
        for number, (i, j) in enumerate(self._pairs):
            self._products[number] += values[i] * values[j] * weight
        weighted = weight * density
        self._offered += values[:, None] * weighted
        self._square += weighted * density
        self._known += sign * known

    def fit(self, density: StackDensity) -> tuple[Unmixed, str]:
        """Give the fractions in every pixel that holds sample, and "ok", or why there are none.

        Uncertainties are widened by the misfit, see `callbacks.fitting.nonnegative.misfit`; residuals are NaN.
        """
        found = no_fractions(self._known.size, len(self._offered))
        if density.status != "ok":
            return found, density.status
        if not density.number:
            return found, "no image can be used"
        used = len(self._references)
        if problem := why_not(np.array(list(self._references.values())).reshape(used, -1).T):
            so_far = np.array(list(self._energies.values()))
            return found, "; ".join([problem, *uncovered(so_far, self._settings.references)])
        sample = np.isin(density.mask, (GOOD, LOW_JUMP)) & ~density.blank.pixels
        pixels = np.flatnonzero(sample.ravel() & (self._known == used))
        for start in range(0, len(pixels), PIXELS_AT_A_TIME):
            some = pixels[start : start + PIXELS_AT_A_TIME]
            fractions, covariance = self._solved(some)
            found.fractions[some], found.covariance[some] = fractions, covariance
            found.sigma[some] = np.sqrt(np.einsum("pii->pi", covariance))
        return found, "ok"

    def with_references(self, unmixed: Unmixed) -> Unmixed:
        """Give fractions as `fit` gave them with what the noise of the references adds, which all pixels share."""
        places = list(self._references)
        references = np.array([self._references[place] for place in places]).T
        energies, weights = (np.array([of[place] for place in places]) for of in (self._energies, self._weights))
        return with_uncertain_references(
            unmixed, reference_spread(energies, references, self._settings, weights, self._windows)
        )

    def _solved(self, pixels: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Solve the normal equations of some pixels; give fractions and covariance."""
        count = len(self._offered)
        gram = np.empty((len(pixels), count, count))
        for (i, j), products in zip(self._pairs, self._products, strict=True):
            gram[:, i, j] = gram[:, j, i] = products[pixels]
        offered = self._offered[:, pixels].T
        fractions, covariance, active = solve_normal_equations(gram, offered)
        fractions = fractions.clip(min=0.0)
        left = self._square[pixels] - 2 * np.einsum("pk,pk->p", fractions, offered)
        left += np.einsum("pi,pij,pj->p", fractions, gram, fractions)
        freedom = len(self._references) - active.sum(axis=1)
        misfit = np.maximum(left / np.maximum(freedom, 1), 1.0)
        return fractions, covariance * misfit[:, None, None]
