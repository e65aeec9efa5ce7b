"""What the steps of a stack hand on: an image of lines, the same image aligned, and the stack that these make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from callbacks.stxm.alignment.registration import Shift

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

IMAGE, ALIGNED_STACK = "image", "aligned_stack"  # where a step finds an `Image` and the `AlignedStack` in its event


@dataclass
class Image:
    """All lines at one energy, regions one below the other.

    Attributes
    ----------
    index : int
        Of the energy, from 0.
    energy : float
        eV, the mean that was read back.
    rate, variance : numpy.ndarray, shape (lines, columns)
        counts/s; NaN for lines that were not measured.
    off_place : numpy.ndarray, shape (2, lines, columns)
        Pixel: how far rows and columns were from where they should have been, by the encoders; their mean is ignored.
    measured : int
        Lines so far.
    """

    index: int
    energy: float
    rate: FloatArray
    variance: FloatArray
    off_place: FloatArray
    measured: int = 0

    @property
    def share(self) -> float:
        """Share of the lines that are there."""
        return float(np.isfinite(self.rate).any(axis=1).mean())


@dataclass(frozen=True)
class AlignedImage:
    """An image where registration puts it.

    Attributes
    ----------
    image : Image
        As measured.
    shifts : tuple of Shift
        Of each region.
    status : str
        "ok", or why the image is not used; then rate and variance are NaN.
    rate, variance : numpy.ndarray, shape (lines, columns)
        counts/s; NaN where not known.
    drifted : numpy.ndarray of bool, shape (lines, columns)
        Pixels that drift has taken out of the field.
    """

    image: Image
    shifts: tuple[Shift, ...]
    status: str
    rate: FloatArray
    variance: FloatArray
    drifted: BoolArray

    @property
    def energy(self) -> float:
        """Energy, eV."""
        return self.image.energy


class AlignedStack(Sequence[AlignedImage]):
    """The aligned images so far, in the order of measurement.

    Registration alone changes it; the steps behind read it, and are handed the same object with every image.

    Attributes
    ----------
    generation : int
        Counts how often images that were there already were put in another place.
    """

    def __init__(self) -> None:
        self._images: list[AlignedImage] = []
        self.generation = 0

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, place: int) -> AlignedImage: ...
    @overload
    def __getitem__(self, place: slice) -> list[AlignedImage]: ...
    def __getitem__(self, place: int | slice) -> AlignedImage | list[AlignedImage]:
        return self._images[place]

    def append(self, image: AlignedImage) -> None:
        """Add the newest image."""
        self._images.append(image)

    def replace(self, images: Iterable[AlignedImage]) -> None:
        """Put all images in another place."""
        self._images = list(images)
        self.generation += 1

    @property
    def energies(self) -> FloatArray:
        """Energies, eV, in the order of measurement."""
        return np.array([one.energy for one in self._images])

    @property
    def order(self) -> NDArray[np.intp]:
        """Places of all images, by ascending energy."""
        return np.argsort(self.energies, kind="stable")

    @property
    def usable(self) -> NDArray[np.intp]:
        """Places of the images that can be analysed, by ascending energy."""
        return np.array([place for place in self.order if self._images[place].status == "ok"], dtype=int)
