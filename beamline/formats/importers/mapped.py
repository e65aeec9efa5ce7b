"""The frames of a RIXS map in any HDF5 or NeXus file, by a mapping that says what is where, converted to a raw run."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.apart import read_apart
from beamline.formats.importers.hdf5 import Field as Dataset
from beamline.formats.importers.hdf5 import Group, open_hdf5
from beamline.formats.importers.hdf5_kinds import holds
from beamline.formats.importers.kind import Documents, Kind, Request
from beamline.formats.importers.left_out import shortened
from beamline.formats.importers.mapping import PART, Place, RixsMapping, read_mapping, shipped_mappings
from beamline.formats.importers.quantities import (
    CURRENT,
    ENERGIES,
    ENERGY,
    PLAIN,
    RATE,
    TIME,
    check_range,
    factor,
    normalised,
)
from beamline.formats.importers.rixs_run import FrameFile, RixsScan, camera_of, i0_in_counts, rixs_run, writing_frames
from beamline.formats.importers.stxm_run import scan_id_of
from beamline.formats.importers.xas_header import start_time
from beamline.formats.text import one_line, quoted
from beamline.text import clean
from callbacks.contract import CcdConfig, Key

FloatArray = NDArray[np.floating]

LEAST_SIDE = 8  # pixels of a frame: the noise of a camera is told by blocks of so many rows
LARGEST_WHOLE = 2**31 - 1  # counts of a pixel that are written as whole numbers


@dataclass
class Found:
    """What a file holds by a mapping.

    Attributes
    ----------
    part : str
        The group of the scan; "" where the mapping has no part.
    frames, dark : FrameFile or None
        As they were written.
    frame_source : str
        The dataset of the frames.
    values : dict of str to numpy.ndarray, shape (n,)
        By data key.
    sources : dict of str to str
    texts : dict of str to str
        ``start`` and ``sample``, where they are.
    problems : list of str
    frame_problems : list of str, length n
    planned : int
        Frames in the file, of which some may have no energy.
    """

    part: str = ""
    frames: FrameFile | None = None
    dark: FrameFile | None = None
    frame_source: str = ""
    values: dict[str, FloatArray] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    frame_problems: list[str] = field(default_factory=list)
    planned: int = 0


def mapped_documents(
    path: Path, mapping: RixsMapping, *, frames_dir: Path, part: str = "", name: str = ""
) -> Documents:
    """Convert the frames in a file to the documents of a raw run.

    Parameters
    ----------
    path : Path
    mapping : RixsMapping
    frames_dir : Path
        Folder in which a file with the frames is written, under a unique name.
    part : str
        The group of the scan, where the mapping asks for one.
    name : str
        Of the mapping, kept with the run.

    Yields
    ------
    name, doc : str, dict
        Start (with the mapping and a line for each thing that is wrong, or had to be assumed, under
        ``import_problems``), descriptors, frame references, dark frames, one event for each frame, stop.

    Raises
    ------
    BeamlineError
        When the file cannot be read, or does not hold frames and energies where the mapping has them.
    """
    uid = str(uuid.uuid4())
    target = frames_dir.resolve() / f"mapped_{uid[:8]}.h5"
    dark = target.with_name(f"mapped_{uid[:8]}_dark.h5")
    try:
        found = read_apart(path, lambda: _read(path, mapping, part, (target, dark)))
    except BeamlineError:
        for file in (target, dark):
            file.unlink(missing_ok=True)
        raise
    assert found.frames is not None
    problems = found.problems
    count = found.frames.count
    columns = _columns(found, count, problems)
    exposure = columns[str(Key.EXPOSURE_TIME)]
    time = start_time(path, found.texts.get("start", ""), problems)
    counted = np.nan_to_num(exposure)
    times = time + np.cumsum(counted) - counted
    marked = [f"frame {number}: {problem}" for number, problem in enumerate(found.frame_problems, start=1) if problem]
    lacking = [f"{len(marked)} of {count} frames cannot be used"] if marked else []
    if found.planned > count:
        lacking.append(f"{found.planned - count} of {found.planned} frames have no energy; left out")
    metadata: dict[str, Any] = {
        "plan_name": "import_mapped",
        "scan_id": scan_id_of(path, problems),
        "mapping": mapping.model_dump(mode="json") | {"name": name},
        "imported_from": str(path.resolve()) + (f"::{found.part}" if found.part else ""),
    }
    scan = RixsScan(
        uid,
        found.frames,
        columns,
        {key: f"{path.name}: {source}" for key, source in found.sources.items()},
        times.tolist(),
        found.frame_problems,
        _camera(mapping, found.frames, problems),
        f"{path.name}: {found.frame_source}",
        dark=found.dark,
    )
    metadata["import_problems"] = [clean(one) for one in (*lacking, *shortened(marked, "frames"), *problems)]
    known = exposure[np.isfinite(exposure)]
    yield from rixs_run(
        scan,
        sample=clean(found.texts.get("sample", "")),
        exposure_time=float(np.median(known)) if known.size else math.nan,
        metadata=metadata,
        ended=("abort", "; ".join(lacking)) if lacking else ("success", ""),
    )


def _read(path: Path, mapping: RixsMapping, part: str, targets: tuple[Path, Path]) -> Found:
    """Read what a file holds by a mapping, and write its frames; in a process of its own."""
    found = Found()
    try:
        with open_hdf5(path, found.problems) as file:
            found.part = _part(file, mapping, part)
            frames = _first(file, mapping.frames.dataset, found.part)
            if frames is None:
                raise ValueError(f"no dataset {' or '.join(_paths(mapping.frames.dataset, found.part))}")
            found.frame_source = frames.label
            found.planned = math.prod(frames.shape[:-2])
            for key, place in _places(mapping).items():
                _take(file, key, place, found, frames.shape)
            for name, where in (("start", mapping.start), ("sample", mapping.sample)):
                if where is not None and (text := _first(file, where.dataset, found.part)) is not None:
                    found.texts[name] = text.text()
            energy = found.values.get(str(Key.ENERGY))
            if energy is None:
                raise ValueError(f"no dataset {' or '.join(_paths(mapping.energy.dataset, found.part))}: no energy")
            count = min(found.planned, len(energy))
            found.frames, found.frame_problems = _write(frames, targets[0], count, mapping)
            if mapping.dark is not None and (dark := _first(file, mapping.dark.dataset, found.part)) is not None:
                found.dark, wrong = _write(dark, targets[1], math.prod(dark.shape[:-2]), mapping)
                if found.dark.shape != found.frames.shape:
                    sizes = " and ".join(
                        f"{rows} x {columns}" for rows, columns in (found.dark.shape, found.frames.shape)
                    )
                    raise ValueError(f"{dark.label}: frames without light and with light have {sizes} pixels")
                found.problems += [f"dark frame {number}: {each}" for number, each in enumerate(wrong, 1) if each]
    except ValueError as error:
        raise BeamlineError(f"{path}: {one_line(error)}") from error
    return found


def _places(mapping: RixsMapping) -> dict[str, Place]:
    given = {Key.ENERGY: mapping.energy, Key.I0: mapping.i0, Key.EXPOSURE_TIME: mapping.exposure_time}
    return {str(key): place for key, place in given.items() if place is not None}


def _part(file: Group, mapping: RixsMapping, asked: str) -> str:
    """Find the group of the scan."""
    if not any(PART in path for path in mapping.frames.dataset):
        if asked:
            raise ValueError(f"has no part {quoted(asked)}: the mapping asks for none")
        return ""
    there = [name for name in file.names() if _first(file, mapping.frames.dataset, name) is not None]
    if asked in there:
        return asked
    if not asked and len(there) == 1:
        return there[0]
    shown = ", ".join(map(quoted, there[:20])) or "none"
    raise ValueError(f"its scans are {shown}; name one, as FILE::{there[0] if there else 'PART'}")


def _paths(paths: list[str], part: str) -> list[str]:
    return [path.replace(PART, part) for path in paths]


def _first(file: Group, paths: list[str], part: str) -> Dataset | None:
    """Give the first of the datasets that exists."""
    for path in _paths(paths, part):
        if (found := file.get(path)) is not None and isinstance(found, Dataset):
            return found
    return None


def _take(file: Group, key: str, place: Place, found: Found, shape: tuple[int, ...]) -> None:
    """Read the values of each frame."""
    if place.value is not None:
        values, unit, source = np.array([place.value]), place.unit, "the mapping"
    elif (dataset := _first(file, place.dataset, found.part)) is None:
        return
    else:
        values = dataset.numbers()
        unit, source = dataset.text_attribute("units") or place.unit, dataset.label
    if key == Key.ENERGY:
        if not unit:
            found.problems.append(f"{source}: no unit, taken as eV")
        values = values * factor(unit or "eV", ENERGY)
    elif key == Key.EXPOSURE_TIME:
        if not unit:
            found.problems.append(f"{source}: no unit, taken as s")
        values = values * factor(unit or "s", TIME)
    elif normalised(unit) not in {**PLAIN, **CURRENT, **RATE, "v": 1.0}:
        found.problems.append(f"{source}: unit {quoted(unit)}, which does not matter for I0")
    found.values[key] = _each(values, shape[:-2], source, found.problems)
    found.sources[key] = source
    if key == Key.ENERGY:
        check_range(source, found.values[key], ENERGIES, "eV")


def _each(values: FloatArray, axes: tuple[int, ...], source: str, problems: list[str]) -> FloatArray:
    """Give a value for each frame: one for all, one for each, or one for each place along the first axis."""
    count = math.prod(axes)
    flat = values.ravel()
    if flat.size == 1:
        return np.full(count, flat[0])
    if flat.size == count:
        return flat
    if axes and flat.size == axes[0]:
        return np.repeat(flat, count // axes[0])
    problems.append(f"{source}: {flat.size} values for {count} frames, taken in their order")
    return flat[:count]


def _write(frames: Dataset, target: Path, count: int, mapping: RixsMapping) -> tuple[FrameFile, list[str]]:
    """Write frames, lying as the contract has them; give the file, and why a frame is not to be trusted."""
    rows, columns = frames.shape[-2:]
    if min(rows, columns) < LEAST_SIDE:
        raise ValueError(
            f"{frames.label}: frames of {rows} x {columns} pixels, expected {LEAST_SIDE} or more on each side"
        )
    if not count:
        raise ValueError(f"{frames.label}: shape {frames.shape}, expected at least one frame with an energy")
    shape = (rows, columns) if mapping.frames.emission == "columns" else (columns, rows)
    dtype = _type(frames)
    problems = []
    with writing_frames(target, count, shape, dtype) as write:
        for place, frame in zip(range(count), frames.frames(), strict=False):
            turned = frame if mapping.frames.emission == "columns" else frame.T
            turned = turned[:, ::-1] if mapping.frames.falling else turned
            wrong = int((~np.isfinite(turned)).sum()) if turned.dtype.kind == "f" else 0
            problems.append(f"{wrong} of its {turned.size} pixels are no numbers" if wrong else "")
            write(place, np.where(np.isfinite(turned), turned, 0).astype(dtype) if wrong else turned.astype(dtype))
    return FrameFile(target, count, shape, dtype), problems


def _type(frames: Dataset) -> np.dtype[Any]:
    """Give the type that frames are written in: their own; whole numbers where floats have nothing else."""
    own = frames.dtype
    if own.kind != "f":
        return own.newbyteorder("=")
    for frame in frames.frames():
        known = frame[np.isfinite(frame)]
        if known.size and (np.abs(known).max() > LARGEST_WHOLE or (known != np.rint(known)).any()):
            return np.dtype(np.float64)
    return np.dtype(np.int32)


def _columns(found: Found, count: int, problems: list[str]) -> dict[str, FloatArray]:
    """Give the columns of the events: what is measured with each frame."""
    columns = {key: values[:count] for key, values in found.values.items()}
    for key, values in list(columns.items()):
        if len(values) < count:
            columns[key] = np.concatenate([values, np.full(count - len(values), math.nan)])
    exposure = columns.setdefault(str(Key.EXPOSURE_TIME), np.full(count, math.nan))
    if not np.isfinite(exposure).any():
        problems.append("no exposure time is known")
    columns[str(Key.I0)] = i0_in_counts(columns.get(str(Key.I0)), exposure, problems)
    return columns


def _camera(mapping: RixsMapping, frames: FrameFile, problems: list[str]) -> dict[str, float]:
    known = mapping.camera
    camera = camera_of(frames, problems, full_scale=known.full_scale)
    return camera | {
        str(CcdConfig.COUNTS_PER_EV): known.counts_per_ev or math.nan,
        str(CcdConfig.READ_NOISE): known.read_noise or math.nan,
        str(CcdConfig.PEDESTAL_SUBTRACTED): int(known.pedestal_subtracted),
    }


def _fits(file: Group, mapping: RixsMapping) -> bool:
    """Tell whether a file holds what a layout has, in any of its parts."""
    if not mapping.holds:
        return False
    parts = file.names() if any(PART in path for path in mapping.holds) else [""]
    return any(all(path in file for path in _paths(mapping.holds, part)) for part in parts)


def _recognised(path: Path, mappings: Mapping[str, RixsMapping]) -> str:
    """Give the name of the mapping that a file fits; "" for none."""
    return next((name for name, mapping in mappings.items() if holds(path, partial(_fits, mapping=mapping))), "")


def _documents(request: Request) -> Documents:
    if request.mapping is not None:
        mapping, name = read_mapping(request.mapping), request.mapping.name
    else:
        shipped = shipped_mappings()
        name = _recognised(request.path, shipped)
        if not name:
            titles = ", ".join(mapping.title for mapping in shipped.values())
            raise BeamlineError(
                f"{request.path}: fits none of the mappings that there are ({titles}); give your own by --mapping"
            )
        mapping = shipped[name]
    return mapped_documents(request.path, mapping, frames_dir=request.frames_dir, part=request.part, name=name)


RIXS_HDF5 = Kind(
    name="rixs_hdf5",
    title="RIXS frames in HDF5 or NeXus, by a mapping",
    recognises=lambda path: bool(_recognised(path, shipped_mappings())),
    documents=_documents,
    takes=frozenset({"part", "mapping"}),
)
