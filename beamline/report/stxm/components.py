"""The figures of an analysis into components: noise, principal components, scores, clusters, end members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from beamline.report.figures import ACCEPTED, MARKED, REJECTED, Drawn, FloatArray, IntArray
from beamline.report.numbers import drawn_as
from beamline.report.stxm.curves import SERIES, spectra
from beamline.report.stxm.images import DIVERGING, Field, images
from beamline.report.stxm.maps import SHOWN_PIXELS
from callbacks.contract import AnalysisResult

SHOWN_COMPONENTS = 3  # of score maps
SHOWN_EIGENVALUES = 20


def component_figures(result: AnalysisResult, regions: Sequence[Field] = ()) -> Iterable[Drawn]:
    """Draw noise, components and clusters; maps of the scores only where the pixels form these regions."""
    if np.isfinite(result.pixel_noise).any() and np.isfinite(result.noise_cut):
        yield (
            "Noise of the pixels",
            "Standard deviation of each normalised pixel below the edge.",
            noise_histogram(result.pixel_noise.ravel(), float(result.noise_cut)),
        )
    yield (
        "Principal components",
        _how_many(result),
        components(result),
    )
    if regions:
        yield _score_maps(result, regions)
    if result.clusters.size:
        yield _clusters(result)


def _how_many(result: AnalysisResult) -> str:
    """Say how many components there are, and what the two numbers mean."""
    return (
        f"From {int(result.pixels_used)} pixels, mean-centred; left, in units of the noise."
        f" {int(result.pca_significant)} above the noise: more than noise alone gives, the dashed line. Its size, and"
        " how many pixels are independent, are taken from the eigenvalues that do not stand out. What alignment leaves"
        f" and what saturates may be among them. {int(result.pca_scree)} before the gap, the largest step of the scree:"
        " end members whose fractions add up to one are one more than these."
    )


def _score_maps(result: AnalysisResult, regions: Sequence[Field]) -> Drawn:
    scores = result.pca_scores[:SHOWN_COMPONENTS]
    spread = float(np.nanpercentile(np.abs(scores), 98))
    return (
        "Score maps",
        "Scores of the first components.",
        images(
            [(f"component {number}", image) for number, image in enumerate(scores, start=1)],
            regions,
            label="score",
            limits=(-spread, spread),
            colours_of=DIVERGING,
        ),
    )


def _clusters(result: AnalysisResult) -> Drawn:
    scores, weights = result.pca_scores, result.nmf_weights
    return (
        "PCA and NMF space",
        "Each dot is a pixel; circles are the pixels nearest to the end members, with the share of that end member in"
        " them: how pure they are, as far as the corners of the cloud tell.",
        spaces(
            scores.reshape(len(scores), -1).T,
            weights.reshape(len(weights), -1).T if weights.size else None,
            result.clusters.ravel(),
            [f"{name}, {purity:.0%}" for name, purity in zip(result.cluster_names, result.cluster_purity, strict=True)],
        ),
    )


def end_member_figure(result: AnalysisResult) -> Drawn:
    """Draw the end members found in the data, or the reference spectra that were fitted instead."""
    names, members, sigma = result.end_member_names, result.end_members, result.end_members_sigma
    from_data = bool(np.any(sigma > 0))
    nmf = result.nmf_components if from_data else ()
    return (
        "End members" if from_data else "References",
        "End members, with 68 % bands; dashed: components of the NMF."
        f" {result.end_member_note or 'All were measured as references.'}"
        if from_data
        else "The references that are fitted, each scaled to an edge jump of 1.",
        spectra(
            result.end_member_energy,
            [(str(name), one, band) for name, one, band in zip(names, members, sigma, strict=True)],
            dashed=[(f"NMF {number}", one) for number, one in enumerate(nmf, start=1)],
            label="normalised optical density",
            title="end members" if from_data else "references",
        ),
    )


def noise_histogram(noise: FloatArray, cut: float) -> Figure:
    """Draw the histogram of the pixels' noise, with the cut beyond which pixels are excluded.

    Parameters
    ----------
    noise : numpy.ndarray, shape (pixels,)
        Standard deviation of the background, normalised, 1/eV.
    cut : float
        1/eV.
    """
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    values = noise[np.isfinite(noise)]
    if values.size:
        top = float(np.percentile(values, 99.5))
        axes.hist(np.clip(values, None, top), bins=120, color=REJECTED)
        share = float(np.mean(values > cut)) if np.isfinite(cut) else 0.0
        axes.axvline(cut, color=MARKED, lw=1.5, label=f"cut at {cut:.3g} per eV: {share:.1%} of the pixels excluded")
        axes.legend(fontsize=8)
    axes.set(
        xlabel="standard deviation of the background, normalised (1/eV)", ylabel="pixels", title="noise of the pixels"
    )
    return figure


def components(result: AnalysisResult) -> Figure:
    """Draw the variance along each component over that of the noise, its cumulative share, and the components."""
    energy, loadings = result.pca_energy, result.pca_components
    figure = Figure(figsize=(10.4, 4.2), layout="constrained")
    scree, curves = figure.subplots(1, 2, width_ratios=(1, 1.6))
    ratio = result.pca_eigenvalues / result.pca_eigenvalues.sum()
    _scree(scree, ratio, result)
    step = 1.25 * float(np.abs(loadings).max())
    for number, loading in enumerate(loadings):
        curves.axhline(-number * step, color="#bbbbbb", lw=0.5)
        (curve,) = curves.plot(energy, loading - number * step, lw=1.1, color=SERIES[number % len(SERIES)])
        drawn_as(curve, f"component {number + 1}", -number * step)
        curves.annotate(
            f"{number + 1}: {ratio[number]:.1%}", (energy[-1], -number * step), fontsize=9, ha="right", va="bottom"
        )
    curves.set(xlabel="energy (eV)", ylabel="component (with an offset)", title="components", yticks=[])
    curves.grid(alpha=0.3, axis="x")
    return figure


def _scree(axes: Axes, ratio: FloatArray, result: AnalysisResult) -> None:
    """Draw the first eigenvalues in units of the noise, with the largest of noise alone, and the cumulative share."""
    over_noise = result.pca_noise_eigenvalues[:SHOWN_EIGENVALUES]
    significant, gap = int(result.pca_significant), int(result.pca_scree)
    first = np.arange(1, len(over_noise) + 1)
    axes.semilogy(first, over_noise, "o-", ms=4, lw=0.8, color=ACCEPTED, label="variance over that of the noise")
    axes.axhline(result.pca_noise_edge, color=MARKED, lw=1.0, ls="--", label="the most of noise alone")
    if gap:
        axes.axvline(gap + 0.5, color=MARKED, lw=1.0, ls=":", label="the gap")
    axes.set(
        xlabel="component",
        ylabel="variance over that of the noise",
        title=f"{significant} above the noise, {gap} before the gap",
    )
    handles = list(axes.get_lines())
    cumulative = axes.twinx()
    share = np.cumsum(ratio)[: len(first)]
    cumulative.plot(first[: len(share)], share, "s-", ms=3, lw=0.8, color=SERIES[2], label="cumulative share")
    cumulative.set_ylabel("cumulative share of the variance")
    cumulative.set_ylim(0, 1.02)
    axes.legend(handles=[*handles, *cumulative.get_lines()], fontsize=7, loc="center right")


def spaces(scores: FloatArray, weights: FloatArray | None, clusters: IntArray, names: Sequence[str]) -> Figure:
    """Draw the pixels in PCA space and in NMF space, with the clusters whose means are the end members.

    Parameters
    ----------
    scores : numpy.ndarray, shape (pixels, k)
        Scores of the principal components.
    weights : numpy.ndarray, shape (pixels, number), or None
        Weights of the NMF components.
    clusters : numpy.ndarray of int, shape (pixels,)
        Number of the cluster, from 1; 0 for none.
    names : sequence of str
        Names of the clusters.
    """
    panels = [("PCA space", scores, pair, "score") for pair in _axis_pairs(scores)]
    if weights is not None:
        panels += [("NMF space", weights, pair, "weight") for pair in _axis_pairs(weights)]
    figure = Figure(figsize=(3.3 * len(panels), 3.5), layout="constrained")
    grid = np.atleast_1d(figure.subplots(1, len(panels)))
    for axes, (title, points, pair, label) in zip(grid, panels, strict=True):
        _space(axes, points, pair, clusters, names)
        axes.set(xlabel=f"{label} {pair[0] + 1}", ylabel=f"{label} {pair[1] + 1}", title=title)
    grid[0].legend(fontsize=7, loc="best")
    return figure


def _axis_pairs(points: FloatArray) -> list[tuple[int, int]]:
    return [(0, 1), (0, 2)] if points.shape[1] > 2 else [(0, 1)]


def _space(axes: Axes, points: FloatArray, pair: tuple[int, int], clusters: IntArray, names: Sequence[str]) -> None:
    """Draw two coordinates of the pixels, with limits that hold the clusters and nearly all other pixels."""
    across, up = pair
    known = np.flatnonzero(np.isfinite(points).all(axis=1))
    shown = known[:: max(1, len(known) // SHOWN_PIXELS)]
    axes.plot(points[shown, across], points[shown, up], ".", ms=1.2, color="#9aa7b1", alpha=0.5, rasterized=True)
    for number, name in enumerate(names, start=1):
        inside = clusters == number
        axes.plot(
            points[inside, across],
            points[inside, up],
            "o",
            ms=3.0,
            mfc="none",
            mew=0.8,
            color=SERIES[number - 1],
            label=f"{number} {name}",
        )
    lows, highs = np.percentile(points[known], (0.05, 99.95), axis=0)
    chosen = points[clusters > 0]
    if len(chosen):
        lows, highs = np.minimum(lows, chosen.min(axis=0)), np.maximum(highs, chosen.max(axis=0))
    margin = 0.06 * (highs - lows)
    axes.set_xlim(lows[across] - margin[across], highs[across] + margin[across])
    axes.set_ylim(lows[up] - margin[up], highs[up] + margin[up])
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
