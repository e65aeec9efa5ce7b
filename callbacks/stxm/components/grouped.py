"""Live components of a stack: of neighbouring energies averaged in groups, so that their number does not grow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

from callbacks.stxm.components.in_blocks import PixelComponents, components_in_blocks
from callbacks.stxm.components.normalisation import Window

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

MOST_GROUPS = 48  # of energies, but for those that a window parts
MOST_VALUES = 2**21  # sums kept, 16 MB: of larger images there are fewer groups, but never fewer than FEWEST_GROUPS
FEWEST_GROUPS = 12
BLOCK_PIXELS = 2**13  # worked on at a time


class GroupedSpectra:
    """Sums of the images of a stack over groups of neighbouring energies.

    A group lies in a window of the normalisation or outside of it. A pixel's spectrum is the mean of each group; up to
    `MOST_GROUPS` energies each is a group of its own.

    Parameters
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV, those planned, in the order of their numbers.
    pixels : int
    background, area : (float, float) or None
        eV: the windows of the normalisation.
    """

    def __init__(self, energies: FloatArray, pixels: int, *, background: Window | None, area: Window | None) -> None:
        self._background, self._area = background, area
        most = max(FEWEST_GROUPS, min(MOST_GROUPS, MOST_VALUES // max(1, pixels)))
        self._group = groups_of(energies, most, [window for window in (background, area) if window])
        groups = int(self._group.max()) + 1
        self._total, self._variance = np.zeros((groups, pixels)), np.zeros((groups, pixels))
        self._energy, self._images = np.zeros(groups), np.zeros(groups, dtype=int)

    def add(self, index: int, energy: float, image: FloatArray, variance: FloatArray, sign: int = 1) -> None:
        """Add an image or, with sign -1, take it out.

        Parameters
        ----------
        index : int
            Number of its energy.
        energy : float
            eV.
        image, variance : numpy.ndarray, any shape with so many pixels
            NaN counts as 0: pixels that are not known in every image are for the caller to leave out.
        sign : int
        """
        group = self._group[index]
        self._total[group] += sign * np.nan_to_num(image.ravel())
        self._variance[group] += sign * np.nan_to_num(variance.ravel())
        self._energy[group] += sign * energy
        self._images[group] += sign

    def components(self, chosen: BoolArray, number: int, *, noise_share: float | None) -> PixelComponents:
        """Give the components of some pixels.

        Parameters
        ----------
        chosen : numpy.ndarray of bool, shape (pixels,)
        number : int
            Components.
        noise_share : float or None
            See `significance.noise_cut`.
        """
        there = np.flatnonzero(self._images)
        images, pixels = self._images[there], np.flatnonzero(chosen)
        return components_in_blocks(
            self._energy[there] / images,
            _Means(self._total, there, pixels, images),
            _Means(self._variance, there, pixels, images**2),
            background=self._background,
            area=self._area,
            noise_share=noise_share,
            number=number,
            with_scores=False,
        )


class _Means(Sequence[FloatArray]):
    """Sums of some groups over a divisor, shape (pixels, groups), a block of pixels at a time."""

    def __init__(
        self, sums: FloatArray, groups: NDArray[np.intp], pixels: NDArray[np.intp], divisor: NDArray[np.integer]
    ) -> None:
        self._sums, self._groups, self._pixels, self._divisor = sums, groups, pixels, divisor

    def __len__(self) -> int:
        return math.ceil(len(self._pixels) / BLOCK_PIXELS)

    @overload
    def __getitem__(self, number: int) -> FloatArray: ...
    @overload
    def __getitem__(self, number: slice) -> list[FloatArray]: ...
    def __getitem__(self, number: int | slice) -> FloatArray | list[FloatArray]:
        if isinstance(number, slice):
            return [self[each] for each in range(len(self))[number]]
        pixels = self._pixels[range(len(self))[number] * BLOCK_PIXELS :][:BLOCK_PIXELS]
        return np.asarray((self._sums[np.ix_(self._groups, pixels)] / self._divisor[:, None]).T)


def groups_of(energies: FloatArray, most: int, windows: Sequence[Window]) -> NDArray[np.intp]:
    """Give the group of each energy.

    Parameters
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV, in any order.
    most : int
        Groups; one more for each end of a window that would part one.
    windows : sequence of (float, float)
        eV.

    Returns
    -------
    numpy.ndarray of int, shape (energies,)
        Numbers from 0, by ascending energy: as many neighbours in each group, but none on both sides of an end.
    """
    order = np.argsort(energies, kind="stable")
    share = min(1.0, most / len(energies))
    group = np.zeros(len(energies), dtype=int)
    number = 0
    for run in _runs(energies[order], windows):
        for part in np.array_split(order[run], math.ceil(share * len(order[run]))):
            group[part] = number
            number += 1
    return group


def _runs(energies: FloatArray, windows: Sequence[Window]) -> Iterator[slice]:
    """Give the slices of ascending energies that lie in the same windows."""
    inside = np.array([(energies >= low) & (energies <= high) for low, high in windows]).reshape(-1, len(energies))
    ends = np.flatnonzero((inside[:, 1:] != inside[:, :-1]).any(axis=0)) + 1
    return (slice(begin, end) for begin, end in pairwise([0, *ends.tolist(), len(energies)]))
