"""Sums over the images of a stack, pixel by pixel, to which images are added and from which they are taken out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from callbacks.stxm.alignment.appearance import UNABSORBED_PERCENTILE
from callbacks.stxm.density.optical_density import DensityImage
from callbacks.stxm.edges import Window, inside
from callbacks.stxm.stack import AlignedImage

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]
BoolArray = NDArray[np.bool_]


class RunningSum:
    """A sum over images; NaN for the pixels that are not known in all of them.

    Attributes
    ----------
    number : int
        Images.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.number = 0
        self._total = np.zeros(shape)
        self._known = np.zeros(shape, dtype=np.int32)

    def add(self, image: FloatArray, sign: int = 1) -> None:
        """Add an image or, with sign -1, take it out: the same values that were added."""
        known = np.isfinite(image)
        self._total += np.where(known, sign * image, 0.0)
        self._known += sign * known
        self.number += sign

    @property
    def total(self) -> FloatArray:
        """The sum."""
        return np.where(self._known == self.number, self._total, np.nan)

    @property
    def mean(self) -> FloatArray:
        """The mean; NaN where there is no image."""
        return self.total / self.number if self.number else np.full(self._total.shape, np.nan)


class Brightness:
    """Mean transmission of aligned images, each over its unabsorbed level: what sample-free pixels are found in."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._mean, self._noise = RunningSum(shape), RunningSum(shape)

    def add(self, image: AlignedImage, sign: int = 1) -> None:
        """Add an image that can be used or, with sign -1, take it out."""
        level = np.percentile(image.rate[np.isfinite(image.rate)], UNABSORBED_PERCENTILE)
        self._mean.add(image.rate / level, sign)
        self._noise.add(image.variance / level**2, sign)

    @property
    def number(self) -> int:
        """Images."""
        return self._mean.number

    @property
    def mean(self) -> FloatArray:
        """Mean of the images."""
        return self._mean.mean

    @property
    def sigma(self) -> FloatArray:
        """Its standard uncertainty."""
        return np.asarray(np.sqrt(self._noise.total) / self.number)


class DensitySums:
    """What masks and edge jump need to know of the optical density of all images.

    Attributes
    ----------
    number : int
        Images.
    known, opaque, saturated, dark, missing, drifted : numpy.ndarray of int, shape (lines, columns)
        Images in which a pixel has an optical density, one above each of the limits, lets nothing through, was not
        measured, and had drifted out of the field.
    below, below_variance : RunningSum
        Of the images below the edge.
    """

    def __init__(
        self, shape: tuple[int, ...], *, opaque_above: float, saturated_above: float, pre_edge: Window
    ) -> None:
        self.number = 0
        self.known, self.opaque, self.saturated, self.dark, self.missing, self.drifted = np.zeros(
            (6, *shape), dtype=np.int32
        )
        self.below, self.below_variance = RunningSum(shape), RunningSum(shape)
        self._opaque_above, self._saturated_above = opaque_above, saturated_above
        self._pre_edge = pre_edge

    def add(self, image: DensityImage, sign: int = 1) -> None:
        """Add an image or, with sign -1, take it out."""
        measured, known = np.isfinite(image.aligned.rate), np.isfinite(image.density)
        with np.errstate(invalid="ignore"):
            self.opaque += sign * (image.density > self._opaque_above)
            self.saturated += sign * (image.density > self._saturated_above)
        self.known += sign * known
        self.dark += sign * (measured & ~known)
        self.missing += sign * ~(measured | image.aligned.drifted)
        self.drifted += sign * image.aligned.drifted
        self.number += sign
        if inside(np.array([image.energy]), self._pre_edge)[0]:
            self.below.add(image.density, sign)
            self.below_variance.add(image.variance, sign)

    @property
    def known_throughout(self) -> BoolArray:
        """Pixels that have an optical density in every image."""
        return np.asarray(self.known == self.number)
