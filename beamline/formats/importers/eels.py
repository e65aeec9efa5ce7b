"""Electron energy-loss spectra, of HyperSpy (.hspy) and of what RosettaSciIO reads, converted to raw runs.

A core-loss spectrum is an absorption spectrum over the energy that electrons lose: it becomes a run of technique `xas`
whose energies are the losses. A spectrum image does not become a stack of STXM: the reduction of that takes counts for
transmitted light and their logarithm for absorbance, and no counts can be made up whose logarithm has the values of a
spectrum image and the noise of its counts. It becomes the spectrum of the sum over its positions, of one of them, or a
run for each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.apart import read_apart
from beamline.formats.importers.column_names import ENERGY
from beamline.formats.importers.hdf5 import Group, open_hdf5
from beamline.formats.importers.hdf5_kinds import holds
from beamline.formats.importers.inside import check_points
from beamline.formats.importers.kind import Documents, Kind, head_of
from beamline.formats.importers.left_out import shortened
from beamline.formats.importers.stxm_run import scan_id_of
from beamline.formats.importers.xas_columns import Column, scan_of_columns
from beamline.formats.importers.xas_header import start_time
from beamline.formats.importers.xas_run import xas_run
from beamline.formats.text import one_line, quoted
from beamline.text import clean
from callbacks.contract import Channel

FloatArray = NDArray[np.floating]

CHANNEL = Channel(name="eels", title="energy loss of electrons", form="absorption")
SUM, EACH = "sum", "each"
TIMES, MICROSCOPE = ("date", "time"), ("beam_energy", "convergence_angle")  # kept of the metadata: keV, mrad
MOST_RUNS = 1000  # that one spectrum image becomes
POSITION = re.compile(r"\d{1,9}(,\d{1,9})*")
LARGEST_OTHER = 2_000_000_000  # bytes of a file that RosettaSciIO reads
ENERGY_UNITS = ("eV", "keV")


@dataclass(frozen=True)
class Axis:
    """A dimension of a signal; `spectral` where the file says that it is that of a spectrum."""

    name: str
    unit: str
    values: FloatArray
    spectral: bool


@dataclass(frozen=True)
class EelsSignal:
    """Spectra over an energy loss, or what a file has in place of them.

    Attributes
    ----------
    name : str
    data : numpy.ndarray, shape (..., n)
        Counts at each position and loss.
    loss : Axis
        Of the last dimension; its unit is empty where none is given.
    positions : tuple of Axis
        Of the other dimensions.
    kind : str
        As the file calls it, "EELS"; empty where it does not. What it is, "image", where it is no spectrum.
    microscope : dict
        What is known of the measurement.
    """

    name: str
    data: NDArray[Any]
    loss: Axis
    positions: tuple[Axis, ...]
    kind: str
    microscope: dict[str, Any] = field(default_factory=dict)


def _signal_of(
    name: str, data: NDArray[Any], axes: Sequence[Axis], kind: str, microscope: dict[str, Any]
) -> EelsSignal:
    """Order the axes of a signal: the energy last.

    It is the only one in a unit of energy: DigitalMicrograph keeps a spectrum image as a pile of images, one at each
    loss. Without one it is the only one that is said to be of a spectrum.
    """
    along = [place for place, axis in enumerate(axes) if axis.unit in ENERGY_UNITS]
    if len(along) != 1:
        along = [place for place, axis in enumerate(axes) if axis.spectral]
    if len(along) != 1:
        what = "image"
    elif data.dtype.kind not in "iuf":
        what = f"of {data.dtype.name}"
    else:
        unit = axes[along[0]].unit
        what = "" if unit in ENERGY_UNITS or kind else f"curve over {unit or 'no unit'}"
    if what:
        return EelsSignal(name, np.empty(0), Axis("", "", np.empty(0), True), (), what, microscope)
    positions = tuple(axis for place, axis in enumerate(axes) if place != along[0])
    return EelsSignal(name, np.moveaxis(data, along[0], -1), axes[along[0]], positions, kind, microscope)


def eels_documents(path: Path, read: Callable[[Path, list[str]], list[EelsSignal]], *, part: str = "") -> Documents:
    """Convert the spectra in a file to the documents of raw runs.

    Parameters
    ----------
    path : Path
    read : callable
        Gives the signals in it; called in a process of its own.
    part : str
        Which positions of a spectrum image: ``sum`` of all, as where it is empty, ``each`` as a run of its own, or one,
        as ``3`` or ``2,5``, from 0.

    Raises
    ------
    BeamlineError
        When it cannot be read, or has no spectrum over an energy loss, or no such position.
    """
    problems: list[str] = []
    signals, problems = read_apart(path, lambda: _read(path, read))
    for signal in signals:
        for position, spectrum in _spectra(path, signal, part):
            yield from _run(path, signal, position, spectrum, problems)


def _read(path: Path, read: Callable[[Path, list[str]], list[EelsSignal]]) -> tuple[list[EelsSignal], list[str]]:
    """Read the energy-loss spectra of a file, and what is wrong with it; BeamlineError where it has none."""
    problems: list[str] = []
    try:
        signals = read(path, problems)
    except ValueError as error:
        raise BeamlineError(f"{path}: {one_line(error)}") from error
    usable = [signal for signal in signals if signal.kind in ("", "EELS")]
    problems += [
        f"{quoted(signal.name)} is {quoted(signal.kind)}, no EELS; left out"
        for signal in signals
        if signal.kind not in ("", "EELS")
    ]
    if not usable:
        raise BeamlineError(f"{path}: {problems[0] if problems else 'no spectrum over an energy loss'}")
    return usable, problems


def _spectra(path: Path, signal: EelsSignal, part: str) -> list[tuple[str, FloatArray]]:
    """Give the spectra that are asked for, by the position of each, "" where there is one only."""
    places = signal.data.shape[:-1]
    count = math.prod(places)
    if count == 1:
        return [("", np.asarray(signal.data, dtype=float).reshape(-1))]
    if part in ("", SUM):
        return [(f"{SUM} of {count} positions", signal.data.reshape(count, -1).sum(axis=0, dtype=float))]
    if part == EACH:
        if count > MOST_RUNS:
            raise BeamlineError(f"{path}: {count:,} positions, expected at most {MOST_RUNS:,} runs; name one, or {SUM}")
        return [(",".join(map(str, at)), np.asarray(signal.data[at], dtype=float)) for at in np.ndindex(*places)]
    at = tuple(int(number) for number in part.split(",")) if POSITION.fullmatch(part) else ()
    if len(at) != len(places) or any(place >= most for place, most in zip(at, places, strict=True)):
        shape = " x ".join(map(str, places))
        raise BeamlineError(f"{path}: {quoted(part)} is none of its {shape} positions, expected one, {SUM} or {EACH}")
    return [(part, np.asarray(signal.data[at], dtype=float))]


def _run(path: Path, signal: EelsSignal, position: str, spectrum: FloatArray, shared: Sequence[str]) -> Documents:
    """Give the documents of one spectrum."""
    problems: list[str] = []
    if position.startswith(SUM):
        problems.append(f"a spectrum image: the {position} is taken; name one as FILE::3,5, or FILE::{EACH}")
    loss = signal.loss.values
    kept = loss > 0
    if not kept.all():
        problems.append(f"{int((~kept).sum())} of {len(loss)} losses are not above 0; left out")
    columns = [Column("energy loss", signal.loss.unit, loss[kept]), Column("counts", "", spectrum[kept])]
    try:
        scan = scan_of_columns(columns, {ENERGY: 0, CHANNEL.name: 1}, problems, forms={CHANNEL.name: CHANNEL})
    except ValueError as error:
        raise BeamlineError(f"{path}: {quoted(signal.name)}: {error}") from error
    problems.append("energies are energy losses of electrons")
    time = start_time(path, " ".join(str(signal.microscope.get(name, "")) for name in ("date", "time")), problems)
    metadata = {
        "plan_name": "import_eels",
        "scan_id": scan_id_of(path, problems),
        "title": clean(signal.name),
        "microscope": {clean(name): value for name, value in signal.microscope.items()},
        "imported_from": str(path.resolve()) + (f"::{position}" if position else ""),
        "import_problems": [clean(one) for one in (*problems, *shortened(shared, "things"))],
    }
    yield from xas_run(scan, sample=clean(signal.name), edge="", start_time=time, metadata=metadata, source=path.name)


def read_hspy(path: Path, problems: list[str]) -> list[EelsSignal]:
    """Read the signals of a file of HyperSpy; ValueError where one cannot be."""
    with open_hdf5(path, problems) as file:
        experiments = file.group("Experiments")
        if experiments is None:
            raise ValueError("no group Experiments, which a file of HyperSpy has")
        groups = [experiments.group(name) for name in experiments.names()]
        return [_experiment(group) for group in groups if group is not None]


def _experiment(group: Group) -> EelsSignal:
    """Read a signal: its data, with an axis for each dimension, of which one is the energy."""
    data = group.field("data")
    if data is None:
        raise ValueError(f"{group.label}: no dataset data")
    axes = []
    for place, size in enumerate(data.shape):
        axis = group.group(f"axis-{place}")
        if axis is None:
            raise ValueError(f"{group.label}: no axis-{place} for data of shape {data.shape}")
        axes.append(_axis(axis, size))
    name = group.label.rpartition("/")[2]
    signal = group.group("metadata/Signal")
    kind = "" if signal is None else signal.text_attribute("signal_type")
    microscope: dict[str, Any] = {}
    if (general := group.group("metadata/General")) is not None:
        microscope |= {each: general.text_attribute(each) for each in TIMES}
    if (tem := group.group("metadata/Acquisition_instrument/TEM")) is not None:
        microscope |= {each: float(tem.attribute(each)) for each in MICROSCOPE if _has(tem, each)}
    return _signal_of(name, data.numbers(), axes, kind, microscope)


def _axis(axis: Group, size: int) -> Axis:
    """Read an axis of HyperSpy: its values, or where it begins and its steps."""
    given = axis.field("axis")
    if given is not None:
        values = given.numbers()
    else:
        scale, offset = (_number(axis, each) for each in ("scale", "offset"))
        values = offset + scale * np.arange(size)
    if len(values) != size:
        raise ValueError(f"{axis.label}: {len(values)} values for {size} channels")
    return Axis(axis.text_attribute("name"), axis.text_attribute("units"), values, not axis.attribute("navigate"))


def _has(group: Group, name: str) -> bool:
    value = group.attribute(name)
    return value is not None and np.size(value) == 1 and np.asarray(value).dtype.kind in "iuf"


def _number(axis: Group, name: str) -> float:
    if not _has(axis, name):
        raise ValueError(f"{axis.label}: no {name}, which the energies are made of")
    return float(axis.attribute(name))


def read_other(path: Path, problems: list[str]) -> list[EelsSignal]:
    """Read the signals of a file of DigitalMicrograph, or of EMSA, by RosettaSciIO; ValueError where it cannot be."""
    if path.stat().st_size > LARGEST_OTHER:
        raise ValueError(f"{path.stat().st_size:,} bytes, expected at most {LARGEST_OTHER:,}")
    try:
        from rsciio import digitalmicrograph, msa  # noqa: PLC0415 - an extra
    except ImportError:
        raise ValueError('reading it needs RosettaSciIO: pip install "stxm-rixs-beamline[eels]"') from None
    reader = digitalmicrograph if _is_dm(path) else msa
    try:
        found = reader.file_reader(str(path))
    except Exception as error:
        raise ValueError(f"cannot be read: {type(error).__name__}: {one_line(error)[:200]}") from error
    return [_signal(one, problems) for one in found]


def _signal(found: dict[str, Any], problems: list[str]) -> EelsSignal:
    """Make a signal of what RosettaSciIO gives."""
    data = np.asarray(found["data"])
    check_points("data", data.size)
    axes = [
        _other_axis(axis, size)
        for axis, size in zip(
            sorted(found["axes"], key=lambda axis: axis.get("index_in_array", 0)), data.shape, strict=True
        )
    ]
    metadata = found.get("metadata", {})
    name = str(metadata.get("General", {}).get("title", "") or "signal")
    kind = str(metadata.get("Signal", {}).get("signal_type", ""))
    tem = metadata.get("Acquisition_instrument", {}).get("TEM", {})
    microscope: dict[str, Any] = {each: str(metadata.get("General", {}).get(each, "")) for each in TIMES}
    microscope |= {each: float(tem[each]) for each in MICROSCOPE if isinstance(tem.get(each), int | float)}
    return _signal_of(name, data, axes, kind, microscope)


def _other_axis(axis: dict[str, Any], size: int) -> Axis:
    """Make an axis of what RosettaSciIO gives; where there is no name or unit, that begins with "<"."""
    name, unit = ("" if (text := str(axis.get(key) or "")).startswith("<") else text for key in ("name", "units"))
    values = float(axis["offset"]) + float(axis["scale"]) * np.arange(size)
    return Axis(name, unit, values, not axis.get("navigate", False))


def _is_dm(path: Path) -> bool:
    """Tell by version and byte order whether a file is of DigitalMicrograph."""
    head = head_of(path)
    order = {b"\0\0\0\3": head[8:12], b"\0\0\0\4": head[12:16]}.get(head[:4])
    return order in (b"\0\0\0\0", b"\0\0\0\1")


def _is_other(path: Path) -> bool:
    return _is_dm(path) or re.match(rb"#FORMAT\s{0,20}:\s{0,20}EMSA", head_of(path)) is not None


HSPY = Kind(
    name="hspy",
    title="EELS of HyperSpy (.hspy)",
    recognises=lambda path: holds(path, lambda file: file.text_attribute("file_format") == "HyperSpy"),
    documents=lambda request: eels_documents(request.path, read_hspy, part=request.part),
    takes=frozenset({"part"}),
)
EELS = Kind(
    name="eels",
    title="EELS of DigitalMicrograph (.dm3, .dm4) or EMSA (.msa), by RosettaSciIO",
    recognises=_is_other,
    documents=lambda request: eels_documents(request.path, read_other, part=request.part),
    takes=frozenset({"part"}),
)


def signals_of(path: Path) -> tuple[list[EelsSignal], list[str]]:
    """Read the energy-loss spectra of a file, and what is wrong with it.

    Raises
    ------
    BeamlineError
        When it cannot be read, or has none.
    """
    if not (HSPY.recognises(path) or _is_other(path)):
        raise BeamlineError(f"{path}: expected energy-loss spectra of HyperSpy (.hspy), DigitalMicrograph or EMSA")
    return _read(path, read_hspy if HSPY.recognises(path) else read_other)
