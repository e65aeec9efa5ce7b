"""What the noise of references adds to the uncertainty of their coefficients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def reference_noise(
    inverse: FloatArray, design: FloatArray, weights: FloatArray, coefficients: FloatArray, variance: FloatArray
) -> FloatArray:
    """Give the covariance that the noise of references adds to that of what is fitted.

    Parameters
    ----------
    inverse : numpy.ndarray, shape (n, p, p)
        Inverse of the normal equations of each spectrum; 0 for what is held at zero.
    design : numpy.ndarray, shape (n, p, n_energies)
        Derivatives of the fit by what is fitted: the references first, then any parameter.
    weights : numpy.ndarray, shape (n, n_energies)
        Inverse variances of the spectra, 0 where left out.
    coefficients : numpy.ndarray, shape (n, k)
    variance : numpy.ndarray, shape (k, n_energies)
        Of the references, of independent points; 0 where it is not known.

    Returns
    -------
    numpy.ndarray, shape (n, p, p)

    Notes
    -----
    To first order an error of reference j acts as one of the spectrum, c_j times as large. To second order noise makes
    a reference look larger than it is, and draws its coefficient down, by the inverse times what noise adds to the
    normal equations (W. A. Fuller, Measurement Error Models, Wiley 1987, 1.1 and 2.2). That is not corrected, as
    references are often among the spectra that they are fitted to, whose noise is theirs; its square is added.
    """
    count = coefficients.shape[1]
    jacobian = inverse @ (design * weights[:, None, :])
    seen = coefficients**2 @ variance
    drawn = np.einsum("npk,nk->np", inverse[:, :, :count], (weights @ variance.T) * coefficients)
    return np.asarray((jacobian * seen[:, None, :]) @ jacobian.transpose(0, 2, 1) + drawn[:, :, None] * drawn[:, None])


def variance_between(energy: FloatArray, variance: FloatArray, at: FloatArray) -> FloatArray:
    """Give the variance of a reference at other energies than its own, as if independent there.

    Where these are more than its own, several share the noise of one, which then counts as often.

    Parameters
    ----------
    energy, variance : numpy.ndarray, shape (n,)
        eV, ascending.
    at : numpy.ndarray, shape (m,)
        eV, ascending.
    """
    own = int(np.count_nonzero((energy >= at[0]) & (energy <= at[-1])))
    return np.asarray(np.interp(at, energy, variance)) * max(1.0, len(at) / max(own, 1))
