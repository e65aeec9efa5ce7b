"""Sums over the images of a stack or over its pixels, image by image, without making one array of them.

The order of the additions is that in which numpy sums the array (images, lines, columns), so that the digits are the
same whether a stack is reduced as it grows or at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def sum_of_images(images: Iterable[FloatArray]) -> FloatArray:
    """Add one image or more: ``stack.sum(axis=0)``."""
    rest = iter(images)
    total = next(rest).copy()
    for image in rest:
        total += image
    return total


def mean_of_images(images: Iterable[FloatArray], number: int) -> FloatArray:
    """Average so many images: ``stack.mean(axis=0)``."""
    return sum_of_images(images) / number


def sum_of_pixels(values: FloatArray) -> np.floating:
    """Add the chosen pixels of an image, one after the other: an entry of ``stack[:, chosen].sum(axis=1)``.

    Indexing a stack by a mask puts its images side by side in memory, so numpy adds pixel after pixel; of one image
    by itself it would add in pairs.
    """
    return np.cumsum(values)[-1] if values.size else np.float64(0.0)
