"""Convert a spectrum at one point of a sample, as a STXM measures it with several detectors, to a raw run of XAS."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import event_model
import numpy as np
from numpy.typing import NDArray

from beamline.formats.importers.stxm_run import Documents, Ended
from beamline.formats.text import quoted
from beamline.text import clean
from callbacks.contract import MEASUREMENT, UNITS, Channel, Key, Measurement, Stream

FloatArray = NDArray[np.floating]

DETECTORS = "detectors"  # name of the device in the descriptor
OWN_KEYS = (Key.ENERGY, Key.ENERGY_SETPOINT, Key.DWELL, Key.RING_CURRENT)
I0_NAME = re.compile(r"i[_ ]?(0|o|zero)", re.IGNORECASE)
YIELD_NAME = re.compile(r"tey|tfy|pfy|yield|fluor|sdd|drain|sample.?current", re.IGNORECASE)


@dataclass(frozen=True)
class Detector:
    """What one detector measured.

    Attributes
    ----------
    name : str
        As the file has it.
    counts : numpy.ndarray, shape (points,)
        NaN where not known.
    is_i0 : bool
        Whether the file says that it is the incident flux.
    divider : float
        Photons for each count, of a detector of transmitted light.
    """

    name: str
    counts: FloatArray
    is_i0: bool = False
    divider: float = 1.0


@dataclass(frozen=True)
class PointSpectrum:
    """A spectrum, as arrays of the shape (points,) in the order of measurement.

    Attributes
    ----------
    energies, readback : numpy.ndarray
        As requested and as read back, eV.
    dwell, ring_current, times : numpy.ndarray
        s, mA, s since 1970.
    detectors : list of Detector
    x, y : float
        Where, um; NaN if not known.
    measured : numpy.ndarray of bool
    """

    energies: FloatArray
    readback: FloatArray
    dwell: FloatArray
    ring_current: FloatArray
    times: FloatArray
    detectors: list[Detector]
    x: float
    y: float
    measured: NDArray[np.bool_]


def point_spectrum_run(
    spectrum: PointSpectrum,
    *,
    sample: str,
    metadata: Mapping[str, Any],
    source: str,
    start_time: float,
    ended: Ended | None = None,
) -> Documents:
    """Convert a spectrum to the documents of a raw run of XAS.

    Parameters
    ----------
    spectrum : PointSpectrum
    sample : str
    metadata : dict
        Of the start document; its ``import_problems`` are added to.
    source : str
        Source of the values, for the data keys.
    start_time : float
        s since 1970.
    ended : (str, str), optional
        Exit status and reason of the run. Where it is not known, a run with all of its points has ended with success.

    Yields
    ------
    name, doc : str, dict
        Start, descriptor, an event for each point that was measured, stop. A channel is of transmitted light unless its
        name is that of a yield or of I0; without I0 nothing is normalised, which the start document says.
    """
    problems = list(metadata.get("import_problems", []))
    channels, columns = _channels(spectrum, problems)
    if not any(channel.form == "monitor" for channel in channels):
        names = ", ".join(channel.name for channel in channels)
        problems.append(f"none of its detectors is I0 ({names}): the spectrum cannot be normalised by it alone")
    count = int(spectrum.measured.sum())
    measurement = Measurement(
        technique="xas",
        sample=sample,
        points=len(spectrum.energies),
        exposure_time=float(np.nanmedian(spectrum.dwell)) if np.isfinite(spectrum.dwell).any() else math.nan,
        channels=channels,
    )
    position = {"point_x_um": spectrum.x, "point_y_um": spectrum.y}
    start = {**metadata, **position, "import_problems": problems, MEASUREMENT: measurement.model_dump()}
    run = event_model.compose_run(time=start_time, metadata=start)
    yield "start", run.start_doc
    columns |= {
        str(Key.ENERGY): spectrum.readback,
        str(Key.ENERGY_SETPOINT): spectrum.energies,
        str(Key.DWELL): spectrum.dwell,
        str(Key.RING_CURRENT): spectrum.ring_current,
    }
    units = {str(key): UNITS[key] for key in OWN_KEYS}
    data_keys = {
        key: {
            "dtype": "number",
            "dtype_numpy": "<f8",
            "shape": [],
            "source": source,
            "units": units.get(key, "counts"),
        }
        for key in columns
    }
    descriptor = run.compose_descriptor(
        name=str(Stream.PRIMARY),
        time=start_time,
        data_keys=data_keys,
        object_keys={DETECTORS: list(data_keys)},
        configuration={DETECTORS: {"data": {}, "timestamps": {}, "data_keys": {}}},
    )
    yield "descriptor", descriptor.descriptor_doc
    end_time = start_time
    for place in np.flatnonzero(spectrum.measured).tolist():
        data = {key: float(values[place]) for key, values in columns.items()}
        time = float(spectrum.times[place])
        end_time = max(end_time, time)
        yield (
            "event",
            descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, time), time=time, validate=False),
        )
    lacking = len(spectrum.energies) - count
    status, reason = ended or (
        ("abort", f"{lacking} of {len(spectrum.energies)} points are missing") if lacking else ("success", "")
    )
    yield "stop", run.compose_stop(time=end_time, exit_status=status, reason=reason)


def _channels(spectrum: PointSpectrum, problems: list[str]) -> tuple[list[Channel], dict[str, FloatArray]]:
    """Return the channels, and their counts by data key."""
    channels: list[Channel] = []
    columns: dict[str, FloatArray] = {}
    for detector in spectrum.detectors:
        is_i0 = (detector.is_i0 or I0_NAME.fullmatch(detector.name.strip()) is not None) and Key.I0 not in columns
        key = str(Key.I0) if is_i0 else _free_key(detector.name, columns)
        form: Any = "monitor" if is_i0 else "yield" if YIELD_NAME.search(detector.name) else "transmission"
        if key != detector.name or form == "transmission":
            what = {"monitor": "I0", "yield": "a yield", "transmission": "transmitted light"}[form]
            is_divided = form == "transmission" and detector.divider != 1.0
            divided = f", in counts of {detector.divider:g} photons" if is_divided else ""
            problems.append(f"detector {quoted(detector.name)}: taken for {what}, as channel {key}{divided}")
        channels.append(Channel(name=key, title=clean(detector.name), form=form))
        columns[key] = detector.counts
        if form == "transmission" and detector.divider != 1.0:
            photons_seen = np.maximum(detector.counts * detector.divider, 1.0)
            columns[f"{key}_sigma"] = np.sqrt(photons_seen) / detector.divider
    return channels, columns


def _free_key(name: str, taken: Mapping[str, FloatArray]) -> str:
    """Return a data key for a detector: its name in lower case, with nothing but letters, digits and ``_``."""
    key = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40] or "detector"
    reserved = {*map(str, Key), *taken}
    own = {str(Key.TEY), str(Key.TFY)} - set(taken)
    if key not in reserved or key in own:
        return key
    return next(new for number in range(1, len(taken) + 3) if (new := f"{key}_{number}") not in reserved)
