"""What holds the engine: the ring current with its two limits, the front-end shutter, and what is said of it."""

import logging
import re
import threading
import time

import pytest
from bluesky import RunEngine
from bluesky.plan_stubs import checkpoint, sleep
from ophyd import Component, Device, Signal

from beamline.config import Suspenders, load_config
from beamline.demo import simulated
from beamline.engine import Session, measure
from beamline.suspenders import FrontEndShutterSuspender, RingCurrentSuspender, light_of, light_suspenders
from plans import xas
from plans.light import Light

SETTINGS = Suspenders(ring_current_low=400.0, ring_current_resume=450.0, settle_time=0.1)


class Line(Signal):
    """A signal whose line to the control system can be cut."""

    def connect(self, connected):
        self._metadata["connected"] = connected
        self._run_metadata_callbacks()


class Shutter(Device):
    state = Component(Signal, value="open")


@pytest.fixture
def engine():
    return RunEngine(context_managers=[])


@pytest.fixture
def ring():
    return Line(name="ring_current", value=500.0)


@pytest.fixture
def suspender(engine, ring):
    suspender = RingCurrentSuspender(ring, low=400.0, resume=450.0, sleep=0.05)
    engine.install_suspender(suspender)
    return suspender


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "beamline.suspenders")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "beamline.suspenders"]


def steps(count):
    """Sleep so many times 10 ms, each behind a checkpoint."""
    for _ in range(count):
        yield from checkpoint()
        yield from sleep(0.01)


def run_while(engine, plan, then):
    """Run a plan while `then` happens on another thread; give how long it took."""
    thread = threading.Thread(target=then)
    begin = time.monotonic()
    thread.start()
    engine(plan)
    thread.join()
    return time.monotonic() - begin


def test_it_suspends_below_one_limit_and_resumes_above_another(engine, ring, suspender, lines, capsys):
    def dump():
        time.sleep(0.05)
        for current in (420.0, 399.0, 420.0, 449.0):
            ring.put(current)
            tripped.append(suspender.tripped)
        time.sleep(0.2)
        ring.put(450.0)
        tripped.append(suspender.tripped)

    tripped = []
    taken = run_while(engine, steps(10), dump)
    assert tripped == [False, True, True, True, False]
    assert 0.05 + 0.2 + 0.05 < taken < 1.0
    assert "\nring_current: 399 mA is below 400 mA; waits until it is above 450 mA\n" in capsys.readouterr().out
    suspended, resumed = lines()
    assert suspended == "suspended: ring_current: 399 mA is below 400 mA; waits until it is above 450 mA"
    found = re.fullmatch(r"ring_current: 450 mA: back after (.*) s; resumes in 0.05 s", resumed)
    assert float(found[1]) == pytest.approx(0.2, abs=0.1)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "ring_current: not known (nan mA)"),
        ("no beam", "ring_current: not known (nan mA)"),
        (None, "ring_current: disconnected"),
    ],
)
@pytest.mark.usefixtures("suspender")
def test_a_current_that_is_not_known_suspends_too(engine, ring, lines, value, said):
    def lose_it():
        time.sleep(0.03)
        ring.put(value)
        time.sleep(0.1)
        ring.put(500.0)

    assert run_while(engine, steps(10), lose_it) > 0.03 + 0.1 + 0.05
    assert lines()[0] == f"suspended: {said}; waits until it is above 450 mA"
    assert len(lines()) == 2


def test_a_ring_that_is_disconnected_suspends_until_it_says_a_current_again(engine, ring, suspender, lines):
    def lose_it():
        time.sleep(0.03)
        ring.connect(False)
        time.sleep(0.05)
        ring.connect(True)
        assert suspender.tripped  # connected is not yet known
        time.sleep(0.05)
        ring.put(500.0)

    assert run_while(engine, steps(10), lose_it) > 0.03 + 0.1 + 0.05
    assert lines()[0] == "suspended: ring_current: disconnected; waits until it is above 450 mA"
    assert not suspender.tripped


def test_a_signal_that_is_not_connected_to_begin_with_holds_the_first_plan(engine, ring):
    ring.connect(False)
    suspender = RingCurrentSuspender(ring, low=400.0, resume=450.0)
    engine.install_suspender(suspender)
    assert suspender.tripped
    ring.connect(True)
    assert run_while(engine, steps(1), lambda: (time.sleep(0.2), ring.put(500.0))) > 0.2


def test_the_front_end_shutter_suspends_while_it_is_not_open(engine, lines, capsys):
    def close():
        time.sleep(0.03)
        state.put("closed")
        time.sleep(0.1)
        state.put("moving")
        time.sleep(0.1)
        state.put("open")

    state = Signal(name="front_end_shutter", value="open")
    engine.install_suspender(FrontEndShutterSuspender(state, sleep=0.05))
    assert run_while(engine, steps(10), close) > 0.03 + 0.2 + 0.05
    assert "front_end_shutter: is 'closed', not 'open'; waits until it is open\n" in capsys.readouterr().out
    assert lines()[0] == "suspended: front_end_shutter: is 'closed', not 'open'; waits until it is open"
    assert lines()[1].startswith("front_end_shutter: open: back after 0.2")


def test_light_that_goes_again_while_it_settles_is_waited_for_again(engine, ring, lines):
    def flicker():
        time.sleep(0.03)
        ring.put(0.0)
        time.sleep(0.05)
        ring.put(500.0)
        time.sleep(0.05)  # of 0.2 s to settle
        ring.put(0.0)
        time.sleep(0.4)
        ring.put(500.0)

    engine.install_suspender(RingCurrentSuspender(ring, low=400.0, resume=450.0, sleep=0.2))
    done = []

    def plan():
        yield from steps(10)
        done.append(time.monotonic())

    begin = time.monotonic()
    run_while(engine, plan(), flicker)
    assert done[0] - begin > 0.03 + 0.05 + 0.05 + 0.4 + 0.2
    assert len(lines()) == 4


def test_a_loss_is_not_missed_while_the_engine_is_busy(engine, ring, suspender):
    def busy():
        yield from checkpoint()
        threading.Timer(0.02, ring.put, (0.0,)).start()
        engine.loop.call_soon(time.sleep, 0.4)  # longer than Bluesky waits for its loop
        for _ in range(50):
            yield from checkpoint()
            yield from sleep(0.01)

    begin = time.monotonic()
    threading.Timer(0.8, ring.put, (500.0,)).start()
    engine(busy())
    assert time.monotonic() - begin > 0.8 + 0.05 + 0.2


def test_a_removed_suspender_holds_nothing(engine, ring, suspender, lines):
    engine.remove_suspender(suspender)
    ring.put(0.0)
    ring.connect(False)
    assert not suspender.tripped
    engine(steps(2))
    assert lines() == []


def test_a_configuration_gives_both_suspenders_and_the_limits_of_the_plans(ring):
    class Endstation:
        front_end_shutter = Shutter(name="front_end_shutter")

        class ring:  # noqa: N801
            current = ring

    both = light_suspenders(SETTINGS, Endstation)
    assert [type(each) for each in both] == [RingCurrentSuspender, FrontEndShutterSuspender]
    assert [each._sleep for each in both] == [0.1, 0.1]
    without = SETTINGS.model_copy(update={"front_end_shutter": False})
    assert [type(each) for each in light_suspenders(without, Endstation)] == [RingCurrentSuspender]
    assert light_of(SETTINGS) == Light(400.0, 450.0, front_end_shutter=True)
    assert light_of(without) == Light(400.0, 450.0, front_end_shutter=False)


def test_a_session_installs_them_and_tells_the_plans(tmp_path):
    config = load_config().model_copy(update={"suspenders": SETTINGS})
    session = Session(config, tmp_path)
    try:
        assert {type(each) for each in session.RE.suspenders} == {RingCurrentSuspender, FrontEndShutterSuspender}
        assert session.endstation.light == Light(400.0, 450.0)
        session.endstation.ring.current.put(0.0, force=True)
        session.endstation.ring.current.put(500.0, force=True)
    finally:
        session.close()
    log = (tmp_path / "beamline.log").read_text()
    assert "beamline.suspenders INFO suspended: ring_current: 0 mA is below 400 mA; waits until it is" in log
    assert "ring_current: 500 mA: back after 0.0 s; resumes in 0.1 s" in log


def test_a_run_on_the_twins_waits_for_a_beam_that_was_dumped_and_is_whole(tmp_path):
    config = simulated(1, dump_after=60.0)
    session = Session(config.model_copy(update={"suspenders": SETTINGS}), tmp_path)
    documents = []
    session.RE.subscribe(lambda name, doc: documents.append((name, doc)))
    try:
        measure(session, xas(session.endstation, "520:530:1", 10.0))
    finally:
        session.close()
    descriptors = {doc["uid"]: doc["name"] for name, doc in documents if name == "descriptor"}
    events = [doc for name, doc in documents if name == "event"]
    primary = [doc for doc in events if descriptors[doc["descriptor"]] == "primary"]
    assert [doc["seq_num"] for doc in primary] == list(range(1, 12))
    i0 = [doc["data"]["i0"] for doc in primary]
    assert min(i0) > 0.9 * max(i0)
    assert "interruptions" in descriptors.values() or "interrupted" in descriptors.values()
