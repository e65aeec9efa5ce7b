"""Many spectra normalised at once: a background taken off and the edge jump, or the area, divided by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from callbacks.fitting.rows import as_rows
from callbacks.xas.background import (
    MISSING,
    NO_EDGE,
    SIGMAS,
    Form,
    Window,
    background,
    gaps,
    jump_weight,
    points_inside,
    propagated,
    straightened,
    windows,
)
from callbacks.xas.expected import holds_enough, too_thin

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class Shared:
    """What the points of normalised spectra have in common: a background and a divisor, each told by all points.

    A point of a normalised spectrum moves by its own noise over the divisor, less `column` times what the number `k`
    moves by: coefficients of the background, and the divisor. To first order that is all.

    Attributes
    ----------
    alone : numpy.ndarray, shape (..., n_energies)
        Variance of the points by their own noise.
    covariance : numpy.ndarray, shape (..., numbers, numbers)
        Of these numbers.
    """

    alone: FloatArray
    covariance: FloatArray
    _values: FloatArray
    _divisor: FloatArray  # (...)
    _columns: FloatArray  # (n_energies, numbers - 1), of the background
    _rows: FloatArray  # (numbers, n_energies), that make the numbers of a spectrum

    @property
    def numbers(self) -> int:
        """How many there are."""
        return len(self._rows)

    @property
    def background(self) -> FloatArray:
        """The functions that the background is made of, shape (numbers - 1, n_energies)."""
        return np.asarray(self._columns.T)

    def column(self, k: int) -> FloatArray:
        """Give by how much each point is less for a unit of a number, shape (..., n_energies)."""
        own = self._columns[:, k] if k < self._columns.shape[1] else self._values
        return np.asarray(own / self._divisor[..., None])

    def beside(self, k: int) -> FloatArray:
        """Give the covariance of the own noise of each point with a number, shape (..., n_energies)."""
        return np.asarray(self.alone * self._rows[k] * self._divisor[..., None])


@dataclass(frozen=True)
class Normalised:
    """Normalised spectra.

    Attributes
    ----------
    values, variance : numpy.ndarray, shape (..., n_energies)
        NaN throughout where `status` is not "ok".
    shared : Shared
        What their points have in common.
    jump, jump_sigma : numpy.ndarray, shape (...)
        What was divided by: the edge jump, or the area (eV).
    status : numpy.ndarray of str, shape (...)
    """

    values: FloatArray
    variance: FloatArray
    shared: Shared
    jump: FloatArray
    jump_sigma: FloatArray
    status: NDArray[np.str_]


def normalise_spectra(
    energy: FloatArray,
    spectra: FloatArray,
    variance: FloatArray,
    *,
    pre_edge: Window | None = None,
    post_edge: Window | None = None,
    form: Form = "linear",
    by: Literal["edge", "area"] = "edge",
    alike: bool = False,
) -> Normalised:
    """Subtract what is fitted before the edge and divide by the jump, or the area, beyond it.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n_energies,)
        eV, ascending.
    spectra : numpy.ndarray, shape (..., n_energies)
        NaN where not measured. An energy that no spectrum has is left out of all; but where the area needs it, the
        status says so.
    variance : numpy.ndarray, shape (n_energies,) or that of the spectra
        Of independent points.
    pre_edge, post_edge : tuple of float, optional
        eV; default beside the edge of the mean of the spectra (`callbacks.xas.background.windows`).
    form : {"constant", "linear", "power_law"}
        Of the background.
    by : {"edge", "area"}
        The mean in the window beyond the edge, or the area there.
    alike : bool
        Whether the spectra are of one kind and differ mostly by how much of it there is, as pixels do: those of which
        too little is expected (`callbacks.xas.expected`) are left out, whatever they measured.

    Returns
    -------
    Normalised
        Its variance is propagated through background and jump; that points have these in common is in `shared`.

    Raises
    ------
    ValueError
        When shapes do not match, or a window holds too few energies.

    See Also
    --------
    callbacks.xas.spectrum.normalise_spectrum : of one spectrum, whose points weigh by their own noise
    """
    rows = as_rows(energy, spectra, variance)
    energy = np.asarray(energy, dtype=float)
    span = rows.spanned
    part, at, recorded = rows.at(span), energy[span], rows.recorded[span]
    pre, post = windows(at, pre_edge, post_edge, part.mean)
    inside = points_inside(at, pre, "pre-edge", 1 if form == "constant" else 2, recorded)
    before = background(at, part.mean_variance, inside, form, part.mean)
    part = straightened(part, form, before)
    points_inside(at, post, "post-edge", 1 if by == "edge" else 2, recorded)
    weight = jump_weight(at, post, recorded, by)
    jump_row = before.after_off(weight)
    subtracted = before.off(part.values)
    jump = part.values @ jump_row
    missing = (~part.measured & ((before.rows != 0).any(axis=0) | (weight != 0))).any(axis=1)
    jump_sigma = propagated(np.broadcast_to(jump_row, part.values.shape), part.variance)
    status = np.full(len(rows), "ok", dtype="<U60")
    status[~(jump > SIGMAS * jump_sigma)] = NO_EDGE
    if alike:
        enough = holds_enough(part, before.columns, jump_row, jump, jump_sigma)
        status[(status == "ok") & ~enough] = too_thin("edge jump")
    status[missing] = next((said for places, said in gaps(at, recorded) if weight[places].any()), MISSING)
    ok = status == "ok"
    divisor = np.where(ok, jump, np.nan)[:, None]
    normalised = subtracted / divisor
    # As of one spectrum: the Jacobian is the unit matrix less one of low rank, over the jump. That of the background is
    # the same in all spectra, the last of its columns is each one's own.
    noise, fixed = part.variance, before.rows
    own = 1.0 - 2.0 * np.einsum("er,re->e", before.columns, fixed) - 2.0 * normalised * jump_row
    cross = np.einsum("ne,re,se->nrs", noise, fixed, fixed)
    shared = np.einsum("er,nrs,es->ne", before.columns, cross, before.columns)
    shared += 2.0 * normalised * np.einsum("er,nr->ne", before.columns, (noise * jump_row) @ fixed.T)
    shared += normalised**2 * ((noise * jump_row**2).sum(axis=1))[:, None]
    spread = np.maximum(noise * own + shared, 0.0) / divisor**2
    numbers = np.vstack([fixed, jump_row])
    values, its_variance, alone = (np.full((len(rows), len(energy)), np.nan) for _ in range(3))
    values[:, span] = np.where(part.measured, normalised, np.nan)
    its_variance[:, span] = np.where(part.measured, spread, np.nan)
    alone[:, span] = np.where(part.measured, noise / divisor**2, np.nan)
    columns, of_numbers = np.zeros((len(energy), len(fixed))), np.zeros((len(numbers), len(energy)))
    columns[span], of_numbers[:, span] = before.columns, numbers
    shared_noise = Shared(
        alone=rows.restore(alone),
        covariance=rows.restore(np.einsum("ne,re,se->nrs", noise, numbers, numbers)),
        _values=rows.restore(values),
        _divisor=rows.restore(divisor[:, 0]),
        _columns=columns,
        _rows=of_numbers,
    )
    return Normalised(
        values=rows.restore(values),
        variance=rows.restore(its_variance),
        shared=shared_noise,
        jump=rows.restore(np.where(missing, np.nan, jump)),
        jump_sigma=rows.restore(np.where(missing, np.nan, jump_sigma)),
        status=rows.restore(status),
    )
