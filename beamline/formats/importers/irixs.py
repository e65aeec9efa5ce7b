"""A CCD scan of the ALS iRIXS endstation (beamline 8.0.1), as saved by its BCS software, converted to a raw run.

A scan is a folder such as ``CCD Scan 17174`` with a log, ``cox17174-AI.txt``, and frames, ``Andor/cox17174-00001.tif``
and so on.
"""

from __future__ import annotations

import math
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import event_model

from beamline.formats.importers.irixs_frames import convert_frames, is_text
from beamline.formats.importers.irixs_log import LOG_ENDING, ScanLog, read_log
from beamline.formats.importers.kind import Documents, Kind, names_in
from beamline.formats.importers.left_out import NAMED, shortened
from beamline.text import clean
from callbacks.contract import CCD, MEASUREMENT, UNITS, CcdConfig, Key, Measurement, Stream
from callbacks.external import HDF5_DATASET

FRAME_FOLDER = "Andor"
COUNTS_PER_EV = 0.2085  # of the endstation's CCD: single photons of 777 eV leave about 162 counts
FULL_SCALE = 65535  # counts; the camera digitises to 16 bits, before the background is subtracted
NOT_RECORDED = "not recorded"
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
    first, last = log.lines[0].time, max(line.time for line in log.lines)
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
    yield from _frame_references(path, shape, len(log.lines), run.start_doc, descriptor.descriptor_doc)
    exposure_time = log.frame_interval
    for line, problem in zip(log.lines, frame_problems, strict=True):
        data = {**line.values, str(Key.EXPOSURE_TIME): exposure_time, str(Key.FRAME_PROBLEM): problem}
        yield "event", descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, line.time), time=line.time)
    yield "stop", run.compose_stop(time=last, exit_status="abort" if summary else "success", reason=summary)


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


def _frame_references(path: Path, shape: tuple[int, int], count: int, start: Any, descriptor: Any) -> Documents:
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
    """Return what is known of the camera; NaN for what the reduction has to estimate from the frames."""
    values = [line.values.get(Key.CCD_BACKGROUND, 0.0) for line in log.lines]
    backgrounds = [value for value in values if math.isfinite(value)] or [0.0]
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


IRIXS = Kind(
    name="irixs",
    title="CCD scan of ALS iRIXS: a folder with its -AI.txt log and frames",
    recognises=lambda path: any(name.endswith(LOG_ENDING) for name in names_in(path)),
    documents=lambda request: irixs_documents(request.path, frames_dir=request.frames_dir),
)
