"""Mean and co-moments of pixel spectra, summed up exactly: merged, taken apart, and grown by an energy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callbacks.stxm.components.blocks import Block
from callbacks.stxm.components.storage import chunks

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]
ChosenPixels = tuple[Block, slice | NDArray[np.intp], BoolArray | None]  # of a block, which, and which of these count

UPDATED_SHARE = 0.1  # share of the pixels up to which a change of the filter costs less than computing anew
CANCELLED = 1e-2  # share of its peak below which a variance is computed anew: two digits of float64 may cancel


@dataclass(frozen=True)
class Moments:
    """Moments of the spectra of pixels.

    Attributes
    ----------
    count : int
        Pixels.
    mean : numpy.ndarray, shape (E,)
    product : numpy.ndarray, shape (E, E)
        Sums of products of deviations from the mean.
    weights : numpy.ndarray, shape (2,)
        Sums of scale² and scale⁴ of the pixels.
    """

    count: int
    mean: FloatArray
    product: FloatArray
    weights: FloatArray

    @classmethod
    def empty(cls, energies: int) -> Moments:
        """Give the moments of no pixels."""
        return cls(0, np.zeros(energies), np.zeros((energies, energies)), np.zeros(2))

    def merged(self, other: Moments, sign: int = 1) -> Moments:
        """Give the moments with other pixels added or, with sign -1, with some of these taken out.

        T. Chan, G. Golub and R. LeVeque, Am. Stat. 37 (1983) 242.
        """
        count = self.count + sign * other.count
        if not count:
            return Moments.empty(len(self.mean))
        apart = other.mean - self.mean
        between = np.outer(apart, apart) * (self.count * other.count / count)
        return Moments(
            count,
            self.mean + sign * apart * (other.count / count),
            self.product + sign * (other.product + between),
            self.weights + sign * other.weights,
        )

    def with_energy(self, mean: float, products: FloatArray, square: float) -> Moments:
        """Give the moments with an energy added: its mean, its co-moments with the others, and with itself."""
        count = len(self.mean) + 1
        product = np.empty((count, count))
        product[:-1, :-1] = self.product
        product[-1, :-1] = product[:-1, -1] = products
        product[-1, -1] = square
        return Moments(self.count, np.append(self.mean, mean), product, self.weights)


class RunningMoments:
    """Moments of the pixels that count, brought up to date at the least cost that loses no digits."""

    def __init__(self) -> None:
        self.value = Moments.empty(0)
        self._peak: FloatArray = np.zeros(0)  # largest variances since the moments were computed anew

    def clear(self, energies: int) -> None:
        """Forget all pixels."""
        self.value = Moments.empty(energies)

    def recompute(self, blocks: Iterable[Block], energies: int) -> None:
        """Compute the moments anew, in one pass."""
        self.value = moments_of(countable_chunks(blocks), energies)
        self._peak = self.value.product.diagonal().copy()

    def add(self, block: Block) -> None:
        """Add the pixels of another block that count."""
        self._merge(moments_of(countable_chunks([block]), len(self.value.mean)))

    def add_energy(self, blocks: list[Block]) -> None:
        """Add the newest energy of all blocks."""
        images = [block.newest() for block in blocks]
        reference = blocks[0].stored.offset[-1] if blocks[0].normalisation is None else 0.0
        shift = sum(float(image.sum()) for image in images) / self.value.count if self.value.count else 0.0
        products, square = np.zeros(len(self.value.mean)), 0.0
        for block, image in zip(blocks, images, strict=True):
            centred = (image - shift) * block.kept
            products += block.products(centred)
            square += float(centred @ centred)
        self.value = self.value.with_energy(reference + shift, products, square)
        self._peak = np.append(self._peak, square)

    def replace_kept(self, blocks: list[Block], kept: list[BoolArray]) -> bool:
        """Let other pixels count, and tell whether any changed.

        A few are taken out or put back; where they are many, or digits cancel, all is computed anew.
        """
        changed = [np.flatnonzero(block.kept ^ new) for block, new in zip(blocks, kept, strict=True)]
        number = sum(map(len, changed))
        if not number:
            return False
        energies, few = len(self.value.mean), number <= UPDATED_SHARE * self.value.count
        if few:
            for block, indices in zip(blocks, changed, strict=True):
                self._exchange(block, indices)
        for block, new in zip(blocks, kept, strict=True):
            block.kept = new
        if not few or (self.value.product.diagonal() < CANCELLED * self._peak).any():
            self.recompute(blocks, energies)
        return True

    def _exchange(self, block: Block, indices: NDArray[np.intp]) -> None:
        """Put in those of some pixels that do not count, and take out those that do."""
        for some in (indices[chunk] for chunk in chunks(len(indices))):
            for chosen, sign in ((some[~block.kept[some]], 1), (some[block.kept[some]], -1)):
                if len(chosen):
                    self._merge(moments_of([(block, chosen, None)], len(self.value.mean)), sign)

    def _merge(self, other: Moments, sign: int = 1) -> None:
        self.value = self.value.merged(other, sign)
        self._peak = np.maximum(self._peak, self.value.product.diagonal())


def moments_of(parts: Iterable[ChosenPixels], energies: int) -> Moments:
    """Compute the moments of pixels in one pass, about the mean of the first part."""
    count, centre, total = 0, None, np.zeros(energies)
    product, weights = np.zeros((energies, energies)), np.zeros(2)
    for block, chosen, keep in parts:
        values = block.spectra(chosen)
        number = values.shape[1] if keep is None else int(keep.sum())
        if centre is None:
            centre = (values if keep is None else values[:, keep]).mean(axis=1)
        values -= centre[:, None]
        if keep is not None:
            values *= keep
        count += number
        total += values.sum(axis=1)
        product += values @ values.T
        if block.normalisation is None:
            weights += number
        else:
            square = block.normalisation.scale[chosen] ** 2 * (1.0 if keep is None else keep)
            weights += (square.sum(), square @ square)
    if centre is None:
        return Moments.empty(energies)
    return Moments(count, centre + total / count, product - np.outer(total, total) / count, weights)


def countable_chunks(blocks: Iterable[Block]) -> Iterator[ChosenPixels]:
    """Give the pixels that count, in chunks."""
    for block in blocks:
        for chunk in chunks(block.size):
            keep = block.kept[chunk]
            if keep.any():
                yield block, chunk, None if keep.all() else keep
