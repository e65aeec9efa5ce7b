"""The analysis of Gent et al. (2017), on the pixels of one stack or of several pooled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import linear_sum_assignment

from callbacks.fitting.nonnegative import (
    Unmixed,
    no_fractions,
    put,
    ratio,
    reordered,
    unmix,
    with_misfit,
)
from callbacks.stxm.components import Components, PixelComponents, components_in_blocks
from callbacks.stxm.edges import SLACK, Edge, Window, inside, window_or
from callbacks.stxm.unmixing.chemical_map import edge_area
from callbacks.stxm.unmixing.end_members import (
    LARGEST_FACTORISED,
    EndMembers,
    EndMemberSettings,
    Factorisation,
    average_clusters,
    extreme_clusters,
    factorise,
    order_and_name,
    thinned,
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
        Of the normalised pixels; they do not hold the spectra.
    kept : numpy.ndarray of bool, shape (pixels,)
        Pixels that the components are made of.
    scores : numpy.ndarray, shape (pixels, k)
        On the components; NaN for pixels that are left out.
    pixel_noise : numpy.ndarray, shape (pixels,)
        Spread of each normalised pixel below the edge; NaN where not known.
    scale : numpy.ndarray, shape (pixels,)
        What each pixel, less its background, was divided by, eV.
    noise_cut : float
        Pixels with a larger spread below the edge were left out; NaN where none was.
    normalised : bool
    brightness : numpy.ndarray, shape (pixels,)
        Edge area, eV.
    phases : Phases
    """

    energies: FloatArray
    components: Components
    kept: BoolArray
    scores: FloatArray
    pixel_noise: FloatArray
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
    blocks: Sequence[FloatArray],
    variances: Sequence[FloatArray],
    edge: Edge,
    settings: AnalysisSettings | None = None,
) -> Analysis:
    """Analyse pixels.

    Parameters
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV, ascending.
    blocks, variances : sequence of numpy.ndarray, shape (pixels, energies)
        Optical density and variance, a block for each stack or part of one; NaN for pixels that are left out. They are
        gone through several times, one block after the other, so that a sequence may make them when they are asked for.
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
    found = components_in_blocks(
        energies,
        blocks,
        variances,
        background=widened(background) if settings.normalise else None,
        area=widened(area) if settings.normalise else None,
        noise_share=settings.noise_share,
        number=settings.components,
    )
    base, brightness = _background_and_area(energies, blocks, background, bright)
    subtracted = base if settings.normalise else np.zeros(len(base))
    cloud = _Cloud(energies, blocks, variances, subtracted, found, brightness)
    phases = _no_phases(energies, len(base), found.components.status)
    if found.components.status == "ok":
        try:
            phases = _find_phases(cloud, edge, settings)
        except ValueError as error:  # too few pixels
            phases = _no_phases(energies, len(base), str(error))
    return Analysis(
        energies,
        found.components,
        found.kept,
        found.scores,
        found.noise,
        found.scale,
        found.noise_cut,
        settings.normalise,
        brightness,
        phases,
    )


def _background_and_area(
    energies: FloatArray, blocks: Sequence[FloatArray], background: Window, area: Window
) -> tuple[FloatArray, FloatArray]:
    """Give the mean of each pixel in the background window, 0 where that holds no energy, and its edge area."""
    below, found = inside(energies, background), []
    for block in blocks:
        base = block[:, below].mean(axis=1) if below.any() else np.zeros(len(block))
        found.append((base, edge_area(energies, block.T, area, base)))
    return np.concatenate([base for base, _ in found]), np.concatenate([bright for _, bright in found])


@dataclass(frozen=True)
class _Cloud:
    """Pixels as a cloud in the space of the components; their spectra are made a block at a time."""

    energies: FloatArray
    blocks: Sequence[FloatArray]
    variances: Sequence[FloatArray]
    subtracted: FloatArray
    found: PixelComponents
    brightness: FloatArray

    @property
    def chosen(self) -> NDArray[np.intp]:
        """Pixels among which end members are looked for."""
        return np.flatnonzero(self.found.kept)

    def normalised(self) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
        """Give the normalised spectra and their variance, block by block, with the pixels that they are of."""
        for part, block, variance in zip(_parts(self.blocks), self.blocks, self.variances, strict=True):
            scale = self.found.scale[part, None]
            with np.errstate(invalid="ignore", divide="ignore"):
                yield part, (block - self.subtracted[part, None]) / scale, variance / scale**2

    def spectra_of(self, pixels: NDArray[np.intp], *, variance: bool = False) -> FloatArray:
        """Give the normalised spectra of some pixels, in ascending order, or their variance."""
        found, begin = np.empty((len(pixels), len(self.energies))), 0
        for part, spectra, noise in self.normalised():
            some = pixels[(pixels >= part.start) & (pixels < part.stop)] - part.start
            found[begin : begin + len(some)] = (noise if variance else spectra)[some]
            begin += len(some)
        return found


def _parts(blocks: Sequence[FloatArray]) -> Iterator[slice]:
    """Give the place of the pixels of each block among all."""
    start = 0
    for block in blocks:
        yield slice(start, start + len(block))
        start += len(block)


def _find_phases(cloud: _Cloud, edge: Edge, settings: AnalysisSettings) -> Phases:
    """Find end members among the chosen pixels, and fit them to all."""
    chosen = cloud.chosen
    clusters = [chosen[cluster] for cluster in extreme_clusters(cloud.found.scores[chosen], settings.end_members)]
    means, sigma = _averages(cloud, clusters)
    nmf = Factorisation.none(len(cloud.found.kept), cloud.energies, "not asked for")
    if settings.nmf:
        nmf = _factorised(cloud, means, settings.seed)
        if settings.end_members.space == "nmf":
            weights = nmf.weights[chosen]
            share = weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
            clusters = [chosen[cluster] for cluster in extreme_clusters(share, settings.end_members)]
            means, sigma = _averages(cloud, clusters)
    unmixed = _fractions(cloud, means)
    total = np.sum(unmixed.fractions[chosen] * np.maximum(cloud.brightness[chosen], 0.0)[:, None], axis=0)
    order, names = order_and_name(cloud.energies, means, total, edge)
    clusters, unmixed = [clusters[place] for place in order], reordered(unmixed, order)
    reduced, reduced_sigma = ratio(unmixed, 0, (0, 1))
    return Phases(
        EndMembers(means[order], sigma[order], clusters, names),
        unmixed,
        reduced,
        reduced_sigma,
        _beside(nmf, clusters) if settings.nmf else nmf,
        "ok",
    )


def _averages(cloud: _Cloud, clusters: list[NDArray[np.intp]]) -> tuple[FloatArray, FloatArray]:
    """Average the normalised spectra of the pixels of each cluster."""
    pixels = np.unique(np.concatenate(clusters))
    places = [np.searchsorted(pixels, cluster) for cluster in clusters]
    return average_clusters(cloud.spectra_of(pixels), cloud.spectra_of(pixels, variance=True), places)


def _factorised(cloud: _Cloud, start: FloatArray, seed: int) -> Factorisation:
    """Factorise the chosen pixels, thinned evenly where they are very many; fit the components to all chosen ones."""
    chosen = cloud.chosen
    nmf = factorise(cloud.spectra_of(thinned(chosen, LARGEST_FACTORISED)), start, seed=seed)
    weights = np.full((len(cloud.found.kept), len(start)), np.nan)
    for part, spectra, _ in cloud.normalised():
        some = np.flatnonzero(cloud.found.kept[part])
        weights[part.start + some] = unmix(np.maximum(spectra[some], 0.0), nmf.components).fractions
    return replace(nmf, weights=weights)


def _fractions(cloud: _Cloud, end_members: FloatArray) -> Unmixed:
    """Fit end members to every pixel whose normalised spectrum is known."""
    found = no_fractions(len(cloud.found.kept), len(end_members))
    for part, spectra, noise in cloud.normalised():
        finite = np.isfinite(spectra).all(axis=1) & np.isfinite(noise).all(axis=1)
        known = np.flatnonzero(finite & (cloud.found.scale[part] > 0))
        fitted = spectra[known], end_members, noise[known]
        put(with_misfit(unmix(*fitted), *fitted), part.start + known, found)
    return found


def _beside(nmf: Factorisation, clusters: list[NDArray[np.intp]]) -> Factorisation:
    """Give each component beside the end member in whose cluster it weighs most."""
    order = linear_sum_assignment(-np.array([nmf.weights[cluster].mean(axis=0) for cluster in clusters]))[1]
    return replace(nmf, weights=nmf.weights[:, order], components=nmf.components[order])


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
    return average_of_blocks(
        energies, [density.T], [variance.T], background=background, area=area, at=at, threshold=threshold
    )


def average_of_blocks(
    energies: FloatArray,
    blocks: Sequence[FloatArray],
    variances: Sequence[FloatArray],
    *,
    background: Window,
    area: Window,
    at: float | None,
    threshold: float,
) -> tuple[FloatArray, FloatArray, int]:
    """Average and normalise as `average_spectrum` does, of pixels that come in blocks of shape (pixels, energies)."""
    below = inside(energies, background)
    total, noise, number = np.zeros(len(energies)), np.zeros(len(energies)), 0
    for block, variance in zip(blocks, variances, strict=True):
        known = np.isfinite(block).all(axis=1)
        if at is not None and below.any():
            with np.errstate(invalid="ignore"):
                known &= block[:, np.abs(energies - at).argmin()] - block[:, below].mean(axis=1) > threshold
        total += block[known].sum(axis=0, dtype=np.float64)
        noise += variance[known].sum(axis=0, dtype=np.float64)
        number += int(known.sum())
    nothing = np.full(len(energies), np.nan)
    chosen = np.flatnonzero(inside(energies, area))
    if not number or not below.any() or len(chosen) < 2:
        return nothing, nothing.copy(), number
    mean, noise = total / number, noise / number**2
    subtract = np.eye(len(energies)) - below / below.sum()
    weight = np.zeros(len(energies))
    steps = np.diff(energies[chosen])
    weight[chosen[:-1]] += steps / 2
    weight[chosen[1:]] += steps / 2
    area_of_mean = float(weight @ subtract @ mean)
    if not area_of_mean > 0:
        return nothing, nothing.copy(), number
    spectrum = subtract @ mean / area_of_mean
    jacobian = (subtract - np.outer(spectrum, weight @ subtract)) / area_of_mean
    return spectrum, np.sqrt(jacobian**2 @ noise), number
