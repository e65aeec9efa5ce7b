"""The solution of a principal component analysis: components, scores, and how many stand above the noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from callbacks.stxm.components.blocks import Block, joined
from callbacks.stxm.components.moments import Moments
from callbacks.stxm.components.normalisation import Windows
from callbacks.stxm.components.significance import Significance, significance

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

NO_NOISE = 1e-10  # of the largest variance: what the normalisation fixes has no noise, up to rounding


@dataclass(frozen=True, eq=False)
class Whitened:
    """Components of spectra in units of their noise: the mean noise of a pixel has the variance 1 in every direction.

    Attributes
    ----------
    eigenvalues : numpy.ndarray, shape (p,)
        Descending: variance over that of the noise; p is E less what the normalisation fixes.
    project : numpy.ndarray, shape (E, k)
        What a spectrum less the mean is multiplied by.
    spectra : numpy.ndarray, shape (k, E)
        What coordinates are multiplied by, to give the spectrum less the mean.
    significance : Significance
        How many components there are.
    """

    eigenvalues: FloatArray
    project: FloatArray
    spectra: FloatArray
    significance: Significance


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of a stack; of n_pixels pixels, n_kept of them kept, at E energies, k components.

    All numbers but `eigenvalues` and `mean`, of which there are always E, are of the k strongest components; `scores`,
    `kept` and `noise` are made when first asked for, of the data as they were when the result was.

    Attributes
    ----------
    energies : numpy.ndarray, shape (E,)
        eV, in the order in which they were added, as everything else of shape E.
    mean : numpy.ndarray, shape (E,)
        Mean spectrum of the kept pixels, normalised.
    components : numpy.ndarray, shape (k, E)
        Orthonormal; the entry of largest magnitude of each is positive.
    explained_variance : numpy.ndarray, shape (k,)
        Variance of the scores, ddof = 1.
    eigenvalues : numpy.ndarray, shape (E,)
        Of the covariance, all of them, descending.
    whitened : Whitened
        The same where the noise is the same in every direction.
    n_kept : int
    status : str
        "ok", or why there are no components: then all numbers are NaN.
    """

    energies: FloatArray
    mean: FloatArray
    components: FloatArray
    eigenvalues: FloatArray
    whitened: Whitened
    n_kept: int
    status: str
    blocks: tuple[Block, ...] = field(repr=False)

    @property
    def significant(self) -> int:
        """Components that stand above the noise; 0 where `status` is not "ok"."""
        return self.whitened.significance.above_noise

    @property
    def explained_variance(self) -> FloatArray:
        """Variance along each component, shape (k,)."""
        return self.eigenvalues[: len(self.components)]

    @property
    def explained_variance_ratio(self) -> FloatArray:
        """Share of each component in the total variance, shape (k,); NaN where nothing varies."""
        total = self.eigenvalues.sum()
        return self.explained_variance / (total if total else np.nan)

    @property
    def cumulative(self) -> FloatArray:
        """Share of the first 1, 2, ... k components in the total variance, shape (k,)."""
        return np.cumsum(self.explained_variance_ratio)

    @cached_property
    def scores(self) -> FloatArray:
        """Scores, shape (n_pixels, k); NaN for pixels left out and for those whose spectra were not kept."""
        if self.status != "ok":
            return np.full((sum(block.size for block in self.blocks), len(self.components)), np.nan)
        parts = [block.scores(self.components, self.mean) for block in self.blocks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @cached_property
    def kept(self) -> BoolArray:
        """Whether each pixel counts, shape (n_pixels,)."""
        return joined(self.blocks, lambda block: block.kept, bool)

    @cached_property
    def noise(self) -> FloatArray:
        """Standard deviation of each pixel in the background window, normalised, shape (n_pixels,); NaN: not known."""
        return joined(self.blocks, lambda block: block.noise)


def no_components(
    energies: FloatArray, n_components: int, n_kept: int, status: str, blocks: tuple[Block, ...]
) -> Components:
    """Give NaN throughout, and why."""
    nothing = np.full((n_components, len(energies)), np.nan)
    unknown = np.full(len(energies), np.nan)
    return Components(energies, unknown, nothing, unknown.copy(), _not_whitened(len(energies)), n_kept, status, blocks)


def _not_whitened(energies: int) -> Whitened:
    return Whitened(np.zeros(0), np.zeros((energies, 0)), np.zeros((0, energies)), significance(np.zeros(0), 0.0))


def principal_axes(moments: Moments) -> tuple[FloatArray, FloatArray]:
    """Give the eigenvalues of the covariance, descending, and its eigenvectors as rows, each with a definite sign."""
    values, vectors = np.linalg.eigh(moments.product / (moments.count - 1))
    values, rows = values[::-1], vectors.T[::-1]
    largest = rows[np.arange(len(rows)), np.argmax(np.abs(rows), axis=1)]
    return values, rows * np.sign(largest)[:, None]


def whitened_components(
    n_components: int,
    moments: Moments,
    energies: FloatArray,
    windows: Windows,
    noise_variance: FloatArray | None = None,
) -> Whitened:
    """Find the components in units of the noise, and how many stand above it, see `StreamingPCA.result`.

    Parameters
    ----------
    n_components : int
    moments : Moments
    energies : numpy.ndarray, shape (E,)
        eV.
    windows : Windows
        That the spectra are normalised by.
    noise_variance : numpy.ndarray, shape (E,), optional
        Before normalisation, over the area squared; without it the noise is taken to be the same at all energies.
    """
    freedom = moments.weights[0] ** 2 / moments.weights[1] - 1  # pixels of unequal weight count as fewer
    if not freedom > 1:
        return _not_whitened(len(energies))
    own = np.ones(len(energies)) if noise_variance is None else noise_variance
    jacobian = windows.jacobian(energies, moments.mean)
    covariance = jacobian * own @ jacobian.T
    noise, axes = np.linalg.eigh(covariance)
    noisy = noise > NO_NOISE * own.max()
    whiten = axes[:, noisy] / np.sqrt(noise[noisy])
    values, vectors = np.linalg.eigh(whiten.T @ moments.product @ whiten / (moments.count - 1))
    project = whiten @ vectors[:, ::-1][:, :n_components]
    return Whitened(values[::-1], project, (covariance @ project).T, significance(values[::-1], freedom))
