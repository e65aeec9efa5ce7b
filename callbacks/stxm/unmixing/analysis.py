"""The analysis of Gent et al. (2017), on the pixels of one stack or of several pooled."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import linear_sum_assignment

from callbacks.fitting.nonnegative import Unmixed, expanded, no_fractions, ratio, unmix, with_misfit
from callbacks.stxm.components import Components, StreamingPCA, noise_cut
from callbacks.stxm.edges import SLACK, Edge, Window, inside, window_or
from callbacks.stxm.unmixing.chemical_map import edge_area
from callbacks.stxm.unmixing.end_members import (
    EndMembers,
    EndMemberSettings,
    Factorisation,
    average_clusters,
    extreme_clusters,
    factorise,
    order_and_name,
)

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]


class AnalysisSettings(BaseModel):
    """How the pixels of a stack are analysed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    normalise: bool = True  # subtract the background and divide by the area, pixel by pixel
    background: Window | None = None  # eV; those of the edge where not given
    area: Window | None = None
    brightness: Window | None = None
    sample_above: float = 0.0  # optical density above the background, where the edge says, of pixels that are averaged
    noise_share: float | None = Field(None, ge=0, lt=1)  # of the pixels, left out as noisy; None: by their spread
    components: int = Field(5, ge=1)  # kept
    end_members: EndMemberSettings = EndMemberSettings()
    nmf: bool = True
    seed: int = 0  # of the NMF


@dataclass(frozen=True)
class Phases:
    """End members, and how much of each is in every pixel.

    Attributes
    ----------
    end_members : EndMembers
        Normalised spectra.
    unmixed : Unmixed
        Fractions of the end members in the normalised pixels; NaN for pixels that are not known.
    reduced, reduced_sigma : numpy.ndarray, shape (pixels,)
        Reduced over reduced and oxidised.
    nmf : Factorisation
        Each component beside the end member in whose cluster it weighs most; NaN for pixels left out.
    status : str
        "ok", or why there are no end members: then there are none of them, and all numbers are NaN.
    """

    end_members: EndMembers
    unmixed: Unmixed
    reduced: FloatArray
    reduced_sigma: FloatArray
    nmf: Factorisation
    status: str


@dataclass(frozen=True)
class Analysis:
    """What the analysis found. Pixels are those it was given, in one axis.

    Attributes
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV.
    components : Components
        Of the normalised pixels.
    background, scale : numpy.ndarray, shape (pixels,)
        What was subtracted from each pixel, and what it was then divided by, eV.
    noise_cut : float
        Pixels with a larger spread below the edge were left out; NaN where none was.
    normalised : bool
    brightness : numpy.ndarray, shape (pixels,)
        Edge area, eV.
    phases : Phases
    """

    energies: FloatArray
    components: Components
    background: FloatArray
    scale: FloatArray
    noise_cut: float
    normalised: bool
    brightness: FloatArray
    phases: Phases

    @property
    def status(self) -> str:
        """Why there are no end members, or "ok"."""
        return self.phases.status


def windows(settings: AnalysisSettings, edge: Edge, energies: FloatArray) -> tuple[Window, Window, Window]:
    """Give the windows of background, area and brightness, eV."""
    background, area = settings.background or edge.background, settings.area or edge.area
    return background, area, settings.brightness or window_or(energies, edge.brightness, area)


def widened(window: Window) -> Window:
    """Give a window with the slack for energies that are read back."""
    return window[0] - SLACK, window[1] + SLACK


def analyse(
    energies: FloatArray,
    blocks: list[FloatArray],
    variances: list[FloatArray],
    edge: Edge,
    settings: AnalysisSettings | None = None,
) -> Analysis:
    """Analyse pixels.

    Parameters
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV, ascending.
    blocks, variances : list of numpy.ndarray, shape (pixels, energies)
        Optical density and variance, a block for each stack; NaN for pixels that are left out.
    edge : Edge
    settings : AnalysisSettings, optional

    Returns
    -------
    Analysis

    Notes
    -----
    As in the supplementary text of Gent et al., Nat. Commun. 8 (2017) 2091: each pixel less its mean background and
    over its area, pixels with a noisy background left out, principal components of what is left; the spectra measured
    at the extremes are the end members, and every normalised pixel is a non-negative sum of them.
    """
    settings = settings or AnalysisSettings()
    background, area, bright = windows(settings, edge, energies)
    pca, cut = _components(energies, blocks, background, area, settings)
    density, variance = np.concatenate(blocks), np.concatenate(variances)
    below = inside(energies, background)
    base = density[:, below].mean(axis=1) if below.any() else np.zeros(len(density))
    scale = pca.area if settings.normalise else np.ones(len(density))
    subtracted = base if settings.normalise else np.zeros(len(density))
    with np.errstate(invalid="ignore", divide="ignore"):
        spectra = (density - subtracted[:, None]) / scale[:, None]
        noise = variance / scale[:, None] ** 2
    kept = pca.kept
    mean_noise = noise[kept].mean(axis=0) if kept.any() else None
    components = pca.result(settings.components, noise_variance=mean_noise)
    brightness = edge_area(energies, density.T, bright, base)
    if components.status == "ok":
        cloud = _Cloud(energies, spectra, noise, components.scores, np.flatnonzero(kept), scale, brightness)
        try:
            phases = _find_phases(cloud, edge, settings)
        except ValueError as error:  # too few pixels
            phases = _no_phases(energies, len(density), str(error))
    else:
        phases = _no_phases(energies, len(density), components.status)
    return Analysis(energies, components, subtracted, scale, cut, settings.normalise, brightness, phases)


def _components(
    energies: FloatArray, blocks: list[FloatArray], background: Window, area: Window, settings: AnalysisSettings
) -> tuple[StreamingPCA, float]:
    """Give the components of all pixels but the noisy ones, and the noise beyond which these were left out."""
    pca, cut = StreamingPCA(energies), np.nan
    if settings.normalise:
        pca = StreamingPCA(energies, background=widened(background), area=widened(area))
    for block in blocks:
        pca.add_pixels(block)
    if settings.normalise and np.isfinite(pca.noise).sum() > 1:
        cut = noise_cut(pca.noise[np.isfinite(pca.noise)], settings.noise_share)
        pca.set_filter(noise_cut=cut)
    return pca, float(cut)


@dataclass(frozen=True)
class _Cloud:
    """Pixels as a cloud in the space of the components."""

    energies: FloatArray
    spectra: FloatArray  # normalised, (pixels, energies)
    noise: FloatArray  # their variance
    scores: FloatArray
    chosen: NDArray[np.intp]  # pixels among which end members are looked for
    scale: FloatArray
    brightness: FloatArray


def _find_phases(cloud: _Cloud, edge: Edge, settings: AnalysisSettings) -> Phases:
    """Find end members among the chosen pixels, and fit them to all."""
    spectra, noise = cloud.spectra[cloud.chosen], cloud.noise[cloud.chosen]
    clusters = extreme_clusters(cloud.scores[cloud.chosen], settings.end_members)
    nmf = Factorisation.none(len(cloud.spectra), cloud.energies, "not asked for")
    if settings.nmf:
        nmf = factorise(spectra, average_clusters(spectra, noise, clusters)[0], seed=settings.seed)
        if settings.end_members.space == "nmf":
            share = nmf.weights / np.maximum(nmf.weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
            clusters = extreme_clusters(share, settings.end_members)
    means, sigma = average_clusters(spectra, noise, clusters)
    amounts = unmix(spectra, means, noise).fractions
    total = np.sum(amounts * np.maximum(cloud.brightness[cloud.chosen], 0.0)[:, None], axis=0)
    order, names = order_and_name(cloud.energies, means, total, edge)
    clusters = [clusters[place] for place in order]
    unmixed = _fractions(cloud, means[order])
    reduced, reduced_sigma = ratio(unmixed, 0, (0, 1))
    return Phases(
        EndMembers(means[order], sigma[order], [cloud.chosen[cluster] for cluster in clusters], names),
        unmixed,
        reduced,
        reduced_sigma,
        _beside(nmf, clusters, cloud) if settings.nmf else nmf,
        "ok",
    )


def _fractions(cloud: _Cloud, end_members: FloatArray) -> Unmixed:
    """Fit end members to every pixel whose normalised spectrum is known."""
    finite = np.isfinite(cloud.spectra).all(axis=1) & np.isfinite(cloud.noise).all(axis=1)
    known = np.asarray(finite & (cloud.scale > 0))
    fitted = cloud.spectra[known], end_members, cloud.noise[known]
    return expanded(with_misfit(unmix(*fitted), *fitted), known)


def _beside(nmf: Factorisation, clusters: list[NDArray[np.intp]], cloud: _Cloud) -> Factorisation:
    """Give each component beside the end member in whose cluster it weighs most, and weights of all pixels."""
    order = linear_sum_assignment(-np.array([nmf.weights[cluster].mean(axis=0) for cluster in clusters]))[1]
    weights = np.full((len(cloud.spectra), len(order)), np.nan)
    weights[cloud.chosen] = nmf.weights[:, order]
    return replace(nmf, weights=weights, components=nmf.components[order])


def _no_phases(energies: FloatArray, pixels: int, status: str) -> Phases:
    nothing, unknown = np.zeros((0, len(energies))), np.full(pixels, np.nan)
    end_members = EndMembers(nothing, nothing.copy(), [], [])
    nmf = Factorisation.none(pixels, energies, status)
    return Phases(end_members, no_fractions(pixels, 0), unknown, unknown.copy(), nmf, status)


def average_spectrum(
    energies: FloatArray,
    density: FloatArray,
    variance: FloatArray,
    *,
    background: Window,
    area: Window,
    at: float | None = None,
    threshold: float = 0.0,
) -> tuple[FloatArray, FloatArray, int]:
    """Average the spectra of the pixels that hold sample, and normalise the average.

    Parameters
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV, ascending.
    density, variance : numpy.ndarray, shape (energies, pixels)
        Optical density; pixels with a NaN are left out.
    background, area : (float, float)
        eV; the mean of the first is subtracted, the integral over the second divides: the L3 edge, or the post-edge.
    at : float, optional
        eV; pixels whose optical density here is not `threshold` above their background are left out.
    threshold : float

    Returns
    -------
    spectrum, sigma : numpy.ndarray, shape (energies,)
        1/eV; NaN where the windows hold no energies, or no pixel is left. Correlations between the average and what it
        is normalised by are propagated.
    pixels : int
        How many were averaged.
    """
    below = inside(energies, background)
    known = np.isfinite(density).all(axis=0)
    if at is not None and below.any():
        with np.errstate(invalid="ignore"):
            known &= density[np.abs(energies - at).argmin()] - density[below].mean(axis=0) > threshold
    nothing = np.full(len(energies), np.nan)
    chosen = np.flatnonzero(inside(energies, area))
    if not known.any() or not below.any() or len(chosen) < 2:
        return nothing, nothing.copy(), int(known.sum())
    mean, noise = density[:, known].mean(axis=1), variance[:, known].sum(axis=1) / known.sum() ** 2
    subtract = np.eye(len(energies)) - below / below.sum()
    weight = np.zeros(len(energies))
    steps = np.diff(energies[chosen])
    weight[chosen[:-1]] += steps / 2
    weight[chosen[1:]] += steps / 2
    total = float(weight @ subtract @ mean)
    if not total > 0:
        return nothing, nothing.copy(), int(known.sum())
    spectrum = subtract @ mean / total
    jacobian = (subtract - np.outer(spectrum, weight @ subtract)) / total
    return spectrum, np.sqrt(jacobian**2 @ noise), int(known.sum())
