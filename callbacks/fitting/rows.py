"""Spectra of any leading shape as rows, checked, so that one spectrum and a map go the same way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
TextArray = NDArray[np.str_]


@dataclass(frozen=True)
class Rows:
    """Spectra as rows.

    Attributes
    ----------
    spectra : numpy.ndarray, shape (n, n_energies)
        NaN where not measured.
    weights : numpy.ndarray, shape (n, n_energies)
        Inverse variance, or 1 where no variance is given; 0 where not measured.
    shape : tuple of int
        Leading shape of what was given.
    weighted : bool
        Whether a variance was given.
    """

    spectra: FloatArray
    weights: FloatArray
    shape: tuple[int, ...]
    weighted: bool

    def restore(self, values: NDArray) -> NDArray:
        """Give values of the rows (n, ...) their leading shape back."""
        return values.reshape(self.shape + values.shape[1:])


def as_rows(energy: FloatArray, spectra: FloatArray, variance: FloatArray | None) -> Rows:
    """Check spectra and make them rows.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending.
    spectra : numpy.ndarray, shape (..., n_energies)
    variance : numpy.ndarray, shape (n_energies,) or that of the spectra, optional
        Of independent points. Where it is not finite the point counts as not measured.

    Raises
    ------
    ValueError
        When the energies do not ascend, shapes do not match, or a variance is not above zero.
    """
    check_energy(energy)
    spectra = np.asarray(spectra, dtype=float)
    if spectra.shape[-1:] != np.shape(energy):
        raise ValueError(f"spectra {spectra.shape}: expected (..., {len(energy)}), as there are energies")
    rows = spectra.reshape(-1, len(energy))
    if variance is None:
        weights = np.isfinite(rows).astype(float)
    else:
        variance = np.asarray(variance, dtype=float)
        if variance.shape not in (spectra.shape, spectra.shape[-1:]):
            raise ValueError(f"variance {variance.shape}: expected {spectra.shape[-1:]} or {spectra.shape}")
        if (variance <= 0).any():
            raise ValueError(f"variance {np.nanmin(variance):g}: expected above zero, or NaN where not measured")
        variance = np.broadcast_to(variance, spectra.shape).reshape(rows.shape)
        measured = np.isfinite(variance) & np.isfinite(rows)
        weights = np.divide(1.0, variance, out=np.zeros(rows.shape), where=measured)
    return Rows(rows, weights, spectra.shape[:-1], variance is not None)


def check_energy(energy: FloatArray) -> None:
    """Refuse energies that are not a list of ascending numbers.

    Raises
    ------
    ValueError
        When they are not.
    """
    if np.ndim(energy) != 1 or not np.isfinite(energy).all() or not (np.diff(energy) > 0).all():
        raise ValueError(f"energies {np.shape(energy)}: expected one dimension, finite and ascending")


def check_references(energy: FloatArray, references: FloatArray, most: int) -> FloatArray:
    """Give references (k, n_energies) as floats.

    Raises
    ------
    ValueError
        When there are too many or none, they are not finite, or not as many points as energies.
    """
    references = np.asarray(references, dtype=float)
    if references.ndim != 2 or references.shape[1] != len(energy):
        raise ValueError(f"references {references.shape}: expected (k, {len(energy)}), as there are energies")
    if not 1 <= len(references) <= most:
        raise ValueError(f"{len(references)} references: expected 1 to {most}")
    if not np.isfinite(references).all():
        raise ValueError("references are not finite: expected numbers at every energy")
    return references


def mean_variance(weights: FloatArray) -> FloatArray:
    """Give the mean variance (n_energies,) of the spectra measured at each energy; NaN where none is."""
    measured = weights > 0
    total = np.divide(1.0, weights, out=np.zeros(weights.shape), where=measured).sum(axis=0)
    number = measured.sum(axis=0)
    return np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)
