"""Chemical maps: fractions of reference spectra in every pixel, live; end members where there are no references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callbacks.contract import ImageOutput, StackResult
from callbacks.fitting.nonnegative import Unmixed
from callbacks.step import Step
from callbacks.stxm.density.masks import GOOD
from callbacks.stxm.density.stack_density import CHANGES, STACK_DENSITY, Change, StackDensity
from callbacks.stxm.density.whole import WholeDensity
from callbacks.stxm.edges import Edge
from callbacks.stxm.unmixing.analysis import AnalysisSettings, analyse, average_of_blocks, used_windows, windows
from callbacks.stxm.unmixing.fractions import median_sigma, share, share_in_mean
from callbacks.stxm.unmixing.references import ChemistrySettings, fit_references
from callbacks.stxm.unmixing.results import analysis_result, both, determined, maps_result, totals_result
from callbacks.stxm.unmixing.running_fit import RunningFit

FloatArray = NDArray[np.floating]


class Chemistry(Step):
    """Map the fraction of the reduced phase with every image; say at the end what the whole stack is made of."""

    kept = (
        ImageOutput.REDUCED_FRACTION,
        ImageOutput.REDUCED_FRACTION_SIGMA,
        ImageOutput.REDUCED_FRACTION_MEDIAN_SIGMA,
        ImageOutput.CHEMICAL_STATUS,
    )

    def __init__(self, settings: ChemistrySettings, analysis: AnalysisSettings, edge: Edge) -> None:
        self._settings = settings
        self._analysis = analysis
        self._edge = edge
        self._names = list(settings.references)
        self._density: StackDensity | None = None  # as the last event handed it on
        self._fit: RunningFit | None = None
        self._generation = 0  # of the optical density that the fit is made of

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take an image; give the map of the reduced fraction over all images so far, and its uncertainty."""
        self._density = density = event[STACK_DENSITY]
        fraction = sigma = np.full(density.shape, np.nan)
        median = np.nan
        status = "no references of both phases: end members are found when the stack is complete"
        if self._settings.complete:
            unmixed, status = self._update(density, event[CHANGES])
            fraction, sigma = (each.reshape(density.shape) for each in self._reduced(unmixed))
            if status == "ok" and self._fit is not None:
                _, whole_sigma = self._reduced(self._fit.with_references(unmixed))
                median = median_sigma(whole_sigma, np.asarray(np.isfinite(unmixed.fractions).all(axis=1)))
        return {
            ImageOutput.REDUCED_FRACTION: fraction,
            ImageOutput.REDUCED_FRACTION_SIGMA: sigma,
            ImageOutput.REDUCED_FRACTION_MEDIAN_SIGMA: median,
            ImageOutput.CHEMICAL_STATUS: status,
        }

    def _update(self, density: StackDensity, changes: Sequence[Change]) -> tuple[Unmixed, str]:
        """Take in the images that changed; give the fractions of the references, or why there are none."""
        if self._fit is None or self._generation != density.generation:
            pixels = density.shape[0] * density.shape[1]
            windows_of_edge = {"pre_edge": density.pre_edge, "post_edge": density.post_edge}
            self._fit, self._generation = RunningFit(pixels, self._settings, **windows_of_edge), density.generation
        for change in changes:
            if change.before is not None:
                self._fit.take(change.before, -1)
            self._fit.take(change.after, 1)
        return self._fit.fit(density)

    @property
    def result(self) -> StackResult:
        """Components, end members, fractions, residuals, maps and totals of the whole stack."""
        whole = None if self._density is None else self._density.final
        if whole is None or whole.status != "ok" or not whole.usable.any():
            reason = "no image yet" if whole is None else whole.status
            reason = "no image can be used" if reason == "ok" else reason
            return StackResult(pca_status=reason, chemical_status=reason)
        result = self._analysed(whole)
        return determined(both(result, self._fractions(whole)) if self._settings.complete else result)

    def _analysed(self, whole: WholeDensity) -> StackResult:
        """Give components, end members and the average spectrum; what they were made of is not kept."""
        energies = whole.energies[whole.usable]
        blocks, variances = whole.blocks((GOOD,))
        background, _, bright = windows(self._analysis, self._edge, energies)
        average = average_of_blocks(
            energies,
            blocks,
            variances,
            background=background,
            area=bright,
            at=self._edge.sample,
            threshold=self._analysis.sample_above,
            common=whole.common_variance[whole.usable],
        )
        result = StackResult(
            average_spectrum=average.spectrum,
            average_spectrum_sigma=average.sigma,
            average_pixels=average.pixels,
            background_window=np.array(background),
            brightness_window=np.array(bright),
        )
        found = analyse(energies, blocks, variances, self._edge, self._analysis, references=self._settings.corners)
        totals = totals_result([found.phases.total(average)]) if found.status == "ok" else {}
        result = both(result, analysis_result(found, whole.shape))
        more = used_windows(self._analysis, self._edge, energies).left_out(energies, *whole.not_used)
        said = {key: getattr(result, key) + more for key in ("pca_status", "chemical_status")} if more else {}
        return result.model_copy(update={key: value[0] for key, value in totals.items()} | said)

    def _fractions(self, whole: WholeDensity) -> StackResult:
        """Give the fractions of the references, in every pixel and in the mean spectrum of the sample."""
        assert self._density is not None
        windows_of_edge = {"pre_edge": self._density.pre_edge, "post_edge": self._density.post_edge}
        fit = fit_references(whole, self._settings, **windows_of_edge)
        if fit.status != "ok":
            return StackResult(chemical_status=fit.status)
        (total,), (total_sigma,) = share_in_mean(fit.total, self._phases[0], self._phases)
        maps = maps_result(self._names, fit.unmixed, self._reduced(fit.unmixed), whole.shape)
        in_sample = StackResult(
            chemical_status=fit.status,
            end_member_energy=fit.energies,
            end_members=fit.references,
            end_members_sigma=np.zeros_like(fit.references),
            end_member_note="",
            reference_note=fit.note,
            total_fractions=fit.total.fractions[0],
            total_fractions_sigma=fit.total.sigma[0],
            total_reduced=float(total),
            total_reduced_sigma=float(total_sigma),
        )
        return both(in_sample, maps)

    @property
    def _phases(self) -> tuple[int, int]:
        """Where the reduced and the oxidised phase are among the references."""
        return self._names.index(self._settings.reduced), self._names.index(self._settings.oxidised)

    def _reduced(self, unmixed: Unmixed) -> tuple[FloatArray, FloatArray]:
        """Give the share of the reduced phase in the reduced and the oxidised one, and its standard uncertainty."""
        return share(unmixed, self._phases[0], self._phases)
