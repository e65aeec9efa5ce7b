"""Components of pixels that come in blocks and are gone through more than once, none of them kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callbacks.stxm.components.blocks import Block
from callbacks.stxm.components.normalisation import Window, Windows
from callbacks.stxm.components.pca import StreamingPCA
from callbacks.stxm.components.significance import noise_cut
from callbacks.stxm.components.solution import Components

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class PixelComponents:
    """Components of pixels, and what they make of each pixel.

    Attributes
    ----------
    components : Components
        They do not hold the spectra.
    kept : numpy.ndarray of bool, shape (pixels,)
        Pixels that the components are made of.
    scores : numpy.ndarray, shape (pixels, k)
        NaN for pixels that are left out.
    noise : numpy.ndarray, shape (pixels,)
        Spread of each normalised pixel below the edge; NaN where not known.
    scale : numpy.ndarray, shape (pixels,)
        What each pixel, less its background, was divided by, eV; NaN where not measured, ones where nothing divides.
    noise_cut : float
        Pixels with more noise were left out; NaN where none was.
    """

    components: Components
    kept: BoolArray
    scores: FloatArray
    noise: FloatArray
    scale: FloatArray
    noise_cut: float


def components_in_blocks(
    energies: FloatArray,
    blocks: Sequence[FloatArray],
    variances: Sequence[FloatArray],
    *,
    background: Window | None,
    area: Window | None,
    noise_share: float | None,
    number: int,
    with_scores: bool = True,
) -> PixelComponents:
    """Find the components of all pixels but the noisy ones.

    Parameters
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV.
    blocks, variances : sequence of numpy.ndarray, shape (pixels, energies)
        Spectra and their variance; NaN for pixels that are left out. Gone through three times.
    background, area : (float, float) or None
        eV: see `StreamingPCA`; pixels are left out as noisy where there is a background.
    noise_share : float or None
        See `significance.noise_cut`.
    number : int
        Components.
    with_scores : bool
        False: all scores are NaN.

    Returns
    -------
    PixelComponents
    """
    windows = Windows(background, area)
    if windows.why_not(energies):
        size = sum(len(block) for block in blocks)
        nothing = StreamingPCA(energies, background=background, area=area).result(number)
        unknown = np.full(size, np.nan)
        scores = np.full((size, len(nothing.components)), np.nan)
        return PixelComponents(nothing, np.zeros(size, dtype=bool), scores, unknown, unknown.copy(), np.nan)
    cut = _noise_cut(energies, blocks, windows, noise_share)
    pca = StreamingPCA(energies, background=background, area=area, noise_cut=None if np.isnan(cut) else cut)
    for block in blocks:
        pca.add_pixels(block, keep=False)
    kept, scale, noise = pca.kept, pca.area, pca.noise
    scores, mean_noise = _scores(pca, blocks, variances, number if with_scores else 0)
    return PixelComponents(pca.result(number, noise_variance=mean_noise), kept, scores, noise, scale, cut)


def _noise_cut(energies: FloatArray, blocks: Sequence[FloatArray], windows: Windows, share: float | None) -> float:
    """Find the noise beyond which pixels are left out; NaN where none are."""
    if windows.background is None:
        return np.nan
    found: list[FloatArray] = [np.zeros(0)]
    for spectra in blocks:
        block = Block.from_spectra(spectra, np.dtype(np.float64))
        block.normalise(energies, windows)
        found.append(block.noise[np.isfinite(block.noise)])
    noise = np.concatenate(found)
    return noise_cut(noise, share) if noise.size > 1 and noise.max() > 0 else np.nan


def _scores(
    pca: StreamingPCA, blocks: Sequence[FloatArray], variances: Sequence[FloatArray], number: int
) -> tuple[FloatArray, FloatArray | None]:
    """Give the scores of all pixels, and the mean variance of the kept ones over their area squared."""
    kept, scale = pca.kept, pca.area
    scores = np.full((len(kept), min(number, len(pca.energies))), np.nan)
    total, start = np.zeros(len(pca.energies)), 0
    for block, variance in zip(blocks, variances, strict=True):
        part = slice(start, start + len(block))
        start = part.stop
        some = kept[part]
        total += (variance[some] / scale[part][some, None] ** 2).sum(axis=0)
        if number and kept.sum() > 1:
            scores[part] = pca.project(block, number)
    return scores, total / kept.sum() if kept.any() else None
