"""Principal components of a STXM stack, exact, that grow with every energy and with every block of pixels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from callbacks.stxm.components.significance import count_significant

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]
Window = tuple[float, float]
_Part = tuple["_Block", slice | NDArray[np.intp], BoolArray | None]  # which pixels of a block, and of these which count

CHUNK = 16384  # pixels worked on at a time in float64: the products of a chunk stay in the cache
SEGMENT = 16  # energies allocated at a time
FEW = 0.1  # share of the pixels up to which a change of the filter is cheaper to update than to compute anew
LOST = 1e-2  # share of the variance below which what is left after taking pixels out is computed anew, for its digits
STREAM_VALUES = 2**22  # values of a dataset that are in memory at a time
RANK = 1e-10  # of the noise covariance: what the normalisation fixes has no noise, up to rounding


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
    significant : int
        Components that stand above the noise; 0 where `status` is not "ok".
    n_kept : int
    status : str
        "ok", or why there are no components: then all numbers are NaN.
    """

    energies: FloatArray
    mean: FloatArray
    components: FloatArray
    eigenvalues: FloatArray
    significant: int
    n_kept: int
    status: str
    blocks: tuple[_Block, ...] = field(repr=False)

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
        return _joined(self.blocks, lambda block: block.kept, bool)

    @cached_property
    def noise(self) -> FloatArray:
        """Standard deviation of each pixel in the background window, normalised, shape (n_pixels,); NaN: not known."""
        return _joined(self.blocks, lambda block: block.noise)


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
        self._energies: FloatArray = np.zeros(0)
        self._blocks: list[_Block] = []
        self._moments = _Moments.none(0)
        self._peak: FloatArray = np.zeros(0)  # largest variances since the co-moments were computed anew
        self._stale = True
        self._eigen: tuple[FloatArray, FloatArray] | None = None
        self._background: Window | None = None
        self._area: Window | None = None
        self._noise_cut: float | None = None
        self.set_normalisation(background=background, area=area)
        self.set_filter(noise_cut=noise_cut)
        if energies is not None:
            self._energies = _checked_energies(energies)

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
        self._refresh()
        return _joined(self._blocks, lambda block: block.kept, bool)

    @property
    def noise(self) -> FloatArray:
        """Standard deviation of each normalised pixel in the background window, shape (n_pixels,); NaN: not known."""
        self._refresh()
        return _joined(self._blocks, lambda block: block.noise)

    @property
    def area(self) -> FloatArray:
        """What each pixel was divided by, eV times the unit of the spectra, shape (n_pixels,); ones if nothing."""
        self._refresh()
        return _joined(self._blocks, lambda block: block.area)

    def set_normalisation(self, *, background: Window | None = None, area: Window | None = None) -> None:
        """Set both windows, or take away the one not given.

        Raises
        ------
        ValueError
            For a window that is none, when spectra were not kept, or when a noise cut would lose its window.
        """
        for name, window in (("background", background), ("area", area)):
            if window is not None and not (np.isfinite(window).all() and window[0] < window[1]):
                raise ValueError(f"{name} window {window}, expected two energies in eV, ascending")
        if background is None and self._noise_cut is not None:
            raise ValueError("a noise cut is set, it needs a background window: expected background=(from, to)")
        self._refuse_unkept("be normalised otherwise")
        self._background, self._area = background, area
        self._spoil()

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
        if noise_cut is not None and self._background is None:
            raise ValueError("a noise cut needs a background window: expected set_normalisation(background=...) before")
        if noise_cut is not None and not noise_cut > 0:
            raise ValueError(f"noise cut {noise_cut}, expected a positive standard deviation")
        flat = np.ones(self.n_pixels, bool) if mask is None else np.asarray(mask, bool).ravel()
        if flat.size != self.n_pixels:
            raise ValueError(f"the mask has {flat.size} entries, expected one for each of {self.n_pixels} pixels")
        self._refuse_unkept("be filtered otherwise")
        self._noise_cut = noise_cut
        for block, part in self._parts(flat):
            block.mask = part.copy()
        if not self._stale:
            self._replace_kept([block.judged(noise_cut) for block in self._blocks])

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
        values = np.asarray(image, dtype=np.float64).ravel()
        first = not self._blocks
        if not np.isfinite(energy):
            raise ValueError(f"energy {energy}, expected a number of eV")
        if first and len(self._energies):
            raise ValueError(f"image at {energy:g} eV without pixels at the first {len(self._energies)} energies")
        if not first and values.size != self.n_pixels:
            raise ValueError(f"image at {energy:g} eV has {values.size} pixels, expected {self.n_pixels}")
        self._refuse_unkept("get another energy")
        finite = np.isfinite(values)
        if not finite.any():
            raise ValueError(f"image at {energy:g} eV has no measured pixel")
        whole = bool(finite.all())
        if first:
            self._blocks.append(_Block(values.size, self._dtype))
        self._eigen = None
        if any(window[0] <= energy <= window[1] for window in (self._background, self._area) if window):
            self._stale = True
        if not whole and not self._stale:  # what is lost at this energy is lost at all
            self._replace_kept([block.kept & part for block, part in self._parts(finite)])
        usable = finite & _joined(self._blocks, lambda block: block.measured & block.mask, bool)
        reference = float(values.mean() if usable.all() else values[usable if usable.any() else finite].mean())
        values = values - reference
        if not whole:
            values[~finite] = 0.0
        for (block, part), (_, seen) in zip(self._parts(values), self._parts(finite), strict=True):
            block.append(part, reference)
            if not whole:
                block.measured = block.measured & seen
        self._energies = np.append(self._energies, energy)
        if first and not (self._background or self._area):
            self._refresh()
        elif not self._stale:
            self._append_row()

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
                self._spoil()
        if not keep:
            self._refresh()
            if problem := self._problem():
                raise ValueError(f"pixels cannot be added without being kept: {problem}")
        block = self._block(spectra)
        self._eigen = None
        if not self._stale:
            self._normalise(block)
            self._moments.merge(_moments_of(_counted([block]), len(self._energies)))
            self._note_peak()
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
        distribution about it (Johnstone, Ann. Stat. 29 (2001) 295). Without `noise_variance` the noise is assumed to
        be the same at all energies before normalisation, and its variance is the median of the eigenvalues that are
        not significant over that of the Marchenko-Pastur distribution, which holds while more than half of them are
        noise. Pixels are assumed to have equal noise before division by the area; n is reduced for its unequal weight.

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
        self._refresh()
        kept, status = self._moments.count, self._problem()
        if not status and kept < 2:
            status = f"{kept} of {self.n_pixels} pixels are left, expected 2 or more"
        blocks = tuple(block.frozen() for block in self._blocks)
        k = min(n_components, count)
        if status:
            nothing = np.full((k, count), np.nan)
            return Components(
                self.energies, np.full(count, np.nan), nothing, np.full(count, np.nan), 0, kept, status, blocks
            )
        values, vectors = self._decomposed()
        return Components(
            self.energies,
            self._moments.mean.copy(),
            vectors[:k].copy(),
            values.copy(),
            self._significant(variance),
            kept,
            "ok",
            blocks,
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
        self._refresh()
        if self._problem() or self._moments.count < 2:
            raise ValueError(f"no components to project on: {self.result(1).status}")
        if n_components < 1:
            raise ValueError(f"{n_components} components, expected 1 or more")
        block = self._block(spectra)
        self._normalise(block)
        return block.scores(self._decomposed()[1][:n_components], self._moments.mean)

    def _block(self, spectra: ArrayLike) -> _Block:
        values = np.asarray(spectra)
        count = len(self._energies)
        if values.ndim != 2 or values.shape[1] != count or not count:
            raise ValueError(f"spectra of shape {values.shape}, expected (pixels, energies) at {count} energies")
        return _Block.of_spectra(values, self._dtype)

    def _parts(self, flat: NDArray[Any]) -> Iterator[tuple[_Block, NDArray[Any]]]:
        """Give each block and its share of values of all pixels."""
        start = 0
        for block in self._blocks:
            yield block, flat[start : start + block.size]
            start += block.size

    def _refuse_unkept(self, what: str) -> None:
        if any(not block.stored for block in self._blocks):
            raise ValueError(f"pixels whose spectra were not kept cannot {what}: expected add_pixels(..., keep=True)")

    def _spoil(self) -> None:
        self._stale, self._eigen = True, None

    def _weights(self) -> tuple[FloatArray, FloatArray]:
        """Give the weights, shape (E,), whose sums over a spectrum are its background and, less that, its area."""
        mean, area = np.zeros(len(self._energies)), np.zeros(len(self._energies))
        if self._background:
            inside = _inside(self._energies, self._background)
            mean[inside] = 1.0 / inside.sum()
        if self._area:
            order = np.argsort(self._energies, kind="stable")
            order = order[_inside(self._energies[order], self._area)]
            steps = np.diff(self._energies[order])
            area[order[:-1]] += steps / 2
            area[order[1:]] += steps / 2
        return mean, area

    def _problem(self) -> str:
        """Say why the pixels cannot be normalised, or nothing."""
        if not len(self._energies):
            return "no energies yet"
        for name, window, fewest in (("background", self._background, 1), ("area", self._area, 2)):
            if window and (found := int(_inside(self._energies, window).sum())) < fewest:
                return f"the {name} window {window[0]:g} to {window[1]:g} eV holds {found} energies, expected {fewest}"
        return ""

    def _normalise(self, block: _Block) -> None:
        if self._background or self._area:
            window = _inside(self._energies, self._background) if self._background else None
            block.normalise(*self._weights(), window, divide=self._area is not None)
        else:
            block.leave_as_is()
        block.kept = block.judged(self._noise_cut)

    def _refresh(self) -> None:
        """Compute normalisation and co-moments anew where they no longer hold."""
        if not self._stale:
            return
        self._eigen = None
        if self._problem():
            self._moments = _Moments.none(len(self._energies))
            for block in self._blocks:
                block.kept = np.zeros(block.size, bool)
                block.leave_as_is()
            return
        for block in self._blocks:
            self._normalise(block)
        self._recompute()
        self._stale = False

    def _recompute(self) -> None:
        self._moments = _moments_of(_counted(self._blocks), len(self._energies))
        self._peak = self._moments.product.diagonal().copy()

    def _note_peak(self) -> None:
        self._peak = np.maximum(self._peak, self._moments.product.diagonal())

    def _replace_kept(self, wanted: list[BoolArray]) -> None:
        """Let other pixels count."""
        pairs = [(block, block.kept, new) for block, new in zip(self._blocks, wanted, strict=True)]
        changed = [np.flatnonzero(old ^ new) for _, old, new in pairs]
        number = sum(map(len, changed))
        if not number:
            return
        self._eigen = None
        energies = len(self._energies)
        if number <= FEW * self._moments.count:
            for (block, old, _), indices in zip(pairs, changed, strict=True):
                for some in (indices[chunk] for chunk in _slices(len(indices))):
                    for chosen, sign in ((some[~old[some]], 1), (some[old[some]], -1)):
                        if len(chosen):
                            self._moments.merge(_moments_of([(block, chosen, None)], energies), sign)
                            self._note_peak()
        for block, _, new in pairs:
            block.kept = new
        if number > FEW * self._moments.count or (self._moments.product.diagonal() < LOST * self._peak).any():
            self._recompute()

    def _append_row(self) -> None:
        """Add the newest energy of all blocks to mean and co-moments."""
        old = self._moments
        images = [block.newest() for block in self._blocks]
        reference = self._blocks[0].offset[-1] if self._blocks[0].scale is None else 0.0
        shift = 0.0
        if old.count:
            shift = sum(float(image.sum()) for image in images) / old.count
        row, own = np.zeros(len(old.mean)), 0.0
        for block, image in zip(self._blocks, images, strict=True):
            centred = (image - shift) * block.kept
            row += block.product(centred)
            own += float(centred @ centred)
        count = len(old.mean) + 1
        product = np.empty((count, count))
        product[:-1, :-1] = old.product
        product[-1, :-1] = product[:-1, -1] = row
        product[-1, -1] = own
        self._moments = _Moments(old.count, np.append(old.mean, reference + shift), product, old.weights)
        self._peak = np.append(self._peak, own)

    def _decomposed(self) -> tuple[FloatArray, FloatArray]:
        """Give eigenvalues, descending, and eigenvectors as rows."""
        if self._eigen is None:
            values, vectors = np.linalg.eigh(self._moments.product / (self._moments.count - 1))
            values, rows = values[::-1], vectors.T[::-1]
            largest = rows[np.arange(len(rows)), np.argmax(np.abs(rows), axis=1)]
            self._eigen = values, rows * np.sign(largest)[:, None]
        return self._eigen

    def _significant(self, variance: FloatArray | None) -> int:
        moments = self._moments
        freedom = moments.weights[0] ** 2 / moments.weights[1] - 1  # pixels of unequal weight count as fewer
        if not freedom > 1:
            return 0
        values = self._decomposed()[0]
        if self._background or self._area or variance is not None:
            background, area = self._weights()
            own = np.ones(len(self._energies)) if variance is None else variance
            jacobian = np.eye(len(own)) - background
            if self._area:
                jacobian -= np.outer(moments.mean, area @ jacobian)
            noise, axes = np.linalg.eigh(jacobian * own @ jacobian.T)
            noisy = noise > RANK * own.max()
            whiten = axes[:, noisy] / np.sqrt(noise[noisy])
            values = np.linalg.eigvalsh(whiten.T @ moments.product @ whiten / (moments.count - 1))[::-1]
        return count_significant(values, freedom, known_noise=variance is not None)


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


@dataclass
class _Moments:
    """Count, mean and sums of products of deviations from the mean, and the sums of scale² and scale⁴, of pixels."""

    count: int
    mean: FloatArray
    product: FloatArray
    weights: FloatArray

    @classmethod
    def none(cls, energies: int) -> _Moments:
        return cls(0, np.zeros(energies), np.zeros((energies, energies)), np.zeros(2))

    def merge(self, other: _Moments, sign: int = 1) -> None:
        """Add other pixels, or with sign -1 take out some of these."""
        count = self.count + sign * other.count
        if not count:
            self.__dict__.update(vars(_Moments.none(len(self.mean))))
            return
        apart = other.mean - self.mean
        self.product = self.product + sign * (
            other.product + np.outer(apart, apart) * (self.count * other.count / count)
        )
        self.mean = self.mean + sign * apart * (other.count / count)
        self.weights = self.weights + sign * other.weights
        self.count = count


class _Block:
    """Spectra of pixels that came together, energy by energy, each less a reference that all its pixels share.

    The normalised spectrum is scale * (stored + offset - level - shift), where level is the background of the offset
    and shift that of what is stored; with scale None it is stored + offset. Arrays are replaced, never written to, so
    that a result may go on using them.
    """

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        self.size, self.dtype, self.stored = size, dtype, True
        self.segments: list[FloatArray] = []
        self.offset: FloatArray = np.zeros(0)
        self.measured = np.ones(size, bool)
        self.mask = np.ones(size, bool)
        self.kept = np.zeros(size, bool)
        self.shift: FloatArray | None = None
        self.scale: FloatArray | None = None
        self.level = 0.0
        self.divided: FloatArray | None = None
        self.deviation: FloatArray | None = None

    @classmethod
    def of_spectra(cls, spectra: NDArray[Any], dtype: np.dtype[Any]) -> _Block:
        block = cls(len(spectra), dtype)
        seen = np.isfinite(spectra).all(axis=1)
        sample = np.flatnonzero(seen)[:CHUNK]
        offset = spectra[sample].mean(axis=0, dtype=np.float64) if len(sample) else np.zeros(spectra.shape[1])
        stored = np.empty((spectra.shape[1], len(spectra)), dtype)
        for chunk in _slices(len(spectra)):
            stored[:, chunk] = np.where(seen[chunk], spectra[chunk].T - offset[:, None], 0.0)
        block.measured = seen
        block.segments, block.offset = [stored], offset
        return block

    @property
    def noise(self) -> FloatArray:
        if self.deviation is None:
            return np.full(self.size, np.nan)
        return np.where(self.measured, self.deviation, np.nan)

    @property
    def area(self) -> FloatArray:
        return np.ones(self.size) if self.divided is None else np.where(self.measured, self.divided, np.nan)

    def frozen(self) -> _Block:
        other = copy.copy(self)
        other.segments = list(self.segments)
        return other

    def without_spectra(self) -> _Block:
        other = copy.copy(self)
        other.segments, other.stored, other.shift, other.scale = [], False, None, None
        return other

    def append(self, image: FloatArray, offset: float) -> None:
        row = len(self.offset) - sum(len(segment) for segment in self.segments[:-1])
        if not self.segments or row == len(self.segments[-1]):
            self.segments.append(np.empty((SEGMENT, self.size), self.dtype))
            row = 0
        self.segments[-1][row] = image
        self.offset = np.append(self.offset, offset)

    def _rows(self) -> Iterator[tuple[slice, FloatArray]]:
        """Give the stored rows, segment by segment, with the energies they belong to."""
        start = 0
        for segment in self.segments:
            stop = min(start + len(segment), len(self.offset))
            yield slice(start, stop), segment[: stop - start]
            start = stop

    def combine(self, left: FloatArray) -> FloatArray:
        """Give left @ stored, shape (k, n), of left of shape (k, E)."""
        total = np.zeros((len(left), self.size))
        for energies, rows in self._rows():
            for chunk in _slices(self.size):
                total[:, chunk] += left[:, energies] @ rows[:, chunk].astype(np.float64, copy=False)
        return total

    def values(self, chosen: slice | NDArray[np.intp]) -> FloatArray:
        """Give normalised spectra, shape (E, m)."""
        out = np.concatenate([rows[:, chosen] for _, rows in self._rows()], dtype=np.float64)
        if self.scale is None or self.shift is None:
            out += self.offset[:, None]
        else:
            out -= self.shift[chosen]
            out += (self.offset - self.level)[:, None]
            out *= self.scale[chosen]
        return out

    def newest(self) -> FloatArray:
        """Give the newest image, normalised; less its offset where there is no normalisation; zero where left out."""
        *_, (_, rows) = self._rows()
        image = rows[-1].astype(np.float64)
        if self.scale is not None and self.shift is not None:
            image -= self.shift
            image += self.offset[-1] - self.level
            image *= self.scale
        image *= self.kept
        return image

    def product(self, image: FloatArray) -> FloatArray:
        """Give the sums over pixels of the normalised spectra, all energies but the newest, times an image."""
        if self.scale is None or self.shift is None:
            total = self.offset * image.sum()
        else:
            image = image * self.scale
            total = (self.offset - self.level) * image.sum() - self.shift @ image
        for energies, rows in self._rows():
            if rows.dtype == np.float64:
                total[energies] += rows @ image
                continue
            for chunk in _slices(self.size):
                total[energies] += rows[:, chunk].astype(np.float64) @ image[chunk]
        return total[:-1]

    def scores(self, components: FloatArray, mean: FloatArray) -> FloatArray:
        """Give scores, shape (n, k), NaN for pixels left out."""
        if not self.stored:
            return np.full((self.size, len(components)), np.nan)
        out = self.combine(components)
        if self.scale is None or self.shift is None:
            out += (components @ (self.offset - mean))[:, None]
        else:
            out -= np.outer(components.sum(axis=1), self.shift)
            out += (components @ (self.offset - self.level))[:, None]
            out *= self.scale
            out -= (components @ mean)[:, None]
        if not self.kept.all():
            out[:, ~self.kept] = np.nan
        return out.T

    def normalise(self, background: FloatArray, area: FloatArray, window: BoolArray | None, *, divide: bool) -> None:
        """Find shift, scale and noise of each pixel; `window` marks the energies of the background."""
        shift, own = self.combine(np.stack([background, area]))
        self.level = float(background @ self.offset)
        level = self.offset - self.level
        self.shift, self.scale, self.divided = shift, np.ones(self.size), None
        if divide:
            own += level @ area - area.sum() * shift
            usable = own > np.finfo(np.float64).tiny
            self.divided = own
            self.scale = np.divide(1.0, own, out=np.zeros(self.size), where=usable)
        self.deviation = None
        if window is not None and (count := int(window.sum())) > 1:
            squares = np.zeros(self.size)
            for energies, rows in self._rows():
                for energy in np.flatnonzero(window[energies]):
                    squares += (rows[energy] + level[energies][energy] - shift) ** 2
            self.deviation = np.where(self.scale > 0, np.sqrt(squares / (count - 1)) * self.scale, np.nan)

    def leave_as_is(self) -> None:
        """Take away the normalisation."""
        self.shift = self.scale = self.divided = self.deviation = None

    def judged(self, cut: float | None) -> BoolArray:
        """Say which pixels count."""
        kept = self.measured & self.mask
        if self.scale is not None:
            kept &= self.scale > 0
        if cut is not None and self.deviation is not None:
            kept &= ~(self.deviation > cut)
        return kept


def _moments_of(parts: Iterable[_Part], energies: int) -> _Moments:
    """Compute the moments of pixels in one pass, about the mean of the first part."""
    count, centre, total = 0, None, np.zeros(energies)
    product, weights = np.zeros((energies, energies)), np.zeros(2)
    for block, chosen, keep in parts:
        values = block.values(chosen)
        number = values.shape[1] if keep is None else int(keep.sum())
        if centre is None:
            centre = (values if keep is None else values[:, keep]).mean(axis=1)
        values -= centre[:, None]
        if keep is not None:
            values *= keep
        count += number
        total += values.sum(axis=1)
        product += values @ values.T
        if block.scale is None:
            weights += number
        else:
            square = block.scale[chosen] ** 2 * (1.0 if keep is None else keep)
            weights += (square.sum(), square @ square)
    if centre is None:
        return _Moments.none(energies)
    return _Moments(count, centre + total / count, product - np.outer(total, total) / count, weights)


def _counted(blocks: Iterable[_Block]) -> Iterator[_Part]:
    """Give the pixels that count, in chunks."""
    for block in blocks:
        for chunk in _slices(block.size):
            keep = block.kept[chunk]
            if keep.any():
                yield block, chunk, None if keep.all() else keep


def _slices(size: int) -> Iterator[slice]:
    for start in range(0, size, CHUNK):
        yield slice(start, min(start + CHUNK, size))


def _inside(energies: FloatArray, window: Window) -> BoolArray:
    return (energies >= window[0]) & (energies <= window[1])


def _joined(blocks: Sequence[_Block], part: Callable[[_Block], NDArray[Any]], dtype: DTypeLike = float) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *(part(block) for block in blocks)])


def _checked_energies(energies: Sequence[float] | FloatArray) -> FloatArray:
    checked = np.array(energies, dtype=np.float64)
    if checked.ndim != 1 or not checked.size or not np.isfinite(checked).all():
        raise ValueError(f"energies {energies!r}, expected a list of numbers in eV")
    return checked
