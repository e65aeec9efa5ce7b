"""A CCD scan of the ALS iRIXS endstation (beamline 8.0.1), as its BCS software saves it, turned into a raw run.

A scan is a folder ``CCD Scan 17174`` with a log ``cox17174-AI.txt`` and the frames ``Andor/cox17174-00001.tif``...
The log has a header, then a table, separated by tabs, that begins at the line with ``Time`` in front.
"""

from __future__ import annotations

import logging
import math
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import event_model
import h5py
import numpy as np
import tifffile

from beamline.errors import BeamlineError
from callbacks.contract import CCD, MEASUREMENT, UNITS, CcdConfig, Key, Measurement, Stream
from callbacks.external import HDF5_DATASET

Documents = Iterator[tuple[str, Any]]

FRAME_FOLDER = "Andor"
LOG_ZONE = ZoneInfo("America/Los_Angeles")  # where the ALS is; the log's times name no zone
ENERGY_HEADER = "X Motor"  # the header line that names the column of the scanned motor
COLUMNS = {"Izero": Key.I0, "TFY": Key.TFY, "TEY": Key.TEY, "Background": Key.CCD_BACKGROUND}  # the others keep theirs
NEEDED = ("Time", "Filename", "Izero")
SUM = "counts"  # the instrument's own sum of the frame
COUNTS_PER_EV = 0.2085  # of the endstation's CCD: single photons of 777 eV leave about 162 counts
FULL_SCALE = 65535  # counts; the camera digitises to 16 bits, before the background is subtracted
SPARE = 10_000_000  # bytes left free when the frames are written
NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class LogLine:
    """One frame, as the log has it."""

    time: float  # s since the epoch, when the log line was written
    values: dict[str, float]  # data key -> value
    frame_name: str  # without folder and suffix


@dataclass(frozen=True)
class ScanLog:
    """The log of a scan.

    Attributes
    ----------
    path : Path
        The file.
    scan_id : int
        The scan's number.
    header : list of str
        Every line above the table.
    sources : dict of str to str
        Data key -> column of the log.
    lines : list of LogLine
        One a frame, in order.
    problems : list of str
        Lines that cannot be read, one text each.
    """

    path: Path
    scan_id: int
    header: list[str]
    sources: dict[str, str]
    lines: list[LogLine]
    problems: list[str]

    @property
    def frame_interval(self) -> float:
        """Median time between log lines in s, NaN for a single frame: an upper bound of the exposure."""
        times = [line.time for line in self.lines]
        return float(np.median(np.diff(times))) if len(times) > 1 else math.nan


def irixs_documents(folder: Path, *, frames_dir: Path) -> Documents:
    """Give a scan as the documents of a raw run.

    Parameters
    ----------
    folder : Path
        The scan's folder.
    frames_dir : Path
        Where one HDF5 file with all frames is written, under a name of its own.

    Yields
    ------
    name, doc : str, dict
        Start (with the log's header under ``instrument_log`` and one line for everything that is wrong under
        ``import_problems``), descriptor, frame reference, one event for each line of the log, stop. A frame that is
        missing or not to be trusted keeps its event: `Key.FRAME_PROBLEM` says why, and the file holds zeros in its
        place where it cannot be read; such a frame is to be treated as not measured.

    Raises
    ------
    BeamlineError
        When nothing can be imported: no log, a log that cannot be read, no readable frame.

    Notes
    -----
    The log gives no exposure time. The median interval between frames (exposure, readout and motion together) stands
    for it, and ``exposure_time_source`` says so.
    """
    log = read_log(folder)
    uid = str(uuid.uuid4())
    path = frames_dir.resolve() / f"irixs_{log.scan_id}_{uid[:8]}.h5"
    shape, frame_problems = convert_frames(folder / FRAME_FOLDER, log, path)
    known = {line.frame_name for line in log.lines}
    strays = sorted(path.name for path in (folder / FRAME_FOLDER).glob("*.tif") if path.stem not in known)
    problems = [
        *log.problems,
        *(f"frame {number}: {problem}" for number, problem in enumerate(frame_problems, start=1) if problem),
        *(f"{FRAME_FOLDER}/{name}: not in {log.path.name}, left out" for name in strays),
    ]
    first, last = log.lines[0].time, log.lines[-1].time
    run = event_model.compose_run(uid=uid, time=first, metadata=_start_metadata(log, problems))
    yield "start", run.start_doc
    data_keys = _event_data_keys(log, shape)
    descriptor = run.compose_descriptor(
        name=str(Stream.PRIMARY),
        time=first,
        data_keys=data_keys,
        object_keys={CCD: list(data_keys)},
        configuration={CCD: _ccd_configuration(log)},
    )
    yield "descriptor", descriptor.descriptor_doc
    yield from _refer_to_frames(path, shape, len(log.lines), run.start_doc, descriptor.descriptor_doc)
    exposure_time = log.frame_interval
    for line, problem in zip(log.lines, frame_problems, strict=True):
        data = {**line.values, str(Key.EXPOSURE_TIME): exposure_time, str(Key.FRAME_PROBLEM): problem}
        yield "event", descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, line.time), time=line.time)
    yield "stop", run.compose_stop(time=last)


def read_log(folder: Path) -> ScanLog:
    """Read the log of a scan.

    Parameters
    ----------
    folder : Path
        The scan's folder.

    Raises
    ------
    BeamlineError
        When there is no log or more than one, when its table, its date or a column it needs is missing, or when no
        line of the table can be read.
    """
    path, scan_id = _find_log(folder)
    try:
        text = path.read_text(encoding="latin-1").split("\n")  # every byte is a character, as Windows wrote it
    except OSError as error:
        raise BeamlineError(f"{path}: cannot be read: {error.strerror}") from error
    top = next((number for number, line in enumerate(text) if line.startswith("Time\t")), None)
    if top is None:
        raise BeamlineError(f"{path}: no table; expected a line that starts with 'Time' and a tab")
    header, names = text[:top], text[top].split("\t")
    keys = _data_keys(path, header, names)
    midnight = _midnight(path, header)

    lines: list[LogLine] = []
    problems: list[str] = []
    for number, line in enumerate(text[top + 1 :], start=top + 2):
        if not line.strip():
            continue
        try:
            lines.append(_read_line(line, names, keys, midnight, after=lines[-1].time if lines else 0.0))
        except ValueError as error:
            problems.append(f"{path.name} line {number}: {error}; left out")
    if not lines:
        raise BeamlineError(f"{path}: the table holds no line that can be read")
    sources = {key: name for name, key in keys.items()}
    return ScanLog(path, scan_id, header, sources, lines, problems)


def convert_frames(folder: Path, log: ScanLog, path: Path) -> tuple[tuple[int, int], list[str]]:
    """Write the frames of a scan into one HDF5 file, laid out as an area detector's plugin does, one chunk a frame.

    Parameters
    ----------
    folder : Path
        Where the TIFF files are.
    log : ScanLog
        The log; its lines name the files and give the order.
    path : Path
        The file to write; its dataset has the shape (n_lines, rows, columns), uint16, with zeros where a frame cannot
        be read.

    Returns
    -------
    shape : (int, int)
        Rows and columns, those of most frames.
    problems : list of str, length n_lines
        Why a frame is not to be trusted; empty where it is.

    Raises
    ------
    BeamlineError
        When no frame can be read, or the file cannot be written (then nothing is left of it).
    """
    paths = [folder / f"{line.frame_name}.tif" for line in log.lines]
    shape = _usual_shape(paths)
    problems = [""] * len(paths)
    sums: dict[int, int] = {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_space(path.parent, 2 * len(paths) * math.prod(shape))
        with h5py.File(path, "x", libver="latest") as file:  # the older format cannot be read as SWMR
            frames = file.create_dataset(HDF5_DATASET, (len(paths), *shape), np.uint16, chunks=(1, *shape))
            for index, frame_path in enumerate(paths):
                frame, problems[index] = _read_frame(frame_path, shape)
                if frame is not None:
                    frames[index] = frame
                    sums[index] = int(frame.sum(dtype=np.int64))
    except (OSError, RuntimeError) as error:  # the latter where HDF5 finds the disk full only as it closes the file
        if path.is_file():
            path.unlink()
        raise BeamlineError(f"{path}: frames cannot be written: {_one_line(error)}") from error
    for index, problem in _differing_sums(sums, log).items():
        problems[index] = problem
    return shape, problems


def _find_log(folder: Path) -> tuple[Path, int]:
    if not folder.is_dir():
        raise BeamlineError(f"{folder}: no such folder")
    logs = [(path, match) for path in sorted(folder.glob("*-AI.txt")) if (match := re.search(r"(\d+)-AI$", path.stem))]
    if len(logs) != 1:
        found = ", ".join(path.name for path, _ in logs) or "none"
        raise BeamlineError(f"{folder}: expected one log like cox17174-AI.txt, found {found}")
    path, match = logs[0]
    return path, int(match[1])


def _data_keys(path: Path, header: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Give the data key of each column that holds numbers."""
    motor = next((line.partition(":")[2].strip() for line in header if line.startswith(f"{ENERGY_HEADER}:")), "")
    if "energy" not in motor.lower():
        raise BeamlineError(f"{path}: '{ENERGY_HEADER}' is {motor!r}, expected an energy")
    for name in (*NEEDED, motor):
        if name not in names:
            raise BeamlineError(f"{path}: the table has no column {name!r}")
    keys = {name: re.sub(r"\W+", "_", name.lower()).strip("_") for name in names if name not in ("Time", "Filename")}
    return keys | {name: str(key) for name, key in COLUMNS.items() if name in keys} | {motor: str(Key.ENERGY)}


def _midnight(path: Path, header: Sequence[str]) -> datetime:
    r"""Find the day in ``Data File Path: C:\...\240705\CCD Scan 17174``."""
    data_path = next((line for line in header if line.startswith("Data File Path:")), "")
    for part in reversed(data_path.split("\\")):
        if re.fullmatch(r"\d{6}", part):
            try:
                return datetime.strptime(part, "%y%m%d").replace(tzinfo=LOG_ZONE)
            except ValueError:
                break
    raise BeamlineError(rf"{path}: no date; expected one like 240705 in 'Data File Path: ...\240705\CCD Scan ...'")


def _read_line(line: str, names: Sequence[str], keys: dict[str, str], midnight: datetime, *, after: float) -> LogLine:
    fields = line.split("\t")
    if len(fields) != len(names):
        raise ValueError(f"{len(fields)} columns, expected {len(names)}")
    by_name = dict(zip(names, fields, strict=True))
    clock = datetime.strptime(by_name["Time"], "%H:%M:%S")
    moment = midnight.replace(hour=clock.hour, minute=clock.minute, second=clock.second)
    while moment.timestamp() < after - 43_200:  # half a day back: midnight has passed
        moment += timedelta(days=1)
    values = {key: float(by_name[name]) for name, key in keys.items()}
    if not math.isfinite(values[Key.ENERGY]):
        raise ValueError(f"energy is {values[Key.ENERGY]}")
    return LogLine(moment.timestamp(), values, by_name["Filename"].strip())


def _usual_shape(paths: Sequence[Path]) -> tuple[int, int]:
    """Find the rows and columns of most frames, from the headers of the files."""
    shapes: Counter[tuple[int, ...]] = Counter()
    first_problem = ""
    for path in paths:
        shape, problem = _open_frame(path, lambda page: page.shape)
        if shape is not None and len(shape) == 2:
            shapes[shape] += 1
        first_problem = first_problem or problem
    if not shapes:
        raise BeamlineError(f"{paths[0].parent}: none of the {len(paths)} frames can be read; {first_problem}")
    rows, columns = shapes.most_common(1)[0][0]
    return rows, columns


def _check_space(folder: Path, needed: int) -> None:
    """Look before writing: HDF5 does not survive a disk that fills up under an open file."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise BeamlineError(f"{folder}: {free / 1e6:.0f} MB free, the frames need {(needed + SPARE) / 1e6:.0f} MB")


def _read_frame(path: Path, shape: tuple[int, int]) -> tuple[np.ndarray | None, str]:
    frame, problem = _open_frame(path, lambda page: page.asarray())
    if frame is None:
        return None, problem
    if frame.shape != shape or frame.dtype != np.uint16:
        seen, usual = (" x ".join(map(str, numbers)) for numbers in (frame.shape, shape))
        return None, f"{path.name}: {seen} pixels of {frame.dtype}, expected {usual} of uint16"
    return frame, ""


def _open_frame(path: Path, look: Callable[[Any], Any]) -> tuple[Any, str]:
    """Give what `look` sees in the first page of a TIFF file; None and the reason where that cannot be."""
    if not path.is_file():
        return None, f"{path.name}: missing"
    try:
        with _quiet_tifffile(), tifffile.TiffFile(path) as file:
            return look(file.pages[0]), ""
    except Exception:  # noqa: BLE001 - on a damaged file tifffile raises whatever the damage leads it to
        return None, f"{path.name}: not a whole TIFF file ({path.stat().st_size} bytes)"


@contextmanager
def _quiet_tifffile() -> Iterator[None]:
    """Keep tifffile from printing what is said in one line anyway."""
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _differing_sums(sums: dict[int, int], log: ScanLog) -> dict[int, str]:
    """Name the frames, by index, whose sum is not the one the instrument logged.

    Where most of them differ, the instrument summed something else (a region, say), and that tells nothing.
    """
    if SUM not in log.sources:
        return {}
    logged = {index: log.lines[index].values[SUM] for index in sums}
    differing = [index for index in sums if sums[index] != logged[index]]
    if len(differing) > len(sums) / 2:
        return {}
    return {
        index: f"{log.lines[index].frame_name}.tif: holds {sums[index]} counts, the log says {logged[index]:.0f}"
        for index in differing
    }


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _refer_to_frames(path: Path, shape: tuple[int, int], count: int, start: Any, descriptor: Any) -> Documents:
    resource = event_model.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{quote(str(path))}",
        data_key=str(Key.CCD_IMAGE),
        parameters={"dataset": HDF5_DATASET, "chunk_shape": [1, *shape]},
        start=start,
    )
    yield "stream_resource", resource.stream_resource_doc
    frames = resource.compose_stream_datum(
        indices={"start": 0, "stop": count}, seq_nums={"start": 1, "stop": count + 1}, descriptor=descriptor
    )
    yield "stream_datum", frames


def _start_metadata(log: ScanLog, problems: list[str]) -> dict[str, Any]:
    measurement = Measurement(
        technique="rixs", sample=NOT_RECORDED, points=len(log.lines), exposure_time=log.frame_interval
    )
    return {
        "plan_name": "import_irixs",
        "scan_id": log.scan_id,
        "sample": {"name": NOT_RECORDED},
        MEASUREMENT: measurement.model_dump(),
        "instrument_log": log.header,
        "imported_from": str(log.path.parent.resolve()),
        "exposure_time_source": "median interval between log lines, an upper bound; the log gives no exposure time",
        "import_problems": problems,
    }


def _event_data_keys(log: ScanLog, shape: tuple[int, ...]) -> dict[str, Any]:
    number = {"dtype": "number", "dtype_numpy": "<f8", "shape": []}
    columns = {
        key: {**number, "source": f"{log.path.name}: {name}", "units": UNITS.get(key, "")}
        for key, name in log.sources.items()
    }
    return {
        str(Key.CCD_IMAGE): {
            "dtype": "array",
            "dtype_numpy": "<u2",
            "shape": list(shape),
            "external": "STREAM:",
            "source": f"{FRAME_FOLDER}/*.tif",
            "units": UNITS[Key.CCD_IMAGE],
        },
        **columns,
        str(Key.EXPOSURE_TIME): {**number, "source": f"{log.path.name}: Time", "units": UNITS[Key.EXPOSURE_TIME]},
        str(Key.FRAME_PROBLEM): {"dtype": "string", "shape": [], "source": "import"},
    }


def _ccd_configuration(log: ScanLog) -> dict[str, Any]:
    """Give what is known of the camera; NaN where the reduction has to estimate it from the frames."""
    backgrounds = [line.values.get(Key.CCD_BACKGROUND, 0.0) for line in log.lines]
    data: dict[str, float] = {
        str(CcdConfig.COUNTS_PER_EV): COUNTS_PER_EV,
        str(CcdConfig.READ_NOISE): math.nan,
        str(CcdConfig.FULL_SCALE): float(FULL_SCALE - max(backgrounds)),
        str(CcdConfig.PEDESTAL_SUBTRACTED): 1,
    }
    data_keys: dict[str, Any] = {
        key: {
            "dtype": "integer" if isinstance(value, int) else "number",
            "shape": [],
            "source": "import",
            "units": UNITS.get(key, ""),
        }
        for key, value in data.items()
    }
    return {"data": data, "timestamps": dict.fromkeys(data, log.lines[0].time), "data_keys": data_keys}
