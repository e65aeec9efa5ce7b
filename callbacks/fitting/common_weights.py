"""Non-negative fits of spectra that share one weighting: the fit of a support is one matrix, made once for all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.rows import CHUNK, scatter_variance
from callbacks.fitting.supports import Support, choose_supports, supports_of

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]

INDEPENDENT = 1e-11  # a reference is a sum of others where less than this of its norm is left beside them


def unmix_with_common_weights(
    spectra: FloatArray, references: FloatArray, weights: FloatArray, *, propagate: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Unmix spectra without gaps under one weighting: one set of maps, made from QR factors."""
    root = np.sqrt(weights)
    basis, factor, scale = _factors(references * root)
    projected = (basis * root[:, None]).T @ spectra.T  # the rest of a spectrum is outside the span of the references
    maps = SupportMaps(factor)

    def violation(support: Support, left: IntArray | slice) -> FloatArray | None:
        conditions = maps.conditions(support)
        return None if conditions is None else -(conditions @ projected[:, left]).min(axis=0).clip(max=0.0)

    count = len(references)
    number = choose_supports(len(spectra), count, violation)
    fractions, table = np.zeros((count, len(spectra))), np.zeros((2**count, count, count))
    for candidate in np.flatnonzero(np.bincount(number, minlength=2**count)):
        support = supports_of(count)[candidate]
        rows = np.flatnonzero(number == candidate)
        fractions[np.array(support, dtype=int)[:, None], rows] = (maps.fit(support) @ projected[:, rows]).clip(min=0.0)
        table[candidate] = maps.covariance(support) / np.outer(scale, scale)
    found = np.ascontiguousarray((fractions / scale[:, None]).T)
    residual = np.empty(len(spectra))
    for start in range(0, len(spectra), CHUNK):
        part = slice(start, start + CHUNK)
        rest = spectra[part] - found[part] @ references
        residual[part] = np.sqrt(np.einsum("pe,pe->p", rest, rest))
    covariance = np.take(table, number, axis=0)
    if not propagate:
        sizes = np.array([len(support) for support in supports_of(count)])
        covariance *= scatter_variance(residual**2, len(weights) - sizes[number])[:, None, None]
    return found, covariance, residual


def _factors(references: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Give an orthonormal basis (n_energies, r), the references of unit norm in it (r, k), and their norms."""
    norm = np.linalg.norm(references, axis=1)
    scale = np.where(norm > 0, norm, 1.0)
    basis, factor = np.linalg.qr((references / scale[:, None]).T)
    return basis, factor, scale


class SupportMaps:
    """The linear maps from a projected spectrum to the fits of each support."""

    def __init__(self, factor: FloatArray) -> None:
        self._factor = factor
        self._fits: dict[Support, FloatArray | None] = {}

    def _fit(self, support: Support) -> FloatArray | None:
        """Give the map (size, r) to the coefficients of a support; None where it is not linearly independent."""
        if support not in self._fits:
            columns = self._factor[:, list(support)]
            u, s, vt = np.linalg.svd(columns, full_matrices=False)
            independent = not support or (len(s) == len(support) and s[-1] > INDEPENDENT)
            self._fits[support] = (vt.T / s) @ u.T if independent else None
        return self._fits[support]

    def fit(self, support: Support) -> FloatArray:
        """Give the map (size, r) to the coefficients of a linearly independent support."""
        fit = self._fit(support)
        if fit is None:
            raise ValueError(f"the references {support} are not linearly independent")
        return fit

    def conditions(self, support: Support) -> FloatArray | None:
        """Give the map (k, r) to the numbers that are all non-negative where this support is the right one.

        A reference that is a sum of those of the support has no condition: the fit already reaches what it offers.
        """
        fit = self._fit(support)
        if fit is None:
            return None
        rows = np.zeros(self._factor.T.shape)
        rows[list(support)] = fit
        for other in set(range(len(rows))) - set(support):
            wider = tuple(sorted((*support, other)))
            beside = self._fit(wider)
            if beside is not None:
                rows[other] = -beside[wider.index(other)]
        return rows

    def covariance(self, support: Support) -> FloatArray:
        """Give the covariance (k, k) of the fractions for unit variance, as `Unmixed` describes it."""
        fit = self.fit(support)
        covariance = np.zeros((self._factor.shape[1],) * 2)
        covariance[np.array(support, dtype=int)[:, None], list(support)] = fit @ fit.T
        for other in set(range(len(covariance))) - set(support):
            wider = tuple(sorted((*support, other)))
            beside = self._fit(wider)
            if beside is not None:
                covariance[other, other] = float(np.sum(beside[wider.index(other)] ** 2))
                continue
            covariance[other, other] = np.nan
            shared = np.array(support, dtype=int)[np.abs(fit @ self._factor[:, other]) > np.sqrt(INDEPENDENT)]
            covariance[shared, :] = covariance[:, shared] = np.nan
        return covariance
