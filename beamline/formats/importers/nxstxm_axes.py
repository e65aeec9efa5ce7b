"""Find the axes of the data of a NXstxm file, and bring it into the order (energies, rows, columns).

Axes are found by name, by the older attribute ``axis``, or by their lengths.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from beamline.formats.importers.hdf5 import Field, FloatArray, Group, texts_of
from beamline.formats.text import quoted

ROLES = {  # name of an axis -> its role
    "energy": "energy",
    "photon_energy": "energy",
    "energy_setpoint": "energy",
    "sample_y": "y",
    "sample_x": "x",
    "line_position": "line",
    "zoneplate_z": "zone_plate",
    "zone_plate": "zone_plate",
}
ORDER = {  # technique -> roles of the axes that are scanned, in the usual order
    "stxm": ["energy", "y", "x"],
    "stxm_line_spectrum": ["energy", "line"],
    "stxm_focus": ["zone_plate", "line"],
}


Layout = Callable[[FloatArray], FloatArray]  # brings an array of the data group to (energies, rows, columns)


def find_layout(data: Group, technique: str, lengths: Mapping[str, int]) -> tuple[Layout, Field]:
    """Find the signal of a data group, and how to bring its arrays into the order (energies, rows, columns).

    Parameters
    ----------
    data : Group
        The NXdata group.
    technique : str
    lengths : mapping of str to int
        Number of points by the role of the axis; see `ROLES`.

    Raises
    ------
    ValueError
        When there is no signal, or its shape does not fit the axes in any order.
    """
    name = data.text_attribute("signal") or "data"
    signal = data.field(name)
    if signal is None:
        raise ValueError(f"{data.label}: no signal {quoted(name)}")
    order = ORDER[technique]
    declared = [_declared_axes(data, technique), _older_axes(data, technique, len(signal.shape))]
    candidates: list[Sequence[str]] = [axes for axes in declared if axes is not None]
    candidates += [order, *itertools.permutations(order)]
    squeezed = tuple(length for length in signal.shape if length != 1)
    for axes in candidates:
        if (
            len(set(axes)) < len(axes)
            or not set(axes) <= set(order)
            or any(lengths[axis] != 1 for axis in set(order) - set(axes))
        ):
            continue  # one twice, of another kind of scan, or without an axis that was scanned
        if squeezed == tuple(lengths[axis] for axis in axes if lengths[axis] != 1):
            return _layout(axes, lengths, technique), signal
    sizes = ", ".join(f"{lengths[axis]} of {axis}" for axis in order)
    raise ValueError(f"{signal.label}: shape {signal.shape} does not fit its axes: {sizes}")


def _layout(axes: Sequence[str], lengths: Mapping[str, int], technique: str) -> Layout:
    places = [axes.index(axis) for axis in ORDER[technique] if axis in axes]
    final = {
        "stxm": (lengths["energy"], lengths["y"], lengths["x"]),
        "stxm_line_spectrum": (lengths["energy"], 1, lengths["line"]),
        "stxm_focus": (1, lengths["zone_plate"], lengths["line"]),
    }[technique]

    def layout(values: FloatArray) -> FloatArray:
        return values.reshape([lengths[axis] for axis in axes]).transpose(places).reshape(final)

    return layout


def _roles(names: Sequence[str], technique: str) -> list[str] | None:
    """Return the roles of axes by their names; None if a name is not known."""
    roles = [ROLES.get(name, "") for name in names]
    if technique != "stxm":
        roles = ["line" if role in ("x", "y", "line") else role for role in roles]
        roles = [role for index, role in enumerate(roles) if role not in roles[:index]]  # x and y of one line
    return None if "" in roles else roles


def _declared_axes(data: Group, technique: str) -> list[str] | None:
    """Find the axes by the attribute `axes` of the data group."""
    names = [name for name in texts_of(data.attribute("axes")) if name and name != "."]
    return _roles(names, technique) if names else None


def _older_axes(data: Group, technique: str, ndim: int) -> list[str] | None:
    """Find the axes by the attribute `axis` of their fields, which counts from 1."""
    by_axis: dict[str, str] = {}
    for name in ("line_position", "zoneplate_z", "energy", "photon_energy", "sample_y", "sample_x"):
        if (field := data.get(name)) is not None and (axis := field.text_attribute("axis")):
            by_axis.setdefault(axis, name)
    names = [by_axis.get(str(axis), "") for axis in range(1, ndim + 1)]
    return _roles(names, technique) if len(names) == len(by_axis) else None
