"""Interpret the header of a SDF scan: which images there are, and at which positions, energies and dwell times."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.inside import check_lines, check_points, inside, size_of
from beamline.formats.importers.quantities import ENERGIES, ENERGY, LENGTH, POSITIONS, check_range, factor
from beamline.formats.importers.sdf_header import Structure, entries, read_header, short
from beamline.text import clean

FloatArray = NDArray[np.floating]

TECHNIQUES: dict[str, str] = {
    "Image Scan": "stxm",
    "NEXAFS Image Scan": "stxm",
    "NEXAFS Line Scan": "stxm_line_spectrum",
    "Focus Scan": "stxm_focus",
}
POINT_SCAN = "NEXAFS Point Scan"  # read by `sdf_points`
TO_UM = LENGTH | {"": 1.0}
END_TOLERANCE = 1.5  # steps; see `_beyond`
MONOCHROMATORS = ("Monochromator", "Energy")  # of the ALS and MAXYMUS, and of MAX IV
TO_EV = ENERGY | {"": 1.0}


@dataclass(frozen=True)
class SdfRegion:
    """One region of a scan, and how its text images are oriented.

    Attributes
    ----------
    x, y : numpy.ndarray, shape (rows, columns)
        Requested positions of the pixels, um.
    transposed : bool
        Whether rows and columns of the text images are exchanged: its columns are the lines of an image, or its rows
        are the energies of a line spectrum.
    """

    x: FloatArray
    y: FloatArray
    transposed: bool


@dataclass(frozen=True)
class SdfScan:
    """The content of the header of a scan.

    Attributes
    ----------
    path : Path
        The header file.
    energies, dwells : numpy.ndarray, shape (n_energies,)
        As requested, eV and s.
    zone_plate : numpy.ndarray
        Position for each line of a focus scan, um; else empty.
    letter, channel, unit : str
        Letter of the channel in the names of the images, its name, and the unit of its numbers as written.
    problems : list of str
        What of the header is left out.
    """

    path: Path
    header: Structure
    text: str
    technique: str
    energies: FloatArray
    dwells: FloatArray
    regions: list[SdfRegion]
    zone_plate: FloatArray
    letter: str
    channel: str
    unit: str
    problems: list[str]

    def image_paths(self, energy: int, region: int) -> list[Path]:
        """List the names that an image may have, the usual one first."""
        of_region = str(region) if len(self.regions) > 1 else ""
        numbered, plain = f"{energy:03d}{of_region}", of_region
        stack = len(self.energies) > 1 and self.technique != "stxm_line_spectrum"
        numbers = [numbered] if stack else [plain, numbered]
        names = [f"{self.path.stem}_{self.letter}{number}.xim" for number in numbers]
        return [inside(self.path.parent, name, named_by=str(self.path)) for name in names]


def open_scan(path: Path) -> tuple[Path, Structure, str]:
    """Find and read the header of a scan.

    Parameters
    ----------
    path : Path
        The header, or a folder with one header.

    Returns
    -------
    path, header, text
        The file, and see `read_header`.

    Raises
    ------
    BeamlineError
        When there is no header, more than one, or one that cannot be read.
    """
    path = _find_header(path)
    header, text = read_header(path)
    return path, header, text


def interpret(path: Path, header: Structure, text: str, *, channel: str = "") -> SdfScan:
    """Interpret the header of a scan of images or lines.

    Parameters
    ----------
    path, header, text
        From `open_scan`.
    channel : str
        Name or letter of the channel; if empty, the first one.

    Raises
    ------
    BeamlineError
        When it describes a scan that cannot be imported.
    """
    try:
        definition = structure_of(header, "ScanDefinition")
        kind = definition.get("Type")
        if not isinstance(kind, str) or kind not in TECHNIQUES:
            raise ValueError(f"a scan of Type {short(kind)}, expected one of {', '.join((*TECHNIQUES, POINT_SCAN))}")
        technique = TECHNIQUES[kind]
        axes = [(axis_of(one, "PAxis"), axis_of(one, "QAxis")) for one in entries_of(definition, "Regions")]
        if not axes:
            raise ValueError("no Regions")
        zone_plate = np.array([])
        _check_sizes(axes)
        if technique == "stxm_line_spectrum":
            energies, regions = _line_regions(header, axes)
        else:
            energies = _energies(header, definition)
            if technique == "stxm_focus":
                zone_plate, regions = _focus_regions(header, axes)
            else:
                regions = [_image_region(*one) for one in axes]
        check_points("its images", len(energies) * sum(one.x.size for one in regions))
        check_lines("its images", len(energies) * sum(len(one.x) for one in regions))
        letter, name, unit, problems = _channel(definition, channel)
        dwells = dwells_of(header, definition, len(energies), problems)
        problems += contradictions(header, definition, axes)
    except ValueError as error:
        raise BeamlineError(f"{path}: {error}") from error
    return SdfScan(path, header, text, technique, energies, dwells, regions, zone_plate, letter, name, unit, problems)


def _find_header(path: Path) -> Path:
    if path.is_dir():
        headers = sorted(path.glob("*.hdr"))
        if len(headers) != 1:
            found = ", ".join(one.name for one in headers) or "none"
            raise BeamlineError(f"{path}: expected one header like 71214078.hdr, found {found}")
        return inside(path, headers[0].name, named_by=str(path))
    try:
        size_of(path)
    except FileNotFoundError:
        raise BeamlineError(f"{path}: no such file or folder") from None
    except ValueError as error:
        raise BeamlineError(f"{path}: {error}") from error
    return path.resolve() if path.is_symlink() else path  # the images lie beside the header itself


def _check_sizes(axes: Sequence[tuple[Axis, Axis]]) -> None:
    for p, q in axes:
        check_points("a region", len(p.points) * len(q.points))


@dataclass(frozen=True)
class Axis:
    """An axis of a region: its name, its unit as written, and its points (um or eV)."""

    name: str
    unit: str
    points: FloatArray

    @property
    def is_energy(self) -> bool:
        """Whether its points are energies."""
        return "energy" in self.name.lower()

    def is_position(self, letter: str) -> bool:
        """Tell whether it moves the sample along x or y."""
        return re.fullmatch(rf"(sample|coarse|fine).*{letter}", self.name.lower()) is not None


def structure_of(parent: Structure, name: str) -> Structure:
    """Return a structure of a structure; ValueError if there is none of this name."""
    value = parent.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"no structure {name}")
    return value


def entries_of(parent: Structure, name: str, where: str = "") -> list[Any]:
    """Return the entries of an array of a structure; ValueError if it is none, which is named as `where`."""
    try:
        return entries(parent.get(name))
    except ValueError as error:
        raise ValueError(f"{where or name}: {error}") from None


def axis_of(parent: Any, name: str) -> Axis:
    """Return an axis of a region, of this name; ValueError if it has none, or it is not one."""
    if not isinstance(parent, dict):
        raise ValueError(f"a region that is no structure: {short(parent)}")
    axis = structure_of(parent, name)
    label, unit = str(axis.get("Name", ""))[:60], str(axis.get("Unit", ""))
    where = f"Points of the {name} {label!r}"
    values = entries_of(axis, "Points", where)
    wrong = [one for one in values if not _is_number(one)]
    if wrong or not values:
        raise ValueError(f"{where}: {short(wrong[0]) if wrong else 'none'}, expected numbers")
    points = np.array(values, dtype=float)
    is_energy = "energy" in label.lower()
    try:
        points = points * factor(unit, TO_EV if is_energy else TO_UM)
    except ValueError as error:
        raise ValueError(f"axis {label!r}: {error}") from None
    check_range(where, points, ENERGIES if is_energy else POSITIONS, "eV" if is_energy else "um")
    return Axis(label, unit, points)


def _energies(header: Structure, definition: Structure) -> FloatArray:
    """Return the energies of images: the StackAxis, or the position of the monochromator for a single image."""
    if isinstance(stack := definition.get("StackAxis"), dict) and "Points" in stack:
        axis = axis_of(definition, "StackAxis")
        if not axis.is_energy:
            raise ValueError(f"a stack along {axis.name!r}, expected Energy")
        return axis.points
    monochromator = next((one for name in MONOCHROMATORS if isinstance(one := header.get(name), dict)), {})
    position = monochromator.get("LastPosition")
    if not _is_number(position):
        raise ValueError("no energy: neither a StackAxis with Points nor a Monochromator with LastPosition")
    energies = np.array([float(position)])
    check_range("LastPosition of the Monochromator", energies, ENERGIES, "eV")
    return energies


def _image_region(p: Axis, q: Axis) -> SdfRegion:
    if p.is_position("x") and q.is_position("y"):
        x, y, transposed = p.points, q.points, False
    elif p.is_position("y") and q.is_position("x"):
        x, y, transposed = q.points, p.points, True
    else:
        raise ValueError(f"an image of {p.name!r} and {q.name!r}, expected Sample X and Sample Y")
    return SdfRegion(*np.meshgrid(x, y), transposed)


def _line_regions(header: Structure, axes: Sequence[tuple[Axis, Axis]]) -> tuple[FloatArray, list[SdfRegion]]:
    """Return the energies and the lines of line spectra, whose axes P and Q are energy and position or reversed."""
    energies: list[FloatArray] = []
    regions = []
    for region, (p, q) in enumerate(axes):
        if p.is_energy == q.is_energy:
            raise ValueError(f"a line spectrum of {p.name!r} and {q.name!r}, expected Energy and a position")
        energy, along = (p, q) if p.is_energy else (q, p)
        energies.append(energy.points)
        regions.append(_line(header, region, along, rows=1, transposed=q.is_energy))
    if not all(np.array_equal(one, energies[0]) for one in energies):
        raise ValueError("regions of different energies")
    return energies[0], regions


def _focus_regions(header: Structure, axes: Sequence[tuple[Axis, Axis]]) -> tuple[FloatArray, list[SdfRegion]]:
    """Return the zone plate's positions and the line of a focus scan."""
    if len(axes) != 1:
        raise ValueError(f"a focus scan of {len(axes)} regions, expected one")
    p, q = axes[0]
    if "zone" not in q.name.lower() and "zp" not in q.name.lower():
        raise ValueError(f"a focus scan along {q.name!r}, expected Zone Plate")
    return q.points, [_line(header, 0, p, rows=len(q.points), transposed=False)]


def _line(header: Structure, region: int, along: Axis, *, rows: int, transposed: bool) -> SdfRegion:
    """Locate the pixels of a line: along x or y if its axis is named so, else by centre, length and angle."""
    points = along.points
    scan = spatial_region(header, region)
    centre_x, centre_y = (number(scan, name) for name in ("CentreXPos", "CentreYPos"))
    if along.is_position("x"):
        x, y = points, np.full_like(points, centre_y)
    elif along.is_position("y"):
        x, y = np.full_like(points, centre_x), points
    else:  # a distance from the start of the line
        offset = points - (points[0] + points[-1]) / 2
        angle = math.radians(number(scan, "Theta", 0.0))
        x, y = centre_x + offset * math.cos(angle), centre_y + offset * math.sin(angle)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"where the line along {along.name!r} lies: no CentreXPos, CentreYPos of a region")
    shape = (rows, len(points))
    return SdfRegion(np.broadcast_to(x, shape), np.broadcast_to(y, shape), transposed)


def spatial_region(header: Structure, region: int) -> Structure:
    """Find the structure with the place of a region: FocusScan itself, or a region of LineScan or ImageScan."""
    for name in ("FocusScan", "LineScan", "ImageScan"):
        if isinstance(scan := header.get(name), dict):
            if isinstance(scan.get("SpatialRegions"), list):
                regions = entries_of(scan, "SpatialRegions")
                if region < len(regions) and isinstance(regions[region], dict):
                    found: Structure = regions[region]
                    return found
            if "CentreXPos" in scan:
                return scan
    return {}


def contradictions(header: Structure, definition: Structure, axes: Sequence[tuple[Axis, Axis]]) -> list[str]:
    """Say where the parts of a header that describe the same do not agree; the points of the axes are what is taken."""
    found = []
    for region, (regions, pair) in enumerate(zip(_entries_or_none(definition, "Regions"), axes, strict=False)):
        where = f" of region {region}" if len(axes) > 1 else ""
        for name, axis in zip(("PAxis", "QAxis"), pair, strict=True):
            found += _beyond(f"{name}{where}", regions.get(name), axis)
        try:
            place = spatial_region(header, region)
        except ValueError:
            place = {}
        for letter in ("X", "Y"):
            planned = place.get(f"{letter}Points")
            along = next((axis for axis in pair if axis.is_position(letter.lower())), None)
            if along is not None and _is_number(planned) and planned != len(along.points):
                found.append(
                    f"SpatialRegions{where} have {planned:g} points along {letter}, the axis {len(along.points)};"
                    " the axis is taken"
                )
    if isinstance(stack := definition.get("StackAxis"), dict) and "Points" in stack:
        found += _beyond("StackAxis", stack, axis_of(definition, "StackAxis"))
    return found


def _entries_or_none(parent: Structure, name: str) -> list[Structure]:
    return [one if isinstance(one, dict) else {} for one in entries_of(parent, name)]


def _beyond(name: str, written: Any, axis: Axis) -> list[str]:
    """Say if the points of an axis end elsewhere than its Min and Max say, by more than one and a half of its steps.

    That of MAXYMUS ends a step before its Max, that of the ALS a step behind it.
    """
    if not isinstance(written, dict) or len(axis.points) < 2:
        return []
    try:
        scale = factor(axis.unit, TO_EV if axis.is_energy else TO_UM)
    except ValueError:
        return []
    ends = [number(written, "Min") * scale, number(written, "Max") * scale]
    seen = [float(axis.points.min()), float(axis.points.max())]
    step = float(np.abs(np.diff(axis.points)).max())
    if any(abs(one - other) > END_TOLERANCE * step for one, other in zip(ends, seen, strict=True)):
        unit = "eV" if axis.is_energy else "um"
        said = " to ".join(f"{one:g}" for one in ends)
        return [f"{name}: Min to Max is {said} {unit}, its points {seen[0]:g} to {seen[1]:g} {unit}, which are taken"]
    return []


def number(structure: Structure, name: str, default: float = math.nan) -> float:
    """Return a number of a structure; NaN if it has something else, or an infinite one."""
    value = structure.get(name, default)
    return float(value) if _is_number(value) and math.isfinite(value) else math.nan


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _channel(definition: Structure, wanted: str) -> tuple[str, str, str, list[str]]:
    """Return letter, name and unit of a channel, and what is to be said of the others."""
    channels = entries_of(definition, "Channels")
    names = [str(one.get("Name", "")) if isinstance(one, dict) else short(one) for one in channels]
    for index, (letter, name) in enumerate(zip(string.ascii_lowercase, names, strict=False)):
        if wanted in ("", letter, name):
            others = [*names[:index], *names[index + 1 :]]
            left_out = f"1 of {len(names)} channels is imported, {name}; left out: {', '.join(others)}"
            unit = str(channels[index].get("Unit", "")) if isinstance(channels[index], dict) else ""
            return letter, name, unit, [clean(left_out)] if others else []
    raise ValueError(f"no channel {wanted!r}; it has {clean(', '.join(names))[:200] or 'none'}")


def dwells_of(header: Structure, definition: Structure, count: int, problems: list[str]) -> FloatArray:
    """Return the dwell at each energy, s, which energy regions may give separately."""
    dwell = number(definition, "Dwell")
    others = []
    for name in ("ImageScan", "LineScan"):
        scan = header.get(name)
        if isinstance(scan, dict) and isinstance(scan.get("EnergyRegions"), list):
            regions = [one for one in entries_of(scan, "EnergyRegions") if isinstance(one, dict)]
            points, dwells = ([number(one, key) for one in regions] for key in ("Points", "DwellTime"))
            fit = sum(points) == count and all(one >= 0 and one == int(one) for one in points)
            if fit and all(one > 0 for one in dwells):
                return np.repeat(dwells, [int(one) for one in points]) / 1000
            if any(one != dwell for one in dwells):
                seen = ", ".join(f"{one:g} points of {time:g} ms" for one, time in zip(points, dwells, strict=True))
                others.append(f"EnergyRegions of {name}: {seen}, expected {count} points; Dwell is taken, {dwell:g} ms")
    if not dwell > 0:
        raise ValueError(f"Dwell is {short(definition.get('Dwell'))}, expected ms")
    problems += others
    return np.full(count, dwell / 1000)
