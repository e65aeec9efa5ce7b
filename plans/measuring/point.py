"""One point of a scan, and the run around all of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Movable, Readable, Status
from bluesky.utils import Msg, MsgGenerator, short_uid

from callbacks.contract import Severity, Stream, alarm_key, severity_key
from plans.endstation import OPEN, Endstation
from plans.endstation.light import Light
from plans.errors import PlanError
from plans.measuring.interruptions import Interruptions

logger = logging.getLogger(__name__)

LIGHT_POLL = 0.5  # s
ENDING, ENDING_POLLS = 10.0, 200  # s that a device may take to end once it is stopped
RECONNECT, RECONNECT_POLLS = 2.0, 4  # s that a connection may take to recover


@dataclass(frozen=True)
class Point:
    """What was measured at a point.

    Attributes
    ----------
    time : float
        When the devices were read, by their own clock, in s since the epoch; 0 without an engine.
    values : mapping of str to value
        The readings by data key; empty without an engine.
    """

    time: float
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Missing:
    """What a point has not, so that it does not count; false where nothing is missing."""

    text: str = ""
    light: bool = False  # else a position

    def __bool__(self) -> bool:
        """Whether anything is missing."""
        return bool(self.text)


def take_point(
    endstation: Endstation,
    interruptions: Interruptions,
    positions: Sequence[Any],
    devices: Sequence[Readable[Any]],
    *,
    stream: Stream,
    keep_part: bool = False,
) -> MsgGenerator[Point]:
    """Move, trigger all devices together, and read them into one event.

    A point sets everything it needs, so that after a pause it is measured again, and right, whatever was moved
    meanwhile; a pause costs no more than the point it falls into, and complete points are not measured again.

    A point in which the connection to a device is lost is measured again, once, after a time to reconnect.
    A point of the stream `primary` without light, by its own reading of the ring current and the limits of
    `endstation.light`, goes into the stream `interrupted`, and is measured again once the light is back. So does one
    in which a position is not known, by the alarm of what is moved; it is measured again once.

    Parameters
    ----------
    endstation : Endstation
        Its ring and front-end shutter say whether there is light.
    interruptions : Interruptions
        Of the run, as `run_with_light` gives them.
    positions : sequence
        Device, value, device, value...; all set at the same time.
    devices : sequence of Readable
        What is read, those with external frames last; those that can be triggered are, together.
    stream : Stream
        Of the event.
    keep_part : bool
        Whether the devices know what they had measured when they were stopped: what an interruption leaves of the point
        then goes into the stream `interrupted`, before it is measured again.

    Returns
    -------
    Point
        The readings of the event.

    Raises
    ------
    PlanError
        When a position was not known twice: names the device, and quotes its alarm.
    """
    light = endstation.light if stream is Stream.PRIMARY else None
    devices = _in_order(endstation, devices, stream)
    connection_was_lost = position_was_lost = False
    while True:
        yield from checkpoint(interruptions)
        try:
            is_whole = yield from _move_and_trigger(interruptions, positions, devices, keep_part=keep_part)
            interruptions.refuse_replay()
            if not is_whole:
                continue
            point, missing = yield from read_event(interruptions, devices, stream, light)
            if missing:
                point, _ = yield from read_event(interruptions, devices, Stream.INTERRUPTED, None)
        except Exception as error:
            if connection_was_lost or not _is_lost_connection(error):
                raise
            connection_was_lost = True
            interruptions.refuse_replay()  # the engine would wait for what has failed: the point begins anew below
            for device in devices:  # the others are stopped, as in a pause
                if hasattr(device, "pause"):
                    device.pause()
            logger.warning("a point is taken again: %s", error)
            interruptions.count += 1
            yield from _let_reconnect()
            continue
        if point is None:
            continue
        yield Msg("save")
        if not missing:
            return point
        if not missing.light and position_was_lost:
            raise PlanError(missing.text)
        logger.warning("a point is taken again: %s", missing.text)
        interruptions.count += 1
        if missing.light:
            yield from _wait_for_light(endstation, interruptions, light)
        else:
            position_was_lost = True
            yield from _let_reconnect()


def _in_order(endstation: Endstation, devices: Sequence[Readable[Any]], stream: Stream) -> Sequence[Readable[Any]]:
    """Give what is read, with what the endstation reads at each point before it: cameras are read last."""
    if stream is not Stream.PRIMARY:
        return devices
    devices = [*(device for device in endstation.at_points if device not in devices), *devices]
    if endstation.light is None:
        return devices
    # The ring first: where there was no light, nothing else has been read yet.
    return sorted(devices, key=lambda device: device not in endstation.those("ring"))


def checkpoint(interruptions: Interruptions) -> MsgGenerator[None]:
    """Begin what is repeated as a whole where it is interrupted."""
    yield Msg("rewindable", None, True)  # a suspension that ended with an error leaves it False
    interruptions.allow_replay()
    yield Msg("checkpoint", interruptions)


def _move_and_trigger(
    interruptions: Interruptions, positions: Sequence[Any], devices: Sequence[Readable[Any]], *, keep_part: bool
) -> MsgGenerator[bool]:
    """Move all at once, then trigger all that can be, and wait for them.

    Returns
    -------
    bool
        Whether all have measured to their end. They have without `keep_part`: after an interruption the engine replays
        these messages. With it, it does not, once the devices are triggered, and what they have is put into the stream
        `interrupted`.
    """
    # Plain messages: each plan stub of Bluesky formats a stack trace, a millisecond for a few of them.
    moved, triggered = short_uid("move"), short_uid("trigger")
    for device, value in zip(positions[::2], positions[1::2], strict=True):
        yield Msg("set", device, value, group=moved)
    yield Msg("wait", None, group=moved)
    if keep_part:
        interruptions.refuse_replay()
    before = interruptions.count
    statuses = []
    for device in devices:
        if hasattr(device, "trigger"):
            status = yield Msg("trigger", device, group=triggered)
            statuses.append(status)
    if statuses:
        yield Msg("wait", None, group=triggered)
    if not keep_part or interruptions.count == before:
        return True
    logger.warning("a point is taken again: it was interrupted")
    if None not in statuses:  # of one that was not triggered, what it reads is of the point before
        yield from _keep_part(interruptions, devices, statuses)
    return False


def _keep_part(
    interruptions: Interruptions, devices: Sequence[Readable[Any]], statuses: Sequence[Status]
) -> MsgGenerator[None]:
    """Put what devices have measured until they were stopped into the stream `interrupted`."""
    for _ in range(ENDING_POLLS):
        if all(status.done for status in statuses):
            break
        yield Msg("sleep", None, ENDING / ENDING_POLLS)
    else:
        return
    point, _ = yield from read_event(interruptions, devices, Stream.INTERRUPTED, None)
    if point is not None:
        yield Msg("save")


def _is_lost_connection(error: BaseException) -> bool:
    return any(isinstance(each, ConnectionError) for each in (error, error.__cause__))  # of a status that failed


def _let_reconnect() -> MsgGenerator[None]:
    """Wait as long as a connection may take to recover; meanwhile other devices may report that they lost theirs."""
    for _ in range(RECONNECT_POLLS):
        try:
            yield Msg("sleep", None, RECONNECT / RECONNECT_POLLS)
        except Exception as error:
            if not _is_lost_connection(error):
                raise


def read_event(
    interruptions: Interruptions, devices: Sequence[Readable[Any]], stream: Stream, light: Light | None
) -> MsgGenerator[tuple[Point | None, Missing]]:
    """Read devices into an event, ready to be saved.

    Returns
    -------
    point : Point or None
        None where the event was dropped: it was interrupted, and devices that were not read yet may have been
        moved; or there was no light, or a position was not known.
    missing : Missing
    """
    before = interruptions.count
    values: dict[str, Any] = {}
    newest, missing = 0.0, Missing()
    try:
        yield Msg("create", None, name=str(stream))  # an abort that is asked for meanwhile is raised here, too
        for left, device in zip(reversed(range(len(devices))), devices, strict=True):
            reading = yield Msg("read", device)
            if interruptions.count != before and (left or reading is None):  # None: the message itself was interrupted
                break
            values |= {key: each["value"] for key, each in (reading or {}).items()}
            newest = max([newest, *(each["timestamp"] for each in (reading or {}).values())])
            if stream is Stream.PRIMARY and (missing := _missing(device, values, light)):
                break
        else:
            return Point(newest, values), missing
    except Exception:
        yield Msg("drop")
        raise
    # A frame's reference is lost with the event it was read for; so cameras are read last, and the ring first.
    yield Msg("drop")
    return None, missing


def _missing(device: Readable[Any], values: Mapping[str, Any], light: Light | None) -> Missing:
    """Say what is missing of a point, by what was read of it so far; `device` is the one that was read last."""
    if light is not None and (dark := light.missing(values)):
        return Missing(dark, light=True)
    if values.get(severity_key(device.name)) == Severity.INVALID and isinstance(device, Movable):
        return Missing(f"{device.name}: {values[alarm_key(device.name)]}, expected a position")
    return Missing()


def _wait_for_light(endstation: Endstation, interruptions: Interruptions, light: Light | None) -> MsgGenerator[None]:
    """Wait until ring current and front-end shutter show that the light is back; a suspender may have waited before."""
    began = time.monotonic()
    while light is not None:
        if light.give_up_after is not None and time.monotonic() - began > light.give_up_after:
            raise PlanError(f"there was no light for {light.give_up_after:g} s, after which the run is ended")
        yield from checkpoint(interruptions)
        yield Msg("sleep", None, LIGHT_POLL)
        reading = (yield Msg("read", endstation.ring)) or {}
        is_open = True
        if light.front_end_shutter and "front_end_shutter" in endstation:
            is_open = (yield from bps.rd(endstation.front_end_shutter, default_value=OPEN)) == OPEN
        if is_open and not light.awaited({key: each["value"] for key, each in reading.items()}):
            return
