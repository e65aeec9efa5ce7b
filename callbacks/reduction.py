"""Documents of raw runs in, documents of derived runs out: the same live and on replay."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

import event_model
import numpy as np

from callbacks.alarms import AlarmMarks, unknown_dark, unknown_quantity
from callbacks.contract import (
    ADDED,
    DERIVATION,
    MEASUREMENT,
    PROCESSING,
    SERIES,
    UNITS,
    Account,
    DataKey,
    Derivation,
    Key,
    Measurement,
    Result,
    Stream,
    parts_before,
)
from callbacks.external import ExternalFrames, FrameReadError
from callbacks.pipelines import Pipeline
from callbacks.step import Chain, Observer

logger = logging.getLogger(__name__)

Emit = Callable[[str, dict[str, Any]], None]
SOFTWARE = ("stxm-rixs-beamline", "numpy", "scipy", "event-model", "h5py", "scikit-image", "scikit-learn")

# Kept of every raw event, so that a derived run can be read by itself.
CARRIED = (
    Key.ENERGY,
    Key.ENERGY_SETPOINT,
    Key.POLARISATION,
    Key.UNDULATOR_PHASE,
    Key.I0,
    Key.TEY,
    Key.TFY,
    Key.DWELL,
    Key.RING_CURRENT,
    Key.EXPOSURE_TIME,
)
# What the number of an event behind others is of, by its stream.
NUMBERED = {Stream.IMAGES: "image", Stream.POINTS: "sweep"}


class Reducer:
    """Reduce every raw run of a document stream, each by the pipeline of its technique.

    Parameters
    ----------
    emit : callable
        Called with (name, document) of each derived run.
    pipelines : mapping of str to Pipeline
        By technique.
    settings : mapping of str to mapping, optional
        Per pipeline, the settings of its steps; defaults where absent. Where not given, each run is reduced with the
        settings that its start document has in the block `processing`: those that held when it began.

    Attributes
    ----------
    current : RunReduction or None
        The run being reduced, or the last one, for observers.

    Notes
    -----
    Runs without a `measurement` block, and derived runs, pass by.
    """

    def __init__(
        self,
        emit: Emit,
        pipelines: Mapping[str, Pipeline],
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._emit = emit
        self._pipelines = pipelines
        self._settings = settings
        self._router = event_model.RunRouter([self._factory])
        self.current: RunReduction | None = None

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take the next document."""
        self._router(name, doc)

    def _factory(self, _name: str, start: dict[str, Any]) -> tuple[list[Any], list[Any]]:
        if MEASUREMENT not in start or DERIVATION in start:
            return [], []
        measurement = Measurement.model_validate(start[MEASUREMENT])
        pipeline = pipeline_of(measurement, self._pipelines)
        settings = start.get(PROCESSING, {}) if self._settings is None else self._settings
        self.current = RunReduction(pipeline, measurement, settings.get(pipeline.name, {}), self._emit)
        return [self.current], []


def pipeline_of(measurement: Measurement, pipelines: Mapping[str, Pipeline]) -> Pipeline:
    """Give the pipeline that reduces a measurement.

    Raises
    ------
    ValueError
        When its technique has none.
    """
    if measurement.technique not in pipelines:
        raise ValueError(f"measurement: technique is {measurement.technique!r}, expected one of {', '.join(pipelines)}")
    return pipelines[measurement.technique]


class RunReduction:
    """Reduce one raw run.

    The derived run has a stream `frames`, one event for each event of the raw run's stream `primary`; of STXM also a
    stream `images`, one event for each image as it closes; of a spectrum that was flown also a stream `points`, one
    event for each energy of a sweep; and a stream `result` with one event when the raw run ends.
    Callable with (name, document).

    Parameters
    ----------
    pipeline : Pipeline
    measurement : Measurement
    settings : mapping
        Of the steps, by name.
    emit : callable
        Called with (name, document) of the derived run.
    observer : callable, optional
        Is given the name of each step and all its outputs, also those that are not kept.
    uid : str, optional
        Of the derived run; a new one where not given. The uids of its documents follow from it: a run that is reduced
        once more under the same uid has the same documents, but for the times at which they were made.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        measurement: Measurement,
        settings: Mapping[str, Any],
        emit: Emit,
        *,
        observer: Observer | None = None,
        uid: str | None = None,
    ) -> None:
        self._uid = uid
        self._pipeline = pipeline
        self._settings = pipeline.settings_model.model_validate(settings)
        self.chain = pipeline.build(self._settings, measurement)
        self._channels = [channel.name for channel in measurement.channels]
        self._emit = emit
        self._observer = observer
        self._files = ExternalFrames()
        self._descriptors: dict[str, dict[str, Any]] = {}
        self._run: Any = None
        self._frames: _DerivedStream | None = None
        self._behind: _DerivedStream | None = None
        self._closed_as = ""
        self._n_frames = 0
        self._problems: list[tuple[int, str]] = []
        self._alarms = AlarmMarks()
        self._added: frozenset[str] = frozenset()  # data keys of devices without a role, which are carried along
        self._added_keys: dict[str, list[str]] = {}  # those in an event, by uid of its descriptor
        self._units = dict(UNITS)

    @property
    def result(self) -> dict[str, Any]:
        """What is known from the events so far."""
        return self._alarms.add_to(self.chain.result)

    def derivation(self, *raw_uids: str) -> dict[str, Any]:
        """Give the block of the derived run's start document that says what it was made from, and how."""
        return Derivation(
            raw_uids=list(raw_uids),
            pipeline=self._pipeline.name,
            settings=self._settings.model_dump(mode="json"),
            software=_software(),
        ).model_dump(mode="json")

    def __call__(self, name: str, doc: Any) -> None:
        """Take the next document of the run."""
        match name:
            case "start":
                self._start(doc)
            case "descriptor":
                self._descriptor(doc)
            case "resource":
                self._files.resource(doc)
            case "datum":
                self._files.datum(doc)
            case "datum_page":
                for datum in event_model.unpack_datum_page(doc):
                    self._files.datum(datum)
            case "stream_resource":
                self._files.stream_resource(doc)
            case "stream_datum":
                self._files.stream_datum(doc)
            case "event":
                self._event(doc)
            case "event_page":
                for event in event_model.unpack_event_page(doc):
                    self._event(event)
            case "stop":
                self._stop(doc)

    def _start(self, doc: dict[str, Any]) -> None:
        carried = {key: doc[key] for key in ("sample", MEASUREMENT, SERIES, ADDED) if key in doc}
        self._added = frozenset(key for keys in doc.get(ADDED, {}).values() for key in keys)
        self._run = event_model.compose_run(
            uid=self._uid, metadata={**carried, DERIVATION: self.derivation(*parts_before(doc), doc["uid"])}
        )
        self._emit("start", self._run.start_doc)
        self._frames = self._stream(self.chain)
        if self.chain.behind is not None:
            self._behind = self._stream(self.chain.behind)
            self._closed_as = NUMBERED[self.chain.behind.stream]

    def _descriptor(self, doc: dict[str, Any]) -> None:
        self._descriptors[doc["uid"]] = doc
        data_keys = doc["data_keys"]
        carried = self._added.union(self._channels)
        self._units |= {key: one.get("units") or "" for key, one in data_keys.items() if key in carried}
        self._added_keys[doc["uid"]] = [
            key for key, one in data_keys.items() if key in self._added and not one.get("external")
        ]

    def _stream(self, chain: Chain) -> _DerivedStream:
        return _DerivedStream(chain, self._run, self._emit, self._observer, self._units)

    def _event(self, doc: Mapping[str, Any]) -> None:
        match self._descriptors[doc["descriptor"]]["name"]:
            case Stream.PRIMARY:
                self._primary(doc)
            case Stream.DARK:
                self._dark(doc)

    def _stop(self, doc: Mapping[str, Any]) -> None:
        self._files.close()
        self._push_closed(doc["time"], final=True)
        for stream in (self._frames, self._behind):
            if stream is not None:
                stream.finish()
        found = self.result
        # Where a step has no result, its fields are not known; here it is said why.
        self._problems += [
            (0, f"{key.removesuffix('_problem')}: no result: {value}")
            for key, value in found.items()
            if key.endswith("_problem")
        ]
        account = Account(
            frames=self._n_frames,
            problem_frames=np.array([frame for frame, _ in self._problems], dtype=int),
            problems=np.array([problem for _, problem in self._problems], dtype=str),
        )
        result = found | account.as_dict()
        units = units_of(self._pipeline.result)
        for name, document in _result_documents(self._run, result, units, doc["time"]):
            self._emit(name, document)
        stop = self._run.compose_stop(
            exit_status=doc["exit_status"], reason=doc.get("reason", ""), uid=_uid(self._run, "stop")
        )
        self._emit("stop", stop)

    def _primary(self, doc: Mapping[str, Any]) -> None:
        self._n_frames += 1
        values = self._values(doc)
        self._alarms.take(values)
        problem = str(values.get(Key.FRAME_PROBLEM, "")) or unknown_quantity(values) or self._fill(doc, values)
        wanted = (*CARRIED, *self._channels, *self._added_keys[doc["descriptor"]])
        carried = {str(key): values[key] for key in wanted if key in values}
        self._push(self._frames, values, carried | {"frame": doc["seq_num"]}, doc["time"], problem=problem)
        self._push_closed(doc["time"])

    def _push_closed(self, time: float, *, final: bool = False) -> None:
        """Hand what has come together of several events to the steps behind."""
        for closed in self.chain.take_closed(final=final):
            carried = {str(key): closed[key] for key in (*CARRIED, *self._channels) if key in closed}
            self._push(self._behind, closed, carried | {self._closed_as: closed["seq_num"]}, time)

    def _push(
        self,
        stream: _DerivedStream | None,
        values: Mapping[str, Any],
        carried: dict[str, Any],
        time: float,
        *,
        problem: str = "",
    ) -> None:
        assert stream is not None, "an event before the start document, or a chain without one behind it"
        problem = stream.push(values, carried, time, problem=problem)
        if problem:
            self._problems.append((values["seq_num"], problem))

    def _dark(self, doc: Mapping[str, Any]) -> None:
        values = self._values(doc)
        problem = unknown_dark(values) or self._fill(doc, values)
        if problem:
            logger.error("dark frame %d left out: %s", doc["seq_num"], problem)
            self._problems.append((0, f"dark frame {doc['seq_num']}: {problem}"))
        else:
            self.chain.push_dark(values)

    def _values(self, doc: Mapping[str, Any]) -> dict[str, Any]:
        """Give the values of an event, the configuration of its devices, its number, and when it was measured."""
        descriptor = self._descriptors[doc["descriptor"]]
        configuration: dict[str, Any] = {}
        for device in descriptor.get("configuration", {}).values():
            configuration.update(device["data"])
        external = {key for key, described in descriptor["data_keys"].items() if described.get("external")}
        data = {key: value for key, value in doc["data"].items() if key not in external}
        about = {"seq_num": doc["seq_num"], "time": doc["time"], "timestamps": doc["timestamps"]}
        return configuration | data | about

    def _fill(self, doc: Mapping[str, Any], values: dict[str, Any]) -> str:
        """Read the event's frames into `values`; say why where one cannot be read."""
        for key, described in self._descriptors[doc["descriptor"]]["data_keys"].items():
            if described.get("external"):
                try:
                    values[key] = self._files.read(doc, key)
                except FrameReadError as error:
                    return str(error)
        return ""


class _DerivedStream:
    """A stream of a derived run that has one event for each event that a chain is given."""

    def __init__(self, chain: Chain, run: Any, emit: Emit, observer: Observer | None, units: Mapping[str, str]) -> None:
        self._chain = chain
        self._units = units
        self._run = run
        self._emit = emit
        self._observer = observer
        self._composer: Any = None
        self._number = 0  # of events
        # Failed events before the first good one, and their times: the shapes of their outputs are not known yet.
        self._waiting: list[tuple[dict[str, Any], float]] = []

    def push(self, values: Mapping[str, Any], carried: dict[str, Any], time: float, *, problem: str) -> str:
        """Run the chain on an event and emit its outputs with what is carried along; give what went wrong."""
        kept, problem = self._chain.push(values, problem=problem, observer=self._observer)
        event = carried | {"problem": problem} | kept
        if self._composer is None and problem:
            self._waiting.append((event, time))
            return problem
        if self._composer is None:
            self._open(event)
            self.finish()
        self._compose(event, time)
        return problem

    def finish(self) -> None:
        """Emit what still waits for the shapes of its outputs."""
        for event, time in self._waiting:
            if self._composer is None:
                self._open(self._chain.missing() | event)
            self._compose(event, time)
        self._waiting.clear()

    def _open(self, event: Mapping[str, Any]) -> None:
        units = {**self._units} | {key: described.get("units", "") for key, described in self._chain.described.items()}
        self._composer = self._run.compose_descriptor(
            name=str(self._chain.stream),
            data_keys={key: data_key(value, units.get(key, "")) for key, value in event.items()},
            uid=_uid(self._run, self._chain.stream),
        )
        self._emit("descriptor", self._composer.descriptor_doc)

    def _compose(self, event: Mapping[str, Any], time: float) -> None:
        self._number += 1
        uid = _uid(self._run, self._chain.stream, self._number)
        self._emit("event", _compose_event(self._composer, {**self._chain.missing(), **event}, time, uid))


def derived_run(
    raw_uids: list[str], pipeline: str, settings: dict[str, Any], result: Result, metadata: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the documents of a derived run that has a result only: what was made of several runs together.

    Parameters
    ----------
    raw_uids : list of str
    pipeline : str
    settings : dict
    result : Result
        What the one event of the stream `result` holds.
    metadata : dict
        Further blocks of the start document.

    Yields
    ------
    name, document
    """
    derivation = Derivation(raw_uids=raw_uids, pipeline=pipeline, settings=settings, software=_software())
    run = event_model.compose_run(metadata={**metadata, DERIVATION: derivation.model_dump(mode="json")})
    yield "start", dict(run.start_doc)
    units = {name: each.units for name, each in result.described().items()}
    yield from _result_documents(run, result.as_dict(), units, run.start_doc["time"])
    yield "stop", dict(run.compose_stop())


def _software() -> dict[str, str]:
    return {package: version(package) for package in SOFTWARE}


def units_of(model: type[Result]) -> dict[str, str]:
    """Give the unit of every field of a result."""
    return {name: field.units for name, field in model.describe().items()}


def _result_documents(
    run: Any, result: Mapping[str, Any], units: Mapping[str, str], time: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    data_keys = {key: data_key(value, units.get(key, "")) for key, value in result.items()}
    composer = run.compose_descriptor(name=str(Stream.RESULT), data_keys=data_keys, uid=_uid(run, Stream.RESULT))
    yield "descriptor", composer.descriptor_doc
    yield "event", _compose_event(composer, result, time, _uid(run, Stream.RESULT, 1))


def outputs_of_frame(
    documents: Iterable[tuple[str, dict[str, Any]]], frame: int, pipeline: Pipeline, settings: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Reduce one frame of a run again and give all that every step made of it, images too.

    Parameters
    ----------
    documents : iterable of (name, document)
        The raw run.
    frame : int
        Number of the frame, from 1.
    pipeline : Pipeline
    settings : mapping
        Settings of the steps: a derived run's `Derivation.settings`.

    Returns
    -------
    dict of str to dict
        Outputs by step; the steps see the dark frames and this frame only.
    """
    outputs: dict[str, dict[str, Any]] = {}
    streams: dict[str, str] = {}
    reduction: RunReduction | None = None
    for name, doc in documents:
        match name:
            case "start":
                measurement = Measurement.model_validate(doc[MEASUREMENT])
                reduction = RunReduction(
                    pipeline,
                    measurement,
                    settings,
                    lambda _name, _doc: None,
                    observer=lambda step, values: outputs.update({step: dict(values)}),
                )
            case "descriptor":
                streams[doc["uid"]] = doc["name"]
            case "event" if doc["descriptor"] not in streams:  # of a log that lost the descriptor
                continue
            case "event" if streams[doc["descriptor"]] == Stream.PRIMARY and doc["seq_num"] != frame:
                continue
            case "stop":
                break
        if reduction is not None:
            reduction(name, doc)
    return outputs


_DTYPES = {"b": "boolean", "i": "integer", "u": "integer", "f": "number", "U": "string"}  # of numpy's kinds


def data_key(value: Any, units: str = "") -> DataKey:
    """Describe a value for a descriptor: its dtype, shape and units."""
    array = np.asarray(value)
    kind = {"dtype": "array", "dtype_numpy": array.dtype.str} if array.ndim else {"dtype": _DTYPES[array.dtype.kind]}
    return {**kind, "shape": list(array.shape), "units": units, "source": "reduction"}


def _compose_event(composer: Any, values: Mapping[str, Any], time: float, uid: str) -> dict[str, Any]:
    data = {key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()}
    event: dict[str, Any] = composer.compose_event(data=data, timestamps=dict.fromkeys(data, time), time=time, uid=uid)
    return event


def _uid(run: Any, stream: str, number: int | None = None) -> str:
    """Give the uid of the descriptor of a stream, of an event of it, or of the stop document."""
    what = f"{run.start_doc['uid']}/{stream}" if number is None else f"{run.start_doc['uid']}/{stream}/{number}"
    return str(uuid.uuid5(uuid.NAMESPACE_OID, what))
