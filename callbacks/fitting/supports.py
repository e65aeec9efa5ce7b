"""Supports of a non-negative fit: which references are above zero, tried from all of them down to none."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]
Support = tuple[int, ...]

MOST_REFERENCES = 6  # 64 supports


@cache
def supports_of(count: int) -> tuple[Support, ...]:
    """Give all supports of so many references, from the full one to the empty one."""
    return tuple(support for size in range(count, -1, -1) for support in combinations(range(count), size))


def choose_supports(
    spectra: int, count: int, violation: Callable[[Support, IntArray | slice], FloatArray | None]
) -> IntArray:
    """Choose the support of each spectrum: the first without a violation, else (rounding) that with the least.

    Parameters
    ----------
    spectra, count : int
        How many spectra and references there are.
    violation : callable
        From a support, and numbers of spectra or a slice of all, to how far each spectrum violates the conditions of
        Karush, Kuhn and Tucker there: 0 where the support is the right one. None: the support is not to be tried.

    Returns
    -------
    numpy.ndarray of int, shape (spectra,)
        Places in `supports_of`.
    """
    chosen, least = np.zeros(spectra, dtype=np.intp), np.full(spectra, np.inf)
    left: IntArray | slice = slice(None)
    for place, support in enumerate(supports_of(count)):
        found = violation(support, left)
        if found is None:
            continue
        index = np.arange(spectra) if isinstance(left, slice) else left
        better = found < least[index]
        chosen[index[better]] = place
        left = index[found > 0]
        if not left.size:
            break
        least[index] = np.minimum(least[index], found)
    return chosen
