"""Principal components of a STXM stack, exact, that grow with every energy and with every block of pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from callbacks.stxm.components.blocks import Block, joined
from callbacks.stxm.components.moments import RunningMoments
from callbacks.stxm.components.normalisation import Window, Windows
from callbacks.stxm.components.solution import Components, no_components, principal_axes, whitened_components
from callbacks.stxm.components.storage import StoredSpectra

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

STREAM_VALUES = 2**22  # values of a dataset that are in memory at a time: 32 MB


class StreamingPCA:
    """Exact principal component analysis of spectra that arrive by energies, by pixels, or both.

    What is kept is the mean spectrum and the matrix of co-moments of the pixels that count; an energy adds a row, a
    block of pixels is merged, a changed filter takes pixels out or puts them back. The components are those of a
    singular value decomposition of the whole matrix of normalised, mean-centred spectra, to rounding.

    Parameters
    ----------
    energies : sequence of float, shape (E,), optional
        eV, of the spectra that `add_pixels` will be given.
    background : (float, float), optional
        eV, from and to: the mean of each pixel here is subtracted from it.
    area : (float, float), optional
        eV, from and to: each pixel is then divided by its area here (trapezoids between the energies inside). Pixels
        without a positive area are left out.
    noise_cut : float, optional
        See `set_filter`.
    dtype : numpy.float64 or numpy.float32
        In which spectra are stored, less the mean image of their energy; all sums are in float64 and are exact sums of
        what is stored. With float32 a value has a relative error of 6e-8 of its distance from that mean.

    Notes
    -----
    A pixel that is NaN at one energy is left out from then on. Memory: the stack itself, once, and a few images.

    The co-moments merge by Chan, Golub and LeVeque, Am. Stat. 37 (1983) 242. Normalisation as in the reference
    text on principal components of STXM: background 520 to 526 eV, area 525 to 535 eV at the O K edge. An
    energy inside a window changes the normalisation of all pixels: the co-moments are then computed anew, in one
    pass, when next needed. Other energies are added at the cost of one product of the stack with an image.

    Examples
    --------
    >>> pca = StreamingPCA(background=(520, 526))
    >>> for energy, image in stack:
    ...     pca.add_energy(energy, image)
    ...     shown = pca.result(3).components
    """

    def __init__(
        self,
        energies: Sequence[float] | FloatArray | None = None,
        *,
        background: Window | None = None,
        area: Window | None = None,
        noise_cut: float | None = None,
        dtype: DTypeLike = np.float64,
    ) -> None:
        self._dtype = np.dtype(dtype)
        if self._dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"spectra are stored as {self._dtype}, expected float32 or float64")
        self._energies: FloatArray = np.zeros(0) if energies is None else _checked_energies(energies)
        self._blocks: list[Block] = []
        self._windows = Windows(background, area)
        self._noise_cut: float | None = None
        self._moments = RunningMoments()
        self._outdated = True  # normalisation and moments
        self._axes: tuple[FloatArray, FloatArray] | None = None  # of the moments as they are
        self.set_filter(noise_cut=noise_cut)

    @property
    def energies(self) -> FloatArray:
        """Energies in eV, in the order in which they were added, shape (E,)."""
        return self._energies.copy()

    @property
    def n_pixels(self) -> int:
        """Pixels so far, those left out included."""
        return sum(block.size for block in self._blocks)

    @property
    def kept(self) -> BoolArray:
        """Whether each pixel counts, shape (n_pixels,)."""
        self._update()
        return joined(self._blocks, lambda block: block.kept, bool)

    @property
    def noise(self) -> FloatArray:
        """Standard deviation of each normalised pixel in the background window, shape (n_pixels,); NaN: not known."""
        self._update()
        return joined(self._blocks, lambda block: block.noise)

    @property
    def area(self) -> FloatArray:
        """What each pixel was divided by, eV times the unit of the spectra, shape (n_pixels,); ones if nothing."""
        self._update()
        return joined(self._blocks, lambda block: block.area)

    def set_normalisation(self, *, background: Window | None = None, area: Window | None = None) -> None:
        """Set both windows, or take away the one not given.

        Raises
        ------
        ValueError
            For a window that is none, when spectra were not kept, or when a noise cut would lose its window.
        """
        windows = Windows(background, area)
        if background is None and self._noise_cut is not None:
            raise ValueError("a noise cut is set, it needs a background window: expected background=(from, to)")
        self._refuse_unkept("be normalised otherwise")
        self._windows = windows
        self._invalidate()

    def set_filter(self, mask: ArrayLike | None = None, noise_cut: float | None = None) -> None:
        """Set which pixels count, or, with nothing given, let all count that were measured.

        Parameters
        ----------
        mask : array_like of bool, any shape with n_pixels entries, optional
            True for pixels that may count. Pixels added later all may.
        noise_cut : float, optional
            Pixels with a larger standard deviation (ddof = 1) of the normalised spectrum in the background window are
            left out; none while there are fewer than two energies inside. See `significance.noise_cut`.

        Raises
        ------
        ValueError
            For a mask of another size, a cut without background window, or when spectra were not kept.
        """
        if noise_cut is not None and self._windows.background is None:
            raise ValueError("a noise cut needs a background window: expected set_normalisation(background=...) before")
        if noise_cut is not None and not noise_cut > 0:
            raise ValueError(f"noise cut {noise_cut}, expected a positive standard deviation")
        flat = np.ones(self.n_pixels, bool) if mask is None else np.asarray(mask, bool).ravel()
        if flat.size != self.n_pixels:
            raise ValueError(f"the mask has {flat.size} entries, expected one for each of {self.n_pixels} pixels")
        self._refuse_unkept("be filtered otherwise")
        self._noise_cut = noise_cut
        for block, part in self._by_block(flat):
            block.mask = part.copy()
        if not self._outdated:
            self._let_count([block.countable(noise_cut) for block in self._blocks])

    def add_energy(self, energy: float, image: ArrayLike) -> None:
        """Add an energy: the value of every pixel so far.

        Parameters
        ----------
        energy : float
            eV, in any order.
        image : array_like, any shape with n_pixels entries
            Such as absorbance; NaN where not measured.

        Raises
        ------
        ValueError
            When the image has another size or no measured pixel, or spectra of earlier pixels were not kept.
        """
        values = self._checked_image(energy, image)
        finite = np.isfinite(values)
        complete, first = bool(finite.all()), not self._blocks
        if first:
            self._blocks.append(Block(StoredSpectra(values.size, self._dtype)))
        self._axes = None
        self._outdated |= self._windows.hold(energy)
        if not complete and not self._outdated:  # what is lost at this energy is lost at all
            self._let_count([block.kept & part for block, part in self._by_block(finite)])
        usable = finite & joined(self._blocks, lambda block: block.measured & block.mask, bool)
        reference = float(values.mean() if usable.all() else values[usable if usable.any() else finite].mean())
        values = values - reference
        if not complete:
            values[~finite] = 0.0
        for (block, part), (_, seen) in zip(self._by_block(values), self._by_block(finite), strict=True):
            block.stored.append(part, reference)
            if not complete:
                block.measured = block.measured & seen
        self._energies = np.append(self._energies, energy)
        if first and not self._windows.normalise:
            self._update()
        elif not self._outdated:
            self._moments.add_energy(self._blocks)

    def add_pixels(
        self, spectra: ArrayLike, *, energies: Sequence[float] | FloatArray | None = None, keep: bool = True
    ) -> None:
        """Add pixels with their values at all energies so far.

        Parameters
        ----------
        spectra : array_like, shape (n, E)
            NaN where not measured: the pixel is left out.
        energies : sequence of float, shape (E,), optional
            eV; needed once, here or at the start, unless energies came as images.
        keep : bool
            False: only mean and co-moments grow, for stacks larger than the memory. Filter and normalisation are then
            final, energies complete, and scores are had from `project`.

        Raises
        ------
        ValueError
            When the energies are missing or others, the shape is another, or pixels that shall not be kept cannot be
            normalised.
        """
        if energies is not None:
            given = _checked_energies(energies)
            if len(self._energies) and not np.array_equal(given, self._energies):
                raise ValueError(f"spectra at {len(given)} energies other than the {len(self._energies)} so far")
            if not len(self._energies):
                self._energies = given
                self._invalidate()
        if not keep:
            self._update()
            if problem := self._windows.why_not(self._energies):
                raise ValueError(f"pixels cannot be added without being kept: {problem}")
        block = self._block(spectra)
        self._axes = None
        if not self._outdated:
            self._normalise(block)
            self._moments.add(block)
        self._blocks.append(block if keep else block.without_spectra())

    def result(self, n_components: int = 3, *, noise_variance: ArrayLike | None = None) -> Components:
        """Give the components.

        Parameters
        ----------
        n_components : int
            As many as there are energies are given where these are fewer.
        noise_variance : array_like, shape (E,), optional
            Variance of the noise at each energy, mean over the kept pixels, independent between energies. With an area
            window: variance of a pixel over its `area` squared. The noise that background and area themselves bring
            into the normalised spectrum is propagated here.

        Returns
        -------
        Components

        Notes
        -----
        `significant` counts the eigenvalues of the covariance, whitened by that of the noise, above the largest that
        noise alone gives: the Marchenko-Pastur edge (1 + sqrt(E/n))², raised to the 99th percentile of the Tracy-Widom
        distribution about it (Johnstone, Ann. Stat. 29 (2001) 295). `noise_variance` says how the noise differs from
        energy to energy, without it that is the same at all before normalisation; how large it is and how many pixels
        are independent is estimated, see `callbacks.stxm.components.significance.significance`, which holds while more
        than half of the eigenvalues are noise. Pixels are assumed to have equal noise before division by the area; n is
        reduced for its unequal weight.

        Raises
        ------
        ValueError
            When less than one component is asked for, or the variances are not positive numbers.
        """
        if n_components < 1:
            raise ValueError(f"{n_components} components, expected 1 or more")
        count = len(self._energies)
        variance = None if noise_variance is None else np.asarray(noise_variance, dtype=np.float64)
        if variance is not None and (variance.shape != (count,) or not (np.isfinite(variance) & (variance > 0)).all()):
            raise ValueError(f"noise variance of shape {variance.shape}, expected {count} positive numbers")
        self._update()
        moments, status = self._moments.value, self._windows.why_not(self._energies)
        if not status and moments.count < 2:
            status = f"{moments.count} of {self.n_pixels} pixels are left, expected 2 or more"
        blocks = tuple(block.snapshot() for block in self._blocks)
        k = min(n_components, count)
        if status:
            return no_components(self.energies, k, moments.count, status, blocks)
        values, axes = self._principal_axes()
        return Components(
            energies=self.energies,
            mean=moments.mean.copy(),
            components=axes[:k].copy(),
            eigenvalues=values.copy(),
            whitened=whitened_components(k, moments, self._energies, self._windows, variance),
            n_kept=moments.count,
            status="ok",
            blocks=blocks,
        )

    def project(self, spectra: ArrayLike, n_components: int = 3) -> FloatArray:
        """Give the scores of any spectra on the components as they are now.

        Parameters
        ----------
        spectra : array_like, shape (n, E)
        n_components : int

        Returns
        -------
        numpy.ndarray, shape (n, k)
            NaN for pixels that are not measured, have no area, or exceed the noise cut.

        Raises
        ------
        ValueError
            When there are no components, with the reason, or the shape is another.
        """
        self._update()
        if self._windows.why_not(self._energies) or self._moments.value.count < 2:
            raise ValueError(f"no components to project on: {self.result(1).status}")
        if n_components < 1:
            raise ValueError(f"{n_components} components, expected 1 or more")
        block = self._block(spectra)
        self._normalise(block)
        return block.scores(self._principal_axes()[1][:n_components], self._moments.value.mean)

    def _checked_image(self, energy: float, image: ArrayLike) -> FloatArray:
        """Give an image as one axis of float64; refuse one that cannot be added."""
        values = np.asarray(image, dtype=np.float64).ravel()
        if not np.isfinite(energy):
            raise ValueError(f"energy {energy}, expected a number of eV")
        if not self._blocks and len(self._energies):
            raise ValueError(f"image at {energy:g} eV without pixels at the first {len(self._energies)} energies")
        if self._blocks and values.size != self.n_pixels:
            raise ValueError(f"image at {energy:g} eV has {values.size} pixels, expected {self.n_pixels}")
        self._refuse_unkept("get another energy")
        if not np.isfinite(values).any():
            raise ValueError(f"image at {energy:g} eV has no measured pixel")
        return values

    def _block(self, spectra: ArrayLike) -> Block:
        values = np.asarray(spectra)
        count = len(self._energies)
        if values.ndim != 2 or values.shape[1] != count or not count:
            raise ValueError(f"spectra of shape {values.shape}, expected (pixels, energies) at {count} energies")
        return Block.from_spectra(values, self._dtype)

    def _by_block(self, flat: NDArray[Any]) -> Iterator[tuple[Block, NDArray[Any]]]:
        """Give each block and its share of values of all pixels."""
        start = 0
        for block in self._blocks:
            yield block, flat[start : start + block.size]
            start += block.size

    def _refuse_unkept(self, what: str) -> None:
        if any(not block.has_spectra for block in self._blocks):
            raise ValueError(f"pixels whose spectra were not kept cannot {what}: expected add_pixels(..., keep=True)")

    def _invalidate(self) -> None:
        self._outdated, self._axes = True, None

    def _update(self) -> None:
        """Compute normalisation and co-moments anew where they no longer hold."""
        if not self._outdated:
            return
        self._axes = None
        if self._windows.why_not(self._energies):
            self._moments.clear(len(self._energies))
            for block in self._blocks:
                block.kept, block.normalisation = np.zeros(block.size, bool), None
            return
        for block in self._blocks:
            self._normalise(block)
        self._moments.recompute(self._blocks, len(self._energies))
        self._outdated = False

    def _normalise(self, block: Block) -> None:
        block.normalise(self._energies, self._windows)
        block.kept = block.countable(self._noise_cut)

    def _let_count(self, kept: list[BoolArray]) -> None:
        if self._moments.replace_kept(self._blocks, kept):
            self._axes = None

    def _principal_axes(self) -> tuple[FloatArray, FloatArray]:
        if self._axes is None:
            self._axes = principal_axes(self._moments.value)
        return self._axes


def stream_hdf5(pca: StreamingPCA, dataset: Any, *, block: int | None = None, keep: bool = False) -> None:
    """Feed a stack in a HDF5 file to a PCA by blocks of its rows, without reading it whole.

    Parameters
    ----------
    pca : StreamingPCA
        Knows its energies.
    dataset : h5py.Dataset, shape (E, rows, columns)
    block : int, optional
        Rows of the images at a time; by default as many as make about four million values.
    keep : bool
        Whether spectra are kept in memory, see `StreamingPCA.add_pixels`.

    Raises
    ------
    ValueError
        When the dataset has other dimensions, or the energies are not known or others.
    """
    if len(dataset.shape) != 3 or dataset.shape[0] != len(pca.energies):
        raise ValueError(f"dataset of shape {dataset.shape}, expected ({len(pca.energies)} energies, rows, columns)")
    energies, rows, columns = dataset.shape
    step = max(1, STREAM_VALUES // (energies * columns)) if block is None else block
    if step < 1:
        raise ValueError(f"blocks of {step} rows, expected 1 or more")
    for start in range(0, rows, step):
        part = np.asarray(dataset[:, start : start + step])
        pca.add_pixels(part.reshape(energies, -1).T, keep=keep)


def _checked_energies(energies: Sequence[float] | FloatArray) -> FloatArray:
    checked = np.array(energies, dtype=np.float64)
    if checked.ndim != 1 or not checked.size or not np.isfinite(checked).all():
        raise ValueError(f"energies {energies!r}, expected a list of numbers in eV")
    return checked
