"""Blocks: pixels that came together, their spectra, their normalisation, and which of them count."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from callbacks.stxm.components.normalisation import PixelNormalisation, Windows, normalise_pixels
from callbacks.stxm.components.storage import StoredSpectra

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]


class Block:
    """Pixels that came together.

    Arrays are replaced, never written to, so that a result may go on using those of its `snapshot`.

    Attributes
    ----------
    has_spectra : bool
        False where only the moments of the pixels were kept.
    normalisation : PixelNormalisation or None
        None: spectra are taken as they are.
    measured : numpy.ndarray of bool, shape (n,)
        Pixels that were measured at every energy.
    mask : numpy.ndarray of bool, shape (n,)
        Pixels that the filter lets count.
    kept : numpy.ndarray of bool, shape (n,)
        Pixels that count: measured, let count, normalised, and not too noisy.
    """

    def __init__(self, stored: StoredSpectra) -> None:
        self.stored = stored
        self.has_spectra = True
        self.normalisation: PixelNormalisation | None = None
        self.measured = np.ones(stored.size, bool)
        self.mask = np.ones(stored.size, bool)
        self.kept = np.zeros(stored.size, bool)

    @classmethod
    def from_spectra(cls, spectra: NDArray[Any], dtype: np.dtype[Any]) -> Block:
        """Make a block of spectra, shape (n, E); a pixel with a NaN is not measured."""
        measured = np.isfinite(spectra).all(axis=1)
        block = cls(StoredSpectra.from_spectra(spectra, measured, dtype))
        block.measured = measured
        return block

    @property
    def size(self) -> int:
        """Pixels, those left out included."""
        return self.stored.size

    @property
    def noise(self) -> FloatArray:
        """Standard deviation of each normalised pixel in the background window, shape (n,); NaN: not known."""
        if self.normalisation is None:
            return np.full(self.size, np.nan)
        return np.where(self.measured, self.normalisation.deviation, np.nan)

    @property
    def area(self) -> FloatArray:
        """What each pixel was divided by, shape (n,); NaN where not measured, ones where nothing divides."""
        if self.normalisation is None or not self.normalisation.divided:
            return np.ones(self.size)
        return np.where(self.measured, self.normalisation.area, np.nan)

    def snapshot(self) -> Block:
        """Give this block as it is now."""
        other = copy.copy(self)
        other.stored = self.stored.snapshot()
        return other

    def without_spectra(self) -> Block:
        """Give this block without its spectra, for stacks larger than the memory."""
        other = copy.copy(self)
        other.stored, other.has_spectra = StoredSpectra(self.size, self.stored.dtype), False
        return other

    def normalise(self, energies: FloatArray, windows: Windows) -> None:
        """Normalise each pixel by windows that the energies fill, or take the normalisation away without any."""
        self.normalisation = normalise_pixels(self.stored, energies, windows) if windows.normalise else None

    def countable(self, noise_cut: float | None) -> BoolArray:
        """Tell which pixels may count, shape (n,)."""
        countable = self.measured & self.mask
        if self.normalisation is not None:
            countable &= self.normalisation.scale > 0
            if noise_cut is not None:
                countable &= ~(self.normalisation.deviation > noise_cut)
        return countable

    def spectra(self, chosen: slice | NDArray[np.intp]) -> FloatArray:
        """Give the normalised spectra of some pixels, shape (E, m)."""
        out = self.stored.columns(chosen)
        if self.normalisation is None:
            out += self.stored.offset[:, None]
        else:
            out -= self.normalisation.shift[chosen]
            out += (self.stored.offset - self.normalisation.level)[:, None]
            out *= self.normalisation.scale[chosen]
        return out

    def newest(self) -> FloatArray:
        """Give the newest image, normalised; less its offset where there is no normalisation; zero where left out."""
        image = self.stored.newest()
        if self.normalisation is not None:
            image -= self.normalisation.shift
            image += self.stored.offset[-1] - self.normalisation.level
            image *= self.normalisation.scale
        image *= self.kept
        return image

    def products(self, image: FloatArray) -> FloatArray:
        """Give the sums over pixels of the normalised spectra, all energies but the newest, times an image."""
        if self.normalisation is None:
            total = self.stored.offset * image.sum()
        else:
            image = image * self.normalisation.scale
            total = (self.stored.offset - self.normalisation.level) * image.sum() - self.normalisation.shift @ image
        self.stored.add_products(image, total)
        products: FloatArray = total[:-1]
        return products

    def scores(self, components: FloatArray, mean: FloatArray) -> FloatArray:
        """Give scores on components, shape (k, E), of spectra less a mean: shape (n, k), NaN for pixels left out."""
        if not self.has_spectra:
            return np.full((self.size, len(components)), np.nan)
        out = self.stored.combine(components)
        if self.normalisation is None:
            out += (components @ (self.stored.offset - mean))[:, None]
        else:
            out -= np.outer(components.sum(axis=1), self.normalisation.shift)
            out += (components @ (self.stored.offset - self.normalisation.level))[:, None]
            out *= self.normalisation.scale
            out -= (components @ mean)[:, None]
        if not self.kept.all():
            out[:, ~self.kept] = np.nan
        return out.T


def joined(blocks: Sequence[Block], part: Callable[[Block], NDArray[Any]], dtype: DTypeLike = float) -> NDArray[Any]:
    """Give what each block says of its pixels as one array over all pixels."""
    return np.concatenate([np.zeros(0, dtype), *(part(block) for block in blocks)])
