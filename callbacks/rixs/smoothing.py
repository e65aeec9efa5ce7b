"""A running mean over five columns, about the width of an elastic line: weights 1, 2, 3, 2, 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

TRIANGLE = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9.0


def smooth_signal(values: FloatArray) -> FloatArray:
    """Smooth values, shape (columns,), beyond whose ends there is nothing: light less its background."""
    return np.convolve(values, TRIANGLE, mode="same")


def smooth_level(values: FloatArray) -> FloatArray:
    """Smooth values, shape (columns,), that go on beyond their ends as they end: counts or a variance."""
    return np.convolve(np.pad(values, 2, mode="edge"), TRIANGLE, mode="valid")
