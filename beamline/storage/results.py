"""The documents of a run as arrays, for the reports, the exporters, the summary and the comparison of runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from beamline.errors import BeamlineError
from beamline.storage.log import unpack_pages
from callbacks.contract import DERIVATION, MEASUREMENT, Derivation, Measurement, Result, Stream

R = TypeVar("R", bound=Result)
Documents = Iterable[tuple[str, dict[str, Any]]]

# What is read of the documents of a run, and of those that refer to its large arrays.
FIELDS: dict[str, Mapping[str, Any]] = {
    "start": {"uid": str},
    "descriptor": {"uid": str, "name": str, "data_keys": dict},
    "event": {"descriptor": str, "seq_num": Real, "time": Real, "data": dict, "timestamps": dict},
}
EXTERNAL_FIELDS: dict[str, Mapping[str, Any]] = {
    "stream_resource": {"uid": str, "data_key": str, "uri": str, "parameters": dict},
    "stream_datum": {"stream_resource": str, "descriptor": str, "seq_nums": dict, "indices": dict},
}


class DocumentsError(BeamlineError):
    """Documents of a run are not as they should be, or do not fit together; damage does not do this."""


@dataclass
class Table:
    """One stream of a run: a column for each data key that is not external.

    Attributes
    ----------
    columns : dict of str to numpy.ndarray, shape (events, ...)
        Values by data key; the first axis is the events in order.
    timestamps : dict of str to numpy.ndarray, shape (events,)
        When each value was read (s since 1970), by data key.
    time : numpy.ndarray, shape (events,)
        Time of each event (s since 1970).
    units : dict of str to str
        By data key; empty if the descriptor gives none.
    configuration : dict
        Configuration of the devices, by data key.
    numbers : numpy.ndarray of int, shape (events,)
        Number of each event, from 1.
    data_keys : dict
        Entries of the descriptor, by data key, those of external ones included.
    """

    columns: dict[str, np.ndarray]
    timestamps: dict[str, np.ndarray]
    time: np.ndarray
    units: dict[str, str]
    configuration: dict[str, Any]
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    data_keys: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, key: str) -> np.ndarray:
        return self.columns[key]

    def __contains__(self, key: str) -> bool:
        return key in self.columns

    @property
    def row(self) -> dict[str, Any]:
        """The values of the last event, which are all there is in a stream of one event."""
        return {key: column[-1] for key, column in self.columns.items()}


@dataclass
class Run:
    """A run: its start and stop documents, its streams as tables, and what could not be read of it."""

    start: dict[str, Any]
    stop: dict[str, Any] | None = None
    streams: dict[str, Table] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def uid(self) -> str:
        """The run's uid."""
        return str(self.start["uid"])

    @property
    def measurement(self) -> Measurement:
        """The measurement as it was requested."""
        return Measurement.model_validate(self.start[MEASUREMENT])

    @property
    def derivation(self) -> Derivation | None:
        """Raw runs, pipeline, settings and software that a derived run was made with; None for a raw run."""
        return Derivation.model_validate(self.start[DERIVATION]) if DERIVATION in self.start else None

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings a derived run was made with, by pipeline; empty for a raw run."""
        return {self.derivation.pipeline: self.derivation.settings} if self.derivation else {}

    @property
    def frames(self) -> Table:
        """Stream `frames` of a derived run; without a column where nothing was measured."""
        return self.streams.get(Stream.FRAMES) or Table({}, {}, np.zeros(0), {}, {})

    @property
    def result(self) -> dict[str, Any]:
        """The results of a derived run, by key; empty if it has none."""
        return self.streams[Stream.RESULT].row if Stream.RESULT in self.streams else {}

    def read(self, model: type[R]) -> R:
        """Read the results of a derived run as the model of its technique; missing ones become "not known"."""
        return model.read(self.result)


def checked(documents: Documents, fields: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Check that documents have what is read of them, as those of a foreign log may not.

    Parameters
    ----------
    documents : iterable of (name, document)
    fields : mapping
        Types of the fields by name of the document, such as `FIELDS`.

    Yields
    ------
    name, document
        Unchanged, but pages unpacked.

    Raises
    ------
    DocumentsError
        That names the document, the field, and what it is.
    """
    data_keys: dict[str, list[str]] = {}  # by uid of the descriptor, without external ones
    for name, doc in _unpacked(documents):
        for field_, kind in fields.get(name, {}).items():
            _check(name, field_, doc.get(field_), kind)
        match name:
            case "descriptor":
                for key, data_key in doc["data_keys"].items():
                    _check(name, f"data_keys.{key}", data_key, dict)
                configuration = doc.get("configuration", {})
                _check(name, "configuration", configuration, dict)
                for device, read in configuration.items():
                    _check(name, f"configuration.{device}", read, dict)
                    _check(name, f"configuration.{device}.data", read.get("data"), dict)
                data_keys[doc["uid"]] = [key for key, one in doc["data_keys"].items() if not one.get("external")]
            case "event":
                for key in data_keys.get(doc["descriptor"], ()):
                    if key not in doc["data"]:
                        raise DocumentsError(f"event {doc['seq_num']} has no {key!r}, which its descriptor declares")
            case "stream_datum" if name in fields:
                for field_ in ("seq_nums", "indices"):
                    _check(name, f"{field_}.start", doc[field_].get("start"), Real)
                _check(name, "seq_nums.stop", doc["seq_nums"].get("stop"), Real)
        yield name, doc


def _check(name: str, field_: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise DocumentsError(f"{field_} of a document {name!r} is {value!r:.80}, expected {kind.__name__.lower()}")


def _unpacked(documents: Documents) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, doc in documents:
        try:
            yield from list(unpack_pages(iter([(name, doc)])))
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:  # of event_model's unpacking
            raise DocumentsError(f"a document {name!r} cannot be unpacked: {type(error).__name__} {error}") from error


def collect(documents: Documents) -> Run:
    """Collect the documents of one run.

    Parameters
    ----------
    documents : iterable of (name, document)
        In any order in which a descriptor precedes its events; an event without one, which was lost, is left out and
        counted among the problems.

    Returns
    -------
    Run
        Its `stop` is None if there was no stop document.

    Raises
    ------
    DocumentsError
        When there is no start document, or a value is no array.
    """
    run: Run | None = None
    descriptors: dict[str, dict[str, Any]] = {}
    events: dict[str, list[dict[str, Any]]] = {}
    without_descriptor = 0
    for name, doc in unpack_pages(iter(documents)):
        match name:
            case "start":
                run = Run(start=doc)
            case "descriptor":
                descriptors[doc["uid"]] = doc
            case "event" if doc["descriptor"] not in descriptors:
                without_descriptor += 1
            case "event":
                events.setdefault(descriptors[doc["descriptor"]]["name"], []).append(doc)
            case "stop" if run:
                run.stop = doc
    if run is None:
        raise DocumentsError("there is no start document")
    if without_descriptor:
        run.problems.append(f"{without_descriptor} events cannot be read: their descriptor is not there")
    for stream, docs in events.items():
        first = next(doc for doc in descriptors.values() if doc["name"] == stream)
        run.streams[stream] = _table(first, sorted(docs, key=lambda doc: doc["seq_num"]))
    return run


def _table(descriptor: dict[str, Any], events: list[dict[str, Any]]) -> Table:
    described = descriptor["data_keys"]
    external = {key for key in described if described[key].get("external")}
    columns = {}
    for key in (key for key in described if key not in external):  # in their order, which is that of every reader
        try:
            columns[key] = _column([event["data"][key] for event in events])
        except ValueError as error:  # of numpy
            raise DocumentsError(f"{key!r} of stream {descriptor['name']!r} is no array: {error}") from error
    configuration: dict[str, Any] = {}
    for device in descriptor.get("configuration", {}).values():
        configuration.update(device["data"])
    return Table(
        columns=columns,
        timestamps={
            key: np.array([event["timestamps"].get(key, event["time"]) for event in events]) for key in columns
        },
        time=np.array([event["time"] for event in events]),
        units={key: one.get("units") or "" for key, one in described.items()},
        configuration=configuration,
        numbers=np.array([event["seq_num"] for event in events], dtype=int),
        data_keys=described,
    )


def _column(values: list[Any]) -> np.ndarray:
    """Stack the values of all events into one array; shorter lines are padded, with NaN or empty texts."""
    arrays = [np.asarray(value) for value in values]
    lengths = {array.shape for array in arrays}
    if len(lengths) < 2:
        return np.array(values)
    if {array.ndim for array in arrays} != {1}:
        column = np.empty(len(values), dtype=object)
        for row, value in enumerate(values):  # at once, arrays that differ in the second axis only would be refused
            column[row] = value
        return column
    longest = max(map(len, arrays))
    if any(array.dtype.kind not in "biuf" for array in arrays):
        return np.array([[*map(str, array), *[""] * (longest - len(array))] for array in arrays])
    column = np.full((len(values), longest), np.nan)
    for row, array in zip(column, arrays, strict=True):
        row[: len(array)] = array
    return column


def differences(one: Run, other: Run) -> list[str]:
    """Name the streams and keys in which two derived runs differ, by as little as a bit.

    Returns
    -------
    list of str
        Empty when every array is equal (`numpy.array_equal`, NaN in the same places).
    """
    found = []
    for stream in sorted(one.streams.keys() | other.streams.keys()):
        if stream not in one.streams or stream not in other.streams:
            found.append(f"{stream}: only in one of the two")
            continue
        a, b = one.streams[stream].columns, other.streams[stream].columns
        for key in sorted(a.keys() | b.keys()):
            if key not in a or key not in b:
                found.append(f"{stream}.{key}: only in one of the two")
            elif not _equal(a[key], b[key]):
                found.append(f"{stream}.{key}")
    return found


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    numeric = a.dtype.kind in "fc" and b.dtype.kind in "fc"
    return np.array_equal(a, b, equal_nan=numeric)
