"""Several stacks as one: energy scales matched by a reference sample, pixels interpolated to common energies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from callbacks.fitting.linear_combination import fit_linear_combination
from callbacks.wording import number_of

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

LARGEST_OFFSET = 1.0  # eV between the energy scales of two series
SAME_ENERGY = 0.004  # eV: energies that differ by less are the same, read back twice
WIDER = 1.5  # times as wide as the steps beside it: a step in which an image is missing is at least twice as wide


@dataclass(frozen=True)
class Stack:
    """A stack to be pooled.

    Attributes
    ----------
    name : str
    energies : numpy.ndarray, shape (energies,)
        eV, ascending.
    density, variance : numpy.ndarray, shape (energies, lines, columns)
        Optical density; NaN for pixels that are left out.
    offset, offset_sigma : float
        eV: what to add to the energies to come to the common scale.
    common : numpy.ndarray, shape (energies,), optional
        Of the variance, what all pixels of an image share: that of I0; none where not known.
    """

    name: str
    energies: FloatArray
    density: FloatArray
    variance: FloatArray
    offset: float = 0.0
    offset_sigma: float = 0.0
    common: FloatArray | None = None

    def common_at(self, energies: FloatArray) -> FloatArray:
        """Give the variance that all pixels share at energies of the common scale, interpolated."""
        if self.common is None:
            return np.zeros(len(energies))
        return np.asarray(np.interp(energies, self.energies + self.offset, self.common))


def energy_offset(
    energies: FloatArray,
    spectrum: FloatArray,
    sigma: FloatArray,
    reference_energies: FloatArray,
    reference: FloatArray,
) -> tuple[float, float, str]:
    """Find what brings the energy scale of one series of runs to that of another, by the same sample measured in both.

    Parameters
    ----------
    energies, spectrum, sigma : numpy.ndarray, shape (n,)
        eV, mean optical density of the reference sample, and its uncertainty.
    reference_energies, reference : numpy.ndarray, shape (m,)
        The same of the series with the scale to be matched.

    Returns
    -------
    offset, sigma : float
        eV, to add to `energies`; NaN where `status` is not "ok".
    status : str

    Notes
    -----
    The other spectrum and a constant are fitted with a shift in energy.
    """
    known = np.isfinite(reference)  # an energy may be without an image
    reference_energies, reference = reference_energies[known], reference[known]
    both = np.isfinite(spectrum) & (sigma > 0) & reached(reference_energies, energies)
    if (shared := min(both.sum(), known.sum())) < 10:
        return (
            float("nan"),
            float("nan"),
            f"the two spectra share {number_of(shared, 'energy')}, expected 10 or more",
        )
    at = CubicSpline(reference_energies, reference)(energies[both])
    references = np.vstack([at, np.ones(both.sum())])
    fit = fit_linear_combination(
        energies[both], spectrum[both], references, sigma[both] ** 2, non_negative=False, shift=True,
        max_shift=LARGEST_OFFSET,
    )  # fmt: skip
    status = str(fit.status)
    if status != "ok":
        return float("nan"), float("nan"), status
    return -float(fit.shift), float(fit.shift_sigma), "ok"


def reached(energies: FloatArray, at: FloatArray) -> BoolArray:
    """Tell where a spectrum can be interpolated: between two of its energies, none of which is missing in between.

    Parameters
    ----------
    energies : numpy.ndarray, shape (n,)
        eV, ascending, at which it was measured.
    at : numpy.ndarray, shape (m,)
        eV, ascending, at which it is asked for.

    Returns
    -------
    numpy.ndarray of bool, shape (m,)

    Notes
    -----
    A step is too wide where it is more than `WIDER` times as wide as both its neighbours and the steps of `at` there.
    """
    if len(energies) < 2 or not len(at):
        return np.zeros(len(at), dtype=bool)
    same = np.abs(energies[:, None] - at[None]).min(axis=0) <= SAME_ENERGY
    steps, asked = np.diff(energies), np.diff(at, prepend=np.nan, append=np.nan)
    beside = np.fmax(np.append(np.nan, steps[:-1]), np.append(steps[1:], np.nan))
    place = np.clip(np.searchsorted(energies, at, side="right") - 1, 0, len(steps) - 1)
    allowed = WIDER * np.fmax(np.fmax(asked[:-1], asked[1:]), beside[place])
    inside = (at >= energies[0]) & (at <= energies[-1])
    return np.asarray(same | (inside & ~(steps[place] > allowed)))


def pool(stacks: list[Stack]) -> tuple[FloatArray, list[FloatArray], list[FloatArray]]:
    """Bring stacks to common energies.

    Parameters
    ----------
    stacks : list of Stack

    Returns
    -------
    energies : numpy.ndarray, shape (energies,)
        Those of the first stack, on the common scale, which all stacks reach: none in a gap of one.
    densities, variances : list of numpy.ndarray, shape (pixels, energies)
        A block for each stack; NaN for pixels that are left out.

    Raises
    ------
    ValueError
        When the stacks have no three energies in common.

    Notes
    -----
    Where energies are not the same, spectra are interpolated by cubic splines; what that does to the variance of each
    energy is propagated, correlations between neighbouring energies are not kept.
    """
    scales = [stack.energies + stack.offset for stack in stacks]
    common = scales[0][np.all([reached(scale, scales[0]) for scale in scales], axis=0)]
    if len(common) < 3:
        low, high = max(scale[0] for scale in scales), min(scale[-1] for scale in scales)
        raise ValueError(
            f"the stacks share {number_of(len(common), 'energy')} between {low:.2f} and {high:.2f} eV,"
            " expected 3 or more"
        )
    densities, variances = [], []
    for stack, scale in zip(stacks, scales, strict=True):
        density = stack.density.reshape(len(scale), -1).T
        variance = stack.variance.reshape(len(scale), -1).T
        nearest = np.abs(scale[:, None] - common[None]).argmin(axis=0)
        if np.abs(scale[nearest] - common).max() <= SAME_ENERGY:
            densities.append(density[:, nearest])
            variances.append(variance[:, nearest])
            continue
        weights = CubicSpline(scale, np.eye(len(scale)))(np.clip(common, scale[0], scale[-1])).T
        densities.append(density @ weights)
        variances.append(variance @ weights**2)
    return common, densities, variances
