"""Chemical maps: fractions of reference spectra in every pixel, live; end members where there are no references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callbacks.contract import ImageOutput, StackResult
from callbacks.fitting.nonnegative import Unmixed, ratio, unmix
from callbacks.step import Step
from callbacks.stxm.density.masks import GOOD
from callbacks.stxm.density.stack_density import STACK_DENSITY, StackDensity
from callbacks.stxm.density.sums import sum_of_pixels
from callbacks.stxm.edges import Edge
from callbacks.stxm.unmixing.analysis import AnalysisSettings, analyse, average_spectrum, windows
from callbacks.stxm.unmixing.references import ChemistrySettings, fit_references
from callbacks.stxm.unmixing.results import analysis_result, both, maps_result

FloatArray = NDArray[np.floating]


class Chemistry(Step):
    """Map the fraction of the reduced phase with every image; say at the end what the whole stack is made of."""

    kept = (
        ImageOutput.REDUCED_FRACTION,
        ImageOutput.REDUCED_FRACTION_SIGMA,
        ImageOutput.CHEMICAL_STATUS,
    )

    def __init__(self, settings: ChemistrySettings, analysis: AnalysisSettings, edge: Edge) -> None:
        self._settings = settings
        self._analysis = analysis
        self._edge = edge
        self._names = list(settings.references)
        self._density: StackDensity | None = None  # as the last event handed it on

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take an image; give the map of the reduced fraction over all images so far, and its uncertainty."""
        self._density = density = event[STACK_DENSITY]
        fraction = sigma = np.full(density.shape, np.nan)
        status = "no references: end members are found when the stack is complete"
        if self._settings.references:
            fit = fit_references(density, self._settings)
            fraction, sigma = (each.reshape(density.shape) for each in self._reduced(fit.unmixed))
            status = fit.status
        return {
            ImageOutput.REDUCED_FRACTION: fraction,
            ImageOutput.REDUCED_FRACTION_SIGMA: sigma,
            ImageOutput.CHEMICAL_STATUS: status,
        }

    @property
    def result(self) -> StackResult:
        """Components, end members, fractions, residuals, maps and totals of the whole stack."""
        density = self._density
        if density is None or density.status != "ok" or not density.images:
            reason = "no image yet" if density is None else density.status
            reason = "no image can be used" if reason == "ok" else reason
            return StackResult(pca_status=reason, chemical_status=reason)
        energies, good = density.energies, (density.mask == GOOD).ravel()
        pixels = np.array([np.where(good, image.density.ravel(), np.nan) for image in density.images])
        noise = np.array([np.where(good, image.variance.ravel(), np.nan) for image in density.images])
        found = analyse(energies, [pixels.T], [noise.T], self._edge, self._analysis)
        background, _, bright = windows(self._analysis, self._edge, energies)
        average, average_sigma, averaged = average_spectrum(
            energies,
            pixels,
            noise,
            background=background,
            area=bright,
            at=self._edge.sample,
            threshold=self._analysis.sample_above,
        )
        result = StackResult(
            average_spectrum=average,
            average_spectrum_sigma=average_sigma,
            average_pixels=averaged,
            background_window=np.array(background),
            brightness_window=np.array(bright),
        )
        result = both(result, analysis_result(found, density.shape))
        return both(result, self._fractions(density)) if self._settings.references else result

    def _fractions(self, density: StackDensity) -> StackResult:
        """Give the fractions of the references, in every pixel and in the mean spectrum of the sample."""
        fit = fit_references(density, self._settings)
        if fit.status != "ok":
            return StackResult(chemical_status=fit.status)
        images = [image for image, used in zip(density.images, fit.used, strict=True) if used]
        good = density.mask == GOOD
        number = good.sum()
        with np.errstate(invalid="ignore"):  # no pixel is good: NaN
            mean = np.array([sum_of_pixels(image.density[good]) / number for image in images])
            noise = np.array([sum_of_pixels(image.variance[good]) / number**2 for image in images])
        total = unmix(mean[None], fit.references, noise)
        share, share_sigma = self._reduced(total)
        maps = maps_result(self._names, fit.unmixed, self._reduced(fit.unmixed), density.shape)
        in_sample = StackResult(
            chemical_status=fit.status,
            end_member_energy=fit.energies,
            end_members=fit.references,
            end_members_sigma=np.zeros_like(fit.references),
            total_fractions=total.fractions[0],
            total_fractions_sigma=total.sigma[0],
            total_reduced=float(share[0]),
            total_reduced_sigma=float(share_sigma[0]),
        )
        return both(in_sample, maps)

    def _reduced(self, unmixed: Unmixed) -> tuple[FloatArray, FloatArray]:
        """Give the share of the reduced phase in the reduced and the oxidised one, and its standard uncertainty."""
        reduced, oxidised = (self._names.index(name) for name in (self._settings.reduced, self._settings.oxidised))
        return ratio(unmixed, reduced, (reduced, oxidised))
