"""Chemical maps: fractions of reference spectra in every pixel, live; end members where there are no references."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.interpolate import CubicSpline

from callbacks.contract import ImageOutput, StackResult
from callbacks.fitting.nonnegative import Unmixed, ratio, unmix, with_misfit
from callbacks.step import Step
from callbacks.stxm.edges import Edge, inside
from callbacks.stxm.steps.absorbance import GOOD, LOW_JUMP, Absorbance
from callbacks.stxm.steps.components import StreamingComponents
from callbacks.stxm.unmixing.analysis import Analysis, AnalysisSettings, analyse, average_spectrum, expanded, windows

FloatArray = NDArray[np.floating]

LARGEST_CONDITION = 50.0  # of the references, each of length 1, at the energies so far: beyond, they look alike


class Reference(BaseModel):
    """A reference spectrum, measured at the same beamline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    energy: tuple[float, ...]  # eV, ascending
    optical_density: tuple[float, ...]
    source: str = ""  # the run or file it is from

    @model_validator(mode="after")
    def _one_length(self) -> Reference:
        if len(self.energy) != len(self.optical_density) or len(self.energy) < 4:
            raise ValueError(
                f"a reference of {len(self.energy)} energies and {len(self.optical_density)} optical densities,"
                " expected the same number, four or more"
            )
        if not np.all(np.diff(self.energy) > 0):
            raise ValueError("a reference's energies do not ascend")
        return self


class ChemistrySettings(BaseModel):
    """Which references are fitted to the pixels, and which two of them make the chemical map."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    references: dict[str, Reference] = Field(default_factory=dict, max_length=6)
    reduced: str = "reduced"  # names of references
    oxidised: str = "oxidised"

    @model_validator(mode="after")
    def _known(self) -> ChemistrySettings:
        if self.references and (missing := {self.reduced, self.oxidised} - self.references.keys()):
            raise ValueError(f"no reference named {', '.join(sorted(missing))}; there are {', '.join(self.references)}")
        return self


def references_at(
    energies: FloatArray,
    references: Mapping[str, Reference],
    *,
    phases: Collection[str],
    pre_edge: tuple[float, float],
    post_edge: tuple[float, float],
) -> FloatArray:
    """Give references on the energies of a stack, each brought to an edge jump of 1.

    Parameters
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV.
    references : mapping of str to Reference
    phases : collection of str
        Names of those whose ratio counts atoms, and that must have an edge.
    pre_edge, post_edge : (float, float)
        eV.

    Returns
    -------
    numpy.ndarray, shape (references, energies)
        NaN at energies beyond those of the reference.

    Raises
    ------
    ValueError
        For a reference without an edge in the windows.
    """
    found = []
    for name, reference in references.items():
        own = np.array(reference.energy)
        density = np.array(reference.optical_density)
        below, above = inside(own, pre_edge), inside(own, post_edge)
        if not below.any() or not above.any():
            raise ValueError(
                f"reference {name}: has no energies from {pre_edge[0]:g} to {pre_edge[1]:g} eV or from"
                f" {post_edge[0]:g} to {post_edge[1]:g} eV"
            )
        jump = density[above].mean() - density[below].mean()
        if name not in phases:
            jump = max(jump, density.mean())  # what has no edge is brought to a mean of 1
        if not jump > 0:
            raise ValueError(f"reference {name}: has no edge between its pre-edge and its post-edge")
        at = CubicSpline(own, density)(energies)
        at[(energies < own[0] - 0.5 * (own[1] - own[0])) | (energies > own[-1] + 0.5 * (own[-1] - own[-2]))] = np.nan
        found.append(at / jump)
    return np.array(found)


class Chemistry(Step):
    """Map the fraction of the reduced phase with every image; say at the end what the whole stack is made of."""

    kept = (
        ImageOutput.REDUCED_FRACTION,
        ImageOutput.REDUCED_FRACTION_SIGMA,
        ImageOutput.CHEMICAL_STATUS,
    )

    def __init__(
        self,
        settings: ChemistrySettings,
        analysis: AnalysisSettings,
        absorbance: Absorbance,
        components: StreamingComponents,
        edge: Edge,
    ) -> None:
        self._settings = settings
        self._analysis = analysis
        self._absorbance = absorbance
        self._components = components
        self._edge = edge
        self._names = list(settings.references)

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take an image; give the map of the reduced fraction over all images so far, and its uncertainty."""
        nothing = np.full(event[ImageOutput.OPTICAL_DENSITY].shape, np.nan)
        fraction, sigma, status = nothing, nothing, "no references: end members are found when the stack is complete"
        if self._settings.references:
            unmixed, status = self._unmix(self._absorbance.stack.usable)
            if unmixed is not None:
                fraction, sigma = (each.reshape(nothing.shape) for each in self._reduced(unmixed))
        return {
            ImageOutput.REDUCED_FRACTION: fraction,
            ImageOutput.REDUCED_FRACTION_SIGMA: sigma,
            ImageOutput.CHEMICAL_STATUS: status,
        }

    @property
    def result(self) -> StackResult:
        """Components, end members, fractions, residuals, maps and totals of the whole stack."""
        absorbance, images = self._absorbance, self._absorbance.stack.usable
        if absorbance.status != "ok" or not len(images):
            reason = absorbance.status if absorbance.status != "ok" else "no image can be used"
            return StackResult(pca_status=reason, chemical_status=reason)
        energies = np.array(absorbance.stack.energies)[images]
        density, variance = absorbance.density(images)
        shape = density.shape[1:]
        good = (absorbance.mask(density, images) == GOOD).ravel()
        pixels = np.where(good, density.reshape(len(images), -1), np.nan).T
        noise = np.where(good, variance.reshape(len(images), -1), np.nan).T
        found = analyse(energies, [pixels], [noise], self._edge, self._analysis)
        result = analysis_result(found, shape)
        background, _area, bright = windows(self._analysis, self._edge, energies)
        average, average_sigma, averaged = average_spectrum(
            energies,
            pixels.T,
            noise.T,
            background=background,
            area=bright,
            at=self._edge.sample,
            threshold=self._analysis.sample_above,
        )
        result |= {
            "average_spectrum": average,
            "average_spectrum_sigma": average_sigma,
            "average_pixels": averaged,
            "background_window": np.array(background),
            "brightness_window": np.array(bright),
        }
        if self._settings.references:
            result |= self._fractions(images, shape)
        return StackResult(**result)

    def _fractions(self, images: NDArray[np.intp], shape: tuple[int, ...]) -> dict[str, Any]:
        """Give the fractions of the references, in every pixel and in the mean spectrum of the sample."""
        unmixed, status = self._unmix(images)
        if unmixed is None:
            return {"chemical_status": status}
        absorbance = self._absorbance
        density, variance = absorbance.density(images)
        references, used = self._references(images)
        good = absorbance.mask(density, images) == GOOD
        mean = density[:, good].mean(axis=1)[used]
        noise = (variance[:, good].sum(axis=1) / good.sum() ** 2)[used]
        total = unmix(mean[None], references, noise)
        share, share_sigma = ratio(total, *self._pair())
        reduced, sigma = self._reduced(unmixed)
        return maps_result(self._names, unmixed, reduced, sigma, shape) | {
            "chemical_status": status,
            "end_member_energy": np.array(absorbance.stack.energies)[images][used],
            "end_members": references,
            "end_members_sigma": np.zeros_like(references),
            "total_fractions": total.fractions[0],
            "total_fractions_sigma": total.sigma[0],
            "total_reduced": float(share[0]),
            "total_reduced_sigma": float(share_sigma[0]),
        }

    def _pair(self) -> tuple[int, tuple[int, int]]:
        reduced, oxidised = (self._names.index(name) for name in (self._settings.reduced, self._settings.oxidised))
        return reduced, (reduced, oxidised)

    def _reduced(self, unmixed: Unmixed) -> tuple[FloatArray, FloatArray]:
        return ratio(unmixed, *self._pair())

    def _references(self, images: NDArray[np.intp]) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Give the references at the energies of these images, and at which of them all are known."""
        absorbance = self._absorbance
        energies = np.array(absorbance.stack.energies)[images]
        references = references_at(
            energies,
            self._settings.references,
            phases=(self._settings.reduced, self._settings.oxidised),
            pre_edge=absorbance.pre_edge,
            post_edge=absorbance.post_edge,
        )
        used = np.asarray(np.isfinite(references).all(axis=0))
        return references[:, used], used

    def _unmix(self, images: NDArray[np.intp]) -> tuple[Unmixed | None, str]:
        absorbance = self._absorbance
        if absorbance.status != "ok" or not len(images):
            return None, absorbance.status if absorbance.status != "ok" else "no image can be used"
        references, used = self._references(images)
        if used.sum() < len(references) + 1:
            return (
                None,
                f"{used.sum()} energies, expected {len(references) + 1} or more for {len(references)} references",
            )
        lengths = np.linalg.norm(references, axis=1, keepdims=True)
        if not (condition := np.linalg.cond(references / lengths)) <= LARGEST_CONDITION:
            return None, f"the references look alike at the energies so far (condition {condition:.0f})"
        density, variance = absorbance.density(images)
        mask = absorbance.mask(density, images).ravel()
        pixels, noise = density[used].reshape(used.sum(), -1).T, variance[used].reshape(used.sum(), -1).T
        known = (mask == GOOD) | (mask == LOW_JUMP)
        known &= np.isfinite(pixels).all(axis=1) & ~absorbance.blank_pixels(len(known))
        chosen = pixels[known], references, noise[known]
        return expanded(with_misfit(unmix(*chosen), *chosen), known), "ok"


def analysis_result(found: Analysis, shape: tuple[int, ...]) -> dict[str, Any]:
    """Give what an analysis found as arrays: pixels as images of this shape, (lines, columns)."""
    components = found.components
    result: dict[str, Any] = {
        "pca_status": components.status,
        "pca_energy": found.energies,
        "pca_mean": components.mean,
        "pca_components": components.components,
        "pca_eigenvalues": components.eigenvalues,
        "pca_significant": components.significant,
        "pca_scores": components.scores.T.reshape(-1, *shape),
        "pixels_used": components.n_kept,
        "pca_kept": components.kept.astype(int).reshape(shape),
        "pixel_noise": components.noise.reshape(shape) if found.normalised else np.full(shape, np.nan),
        "noise_cut": found.cut,
        "brightness": found.brightness.reshape(shape),
        "chemical_status": found.status,
    }
    if found.end_members is None or found.unmixed is None:
        return result
    members = found.end_members
    result |= maps_result(members.names, found.unmixed, found.reduced, found.reduced_sigma, shape) | {
        "end_member_energy": found.energies,
        "end_members": members.spectra,
        "end_members_sigma": members.sigma,
        "cluster_names": np.array(members.names, dtype=str),
        "clusters": _cluster_numbers(members.clusters, int(np.prod(shape))).reshape(shape),
    }
    if found.nmf_weights is not None and found.nmf_components is not None:
        result |= {
            "nmf_components": found.nmf_components,
            "nmf_weights": found.nmf_weights.T.reshape(-1, *shape),
            "nmf_converged": found.nmf_report["converged"],
        }
    return result


def maps_result(
    names: list[str], unmixed: Unmixed, reduced: FloatArray, sigma: FloatArray, shape: tuple[int, ...]
) -> dict[str, Any]:
    """Give the fractions of pixels as images."""
    return {
        "end_member_names": np.array(names, dtype=str),
        "fractions": unmixed.fractions.T.reshape(-1, *shape),
        "fractions_sigma": unmixed.sigma.T.reshape(-1, *shape),
        "residual": unmixed.residual.reshape(shape),
        "reduced_fraction": reduced.reshape(shape),
        "reduced_fraction_sigma": sigma.reshape(shape),
    }


def _cluster_numbers(clusters: list[NDArray[np.intp]], pixels: int) -> NDArray[np.intp]:
    """Give the number of the cluster, from 1, that each pixel is in; 0 for none."""
    numbers = np.zeros(pixels, dtype=int)
    for number, cluster in enumerate(clusters, start=1):
        numbers[cluster] = number
    return numbers
