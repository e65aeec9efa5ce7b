"""A STXM scan in the self-defining format (SDF) of the ALS, the CLS and PolLux, converted to a raw run.

A scan is a header ``71214078.hdr`` and a text image for each channel, energy and region:
``71214078_a000.xim`` (channel a, energy 0), ``..._a0002.xim`` (energy 0, region 2), ``..._a.xim`` (one image).

Row i of a text image is point i of the header's QAxis and column j is point j of its PAxis, so that the first row of an
image belongs to the first entry of the QAxis (the lowest y if its Dir is 1), however the stage moved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.kind import Kind, head_of, names_in
from beamline.formats.importers.left_out import MISSING, NAMED, LeftOut, details_of, shortened, summary_of
from beamline.formats.importers.quantities import ENERGIES, ENERGY_TOLERANCE, RATE, is_time, normalised
from beamline.formats.importers.sdf_header import Structure, short
from beamline.formats.importers.sdf_image import read_xim
from beamline.formats.importers.sdf_points import is_point_scan, point_scan_documents
from beamline.formats.importers.sdf_scan import SdfScan, interpret, number, open_scan
from beamline.formats.importers.stxm_run import (
    NOT_RECORDED,
    Documents,
    StxmImage,
    middle,
    missing_dwell,
    negative_counts,
    scan_id_of,
    stxm_run,
)
from beamline.formats.text import header_line, quoted
from beamline.text import clean
from callbacks.contract import Measurement, ScannerConfig, StxmGrid, StxmRegion

FloatArray = NDArray[np.floating]

ALS_ZONE = ZoneInfo("America/Los_Angeles")  # the header's times name no time zone
A_DAY = 86_400.0  # s; clocks are set back by less
TIME_FORMATS = ("%Y %B %d %H:%M:%S", "%Y %b %d %H:%M:%S")


def sdf_documents(path: Path, *, channel: str = "", zone: ZoneInfo = ALS_ZONE) -> Documents:
    """Convert a scan to the documents of a raw run.

    Parameters
    ----------
    path : Path
        The header, or a folder with one header.
    channel : str
        Name or letter of the detector's channel; if empty, the first one.
    zone : ZoneInfo
        Time zone of the header's times.

    Yields
    ------
    name, doc : str, dict
        Start (with the header's text under ``instrument_header`` and a line for each problem under
        ``import_problems``), descriptor, one event for each line that can be read, stop. Lines of an image that is
        missing, too short or not as the header says are left out, which leaves gaps in the numbers of the events; the
        run then ends with ``abort`` and says how many.

    Raises
    ------
    BeamlineError
        When nothing can be imported: there is no header, it lacks what is needed, the scan is of another kind, or no
        image can be read.

    Notes
    -----
    Counts are kept as they are in the file. The instrument divides them by ``PMT_CounterDivider`` before writing: the
    divider is part of the scanner's configuration, and the variance of a count is the count over the divider.
    The header has no read-back: positions and energies are the requested ones, except for energies that the header
    repeats for an image. All lines of an image get the time and ring current that the header has for the image.
    """
    path, header, text = open_scan(path)
    account = _Account(zone)
    start_time = _time(header.get("Time"), zone)
    if start_time is None:
        start_time = path.stat().st_mtime
        seen = short(header.get("Time"))
        account.problems.append(
            f"{path.name}: Time is {seen}, expected one of the scan; that of the file stands for it"
        )
    if is_point_scan(header):
        scan_id = scan_id_of(path, account.problems)
        yield from point_scan_documents(
            path,
            header,
            start_time=start_time,
            divider=_divider(path, header, account.problems),
            metadata=lambda problems: (
                _common_metadata(path, text, scan_id) | {"import_problems": [*problems, _no_zone(zone)]}
            ),
            problems=account.problems,
        )
        return
    scan = interpret(path, header, text, channel=channel)
    read = _line_spectrum if scan.technique == "stxm_line_spectrum" else _images
    images = [image for region in range(len(scan.regions)) for image in read(scan, region, start_time, account)]
    if not images:
        reason = next(iter(details_of(account.left_out)), "none is named")
        raise BeamlineError(f"{scan.path}: none of its images can be read; {reason}")
    measurement = _measurement(scan)
    planned = len(scan.regions) * (1 if read is _line_spectrum else len(scan.energies))
    summary = summary_of("images", planned, measurement.points, account.left_out)
    divider = _divider(path, header, account.problems)
    images = _as_counts(scan, images, divider, account.problems)
    account.problems.extend([*missing_dwell(measurement, images), *negative_counts(images)])
    yield from stxm_run(
        measurement,
        images,
        metadata=_start_metadata(scan, summary, account),
        source=f"{scan.path.stem}_{scan.letter}*.xim",
        start_time=start_time,
        configuration={str(ScannerConfig.COUNTER_DIVIDER): divider},
        ended=("abort", summary) if any(one.lines for one in account.left_out) else None,
    )


@dataclass(frozen=True)
class _Account:
    """What is known of the reading of a scan, besides its images."""

    zone: ZoneInfo
    problems: list[str] = field(default_factory=list)
    images: list[tuple[str, str]] = field(default_factory=list)  # which image, and what is odd about it
    left_out: list[LeftOut] = field(default_factory=list)


def _no_zone(zone: ZoneInfo) -> str:
    return f"times have no time zone: taken as those of {zone.key}"


def _divider(path: Path, header: Structure, problems: list[str]) -> float:
    """Return the number of photons per count; NaN if the header's is none."""
    divider = number(header, "PMT_CounterDivider", 1.0)
    if divider > 0:
        return divider
    seen = short(header["PMT_CounterDivider"])
    problems.append(f"{path.name}: PMT_CounterDivider is {seen}, expected a number above 0; it is not known")
    return math.nan


def _as_counts(scan: SdfScan, images: list[StxmImage], divider: float, problems: list[str]) -> list[StxmImage]:
    """Return the images in counts, where the header says that they are a rate.

    A counter counts whole numbers: if the numbers times dwell and divider are, they are a rate, else they are counts.
    """
    if normalised(scan.unit) not in RATE:
        return images
    photons = 1.0 if math.isnan(divider) else divider
    factor = RATE[normalised(scan.unit)]
    counted = [replace(image, counts=image.counts * np.asarray(image.dwell) * factor) for image in images]
    what = f"channel {clean(scan.channel)} is in {quoted(scan.unit)}"
    if all(_are_whole(image.counts * photons) for image in counted):
        problems.append(f"{what}, and its numbers are whole times the dwell: taken for a rate")
        return counted
    problems.append(f"{what}, but its numbers are not whole times the dwell: taken for counts")
    return images


def _are_whole(numbers: FloatArray) -> bool:
    known = numbers[np.isfinite(numbers)]
    return np.allclose(known, np.rint(known), rtol=1e-9, atol=1e-6)


def _images(scan: SdfScan, region: int, start_time: float, account: _Account) -> Sequence[StxmImage]:
    """Read the images of a region."""
    place = scan.regions[region]
    images = []
    time = start_time
    for index, energy in enumerate(scan.energies.tolist()):
        block = _image_block(scan, index, region)
        time = _image_time(block, time, f"image {index}", account)
        counts = _read_image(scan, index, region, account.left_out)
        if counts is None:
            continue
        images.append(
            StxmImage(
                index,
                region,
                counts,
                dwell=scan.dwells[index],
                x=place.x,
                y=place.y,
                energy_readback=_image_energy(block, energy, f"image {index}", account.images),
                ring_current=number(block, "StorageRingCurrent"),
                time=time,
                zone_plate=scan.zone_plate if scan.zone_plate.size else None,
                measured=np.any(np.isfinite(counts), axis=1),
            )
        )
    return images


def _read_image(scan: SdfScan, index: int, region: int, left_out: list[LeftOut]) -> FloatArray | None:
    """Read an image, NaN where there is no number; None if there are none, or it is not as the header says."""
    place = scan.regions[region]
    rows, columns = place.x.shape
    path = _existing(scan.image_paths(index, region))
    try:
        values, problem = read_xim(path, *(place.x.shape[::-1] if place.transposed else place.x.shape))
    except FileNotFoundError:
        left_out.append(LeftOut(path.name, MISSING, lines=rows))
        return None
    except ValueError as error:
        left_out.append(LeftOut(path.name, "not readable", str(error), rows))
        return None
    values = values.T if place.transposed else values
    if values.shape[1] != columns or len(values) > rows:
        seen = problem or f"{path.name}: {len(values)} rows of {values.shape[1]} pixels, expected {rows} of {columns}"
        left_out.append(LeftOut(path.name, "of another size", seen, rows))
        return None
    counts = np.full(place.x.shape, np.nan)
    counts[: len(values)] = values
    lines = int((~np.isfinite(counts).any(axis=1)).sum())
    if len(values) < rows:
        seen = problem or f"{path.name}: {len(values)} rows of {columns} pixels, expected {rows} of {columns}"
        left_out.append(LeftOut(path.name, "broken off", seen, lines))
    elif problem or lines:
        seen = problem or f"{path.name}: lines without a number"
        left_out.append(LeftOut(path.name, "damaged", seen, lines))
    return counts if lines < rows else None


def _line_spectrum(scan: SdfScan, region: int, start_time: float, account: _Account) -> Sequence[StxmImage]:
    """Read a line spectrum: one text image with positions along one side and energies along the other."""
    place = scan.regions[region]
    values = _read_line_spectrum(scan, region, account.left_out)
    block = _image_block(scan, 0, region)
    time = _image_time(block, start_time, "line spectrum", account)
    return [
        StxmImage(
            index,
            region,
            values[index : index + 1],
            dwell=scan.dwells[index],
            x=place.x,
            y=place.y,
            energy_readback=scan.energies[index],
            ring_current=number(block, "StorageRingCurrent"),
            time=time,
            measured=np.any(np.isfinite(values[index : index + 1]), axis=1),
        )
        for index in range(len(values))
    ]


def _read_line_spectrum(scan: SdfScan, region: int, left_out: list[LeftOut]) -> FloatArray:
    """Read the lines of a line spectrum, one for each energy that was reached; none if they cannot be read."""
    place = scan.regions[region]
    energies, pixels = len(scan.energies), place.x.shape[1]
    path = _existing(scan.image_paths(0, region))
    nothing: FloatArray = np.empty((0, pixels))
    try:
        values, problem = read_xim(path, *((energies, pixels) if place.transposed else (pixels, energies)))
    except FileNotFoundError:
        left_out.append(LeftOut(path.name, MISSING, lines=energies))
        return nothing
    except ValueError as error:
        left_out.append(LeftOut(path.name, "not readable", str(error), energies))
        return nothing
    values = values if place.transposed else values.T
    if values.shape[1] != pixels or len(values) > energies:
        seen = f"{path.name}: {len(values)} energies of {values.shape[1]} pixels, expected {energies} of {pixels}"
        left_out.append(LeftOut(path.name, "of another size", problem or seen, energies))
        return nothing
    lines = energies - int(np.isfinite(values).any(axis=1).sum())
    if problem or len(values) < energies:
        seen = problem or f"{path.name}: {len(values)} of {energies} energies"
        left_out.append(LeftOut(path.name, "broken off" if len(values) < energies else "damaged", seen, lines))
    return values if lines < energies else nothing


def _existing(paths: Sequence[Path]) -> Path:
    return next((path for path in paths if path.is_file()), paths[0])


def _image_block(scan: SdfScan, index: int, region: int) -> Structure:
    """Find the header's block of an image: ``Image007_0``, or ``Image8`` in older headers, which begin at 2."""
    for name in (f"Image{index:03d}_{region}", f"Image{index + 1}"):
        if isinstance(block := scan.header.get(name), dict):
            return block
    return {} if index else {"StorageRingCurrent": scan.header.get("StorageRingCurrent")}


def _image_time(block: Structure, before: float, name: str, account: _Account) -> float:
    """Return the time at which an image began; if the header has none that can be read, that of the image before."""
    time = _time(block.get("Time"), account.zone)
    if time is None and block.get("Time") is not None:
        seen = short(block["Time"])
        account.images.append((name, f"time {seen} cannot be read; that of the image before stands for it"))
    if time is not None and time < before - A_DAY:
        seen = short(block["Time"])
        account.images.append((name, f"time {seen} is before the scan began; that of the image before stands for it"))
        return before
    return before if time is None else time


def _image_energy(block: Structure, requested: float, name: str, problems: list[tuple[str, str]]) -> float:
    """Return the energy of an image: that of its block, or the requested one."""
    energy = number(block, "Energy", requested)
    if not ENERGIES[0] < energy <= ENERGIES[1]:
        seen = short(block.get("Energy"))
        problems.append((name, f"energy {seen} is none; the requested one stands for it"))
        return requested
    if abs(energy - requested) > ENERGY_TOLERANCE:
        problems.append((name, f"at {energy:g} eV, where {requested:g} eV was requested"))
    return energy


def _of_images(found: Sequence[tuple[str, str]]) -> list[str]:
    """Say what is odd about images, once of those of which it is the same."""
    by_what: dict[str, list[str]] = {}
    for name, what in found:
        by_what.setdefault(what, []).append(name)
    return [
        f"{names[0]}: {what}" if len(names) == 1 else f"{names[0]} to {names[-1]}, {len(names)} of them: {what}"
        for what, names in by_what.items()
    ]


def _time(text: Any, zone: ZoneInfo) -> float | None:
    for form in TIME_FORMATS:
        try:
            seconds = datetime.strptime(str(text), form).replace(tzinfo=zone).timestamp()
        except (ValueError, OverflowError):
            continue
        return seconds if is_time(seconds) else None
    return None


def _strays(scan: SdfScan) -> list[str]:
    known = {
        path.name
        for energy in range(len(scan.energies))
        for region in range(len(scan.regions))
        for path in scan.image_paths(energy, region)
    }
    found = sorted(path.name for path in scan.path.parent.glob(f"{scan.path.stem}_{scan.letter}*.xim"))
    strays = [name for name in found if name not in known]
    if not strays:
        return []
    names = ", ".join(strays[:NAMED]) + (f" and {len(strays) - NAMED} more" if len(strays) > NAMED else "")
    return [f"{clean(names)}: not in {scan.path.name}, left out"]


def _measurement(scan: SdfScan) -> Measurement:
    regions = [
        StxmRegion(
            x=(float(one.x[0, 0]), float(one.x[0, -1])),
            y=(middle(one.y[0]), middle(one.y[-1])),
            columns=one.x.shape[1],
            rows=one.x.shape[0],
        )
        for one in scan.regions
    ]
    image_scan = scan.header.get("ImageScan")
    by_point = isinstance(image_scan, dict) and "point" in str(image_scan.get("ScanType", "")).lower()
    grid = StxmGrid(
        energies=scan.energies.tolist(),
        regions=regions,
        mode="point" if by_point else "line",
        zone_plate=scan.zone_plate.tolist(),
    )
    return Measurement(
        technique=scan.technique,
        sample=NOT_RECORDED,
        points=len(grid.energies) * grid.lines,
        exposure_time=float(np.median(scan.dwells)),
        grid=grid,
    )


def _common_metadata(path: Path, text: str, scan_id: int) -> dict[str, Any]:
    """Return what the start document of any scan has."""
    return {
        "plan_name": "import_sdf",
        "scan_id": scan_id,
        "sample": {"name": NOT_RECORDED},
        "instrument_header": [header_line(line) for line in text.removesuffix("\n").split("\n")],
        "imported_from": str(path.resolve()),
    }


def _start_metadata(scan: SdfScan, summary: str, account: _Account) -> dict[str, Any]:
    scan_id = scan_id_of(scan.path, account.problems)
    incomplete = [summary, *details_of(account.left_out)] if account.left_out else []
    return {
        **_common_metadata(scan.path, scan.text, scan_id),
        "channel": clean(scan.channel),
        "row_order": "row i of the text is point i of the header's QAxis",
        "energy_source": "as requested, or the energy in an image's block; the header has no read-back",
        "import_problems": [
            *incomplete,
            *account.problems,
            *shortened(_of_images(account.images), "such lines"),
            *scan.problems,
            *_strays(scan),
            _no_zone(account.zone),
        ],
    }


def _is_sdf(path: Path) -> bool:
    """Tell whether it is a header of the format, or a folder with one."""
    if path.is_dir():
        return any(name.lower().endswith(".hdr") and _is_sdf(path / name) for name in names_in(path))
    return b"ScanDefinition" in head_of(path)


SDF = Kind(
    name="sdf",
    title="STXM scan in SDF: the .hdr header beside its .xim images or .xsp tables, or their folder",
    recognises=_is_sdf,
    documents=lambda request: sdf_documents(request.path),
)
