"""Find the axes of the data of a NXstxm file, and bring it into the order (energies, rows, columns).

Axes are found by name, by the attributes that give their indices, by the older attribute ``axis``, or by their lengths.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from beamline.formats.importers.hdf5 import Field, FloatArray, Group, texts_of
from beamline.formats.importers.nxstxm_dialects import ENERGY_NAMES, LINE, X_NAMES, Y_NAMES, signal_of

ROLES = {  # name of an axis -> its role
    "energy": "energy",
    "photon_energy": "energy",
    "E": "energy",
    "energy_setpoint": "energy",
    "sample_y": "y",
    "sample_x": "x",
    "coarse_y": "y",
    "coarse_x": "x",
    "Y": "y",
    "X": "x",
    "line_position": "line",
    "zoneplate_z": "zone_plate",
    "zone_plate": "zone_plate",
}
ORDER = {  # technique -> roles of the axes that are scanned, in the usual order
    "stxm": ["energy", "y", "x"],
    "stxm_line_spectrum": ["energy", "line"],
    "stxm_focus": ["zone_plate", "line"],
    "xas": ["energy"],
}


Layout = Callable[[FloatArray], FloatArray]  # brings an array of the data group to (energies, rows, columns)


def find_layout(data: Group, technique: str, lengths: Mapping[str, int], problems: list[str]) -> tuple[Layout, Field]:
    """Find the signal of a data group, and how to bring its arrays into the order (energies, rows, columns).

    Parameters
    ----------
    data : Group
        The NXdata group.
    technique : str
    lengths : mapping of str to int
        Number of points by the role of the axis; see `ROLES`.
    problems : list of str
        Receives that the order had to be assumed, where lengths do not tell the axes apart, and that it is not the
        usual one, or not that which the file says, where the shape fits no other.

    Raises
    ------
    ValueError
        When there is no signal, or its shape does not fit the axes in any order.
    """
    signal = signal_of(data)
    order = ORDER[technique]
    squeezed = tuple(length for length in signal.shape if length != 1)
    fitting = partial(_fits, order=order, lengths=lengths, squeezed=squeezed)
    of_writer = _pystxm_axes(signal, technique, problems)
    said = of_writer, _declared_axes(data, technique, order), _older_axes(data, technique, len(signal.shape))
    for axes in (each for each in said if each is not None):
        if fitting(axes):
            return _layout(axes, lengths, technique), signal
    assumed = [axes for axes in itertools.permutations(order) if fitting(axes)]  # the usual order is the first
    if not assumed:
        sizes = ", ".join(f"{lengths[axis]} of {axis}" for axis in order)
        raise ValueError(f"{signal.label}: shape {signal.shape} does not fit its axes: {sizes}")
    if len({tuple(_scanned(axes, lengths)) for axes in assumed}) > 1:
        problems.append(
            f"{signal.label}: the file does not say which axis is which, and shape {signal.shape} does not tell; "
            f"taken for {', '.join(assumed[0])}"
        )
    elif contradicted := next((axes for axes in said if axes is not None), None):
        sizes = ", ".join(f"{lengths[axis]} of {axis}" for axis in contradicted)
        problems.append(
            f"{signal.label}: the file says that its axes are {sizes}, which shape {signal.shape} is not; "
            f"taken for {', '.join(assumed[0])}"
        )
    elif _scanned(assumed[0], lengths) != _scanned(order, lengths):
        problems.append(
            f"{signal.label}: the file does not say which axis is which, and shape {signal.shape} fits no other order; "
            f"taken for {', '.join(assumed[0])}"
        )
    return _layout(assumed[0], lengths, technique), signal


def _scanned(axes: Sequence[str], lengths: Mapping[str, int]) -> list[str]:
    """Give the axes that have more than one point."""
    return [axis for axis in axes if lengths[axis] != 1]


def _pystxm_axes(signal: Field, technique: str, problems: list[str]) -> list[str] | None:
    """Return the axes of a line spectrum of pyStxm, (1, line, energy) whatever it declares; None if it is none."""
    if technique != LINE or len(signal.shape) != 3 or signal.shape[0] != 1 or not signal.text_attribute("NX_units"):
        return None
    if signal.shape[1] == signal.shape[2]:
        problems.append(f"{signal.label}: taken for positions by energies, as pyStxm writes them")
    return ["line", "energy"]


def _fits(axes: Sequence[str], order: Sequence[str], lengths: Mapping[str, int], squeezed: tuple[int, ...]) -> bool:
    """Tell whether these can be the axes of an array, whose lengths but for those of 1 are given."""
    if len(set(axes)) < len(axes) or not set(axes) <= set(order):
        return False  # one twice, or of another kind of scan
    if any(lengths[axis] != 1 for axis in set(order) - set(axes)):
        return False  # without an axis that was scanned
    return squeezed == tuple(lengths[axis] for axis in _scanned(axes, lengths))


def _layout(axes: Sequence[str], lengths: Mapping[str, int], technique: str) -> Layout:
    places = [axes.index(axis) for axis in ORDER[technique] if axis in axes]
    final = {
        "stxm": (lengths["energy"], lengths["y"], lengths["x"]),
        "stxm_line_spectrum": (lengths["energy"], 1, lengths["line"]),
        "stxm_focus": (1, lengths["zone_plate"], lengths["line"]),
        "xas": (lengths["energy"], 1, 1),
    }[technique]

    def layout(values: FloatArray) -> FloatArray:
        return values.reshape([lengths[axis] for axis in axes]).transpose(places).reshape(final)

    return layout


def _roles(names: Sequence[str], technique: str) -> list[str]:
    """Return the roles of axes by their names; empty where a name is not known."""
    roles = [ROLES.get(name, "") for name in names]
    if technique != "stxm":
        roles = ["line" if role in ("x", "y", "line") else role for role in roles]
        roles = [role for index, role in enumerate(roles) if role not in roles[:index]]  # x and y of one line
    return roles


def _declared_axes(data: Group, technique: str, order: Sequence[str]) -> list[str] | None:
    """Find the axes by the attributes `axes` and `<name>_indices` of the data group; None if they do not tell."""
    names = [name for name in texts_of(data.attribute("axes")) if name and name != "."]
    indices = _indices(data)
    if not names:
        if sorted(indices) != list(range(len(indices))):
            return None
        names = [indices[index] for index in sorted(indices)]
    elif len(names) > 1:
        names = [name if name in ROLES else indices.get(index, name) for index, name in enumerate(names)]
    roles = _roles(names, technique)
    missing = [role for role in order if role not in roles]
    if roles.count("") == len(missing) == 1:  # the one that is left
        roles[roles.index("")] = missing[0]
    return roles if roles and "" not in roles else None


def _indices(data: Group) -> dict[int, str]:
    """Find the axes that say which index of the signal is theirs."""
    found: dict[int, str] = {}
    for name in ROLES:
        values = np.ravel(np.asarray(data.attribute(f"{name}_indices")))
        if values.size == 1 and values.dtype.kind in "iu":
            found.setdefault(int(values[0]), name)
    return found


def _older_axes(data: Group, technique: str, ndim: int) -> list[str] | None:
    """Find the axes by the attribute `axis` of their fields, which counts from 1."""
    by_axis: dict[str, str] = {}
    for name in ("line_position", "zoneplate_z", *ENERGY_NAMES, *Y_NAMES, *X_NAMES):
        if (field := data.get(name)) is not None and (axis := field.text_attribute("axis")):
            by_axis.setdefault(axis, name)
    names = [by_axis.get(str(axis), "") for axis in range(1, ndim + 1)]
    roles = _roles(names, technique)
    return roles if len(names) == len(by_axis) and "" not in roles else None
