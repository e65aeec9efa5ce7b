"""A STXM scan in a file of the NeXus application definition NXstxm, of any beamline, converted to a raw run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from beamline.errors import BeamlineError
from beamline.formats.importers.nxstxm_file import NxstxmScan, entry_names, read_entry
from beamline.formats.importers.stxm_run import Documents, StxmImage, middle, seq_num, stxm_run
from callbacks.contract import MEASUREMENT, Measurement, StxmGrid, StxmRegion

FloatArray = NDArray[np.floating]


def nxstxm_documents(path: Path, *, entry: str = "", detector: str = "") -> Documents:
    """Convert the scan in a file to the documents of a raw run.

    Parameters
    ----------
    path : Path
        The HDF5 file.
    entry : str
        Name of the NXentry; if empty, all of them are imported as the regions of one scan.
    detector : str
        Name of the NXdata group of an entry; if empty, the default one or else the first.

    Yields
    ------
    name, doc : str, dict
        Start (``import_problems`` has a line for each thing that is wrong or had to be assumed), descriptor, one event
        for each line with at least one count that is a number, stop.

    Raises
    ------
    BeamlineError
        When the file cannot be read, is not of this definition, or holds another kind of scan.

    Notes
    -----
    Energies, positions and dwell of each point are taken from the instrument's lists if the detector's list equals the
    regular array, and otherwise from the axes. If the file has no times of lines, they are spread evenly from start to
    end.
    """
    problems: list[str] = []
    try:
        with h5py.File(path, "r") as file:
            names = entry_names(file, entry)
            scans = [read_entry(file[name], detector, problems) for name in names]
    except OSError as error:
        raise BeamlineError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    except (ValueError, KeyError) as error:
        raise BeamlineError(f"{path}: {error.args[0]}") from error
    first = scans[0]
    for scan in scans[1:]:
        if scan.technique != first.technique or not np.array_equal(scan.energies, first.energies):
            raise BeamlineError(
                f"{path}: {first.name} and {scan.name} are of different scans or energies; name the entry to import"
            )
    measurement = _measurement(scans)
    images = _images(scans, measurement)
    if not any(image.measured is not None and image.measured.any() for image in images):
        raise BeamlineError(f"{path}: no line of {', '.join(names)} holds a number")
    yield from stxm_run(
        measurement, images, metadata=_start_metadata(path, scans, problems), source=path.name, start_time=first.start
    )


def _measurement(scans: Sequence[NxstxmScan]) -> Measurement:
    """Return the measurement as requested: that of the original run if its grid fits, else according to the axes."""
    first = scans[0]
    grid = StxmGrid(
        energies=first.energies.tolist(),
        regions=[
            StxmRegion(
                x=(float(scan.x[0]), float(scan.x[-1])),
                y=(float(scan.y[0]), float(scan.y[-1])) if scan.technique == "stxm" else (middle(scan.y),) * 2,
                columns=scan.counts.shape[2],
                rows=scan.counts.shape[1],
            )
            for scan in scans
        ],
        zone_plate=first.zone_plate.tolist(),
    )
    try:
        original = Measurement.model_validate(first.original.get(MEASUREMENT))
    except ValidationError:
        original = None
    if original is not None and original.grid is not None and _same_shape(original.grid, grid):
        return original
    dwell = [scan.points["dwell"][np.isfinite(scan.points["dwell"])] for scan in scans if "dwell" in scan.points]
    known = np.concatenate(dwell) if dwell else np.array([])
    return Measurement(
        technique=first.technique,
        sample=first.sample,
        points=len(grid.energies) * grid.lines,
        exposure_time=float(np.median(known)) if known.size else float("nan"),
        grid=grid,
    )


def _same_shape(one: StxmGrid, other: StxmGrid) -> bool:
    sizes = [[(region.rows, region.columns) for region in grid.regions] for grid in (one, other)]
    return sizes[0] == sizes[1] and one.energies == other.energies and len(one.zone_plate) == len(other.zone_plate)


def _images(scans: Sequence[NxstxmScan], measurement: Measurement) -> list[StxmImage]:
    grid = measurement.grid
    assert grid is not None
    images = []
    count = len(grid.energies) * grid.lines
    for region, scan in enumerate(scans):
        shape = scan.counts.shape
        along_x = np.broadcast_to(scan.x, shape)
        along_y = np.broadcast_to(scan.y[:, np.newaxis] if scan.technique == "stxm" else scan.y, shape)
        x, y = scan.points.get("x", along_x), scan.points.get("y", along_y)
        dwell = scan.points.get("dwell", np.full(shape, np.nan))
        energy, current = _one_per_line(scan.points["energy"]), _one_per_line(scan.points["ring_current"])
        zone_plate = _one_per_line(scan.points["zone_plate"]) if "zone_plate" in scan.points else None
        if zone_plate is None and scan.zone_plate.size:
            zone_plate = np.broadcast_to(scan.zone_plate, shape[:2])
        for index in range(shape[0]):
            numbers = seq_num(grid, index, region, 0) - 1 + np.arange(shape[1])
            spread = scan.start + (scan.end - scan.start) * numbers / max(1, count - 1)
            images.append(
                StxmImage(
                    index,
                    region,
                    scan.counts[index],
                    dwell=dwell[index],
                    x=x[index],
                    y=y[index],
                    energy_readback=energy[index],
                    ring_current=current[index],
                    time=spread if scan.times is None else scan.times[index],
                    zone_plate=None if zone_plate is None else zone_plate[index],
                    measured=scan.measured[index],
                )
            )
    return images


def _one_per_line(values: FloatArray) -> FloatArray:
    """Return one value for each line: that of all its points if they are the same, bit for bit, else their mean."""
    first = values[..., 0]
    same = (values == first[..., np.newaxis]).all(axis=-1)
    return np.where(same, first, values.mean(axis=-1))


def _start_metadata(path: Path, scans: Sequence[NxstxmScan], problems: list[str]) -> dict[str, Any]:
    first = scans[0]
    digits = re.search(r"\d+$", path.stem)
    metadata = {
        "plan_name": "import_nxstxm",
        "scan_id": first.original.get("scan_id", int(digits[0]) if digits else 0),
        "sample": first.original.get("sample", {"name": first.sample}),
        "title": first.title,
        "imported_from": str(path.resolve()),
        "imported_entries": [scan.name for scan in scans],
        "import_problems": problems,
    }
    if "uid" in first.original:
        metadata["imported_uid"] = first.original["uid"]
    return metadata
