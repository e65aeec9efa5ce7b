"""Features of an absorption spectrum, and the excitation energies of a RIXS map that they ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.signal import find_peaks, peak_widths

from callbacks.xas.energy_scale import by_peak

FloatArray = NDArray[np.floating]

SIGMAS = 5.0  # by which a feature stands above its surroundings: noise of 100 points gives that once in 10,000 spectra


class ExcitationSettings(BaseModel):
    """How excitation energies are proposed, eV; the defaults follow the maps of the reference text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: float = Field(0.2, gt=0)  # over the edge
    fine: float = Field(0.1, gt=0)  # at narrow features
    around: float = Field(0.4, ge=0)  # on either side of a feature that is fine
    narrow: float = Field(2.0, gt=0)  # FWHM up to which a feature is narrow
    before: float = Field(1.0, ge=0)  # from so far below the onset
    beyond: float = Field(3.0, ge=0)  # to so far above the last feature
    # Where the elastic line stands alone, for the calibration: below the onset, and above the last that is mapped.
    below: tuple[float, ...] = (9.0, 6.0, 3.0)
    above: tuple[float, ...] = (4.0, 8.0, 12.0)


@dataclass(frozen=True)
class Feature:
    """A maximum of a spectrum.

    Attributes
    ----------
    energy, sigma : float
        eV; NaN where `status` is not "ok".
    height : float
        Of the normalised spectrum.
    width : float
        Full width at half prominence, eV.
    status : str
    """

    energy: float
    sigma: float
    height: float
    width: float
    status: str


def find_features(energy: FloatArray, normalised: FloatArray, sigma: FloatArray) -> list[Feature]:
    """Find the maxima of a spectrum that noise does not make, by energy.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n,)
        eV, ascending.
    normalised, sigma : numpy.ndarray, shape (n,)
        NaN: left out.

    Returns
    -------
    list of Feature
        A maximum is one where it stands above the higher of the minima beside it by five of its sigmas; its energy is
        that of a Gaussian on a slope through what is within half its width (`callbacks.xas.energy_scale.by_peak`).
    """
    good = np.isfinite(normalised) & np.isfinite(sigma) & (sigma > 0)
    energy, normalised, sigma = energy[good], normalised[good], sigma[good]
    if len(energy) < 3:
        return []
    places, found = find_peaks(normalised, prominence=0.0)
    prominent = found["prominences"] > SIGMAS * sigma[places] * math.sqrt(2)
    places = places[prominent]
    _, _, left, right = peak_widths(normalised, places, rel_height=0.5)
    at = np.interp(np.stack([left, right]), np.arange(len(energy)), energy)
    features = []
    for place, width in zip(places, at[1] - at[0], strict=True):
        top = float(energy[place])
        fitted = by_peak(energy, normalised, sigma**2, top, largest=0.3 * width, half_width=max(0.6 * width, 0.7))
        ok = fitted.status == "ok"
        features.append(
            Feature(
                energy=top - fitted.offset if ok else math.nan,
                sigma=fitted.sigma,
                height=float(normalised[place]),
                width=float(width),
                status=fitted.status,
            )
        )
    return features


def onset(energy: FloatArray, normalised: FloatArray, sigma: FloatArray) -> float:
    """Give the energy, eV, from which on a spectrum is above its background; NaN where it never is.

    Two points in a row are, by five sigmas and a twentieth of the jump.
    """
    with np.errstate(invalid="ignore"):
        above = normalised > np.maximum(SIGMAS * sigma, 0.05)
    starts = np.flatnonzero(above[:-1] & above[1:])
    return float(energy[starts[0]]) if len(starts) else math.nan


def propose_excitations(
    features: Sequence[Feature], begins: Sequence[float], reach: tuple[float, float], settings: ExcitationSettings
) -> str:
    """Propose the excitation energies of a RIXS map for samples whose spectra are known.

    Parameters
    ----------
    features : sequence of Feature
        Of all samples, eV of the monochromator.
    begins : sequence of float
        Onset of each sample, eV of the monochromator.
    reach : (float, float)
        Energies that were measured, eV; what is proposed between the ends of the map lies within them.
    settings : ExcitationSettings

    Returns
    -------
    str
        Energies as plans take them: single ones, and regions as start:stop:step.

    Raises
    ------
    ValueError
        Where no sample has an edge or a feature.
    """
    known = sorted(feature.energy for feature in features if feature.status == "ok")
    starts = [begin for begin in begins if math.isfinite(begin)]
    if not known or not starts:
        raise ValueError("no feature stands out in any spectrum, so that no excitation energies can be proposed")
    first = max(min(starts) - settings.before, reach[0])
    last = min(known[-1] + settings.beyond, reach[1])
    grid = settings.step * np.arange(math.floor(first / settings.step), math.ceil(last / settings.step) + 1)
    fine = np.zeros(len(grid) - 1, dtype=bool)  # by interval
    middles = (grid[:-1] + grid[1:]) / 2
    for feature in features:
        if feature.status == "ok" and feature.width <= settings.narrow:
            fine |= np.abs(middles - feature.energy) <= settings.around + settings.step / 2
    changes = np.flatnonzero(np.diff(fine)) + 1
    ends = [0, *changes.tolist(), len(fine)]
    regions = [
        f"{_text(grid[low])}:{_text(grid[high])}:{_text(settings.fine if fine[low] else settings.step)}"
        for low, high in pairwise(ends)
    ]
    below = [_text(round(grid[0] - each, 1)) for each in sorted(settings.below, reverse=True) if each > 0]
    above = [_text(round(grid[-1] + each, 1)) for each in sorted(settings.above) if each > 0]
    return ", ".join([*below, *regions, *above])


def _text(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")
