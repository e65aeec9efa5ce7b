"""Spectra of any leading shape as rows, checked, so that one spectrum and a map are fitted by the same code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from callbacks.wording import number_of

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

CHUNK = 2048  # spectra fitted at a time: what is worked on stays in the processor's cache


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

    def __len__(self) -> int:
        """Give how many spectra there are."""
        return len(self.spectra)

    @property
    def measured(self) -> BoolArray:
        """Which points count, shape (n, n_energies)."""
        return self.weights > 0

    @property
    def recorded(self) -> BoolArray:
        """Energies at which any spectrum was measured, shape (n_energies,)."""
        return np.asarray(self.measured.any(axis=0))

    @property
    def spanned(self) -> slice:
        """Energies from the first to the last at which any spectrum was measured; ValueError where none was."""
        found = np.flatnonzero(self.recorded)
        if not found.size:
            raise ValueError("nothing was measured at any energy")
        return slice(found[0], found[-1] + 1)

    @property
    def values(self) -> FloatArray:
        """The spectra, 0 where not measured, shape (n, n_energies)."""
        return np.where(self.measured, self.spectra, 0.0)

    @property
    def mean(self) -> FloatArray:
        """Mean of the spectra measured at each energy, shape (n_energies,); NaN where none is."""
        total, number = self.values.sum(axis=0), self.measured.sum(axis=0)
        return _divided(total, number, number > 0, np.nan)

    @property
    def variance(self) -> FloatArray:
        """Variance of each point, 0 where not measured, shape (n, n_energies)."""
        return _divided(1.0, self.weights, self.measured, 0.0)

    @property
    def mean_variance(self) -> FloatArray:
        """Mean variance of the spectra measured at each energy, shape (n_energies,); NaN where none is."""
        total, number = self.variance.sum(axis=0), self.measured.sum(axis=0)
        return _divided(total, number, number > 0, np.nan)

    def at(self, energies: BoolArray | slice) -> Rows:
        """Give the spectra at some of the energies."""
        return Rows(self.spectra[:, energies], self.weights[:, energies], self.shape, self.weighted)

    def of(self, rows: NDArray[np.intp] | slice) -> Rows:
        """Give some of the spectra."""
        spectra = self.spectra[rows]
        return Rows(spectra, self.weights[rows], (len(spectra),), self.weighted)

    def restore(self, values: NDArray[Any]) -> NDArray[Any]:
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
    measured = np.isfinite(rows)
    if variance is None:
        weights = measured.astype(float)
    else:
        inverse = np.broadcast_to(inverse_variance(variance, spectra.shape), spectra.shape).reshape(rows.shape)
        weights = np.where(measured, inverse, 0.0)
    return Rows(rows, weights, spectra.shape[:-1], variance is not None)


def inverse_variance(variance: ArrayLike, spectra: tuple[int, ...]) -> FloatArray:
    """Give the inverse of variances; 0 where one is not finite: not measured.

    Parameters
    ----------
    variance : array_like, of the shape of the spectra or of their last axis
    spectra : tuple of int
        Shape of the spectra.

    Raises
    ------
    ValueError
        When the shapes do not match, or a variance is not above zero.
    """
    variance = check_variance(variance, spectra)
    if (variance <= 0).any():
        raise ValueError(f"variance {np.nanmin(variance):g}: expected above zero, or NaN where not measured")
    return _divided(1.0, variance, np.isfinite(variance), 0.0)


def check_variance(variance: ArrayLike, spectra: tuple[int, ...]) -> FloatArray:
    """Give variances as floats.

    Raises
    ------
    ValueError
        When their shape is neither that of the spectra nor that of their last axis.
    """
    variance = np.asarray(variance, dtype=float)
    if variance.shape not in (spectra, spectra[-1:]):
        raise ValueError(f"variance {variance.shape}: expected {spectra[-1:]} or {spectra}")
    return variance


def check_energy(energy: FloatArray) -> None:
    """Refuse energies that are not a list of ascending numbers.

    Raises
    ------
    ValueError
        When they are not.
    """
    if np.ndim(energy) != 1 or not np.isfinite(energy).all() or not (np.diff(energy) > 0).all():
        raise ValueError(f"energies {np.shape(energy)}: expected one dimension, finite and ascending")


def check_references(references: ArrayLike, n_energies: int, most: int) -> FloatArray:
    """Give references (k, n_energies) as floats.

    Raises
    ------
    ValueError
        When there are too many or none, they are not finite, or not as many points as energies.
    """
    references = np.asarray(references, dtype=float)
    if references.ndim != 2 or references.shape[1] != n_energies:
        raise ValueError(f"references {references.shape}: expected (k, {n_energies}), as there are energies")
    if not 1 <= len(references) <= most:
        raise ValueError(f"{len(references)} references: expected 1 to {most}")
    finite = np.isfinite(references).all(axis=0)
    if not finite.all():
        energy = int(np.flatnonzero(~finite)[0])
        raise ValueError(f"references are not finite at energy number {energy}: expected numbers at every energy")
    return references


def check_reference_variance(variance: ArrayLike | None, references: FloatArray) -> FloatArray | None:
    """Give the variance of references as floats, None where there is none; ValueError when it is not one of them."""
    if variance is None:
        return None
    variance = np.asarray(variance, dtype=float)
    if variance.shape != references.shape or not (variance >= 0).all():
        raise ValueError(f"variance of references {variance.shape}: expected {references.shape}, none below zero")
    return variance if variance.any() else None


def too_few_energies(energies: int, references: int) -> str:
    """Say that there are fewer energies than references, which then cannot be told apart; "" where there are enough."""
    if energies >= references:
        return ""
    return f"{number_of(energies, 'energy')}, expected {references} or more for {references} references"


def scatter_variance(squares: FloatArray, freedom: NDArray[np.integer]) -> FloatArray:
    """Give the variance of a point from the sum of squared residuals of each spectrum, shape (n,).

    NaN where no degree of freedom is left to estimate it from.
    """
    return _divided(squares, freedom, freedom > 0, np.nan)


def _divided(dividend: FloatArray | float, divisor: NDArray[Any], where: BoolArray, otherwise: float) -> FloatArray:
    quotient: FloatArray = np.full(divisor.shape, otherwise)
    np.divide(dividend, divisor, out=quotient, where=where)
    return quotient
