"""Reference spectra measured beforehand, and their fractions in every pixel of a stack."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.interpolate import CubicSpline

from callbacks.fitting.nonnegative import Unmixed, no_fractions, put, unmix, with_misfit
from callbacks.fitting.rows import CHUNK, too_few_energies
from callbacks.stxm.density.masks import GOOD, LOW_JUMP
from callbacks.stxm.density.whole import WholeDensity
from callbacks.stxm.edges import Window, inside

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

LARGEST_CONDITION = 50.0  # of the references, each of length 1, at the energies so far: beyond, they look alike


class Reference(BaseModel):
    """A reference spectrum, measured at the same beamline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    energy: tuple[float, ...]  # eV, ascending
    optical_density: tuple[float, ...]
    source: str = ""  # the run or file it is from

    @model_validator(mode="after")
    def _one_length(self) -> Reference:
        if len(self.energy) != len(self.optical_density) or len(self.energy) < 4:
            raise ValueError(
                f"a reference of {len(self.energy)} energies and {len(self.optical_density)} optical densities,"
                " expected the same number, four or more"
            )
        if not np.all(np.diff(self.energy) > 0):
            raise ValueError("a reference's energies do not ascend")
        return self


class ChemistrySettings(BaseModel):
    """Which references are fitted to the pixels, and which two of them make the chemical map."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    references: dict[str, Reference] = Field(default_factory=dict, max_length=6)
    reduced: str = "reduced"  # names of references
    oxidised: str = "oxidised"

    @model_validator(mode="after")
    def _known(self) -> ChemistrySettings:
        if self.references and (missing := {self.reduced, self.oxidised} - self.references.keys()):
            raise ValueError(f"no reference named {', '.join(sorted(missing))}; there are {', '.join(self.references)}")
        return self


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
    status : str
        "ok", or why there are no fractions.
    """

    unmixed: Unmixed
    energies: FloatArray
    references: FloatArray
    used: BoolArray
    status: str


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
        NaN at energies beyond those of the reference.

    Raises
    ------
    ValueError
        For a reference without an edge in the windows.
    """
    found = []
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
        at = CubicSpline(own, density)(energies)
        at[(energies < own[0] - 0.5 * (own[1] - own[0])) | (energies > own[-1] + 0.5 * (own[-1] - own[-2]))] = np.nan
        found.append(at / jump)
    return np.array(found)


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
        nothing = np.zeros((count, 0))
        return ReferenceFit(no_fractions(pixels, count), nothing[0], nothing, np.zeros(0, dtype=bool), status)
    references = references_at(
        energies,
        settings.references,
        phases=(settings.reduced, settings.oxidised),
        pre_edge=pre_edge,
        post_edge=post_edge,
    )
    used = np.asarray(np.isfinite(references).all(axis=0))
    references = references[:, used]
    status = why_not(references)
    unmixed = no_fractions(pixels, count) if status else _unmix_blocks(whole, references, used)
    return ReferenceFit(unmixed, energies[used], references, used, status or "ok")


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


def _unmix_blocks(whole: WholeDensity, references: FloatArray, used: BoolArray) -> Unmixed:
    """Unmix the pixels that hold sample, a chunk at a time, so that the stack is nowhere copied whole."""
    found, start = no_fractions(whole.mask.size, len(references)), 0
    for block, variances in zip(*whole.blocks((GOOD, LOW_JUMP), without=whole.blank.pixels), strict=True):
        pixels = np.flatnonzero(np.isfinite(block[:, used]).all(axis=1))
        for some in (pixels[begin : begin + CHUNK] for begin in range(0, len(pixels), CHUNK)):
            chosen = np.ix_(some, used)
            spectra, variance = block[chosen], variances[chosen]
            put(with_misfit(unmix(spectra, references, variance), spectra, references, variance), start + some, found)
        start += len(block)
    return found
