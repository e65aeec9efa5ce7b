"""Convert the frames of a RIXS map, whatever file they come from, to the documents of a raw run, an event for each."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import event_model
import h5py
import numpy as np
from numpy.typing import NDArray

from beamline.errors import BeamlineError
from beamline.formats.importers.kind import Documents
from beamline.formats.text import one_line
from callbacks.contract import CCD, CCD_DARK, MEASUREMENT, UNITS, CcdConfig, Key, Measurement, Stream
from callbacks.external import HDF5_DATASET, file_uri
from callbacks.incident_flux import NORMALISATION_COUNTS

FloatArray = NDArray[np.floating]

NOT_RECORDED = "not recorded"
SIXTEEN_BITS = 65535  # counts: the full scale of most cameras
SPARE = 10_000_000  # bytes that must remain free when the frames are written


@dataclass(frozen=True)
class FrameFile:
    """A file of frames that was written: path, how many they are, rows and columns, and the type of a pixel."""

    path: Path
    count: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class RixsScan:
    """The frames of a map and what was measured with each.

    Attributes
    ----------
    uid : str
        Of the run.
    frames : FrameFile
    columns : mapping of str to numpy.ndarray, shape (n,)
        By data key; energy, I0 and exposure time among them.
    sources : mapping of str to str
        Where each comes from, by data key.
    times : sequence of float, length n
        s since 1970.
    problems : sequence of str, length n
        Why a frame is not to be trusted; "" where it is.
    camera : mapping of str to number
        Configuration of the camera, see `CcdConfig`.
    frame_source : str
        Where the frames come from.
    dark : FrameFile or None
        Frames without light, of the same exposure time.
    """

    uid: str
    frames: FrameFile
    columns: Mapping[str, FloatArray]
    sources: Mapping[str, str]
    times: Sequence[float]
    problems: Sequence[str]
    camera: Mapping[str, float]
    frame_source: str
    dark: FrameFile | None = None


@contextmanager
def writing_frames(
    path: Path, count: int, shape: tuple[int, int], dtype: np.dtype[Any]
) -> Iterator[Callable[[int, NDArray[Any]], None]]:
    """Write a file of frames, laid out as by an area detector's plugin, one chunk per frame.

    Gives a function that writes a frame at its place, from 0; a frame that is not written is one of zeros.

    Raises
    ------
    BeamlineError
        When it cannot be written; an incomplete file is removed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_space(path.parent, count * math.prod(shape) * dtype.itemsize)
        with h5py.File(path, "x", libver="latest") as file:  # the older format cannot be read as SWMR
            frames = file.create_dataset(HDF5_DATASET, (count, *shape), dtype, chunks=(1, *shape))
            yield frames.__setitem__
    except (OSError, RuntimeError) as error:  # the latter if HDF5 finds the disk full only when it closes the file
        if path.is_file():
            path.unlink()
        raise BeamlineError(f"{path}: frames cannot be written: {one_line(error)}") from error


def _check_space(folder: Path, needed: int) -> None:
    """Check free space first: HDF5 does not survive a disk that fills up while a file is open."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise BeamlineError(f"{folder}: {free / 1e6:.0f} MB free, the frames need {(needed + SPARE) / 1e6:.0f} MB")


def i0_in_counts(values: FloatArray | None, exposure: FloatArray, problems: list[str]) -> FloatArray:
    """Give I0 in counts, as the reduction takes it."""
    if values is None or not np.isfinite(values).any():
        problems.append(f"no I0: {NORMALISATION_COUNTS:g} counts stand for it; spectra are not normalised to the light")
        relative = exposure / np.nanmedian(exposure) if np.isfinite(exposure).all() else np.ones(len(exposure))
        return np.asarray(NORMALISATION_COUNTS * relative)
    finite = values[np.isfinite(values)]
    if (finite == np.rint(finite)).all() and np.median(finite) > 1:
        return values
    middle = float(np.median(np.abs(finite)))
    if not middle > 0:
        problems.append("I0 is 0 throughout; it is kept as it is")
        return values
    problems.append(
        f"I0 is no number of counts: its size is scaled to {NORMALISATION_COUNTS:g} in the middle, from {middle:.4g}"
    )
    return np.asarray(np.abs(values) * NORMALISATION_COUNTS / middle)


def camera_of(frames: FrameFile, problems: list[str], *, full_scale: float | None = None) -> dict[str, float]:
    """Give the configuration of a camera of which nothing else is known than, perhaps, its full scale (counts)."""
    if full_scale is None:
        full_scale = float(SIXTEEN_BITS) if frames.dtype == np.uint16 else math.nan
        said = f"{full_scale:g}, of 16 bits" if math.isfinite(full_scale) else "not known: no pixel counts as saturated"
        problems.append(f"the full scale of the camera is {said}")
    return {
        str(CcdConfig.COUNTS_PER_EV): math.nan,
        str(CcdConfig.READ_NOISE): math.nan,
        str(CcdConfig.FULL_SCALE): full_scale,
        str(CcdConfig.PEDESTAL_SUBTRACTED): 0,
    }


def rixs_run(
    scan: RixsScan,
    *,
    sample: str,
    exposure_time: float,
    metadata: Mapping[str, Any],
    ended: tuple[Literal["success", "abort"], str] = ("success", ""),
) -> Documents:
    """Convert frames to the documents of a raw run.

    Parameters
    ----------
    scan : RixsScan
    sample : str
        Empty where it is not known.
    exposure_time : float
        s, of most frames.
    metadata : mapping
        Of the start document, to which the measurement is added.
    ended : (str, str)
        Exit status and reason.
    """
    first, last = scan.times[0], max(scan.times)
    measurement = Measurement(
        technique="rixs", sample=sample or NOT_RECORDED, points=scan.frames.count, exposure_time=exposure_time
    )
    named = {"sample": {"name": sample or NOT_RECORDED}, MEASUREMENT: measurement.model_dump()}
    run = event_model.compose_run(uid=scan.uid, time=first, metadata={**named, **metadata})
    yield "start", run.start_doc
    if scan.dark is not None:
        yield from _dark(run, scan, scan.dark, first)
    columns = {key: _number(scan.sources.get(key, scan.frame_source), key) for key in scan.columns}
    data_keys = {
        str(Key.CCD_IMAGE): _external(scan.frames, scan.frame_source, Key.CCD_IMAGE),
        **columns,
        str(Key.FRAME_PROBLEM): {"dtype": "string", "shape": [], "source": "import"},
    }
    descriptor = run.compose_descriptor(
        name=str(Stream.PRIMARY),
        time=first,
        data_keys=data_keys,
        object_keys={CCD: list(data_keys)},
        configuration={CCD: _configuration(scan.camera, first)},
    )
    yield "descriptor", descriptor.descriptor_doc
    yield from _references(scan.frames, Key.CCD_IMAGE, run.start_doc, descriptor.descriptor_doc)
    for place, (time, problem) in enumerate(zip(scan.times, scan.problems, strict=True)):
        values = {key: float(column[place]) for key, column in scan.columns.items()}
        data = {**values, str(Key.FRAME_PROBLEM): problem}
        yield "event", descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, time), time=time)
    yield "stop", run.compose_stop(time=last, exit_status=ended[0], reason=ended[1])


def _dark(run: Any, scan: RixsScan, dark: FrameFile, time: float) -> Documents:
    """Give the stream of the frames without light."""
    exposure = float(np.median(scan.columns[str(Key.EXPOSURE_TIME)]))
    data_keys = {
        str(Key.CCD_DARK_IMAGE): _external(dark, scan.frame_source, Key.CCD_DARK_IMAGE),
        str(Key.EXPOSURE_TIME): _number(scan.frame_source, str(Key.EXPOSURE_TIME)),
    }
    descriptor = run.compose_descriptor(
        name=str(Stream.DARK),
        time=time,
        data_keys=data_keys,
        object_keys={CCD_DARK: list(data_keys)},
        configuration={CCD_DARK: _configuration(scan.camera, time)},
    )
    yield "descriptor", descriptor.descriptor_doc
    yield from _references(dark, Key.CCD_DARK_IMAGE, run.start_doc, descriptor.descriptor_doc)
    data = {str(Key.EXPOSURE_TIME): exposure}
    for _ in range(dark.count):
        yield "event", descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, time), time=time)


def _number(source: str, key: str) -> dict[str, Any]:
    return {"dtype": "number", "dtype_numpy": "<f8", "shape": [], "source": source, "units": UNITS.get(key, "")}


def _external(frames: FrameFile, source: str, key: Key) -> dict[str, Any]:
    return {
        "dtype": "array",
        "dtype_numpy": frames.dtype.str,
        "shape": list(frames.shape),
        "external": "STREAM:",
        "source": source,
        "units": UNITS[key],
    }


def _references(frames: FrameFile, key: Key, start: Any, descriptor: Any) -> Documents:
    resource = event_model.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=file_uri(frames.path),
        data_key=str(key),
        parameters={"dataset": HDF5_DATASET, "chunk_shape": [1, *frames.shape]},
        start=start,
    )
    yield "stream_resource", resource.stream_resource_doc
    datum = resource.compose_stream_datum(
        indices={"start": 0, "stop": frames.count},
        seq_nums={"start": 1, "stop": frames.count + 1},
        descriptor=descriptor,
    )
    yield "stream_datum", datum


def _configuration(camera: Mapping[str, float], time: float) -> dict[str, Any]:
    data_keys: dict[str, Any] = {
        key: {
            "dtype": "integer" if isinstance(value, int) else "number",
            "shape": [],
            "source": "import",
            "units": UNITS.get(key, ""),
        }
        for key, value in camera.items()
    }
    return {"data": dict(camera), "timestamps": dict.fromkeys(camera, time), "data_keys": data_keys}
