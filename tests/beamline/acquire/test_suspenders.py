"""What suspends the engine: the ring current with its two limits, the front-end shutter; and what is logged of it."""

import logging
import re
import threading
import time
from types import SimpleNamespace

import pytest
from bluesky import RunEngine
from bluesky.plan_stubs import checkpoint, sleep
from ophyd import Component, Device, Signal

from beamline.acquire import suspenders
from beamline.acquire.session import Session, measure
from beamline.acquire.suspenders import FrontEndShutterSuspender, RingCurrentSuspender, light_of, light_suspenders
from beamline.endstation.config import Suspenders, load_config
from beamline.errors import BeamlineError
from beamline.operations.demonstrate.techniques import simulated
from plans import xas
from plans.endstation import Endstation, Light
from plans.errors import PlanError

SETTINGS = Suspenders(ring_current_low=400.0, ring_current_resume=450.0, settle_time=0.1)


class Line(Signal):
    """A signal whose connection to the control system can be lost."""

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
    caplog.set_level(logging.INFO, "beamline.acquire.suspenders")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "beamline.acquire.suspenders"]


def steps(count):
    """Sleep a number of times for 10 ms, each after a checkpoint."""
    for _ in range(count):
        yield from checkpoint()
        yield from sleep(0.01)


def run_while(engine, plan, then):
    """Run a plan while `then` happens on another thread, once it has begun; return how long it took, s."""
    over = threading.Event()

    def once_it_runs():
        while engine.state == "idle" and not over.is_set():  # before, a suspender holds the engine in another way
            time.sleep(0.001)
        then()

    thread = threading.Thread(target=once_it_runs)
    begin = time.monotonic()
    thread.start()
    try:
        engine(plan)
    finally:
        over.set()
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


@pytest.mark.parametrize("case", [(60.0, 4, []), (0.1, 2, ["SIM:A and 1 more are not back"])])
def test_it_resumes_when_all_devices_are_connected_again(engine, ring, lines, monkeypatch, case):
    patience, asked, said = case
    answers = [["SIM:A", "SIM:B"], ["SIM:A", "SIM:B"], ["SIM:B"], []]
    asks = iter(answers)
    monkeypatch.setattr(suspenders, "unanswering", lambda _devices: next(asks))
    monkeypatch.setattr(suspenders, "RECONNECTION", patience)
    engine.install_suspender(RingCurrentSuspender(ring, low=400.0, resume=450.0))

    def lose_it():
        time.sleep(0.02)
        ring.put(0.0)
        time.sleep(0.05)
        ring.put(500.0)

    run_while(engine, steps(10), lose_it)
    assert len(answers) - len(list(asks)) == asked
    assert [line.partition(" after")[0] for line in lines() if "not back" in line] == said


def test_a_removed_suspender_holds_nothing(engine, ring, suspender, lines):
    engine.remove_suspender(suspender)
    ring.put(0.0)
    ring.connect(False)
    assert not suspender.tripped
    engine(steps(2))
    assert lines() == []


def test_a_configuration_gives_both_suspenders_and_the_limits_of_the_plans(ring):
    devices = {"front_end_shutter": Shutter(name="front_end_shutter"), "ring": SimpleNamespace(current=ring)}
    endstation = Endstation(devices)
    both = light_suspenders(SETTINGS, endstation)
    assert [type(each) for each in both] == [RingCurrentSuspender, FrontEndShutterSuspender]
    assert [each.settle_time for each in both] == [0.1, 0.1]
    without = SETTINGS.model_copy(update={"front_end_shutter": False})
    assert [type(each) for each in light_suspenders(without, endstation)] == [RingCurrentSuspender]
    assert light_of(SETTINGS) == Light(400.0, 450.0, front_end_shutter=True)
    assert light_of(without) == Light(400.0, 450.0, front_end_shutter=False)


def test_a_session_installs_them_and_gives_the_plans_their_limits(tmp_path):
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
    assert "beamline.acquire.suspenders INFO suspended: ring_current: 0 mA is below 400 mA; waits until it is" in log
    assert "ring_current: 500 mA: back after 0.0 s; resumes in 0.1 s" in log


def test_light_that_does_not_come_back_is_given_up_where_that_is_asked_for(engine, ring, lines):
    patient = RingCurrentSuspender(ring, low=400.0, resume=450.0, sleep=0.05, give_up_after=0.3)
    engine.install_suspender(patient)
    said = "ring_current: 0 mA is below 400 mA; there was no light for 0.3 s, after which the run is ended"
    with pytest.raises(PlanError, match=f"^{said}$"):
        run_while(engine, steps(200), lambda: (time.sleep(0.05), ring.put(0.0)))
    assert lines()[-1] == "ring_current: 0 mA is below 400 mA; given up after 0.3 s"
    assert engine.state == "idle"
    assert run_while(engine, steps(5), lambda: (time.sleep(0.1), ring.put(500.0))) > 0.1  # the next run waits for it
    assert run_while(engine, steps(20), lambda: (ring.put(0.0), time.sleep(0.15), ring.put(500.0))) < 5.0


class OnTwins:
    """A session on soft twins with suspenders, and what it measures."""

    def __init__(self, folder, settings=SETTINGS):
        self.session = Session(simulated(1).model_copy(update={"suspenders": settings}), folder)
        self.world = self.session.endstation.energy.world
        self.documents = []
        self.session.RE.subscribe(lambda name, doc: self.documents.append((name, doc)))

    def dump(self, seconds):
        """Lose the beam for a number of simulated seconds from now on."""
        now = self.world.clock.now()
        self.world.ring.dumps.append((now, now + seconds))

    def after_event(self, number, *actions):
        """Do actions after the `number`-th event of the run, 50 ms apart."""
        seen = []

        def act(name, _doc):
            if name == "event":
                seen.append(name)
                if len(seen) == number:
                    threading.Thread(target=lambda: [(time.sleep(0.05), action()) for action in actions]).start()

        return self.session.RE.subscribe(act)

    def pause(self):
        self.session.RE.request_pause(defer=False)

    def primary(self):
        descriptors = {doc["uid"]: doc["name"] for name, doc in self.documents if name == "descriptor"}
        events = [doc for name, doc in self.documents if name == "event"]
        return [doc["data"] for doc in events if descriptors[doc["descriptor"]] == "primary"]

    def assert_whole(self, first):
        """Each energy once, in the light."""
        points = self.primary()
        assert [point["energy_setpoint"] for point in points] == [first + number for number in range(len(points))]
        i0 = [point["i0"] for point in points]
        assert min(i0) > 0.9 * max(i0)
        return len(points)


@pytest.fixture
def twins(tmp_path):
    twins = OnTwins(tmp_path)
    yield twins
    twins.session.close()


@pytest.mark.long
def test_a_run_on_the_twins_waits_for_a_beam_that_was_dumped_and_is_whole(twins):
    twins.after_event(4, lambda: twins.dump(1500.0))
    measure(twins.session, xas(twins.session.endstation, "520:530:1", 100.0))
    assert twins.assert_whole(520.0) == 11
    names = {doc["name"] for name, doc in twins.documents if name == "descriptor"}
    assert "interruptions" in names or "interrupted" in names


def test_a_run_without_beam_is_ended_after_the_time_that_is_asked_for_and_keeps_its_points(tmp_path):
    twins = OnTwins(tmp_path, SETTINGS.model_copy(update={"give_up_after": 0.5}))
    twins.after_event(4, lambda: twins.dump(1e9))
    try:
        with pytest.raises(BeamlineError, match=r"there was no light for 0\.5 s, after which the run is ended$"):
            measure(twins.session, xas(twins.session.endstation, "520:530:1", 100.0))
        assert 0 < twins.assert_whole(520.0) < 11
        assert twins.documents[-1][1]["exit_status"] == "fail"
        assert "no light for 0.5 s" in twins.documents[-1][1]["reason"]
        assert twins.session.endstation.shutter.state.get() == "closed"
    finally:
        twins.session.close()


@pytest.mark.long
def test_a_run_that_is_resumed_without_beam_waits_for_it(twins):
    twins.after_event(4, lambda: twins.dump(2500.0), twins.pause)
    asked = []
    measure(twins.session, xas(twins.session.endstation, "520:530:1", 100.0), on_pause=lambda: not asked.append(1))
    assert asked == [1]
    assert twins.assert_whole(520.0) == 11


@pytest.mark.long
def test_after_an_abort_without_beam_the_next_run_is_whole_too(twins):
    twins.after_event(4, lambda: twins.dump(1500.0), twins.pause)
    measure(twins.session, xas(twins.session.endstation, "520:530:1", 100.0))
    assert twins.documents[-1][1]["exit_status"] == "abort"
    assert twins.assert_whole(520.0) < 11
    twins.documents.clear()
    time.sleep(2.0)
    twins.after_event(4, lambda: twins.dump(1000.0))
    measure(twins.session, xas(twins.session.endstation, "520:530:1", 300.0))
    assert twins.assert_whole(520.0) == 11


def test_a_question_that_is_interrupted_ends_the_run_with_the_shutter_closed(twins):
    def interrupted():
        raise KeyboardInterrupt

    twins.after_event(4, twins.pause)
    with pytest.raises(KeyboardInterrupt):
        measure(twins.session, xas(twins.session.endstation, "520:530:1", 100.0), on_pause=interrupted)
    assert twins.session.RE.state == "idle"
    assert twins.session.endstation.shutter.state.get() == "closed"
    assert twins.documents[-1][0] == "stop"
    assert twins.documents[-1][1]["exit_status"] == "abort"
