"""Uncertainties of what is read off spectra whose points share noise: of background, divisor, or any other cause."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from callbacks.analysis.measured import Causes, Measured, Reference, Spectra
from callbacks.analysis.measures import Measure
from callbacks.xas.normalised import Shared

FloatArray = NDArray[np.floating]

AT_ONCE = 50  # causes, along which spectra are moved both ways
NOT_TOLD = "its uncertainty cannot be told: spectra that are moved by a part of their noise have no such value"
ROUNDING = 1e-4  # of a variance, from differences of values that are read off spectra
EXACT = 1e-6  # of a fraction: a spectrum that is fitted by itself is off by less than that
STEP = 0.1  # standard uncertainties of a shared number, by which spectra are moved to see what follows


def take(measure: Measure, spectra: Spectra, references: Mapping[str, Reference]) -> Measured:
    """Read a measure off spectra; where their points share noise, that is in its uncertainties.

    Parameters
    ----------
    measure : Measure
    spectra : Spectra
    references : mapping of str to Reference

    Raises
    ------
    ValueError
        When it cannot be read off any spectrum of these energies.

    Notes
    -----
    With g the derivative of a value by the points, D their own noise, c the columns of the shared numbers, S their
    covariance, and x their covariance with the own noise, the variance is ``g D g - 2 (g x)(g c) + (g c) S (g c)``. The
    first term is what the measure makes of independent points; g c and g x are differences between spectra that are
    moved a little along c and x: four for each number, however many points there are. Of independent causes it is
    ``g D g`` and the sum of their (g c)^2, less that of those counted twice.
    """
    shared = spectra.shared
    if shared is None:
        return measure.measure(spectra, references)
    if isinstance(shared, Causes):
        return _take_by_causes(measure, spectra, shared, references)
    alone = replace(spectra, variance=shared.alone, shared=None, background=shared.background)
    found = measure.measure(alone, references)

    def slopes(direction: FloatArray) -> dict[str, FloatArray]:
        """Give the derivative of each value along a direction."""
        ends = [
            measure.measure(replace(alone, values=alone.values + step * direction), references).values
            for step in (STEP, -STEP)
        ]
        return {key: (ends[0][key].values - ends[1][key].values) / (2 * STEP) for key in found.values}

    added = dict(_added(shared, slopes, [key for key, value in found.values.items() if value.sigma is not None]))
    return _with(found, added)


def _take_by_causes(
    measure: Measure, spectra: Spectra, causes: Causes, references: Mapping[str, Reference]
) -> Measured:
    alone = replace(spectra, variance=causes.alone, shared=None)
    found = measure.measure(alone, references)
    keys = [key for key, value in found.values.items() if value.sigma is not None and value.sigma > 0]
    if not keys:
        return found
    measure, added = measure.near(found), {key: np.zeros(()) for key in keys}
    for sign, directions in ((1.0, causes.added), (-1.0, causes.counted_twice)):
        for first in range(0, len(directions), AT_ONCE):
            steps = STEP * np.nan_to_num(directions[first : first + AT_ONCE])
            moved = replace(alone, values=alone.values + np.concatenate([steps, -steps]))
            moved = replace(moved, variance=np.broadcast_to(causes.alone, moved.values.shape))
            values = measure.measure(moved, references).values
            for key in keys:
                ends = values[key].values.reshape(2, len(steps))
                added[key] = added[key] + sign * np.sum(np.square(ends[0] - ends[1])) / (2 * STEP) ** 2
    return _with(found, added)


def is_itself(found: Measured | str, own: Collection[str]) -> str:
    """Tell which of the references that are of its run a single spectrum is, by a fit to them; "" for none."""
    if isinstance(found, str):
        return ""
    fractions = {key: float(value.values) for key, value in found.values.items() if key.startswith("of_")}
    for name in own:
        only = {key: float(key == f"of_{name}") for key in fractions}
        if f"of_{name}" in only and all(abs(fractions[key] - one) < EXACT for key, one in only.items()):
            return name
    return ""


def beside_its_own(found: Measured, own: Collection[str]) -> Measured:
    """Give what a fit found in a single spectrum whose run is among its references, and say that they share noise.

    Parameters
    ----------
    found : Measured
        With uncertainties as if spectrum and references were independent.
    own : collection of str
        References that are of its run.

    Notes
    -----
    To first order what is fitted moves as the spectrum less the fractions times the references. A spectrum that is
    one of them is 1 of it and 0 of the others, whatever its noise: nothing is uncertain, and no chi square is left.
    Where they share a part of their pixels, their noise goes together in that part, and with a fraction above zero
    what is quoted is too large.
    """
    fitted = [name for name in own if f"of_{name}" in found.values]
    if not fitted or found.status != "ok":
        return found
    if not (name := is_itself(found, fitted)):
        told = f"is of the same run as reference {', '.join(fitted)}: noise that both share is counted twice"
        return replace(found, note=_noted(found, f"{told}, the uncertainties are too large, and chi square too small"))
    values = {
        key: replace(value, sigma=None if value.sigma is None else 0.0 * value.sigma)
        for key, value in found.values.items()
    }
    if (chi_square := values.get("reduced_chi_square")) is not None:
        values["reduced_chi_square"] = replace(chi_square, values=np.full(chi_square.values.shape, np.nan))
    told = f"is reference {name} itself, with the same noise: a fraction of 1 ± 0 by construction, no chi square"
    return replace(found, values=values, note=_noted(found, told))


def _noted(found: Measured, told: str) -> str:
    return "; ".join(filter(None, (found.note, told)))


def _added(
    shared: Shared, slopes: Callable[[FloatArray], dict[str, FloatArray]], keys: list[str]
) -> Iterator[tuple[str, FloatArray]]:
    """Give what the shared numbers add to the variance of each value; less than zero where they take away."""
    sigma = np.sqrt(np.einsum("...kk->...k", shared.covariance))
    numbers = range(shared.numbers)
    along = [slopes(sigma[..., k, None] * shared.column(k)) for k in numbers]
    beside = [slopes(shared.beside(k) / sigma[..., k, None]) for k in numbers]
    correlation = shared.covariance / (sigma[..., :, None] * sigma[..., None, :])
    for key in keys:
        c = np.stack([one[key] for one in along], axis=-1)
        x = np.stack([one[key] for one in beside], axis=-1)
        yield key, np.einsum("...k,...kl,...l->...", c, correlation, c) - 2.0 * (c * x).sum(axis=-1)


def _with(found: Measured, added: Mapping[str, FloatArray]) -> Measured:
    """Give values with what is added to their variances; none of it where one of them cannot be told then."""
    values, unknown = dict(found.values), np.zeros(np.shape(found.status), dtype=bool)
    for key, more in added.items():
        value = values[key]
        assert value.sigma is not None  # the caller has it
        variance = value.sigma**2 + more
        unknown |= (value.sigma > 0) & ~(variance > -ROUNDING * value.sigma**2)  # 0 of what is fixed by a normalisation
        values[key] = replace(value, sigma=np.sqrt(np.maximum(variance, 0.0)))
    unknown &= found.status == "ok"
    if not unknown.any():
        return replace(found, values=values)
    return replace(
        found,
        values={
            key: replace(
                value,
                values=np.where(unknown, np.nan, value.values),
                sigma=None if value.sigma is None else np.where(unknown, np.nan, value.sigma),
            )
            for key, value in values.items()
        },
        status=np.where(unknown, NOT_TOLD, found.status),
    )
