"""A STXM scan in a file of the NeXus application definition NXstxm, of any beamline, converted to a raw run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.apart import read_apart
from beamline.formats.importers.hdf5 import Group, open_hdf5
from beamline.formats.importers.hdf5_kinds import holds
from beamline.formats.importers.kind import Kind
from beamline.formats.importers.nxstxm_dialects import POINTS, data_groups, entries_of, holds_scan
from beamline.formats.importers.nxstxm_file import NxstxmScan, read_entry
from beamline.formats.importers.point_spectrum import Detector, PointSpectrum, point_spectrum_run
from beamline.formats.importers.stxm_run import (
    Documents,
    Ended,
    Reading,
    StxmImage,
    middle,
    missing_dwell,
    negative_counts,
    scan_id_of,
    seq_num,
    stxm_run,
)
from callbacks.contract import Measurement, StxmGrid, StxmRegion

FloatArray = NDArray[np.floating]

TIME_SOURCES = {True: "of each line", False: "lines spread evenly from start to end; the file has no time of each"}


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
        Of a point spectrum, a run of XAS for each entry, with a channel for each detector; else a run of STXM: start
        (``import_problems`` has a line for each thing that is wrong, was left out, or had to be assumed),
        descriptor, one event for each line that was measured (in files of other programs: that holds a number), stop.

    Raises
    ------
    BeamlineError
        When the file cannot be read, is not of this definition, holds another kind of scan, or refers to a file
        outside of its folder.

    Notes
    -----
    Energies, positions and dwell of each point are taken from the instrument's lists if the detector's list equals the
    regular array, and otherwise from the axes. If the file has no times of lines, they are spread evenly from start to
    end. What `write_nxstxm` stores beyond the definition (documents, dark lines, settings of the detector) is restored.
    """
    scans, entries, problems = read_apart(path, lambda: _read(path, entry, detector))
    first = scans[0]
    if first.technique == POINTS:
        yield from _point_spectra(path, scans, problems)
        return
    for scan in scans[1:]:
        if scan.technique != first.technique or not np.array_equal(scan.energies, first.energies):
            raise BeamlineError(
                f"{path}: {first.name} and {scan.name} are of different scans or energies; name the entry to import"
            )
    measurement = _measurement(scans, problems)
    images = _images(scans, measurement)
    if not any(image.measured is not None and image.measured.any() for image in images):
        raise BeamlineError(f"{path}: no line of {', '.join(scan.name for scan in scans)} holds a number")
    problems[:0] = _missing(scans)
    problems += [*missing_dwell(measurement, images), *negative_counts(images)]
    yield from stxm_run(
        measurement,
        images,
        metadata=_start_metadata(path, scans, problems),
        source=path.name,
        start_time=first.start,
        configuration=first.configuration,
        dark=first.dark,
        ended=_ended(scans, entries),
    )


def _read(path: Path, entry: str, detector: str) -> tuple[list[NxstxmScan], int, list[str]]:
    """Read a file; give the scans in its entries, the number of entries, and what is wrong or left out."""
    problems: list[str] = []
    try:
        with open_hdf5(path, problems) as file:
            entries = entries_of(file, entry, problems)
            scans = _read_entries(entries, detector, problems, modified=path.stat().st_mtime)
    except ValueError as error:
        raise BeamlineError(f"{path}: {error}") from error
    return scans, len(entries), problems


def _read_entries(entries: Sequence[Group], detector: str, problems: list[str], *, modified: float) -> list[NxstxmScan]:
    """Read entries; one that cannot be read costs only itself, if there are others.

    Of a point spectrum all detectors are read: a scan for each, of which those of an entry have the same name.
    """
    scans, unreadable = [], []
    for entry in entries:
        try:
            found: list[str] = []
            scan = read_entry(entry, detector, found, modified=modified)
            detectors = [detector] if detector or scan.technique != POINTS else list(data_groups(entry))
            if len(detectors) > 1:
                found = []
                scans += [read_entry(entry, each, found, modified=modified) for each in detectors]
            else:
                scans.append(scan)
            problems += found
        except ValueError as error:
            unreadable.append(str(error))
    if not scans:
        raise ValueError(unreadable[0])
    problems += [f"{problem}; 1 of {len(entries)} entries left out" for problem in unreadable]
    return scans


def _point_spectra(path: Path, scans: Sequence[NxstxmScan], problems: list[str]) -> Documents:
    """Convert the point spectra of each entry to a run with a channel for each detector."""
    names = list(dict.fromkeys(scan.name for scan in scans))
    empty = [name for name in names if not any(scan.measured.any() for scan in scans if scan.name == name)]
    if len(empty) == len(names):
        raise BeamlineError(f"{path}: no point of {', '.join(names)} holds a number")
    names = [name for name in names if name not in empty]
    problems += [f"/{name}/: no point holds a number; left out" for name in empty]
    for name in names:
        of_entry = [scan for scan in scans if scan.name == name]
        first = of_entry[0]
        theirs = [f"/{other}{end}" for other in names if other != name for end in "/:"]
        own = [each for each in problems if not any(other in each for other in theirs)]
        own = list(dict.fromkeys(own))
        detectors = []
        for scan in of_entry:
            if len(scan.energies) != len(first.energies) or not np.array_equal(scan.energies, first.energies):
                own.append(f"{name}/{scan.detector}: other energies than {first.detector}; left out")
                continue
            detectors.append(Detector(scan.detector, scan.counts.ravel()))
        measured = np.any([np.isfinite(detector.counts) for detector in detectors], axis=0)
        count = len(first.energies)
        dwell = first.points["dwell"].ravel() if "dwell" in first.points else np.full(count, np.nan)
        spread = np.linspace(first.start, first.end, count) if count > 1 else np.array([first.start])
        spectrum = PointSpectrum(
            energies=first.energies,
            readback=first.points["energy"].ravel(),
            dwell=dwell,
            ring_current=first.points["ring_current"].ravel(),
            times=spread if first.times is None else np.where(measured, first.times.ravel(), spread),
            detectors=detectors,
            x=float(first.x[0]),
            y=float(first.y[0]),
            measured=measured,
        )
        yield from point_spectrum_run(
            spectrum,
            sample=first.sample,
            metadata=_start_metadata(path, of_entry[:1], own),
            source=path.name,
            start_time=first.start,
        )


def _missing(scans: Sequence[NxstxmScan]) -> list[str]:
    """Say how many lines were not measured, for each entry that lacks some."""
    return [
        f"{scan.name}: {(~scan.measured).sum()} of {scan.measured.size} lines were not measured"
        for scan in scans
        if not scan.measured.all()
    ]


def _ended(scans: Sequence[NxstxmScan], entries: int) -> Ended | None:
    """Return how the run ended, as far as the file tells."""
    if len(scans) < entries:
        return "abort", f"{entries - len(scans)} of {entries} entries cannot be read"
    return scans[0].original.ended


def _measurement(scans: Sequence[NxstxmScan], problems: list[str]) -> Measurement:
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
    original = first.original.measurement
    if original is not None:
        if _is_same(original, grid, first.technique):
            return original
        problems.append(f"{first.name}/start_document: its measurement is not that of the data; the axes are taken")
    dwell = [scan.points["dwell"][np.isfinite(scan.points["dwell"])] for scan in scans if "dwell" in scan.points]
    known = np.concatenate(dwell) if dwell else np.array([])
    return Measurement(
        technique=first.technique,
        sample=first.sample,
        points=len(grid.energies) * grid.lines,
        exposure_time=float(np.median(known)) if known.size else float("nan"),
        grid=grid,
    )


def _is_same(original: Measurement, grid: StxmGrid, technique: str) -> bool:
    """Tell whether a measurement as it was requested is that of the data that were read."""
    own = original.grid
    if own is None or not original.technique.startswith("stxm") or own.energies != grid.energies:
        return False
    sizes = [[(region.rows, region.columns) for region in each.regions] for each in (own, grid)]
    ends = [[(region.x, region.y) for region in each.regions if region.rows > 1] for each in (own, grid)]
    return (
        sizes[0] == sizes[1]
        and len(own.zone_plate) == len(grid.zone_plate)
        and original.points == len(grid.energies) * grid.lines
        and (technique != "stxm" or np.allclose(ends[0], ends[1], rtol=0.0, atol=1e-6))
    )


def _images(scans: Sequence[NxstxmScan], measurement: Measurement) -> list[StxmImage]:
    grid = measurement.grid
    assert grid is not None
    images = []
    count = len(grid.energies) * grid.lines
    shared = set.intersection(*(set(scan.others) for scan in scans))  # lines of a stream have the same data keys
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
                    others={
                        key: Reading(one.values[index], one.unit) for key, one in scan.others.items() if key in shared
                    },
                    time_stamps={key: values[index] for key, values in scan.time_stamps.items()},
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
    original = first.original.start
    earlier = [one for one in original.get("import_problems", []) if one not in problems]
    metadata = {
        "plan_name": "import_nxstxm",
        "scan_id": original["scan_id"] if "scan_id" in original else scan_id_of(path, problems),
        "sample": original.get("sample", {"name": first.sample}),
        "title": first.title,
        "imported_from": str(path.resolve()),
        "imported_entries": [scan.name for scan in scans],
        "time_source": TIME_SOURCES[all(scan.times is not None for scan in scans)],
        "import_problems": [*earlier, *problems],
    }
    if "uid" in original:
        metadata["imported_uid"] = original["uid"]
    return metadata


NXSTXM = Kind(
    name="nxstxm",
    title="STXM scan in NXstxm: one HDF5 file",
    recognises=lambda path: holds(path, holds_scan),
    documents=lambda request: nxstxm_documents(request.path, entry=request.part),
    takes=frozenset({"part"}),
)
