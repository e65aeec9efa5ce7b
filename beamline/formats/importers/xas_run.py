"""Convert an absorption spectrum, of whatever file, to the documents of a raw run, an event for each point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import event_model
import numpy as np
from numpy.typing import NDArray

from beamline.formats.importers.kind import Documents
from callbacks.contract import MEASUREMENT, SCALER, UNITS, Channel, Key, Measurement, Stream

FloatArray = NDArray[np.floating]

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Measured:
    """What a channel measured.

    Attributes
    ----------
    channel : Channel
    values : numpy.ndarray, shape (n,)
        NaN where not measured.
    sigma : numpy.ndarray, shape (n,), or None
        Standard uncertainty; None for counts, whose variance is their number.
    unit : str
    source : str
        Name of the column.
    """

    channel: Channel
    values: FloatArray
    sigma: FloatArray | None
    unit: str = ""
    source: str = ""


@dataclass(frozen=True)
class XasScan:
    """An absorption spectrum in the order of its file.

    Attributes
    ----------
    energy : numpy.ndarray, shape (n,)
        eV.
    channels : list of Measured
        I0 among them.
    setpoint : numpy.ndarray, shape (n,), or None
        eV, as asked for: points of one setpoint are added up.
    dwell, ring_current : numpy.ndarray, shape (n,), or None
        s, mA.
    times : numpy.ndarray, shape (n,), or None
        s since 1970.
    others : mapping of str to numpy.ndarray
        Columns that are carried along, by data key.
    """

    energy: FloatArray
    channels: Sequence[Measured]
    setpoint: FloatArray | None = None
    dwell: FloatArray | None = None
    ring_current: FloatArray | None = None
    times: FloatArray | None = None
    others: Mapping[str, FloatArray] = field(default_factory=dict)


def xas_run(
    scan: XasScan,
    *,
    sample: str,
    edge: str,
    start_time: float,
    metadata: Mapping[str, Any],
    source: str,
    planned: int | None = None,
) -> Documents:
    """Convert a spectrum to the documents of a raw run.

    Parameters
    ----------
    scan : XasScan
    sample : str
        Empty where it is not known.
    edge : str
        As in "O K"; empty where it is not known.
    start_time : float
        s since 1970; without times of its own, a point is as much later as those before it were counted for.
    metadata : mapping
        Of the start document, to which the measurement is added.
    source : str
        Source of the values, for the data keys.
    planned : int, optional
        Points that were asked for; where there are fewer, the run was aborted.
    """
    points = max(planned or 0, len(scan.energy))
    dwell = np.full(len(scan.energy), math.nan) if scan.dwell is None else scan.dwell
    known = dwell[np.isfinite(dwell)]
    measurement = Measurement(
        technique="xas",
        sample=sample or NOT_RECORDED,
        edge=edge,
        points=points,
        exposure_time=float(np.median(known)) if known.size else math.nan,
        channels=[one.channel for one in scan.channels],
    )
    sampled = {"sample": {"name": sample or NOT_RECORDED}}
    run = event_model.compose_run(
        time=start_time, metadata={**sampled, **metadata, MEASUREMENT: measurement.model_dump()}
    )
    yield "start", run.start_doc
    columns, data_keys = _columns(scan, dwell, source)
    descriptor = run.compose_descriptor(
        name=str(Stream.PRIMARY), time=start_time, data_keys=data_keys, object_keys={SCALER: list(data_keys)}
    )
    yield "descriptor", descriptor.descriptor_doc
    times = scan.times
    if times is None:
        counted = np.nan_to_num(dwell)
        times = start_time + np.cumsum(counted) - counted
    for place, time in enumerate(times.tolist()):
        data = {key: float(values[place]) for key, values in columns.items()}
        # Not validated: it is composed from the keys of the descriptor, and the schema takes a ms an event.
        yield (
            "event",
            descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, time), time=time, validate=False),
        )
    end = max([start_time, *times.tolist()])
    if lacking := points - len(scan.energy):
        yield (
            "stop",
            run.compose_stop(time=end, exit_status="abort", reason=f"{lacking} of {points} points are missing"),
        )
    else:
        yield "stop", run.compose_stop(time=end)


def _columns(scan: XasScan, dwell: FloatArray, source: str) -> tuple[dict[str, FloatArray], dict[str, Any]]:
    """Give the values of the events and the data keys, by key."""
    columns: dict[str, FloatArray] = {str(Key.ENERGY): scan.energy}
    units: dict[str, str] = {str(Key.ENERGY): UNITS[Key.ENERGY]}
    sources: dict[str, str] = {}

    def add(key: str, values: FloatArray, unit: str, name: str = "") -> None:
        columns[key], units[key], sources[key] = values, unit, f"{source}: {name}" if name else source

    if scan.setpoint is not None:
        add(str(Key.ENERGY_SETPOINT), scan.setpoint, UNITS[Key.ENERGY_SETPOINT])
    for one in scan.channels:
        add(one.channel.name, one.values, one.unit, one.source)
        if one.sigma is not None:
            add(f"{one.channel.name}_sigma", one.sigma, one.unit, one.source)
    add(str(Key.DWELL), dwell, UNITS[Key.DWELL])
    if scan.ring_current is not None:
        add(str(Key.RING_CURRENT), scan.ring_current, UNITS[Key.RING_CURRENT])
    for key, values in scan.others.items():
        add(key, values, "")
    number = {"dtype": "number", "dtype_numpy": "<f8", "shape": []}
    data_keys = {key: {**number, "source": sources.get(key, source), "units": units[key]} for key in columns}
    return columns, data_keys
