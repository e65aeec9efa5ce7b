"""A CCD scan of the ALS iRIXS endstation (beamline 8.0.1), as saved by its BCS software, converted to a raw run.

A scan is a folder such as ``CCD Scan 17174`` with a log, ``cox17174-AI.txt``, and frames, ``Andor/cox17174-00001.tif``
and so on.
"""

from __future__ import annotations

import math
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from beamline.formats.importers.irixs_frames import convert_frames, is_text
from beamline.formats.importers.irixs_log import LOG_ENDING, ScanLog, read_log
from beamline.formats.importers.kind import Documents, Kind, names_in
from beamline.formats.importers.left_out import NAMED, shortened
from beamline.formats.importers.rixs_run import FrameFile, RixsScan, rixs_run
from beamline.text import clean
from callbacks.contract import CcdConfig, Key

FRAME_FOLDER = "Andor"
COUNTS_PER_EV = 0.2085  # of the endstation's CCD: single photons of 777 eV leave about 162 counts
FULL_SCALE = 65535  # counts; the camera digitises to 16 bits, before the background is subtracted
TEXT_FRAMES = "there are no TIFF files; the frames are read from their -2D.txt, whose Y are taken as the rows"


def irixs_documents(folder: Path, *, frames_dir: Path) -> Documents:
    """Convert a scan to the documents of a raw run.

    Parameters
    ----------
    folder : Path
        The scan's folder.
    frames_dir : Path
        Folder in which one HDF5 file with all frames is written, under a unique name.

    Yields
    ------
    name, doc : str, dict
        Start (with the log's header under ``instrument_log`` and one line for each problem under ``import_problems``),
        descriptor, frame reference, one event for each line of the log, stop. A frame that is missing or cannot be
        trusted keeps its event: `Key.FRAME_PROBLEM` says why, and the file holds zeros if it cannot be read. Such a
        frame must be treated as not measured. A scan with such frames, or with lines that cannot be read, ends with
        ``abort`` and says how many.

    Raises
    ------
    BeamlineError
        When nothing can be imported: there is no log, it cannot be read, it names a file outside of the folder, or no
        frame can be read.

    Notes
    -----
    The log gives no exposure time. The median interval between frames (exposure, readout and motion together) is used
    instead, and ``exposure_time_source`` says so.
    """
    log = read_log(folder)
    uid = str(uuid.uuid4())
    path = frames_dir.resolve() / f"irixs_{log.scan_id}_{uid[:8]}.h5"
    shape, frame_problems = convert_frames(folder / FRAME_FOLDER, log, path)
    summary = _summary(log, frame_problems)
    marked = [(number, problem) for number, problem in enumerate(frame_problems, start=1) if problem]
    problems = [
        *filter(None, [summary]),
        *shortened(log.problems, "lines of the log"),
        *shortened([f"frame {number}: {clean(problem)}" for number, problem in marked], "frames"),
        *([TEXT_FRAMES] if is_text(folder / FRAME_FOLDER, log) else _strays(folder, log)),
    ]
    frames = FrameFile(path, len(log.lines), shape, np.dtype(np.uint16))
    columns = {key: np.array([line.values[key] for line in log.lines]) for key in log.sources}
    columns[str(Key.EXPOSURE_TIME)] = np.full(len(log.lines), log.frame_interval)
    sources = {key: f"{log.path.name}: {name}" for key, name in log.sources.items()}
    scan = RixsScan(
        uid,
        frames,
        columns,
        sources | {str(Key.EXPOSURE_TIME): f"{log.path.name}: Time"},
        [line.time for line in log.lines],
        frame_problems,
        _camera(log),
        f"{FRAME_FOLDER}/*.tif",
    )
    yield from rixs_run(
        scan,
        sample="",
        exposure_time=log.frame_interval,
        metadata=_start_metadata(log, problems),
        ended=("abort", summary) if summary else ("success", ""),
    )


def _summary(log: ScanLog, frame_problems: list[str]) -> str:
    """Count what cannot be used: "2 of 48 frames cannot be used; 1 of 48 lines of the log left out"; "" for nothing."""
    parts = []
    if wrong := sum(1 for problem in frame_problems if problem):
        parts.append(f"{wrong} of {len(frame_problems)} frames cannot be used")
    if log.left_out:
        parts.append(f"{log.left_out} of {log.left_out + len(log.lines)} lines of the log left out")
    return "; ".join(parts)


def _strays(folder: Path, log: ScanLog) -> list[str]:
    known = {line.frame_name for line in log.lines}
    names = sorted(path.name for path in (folder / FRAME_FOLDER).glob("*.tif") if path.stem not in known)
    if len(names) > NAMED:
        shown = ", ".join(names[:NAMED])
        names = [f"{shown} and {len(names) - NAMED} more"]
    return [f"{FRAME_FOLDER}/{clean(name)}: not in {log.path.name}, left out" for name in names]


def _start_metadata(log: ScanLog, problems: list[str]) -> dict[str, Any]:
    return {
        "plan_name": "import_irixs",
        "scan_id": log.scan_id,
        "instrument_log": log.header,
        "imported_from": str(log.path.parent.resolve()),
        "exposure_time_source": "median interval between log lines, an upper bound; the log gives no exposure time",
        "import_problems": problems,
    }


def _camera(log: ScanLog) -> dict[str, float]:
    """Return what is known of the camera; NaN for what the reduction has to estimate from the frames."""
    values = [line.values.get(Key.CCD_BACKGROUND, 0.0) for line in log.lines]
    backgrounds = [value for value in values if math.isfinite(value)] or [0.0]
    return {
        str(CcdConfig.COUNTS_PER_EV): COUNTS_PER_EV,
        str(CcdConfig.READ_NOISE): math.nan,
        str(CcdConfig.FULL_SCALE): float(FULL_SCALE - max(backgrounds)),
        str(CcdConfig.PEDESTAL_SUBTRACTED): 1,
    }


IRIXS = Kind(
    name="irixs",
    title="CCD scan of ALS iRIXS: a folder with its -AI.txt log and frames",
    recognises=lambda path: any(name.endswith(LOG_ENDING) for name in names_in(path)),
    documents=lambda request: irixs_documents(request.path, frames_dir=request.frames_dir),
)
