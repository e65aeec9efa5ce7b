"""Documents of raw runs in, documents of derived runs out: the same live and on replay."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any

import event_model
import numpy as np

from callbacks.contract import DERIVATION, MEASUREMENT, UNITS, Derivation, Key, Measurement, Stream
from callbacks.external import ExternalFrames, FrameReadError
from callbacks.pipelines import PIPELINES, Pipeline
from callbacks.step import DataKey

logger = logging.getLogger(__name__)

Emit = Callable[[str, dict[str, Any]], None]
SOFTWARE = ("stxm-rixs-beamline", "numpy", "scipy", "event-model", "h5py")

# Kept of every raw event, so that a derived run can be read by itself.
CARRIED = (Key.ENERGY, Key.ENERGY_SETPOINT, Key.I0, Key.TEY, Key.TFY, Key.DWELL, Key.RING_CURRENT, Key.EXPOSURE_TIME)


class Reducer:
    """Reduce every raw run of a document stream, each by the pipeline of its technique.

    Parameters
    ----------
    emit : callable
        Called with (name, document) of each derived run.
    settings : mapping of str to mapping
        Per pipeline, the settings of its steps; defaults where absent.

    Notes
    -----
    Runs without a `measurement` block, and derived runs, pass by.
    """

    def __init__(self, emit: Emit, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._emit = emit
        self._settings = settings or {}
        self._router = event_model.RunRouter([self._factory])
        self.current: RunReduction | None = None  # the run being reduced or the last one, for those who look on

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take the next document."""
        self._router(name, doc)

    def _factory(self, _name: str, start: dict[str, Any]) -> tuple[list[Any], list[Any]]:
        if MEASUREMENT not in start or DERIVATION in start:
            return [], []
        measurement = Measurement.model_validate(start[MEASUREMENT])
        pipeline = PIPELINES[measurement.technique]
        self.current = RunReduction(pipeline, self._settings.get(pipeline.name, {}), self._emit)
        return [self.current], []


class RunReduction:
    """Reduce one raw run.

    The derived run has a stream `frames`, one event for each event of the raw run's stream `primary`, and a stream
    `result` with one event when the raw run ends. Callable with (name, document).
    """

    def __init__(self, pipeline: Pipeline, settings: Mapping[str, Any], emit: Emit) -> None:
        self._pipeline = pipeline
        self._settings = pipeline.settings_model.model_validate(settings)
        self.chain = pipeline.build(self._settings)
        self._emit = emit
        self._files = ExternalFrames()
        self._descriptors: dict[str, dict[str, Any]] = {}
        self._run: Any = None
        self._frames: Any = None  # composer of the stream `frames`
        self._n_frames = 0
        self._waiting: list[
            tuple[dict[str, Any], float]
        ] = []  # failed events before the first good one, and their times
        self._problems: list[tuple[int, str]] = []

    @property
    def result(self) -> dict[str, Any]:
        """What is known from the events so far."""
        return self.chain.result

    def __call__(self, name: str, doc: Any) -> None:
        """Take the next document of the run."""
        match name:
            case "start":
                self._start(doc)
            case "descriptor":
                self._descriptors[doc["uid"]] = doc
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
        derivation = Derivation(
            raw_uids=[doc["uid"]],
            pipeline=self._pipeline.name,
            settings=self._settings.model_dump(mode="json"),
            software={package: version(package) for package in SOFTWARE},
        )
        carried = {key: doc[key] for key in ("sample", MEASUREMENT) if key in doc}
        self._run = event_model.compose_run(metadata={**carried, DERIVATION: derivation.model_dump(mode="json")})
        self._emit("start", self._run.start_doc)

    def _event(self, doc: Mapping[str, Any]) -> None:
        match self._descriptors[doc["descriptor"]]["name"]:
            case Stream.PRIMARY:
                self._primary(doc)
            case Stream.DARK:
                self._dark(doc)

    def _stop(self, doc: Mapping[str, Any]) -> None:
        self._files.close()
        self._emit_waiting()
        result = self.result | {
            "frames": self._n_frames,
            "problem_frames": np.array([frame for frame, _ in self._problems], dtype=int),
            "problems": np.array([problem for _, problem in self._problems], dtype=str),
        }
        composer = self._run.compose_descriptor(
            name=str(Stream.RESULT), data_keys={key: data_key(value) for key, value in result.items()}
        )
        self._emit("descriptor", composer.descriptor_doc)
        self._emit("event", _compose_event(composer, result, doc["time"]))
        self._emit("stop", self._run.compose_stop(exit_status=doc["exit_status"], reason=doc.get("reason", "")))

    def _primary(self, doc: Mapping[str, Any]) -> None:
        self._n_frames += 1
        values = self._values(doc)
        problem = str(values.get(Key.FRAME_PROBLEM, ""))
        if not problem:
            problem = self._fill(doc, values)
        kept, problem = self.chain.push(values, problem=problem)
        if problem:
            self._problems.append((doc["seq_num"], problem))
        carried = {str(key): values[key] for key in CARRIED if key in values}
        carried |= {"frame": doc["seq_num"], "problem": problem}
        if self._frames is None and problem:
            self._waiting.append((carried | kept, doc["time"]))  # the shapes of its outputs are not known yet
            return
        if self._frames is None:
            self._open_frames(carried | kept)
            self._emit_waiting()
        self._emit_frame(carried | kept, doc["time"])

    def _dark(self, doc: Mapping[str, Any]) -> None:
        values = self._values(doc)
        problem = self._fill(doc, values)
        if problem:
            logger.error("dark frame %d left out: %s", doc["seq_num"], problem)
            self._problems.append((0, f"dark frame {doc['seq_num']}: {problem}"))
        else:
            self.chain.push_dark(values)

    def _values(self, doc: Mapping[str, Any]) -> dict[str, Any]:
        """Give the values of an event with the configuration of its devices, its number and its time."""
        descriptor = self._descriptors[doc["descriptor"]]
        configuration: dict[str, Any] = {}
        for device in descriptor.get("configuration", {}).values():
            configuration.update(device["data"])
        external = {key for key, described in descriptor["data_keys"].items() if described.get("external")}
        data = {key: value for key, value in doc["data"].items() if key not in external}
        return configuration | data | {"seq_num": doc["seq_num"], "time": doc["time"]}

    def _fill(self, doc: Mapping[str, Any], values: dict[str, Any]) -> str:
        """Read the event's frames into `values`; say why where one cannot be read."""
        for key, described in self._descriptors[doc["descriptor"]]["data_keys"].items():
            if described.get("external"):
                try:
                    values[key] = self._files.read(doc, key)
                except FrameReadError as error:
                    return str(error)
        return ""

    def _open_frames(self, values: Mapping[str, Any]) -> None:
        units = UNITS | {key: described.get("units", "") for key, described in self.chain.described.items()}
        self._frames = self._run.compose_descriptor(
            name=str(Stream.FRAMES),
            data_keys={key: data_key(value, units.get(key, "")) for key, value in values.items()},
        )
        self._emit("descriptor", self._frames.descriptor_doc)

    def _emit_waiting(self) -> None:
        for values, time in self._waiting:
            if self._frames is None:
                self._open_frames(self.chain.missing() | values)
            self._emit_frame(values, time)
        self._waiting.clear()

    def _emit_frame(self, values: Mapping[str, Any], time: float) -> None:
        self._emit("event", _compose_event(self._frames, {**self.chain.missing(), **values}, time))


def outputs_of_frame(
    documents: Iterable[tuple[str, dict[str, Any]]], frame: int, settings: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Reduce one frame of a run again and give all that every step made of it, images too.

    Parameters
    ----------
    documents : iterable of (name, document)
        The raw run.
    frame : int
        Number of the frame, from 1.
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
                reduction = RunReduction(PIPELINES[measurement.technique], settings, lambda _name, _doc: None)
                reduction.chain.watch = lambda step, values: outputs.__setitem__(step, dict(values))
            case "descriptor":
                streams[doc["uid"]] = doc["name"]
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


def _compose_event(composer: Any, values: Mapping[str, Any], time: float) -> dict[str, Any]:
    data = {key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()}
    return composer.compose_event(data=data, timestamps=dict.fromkeys(data, time), time=time)
