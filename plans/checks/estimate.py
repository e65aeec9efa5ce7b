"""What a plan will do, from its messages: events, frames, counting time, bytes. Nothing moves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from bluesky.utils import Msg, ensure_generator

from callbacks.contract import MEASUREMENT, REMARK, Stream
from plans.checks.edges import why_elsewhere
from plans.endstation import Endstation, kept
from plans.errors import PlanError

# s a frame or point: a step of the monochromator, its settling, the camera's readout; of a sweep, its way to where it
# sets off, and its ramps
POINT_OVERHEAD = 1.0
LINE_OVERHEAD = 0.1  # s a line: the fine stage flies back
DRIFT_TIME = 1800.0  # s of exposure in which a spectrograph may drift by a column
DOCUMENT_BYTES = 2000  # of a document, beside its arrays
UID = "estimated"  # answers `open_run`
NO_KEY = ""  # of the readings within an event: nothing is measured, so no plan can look its value up
_NEVER_SET = object()


@dataclass(frozen=True)
class Estimate:
    """What a plan will do.

    Attributes
    ----------
    points : dict of str to int
        Stream -> events. The baseline is not the plan's: the engine adds it.
    frames : dict of str to int
        Stream -> frames of cameras.
    lines : dict of str to int
        Stream -> events that are a line of the microscope.
    sweeps : dict of str to int
        Stream -> events that are a sweep of the monochromator.
    counting_time : float
        s; of each event, the longest exposure of what is triggered for it.
    sleeping : float
        s that the plan waits.
    polarising : float
        s that changes of the polarisation take.
    moves : dict of str to int
        Device -> how often its setpoint changes; settings of detectors are devices, too.
    frame_bytes : int
        Of the frames, in files beside the documents.
    document_bytes : int
        Of the documents with their arrays.
    runs : int
        How many it opens.
    techniques : tuple of str
        Of its runs, each once; the plan's name for a run that is no `measurement`.
    undescribed : tuple of str
        Devices that cannot describe their data before they are staged: their bytes are not known, and not counted.
    warnings : tuple of str
        What may spoil the data though it can be measured, a line each.
    spared_points : int
        Of the events of `primary`, how many may not be needed: they are taken until a precision is reached. All other
        numbers are the most.
    spared_time : float
        s that these count for.
    """

    points: dict[str, int]
    frames: dict[str, int]
    lines: dict[str, int]
    sweeps: dict[str, int]
    counting_time: float
    sleeping: float
    polarising: float
    moves: dict[str, int]
    frame_bytes: int
    document_bytes: int
    runs: int
    techniques: tuple[str, ...]
    undescribed: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    spared_points: int = 0
    spared_time: float = 0.0

    @property
    def least(self) -> Estimate:
        """What the plan does at least: itself, unless it measures until a precision is reached."""

        def less(counted: Mapping[str, int]) -> dict[str, int]:
            return {
                stream: number - (self.spared_points if stream == Stream.PRIMARY else 0)
                for stream, number in counted.items()
            }

        return replace(
            self,
            points=less(self.points),
            frames=less(self.frames),
            lines=less(self.lines),
            counting_time=self.counting_time - self.spared_time,
            spared_points=0,
            spared_time=0.0,
        )

    @property
    def events(self) -> int:
        """Events of all streams."""
        return sum(self.points.values())

    def duration(self, overhead: float | None = None) -> float:
        """Give the time from begin to end, s.

        Parameters
        ----------
        overhead : float, optional
            s an event beside its counting time; `LINE_OVERHEAD` and `POINT_OVERHEAD` where it is not known.
        """
        known = self.counting_time + self.sleeping + self.polarising
        if overhead is None:
            lines = sum(self.lines.values())
            return known + lines * LINE_OVERHEAD + (self.events - lines) * POINT_OVERHEAD
        return known + self.events * overhead


def estimate(plan: Iterable[Msg], endstation: Endstation) -> Estimate:
    """Find out what a plan will do, without an engine.

    The messages are answered so that nothing moves: no device is set, triggered or staged. Every value that would be
    set is checked by the device's `check_value`, in the same pass (Bluesky's `check_limits` consumes a plan of its
    own). What a plan reads outside of an event, as the state of a shutter, is read. Within an event it gets the time
    that the event would have, so that dark frames are renewed as often as in the run, but no values: points that are
    repeated because of what was measured are not foreseen.

    Parameters
    ----------
    plan : iterable of Msg
        It is consumed: make it anew to run it. Events of flyers are not counted.
    endstation : Endstation
        The devices of the plan.

    Raises
    ------
    PlanError
        What the plan refuses by itself, or a value out of a device's limits.
    """
    walk = _Walk(endstation)
    messages = ensure_generator(plan)
    answer, error = None, None
    while True:
        try:
            message = messages.send(answer) if error is None else messages.throw(error)
        except StopIteration:
            return walk.outcome()
        answer, error = None, None
        try:
            answer = walk.answer(message)
        except BaseException as raised:  # noqa: BLE001 - thrown into the plan, as an engine does; it propagates unless caught
            error = raised


@dataclass(frozen=True)
class _Data:
    """The data of one device in an event."""

    frames: int
    frame_bytes: int
    array_bytes: int


class _Walk:
    """Answers the messages of a plan, and counts."""

    def __init__(self, endstation: Endstation) -> None:
        self._scanner: Any = endstation.devices.get("scanner", _NEVER_SET)
        self._sweep: Any = endstation.devices.get("energy_sweep", _NEVER_SET)
        self._energy = endstation.devices.get("energy", _NEVER_SET)
        self._polarisation = endstation.devices.get("polarisation", _NEVER_SET)
        self._feedback = endstation.feedback
        self._exposures = {device: device.dwell for device in endstation.counters}
        self._exposures |= {device: device.exposure_time for device in endstation.those("ccd", "ccd_dark")}
        self._setpoints: dict[Any, Any] = {}  # device -> last setpoint
        self._data: dict[tuple[Any, int], _Data] = {}  # by device and pixels of a line, or time bins of a sweep
        self._keys: dict[Any, dict[str, Any]] = {}  # device -> its data keys
        self._points: Counter[str] = Counter()
        self._frames: Counter[str] = Counter()
        self._lines: Counter[str] = Counter()
        self._sweeps: Counter[str] = Counter()
        self._moves: Counter[str] = Counter()
        self._techniques: dict[str, None] = {}
        self._undescribed: dict[str, None] = {}
        self._stream = ""  # of the event that is open, if one is
        self._read: list[Any] = []  # devices in it
        self._exposure = 0.0  # longest of what was triggered since the last event, s
        self._counting = self._sleeping = self._polarising = self._now = 0.0
        self._frame_bytes = self._array_bytes = self._documents = self._runs = 0
        self._energy_follows_time = False  # of a RIXS map
        self._edge = ""  # of the run that is open
        self._energies: list[float] = []  # eV, to which it is set
        self._remarks: dict[str, None] = {}  # what plans say of themselves
        self._elsewhere: dict[str, None] = {}  # why energies are not those of the edge that they are named for
        self._primary = 0.0  # s that the events of `primary` count for
        self._least: tuple[int, float] | None = None  # events of `primary`, and s, of a plan that reaches a precision

    def outcome(self) -> Estimate:
        """Give what was counted."""
        self._expose()
        points, seconds = self._least or (self._points[Stream.PRIMARY], self._primary)
        return Estimate(
            points=dict(self._points),
            frames=dict(self._frames),
            lines=dict(self._lines),
            sweeps=dict(self._sweeps),
            counting_time=self._counting,
            sleeping=self._sleeping,
            polarising=self._polarising,
            moves=dict(self._moves),
            frame_bytes=self._frame_bytes,
            document_bytes=self._array_bytes + self._documents * DOCUMENT_BYTES,
            runs=self._runs,
            techniques=tuple(self._techniques),
            undescribed=tuple(self._undescribed),
            warnings=tuple(self._warnings()),
            spared_points=max(0, self._points[Stream.PRIMARY] - points),
            spared_time=max(0.0, self._primary - seconds),
        )

    def _warnings(self) -> Iterator[str]:
        yield from self._remarks
        yield from filter(None, self._elsewhere)
        if self._energy_follows_time and self._counting > DRIFT_TIME:
            hours = self._counting / 3600
            yield (
                f"order up: over {hours:.1f} h a drift of the spectrograph cannot be told from another dispersion,"
                " unless fluorescence shows it; with the order random, or up_down with two frames an energy, it can"
            )

    def answer(self, message: Msg) -> Any:
        """Count a message, and give its answer to the plan."""
        match message.command:
            case "set":
                self._set(message.obj, message.args[0])
            case "trigger":
                self._exposure = max(self._exposure, self._exposure_of(message.obj))
            case "create":
                self._primary += self._exposure if message.kwargs["name"] == Stream.PRIMARY else 0.0
                self._expose()
                self._stream, self._read = message.kwargs["name"], []
            case "read" if self._stream:
                self._read.append(message.obj)
                return {NO_KEY: {"value": math.nan, "timestamp": self._now}}
            case "read":
                return kept(message.obj.read())
            case "save":
                self._save()
            case "drop":
                self._stream = ""
            case "sleep":
                self._sleeping += message.args[0]
                self._now += message.args[0]
            case "open_run":
                self._open_run(message.kwargs)
                return UID
            case "close_run":
                self._close_run()
                return UID
            case "stage" | "unstage":
                return [message.obj]
        return None

    def _open_run(self, metadata: Mapping[str, Any]) -> None:
        block = metadata.get(MEASUREMENT, {})
        self._techniques[block.get("technique", metadata.get("plan_name", ""))] = None
        self._energy_follows_time |= block.get("technique") == "rixs" and block.get("order") == "up"
        self._edge, self._energies = block.get("edge", ""), []
        if remark := metadata.get(REMARK):
            self._remarks[remark] = None
        if flown := block.get("flown"):
            self._energies += [energy for region in flown["regions"] for energy in region["energies"]]
        if precision := block.get("precision"):
            self._least = (precision["least_points"], precision["least_time"])
        self._runs += 1
        self._documents += 2  # start and stop

    def _close_run(self) -> None:
        if self._energies:
            self._elsewhere[why_elsewhere(self._edge, min(self._energies), max(self._energies))] = None

    def _set(self, device: Any, value: Any) -> None:
        # An object of the plan, like `HeldSettings`, or what the reduction tells: nothing that moves.
        if device is self._feedback or not hasattr(device, "read"):
            return
        if not _differ(self._setpoints.get(device, _NEVER_SET), value):
            return
        if check := getattr(device, "check_value", None):
            try:
                check(value)
            except ValueError as error:  # ophyd's LimitError is one
                text = " ".join(str(error).split())
                raise PlanError(text if device.name in text else f"{device.name}: {text}") from error
        if device is self._energy:
            self._energies.append(float(value))
        if device is self._polarisation:
            seconds = device.change_time(self._setpoints.get(device, ""), value)
            self._polarising += seconds
            self._now += seconds
        self._setpoints[device] = value
        self._moves[device.name] += 1

    def _exposure_of(self, device: Any) -> float:
        """Give the time that a detector counts for, s."""
        if device is self._scanner:
            return float(self._setting(device.columns)) * float(self._setting(device.dwell))
        if device is self._sweep:
            return float(self._setting(device.bins)) * float(self._setting(device.bin_time))
        setting = self._exposures.get(device)
        return 0.0 if setting is None else float(self._setting(setting))

    def _setting(self, device: Any) -> Any:
        """Give the setpoint, or the value read where the plan set none."""
        if device not in self._setpoints:
            (self._setpoints[device],) = (reading["value"] for reading in kept(device.read()).values())
        return self._setpoints[device]

    def _expose(self) -> None:
        self._counting += self._exposure
        self._now += self._exposure
        self._exposure = 0.0

    def _save(self) -> None:
        stream = self._stream
        if stream == Stream.DECISION:  # takes no time, but what it waits for the reduction
            self._documents += 1
            self._stream = ""
            return
        self._documents += stream not in self._points  # its descriptor
        self._points[stream] += 1
        self._documents += 1
        is_line = is_sweep = False
        for device in self._read:
            is_line = is_line or device is self._scanner
            is_sweep = is_sweep or device is self._sweep
            data = self._data_of(device)
            self._frame_bytes += data.frame_bytes
            self._array_bytes += data.array_bytes
            if data.frames:
                self._frames[stream] += data.frames
                self._documents += data.frames  # what refers to it
        if is_line:
            self._lines[stream] += 1
        if is_sweep:
            self._sweeps[stream] += 1
        self._now += LINE_OVERHEAD if is_line else POINT_OVERHEAD
        self._stream = ""

    def _data_of(self, device: Any) -> _Data:
        pixels = 0
        if device is self._scanner or device is self._sweep:
            pixels = int(self._setting(device.columns if device is self._scanner else device.bins))
        if (known := self._data.get((device, pixels))) is not None:
            return known
        frames = frame_bytes = array_bytes = 0
        for key in self._describe(device).values():
            shape = key["shape"]
            if "external" in key:
                frames += 1
                if not math.prod(shape):  # a camera that has taken no frame since it was started
                    self._undescribed[device.name] = None
                frame_bytes += math.prod(shape) * _itemsize(key)
            elif shape:
                # What flies describes the arrays of its last setpoints, and here it is not set.
                array_bytes += (pixels or math.prod(shape)) * _itemsize(key)
        data = self._data[device, pixels] = _Data(frames, frame_bytes, array_bytes)
        return data

    def _describe(self, device: Any) -> dict[str, Any]:
        if device not in self._keys:
            try:
                self._keys[device] = kept(device.describe())
            except Exception:  # noqa: BLE001 - whatever a device raises that must be staged first; see `undescribed`
                self._keys[device] = {}
                self._undescribed[device.name] = None
        return self._keys[device]


def _differ(old: Any, new: Any) -> bool:
    return not np.array_equal(old, new) if isinstance(new, np.ndarray) else bool(old != new)


def _itemsize(key: dict[str, Any]) -> int:
    """Give the bytes of one number of a data key; 8 where it does not say."""
    result: int = np.dtype(key.get("dtype_numpy", "<f8")).itemsize
    return result
