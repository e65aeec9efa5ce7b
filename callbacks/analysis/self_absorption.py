"""Self-absorption: what a sample absorbs of the light that excites it and of its own emission, and maps without it.

Fluorescence of cross section w that light of energy E1 excites at a depth and that leaves at energy E2 is weakened on
both ways, so that a homogeneous sample of mass mu (cm2/g) and thickness t (g/cm2) gives

    I ~ w / g(x),   g(x) = x / (1 - exp(-x t)),   x = mu(E1) / sin(incidence) + mu(E2) / sin(exit)

(L. Tröger et al., Phys. Rev. B 46 (1992) 3283; S. Eisebitt et al., Phys. Rev. B 47 (1993) 14103; with thickness
C. H. Booth and F. Bridges, Phys. Scr. T115 (2005) 202). Angles are to the surface.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from callbacks.analysis.composition import Composition
from callbacks.analysis.cuts import MapOnAxes
from callbacks.analysis.measured import Causes, Spectra
from callbacks.wording import number_of
from callbacks.xas.background import Window, windows
from callbacks.xas.normalised import normalise_spectra

FloatArray = NDArray[np.floating]

KNOWN = 1 / 3  # relative uncertainty of a factor: beyond it is not three sigmas above zero
SMALL = 1e-4  # share of a step, by which backgrounds are moved to see what follows
PASSES, SETTLED = 60, 1e-10  # of the yield's equation and of its scale, which settle in some five


@dataclass(frozen=True)
class NearEdge:
    """The fine structure of an edge: its absorption in steps, 0 before it and 1 beyond in the mean.

    Attributes
    ----------
    energy, values : numpy.ndarray, shape (n,)
        eV, ascending.
    causes : numpy.ndarray, shape (k, n)
        What one standard uncertainty of each independent cause does to the values.
    """

    energy: FloatArray
    values: FloatArray
    causes: FloatArray

    def at(self, energy: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give values and causes at other energies: 0 below the lowest, NaN above the highest, else between points."""
        high = np.searchsorted(self.energy, energy).clip(1, len(self.energy) - 1)
        share = (energy - self.energy[high - 1]) / np.diff(self.energy)[high - 1]
        found = np.vstack([self.values, self.causes])
        found = (1 - share) * found[:, high - 1] + share * found[:, high]
        found[:, energy < self.energy[0]] = 0.0
        found[:, energy > self.energy[-1]] = np.nan
        return found[0], found[1:]


def near_edge(
    spectra: Spectra, of: Composition, *, pre_edge: Window | None = None, post_edge: Window | None = None,
    background: Literal["constant", "linear"] = "linear",
) -> NearEdge:  # fmt: skip
    """Normalise an absorption spectrum, and tell how the noise of each point moves all others by what they share.

    Parameters
    ----------
    spectra : Spectra
        Of shape (), in any unit that is linear in the absorption: a yield of electrons, or an inverse partial yield of
        fluorescence (A. J. Achkar et al., Phys. Rev. B 83 (2011) 081106), whose constant goes with the background.
    of : Composition
        By whose step, which falls with the energy, it is divided.
    pre_edge, post_edge, background : tuple of float, tuple of float, str
        As of `callbacks.xas.normalised.normalise_spectra`.

    Raises
    ------
    ValueError
        When it has no edge, a window holds too few energies, or a point no uncertainty.
    """
    each = _each_point_moved(spectra, pre_edge, post_edge, background)
    values = each.values / of.step(each.energy)
    values = values / values[:, each.beyond].mean(axis=1, keepdims=True)
    return NearEdge(each.energy, values[0], values[1:] - values[0])


@dataclass(frozen=True)
class _Moved:
    """A normalised spectrum, and the same moved by one standard uncertainty of each cause: the noise of each point."""

    known: NDArray[np.bool_]  # which energies of the spectrum are here
    energy: FloatArray
    values: FloatArray  # (1 + causes, n)
    variance: FloatArray  # of the first
    background: FloatArray  # (1 or 2, n), functions that were taken off
    beyond: NDArray[np.bool_]  # the energies beyond the edge


def _each_point_moved(
    spectra: Spectra, pre_edge: Window | None, post_edge: Window | None, background: Literal["constant", "linear"]
) -> _Moved:
    known = np.isfinite(spectra.values) & (spectra.variance > 0)
    energy, values, variance = spectra.energy[known], spectra.values[known], spectra.variance[known]
    pre_edge, post_edge = windows(energy, pre_edge, post_edge, values)
    causes = np.diag(np.sqrt(variance))
    if isinstance(spectra.shared, Causes):
        causes = spectra.shared.each()[:, known]
    each = np.vstack([values, values + causes])
    found = normalise_spectra(energy, each, variance, pre_edge=pre_edge, post_edge=post_edge, form=background)
    if found.status[0] != "ok":
        raise ValueError(str(found.status[0]))
    (low, high), shared = post_edge, found.shared
    beyond = (energy >= low) & (energy <= high)
    return _Moved(known, energy, found.values, found.variance[0], shared.background, beyond)


@dataclass(frozen=True)
class Escape:
    """How light comes into a sample and out of it.

    Attributes
    ----------
    composition : Composition
    incidence, exit : float
        Angles of the light that excites and of that which is measured, to the surface, degrees.
    angle_sigma : float
        Standard uncertainty of each, degrees.
    areal_mass : float
        g/cm2; infinite where all light is absorbed.
    step_sigma : float
        Relative standard uncertainty of the tabulated step over the rest.
    """

    composition: Composition
    incidence: float
    exit: float
    angle_sigma: float = 0.0
    areal_mass: float = math.inf
    step_sigma: float = 0.0

    def ways(self) -> tuple[float, float]:
        """Give one over the sines: the length of each way for a depth of 1."""
        return 1 / math.sin(math.radians(self.incidence)), 1 / math.sin(math.radians(self.exit))

    def reference(self) -> tuple[float, FloatArray]:
        """Give x without the edge where its onset is tabulated, to which factors are relative, and its parts."""
        rest = float(self.composition.rest(np.array([self.composition.onset]))[0])
        parts = rest * np.array(self.ways())
        return float(parts.sum()), parts

    def loss(self, x: FloatArray) -> FloatArray:
        """Give g(x)."""
        return x if math.isinf(self.areal_mass) else x / -np.expm1(-x * self.areal_mass)

    def slope(self, x: FloatArray) -> FloatArray:
        """Give the derivative of ln g by x."""
        t = self.areal_mass
        with np.errstate(over="ignore"):
            return np.asarray(1 / x if math.isinf(t) else 1 / x - t / np.expm1(x * t))

    def turned(self) -> FloatArray:
        """Give by which share one standard uncertainty of each angle changes its part of x."""
        angles = np.radians([self.incidence, self.exit])
        return np.asarray(-math.radians(self.angle_sigma) / np.tan(angles))


@dataclass(frozen=True)
class Corrected:
    """A map as a sample would give it that absorbs everywhere as it does just before its edge.

    Attributes
    ----------
    map : MapOnAxes
        NaN where the factor is not known.
    factor, sigma : numpy.ndarray, shape (rows, columns)
        By which it was multiplied; relative standard uncertainty of that.
    status : str
        "ok", or of how much no factor is known, and why.
    """

    map: MapOnAxes
    factor: FloatArray
    sigma: FloatArray
    status: str


def correct_map(measured: MapOnAxes, fine: NearEdge, escape: Escape) -> Corrected:
    """Take self-absorption off a map.

    Parameters
    ----------
    measured : MapOnAxes
    fine : NearEdge
        Of the same sample.
    escape : Escape

    Returns
    -------
    Corrected
        Its variance is that of the counts; the noise of the absorption spectrum, the uncertainty of the tabulated step
        and of the angles are causes of its own, each one error for the whole map.

    Raises
    ------
    ValueError
        For energies at which nothing is tabulated, and an absorption that is known at none of those of excitation.

    Notes
    -----
    The absorption is ``mu(E) = rest(E) + step(E) n(E)``, rest and step as tabulated, n the fine structure. The factor
    is ``g(x) / g(x0)``, x0 that of a sample without the edge at its onset: what is left is proportional to the cross
    section for emission. A factor of which a third or more is uncertain is not known.
    """
    lowest, highest = measured.excitation.min(), measured.excitation.max()
    if fine.energy[0] > highest or fine.energy[-1] < lowest:
        raise ValueError(
            f"its absorption is known from {fine.energy[0]:g} to {fine.energy[-1]:g} eV, expected at some of the"
            f" excitation energies, {lowest:g} to {highest:g} eV"
        )
    of, (into, out) = escape.composition, escape.ways()
    parts, causes = [], []
    for energy, way in ((measured.excitation, into), (measured.emission, out)):
        values, moved = fine.at(energy)
        step = of.step(energy) * way
        parts.append((of.rest(energy) * way, step * values))
        causes.append(step * moved)
    one, two = (parts[0][0] + parts[0][1])[:, None], (parts[1][0] + parts[1][1])[None]
    x = np.where(one + two > 0, one + two, np.nan)
    x0, of_x0 = escape.reference()
    factor, slope = escape.loss(x) / escape.loss(np.array(x0)), escape.slope(x)

    def relative() -> Iterator[FloatArray]:
        """Give what one standard uncertainty of each cause does to the factor, as a share of it."""
        for first, second in zip(*causes, strict=True):
            yield slope * (first[:, None] + second)
        yield slope * escape.step_sigma * (parts[0][1][:, None] + parts[1][1])
        for part, turned, of_reference in zip((one, two), escape.turned(), of_x0, strict=True):
            yield turned * (slope * part - float(escape.slope(np.array(x0))) * of_reference)

    sigma = np.sqrt(sum((share**2 for share in relative()), np.zeros(x.shape)))
    factor = np.where(sigma < KNOWN, factor, np.nan)
    intensity = factor * measured.intensity

    def all_causes() -> Iterator[FloatArray]:
        yield from (factor * cause for cause in measured.causes())
        yield from (intensity * share for share in relative())

    corrected = replace(measured, intensity=intensity, variance=factor**2 * measured.variance, causes=all_causes)
    return Corrected(corrected, factor, sigma, _refused(measured, fine, x, sigma))


def _refused(measured: MapOnAxes, fine: NearEdge, x: FloatArray, sigma: FloatArray) -> str:
    """Say of what there is no factor, and why."""
    told = []
    beyond = int((measured.excitation > fine.energy[-1]).sum())
    if beyond:
        rows = number_of(beyond, "excitation energy")
        told.append(f"the absorption is known up to {fine.energy[-1]:g} eV, {rows} above are left out")
    within = np.isfinite(x) & np.isfinite(measured.intensity)
    unknown = within & ~(sigma < KNOWN)
    if unknown.any():
        share = unknown.sum() / within.sum()
        told.append(f"of {100 * share:.2g} % of the map the factor is not known to better than a third")
    return "; ".join(told) or "ok"


def corrected_yield(
    spectra: Spectra, escape: Escape, emission: float, *, pre_edge: Window | None = None,
    post_edge: Window | None = None, background: Literal["constant", "linear"] = "linear",
) -> tuple[Spectra, Spectra]:  # fmt: skip
    """Take self-absorption off a yield of fluorescence that is proportional to the absorption of the edge.

    Parameters
    ----------
    spectra : Spectra
        The yield over I0, of shape ().
    escape : Escape
    emission : float
        Energy of the fluorescence, eV; below the edge.
    pre_edge, post_edge, background : tuple of float, tuple of float, str
        As of `callbacks.xas.normalised.normalise_spectra`.

    Returns
    -------
    absorption, measured : Spectra
        In steps, with and without correction; NaN where no absorption gives as much fluorescence.

    Raises
    ------
    ValueError
        When it has no edge, or a window holds too few energies.

    Notes
    -----
    With the yield normalised to y, n is the solution of ``step n / g(x(n)) = c y``, found by Newton's method, and c the
    scale at which the mean of n in the window beyond the edge is 1. For a thick sample with rest and step alike at all
    energies, and that mean not asked for, it is ``n = a y / (a + 1 - y)`` with a = x(0) / (x(1) - x(0)), the correction
    of D. Haskel's FLUO, as larch has it.
    """
    each = _each_point_moved(spectra, pre_edge, post_edge, background)
    base = _absorption_of(each.values, each, escape, emission)
    causes = [base[1:] - base[0]]
    others = [
        (replace(escape, incidence=escape.incidence - escape.angle_sigma), 1.0),
        (replace(escape, exit=escape.exit - escape.angle_sigma), 1.0),
        (escape, 1 + escape.step_sigma),
    ]
    for other, step in others:
        causes.append(_absorption_of(each.values[:1], each, other, emission, step=step) - base[0])
    by_background = _absorption_of(each.values[0] + SMALL * each.background, each, escape, emission) - base[0]
    found = np.vstack([base[:1], by_background / SMALL, *causes])
    absorption, measured = np.full((len(found), len(each.known)), np.nan), np.full((2, len(each.known)), np.nan)
    absorption[:, each.known] = np.where(np.isfinite(found).all(axis=0), found, np.nan)
    measured[:, each.known] = each.values[0], each.variance
    values, functions, moved = np.split(absorption, [1, 1 + len(by_background)])
    shared = Causes.all_of(moved)
    return Spectra(spectra.energy, values[0], shared.alone, shared, functions), Spectra(spectra.energy, *measured)


def _absorption_of(
    yields: FloatArray, of_each: _Moved, escape: Escape, emission: float, *, step: float = 1.0
) -> FloatArray:
    """Solve for the absorption (m, n) that gives normalised yields (m, n), whose mean beyond the edge is 1."""
    of, (into, out) = escape.composition, escape.ways()
    rest = of.rest(of_each.energy) * into + float(of.rest(np.array([emission]))[0]) * out
    height = step * of.step(of_each.energy) * into
    damped = float(np.mean(1 - height * escape.slope(rest + height)))  # by which the yield grows with n, where n is 1
    scale = np.full((len(yields), 1), float(np.mean(height / escape.loss(rest + height))))
    n: FloatArray = np.zeros(yields.shape)
    mean = n[:, :1]
    with np.errstate(all="ignore"):  # a point that has no solution runs away, and is NaN
        for _ in range(PASSES):
            n = _solved(scale * yields / height, rest, height, escape)
            mean = n[:, of_each.beyond].mean(axis=1, keepdims=True)
            if np.all(np.abs(mean - 1) < SETTLED):
                break
            scale = scale / mean**damped
    return np.where(np.abs(mean - 1) < SETTLED, n, np.nan)


def _solved(wanted: FloatArray, rest: FloatArray, height: FloatArray, escape: Escape) -> FloatArray:
    """Solve n / g(rest + height n) = wanted by Newton's method from 0: the left side is concave and rises."""
    n: FloatArray = np.zeros(wanted.shape)
    gone = n
    for _ in range(PASSES):
        x = rest + height * n
        loss = escape.loss(x)
        gone = (n / loss - wanted) * loss / (1 - n * height * escape.slope(x))
        n = n - gone
        if np.all(~(np.abs(gone) > SETTLED * (1 + np.abs(n)))):
            break
    return np.where((rest + height * n > 0) & (np.abs(gone) <= SETTLED * (1 + np.abs(n))), n, np.nan)
