"""Spectra of many pixels in memory: energy by energy, in chunks that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

CHUNK = 16384  # pixels worked on at a time in float64: the products of a chunk stay in the cache
SEGMENT = 16  # energies allocated at a time


class StoredSpectra:
    """Spectra of `size` pixels, one row an energy, each row less an offset that all its pixels share.

    Rows are added and never changed, so that a snapshot goes on using them without a copy.

    Parameters
    ----------
    size : int
        Pixels.
    dtype : numpy.dtype
        In which the values less their offset are stored.
    """

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        self.size, self.dtype = size, dtype
        self.offset: FloatArray = np.zeros(0)
        self._segments: list[NDArray[Any]] = []

    @classmethod
    def from_spectra(cls, spectra: NDArray[Any], measured: BoolArray, dtype: np.dtype[Any]) -> StoredSpectra:
        """Store spectra, shape (n, E), each energy less its mean over the measured pixels of the first chunk."""
        stored = cls(len(spectra), dtype)
        sample = np.flatnonzero(measured)[:CHUNK]
        offset = spectra[sample].mean(axis=0, dtype=np.float64) if len(sample) else np.zeros(spectra.shape[1])
        rows = np.empty((spectra.shape[1], len(spectra)), dtype)
        for chunk in chunks(len(spectra)):
            rows[:, chunk] = np.where(measured[chunk], spectra[chunk].T - offset[:, None], 0.0)
        stored._segments, stored.offset = [rows], offset
        return stored

    def snapshot(self) -> StoredSpectra:
        """Give these spectra as they are now; rows added later do not show in it."""
        other = StoredSpectra(self.size, self.dtype)
        other._segments, other.offset = list(self._segments), self.offset
        return other

    def append(self, image: FloatArray, offset: float) -> None:
        """Add an energy: its values less `offset`, shape (n,)."""
        row = len(self.offset) - sum(len(segment) for segment in self._segments[:-1])
        if not self._segments or row == len(self._segments[-1]):
            self._segments.append(np.empty((SEGMENT, self.size), self.dtype))
            row = 0
        self._segments[-1][row] = image
        self.offset = np.append(self.offset, offset)

    def rows(self) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Give the stored rows, segment by segment, with the energies they belong to."""
        start = 0
        for segment in self._segments:
            stop = min(start + len(segment), len(self.offset))
            yield slice(start, stop), segment[: stop - start]
            start = stop

    def columns(self, chosen: slice | NDArray[np.intp]) -> FloatArray:
        """Give what is stored of some pixels, shape (E, m), in float64."""
        values: FloatArray = np.concatenate([rows[:, chosen] for _, rows in self.rows()], dtype=np.float64)
        return values

    def newest(self) -> FloatArray:
        """Give the row stored last, shape (n,), in float64."""
        *_, (_, rows) = self.rows()
        return np.array(rows[-1], dtype=np.float64)

    def combine(self, left: FloatArray) -> FloatArray:
        """Give left @ stored, shape (k, n), for left of shape (k, E)."""
        total = np.zeros((len(left), self.size))
        for energies, rows in self.rows():
            for chunk in chunks(self.size):
                total[:, chunk] += left[:, energies] @ rows[:, chunk].astype(np.float64, copy=False)
        return total

    def add_products(self, image: FloatArray, total: FloatArray) -> None:
        """Add stored @ image, for an image of shape (n,), to `total`, shape (E,)."""
        for energies, rows in self.rows():
            if rows.dtype == np.float64:
                total[energies] += rows @ image
                continue
            for chunk in chunks(self.size):
                total[energies] += rows[:, chunk].astype(np.float64) @ image[chunk]


def chunks(size: int) -> Iterator[slice]:
    """Give the slices that part `size` pixels into chunks."""
    for start in range(0, size, CHUNK):
        yield slice(start, min(start + CHUNK, size))
