"""The light goes in mid-scan: no point is taken twice, none is left out, and what was measured in the dark is kept."""

import dataclasses
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from bluesky.protocols import Pausable
from bluesky.simulators import RunEngineSimulator
from bluesky.utils import RunEngineInterrupted
from ophyd import Signal
from ophyd.sim import NullStatus
from ophyd.status import Status

from beamline.acquire.suspenders import FrontEndShutterSuspender, RingCurrentSuspender
from beamline.endstation.build import build_endstation
from beamline.endstation.config import load_config
from beamline.techniques import pipelines
from callbacks.contract import Key
from callbacks.reduction import Reducer
from plans.endstation import ROLES, Light
from plans.live_view import live_view
from plans.measuring import point as point_module
from plans.measuring.interruptions import Interruptions
from plans.rixs import rixs_map
from plans.stxm import stxm_image
from plans.xas import xas

LIGHT = Light(ring_current_low=400.0, ring_current_resume=450.0)
LINES = "x=-1:1:0.5 y=0:0.3:0.1"  # 4 lines of 5 pixels


class Ring:
    """A ring whose reading and whose signal for suspenders are moved by the test."""

    parent, name = None, str(Key.RING_CURRENT)

    def __init__(self):
        self.value = 500.0
        self.current = Signal(name=self.name, value=500.0)

    def put(self, value):
        self.value = value
        self.current.put(value)

    def read(self):
        return {self.name: {"value": self.value, "timestamp": 0.0}}

    def describe(self):
        return {self.name: {"source": "test", "dtype": "number", "shape": []}}

    def read_configuration(self):
        return {}

    def describe_configuration(self):
        return {}


@pytest.fixture
def lit(endstation, monkeypatch):
    """An endstation that looks at its light."""
    monkeypatch.setattr(point_module, "LIGHT_POLL", 0.02)
    return dataclasses.replace(endstation, devices={**endstation.devices, "ring": Ring()}, light=LIGHT)


def energies(documents, stream="primary"):
    return [event["data"][Key.ENERGY_SETPOINT] for event in documents.events(stream)]


def numbers(documents, stream="primary"):
    return [event["seq_num"] for event in documents.events(stream)]


def at_each_trigger(detector, then):
    """Call `then` with the number of the trigger, from 1, before each; it may give a status of its own."""
    triggers = []

    def trigger():
        triggers.append(time.monotonic())
        return then(len(triggers)) or NullStatus()

    detector.trigger = trigger
    return triggers


def never_ending(number, meanwhile):
    """For `at_each_trigger`: let that trigger never end, and do something from another thread meanwhile."""

    def then(trigger):
        if trigger != number:
            return None
        threading.Thread(target=meanwhile).start()
        return Status()

    return then


async def at_once():
    """What a suspension waits for that is over as it begins."""


# ---- no point is taken twice


def test_the_interruptions_are_an_object_that_the_engine_tells_of_pauses():
    assert isinstance(Interruptions(), Pausable)


def test_each_checkpoint_of_a_plan_bears_the_interruptions_of_its_run(simulator, endstation):
    messages = simulator.simulate_plan(xas(endstation, "520:524:1"))
    borne = [message.obj for message in messages if message.command == "checkpoint"]
    assert len(borne) == 5 + 1
    assert isinstance(borne[0], Interruptions)
    assert all(each is borne[0] for each in borne)


def test_a_bare_simulator_lists_a_plan_that_looks_at_its_light(lit):
    messages = RunEngineSimulator().simulate_plan(rixs_map(lit, "520:522:1", 1.0, dark_frames=0, retake="at_end"))
    assert [message.command for message in messages].count("save") == 3


def after_each_save(engine, endstation, request, *, at_most=1000):
    """Let a request reach the engine between `save` and the next message.

    The engine takes it up two messages after it was made: so it is made as the last device of a point is read. Not so
    at the first point, where the engine has to find out first what is read.
    """
    points, made = [], []

    def hook(message):
        if message.command == "read" and message.obj is endstation.ring:
            points.append(message)
            if 1 < len(points) <= at_most:
                made.append(message)
                request()

    engine.msg_hook = hook
    return made


def test_a_suspension_after_each_save_takes_no_point_again(engine, documents, endstation):
    triggers = at_each_trigger(endstation.scaler, lambda _number: None)
    made = after_each_save(engine, endstation, lambda: engine.request_suspend(at_once))
    engine(xas(endstation, "520:539:1"))
    assert numbers(documents) == list(range(1, 21))
    assert energies(documents) == [520.0 + n for n in range(20)]
    assert (len(triggers), len(made)) == (20, 19)
    assert documents.of("stop")[0]["exit_status"] == "success"


def test_a_pause_after_each_save_takes_no_point_again(engine, documents, endstation):
    def pause():
        threading.Thread(target=engine.request_pause, args=(False,)).start()
        time.sleep(0.005)  # the request is there before the engine goes on

    triggers = at_each_trigger(endstation.scaler, lambda _number: None)
    made = after_each_save(engine, endstation, pause)
    with pytest.raises(RunEngineInterrupted):
        engine(xas(endstation, "520:539:1"))
    while engine.state == "paused":
        with suppress(RunEngineInterrupted):
            engine.resume()
    assert numbers(documents) == list(range(1, 21))
    assert energies(documents) == [520.0 + n for n in range(20)]
    assert (len(triggers), len(made)) == (20, 19)


def test_without_the_refusal_of_replays_points_are_taken_twice(engine, documents, endstation, monkeypatch):
    monkeypatch.setattr(Interruptions, "refuse_replay", lambda self: None)
    after_each_save(engine, endstation, lambda: engine.request_suspend(at_once), at_most=3)
    engine(xas(endstation, "520:524:1"))
    assert len(numbers(documents)) > len(set(numbers(documents))) == 5


def suspended_at(engine, documents, plan, moments):
    """Run a plan with a suspension asked for at each of these messages; give how many messages there were."""
    count = SimpleNamespace(messages=0)

    def hook(message):
        count.messages += 1
        if count.messages in moments:
            engine.request_suspend(at_once)

    documents.all.clear()
    engine.msg_hook = hook
    engine(plan)
    return count.messages


@pytest.mark.long
@pytest.mark.parametrize("again_after", [None, 2, 5])
def test_a_suspension_at_any_message_leaves_each_line_once_and_right(engine, documents, lit, monkeypatch, again_after):
    def pause(interruptions):
        lit.scanner.y.set(9.0)  # what a user may do meanwhile
        lit.shutter.set("closed")
        lit.energy.set(600.0)
        counted(interruptions)

    counted = Interruptions.pause
    monkeypatch.setattr(Interruptions, "pause", pause)
    shutter = []
    lit.scanner.before_trigger = lambda: shutter.append(lit.shutter.value)
    length = suspended_at(engine, documents, stxm_image(lit, 520.0, LINES, dark_lines=1), ())
    assert length > 70
    for moment in range(12, length - 10):  # while the run is open
        moments = {moment} if again_after is None else {moment, moment + again_after}
        suspended_at(engine, documents, stxm_image(lit, 520.0, LINES, dark_lines=1), moments)
        lines = [(event["data"][Key.ENERGY], event["data"][Key.STXM_Y][0]) for event in documents.events("primary")]
        assert lines == [(520.0, y) for y in (0.0, 0.1, 0.2, 0.3)], moment
        assert numbers(documents) == [1, 2, 3, 4], moment
        assert (numbers(documents, "dark"), numbers(documents, "interrupted")) == ([1], []), moment
        assert documents.of("stop")[0]["exit_status"] == "success"
    assert shutter.count("closed") >= length - 22  # the dark lines


# ---- the suspender sees it in time


def measure(engine, plan):
    engine.record_interruptions = True
    engine(plan)


def interruptions(documents):
    return [event["data"]["interruption"] for event in documents.events("interruptions")]


def test_a_dump_in_mid_point_costs_one_point_and_is_recorded(engine, documents, lit):
    def dump():
        time.sleep(0.02)
        lit.ring.put(0.0)
        time.sleep(0.1)
        lit.ring.put(430.0)  # not enough to go on
        time.sleep(0.1)
        seen.append(len(documents.events("primary")))
        lit.ring.put(460.0)

    seen = []
    engine.install_suspender(RingCurrentSuspender(lit.ring.current, low=400.0, resume=450.0, sleep=0.05))
    triggers = at_each_trigger(lit.scaler, never_ending(3, dump))
    measure(engine, xas(lit, "520:524:1"))
    assert seen == [2]
    assert numbers(documents) == [1, 2, 3, 4, 5]
    assert energies(documents) == [520.0, 521.0, 522.0, 523.0, 524.0]
    assert len(triggers) == 6
    assert triggers[3] - triggers[2] > 0.02 + 0.2 + 0.05
    assert documents.events("interrupted") == []
    assert interruptions(documents) == ["ring_current: 0 mA is below 400 mA; waits until it is above 450 mA"]
    assert documents.of("stop")[0]["exit_status"] == "success"


def test_a_dump_that_closes_the_front_end_too_costs_one_point(engine, documents, lit):
    def dump():
        time.sleep(0.02)
        lit.ring.put(0.0)
        time.sleep(0.05)
        state.put("closed")
        time.sleep(0.05)
        lit.ring.put(500.0)
        time.sleep(0.1)
        seen.append(len(documents.events("primary")))
        state.put("open")

    seen = []
    state = Signal(name="front_end_shutter", value="open")
    engine.install_suspender(RingCurrentSuspender(lit.ring.current, low=400.0, resume=450.0, sleep=0.01))
    engine.install_suspender(FrontEndShutterSuspender(state, sleep=0.01))
    triggers = at_each_trigger(lit.scaler, never_ending(3, dump))
    measure(engine, xas(lit, "520:524:1"))
    assert seen == [2]
    assert energies(documents) == [520.0, 521.0, 522.0, 523.0, 524.0]
    assert len(triggers) == 6
    assert interruptions(documents) == [
        "ring_current: 0 mA is below 400 mA; waits until it is above 450 mA",
        "front_end_shutter: is 'closed', not 'open'; waits until it is open",
    ]


# ---- the suspender sees it late, or there is none


@pytest.mark.parametrize("lost", [0.0, float("nan")])
def test_a_point_without_light_is_kept_apart_and_taken_again_once(engine, documents, lit, caplog, lost):
    def trigger(number):
        if number == 3:
            lit.ring.value = lost
            threading.Timer(0.15, setattr, (lit.ring, "value", 430.0)).start()
            threading.Timer(0.3, setattr, (lit.ring, "value", 460.0)).start()

    triggers = at_each_trigger(lit.scaler, trigger)
    measure(engine, xas(lit, "520:524:1"))
    assert numbers(documents) == [1, 2, 3, 4, 5]
    assert energies(documents) == [520.0, 521.0, 522.0, 523.0, 524.0]
    assert [event["data"][Key.RING_CURRENT] for event in documents.events("primary")] == [500.0] * 2 + [460.0] * 3
    assert energies(documents, "interrupted") == [522.0]
    np.testing.assert_equal([e["data"][Key.RING_CURRENT] for e in documents.events("interrupted")], [lost])
    assert documents.events("interrupted")[0]["data"].keys() == documents.events("primary")[0]["data"].keys()
    assert len(triggers) == 6
    assert triggers[3] - triggers[2] > 0.3
    reason = "not known (nan mA)" if np.isnan(lost) else "0 mA is below 400 mA"
    assert [record.getMessage() for record in caplog.records if record.name == "plans.measuring.point"] == [
        f"a point is taken again: ring_current: {reason}"
    ]


def test_a_suspender_that_trips_late_takes_nothing_again_itself(engine, documents, lit):
    def trigger(number):
        if number == 3:
            lit.ring.value = 0.0  # its signal says so only later
            threading.Timer(0.1, lit.ring.put, (0.0,)).start()
            threading.Timer(0.3, lit.ring.put, (460.0,)).start()

    engine.install_suspender(RingCurrentSuspender(lit.ring.current, low=400.0, resume=450.0, sleep=0.05))
    triggers = at_each_trigger(lit.scaler, trigger)
    measure(engine, xas(lit, "520:524:1"))
    assert numbers(documents) == [1, 2, 3, 4, 5]
    assert energies(documents) == [520.0, 521.0, 522.0, 523.0, 524.0]
    assert energies(documents, "interrupted") == [522.0]
    assert len(triggers) == 6
    assert triggers[3] - triggers[2] > 0.3
    assert len(interruptions(documents)) == 1


def test_the_front_end_shutter_has_to_be_open_again_as_well(engine, documents, lit):
    def trigger(number):
        if number == 2:
            lit.ring.value, lit.front_end_shutter.value = 0.0, "closed"
            threading.Timer(0.1, setattr, (lit.ring, "value", 500.0)).start()
            threading.Timer(0.25, setattr, (lit.front_end_shutter, "value", "open")).start()

    triggers = at_each_trigger(lit.scaler, trigger)
    measure(engine, xas(lit, "520:522:1"))
    assert energies(documents) == [520.0, 521.0, 522.0]
    assert triggers[2] - triggers[1] > 0.25
    triggers.clear()
    engine(xas(dataclasses.replace(lit, light=dataclasses.replace(LIGHT, front_end_shutter=False)), "520:522:1"))
    assert len(triggers) == 4
    assert triggers[2] - triggers[1] < 0.25
    time.sleep(0.2)  # the last timer


def test_a_line_taken_again_is_told_everything_again(engine, documents, lit):
    def lose_it():
        taken.append(lit.scanner.y.value)
        if len(taken) == 3:
            lit.ring.value = 0.0
            threading.Timer(0.1, back).start()

    def back():
        lit.energy.set(600.0)  # what others may have done meanwhile
        lit.scanner.y.set(9.0)
        lit.ring.value = 500.0

    taken = []
    lit.scanner.before_trigger = lose_it
    engine(stxm_image(lit, 520.0, LINES, dark_lines=0))
    assert taken == [0.0, 0.1, 0.2, 0.2, 0.3]
    for stream, y in (("primary", [0.0, 0.1, 0.2, 0.3]), ("interrupted", [0.2])):
        events = documents.events(stream)
        assert [event["data"][Key.STXM_Y][0] for event in events] == y
        assert {event["data"][Key.ENERGY] for event in events} == {520.0}


def test_dark_lines_and_points_that_do_not_read_the_ring_are_not_judged(engine, documents, lit):
    lit.ring.value = 0.0
    engine(live_view(lit, "ccd", 1.0, frames=2))
    assert numbers(documents) == [1, 2]
    threading.Timer(0.2, setattr, (lit.ring, "value", 500.0)).start()
    engine(stxm_image(lit, 520.0, LINES, dark_lines=2))
    assert (len(documents.events("dark")), len(documents.events("interrupted"))) == (2, 1)


def test_without_limits_points_are_kept_whatever_the_ring_says(engine, documents, lit):
    lit.ring.value = 0.0
    engine(xas(dataclasses.replace(lit, light=None), "520:522:1"))
    engine(xas(dataclasses.replace(lit, light=Light()), "520:522:1"))
    assert energies(documents) == [520.0, 521.0, 522.0] * 2
    assert documents.events("interrupted") == []


def test_a_wait_for_light_can_be_paused_and_aborted(engine, documents, lit):
    def trigger(number):
        if number == 2:
            lit.ring.value = 0.0
            threading.Timer(0.1, engine.request_pause, (False,)).start()

    at_each_trigger(lit.scaler, trigger)
    with pytest.raises(RunEngineInterrupted):
        engine(xas(lit, "520:522:1"))
    engine.abort()
    assert (energies(documents), energies(documents, "interrupted")) == ([520.0], [521.0])
    assert documents.of("stop")[0]["exit_status"] == "abort"
    assert lit.shutter.value == "closed"


def test_an_endstation_keeps_its_limits_when_a_device_is_replaced(lit):
    assert dataclasses.replace(lit, devices={}).light is LIGHT
    assert "light" not in ROLES


@pytest.mark.parametrize(
    ("values", "missing", "awaited"),
    [
        ({}, "", ""),
        ({"ring_current": 500.0}, "", ""),
        ({"ring_current": 420.0}, "", "ring_current: 420 mA is below 450 mA"),
        ({"ring_current": 0.0}, "ring_current: 0 mA is below 400 mA", "ring_current: 0 mA is below 450 mA"),
        ({"ring_current": float("nan")}, *["ring_current: not known (nan mA)"] * 2),
    ],
)
def test_what_is_missing_is_said_with_the_value_and_the_limit(values, missing, awaited):
    assert (LIGHT.missing(values), LIGHT.awaited(values)) == (missing, awaited)
    assert dataclasses.replace(LIGHT, ring_current_resume=None).awaited(values) == missing


# ---- frames, on the soft twins


@pytest.fixture
def twins(tmp_path):
    return build_endstation(load_config(), frames_dir=tmp_path / "frames")


def test_the_frame_without_light_and_its_retake_are_both_there_and_differ(engine, documents, twins, monkeypatch):
    monkeypatch.setattr(point_module, "LIGHT_POLL", 0.02)
    world = twins.ring.world

    def lose_it(name, _doc):
        if name == "event" and len(documents.events("primary")) == 2 and not world.ring.dumps:
            world.ring.dumps.append((world.clock.now(), world.clock.now() + 1e6))
            threading.Timer(0.3, world.ring.dumps.__setitem__, (0, (0.0, 0.0))).start()

    world.ring.dumps.clear()
    engine.subscribe(lose_it)
    engine(rixs_map(dataclasses.replace(twins, light=LIGHT), "528:531:1", 30.0, dark_frames=1))
    assert energies(documents) == [528.0, 529.0, 530.0, 531.0]
    assert energies(documents, "interrupted") == [530.0]
    (lost,) = documents.frames("interrupted", Key.CCD_IMAGE)
    frames = documents.frames("primary", Key.CCD_IMAGE)
    assert not any(np.array_equal(lost, frame) for frame in frames)
    lit_pixels = [np.count_nonzero(frame > np.median(frame) + 50) for frame in (lost, *frames)]
    assert lit_pixels[0] < 0.2 * min(lit_pixels[1:])
    data = [doc["datum_id"] for doc in documents.of("datum")]
    assert len(data) == len(set(data)) == 1 + 4 + 1


@pytest.mark.long
def test_frames_whose_incident_flux_was_lost_are_taken_again_at_the_end(engine, documents, twins):
    def lose_it(name, _doc):
        if name == "event" and len(documents.events("primary")) == 3 and not world.ring.dumps:
            world.ring.dumps.append((world.clock.now(), world.clock.now() + 140.0))

    def derived(name, doc):
        if name == "event":
            results.append(doc["data"])

    def measured(**options):
        documents.all.clear()
        engine(rixs_map(twins, "528:535:1", 60.0, dark_frames=3, **options))
        assert energies(documents)[:8] == [528.0 + n for n in range(8)]
        return results[-1]

    results = []
    world = twins.ring.world
    world.ring.dumps.clear()
    engine.subscribe(Reducer(derived, pipelines()))
    undisturbed = measured()
    lose = engine.subscribe(lose_it)
    result = measured(retake="at_end")
    assert documents.of("start")[0]["plan_args"]["retake"] == "at_end"
    again = energies(documents)[8:]
    assert again[:2] == [531.0, 532.0]
    assert 2 <= len(again) <= 3  # the third may have been partial
    marks = dict(zip(result["marked_frames"], result["marks"], strict=True))
    assert {4, 5} <= marks.keys() <= {4, 5, 6}
    assert all(marks[frame].startswith("I0 lost") for frame in (4, 5))
    assert list(result["row_frames"][:5]) == [1, 1, 1, 2, 2]
    inner = np.s_[3:5, 16:-16]  # at the ends, drift has moved columns off the chip
    sums, before = (each["map"][inner].sum(axis=1) for each in (result, undisturbed))
    variance = sum(each["map_variance"][inner].sum(axis=1) for each in (result, undisturbed))
    assert np.all(sums > 10 * np.sqrt(variance))
    assert np.all(
        np.abs(sums - before) < 4 * np.sqrt(variance) + 0.02 * before
    )  # whole: its own counts over its own I0
    engine.unsubscribe(lose)
    world.ring.dumps.clear()
    engine.subscribe(lose_it)
    lost = np.isnan(measured()["map"]).all(axis=1)
    assert list(np.flatnonzero(lost)) == [3, 4]


def test_no_frame_is_taken_again_where_all_are_whole_or_nobody_asks(engine, documents, endstation):
    engine(rixs_map(endstation, "520:529:1", 1.0, dark_frames=0, retake="at_end"))
    assert energies(documents) == [520.0 + n for n in range(10)]
    fluxes = iter([1.0, 1.0, float("nan"), 1.0, 0.5, 1.0, 0.0, 1.0, 1.0, 1.0] * 2)
    values = endstation.scaler.values
    endstation.scaler.values = lambda: values() | {str(Key.I0): next(fluxes)}
    documents.all.clear()
    engine(rixs_map(endstation, "520:529:1", 1.0, dark_frames=0))
    assert energies(documents) == [520.0 + n for n in range(10)]


def test_each_frame_that_is_lost_partial_or_without_i0_is_taken_again_once(engine, documents, endstation):
    counts = [1.0, 1.0, float("nan"), 1.0, 0.5, 1.0, 0.0, 1.0, 1.0, 1.0]
    read = endstation.scaler.read
    taken = []

    def one_after_the_other():
        taken.append((counts + [0.0] * 9)[len(taken)])  # lost again: it stays so
        reading = read()
        reading[Key.I0]["value"] = taken[-1]
        return reading

    endstation.scaler.read = one_after_the_other
    engine(rixs_map(endstation, "520:529:1", 1.0, retake="at_end", dark_frames=1, dark_ttl=11.0))
    assert energies(documents) == [*(520.0 + n for n in range(10)), 522.0, 524.0, 526.0]
    assert numbers(documents) == list(range(1, 14))
    assert len(documents.events("dark")) == 2  # renewed among those taken again, as among the others
