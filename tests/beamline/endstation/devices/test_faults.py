"""Faults over the wire: what the user is told, how the run ends, and that nothing that was measured is lost."""

import re
import threading
import time
from contextlib import closing
from functools import partial

import epics
import numpy as np
import pytest
from ioc_faults import switch
from recorded import Documents

from beamline.acquire.session import Session, measure
from beamline.endstation.devices.waits import wait_for
from beamline.errors import BeamlineError
from beamline.operations.replay import reduce_documents
from beamline.storage.log import open_log
from beamline.storage.results import collect
from callbacks.contract import Key
from plans import rixs_map, stxm_image, xas

pytestmark = pytest.mark.long

LONG = 1200.0  # s of an exposure: 1.2 s on the wall
SAMPLE = "LRNMC 311 mAh/g"


class Watch:
    """What happened in a run, and when: does `fault` some time into the point after the `number`-th."""

    def __init__(self, session, documents, fault, *, after, delay):
        self.session, self.documents = session, documents
        self.switched = self.noticed = None
        self.line = ""
        self._fault, self._after, self._delay = fault, after, delay
        self._count, self._primary = 0, ""
        session.RE.subscribe(self)

    def __call__(self, name, doc):
        if name == "descriptor" and doc["name"] == "primary":
            self._primary = doc["uid"]
        if name == "event":
            self._count += doc["descriptor"] == self._primary
            if "interruption" in doc["data"] and self.noticed is None:
                self.noticed, self.line = time.monotonic(), doc["data"]["interruption"]
            elif self._count == self._after and self.switched is None:
                self.switched = 0.0
                threading.Timer(self._delay, self._do).start()

    def _do(self):
        epics.ca.use_initial_context()
        self.switched = time.monotonic()
        self._fault()

    def run(self, plan):
        """Measure; give the line that the user sees where it fails."""
        try:
            measure(self.session, plan)
        except BeamlineError as error:
            self.noticed = self.noticed or time.monotonic()
            self.line = str(error)
        print(
            f"\n  seen: {self.line}\n  ended: {self.documents.stop['exit_status']};"
            f" {len(self.documents.events())} events kept; noticed after {self.noticed - self.switched:.2f} s"
            if self.noticed
            else ""
        )
        return self.line

    @property
    def seconds(self):
        return self.noticed - self.switched


def numbers(documents):
    return [event["seq_num"] for event in documents.events()]


def energies(documents):
    return [event["data"][Key.ENERGY_SETPOINT] for event in documents.events()]


def dump_for(seconds):
    switch("DumpBeam", "On")
    time.sleep(seconds)
    switch("DumpBeam", "Off")


def cut():
    epics.caput("SIM:Fault:DropConnection", 1)  # nobody answers


def recorded(session, documents):
    """The documents of the run as its log has them."""
    with closing(open_log(session.data_dir, documents.of("start")[0]["uid"])) as log:
        return list(log)


def assert_nothing_lost(session, documents):
    names = [name for name, _ in recorded(session, documents)]
    assert names.count("event") == len(documents.of("event"))
    assert names[-1] == "stop"


def test_a_frame_under_way_when_the_beam_is_dumped_is_taken_again_once(session, documents):
    watch = Watch(session, documents, partial(dump_for, 1.5), after=1, delay=0.5)
    watch.run(rixs_map(session.endstation, "530:532:1", LONG, sample=SAMPLE, dark_frames=0))
    assert watch.line == "ring_current: 0 mA is below 400 mA; waits until it is above 450 mA"
    assert watch.seconds < 1.5
    assert numbers(documents) == [1, 2, 3]
    assert energies(documents) == [530.0, 531.0, 532.0]
    assert documents.stop["exit_status"] == "success"
    i0 = [event["data"][Key.I0] for event in documents.events()]
    assert min(i0) > 0.95 * max(i0)  # none of them was exposed without light
    lit = [
        np.count_nonzero(frame > np.median(frame) + 50) for frame in documents.frames("primary", Key.CCD_IMAGE)
    ]  # a photon: 111 counts
    assert len(lit) == 3
    assert min(lit) > 0.6 * max(lit) > 1000
    assert_nothing_lost(session, documents)


def test_a_line_under_way_when_the_beam_is_dumped_is_taken_again_once(session, documents):
    watch = Watch(session, documents, partial(dump_for, 1.5), after=2, delay=0.25)
    watch.run(stxm_image(session.endstation, 530.0, "x=-1:1:0.05 y=0:0.4:0.1", 10.0, sample=SAMPLE, dark_lines=0))
    assert watch.line == "ring_current: 0 mA is below 400 mA; waits until it is above 450 mA"
    assert watch.seconds < 1.5
    assert numbers(documents) == [1, 2, 3, 4, 5]
    assert [round(event["data"][Key.STXM_Y].mean(), 1) for event in documents.events()] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert documents.stop["exit_status"] == "success"
    dimmest = [event["data"][Key.STXM_COUNTS].min() for event in documents.events()]
    assert min(dimmest) > 1e5  # in the dark a pixel counts 2,500
    assert_nothing_lost(session, documents)


def test_the_run_waits_while_the_front_end_shutter_is_closed(session, documents):
    def close_for():
        switch("CloseFrontEnd", "On")
        time.sleep(0.6)
        switch("CloseFrontEnd", "Off")

    watch = Watch(session, documents, close_for, after=2, delay=0.1)
    watch.run(xas(session.endstation, "530:533:1", 300.0, sample=SAMPLE))
    assert watch.line == "front_end_shutter: is 'closed', not 'open'; waits until it is open"
    assert numbers(documents) == [1, 2, 3, 4]
    assert energies(documents) == [530.0, 531.0, 532.0, 533.0]
    i0 = [event["data"][Key.I0] for event in documents.events()]
    assert min(i0) > 0.95 * max(i0)


def test_a_motor_that_does_not_move_ends_the_run_with_its_pv_and_positions(session, documents):
    watch = Watch(session, documents, partial(switch, "FreezeMotor", "Mono:Energy"), after=3, delay=0.0)
    line = watch.run(xas(session.endstation, "530:545:1", 100.0, sample=SAMPLE))
    assert re.fullmatch(
        r"the plan failed: energy: SIM:Mono:Energy\.RBV is 53\d\.\d+, expected 53\d ± 0\.02 eV within 2\.\d+ s", line
    )
    assert watch.seconds < 20
    assert documents.stop["exit_status"] == "fail"
    assert "SIM:Mono:Energy.RBV" in documents.stop["reason"]
    assert 3 <= len(documents.events()) <= 5
    assert session.endstation.shutter.state.get() == "closed"
    assert_nothing_lost(session, documents)


def test_a_camera_that_does_not_finish_ends_the_run_with_its_pv(session, documents):
    watch = Watch(session, documents, partial(switch, "HangCamera", "On"), after=2, delay=0.0)
    line = watch.run(rixs_map(session.endstation, "530:535:1", 1.0, sample=SAMPLE, dark_frames=0))
    assert re.fullmatch(r"the plan failed: ccd: SIM:CCD:cam1:Acquire\S* is \S+, expected .* within 3 s.*", line)
    assert watch.seconds < 20
    assert documents.stop["exit_status"] == "fail"
    assert len(documents.frames("primary", Key.CCD_IMAGE)) == len(documents.events()) >= 2
    assert_nothing_lost(session, documents)


def test_a_file_writer_that_stalls_ends_the_run_with_its_pv_and_file(session, documents):
    watch = Watch(session, documents, partial(switch, "StallWriter", "On"), after=2, delay=0.0)
    line = watch.run(rixs_map(session.endstation, "530:535:1", 1.0, sample=SAMPLE, dark_frames=0))
    assert re.fullmatch(
        r"the plan failed: ccd: SIM:CCD:HDF1:NumCaptured_RBV is \d, expected \d in .*\.h5 within 2 s", line
    )
    assert watch.seconds < 20
    assert documents.stop["exit_status"] == "fail"
    assert len(documents.frames("primary", Key.CCD_IMAGE)) == len(documents.events()) >= 2
    assert_nothing_lost(session, documents)


def test_an_i0_that_is_not_a_number_is_marked_and_taken_again_when_asked(session, documents):
    session.endstation.feedback.patience_at_start = 1.0  # s: nothing reduces here, and the marks are enough

    def nan_once():
        switch("NanI0", "On")
        while not any(np.isnan(event["data"][Key.I0]) for event in documents.events()):
            time.sleep(0.01)
        switch("NanI0", "Off")

    watch = Watch(session, documents, nan_once, after=2, delay=0.0)
    plan = rixs_map(session.endstation, "528:533:1", 300.0, sample=SAMPLE, dark_frames=0, retake="at_end")
    watch.run(plan)
    assert documents.stop["exit_status"] == "success"
    i0 = np.array([event["data"][Key.I0] for event in documents.events()])
    setpoints = np.array([event["data"][Key.ENERGY_SETPOINT] for event in documents.events()])
    lost = np.isnan(i0)
    assert 1 <= lost.sum() <= 2
    assert len(i0) == 6 + lost.sum()
    assert sorted(setpoints[6:]) == sorted(setpoints[lost])
    derived = collect(reduce_documents(recorded(session, documents), {}))
    marks = dict(zip(derived.result["marked_frames"], derived.result["marks"], strict=True))
    assert {number: marks[number] for number in np.flatnonzero(lost) + 1} == dict.fromkeys(
        np.flatnonzero(lost) + 1, "I0 lost: not recorded; SIM:Scaler.S2 is nan"
    )
    assert np.isfinite(derived.result["excitation_energy"]).all()
    assert len(derived.result["excitation_energy"]) == 6


def test_a_plan_beyond_a_soft_limit_is_refused_before_anything_moves(session, documents):
    epics.caput("SIM:STXM:ZonePlate.HLM", 3100.0, wait=True)
    try:
        time.sleep(0.2)
        with pytest.raises(BeamlineError) as error:
            measure(session, stxm_image(session.endstation, 540.0, "x=-1:1:0.5 y=0:0.4:0.1", 0.001))
    finally:
        epics.caput("SIM:STXM:ZonePlate.HLM", 6000.0, wait=True)
    assert str(error.value) == "zone_plate: 3135.88 um is outside its limits 500 to 3100 um"
    assert documents.all == []
    with pytest.raises(BeamlineError, match="energy: 199 eV is outside its limits 200 to 1500 eV"):
        measure(session, xas(session.endstation, "199:205:1", 1.0))
    assert documents.all == []


def test_a_soft_limit_that_changes_in_mid_scan_ends_the_run(session, documents):
    watch = Watch(session, documents, partial(epics.caput, "SIM:Mono:Energy.HLM", 533.5, wait=True), after=2, delay=0.0)
    try:
        line = watch.run(xas(session.endstation, "530:545:1", 300.0, sample=SAMPLE))
    finally:
        epics.caput("SIM:Mono:Energy.HLM", 1500.0, wait=True)
    assert line == "the plan failed: energy: 534 eV is outside its limits 200 to 533.5 eV"
    assert documents.stop["exit_status"] == "fail"
    assert len(documents.events()) == 4
    assert_nothing_lost(session, documents)


def test_a_run_waits_for_an_ioc_that_is_killed_and_started_again(session, documents, ioc):
    def restart():
        ioc.kill()
        time.sleep(1.0)
        ioc.start()

    watch = Watch(session, documents, restart, after=3, delay=0.05)
    watch.run(xas(session.endstation, "530:540:1", 300.0, sample=SAMPLE))
    assert "disconnected; waits until it is " in watch.line
    assert watch.seconds < 20
    assert numbers(documents) == list(range(1, 12))
    assert energies(documents) == [530.0 + number for number in range(11)]
    assert documents.stop["exit_status"] == "success"
    i0 = [event["data"][Key.I0] for event in documents.events()]
    assert min(i0) > 0.95 * max(i0)
    assert_nothing_lost(session, documents)


def test_an_ioc_that_is_gone_ends_the_run_where_nothing_waits_for_it(config, tmp_path, ioc):
    session = Session(config.model_copy(update={"suspenders": None}), tmp_path)
    documents = Documents(session.RE)
    watch = Watch(session, documents, ioc.kill, after=3, delay=0.05)
    try:
        line = watch.run(xas(session.endstation, "530:560:1", 300.0, sample=SAMPLE))
        assert re.fullmatch(r"the plan failed: \S+: SIM:\S+ .*, expected it to answer(; then \S+: SIM:\S+ .*)?", line)
        assert watch.seconds < 60
        assert documents.stop["exit_status"] == "fail"
        assert documents.stop["reason"].endswith(", expected it to answer")
        assert numbers(documents) == list(range(1, len(documents.events()) + 1))
        assert_nothing_lost(session, documents)
    finally:
        session.close()
        ioc.start()
    again = Session(config, tmp_path / "again")
    try:
        measure(again, xas(again.endstation, "530:533:1", 10.0, sample=SAMPLE))
    finally:
        again.close()


def test_a_run_waits_when_its_connections_are_cut(session, documents):
    watch = Watch(session, documents, cut, after=3, delay=0.05)
    watch.run(xas(session.endstation, "530:540:1", 300.0, sample=SAMPLE))
    assert "disconnected" in watch.line
    assert numbers(documents) == list(range(1, 12))
    assert energies(documents) == [530.0 + number for number in range(11)]
    assert documents.stop["exit_status"] == "success"
    assert_nothing_lost(session, documents)


def test_a_wait_whose_connection_is_lost_as_it_subscribes_asks_until_it_is_back(session, monkeypatch):
    def lost(chid, *_args, **_kwargs):  # as pyepics does where the connection is lost and it has not been told so yet
        raise epics.ca.ChannelAccessException(f"create_subscription() timed out waiting '{chid}' to connect")

    monkeypatch.setattr(epics.ca, "create_subscription", lost)
    asked = []
    signal = session.endstation.energy.undulator.readback
    value = wait_for(signal, lambda seen: asked.append(seen) or len(asked) == 3, timeout=5.0, wanted="a gap")
    assert [value] == asked[-1:]


def test_a_map_ends_when_the_ioc_of_its_camera_is_started_anew_and_keeps_its_frames(session, documents, ioc):
    def restart():
        ioc.kill()
        time.sleep(1.0)
        ioc.start()

    watch = Watch(session, documents, restart, after=2, delay=0.2)
    line = watch.run(rixs_map(session.endstation, "530:535:1", 600.0, sample=SAMPLE, dark_frames=0))
    assert line.startswith("the plan failed: ccd: ")
    assert line.endswith(" is no longer the file being written")
    assert documents.stop["exit_status"] == "fail"
    assert numbers(documents) == [1, 2]
    assert len(documents.frames("primary", Key.CCD_IMAGE)) == 2
    assert_nothing_lost(session, documents)
