"""Which references a spectrum needs: all combinations of them, fitted and compared by F test."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from callbacks.fitting.linear_combination import LinearCombination, fit_linear_combination, moved_references
from callbacks.fitting.rows import as_rows, check_reference_variance, check_references
from callbacks.fitting.supports import MOST_REFERENCES

FloatArray = NDArray[np.floating]

SIGNIFICANT = 0.05  # the customary level: a reference more is taken where noise improves as much in fewer fits


@dataclass(frozen=True)
class Combination:
    """A fit by some of the references.

    Attributes
    ----------
    references : tuple of int
        Which they are, ascending.
    fit : LinearCombination
        Of one spectrum.
    chi_square : float
        Weighted sum of squares, or of squares of the residual where no variance was given; NaN where `fit` has none.
    freedom : int
        Points less unknowns.
    f_ratio, p_value : float
        Of the F test against the best fit with one reference less out of these: by how many times its own reduced chi
        square the last reference lowers the sum of squares, and how often noise does as much. NaN of one reference.
    r_factor : float
        Sum of squares of the residual over that of the spectrum.
    """

    references: tuple[int, ...]
    fit: LinearCombination
    chi_square: float
    freedom: int
    f_ratio: float
    p_value: float
    r_factor: float

    @property
    def reduced_chi_square(self) -> float:
        """Chi square over the freedom."""
        return self.chi_square / self.freedom if self.freedom > 0 else math.nan

    @property
    def is_needed(self) -> bool:
        """Whether all its references are: it is one alone, or better than with one less by more than noise."""
        return len(self.references) == 1 or self.p_value < SIGNIFICANT


@dataclass(frozen=True)
class Ranking:
    """All combinations, the best first.

    Attributes
    ----------
    combinations : tuple of Combination
        Those first of which all references are needed, each part by ascending reduced chi square; those without a fit
        last.
    best : int or None
        Place of the one to be preferred: reached from the best reference alone by adding the best one more as long as
        the F test calls for it. None where nothing could be fitted.
    """

    combinations: tuple[Combination, ...]
    best: int | None


def rank_combinations(
    energy: FloatArray,
    spectrum: FloatArray,
    references: FloatArray,
    variance: FloatArray | None = None,
    *,
    reference_variance: FloatArray | None = None,
    most: int | None = None,
    shift: bool = False,
    max_shift: float = 1.0,
) -> Ranking:
    """Fit a spectrum by every combination of references, and compare the fits by F test.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending.
    spectrum : numpy.ndarray, shape (n_energies,)
        NaN: left out.
    references : numpy.ndarray, shape (k, n_energies)
        Any number; at most `most` of them in a combination.
    variance : numpy.ndarray, shape (n_energies,), optional
        Of independent points.
    reference_variance : numpy.ndarray, shape (k, n_energies), optional
        As of `fit_linear_combination`; the F test does without it.
    most : int, optional
        References in a combination, at most six; all of them where there are no more.
    shift, max_shift
        As of `fit_linear_combination`.

    Returns
    -------
    Ranking

    Raises
    ------
    ValueError
        When shapes do not match, energies do not ascend, or references are not finite.

    Notes
    -----
    Adding a reference to a linear fit lowers the sum of squares by F times the reduced chi square of the larger fit;
    where noise alone does, F is distributed as F(1, freedom). In crystallography and absorption this is the test of
    W. C. Hamilton, Acta Cryst. 18 (1965) 502. A fraction that is held at zero lowers nothing: F is 0 then.
    """
    problem = _Problem(
        energy, spectrum, references, variance, reference_variance, max_shift=max_shift if shift else None
    )
    count = len(problem.references)
    largest = min(most or count, count, MOST_REFERENCES)
    found: dict[tuple[int, ...], Combination] = {}
    for size in range(1, largest + 1):
        for chosen in combinations(range(count), size):
            found[chosen] = problem.fit(chosen, found)
    ordered = sorted(found.values(), key=_order)
    best = _preferred(found)
    return Ranking(tuple(ordered), None if best is None else ordered.index(best))


class _Problem:
    """Fits a spectrum by some of the references; parameters as of `rank_combinations`, None where nothing shifts."""

    def __init__(
        self,
        energy: FloatArray,
        spectrum: FloatArray,
        references: FloatArray,
        variance: FloatArray | None,
        reference_variance: FloatArray | None,
        *,
        max_shift: float | None,
    ) -> None:
        self.references = check_references(references, len(energy), len(references))
        self._noise = check_reference_variance(reference_variance, self.references)
        self._energy, self._spectrum, self._variance = energy, np.asarray(spectrum, dtype=float), variance
        self._max_shift = max_shift
        rows = as_rows(energy, self._spectrum, variance)
        margin = max_shift or 0.0
        inside = (energy >= energy[0] + margin) & (energy <= energy[-1] - margin)
        self._used, self._weights = rows.measured[0] & inside, rows.weights[0]

    def fit(self, chosen: tuple[int, ...], found: Mapping[tuple[int, ...], Combination]) -> Combination:
        """Fit, and compare with the best of those that were found with one reference less."""
        references, shift = self.references[list(chosen)], self._max_shift is not None
        fit = fit_linear_combination(
            self._energy, self._spectrum, references, self._variance,
            reference_variance=None if self._noise is None else self._noise[list(chosen)],
            shift=shift, max_shift=self._max_shift or 1.0,
        )  # fmt: skip
        freedom = int(self._used.sum()) - len(chosen) - shift
        if str(fit.status) != "ok":
            return Combination(chosen, fit, math.nan, freedom, math.nan, math.nan, math.nan)
        if shift:
            references = moved_references(self._energy, references, self._energy)(np.atleast_1d(fit.shift))[0][0]
        residual = (self._spectrum - fit.fractions @ references)[self._used]
        squares = float(np.sum(self._weights[self._used] * residual**2))
        fewer = [found[part].chi_square for part in combinations(chosen, len(chosen) - 1) if part in found]
        f_ratio = p_value = math.nan
        if freedom > 0 and squares > 0 and (known := [each for each in fewer if math.isfinite(each)]):
            f_ratio = max(0.0, (min(known) - squares) * freedom / squares)
            p_value = float(fdtrc(1, freedom, f_ratio))
        r_factor = float(np.sum(residual**2) / np.sum(self._spectrum[self._used] ** 2))
        return Combination(chosen, fit, squares, freedom, f_ratio, p_value, r_factor)


def _order(each: Combination) -> tuple[bool, bool, float]:
    reduced = each.reduced_chi_square
    return not math.isfinite(reduced), not each.is_needed, reduced if math.isfinite(reduced) else 0.0


def _preferred(found: dict[tuple[int, ...], Combination]) -> Combination | None:
    """Give the fit that is reached by adding one reference after the other, as long as noise does not do as much."""

    def fits(size: int, within: tuple[int, ...]) -> Iterator[Combination]:
        for chosen, each in found.items():
            if len(chosen) == size and set(within) <= set(chosen) and math.isfinite(each.chi_square):
                yield each

    best = min(fits(1, ()), key=lambda each: each.chi_square, default=None)
    while best is not None:
        more = min(fits(len(best.references) + 1, best.references), key=lambda each: each.chi_square, default=None)
        if more is None or not more.is_needed:
            return best
        best = more
    return None
