"""The analysis of the reference text, on the pixels of one stack or of several pooled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import linear_sum_assignment

from callbacks.fitting.nonnegative import Unmixed, ratio, unmix, with_misfit
from callbacks.stxm.components import Components, StreamingPCA, noise_cut
from callbacks.stxm.edges import SLACK, Edge, Window, inside, window_or
from callbacks.stxm.unmixing.chemical_map import edge_area
from callbacks.stxm.unmixing.end_members import (
    EndMembers,
    EndMemberSettings,
    average_clusters,
    extreme_clusters,
    factorise,
    order_and_name,
)

FloatArray = NDArray[np.floating]


class AnalysisSettings(BaseModel):
    """How the pixels of a stack are analysed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    normalise: bool = True  # subtract the background and divide by the area, pixel by pixel
    background: Window | None = None  # eV; those of the edge where not given
    area: Window | None = None
    brightness: Window | None = None
    sample_above: float = 0.0  # optical density above the background, where the edge says, of pixels that are averaged
    noise_share: float | None = Field(
        None, ge=0, lt=1
    )  # of the pixels that are left out as noisy; None: by their spread
    components: int = Field(5, ge=1)  # kept
    end_members: EndMemberSettings = EndMemberSettings()
    nmf: bool = True
    seed: int = 0  # of the NMF


@dataclass
class Analysis:
    """What the analysis found. Pixels are those it was given, one axis.

    Attributes
    ----------
    components : Components
        Of the normalised pixels.
    scale, background : numpy.ndarray, shape (pixels,)
        What each pixel was divided by, eV, and what was subtracted before.
    end_members : EndMembers or None
        Normalised spectra.
    unmixed : Unmixed or None
        Fractions of the end members in the normalised pixels.
    reduced, reduced_sigma : numpy.ndarray, shape (pixels,)
        Reduced over reduced and oxidised.
    brightness : numpy.ndarray, shape (pixels,)
        Edge area, eV.
    status : str
        "ok", or why there are no end members.
    """

    energies: FloatArray
    components: Components
    background: FloatArray
    scale: FloatArray
    cut: float
    normalised: bool
    brightness: FloatArray
    end_members: EndMembers | None = None
    unmixed: Unmixed | None = None
    reduced: FloatArray = field(default_factory=lambda: np.zeros(0))
    reduced_sigma: FloatArray = field(default_factory=lambda: np.zeros(0))
    nmf_weights: FloatArray | None = None
    nmf_components: FloatArray | None = None
    nmf_report: dict[str, Any] = field(default_factory=dict)
    status: str = "not analysed"


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
    if settings.normalise:
        pca = StreamingPCA(energies, background=widened(background), area=widened(area))
    else:
        pca = StreamingPCA(energies)
    for block in blocks:
        pca.add_pixels(block)
    cut = np.nan
    if settings.normalise and np.isfinite(pca.noise).sum() > 1:
        cut = noise_cut(pca.noise[np.isfinite(pca.noise)], settings.noise_share)
        pca.set_filter(noise_cut=cut)
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
    found = Analysis(
        energies,
        components,
        subtracted,
        scale,
        float(cut),
        settings.normalise,
        edge_area(energies, density.T, bright, base),
    )
    if components.status != "ok":
        found.status = components.status
        return found
    try:
        _find_end_members(found, spectra, noise, np.flatnonzero(kept), edge=edge, settings=settings)
    except ValueError as error:  # too few pixels
        found.status = str(error)
    else:
        found.status = "ok"
    return found


def _find_end_members(
    found: Analysis,
    spectra: FloatArray,
    noise: FloatArray,
    chosen: NDArray[np.intp],
    *,
    edge: Edge,
    settings: AnalysisSettings,
) -> None:
    """Find end members among the chosen pixels, and fit them to all."""
    clusters = extreme_clusters(found.components.scores[chosen], settings.end_members)
    start = average_clusters(spectra[chosen], noise[chosen], clusters)[0]
    weights = None
    if settings.nmf:
        weights, found.nmf_components, found.nmf_report = factorise(spectra[chosen], start, seed=settings.seed)
        if settings.end_members.space == "nmf":
            share = weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
            clusters = extreme_clusters(share, settings.end_members)
    means, sigma = average_clusters(spectra[chosen], noise[chosen], clusters)
    known = np.asarray(np.isfinite(spectra).all(axis=1) & np.isfinite(noise).all(axis=1) & (found.scale > 0))
    amounts = unmix(spectra[chosen], means, noise[chosen]).fractions
    total = np.sum(amounts * np.maximum(found.brightness[chosen], 0.0)[:, None], axis=0)
    order, names = order_and_name(found.energies, means, total, edge)
    clusters = [clusters[place] for place in order]
    found.end_members = EndMembers(means[order], sigma[order], [chosen[cluster] for cluster in clusters], names)
    chosen_spectra = spectra[known], means[order], noise[known]
    found.unmixed = expanded(with_misfit(unmix(*chosen_spectra), *chosen_spectra), known)
    found.reduced, found.reduced_sigma = ratio(found.unmixed, 0, (0, 1))
    if weights is not None and found.nmf_components is not None:
        # Each component beside the end member in whose cluster it weighs most.
        beside = linear_sum_assignment(-np.array([weights[cluster].mean(axis=0) for cluster in clusters]))[1]
        found.nmf_components = found.nmf_components[beside]
        found.nmf_weights = np.full((len(spectra), len(means)), np.nan)
        found.nmf_weights[chosen] = weights[:, beside]


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


def expanded(unmixed: Unmixed, known: NDArray[np.bool_]) -> Unmixed:
    """Give the fractions of some pixels as those of all, NaN for the others."""

    def spread(values: FloatArray) -> FloatArray:
        whole = np.full((len(known), *values.shape[1:]), np.nan)
        whole[known] = values
        return whole

    return Unmixed(*(spread(each) for each in (unmixed.fractions, unmixed.sigma, unmixed.residual, unmixed.covariance)))
