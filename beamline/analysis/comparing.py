"""Compare two datasets, with what is known of the uncertainty of the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from beamline.errors import BeamlineError

# A denominator is at least so many standard uncertainties: the next term of the expansion that the uncertainty of a
# ratio is the first of is smaller by the square of that, so by a factor of 9.
LEAST_SIGNIFICANCE = 3.0


def difference(first: xr.Dataset, second: xr.Dataset, name: str) -> xr.Dataset:
    """Subtract a variable of one dataset from that of another, on the axes of the first.

    Parameters
    ----------
    first, second : xarray.Dataset
        Each with the variable and ``NAME_sigma``.
    name : str
        Of the variable.

    Returns
    -------
    xarray.Dataset
        ``NAME``, first less second, and ``NAME_sigma``. The second is interpolated linearly where its axes differ, and
        is NaN outside them.

    Raises
    ------
    BeamlineError
        When one does not have the variable and its uncertainty, or axes are not comparable.

    Notes
    -----
    The two are taken to be independent, and so are the points of each: what moves all points of one together, as an
    error of the energy scale, is not in the uncertainty. A point between two others has that of their weighted mean.
    """
    (one, one_sigma), (other, other_sigma) = _pair(first, second, name)
    sigma = (one_sigma**2 + other_sigma**2) ** 0.5
    found = _outcome(name, one - other, sigma, f"difference of {_called(first, name)}", (first, second))
    if units := first[name].attrs.get("units"):
        for each in (name, f"{name}_sigma"):
            found[each].attrs["units"] = units
    return found


def ratio(
    first: xr.Dataset, second: xr.Dataset, name: str, *, least_significance: float = LEAST_SIGNIFICANCE
) -> xr.Dataset:
    """Divide a variable of one dataset by that of another, on the axes of the first.

    Parameters
    ----------
    first, second : xarray.Dataset
        As for `difference`. Two places of one dataset can be divided: ``stack.sel(stack_energy=...)``.
    name : str
    least_significance : float
        Where the denominator is fewer standard uncertainties from 0, the ratio is not known.

    Returns
    -------
    xarray.Dataset
        ``ratio`` and ``ratio_sigma``, to first order. NaN where either is not known or the denominator is too small;
        the attribute ``status`` says how many.

    Raises
    ------
    BeamlineError
        As `difference`.
    """
    (one, one_sigma), (other, other_sigma) = _pair(first, second, name)
    with np.errstate(divide="ignore", invalid="ignore"):
        small = np.isfinite(other) & ~(np.abs(other) >= least_significance * other_sigma) | (other == 0)
        value = (one / other).where(~small)
        sigma = (((one_sigma / other) ** 2 + (one * other_sigma / other**2) ** 2) ** 0.5).where(~small)
    found = _outcome("ratio", value, sigma, f"ratio of {_called(first, name)}", (first, second))
    number = int(small.sum())
    found["ratio"].attrs["status"] = (
        f"{number} of {small.size} not known: the denominator is less than {least_significance:g} sigmas from 0"
        if number
        else "ok"
    )
    return found


def _pair(first: xr.Dataset, second: xr.Dataset, name: str) -> list[tuple[xr.DataArray, xr.DataArray]]:
    for dataset in (first, second):
        if not isinstance(dataset, xr.Dataset):
            kind = type(dataset).__name__
            raise BeamlineError(f"{name}: of {kind}, expected of two xarray.Dataset, which have it with its sigma")
        if missing := [key for key in (name, f"{name}_sigma") if key not in dataset]:
            known = ", ".join(str(key) for key in dataset.data_vars if f"{key}_sigma" in dataset)
            raise BeamlineError(
                f"{' and '.join(missing)}: not in the dataset; expected a quantity with its sigma: {known}"
            )
    arrays = [(_bare(dataset[name]), _bare(dataset[f"{name}_sigma"])) for dataset in (first, second)]
    along = [", ".join(map(str, value.dims)) or "nothing" for value, _ in arrays]
    if along[0] != along[1]:
        raise BeamlineError(f"{name}: along {along[1]}, expected {along[0]}")
    return [arrays[0], _on_axes_of(arrays[0][0], *arrays[1])]


def _bare(array: xr.DataArray) -> xr.DataArray:
    """Leave the axes, and what else is known along them; a place that was selected is not one of the outcome."""
    return array.drop_vars([key for key in array.coords if key not in array.dims and not array.coords[key].dims])


def _on_axes_of(like: xr.DataArray, value: xr.DataArray, sigma: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    variance = sigma**2
    for axis in map(str, like.dims):
        if axis not in like.indexes or axis not in value.indexes:
            if like.sizes[axis] != value.sizes[axis]:
                raise BeamlineError(f"{axis}: {value.sizes[axis]}, expected {like.sizes[axis]}: it has no positions")
            continue
        if like.indexes[axis].equals(value.indexes[axis]):
            continue
        wanted, there = (np.asarray(each.indexes[axis]) for each in (like, value))
        if there.dtype.kind not in "fiu" or not (np.diff(there) > 0).all():
            raise BeamlineError(
                f"{axis}: differs between the two, and can be interpolated only along ascending numbers"
            )
        below, share = _between(wanted, there)
        above = np.minimum(below + 1, len(there) - 1)
        low, high = (xr.DataArray(weight, dims=axis) for weight in (1 - share, share))
        value = _mixed(value, axis, (below, above), (low, high), wanted)
        variance = _mixed(variance, axis, (below, above), (low**2, high**2), wanted)
    return value, variance**0.5


def _between(wanted: NDArray[Any], there: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.floating]]:
    """Give the point below each position, and how far it is from there to the next one; NaN outside."""
    below = np.clip(np.searchsorted(there, wanted, side="right") - 1, 0, max(len(there) - 2, 0))
    step = there[np.minimum(below + 1, len(there) - 1)] - there[below]
    share = np.divide(wanted - there[below], step, out=np.zeros(len(wanted)), where=step > 0)
    return below, np.where((wanted >= there[0]) & (wanted <= there[-1]), share, np.nan)


def _mixed(
    array: xr.DataArray,
    axis: str,
    places: tuple[NDArray[np.intp], NDArray[np.intp]],
    weights: Sequence[xr.DataArray],
    wanted: NDArray[Any],
) -> xr.DataArray:
    """Weigh the points on both sides; one that weighs nothing need not be known."""
    parts = [array.isel({axis: place}).drop_vars(axis) for place in places]
    parts = [(part * weight).where(weight != 0, 0.0) for part, weight in zip(parts, weights, strict=True)]
    return (parts[0] + parts[1]).transpose(*array.dims).assign_coords({axis: wanted})


def _called(dataset: xr.Dataset, name: str) -> str:
    return str(dataset[name].attrs.get("long_name", name))


def _outcome(
    name: str, value: xr.DataArray, sigma: xr.DataArray, meaning: str, pair: tuple[xr.Dataset, xr.Dataset]
) -> xr.Dataset:
    found = xr.Dataset({name: value, f"{name}_sigma": sigma})
    found[name].attrs = {"long_name": meaning, "ancillary_variables": f"{name}_sigma"}
    found[f"{name}_sigma"].attrs = {"long_name": f"standard uncertainty of {meaning}"}
    return found.assign_attrs(
        {f"{place}_uid": each.attrs.get("uid", "") for place, each in zip(("first", "second"), pair, strict=True)}
    )
