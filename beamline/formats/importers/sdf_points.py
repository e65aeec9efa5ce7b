"""Spectra at points of a sample in SDF, a scan of the type "NEXAFS Point Scan", converted to runs of XAS.

Beside the header there is a table for each point, ``MPI_210127006_0.xsp`` for the first: a row for each energy with the
energy (eV) and what each channel counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.inside import check_lines, inside
from beamline.formats.importers.point_spectrum import Detector, PointSpectrum, point_spectrum_run
from beamline.formats.importers.quantities import ENERGIES, ENERGY_TOLERANCE
from beamline.formats.importers.sdf_header import Structure, short
from beamline.formats.importers.sdf_image import read_xim
from beamline.formats.importers.sdf_scan import (
    POINT_SCAN,
    axis_of,
    dwells_of,
    entries_of,
    number,
    spatial_region,
    structure_of,
)
from beamline.formats.importers.stxm_run import NOT_RECORDED, Documents
from beamline.text import clean

FloatArray = NDArray[np.floating]


def is_point_scan(header: Structure) -> bool:
    """Tell whether a header is that of point spectra."""
    definition = header.get("ScanDefinition")
    return isinstance(definition, dict) and definition.get("Type") == POINT_SCAN


@dataclass(frozen=True)
class _Scan:
    """What the points of a scan share."""

    path: Path
    header: Structure
    dwells: FloatArray  # (energies,), s
    channels: list[str]
    divider: float  # photons for each count
    start_time: float
    metadata: Callable[[list[str]], dict[str, Any]]


@dataclass(frozen=True)
class _Table:
    """The table of a point: shape (energies,) each, NaN where there is no row."""

    energies: FloatArray
    detectors: list[FloatArray]
    problem: str  # why it is not whole


def point_scan_documents(
    path: Path,
    header: Structure,
    *,
    start_time: float,
    divider: float,
    metadata: Callable[[list[str]], dict[str, Any]],
    problems: Sequence[str],
) -> Documents:
    """Convert the spectra of a scan to the documents of raw runs of XAS, one for each point.

    Parameters
    ----------
    path : Path
        The header file.
    header : dict
        See `parse_header`.
    start_time : float
        s since 1970. The energies are spread over the dwells from there on: the tables have no times.
    divider : float
        Photons for each count; NaN if not known.
    metadata : callable
        Is given the problems of a point; gives the metadata of its start document.
    problems : sequence of str
        Of the scan.

    Yields
    ------
    name, doc : str, dict
        See `point_spectrum_run`.

    Raises
    ------
    BeamlineError
        When the header lacks what is needed, or no table can be read.
    """
    try:
        definition = structure_of(header, "ScanDefinition")
        points = [axis_of(one, "PAxis") for one in entries_of(definition, "Regions")]
        if not points or any(not axis.is_energy for axis in points):
            names = ", ".join(repr(axis.name) for axis in points) or "none"
            raise ValueError(f"point spectra along {names}, expected Energy of one region or more")
        check_lines("its points", sum(len(axis.points) for axis in points))
        channels = [
            clean(str(one.get("Name", ""))) if isinstance(one, dict) else short(one)
            for one in entries_of(definition, "Channels")
        ]
        if not channels:
            raise ValueError("no Channels")
        scan_problems = list(problems)
        dwells = dwells_of(header, definition, len(points[0].points), scan_problems)
    except ValueError as error:
        raise BeamlineError(f"{path}: {error}") from error
    scan = _Scan(path, header, dwells, channels, divider, start_time, metadata)
    lost: list[str] = []
    for region, axis in enumerate(points):
        name = inside(path.parent, f"{path.stem}_{region}.xsp", named_by=str(path))
        try:
            table = _read_table(name, axis.points, len(channels))
        except (ValueError, FileNotFoundError) as error:
            lost.append(f"{error}; 1 of {len(points)} points left out")
            if len(lost) == len(points):
                raise BeamlineError(f"{path}: none of its points can be read; {error}") from error
            continue
        yield from _run(scan, region, axis.points, table, [*lost, *scan_problems])


def _run(scan: _Scan, region: int, requested: FloatArray, table: _Table, problems: list[str]) -> Documents:
    """Convert the spectrum of one point."""
    header, dwells, table_name = scan.header, scan.dwells, f"{scan.path.stem}_{region}.xsp"
    place = spatial_region(header, region)
    measured = np.isfinite(table.energies) & np.any([np.isfinite(one) for one in table.detectors], axis=0)
    off = np.abs(table.energies - requested)[measured]
    if off.size and off.max() > ENERGY_TOLERANCE:
        worst = int(np.flatnonzero(measured)[np.argmax(off)])
        problems.append(
            f"{table_name}: {int((off > ENERGY_TOLERANCE).sum())} of {len(requested)} energies were others "
            f"than the header asks for, such as {table.energies[worst]:g} eV for {requested[worst]:g} eV"
        )
    said = [table.problem] if table.problem else []
    dwell = dwells if len(dwells) == len(requested) else np.full(len(requested), dwells[0])
    spectrum = PointSpectrum(
        energies=requested,
        readback=np.where(measured, table.energies, requested),
        dwell=dwell,
        ring_current=np.full(len(requested), number(header, "StorageRingCurrent")),
        times=scan.start_time + np.concatenate([[0.0], np.cumsum(dwell)[:-1]]),
        detectors=[
            Detector(name, counts, is_i0=_is_i0(header, index), divider=scan.divider)
            for index, (name, counts) in enumerate(zip(scan.channels, table.detectors, strict=True))
        ],
        x=number(place, "CentreXPos"),
        y=number(place, "CentreYPos"),
        measured=measured,
    )
    yield from point_spectrum_run(
        spectrum,
        sample=NOT_RECORDED,
        metadata={**scan.metadata([*said, *problems]), "imported_point": region},
        source=table_name,
        start_time=scan.start_time,
    )


def _is_i0(header: Structure, index: int) -> bool:
    """Tell whether the header says of a channel that it is I0, and of another one that it is not.

    Where there is but one, it is the detector behind the sample, whatever it is used for.
    """
    try:
        channels = entries_of(header, "Channels")
    except ValueError:
        return False
    used = [str(one.get("ProcessString", "")).strip().lower() if isinstance(one, dict) else "" for one in channels]
    of_light = [one in ("io", "i0") for one in used]
    return index < len(used) and of_light[index] and not all(of_light)


def _read_table(path: Path, energies: FloatArray, channels: int) -> _Table:
    """Read the table of a point.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is none, or it is not one of these channels.
    """
    values, problem = read_xim(path, len(energies), channels + 1)
    if values.shape[1] != channels + 1 or len(values) > len(energies):
        raise ValueError(
            f"{path.name}: {len(values)} rows of {values.shape[1]} columns, expected {len(energies)} of the energy and "
            f"{channels} channels"
        )
    if not problem and len(values) < len(energies):
        problem = f"{path.name}: {len(values)} of {len(energies)} energies"
    found = np.full((len(energies), channels + 1), math.nan)
    found[: len(values)] = values
    energy = found[:, 0]
    wrong = np.isfinite(energy) & ~((energy > ENERGIES[0]) & (energy <= ENERGIES[1]))
    if wrong.any():
        problem = problem or f"{path.name}: an energy of {energy[wrong][0]:g} eV"
        energy[wrong] = math.nan
    return _Table(energy, [found[:, 1 + channel] for channel in range(channels)], problem)
