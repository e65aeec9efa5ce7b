"""Write an analysis of several runs: what it found as tables of text, its maps as NeXus for silx and h5web."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from beamline.formats.exporters.nexus import (
    Axis,
    Plot,
    iso_time,
    make_group,
    new_file,
    write_dataset,
    write_plot,
    write_process,
    write_text,
)
from beamline.storage import Run
from beamline.text import file_name_of, write_csv
from callbacks.contract import Described, PooledResult, Result

SIGMA, VARIANCE, STATUS, REASONS = "_sigma", "_variance", "_status", "_reasons"
# Axes along which a reader looks for one thing after the other, each with its curves: the field that names it there.
NAMED_BY = {"rows": ("row_sample", "row_part"), "runs": ("samples",), "members": ("end_member_names",)}
FILES = {"rows": "spectra", "points": "spectrum"}  # what files are called, where not as the axis
OF_MAPS = ("lines_", "columns_", "reasons_")  # what axes of maps begin with: they are in the NeXus file
PIXELS = ("lines", "columns")  # axes of what is known of each pixel
ENTRIES = "_entries"  # what the axis of a table of a measure ends in
NUMBERS = "numbers"  # name of the table of what has no axis


@dataclass(frozen=True)
class _Fields:
    """Values of a result by name, and what each is."""

    values: Mapping[str, Any]
    described: Mapping[str, Described]

    def of_shape(self, *shape: str) -> list[str]:
        """Name the known fields over some axes."""
        return [name for name in self.values if self.described[name].shape == shape and np.size(self.values[name])]

    def shapes(self) -> list[tuple[str, ...]]:
        """List the axes of the fields, each combination once."""
        return list(dict.fromkeys(self.described[name].shape for name in self.values if np.size(self.values[name])))

    def titled(self, name: str) -> str:
        """Give the name of a field with its unit."""
        units = self.described[name].units
        return f"{name} ({units})" if units else name


def write_analysis(folder: Path, derived: Run, result: Result) -> list[Path]:
    """Write an analysis to a folder.

    Parameters
    ----------
    folder : Path
        There already.
    derived : Run
        The derived run that holds it.
    result : Result
        What it found, by its class.

    Returns
    -------
    list of Path
        The files. ``numbers.csv``: what is one number or text. A table for each axis that the analysis has, a line for
        each place on it, with standard uncertainties and status beside the values: ``spectra.csv``, ``runs.csv``.
        For each spectrum, run or end member what goes along a further axis: ``spectrum-01-SAMPLE.csv``. The rest,
        maps with their uncertainties and why there is no value, in ``analysis.nxs``, with how it was made.
    """
    fields = _by_run(result) if isinstance(result, PooledResult) else _Fields(result.as_dict(), result.described())
    about = _about(derived)
    written = []
    for name, header, rows in _tables(fields):
        path = folder / f"{name}.csv"
        write_csv(path, about, (header, *rows))
        written.append(path)
    path = folder / "analysis.nxs"
    _write_maps(path, fields, derived, about[0])
    return [*written, path]


def _by_run(result: PooledResult) -> _Fields:
    """Give the fields of pooled stacks, with an image of each run in place of the pixels of all."""
    fields = _Fields(result.as_dict(), result.described())
    values, described = dict(fields.values), dict(fields.described)
    for name in fields.values:
        one = fields.described[name]
        if one.shape[-2:] != PIXELS:
            continue
        pixels = values.pop(name)
        for number, image in enumerate(result.images(pixels) if np.size(pixels) else [], 1):
            values[f"run{number}_{name}"] = image
            shape = (*one.shape[:-2], *(f"{axis}_{number}" for axis in PIXELS))
            described[f"run{number}_{name}"] = replace(one, shape=shape)
    for number, (count, lines, *size) in enumerate(
        zip(result.run_pixels, result.run_lines, result.run_height_um, result.run_width_um, strict=True), 1
    ):
        for axis, name, length, places in zip(PIXELS, "yx", size, (lines, count // lines), strict=True):
            values[f"run{number}_{name}"] = np.linspace(0.0, length, places)
            described[f"run{number}_{name}"] = Described("position", "um", (f"{axis}_{number}",), is_axis=True)
    return _Fields(values, described)


def _about(derived: Run) -> list[str]:
    derivation = derived.derivation
    assert derivation is not None
    sample = derived.start.get("sample")
    name = sample.get("name", "") if isinstance(sample, dict) else ""
    return [
        f"{derivation.pipeline} of {name}",
        f"derived run {derived.uid} of runs {', '.join(derivation.raw_uids)}",
        ", ".join(f"{name} {version}" for name, version in derivation.software.items()),
    ]


Table = tuple[str, list[str], list[list[str]]]  # name, titles, lines


def _tables(fields: _Fields) -> Iterator[Table]:
    if names := fields.of_shape():
        yield (
            NUMBERS,
            ["name", "value", "unit", "what it is"],
            [
                [name, _cell(fields.values[name]), fields.described[name].units, fields.described[name].meaning]
                for name in names
            ],
        )
    for shape in fields.shapes():
        if len(shape) == 1 and not shape[0].startswith(OF_MAPS):
            names = fields.of_shape(*shape)
            for length, alike in _by_length(fields, names).items():
                name = FILES.get(shape[0], shape[0])
                more = "" if length == len(fields.values[names[0]]) else f"-{length}"
                yield f"{name}{more}", *_columns(fields, {each: fields.values[each] for each in alike})
        elif len(shape) == 2 and shape[0] in NAMED_BY:
            yield from _curves(fields, shape)


def _by_length(fields: _Fields, names: Sequence[str]) -> dict[int, list[str]]:
    """Group fields of one axis by their length, which should be the same."""
    found: dict[int, list[str]] = {}
    for name in names:
        found.setdefault(len(fields.values[name]), []).append(name)
    return found


def _curves(fields: _Fields, shape: tuple[str, ...]) -> Iterator[Table]:
    """Give a table for each place on the first axis, with its values along the second."""
    first, second = shape
    names = fields.of_shape(first, second)
    number, length = np.shape(fields.values[names[0]])
    along = [
        name
        for name in fields.of_shape(second)
        if fields.described[name].is_axis and len(fields.values[name]) == length
    ]
    labels = [fields.values[name] for name in NAMED_BY[first] if len(fields.values.get(name, ())) == number]
    for place in range(number):
        values = {name: fields.values[name] for name in along} | {name: fields.values[name][place] for name in names}
        label = "-".join(str(each[place]) for each in labels)
        name = file_name_of(_file_of(first, second), f"{place + 1:02d}", *filter(None, [label]))
        header, rows = _columns(fields, values)
        known = [any(_is_known(fields.values[each][place][line]) for each in names) for line in range(length)]
        yield name, header, [row for row, here in zip(rows, known, strict=True) if here]


def _file_of(first: str, second: str) -> str:
    """Give what the files of curves are called; a table of entries as the measure that made it."""
    measure = second.removesuffix(ENTRIES)
    return FILES.get(second) or (measure if measure != second else f"{first}-{second}")


def _columns(fields: _Fields, values: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    rows = [[_cell(one) for one in line] for line in zip(*values.values(), strict=True)]
    return [fields.titled(name) for name in values], rows


def _cell(value: Any) -> str:
    return f"{float(value):.10g}" if isinstance(value, float | np.floating) else str(value)


def _is_known(value: Any) -> bool:
    """Tell whether a value is one, and not what fills up a table of lines that differ in length."""
    return bool(np.isfinite(value)) if isinstance(value, float | np.floating) else bool(str(value))


def _write_maps(path: Path, fields: _Fields, derived: Run, title: str) -> None:
    with new_file(path) as file:
        file.attrs["NX_class"] = "NXroot"
        file.attrs["default"] = "entry"
        entry = make_group(file, "entry", "NXentry")
        write_text(entry, "title", title)
        write_text(entry, "entry_identifier_uuid", derived.uid)
        entry["start_time"] = iso_time(derived.start["time"])
        write_process(entry, derived)
        plots = list(_plots(fields))
        for plot in plots:
            data = write_plot(entry, plot)
            _write_status(data, fields, plot.signal)
        if plots:
            entry.attrs["default"] = next((plot for plot in plots if plot.sigma is not None), plots[0]).name


def _plots(fields: _Fields) -> Iterator[Plot]:
    for name, value in fields.values.items():
        one = fields.described[name]
        is_map = len(one.shape) > 2 or (len(one.shape) == 2 and one.shape[0] not in NAMED_BY)
        values = np.asarray(value)
        if not is_map or not values.size or values.dtype.kind not in "fiub":
            continue
        if name.endswith((SIGMA, VARIANCE, STATUS)):
            continue
        axes = tuple(_axis(fields, axis, size) for axis, size in zip(one.shape, values.shape, strict=True))
        yield Plot(name, name, values, _sigma_of(fields, name), one.units, axes)


def _sigma_of(fields: _Fields, name: str) -> np.ndarray | None:
    if np.size(sigma := fields.values.get(name + SIGMA, ())):
        return np.asarray(sigma)
    variance = fields.values.get(name + VARIANCE, ())
    return np.sqrt(np.asarray(variance)) if np.size(variance) else None


def _axis(fields: _Fields, axis: str, size: int) -> Axis:
    """Give the positions along an axis, or the numbers of its places, whose names are then in its label."""
    for name in fields.of_shape(axis):
        one, values = fields.described[name], np.asarray(fields.values[name])
        if one.is_axis and len(values) == size:
            if values.dtype.kind in "fiu":
                return Axis(name, values, one.units, one.meaning)
            return Axis(axis, np.arange(1, size + 1), "", f"{axis}: {', '.join(map(str, values))}")
    return Axis(axis, np.arange(size), "", axis)


def _write_status(data: h5py.Group, fields: _Fields, signal: str) -> None:
    """Write why pixels of a map have no value: a place among reasons for each."""
    for prefix in reversed(list(accumulate(signal.split("_"), "{}_{}".format))):
        values = fields.values.get(prefix + STATUS)
        reasons = fields.values.get(prefix + REASONS)
        if values is not None and reasons is not None and np.shape(values) == np.shape(fields.values[signal]):
            write_dataset(data, "status", values, "", fields.described[prefix + STATUS].meaning)
            write_dataset(data, "reasons", reasons, "", "reasons")
            return
