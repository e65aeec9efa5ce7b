"""Results and streams as xarray datasets: by what the contract says of their fields, whatever the technique."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from beamline.analysis.frames import Frames
from beamline.errors import BeamlineError
from beamline.storage.results import Table
from callbacks import contract
from callbacks.contract import Described, Output, Result

SIGMA, VARIANCE = "_sigma", "_variance"
NANOSECONDS = 1e9  # in a second

Attributes = Mapping[str, Any]


def dataset_of(result: Result, attributes: Attributes | None = None) -> xr.Dataset:
    """Convert a result to a dataset, by what its class says of meaning, unit and axes of its fields.

    Parameters
    ----------
    result : Result
        Of any step, pipeline or analysis.
    attributes : mapping, optional
        Further attributes of the dataset.

    Returns
    -------
    xarray.Dataset
        A variable for each number and array, named as the field. An axis has the name of the field that holds the
        positions along it (``xas_energy``), which is its index, else its own (``components``). Where a field has
        only a variance, its standard uncertainty is there as well. Texts are attributes; ``NAME_status`` is also the
        attribute ``status`` of the variable it is about, ``NAME_reasons`` the CF flags of a mask. Fields that are not
        known are left out and named in the attribute ``not_known``.

    Raises
    ------
    BeamlineError
        When fields that share an axis have different lengths along it.
    """
    values, described = result.as_dict(), result.described()
    for name, (meaning, positions) in result.positions().items():
        values[name], described[name] = positions, meaning
    values = {name: _plain(value) for name, value in values.items()}
    variables: dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]] = {}
    texts, not_known = {}, []
    sizes = _sizes(values, described)
    for name, value in values.items():
        one = described[name]
        if isinstance(value, str):
            texts[name] = value
        elif np.shape(value) != tuple(sizes[axis] for axis in one.shape):
            not_known.append(name)
        else:
            variables[name] = one.shape, value, _attributes(name, one, described)
    _add_sigmas(variables)
    _link(variables, described)
    for name, (_, _, about) in variables.items():
        if (status := texts.get(f"{name}_status")) is not None:
            about["status"] = status
        reasons = values.get(f"{name.removesuffix('_status')}_reasons")
        if reasons is not None and np.asarray(variables[name][1]).dtype.kind in "iu":
            about.update(_flags(reasons))
    axes = [name for name in variables if described.get(name, Described("")).is_axis]
    found = xr.Dataset(variables).set_coords([*axes, *(name for name in result.positions() if name in variables)])
    return found.swap_dims({described[name].shape[0]: name for name in axes}).assign_attrs(
        texts | {"not_known": " ".join(not_known)} | dict(attributes or {})
    )


def _plain(value: Any) -> Any:
    """Give a text as one, anything else as an array; texts in one as numpy's own, which NetCDF can hold."""
    if isinstance(value, str):
        return str(value)
    array = np.asarray(value)
    return array.astype(str) if array.dtype.kind in "OU" and array.ndim else array


def _sizes(values: Mapping[str, Any], described: Mapping[str, Described]) -> dict[str, int]:
    """Give the length of each axis, by the fields that are known; empty ones say so only where nothing else does."""
    sizes: dict[str, tuple[int, str]] = {}
    ordered = sorted(values, key=lambda name: np.size(values[name]) == 0)
    for name in (name for name in ordered if not isinstance(values[name], str)):
        shape = np.shape(values[name])
        if len(shape) != len(described[name].shape):
            raise BeamlineError(
                f"{name}: has {len(shape)} axes, expected {' x '.join(described[name].shape) or 'none'}"
            )
        for axis, size in zip(described[name].shape, shape, strict=True):
            known, by = sizes.setdefault(axis, (size, name))
            if np.size(values[name]) and size != known:
                raise BeamlineError(f"{name}: {size} {axis}, expected {known}, as {by} has")
    return {axis: size for axis, (size, _) in sizes.items()}


def _attributes(name: str, one: Described, described: Mapping[str, Described]) -> dict[str, Any]:
    meaning = one.meaning
    if (of := described.get(_value_of(name, one))) is not None:
        meaning = re.sub(
            r"^(?:(?:its|their) )?(standard uncertainty|variance)", rf"\1 of {of.meaning.partition(';')[0]}", meaning
        )
    return ({"units": one.units} if one.units else {}) | {"long_name": meaning}


def _value_of(name: str, one: Described | None = None) -> str:
    """Give the name of what a field is the uncertainty of; "" where it is of nothing."""
    if one is not None and one.of:
        return one.of
    return next((name.removesuffix(end) for end in (SIGMA, VARIANCE) if name.endswith(end)), "")


def _add_sigmas(variables: dict[str, Any]) -> None:
    """Add the standard uncertainty of what has only a variance."""
    for name in [name for name, one in variables.items() if name.endswith(VARIANCE) and one[1].dtype.kind == "f"]:
        sigma = name.removesuffix(VARIANCE) + SIGMA
        if sigma not in variables:
            shape, variance, about = variables[name]
            of = variables.get(name.removesuffix(VARIANCE))
            units = {"units": of[2]["units"]} if of and "units" in of[2] else {}
            long_name = about["long_name"].replace("variance", "standard uncertainty", 1)
            variables[sigma] = shape, np.sqrt(variance), units | {"long_name": long_name}


def _link(variables: Mapping[str, Any], described: Mapping[str, Described]) -> None:
    """Name in the attributes of each variable those that hold its uncertainty."""
    for name in variables:
        if (of := _value_of(name, described.get(name))) in variables:
            about = variables[of][2]
            about["ancillary_variables"] = f"{about.get('ancillary_variables', '')} {name}".strip()


def _flags(reasons: Any) -> dict[str, Any]:
    """Give the attributes by which CF says what the numbers of a mask mean."""
    return {
        "flag_values": np.arange(len(reasons)),
        "flag_meanings": " ".join("_".join(str(reason).split()) for reason in reasons),
    }


def stream_dataset(
    table: Table, attributes: Attributes | None = None, frames: Mapping[str, Frames] | None = None
) -> xr.Dataset:
    """Convert a stream of a run to a dataset.

    Parameters
    ----------
    table : Table
    attributes : mapping, optional
        Of the dataset.
    frames : mapping of str to Frames, optional
        The data keys whose values lie in files.

    Returns
    -------
    xarray.Dataset
        Along ``event``, whose index is the number of the event, from 1, with its ``time`` (UTC). A variable for each
        data key; axes behind ``event`` are named after the device, or where none is recorded after the data key:
        ``NAME_index``, or ``NAME_row`` and ``NAME_column``. Frames are dask arrays, read as they are computed.
    """
    meanings = _meanings()
    columns: dict[str, Any] = dict(table.columns)
    if frames:
        import dask.array  # noqa: PLC0415 - it takes a second

    for key, one in (frames or {}).items():
        columns[key] = dask.array.from_array(
            one, chunks=(1, *one.shape[1:]), lock=True, asarray=False, fancy=False, name=False
        )
    variables: dict[str, Any] = {}
    lengths: dict[str, int] = {}
    for key, column in columns.items():
        described = table.data_keys.get(key, {})
        axes = _axes_of(described.get("object_name") or _value_of(key) or key, column.ndim - 1)
        if any(lengths.setdefault(axis, size) != size for axis, size in zip(axes, column.shape[1:], strict=True)):
            axes = _axes_of(key, column.ndim - 1)
        units = {"units": table.units[key]} if table.units.get(key) else {}
        variables[key] = ("event", *axes), column, units | {"long_name": meanings.get(key, key.replace("_", " "))}
    _add_sigmas(variables)
    _link(variables, {})
    time = (np.asarray(table.time) * NANOSECONDS).astype("datetime64[ns]")
    coordinates = {
        "event": ("event", table.numbers, {"long_name": "number of the event, from 1"}),
        "time": ("event", time, {"long_name": "time (UTC)"}),
    }
    return xr.Dataset(variables, coordinates, dict(attributes or {}))


def _axes_of(name: str, number: int) -> tuple[str, ...]:
    ends = {0: (), 1: ("index",), 2: ("row", "column")}.get(number) or tuple(f"axis_{axis}" for axis in range(number))
    return tuple(f"{name}_{end}" for end in ends)


def _meanings() -> dict[str, str]:
    """Give what the outputs of steps mean, by data key; without those that mean something else in another technique."""
    found: dict[str, set[str]] = {}
    for one in vars(contract).values():
        if isinstance(one, type) and issubclass(one, Output):
            for output in one:
                found.setdefault(output.value, set()).add(output.meaning)
    return {key: next(iter(meanings)) for key, meanings in found.items() if len(meanings) == 1}
