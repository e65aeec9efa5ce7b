"""Reference spectra measured beforehand, and their fractions in every pixel of a stack."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.interpolate import CubicSpline

from callbacks.fitting.nonnegative import Unmixed, no_fractions, put
from callbacks.fitting.rows import CHUNK, too_few_energies
from callbacks.stxm.components.normalisation import Windows
from callbacks.stxm.density.masks import GOOD, LOW_JUMP
from callbacks.stxm.density.whole import WholeDensity
from callbacks.stxm.edges import Window, inside
from callbacks.stxm.unmixing.fractions import fit_flattened, fit_mean, spread_of_noise, with_uncertain_references
from callbacks.wording import number_of

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

LARGEST_CONDITION = 50.0  # of the references, each of length 1, at the energies so far: beyond, they look alike


class Reference(BaseModel):
    """A reference spectrum, measured at the same beamline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    energy: tuple[float, ...]  # eV, ascending
    optical_density: tuple[float, ...]
    sigma: tuple[float, ...] = ()  # standard uncertainty of the optical density; none: not known, and not counted
    source: str = ""  # the run or file it is from
    gaps: tuple[tuple[float, float], ...] = ()  # eV, between which nothing was measured at the energies that were set

    @model_validator(mode="after")
    def _one_length(self) -> Reference:
        if len(self.energy) != len(self.optical_density) or len(self.energy) < 4:
            raise ValueError(
                f"a reference of {len(self.energy)} energies and {len(self.optical_density)} optical densities,"
                " expected the same number, four or more"
            )
        if self.sigma and len(self.sigma) != len(self.energy):
            raise ValueError(f"a reference of {len(self.energy)} energies has {len(self.sigma)} uncertainties")
        if not np.all(np.diff(self.energy) > 0):
            raise ValueError("a reference's energies do not ascend")
        return self


class ChemistrySettings(BaseModel):
    """Which references are fitted to the pixels, and which two of them make the chemical map.

    Where one of the two was not measured, end members are found in the pixels, and the references are some of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    references: dict[str, Reference] = Field(default_factory=dict, max_length=6)
    reduced: str = "reduced"  # names of references
    oxidised: str = "oxidised"

    @model_validator(mode="after")
    def _known(self) -> ChemistrySettings:
        if self.references and not {self.reduced, self.oxidised} & self.references.keys():
            raise ValueError(
                f"no reference named {self.reduced} or {self.oxidised}; there are {', '.join(self.references)}"
            )
        return self

    @property
    def complete(self) -> bool:
        """Whether both phases were measured, so that references alone make the map."""
        return {self.reduced, self.oxidised} <= self.references.keys()

    @property
    def corners(self) -> dict[str, Reference]:
        """The references under the names that end members have."""
        roles = {self.reduced: "reduced", self.oxidised: "oxidised"}
        return {roles.get(name, name): reference for name, reference in self.references.items()}


@dataclass(frozen=True)
class ReferenceFit:
    """Fractions of references in every pixel of a stack.

    Attributes
    ----------
    unmixed : Unmixed
        Of all pixels, in one axis; NaN for those left out, and for all where `status` is not "ok".
    energies : numpy.ndarray, shape (n,)
        eV, those fitted.
    references : numpy.ndarray, shape (k, n)
        At these energies, each scaled to an edge jump of 1.
    used : numpy.ndarray of bool, shape (energies,)
        Which of the energies of the stack they are.
    total : Unmixed
        Of the mean spectrum of the good pixels, one spectrum.
    status : str
        "ok", or why there are no fractions.
    note : str
        Which references do not cover all energies of the stack, so that only some are fitted; else empty.
    """

    unmixed: Unmixed
    energies: FloatArray
    references: FloatArray
    used: BoolArray
    total: Unmixed
    status: str
    note: str = ""


def references_at(
    energies: FloatArray,
    references: Mapping[str, Reference],
    *,
    phases: Collection[str],
    pre_edge: Window,
    post_edge: Window,
) -> FloatArray:
    """Give references on the energies of a stack, each scaled to an edge jump of 1.

    Parameters
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV.
    references : mapping of str to Reference
    phases : collection of str
        Names of those whose ratio counts atoms, and that must have an edge.
    pre_edge, post_edge : (float, float)
        eV.

    Returns
    -------
    numpy.ndarray, shape (references, energies)
        NaN at energies beyond those of the reference, or in its gaps.

    Raises
    ------
    ValueError
        For a reference without an edge in the windows.
    """
    return np.array([at for at, _ in _scaled(energies, references, phases, pre_edge, post_edge)])


def _scaled(
    energies: FloatArray,
    references: Mapping[str, Reference],
    phases: Collection[str],
    pre_edge: Window,
    post_edge: Window,
) -> Iterator[tuple[FloatArray, float]]:
    """Give each reference on some energies, and the relative uncertainty of what it was divided by."""
    for name, reference in references.items():
        own, density = np.array(reference.energy), np.array(reference.optical_density)
        below, above = inside(own, pre_edge), inside(own, post_edge)
        if not below.any() or not above.any():
            raise ValueError(
                f"reference {name}: has no energies from {pre_edge[0]:g} to {pre_edge[1]:g} eV or from"
                f" {post_edge[0]:g} to {post_edge[1]:g} eV"
            )
        jump = density[above].mean() - density[below].mean()
        if name not in phases:
            jump = max(jump, density.mean())  # what has no edge is scaled to a mean of 1
        if not jump > 0:
            raise ValueError(f"reference {name}: has no edge between its pre-edge and its post-edge")
        noise = np.square(reference.sigma) if reference.sigma else np.zeros(len(own))
        of_jump = noise[above].sum() / above.sum() ** 2 + noise[below].sum() / below.sum() ** 2
        at = np.where(_in_gap(energies, reference), np.nan, _interpolated(energies, own, density))
        yield at / jump, float(np.sqrt(of_jump) / jump)


def _interpolated(energies: FloatArray, own: FloatArray, values: FloatArray) -> FloatArray:
    """Give values by a cubic spline; NaN beyond half a step from the ends."""
    at = np.asarray(CubicSpline(own, values)(energies))
    at[~_covered(energies, own)] = np.nan
    return at


def _covered(energies: FloatArray, own: FloatArray) -> BoolArray:
    """Tell which energies lie among those of a reference, or beyond its ends by half a step at most."""
    low, high = own[0] - 0.5 * (own[1] - own[0]), own[-1] + 0.5 * (own[-1] - own[-2])
    return np.asarray((energies >= low) & (energies <= high))


def _in_gap(energies: FloatArray, reference: Reference) -> BoolArray:
    """Tell at which energies a reference was not measured, between those at which it was."""
    found = np.zeros(len(energies), dtype=bool)
    for low, high in reference.gaps:
        found |= (energies > low) & (energies < high)
    return found


def in_gaps(energies: FloatArray, references: Mapping[str, Reference]) -> list[str]:
    """Name the references that were not measured at some of the energies (eV), between those at which they were."""
    missing = {name: energies[_in_gap(energies, reference)] for name, reference in references.items()}
    return [
        f"reference {name}: was not measured at {number_of(len(at), 'energy')} from {at.min():g} to {at.max():g} eV"
        for name, at in missing.items()
        if len(at)
    ]


def beyond(energies: FloatArray, references: Mapping[str, Reference]) -> list[str]:
    """Name the references that do not cover all energies (eV), each with what it covers and what was expected."""
    return [
        f"reference {name}: covers {reference.energy[0]:g} to {reference.energy[-1]:g} eV,"
        f" expected {energies.min():g} to {energies.max():g} eV"
        for name, reference in references.items()
        if not _covered(energies, np.array(reference.energy)).all()
    ]


def uncovered(energies: FloatArray, references: Mapping[str, Reference]) -> list[str]:
    """Name the references that are not known at all energies (eV), each with where they are not."""
    return [*beyond(energies, references), *in_gaps(energies, references)]


def variance_at(energies: FloatArray, reference: Reference) -> FloatArray:
    """Give the variance of a reference on some energies, interpolated; 0 where it is not known."""
    noise = np.square(reference.sigma) if reference.sigma else np.zeros(len(reference.energy))
    return np.asarray(np.interp(energies, reference.energy, noise))


def reference_spread(
    energies: FloatArray,
    references: FloatArray,
    settings: ChemistrySettings,
    weights: FloatArray,
    windows: Mapping[str, Window],
) -> FloatArray:
    """Give what the noise of references does to fractions, see `callbacks.stxm.unmixing.fractions`.

    Parameters
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV.
    references : numpy.ndarray, shape (k, energies)
        As `references_at` gives them.
    settings : ChemistrySettings
    weights : numpy.ndarray, shape (energies,)
        Of the energies in the fit.
    windows : mapping of str to (float, float)
        `pre_edge` and `post_edge`, eV.
    """
    phases = (settings.reduced, settings.oxidised)
    scaled = list(_scaled(energies, settings.references, phases, windows["pre_edge"], windows["post_edge"]))
    variance, nearest = np.zeros(references.shape), np.zeros(references.shape, dtype=int)
    for place, (reference, (at, _)) in enumerate(zip(settings.references.values(), scaled, strict=True)):
        own = _interpolated(energies, np.array(reference.energy), np.array(reference.optical_density))
        variance[place] = variance_at(energies, reference) * np.median(at / own) ** 2
        nearest[place] = np.abs(energies[:, None] - np.array(reference.energy)).argmin(axis=1)
    spread = spread_of_noise(references, variance, weights, nearest)
    for place, (_, of_jump) in enumerate(scaled):
        spread[place, place, place, place] += of_jump**2
    return spread


def normalised_references(
    energies: FloatArray, references: Mapping[str, Reference], windows: Windows
) -> tuple[list[str], FloatArray, FloatArray, list[str]]:
    """Give references as end members: each less its background and over its area.

    Parameters
    ----------
    energies : numpy.ndarray, shape (energies,)
        eV.
    references : mapping of str to Reference
    windows : Windows
        Of background and area.

    Returns
    -------
    names : list of str
        Of those that cover the energies and have a positive area: no other can be an end member.
    spectra : numpy.ndarray, shape (names, energies)
    covariance : numpy.ndarray, shape (names, energies, energies)
    left_out : list of str
        Why the others cannot be, each by its name.
    """
    if windows.background is None or windows.area is None:
        left_out = [f"reference {name}: left out, as pixels are not normalised" for name in references]
        references = {}
    else:
        left_out = [f"{each}; left out" for each in beyond(energies, references)]
        left_out += [f"{each}; interpolated there" for each in in_gaps(energies, references)]
    level, weight = windows.weights(energies)
    names, spectra, covariance = [], [], []
    for name, reference in references.items():
        own = np.array(reference.energy)
        if not _covered(energies, own).all():
            continue
        at = _interpolated(energies, own, np.array(reference.optical_density))
        at = at - level @ at
        if not weight @ at > 0:
            assert windows.area is not None
            low, high = windows.area
            left_out.append(
                f"reference {name}: its area above the background from {low:.4g} to {high:.4g} eV is {weight @ at:.3g},"
                " expected above 0; left out"
            )
            continue
        spectrum, total = at / (weight @ at), weight @ at
        jacobian = windows.jacobian(energies, spectrum) / total
        names.append(name)
        spectra.append(spectrum)
        covariance.append(jacobian * variance_at(energies, reference) @ jacobian.T)
    size = len(energies)
    return names, np.array(spectra).reshape(-1, size), np.array(covariance).reshape(-1, size, size), left_out


def fit_references(
    whole: WholeDensity, settings: ChemistrySettings, *, pre_edge: Window, post_edge: Window
) -> ReferenceFit:
    """Fit references to every pixel of a whole stack that holds sample.

    Parameters
    ----------
    whole : WholeDensity
    settings : ChemistrySettings
        With two references or more.
    pre_edge, post_edge : (float, float)
        eV.

    Returns
    -------
    ReferenceFit

    Raises
    ------
    ValueError
        For a reference without an edge in the windows of the stack.
    """
    pixels, count = whole.mask.size, len(settings.references)
    energies = whole.energies[whole.usable]
    if whole.status != "ok" or not len(energies):
        status = whole.status if whole.status != "ok" else "no image can be used"
        return _no_fit(pixels, np.zeros(0), np.zeros((count, 0)), np.zeros(0, dtype=bool), status)
    references = references_at(
        energies,
        settings.references,
        phases=(settings.reduced, settings.oxidised),
        pre_edge=pre_edge,
        post_edge=post_edge,
    )
    used = np.asarray(np.isfinite(references).all(axis=0))
    references = references[:, used]
    note = "; ".join(uncovered(energies, settings.references))
    status = why_not(references)
    if status and note:
        status = f"{status}; {note}"
    elif note:
        note += f"; {used.sum()} of {len(used)} energies are fitted"
    good = whole.mask == GOOD
    if status or not good.any():
        return _no_fit(pixels, energies[used], references, used, status or "no pixel is good")
    mean, sigma = (each[whole.usable][used] for each in whole.spectrum(good))
    square, variance = whole.mean_square(good)[whole.usable][used], sigma**2
    total, flattening = fit_mean(mean, square, references, variance)
    edges = {"pre_edge": pre_edge, "post_edge": post_edge}
    spread = reference_spread(energies[used], references, settings, 1.0 / variance, edges)
    unmixed, total = (
        with_uncertain_references(each, spread) for each in (_unmix_blocks(whole, references, used, flattening), total)
    )
    return ReferenceFit(unmixed, energies[used], references, used, total, "ok", note)


def _no_fit(pixels: int, energies: FloatArray, references: FloatArray, used: BoolArray, status: str) -> ReferenceFit:
    """Give no fractions, and why."""
    count = len(references)
    return ReferenceFit(no_fractions(pixels, count), energies, references, used, no_fractions(1, count), status)


def why_not(references: FloatArray) -> str:
    """Say why references cannot be told apart at some energies; "" where they can.

    Parameters
    ----------
    references : numpy.ndarray, shape (references, energies)
    """
    count, energies = references.shape
    if problem := too_few_energies(energies, count):
        return problem
    lengths = np.linalg.norm(references, axis=1, keepdims=True)
    if not (condition := np.linalg.cond(references / lengths)) <= LARGEST_CONDITION:
        return f"the references look alike at the energies so far (condition {condition:.0f})"
    return ""


def _unmix_blocks(whole: WholeDensity, references: FloatArray, used: BoolArray, flattening: float) -> Unmixed:
    """Unmix the pixels that hold sample, a chunk at a time, so that the stack is nowhere copied whole."""
    found, start = no_fractions(whole.mask.size, len(references)), 0
    for block, variances in zip(*whole.blocks((GOOD, LOW_JUMP), without=whole.blank.pixels), strict=True):
        pixels = np.flatnonzero(np.isfinite(block[:, used]).all(axis=1))
        for some in (pixels[begin : begin + CHUNK] for begin in range(0, len(pixels), CHUNK)):
            chosen = np.ix_(some, used)
            spectra, variance = block[chosen], variances[chosen]
            put(fit_flattened(spectra, references, variance, flattening), start + some, found)
        start += len(block)
    return found
