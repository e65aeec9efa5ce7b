"""Pause, resume, stop, abort and failure in a real RunEngine: the run ends closed, the shutter closed."""

import asyncio
import threading

import pytest
from bluesky import SupplementalData
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import NullStatus
from ophyd.status import Status

from callbacks.contract import Key
from plans.rixs import rixs_map
from plans.xas import xas


def at_trigger(camera, number, then):
    """Let the camera's `number`-th trigger take for ever, and do `then` from another thread meanwhile."""
    triggers = []
    working = camera.trigger

    def trigger():
        triggers.append(camera.exposure_time.value)
        if len(triggers) != number:
            return working()
        threading.Thread(target=then).start()
        return Status()

    camera.trigger = trigger
    return triggers


def energies(documents):
    return [event["data"][Key.ENERGY_SETPOINT] for event in documents.events("primary")]


def assert_all_closed(endstation, documents, exit_status):
    assert [stop["exit_status"] for stop in documents.of("stop")] == [exit_status]
    assert len(documents.of("start")) == 1
    assert endstation.shutter.value == "closed"
    assert not any(device.staged for device in (endstation.scaler, endstation.ccd, endstation.ccd_dark))


def test_resume_takes_the_interrupted_frame_again_and_no_other(engine, documents, endstation):
    triggers = at_trigger(endstation.ccd, 3, lambda: engine.request_pause(defer=False))
    with pytest.raises(RunEngineInterrupted):
        engine(rixs_map(endstation, "520:524:1", 10.0))
    assert energies(documents) == [520.0, 521.0]
    endstation.shutter.set("closed")  # what a user may do meanwhile
    endstation.energy.set(600.0)
    endstation.ccd.exposure_time.set(1.0)
    engine.resume()
    assert energies(documents) == [520.0, 521.0, 522.0, 523.0, 524.0]
    assert [event["seq_num"] for event in documents.events("primary")] == [1, 2, 3, 4, 5]
    assert triggers == [10.0] * 6
    assert len(documents.events("dark")) == 3
    assert_all_closed(endstation, documents, "success")


def test_a_deferred_pause_takes_nothing_again(engine, documents, endstation):
    taken = []
    endstation.ccd.before_trigger = lambda: taken.append(endstation.energy.value)
    engine.subscribe(
        lambda name, doc: (
            threading.Thread(target=engine.request_pause, args=(True,)).start()
            if energies(documents)[-1:] == [521.0] and name == "event" and not engine.deferred_pause_requested
            else None
        )
    )
    with pytest.raises(RunEngineInterrupted):
        engine(rixs_map(endstation, "520:523:1", 10.0))
    engine.resume()
    assert taken == [520.0, 521.0, 522.0, 523.0]
    assert_all_closed(endstation, documents, "success")


@pytest.mark.parametrize(("end", "exit_status"), [("abort", "abort"), ("stop", "success")])
def test_an_ended_pause_leaves_the_run_closed(engine, documents, endstation, end, exit_status):
    at_trigger(endstation.ccd, 3, lambda: engine.request_pause(defer=False))
    with pytest.raises(RunEngineInterrupted):
        engine(rixs_map(endstation, "520:524:1", 10.0))
    getattr(engine, end)()
    assert energies(documents) == [520.0, 521.0]
    assert_all_closed(endstation, documents, exit_status)


def test_a_camera_that_fails_ends_the_run_as_failed_with_its_reason(engine, documents, endstation):
    def fail():
        raise RuntimeError("camera: no answer")

    endstation.ccd.before_trigger = fail
    with pytest.raises(RuntimeError, match="camera: no answer"):
        engine(rixs_map(endstation, "520:524:1", 10.0))
    assert_all_closed(endstation, documents, "fail")
    assert documents.of("stop")[0]["reason"] == "camera: no answer"


def test_an_absorption_spectrum_that_is_aborted_is_closed_too(engine, documents, endstation):
    triggers = []

    def trigger():
        triggers.append(1)
        if len(triggers) < 3:
            return NullStatus()
        threading.Thread(target=lambda: engine.request_pause(defer=False)).start()
        return Status()

    endstation.scaler.trigger = trigger
    with pytest.raises(RunEngineInterrupted):
        engine(xas(endstation, "520:524:1"))
    engine.abort()
    assert energies(documents) == [520.0, 521.0]
    assert_all_closed(endstation, documents, "abort")


@pytest.mark.parametrize("command", ["create", "read", "save"])
def test_an_abort_within_an_event_leaves_the_run_closed_with_its_baseline(engine, documents, endstation, command):
    engine.preprocessors.append(SupplementalData(baseline=[endstation.ring]))
    seen = []

    def hook(message):
        if message.command == "create" and message.kwargs["name"] == "primary":
            seen.append(message)
        if len(seen) == 3 and message.command == command and not engine.deferred_pause_requested:
            seen.append(message)
            engine.loop.create_task(engine._request_pause_coro(False))  # noqa: SLF001 - as `request_pause`, but at once

    engine.msg_hook = hook
    with pytest.raises(RunEngineInterrupted):
        engine(xas(endstation, "520:526:1", 1.0))
    engine.abort()
    assert len(documents.events("baseline")) == 2
    assert_all_closed(endstation, documents, "abort")


def test_a_point_that_lost_a_connection_is_not_replayed_where_the_light_goes_before_it_is_back(
    engine, documents, endstation
):
    back, scaler = threading.Event(), endstation.scaler
    triggers = at_trigger(endstation.ccd, 3, lambda: None)  # it never ends, as the other fails
    working = scaler.trigger

    async def awaited():
        while not back.is_set():
            await asyncio.sleep(0.02)

    def trigger():
        if len(triggers) != 2 or lost:
            return working()
        lost.append(Status())
        threading.Timer(0.2, lambda: lost[0].set_exception(ConnectionError("scaler: gone"))).start()
        threading.Timer(0.5, engine.request_suspend, [awaited]).start()
        threading.Timer(0.8, back.set).start()
        return lost[0]

    lost = []
    scaler.trigger = trigger
    engine(rixs_map(endstation, "520:524:1", 10.0, dark_frames=0))
    assert len(lost) == 1
    assert energies(documents) == [520.0, 521.0, 522.0, 523.0, 524.0]
    assert_all_closed(endstation, documents, "success")
