"""A STXM scan in the self-defining format (SDF) of the ALS, the CLS and PolLux, converted to a raw run.

A scan is a header ``71214078.hdr`` and a text image for each channel, energy and region:
``71214078_a000.xim`` (channel a, energy 0), ``..._a0002.xim`` (energy 0, region 2), ``..._a.xim`` (one image).

Row i of a text image is point i of the header's QAxis and column j is point j of its PAxis, so that the first row of an
image belongs to the first entry of the QAxis (the lowest y if its Dir is 1), however the stage moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.sdf_header import Structure
from beamline.formats.importers.sdf_scan import SdfScan, number, read_scan
from beamline.formats.importers.stxm_run import NOT_RECORDED, Documents, StxmImage, middle, stxm_run
from callbacks.contract import Measurement, StxmGrid, StxmRegion

FloatArray = NDArray[np.floating]

ALS_ZONE = ZoneInfo("America/Los_Angeles")  # the header's times name no time zone
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
        missing, too short or not as the header says are left out, which leaves gaps in the numbers of the events.

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
    scan = read_scan(path, channel=channel)
    problems: list[str] = []
    start_time = _time(scan.header.get("Time"), zone)
    if start_time is None:
        start_time = scan.path.stat().st_mtime
        problems.append(f"{scan.path.name}: no time of the scan; the file's own stands for it")
    images: list[StxmImage] = []
    for region in range(len(scan.regions)):
        if scan.technique == "stxm_line_spectrum":
            images += _line_spectrum(scan, region, start_time, zone, problems)
        else:
            images += _images(scan, region, start_time, zone, problems)
    if not images:
        reason = problems[-1] if problems else "none is named"
        raise BeamlineError(f"{scan.path}: none of its images can be read; {reason}")
    problems += _strays(scan)
    yield from stxm_run(
        _measurement(scan),
        images,
        metadata=_start_metadata(scan, problems),
        source=f"{scan.path.stem}_{scan.letter}*.xim",
        start_time=start_time,
        counter_divider=number(scan.header, "PMT_CounterDivider", 1.0),
    )


def read_xim(path: Path, expected_rows: int) -> tuple[FloatArray, str]:
    """Read a text image.

    Parameters
    ----------
    path : Path
        File with rows of numbers separated by white space.
    expected_rows : int
        Number of rows that it should have.

    Returns
    -------
    values : numpy.ndarray, shape (rows, columns)
        The rows up to the first that is not as long as the first one, or is truncated.
    problem : str
        Why the file is incomplete; empty if it is complete.

    Raises
    ------
    ValueError
        When there is no file, or no numbers in it.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path.name}: missing") from None
    except OSError as error:
        raise ValueError(f"{path.name}: cannot be read: {error.strerror}") from error
    rows = [row for line in data.split(b"\n") if (row := line.split())]
    if not rows:
        raise ValueError(f"{path.name}: empty")
    columns = len(rows[0])
    whole = next((number for number, row in enumerate(rows) if len(row) != columns), len(rows))
    problem = ""
    if whole < len(rows):
        problem = f"{path.name}: row {whole + 1} has {len(rows[whole])} columns, not {columns}"
    elif not data.endswith(b"\n") and (whole < expected_rows or _differ_in_decimals(rows[-1][-1], rows[-1][0])):
        whole -= 1  # the last number may be truncated
        problem = f"{path.name}: row {whole + 1} breaks off"
    if not whole:
        raise ValueError(problem)
    try:
        return np.array(rows[:whole], dtype=float), problem
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _differ_in_decimals(one: bytes, other: bytes) -> bool:
    """Tell whether two numbers have a different number of decimals."""
    return len(one.partition(b".")[2]) != len(other.partition(b".")[2])


def _images(scan: SdfScan, region: int, start_time: float, zone: ZoneInfo, problems: list[str]) -> Sequence[StxmImage]:
    """Read the images of a region, and append what is wrong to `problems`."""
    place = scan.regions[region]
    rows = len(place.x)
    images = []
    time = start_time
    for index, energy in enumerate(scan.energies.tolist()):
        block = _image_block(scan, index, region)
        time = _image_time(block, time, zone, f"image {index}", problems)
        values = _read_image(scan, index, region, problems)
        if values is None:
            continue
        counts = np.full(place.x.shape, np.nan)
        counts[: len(values)] = values
        images.append(
            StxmImage(
                index,
                region,
                counts,
                dwell=scan.dwells[index],
                x=place.x,
                y=place.y,
                energy_readback=number(block, "Energy", energy),
                ring_current=number(block, "StorageRingCurrent"),
                time=time,
                zone_plate=scan.zone_plate if scan.zone_plate.size else None,
                measured=np.arange(rows) < len(values),
            )
        )
    return images


def _read_image(scan: SdfScan, index: int, region: int, problems: list[str]) -> FloatArray | None:
    """Read the lines of an image that are there; None if there are none, or the image is not as the header says."""
    place = scan.regions[region]
    rows, columns = place.x.shape
    path = _existing(scan.image_paths(index, region))
    try:
        values, problem = read_xim(path, columns if place.transposed else rows)
    except ValueError as error:
        problems.append(f"{error}; {rows} lines left out")
        return None
    values = values.T if place.transposed else values
    wrong = values.shape[1] != columns or len(values) > rows
    if wrong or problem or len(values) < rows:
        left_out = rows if wrong else rows - len(values)
        seen = problem or f"{path.name}: {len(values)} rows of {values.shape[1]} pixels, expected {rows} of {columns}"
        problems.append(f"{seen}; {left_out} lines left out")
    return None if wrong else values


def _line_spectrum(
    scan: SdfScan, region: int, start_time: float, zone: ZoneInfo, problems: list[str]
) -> Sequence[StxmImage]:
    """Read a line spectrum: one text image with positions along one side and energies along the other."""
    place = scan.regions[region]
    pixels = place.x.shape[1]
    path = _existing(scan.image_paths(0, region))
    try:
        values, problem = read_xim(path, len(scan.energies) if place.transposed else pixels)
        values = values if place.transposed else values.T
        reached = len(values)
        if values.shape[1] != pixels or reached > len(scan.energies):
            seen = f"{reached} energies of {values.shape[1]} pixels, expected {len(scan.energies)} of {pixels}"
            raise ValueError(problem or f"{path.name}: {seen}")
    except ValueError as error:
        problems.append(f"{error}; {len(scan.energies)} lines left out")
        return []
    if reached < len(scan.energies):
        left_out = len(scan.energies) - reached
        problems.append(f"{path.name}: {reached} of {len(scan.energies)} energies; {left_out} lines left out")
    block = _image_block(scan, 0, region)
    time = _image_time(block, start_time, zone, "line spectrum", problems)
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
        )
        for index in range(reached)
    ]


def _existing(paths: Sequence[Path]) -> Path:
    return next((path for path in paths if path.is_file()), paths[0])


def _image_block(scan: SdfScan, index: int, region: int) -> Structure:
    """Find the header's block of an image: ``Image007_0``, or ``Image8`` in older headers, which begin at 2."""
    for name in (f"Image{index:03d}_{region}", f"Image{index + 1}"):
        if isinstance(block := scan.header.get(name), dict):
            return block
    return {} if index else {name: scan.header[name] for name in ("StorageRingCurrent", "Time") if name in scan.header}


def _image_time(block: Structure, before: float, zone: ZoneInfo, name: str, problems: list[str]) -> float:
    """Return the time at which an image began; if the header has none that can be read, that of the image before."""
    time = _time(block.get("Time"), zone)
    if time is None and block.get("Time") is not None:
        problems.append(f"{name}: time {block['Time']!r} cannot be read; that of the image before stands for it")
    return before if time is None else time


def _time(text: Any, zone: ZoneInfo) -> float | None:
    for form in TIME_FORMATS:
        try:
            return datetime.strptime(str(text), form).replace(tzinfo=zone).timestamp()
        except ValueError:
            continue
    return None


def _strays(scan: SdfScan) -> list[str]:
    known = {
        path.name
        for energy in range(len(scan.energies))
        for region in range(len(scan.regions))
        for path in scan.image_paths(energy, region)
    }
    found = sorted(path.name for path in scan.path.parent.glob(f"{scan.path.stem}_{scan.letter}*.xim"))
    return [f"{name}: not in {scan.path.name}, left out" for name in found if name not in known]


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


def _start_metadata(scan: SdfScan, problems: list[str]) -> dict[str, Any]:
    return {
        "plan_name": "import_sdf",
        "scan_id": scan.scan_id,
        "sample": {"name": NOT_RECORDED},
        "instrument_header": scan.text.splitlines(),
        "imported_from": str(scan.path.resolve()),
        "channel": scan.channel,
        "row_order": "row i of the text is point i of the header's QAxis",
        "energy_source": "as requested, or the energy in an image's block; the header has no read-back",
        "import_problems": problems,
    }
