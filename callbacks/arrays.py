"""Arrays that may be larger than the memory: beyond a size they lie in a temporary file, and are used as any other."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

LARGEST_IN_MEMORY = 2**27  # bytes of the images of a stack: more lie in a file


def fits_in_memory(shape: tuple[int, ...]) -> bool:
    """Tell whether so many numbers, in float32, are kept in memory."""
    return math.prod(shape) * np.dtype(np.float32).itemsize <= LARGEST_IN_MEMORY


def array_for(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Give an array to be filled, in memory or, where it does not fit, in a temporary file.

    Parameters
    ----------
    shape : tuple of int

    Returns
    -------
    numpy.ndarray
        What it holds is not defined.
    """
    return np.empty(shape, np.float32) if fits_in_memory(shape) else array_in_file(shape, np.float32)


def array_in_file(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Give an array of zeros in a temporary file (in ``TMPDIR``), which is gone when the array is.

    Parameters
    ----------
    shape : tuple of int
        Without a zero.
    dtype : dtype

    Raises
    ------
    OSError
        When the file cannot be made, or the disk has no space for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    with tempfile.TemporaryFile() as file:
        # Space is taken now: to write to a page that the disk has no space for would end the process.
        os.posix_fallocate(file.fileno(), 0, size)
        pages = mmap.mmap(file.fileno(), size)
    return np.frombuffer(pages, dtype).reshape(shape)


def release(array: NDArray[Any]) -> None:
    """Take what has been read or written of an array in a file out of memory; the file keeps it."""
    base: Any = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)
