"""The analysis of Gent et al. (2017), on the pixels of one stack or of several pooled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import linear_sum_assignment

from callbacks.fitting.nonnegative import Unmixed, no_fractions, put, reordered, unmix
from callbacks.stxm.components import Components, PixelComponents, components_in_blocks
from callbacks.stxm.components.normalisation import Windows
from callbacks.stxm.edges import SLACK, Edge, Window, gap_in, inside, window_or
from callbacks.stxm.unmixing.chemical_map import edge_area
from callbacks.stxm.unmixing.end_members import (
    LARGEST_FACTORISED,
    PHASES,
    EndMembers,
    EndMemberSettings,
    Factorisation,
    average_clusters,
    cluster_size,
    extreme_clusters,
    extremes,
    factorise,
    nearest_pixels,
    order_and_name,
    thinned,
)
from callbacks.stxm.unmixing.fractions import (
    background_shapes,
    fit_mean,
    fit_normalised,
    share,
    spread_of_errors,
    with_uncertain_references,
)
from callbacks.stxm.unmixing.pixel_scatter import with_own_scatter
from callbacks.stxm.unmixing.references import Reference, normalised_references
from callbacks.stxm.unmixing.simplex import (
    CornerSpectra,
    beyond_pixels,
    fraction_errors,
    shares_of,
    simplices,
    with_impure_others,
    with_scatter,
)
from callbacks.wording import number_of

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

LARGEST_SIMPLEX = 5_000  # pixels that a simplex is fitted to; more are thinned evenly
FEWEST_DIRECTIONS = 2  # that spectra vary in: of a single one nothing tells how much of it is noise
CLEAR = 2.0  # times the median noise: pixels with more make no corner
STRONG, MOST_IMPURE = (
    0.3,
    0.9,
)  # of the phases' highest absorption, where it is compared; share of them in another corner


class AnalysisSettings(BaseModel):
    """How the pixels of a stack are analysed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    normalise: bool = True  # subtract the background and divide by the area, pixel by pixel
    background: Window | None = None  # eV; those of the edge where not given
    area: Window | None = None
    brightness: Window | None = None
    sample_above: float | None = None  # optical density of the edge, of pixels that are averaged; None: all good ones
    noise_share: float | None = Field(0.1, ge=0, lt=1)  # of the pixels, left out as noisy; None: by their spread
    components: int = Field(5, ge=1)  # kept
    end_members: EndMemberSettings = EndMemberSettings()
    nmf: bool = True
    seed: int = 0  # of the NMF


@dataclass(frozen=True)
class AverageSpectrum:
    """The mean spectrum of the pixels that hold sample, normalised.

    Attributes
    ----------
    spectrum, sigma : numpy.ndarray, shape (energies,)
        1/eV; NaN where the windows hold no energies, or no pixel is left. Correlations between the average and what it
        is normalised by are propagated.
    noise : numpy.ndarray, shape (energies,)
        Variance of the average before it is normalised, over its area squared: independent between energies.
    square : numpy.ndarray, shape (energies,)
        Mean square of the optical density, less that of the noise, over the area.
    pixels : int
        How many were averaged.
    """

    spectrum: FloatArray
    sigma: FloatArray
    noise: FloatArray
    square: FloatArray
    pixels: int


@dataclass(frozen=True)
class Phases:
    """End members, and how much of each is in every pixel.

    Attributes
    ----------
    end_members : EndMembers
        Normalised spectra.
    spread : numpy.ndarray, shape (k, k, k, k)
        What the uncertainty of the end members does to fractions, see
        `callbacks.stxm.unmixing.fractions.with_uncertain_references`.
    unmixed : Unmixed
        Fractions of the end members in the normalised pixels; NaN for pixels that are not known.
    reduced, reduced_sigma : numpy.ndarray, shape (pixels,)
        Reduced over reduced and oxidised, as shares of the edge area.
    nmf : Factorisation
        Each component beside the end member in whose cluster it weighs most; NaN for pixels left out.
    beside : numpy.ndarray, shape (n, energies)
        What was fitted beside the end members, see `callbacks.stxm.unmixing.fractions.background_shapes`.
    status : str
        "ok", or why there are no end members: then there are none of them, and all numbers are NaN.
    """

    end_members: EndMembers
    spread: FloatArray
    unmixed: Unmixed
    reduced: FloatArray
    reduced_sigma: FloatArray
    nmf: Factorisation
    beside: FloatArray
    status: str

    def total(self, average: AverageSpectrum) -> Unmixed:
        """Fit the end members to the mean spectrum of some pixels; one spectrum."""
        fit, _ = fit_mean(average.spectrum, average.square, self.end_members.spectra, average.noise, self.beside)
        return with_uncertain_references(fit, self.spread)


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
    left_out : list of str
        References that cannot be end members, and why.
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
    left_out: list[str]

    @property
    def status(self) -> str:
        """Why there are no end members, or "ok"."""
        return self.phases.status


def windows(settings: AnalysisSettings, edge: Edge, energies: FloatArray) -> tuple[Window, Window, Window]:
    """Give the windows of background, area and brightness, eV."""
    background, area = settings.background or edge.background, settings.area or edge.area
    return background, area, settings.brightness or window_or(energies, edge.brightness, area)


def used_windows(settings: AnalysisSettings, edge: Edge, energies: FloatArray) -> Windows:
    """Give the windows that pixels are normalised by."""
    background, area, _ = windows(settings, edge, energies)
    return Windows(*((widened(background), widened(area)) if settings.normalise else (None, None)))


def widened(window: Window) -> Window:
    """Give a window with the slack for energies that are read back."""
    return window[0] - SLACK, window[1] + SLACK


def analyse(
    energies: FloatArray,
    blocks: Sequence[FloatArray],
    variances: Sequence[FloatArray],
    edge: Edge,
    settings: AnalysisSettings | None = None,
    *,
    references: Mapping[str, Reference] | None = None,
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
    references : mapping of str to Reference, optional
        End members that were measured. Those that do not cover the energies, or have no area in the windows, cannot be.

    Returns
    -------
    Analysis

    Notes
    -----
    As in the supplementary text of Gent et al., Nat. Commun. 8 (2017) 2091: each pixel less its mean background and
    over its area, pixels with a noisy background left out, principal components of what is left; end members lie at the
    extremes, and every normalised pixel is a non-negative sum of them. Theirs are the mean spectra measured there, the
    method "clusters"; by default it is the corners of the smallest simplex that holds the pixels within their noise.
    """
    settings = settings or AnalysisSettings()
    background, _, bright = windows(settings, edge, energies)
    used = used_windows(settings, edge, energies)
    found = components_in_blocks(
        energies,
        blocks,
        variances,
        background=used.background,
        area=used.area,
        noise_share=settings.noise_share,
        number=settings.components,
    )
    base, brightness = _background_and_area(energies, blocks, background, bright)
    subtracted = base if settings.normalise else np.zeros(len(base))
    cloud = _Cloud(energies, blocks, variances, subtracted, found, brightness)
    phases = _no_phases(energies, len(base), found.components.status)
    left_out: list[str] = []
    if found.components.status == "ok":
        of_area = None
        if settings.normalise:
            of_area = used.jacobian(energies, np.zeros(len(energies))).T @ used.weights(energies)[1]
        measured = _Measured(*normalised_references(energies, references or {}, used))
        left_out = measured.left_out
        try:
            phases = _find_phases(cloud, edge, settings, measured, of_area)
        except np.linalg.LinAlgError:
            what = "references look alike" if measured.names else f"end members look alike at {len(energies)} energies"
            phases = _no_phases(energies, len(base), f"{what}: nothing tells them apart")
        except ValueError as error:  # too few pixels or energies, a gap in them, no component above the noise
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
        left_out,
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

    def whitened(self) -> tuple[FloatArray, FloatArray]:
        """Give the chosen pixels in units of the mean noise, shape (chosen, components), and the noise of each."""
        components, kept = self.found.components, self.found.kept
        project = components.whitened.project
        points, noise = [], []
        for part, spectra, variance in self.normalised():
            some = np.flatnonzero(kept[part])
            points.append((spectra[some] - components.mean) @ project)
            noise.append(variance[some] @ (project**2).mean(axis=1))
        scale = np.concatenate(noise)
        return np.concatenate(points), np.sqrt(scale / scale.mean())

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


@dataclass(frozen=True)
class _Measured:
    """End members that were measured."""

    names: list[str]
    spectra: FloatArray
    covariance: FloatArray
    left_out: list[str]  # why others were not


def _find_phases(
    cloud: _Cloud, edge: Edge, settings: AnalysisSettings, measured: _Measured, area: FloatArray | None
) -> Phases:
    """Find end members among the chosen pixels, and fit them to all."""
    chosen, whitened = cloud.chosen, cloud.found.components.whitened
    energies, above = len(cloud.energies), whitened.significance.above_noise
    if not above:
        cluster_size(cloud.found.scores[chosen], len(PHASES), settings.end_members)  # refuses where pixels are too few
        if len(whitened.eigenvalues) < FEWEST_DIRECTIONS:
            raise ValueError(
                f"{number_of(energies, 'energy')}, expected {energies + FEWEST_DIRECTIONS - len(whitened.eigenvalues)}"
                " or more to tell a component from the noise"
            )
        raise ValueError(
            f"no component stands above the noise of {len(chosen)} pixels at {energies} energies, expected one or more"
            " for two end members"
        )
    number = max(2, len(measured.names), min(settings.end_members.number, above + 1))
    beside = background_shapes(cloud.energies, edge)
    if energies < number + len(beside):
        raise ValueError(
            f"{number_of(energies, 'energy')}, expected {number + len(beside)} or more for {number} end members and"
            f" {'a constant' if len(beside) == 1 else 'a line'} beside them"
        )
    if settings.normalise and (gap := gap_in(cloud.energies, windows(settings, edge, cloud.energies)[1])):
        raise ValueError(gap)
    size = cluster_size(cloud.found.scores[chosen], number, settings.end_members)
    points, noise = cloud.whitened()
    points, wide = points[:, : number - 1], with_own_scatter(noise, points[:, number - 1 :])
    scattered = 1 - float((noise**2).sum() / (wide**2).sum())
    found = _corners(cloud, settings, measured, points, wide, scattered=scattered)
    if settings.end_members.method == "clusters":
        found = _of_clusters(cloud, settings, found, number)
    else:
        found = replace(found, clusters=[chosen[each] for each in nearest_pixels(points, found.corners, size)])
    nmf = Factorisation.none(len(cloud.found.kept), cloud.energies, "not asked for")
    if settings.nmf:
        nmf = _factorised(cloud, found.spectra, settings.seed)
        if settings.end_members.space == "nmf" and settings.end_members.method == "clusters":
            found = _of_clusters(cloud, settings, found, number, nmf.weights)
    unmixed = _fractions(cloud, found.spectra, area, beside)
    total = np.nansum(unmixed.fractions[chosen] * np.maximum(cloud.brightness[chosen], 0.0)[:, None], axis=0)
    order, names = order_and_name(cloud.energies, found.spectra, total, edge, found.names)
    found, unmixed = found.reordered(order), reordered(unmixed, order)
    clusters = np.array([points[np.searchsorted(chosen, cluster)].mean(axis=0) for cluster in found.clusters])
    replicates = beyond_pixels(found.replicates, found.corners, clusters, found.held, seed=settings.seed)
    others = [not held and name not in PHASES for held, name in zip(found.held, names, strict=True)]
    replicates = with_impure_others(replicates, found.spectra, others, seed=settings.seed)
    beyond = whitened.eigenvalues[number - 1] - 1 if above >= number else 0.0
    replicates = with_scatter(replicates, math.sqrt(beyond), found.held, seed=settings.seed)
    spread = spread_of_errors(fraction_errors(found.fitted, replicates))
    unmixed = with_uncertain_references(unmixed, spread)
    return Phases(
        EndMembers(
            found.spectra,
            found.sigma,
            found.clusters,
            np.diag(shares_of(clusters, found.corners)).copy(),
            names,
            [bool(held) and settings.end_members.method == "simplex" for held in found.held],
            math.sqrt(1 + beyond),
        ),
        spread,
        unmixed,
        *share(unmixed, 0, (0, 1)),
        _beside(nmf, found.clusters) if settings.nmf else nmf,
        beside,
        "ok",
    )


@dataclass(frozen=True)
class _Corners:
    """The simplex that the pixels fill, in units of the noise, and the end members.

    Attributes
    ----------
    corners, fitted : numpy.ndarray, shape (k, dimensions)
        Of the simplex, and of the end members.
    replicates : numpy.ndarray, shape (r, k, dimensions)
        Corners that the pixels allow for as well.
    held : numpy.ndarray of bool, shape (k,)
        Corners that were measured.
    spectra, sigma : numpy.ndarray, shape (k, energies)
        Of the end members.
    clusters : list of numpy.ndarray of int
        Pixels nearest to each, or that it is the mean of.
    names : list of str
        Of the first ones, which were measured.
    """

    corners: FloatArray
    fitted: FloatArray
    replicates: FloatArray
    held: BoolArray
    spectra: FloatArray
    sigma: FloatArray
    clusters: list[NDArray[np.intp]]
    names: list[str]

    def reordered(self, order: list[int]) -> _Corners:
        """Give all in another order."""
        return _Corners(
            self.corners[order],
            self.fitted[order],
            self.replicates[:, order],
            self.held[order],
            self.spectra[order],
            self.sigma[order],
            [self.clusters[place] for place in order],
            self.names,
        )


def _corners(
    cloud: _Cloud,
    settings: AnalysisSettings,
    measured: _Measured,
    points: FloatArray,
    noise: FloatArray,
    *,
    scattered: float,
) -> _Corners:
    """Find the simplex that the pixels fill; its corners are end members, or were measured."""
    components, known = cloud.found.components, len(measured.names)
    project = components.whitened.project[:, : points.shape[1]]
    back = components.whitened.spectra[: points.shape[1]]
    clear = np.flatnonzero(noise <= CLEAR * np.median(noise))
    some = thinned(clear, LARGEST_SIMPLEX)
    corners, replicates = simplices(
        points[some],
        noise[some],
        extremes(points[clear]),
        (measured.spectra - components.mean) @ project,
        project.T @ measured.covariance @ project,
        scattered=scattered,
        spectra=CornerSpectra(components.mean, back),
        seed=settings.seed,
    )
    spectra = np.concatenate([measured.spectra, components.mean + corners[known:] @ back])
    sigma = np.sqrt(np.mean(((replicates - corners) @ back) ** 2, axis=0))
    sigma[:known] = np.sqrt(np.einsum("kee->ke", measured.covariance))
    held = np.arange(len(corners)) < known
    return _Corners(corners, corners, replicates, held, spectra, sigma, [], measured.names)


def _of_clusters(
    cloud: _Cloud, settings: AnalysisSettings, found: _Corners, number: int, weights: FloatArray | None = None
) -> _Corners:
    """Take the mean spectra of the pixels at the extremes as end members, each beside the corner nearest to it.

    The extremes are those of the scores, or of shares of the NMF where its weights are given.
    """
    chosen, components = cloud.chosen, cloud.found.components
    space = cloud.found.scores[chosen]
    if weights is not None:
        space = weights[chosen] / np.maximum(weights[chosen].sum(axis=1, keepdims=True), np.finfo(float).tiny)
    clusters = [chosen[cluster] for cluster in extreme_clusters(space, number, settings.end_members)]
    spectra, sigma = _averages(cloud, clusters)
    fitted = (spectra - components.mean) @ components.whitened.project[:, : number - 1]
    order = linear_sum_assignment(np.linalg.norm(found.corners[:, None] - fitted[None], axis=2))[1]
    clusters = [clusters[place] for place in order]
    return replace(found, fitted=fitted[order], spectra=spectra[order], sigma=sigma[order], clusters=clusters, names=[])


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


def _fractions(cloud: _Cloud, end_members: FloatArray, area: FloatArray | None, beside: FloatArray) -> Unmixed:
    """Fit end members to every pixel whose normalised spectrum is known."""
    found = no_fractions(len(cloud.found.kept), len(end_members))
    for part, spectra, noise in cloud.normalised():
        finite = np.isfinite(spectra).all(axis=1) & np.isfinite(noise).all(axis=1)
        known = np.flatnonzero(finite & (cloud.found.scale[part] > 0))
        fit = fit_normalised(spectra[known], end_members, noise[known], area, beside)
        put(fit, part.start + known, found)
    return found


def _beside(nmf: Factorisation, clusters: list[NDArray[np.intp]]) -> Factorisation:
    """Give each component beside the end member in whose cluster it weighs most."""
    order = linear_sum_assignment(-np.array([nmf.weights[cluster].mean(axis=0) for cluster in clusters]))[1]
    return replace(nmf, weights=nmf.weights[:, order], components=nmf.components[order])


def _no_phases(energies: FloatArray, pixels: int, status: str) -> Phases:
    nothing, unknown = np.zeros((0, len(energies))), np.full(pixels, np.nan)
    end_members = EndMembers(nothing, nothing.copy(), [], unknown[:0], [], [])
    nmf = Factorisation.none(pixels, energies, status)
    spread = np.zeros((0, 0, 0, 0))
    return Phases(end_members, spread, no_fractions(pixels, 0), unknown, unknown.copy(), nmf, nothing.copy(), status)


def average_spectrum(
    energies: FloatArray,
    density: FloatArray,
    variance: FloatArray,
    *,
    background: Window,
    area: Window,
    at: float | None = None,
    threshold: float | None = None,
    common: FloatArray | float = 0.0,
) -> AverageSpectrum:
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
        eV.
    threshold : float, optional
        Pixels whose optical density `at` this energy is not so much above their background are left out. That goes by
        the noise of one image: where the edge is low, it prefers pixels that this has raised.
    common : numpy.ndarray, shape (energies,), or float
        Of the variance, what all pixels of an image share: that of I0, relative. It does not average out.

    Returns
    -------
    AverageSpectrum
    """
    return average_of_blocks(
        energies, [density.T], [variance.T], background=background, area=area, at=at, threshold=threshold, common=common
    )


def average_of_blocks(
    energies: FloatArray,
    blocks: Sequence[FloatArray],
    variances: Sequence[FloatArray],
    *,
    background: Window,
    area: Window,
    at: float | None,
    threshold: float | None,
    common: FloatArray | float = 0.0,
) -> AverageSpectrum:
    """Average and normalise as `average_spectrum` does, of pixels that come in blocks of shape (pixels, energies)."""
    below = inside(energies, background)
    total, noise, square, number = (*np.zeros((3, len(energies))), 0)
    for block, variance in zip(blocks, variances, strict=True):
        known = np.isfinite(block).all(axis=1)
        if at is not None and threshold is not None and below.any():
            with np.errstate(invalid="ignore"):
                known &= block[:, np.abs(energies - at).argmin()] - block[:, below].mean(axis=1) > threshold
        total += block[known].sum(axis=0, dtype=np.float64)
        noise += variance[known].sum(axis=0, dtype=np.float64)
        square += (block[known] ** 2).sum(axis=0, dtype=np.float64)
        number += int(known.sum())
    nothing = np.full(len(energies), np.nan)
    chosen = np.flatnonzero(inside(energies, area))
    if not number or not below.any() or len(chosen) < 2:
        return AverageSpectrum(nothing, nothing, nothing, nothing, number)
    mean, square, noise = total / number, (square - noise) / number, (noise / number - common) / number + common
    subtract = np.eye(len(energies)) - below / below.sum()
    weight = np.zeros(len(energies))
    steps = np.diff(energies[chosen])
    weight[chosen[:-1]] += steps / 2
    weight[chosen[1:]] += steps / 2
    area_of_mean = float(weight @ subtract @ mean)
    if not area_of_mean > 0:
        return AverageSpectrum(nothing, nothing, nothing, nothing, number)
    spectrum = subtract @ mean / area_of_mean
    jacobian = (subtract - np.outer(spectrum, weight @ subtract)) / area_of_mean
    sigma = np.sqrt(jacobian**2 @ noise)
    return AverageSpectrum(spectrum, sigma, noise / area_of_mean**2, square / area_of_mean, number)
