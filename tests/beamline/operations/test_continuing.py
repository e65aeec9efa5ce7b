"""A run that was interrupted is continued: each point once, and reduced, replayed and exported as one measurement."""

import math
import os
import signal
import subprocess
import threading
import time

import h5py
import numpy as np
import pytest

from beamline.acquire.session import Session, measure, measure_all
from beamline.endstation.config import Suspenders, load_config
from beamline.errors import BeamlineError
from beamline.operations.analyse import analyse_runs
from beamline.operations.continuing import what_is_missing
from beamline.operations.demonstrate.techniques import simulated
from beamline.operations.exporting import export
from beamline.operations.recover import recover
from beamline.operations.replay import replay
from beamline.operations.report import write_report
from beamline.operations.runs import list_runs, summary_of
from beamline.storage.layout import REDUCTION, Layout
from beamline.storage.runs import Runs
from callbacks.contract import CONTINUES, SERIES, RixsResult, Stream, StxmResult, XasResult
from plans import PLANS, elastic_scan, rixs_map, stack_series, stxm_stack, xas
from plans.continued import continued

pytestmark = pytest.mark.long

SAMPLE = {"sample": "LRNMC 311 mAh/g", "edge": "O K"}
MADE = {
    "xas": lambda endstation: xas(endstation, "520:526:1, 526:550:0.5", 1.0, **SAMPLE),
    "rixs": lambda endstation: rixs_map(
        endstation, "526:534:1", 300.0, order="random", frames_per_energy=2, dark_frames=1, **SAMPLE
    ),
    "stxm": lambda endstation: stxm_stack(
        endstation, "526:530:1, 540:550:10", "x=-2.4:2.4:0.15 y=-2.4:2.4:0.15", 0.002, **SAMPLE
    ),
}
STOP_AFTER = {"xas": 20, "rixs": 7, "stxm": 80}  # in mid-image


def interrupted(session, plan, points):
    """Measure a plan and abort it when so many of its points are there."""
    seen = []

    def count(name, doc):
        if name == "descriptor" and doc["name"] == Stream.PRIMARY:
            seen.append(doc["uid"])
        if name == "event" and doc["descriptor"] in seen:
            seen.append(doc["seq_num"])
            if len([each for each in seen if isinstance(each, int)]) == points:
                threading.Thread(target=session.RE.request_pause, args=(True,)).start()  # not from its own loop

    token = session.RE.subscribe(count)
    uids = measure_all(session, plan)
    session.RE.unsubscribe(token)
    return uids[-1]


def rest_of(session, missing):
    return continued(PLANS[missing.plan].function(session.endstation, **missing.parameters), missing.done)


def go_on(session, runs, uid):
    missing = what_is_missing(runs, uid)
    return measure_all(session, rest_of(session, missing))


@pytest.fixture(params=MADE)
def both(request, tmp_path):
    """A measurement that was aborted twice and continued twice, and one that was not interrupted."""
    with Session(simulated(3), tmp_path, in_process=True, followers=[REDUCTION]) as session:
        runs, plan = Runs(tmp_path), MADE[request.param]
        first = interrupted(session, plan(session.endstation), STOP_AFTER[request.param])
        missing = what_is_missing(runs, first)
        again = rest_of(session, missing)
        second = interrupted(session, again, 3)
        (third,) = go_on(session, runs, first)  # the newest part is found by any of them
        whole = measure(session, plan(session.endstation))
        assert session.drain() == ""
    return request.param, runs, (first, second, third), whole


RESULTS = {"xas": XasResult, "rixs": RixsResult, "stxm": StxmResult}


def test_each_point_is_measured_once_and_all_are_one_measurement(both, tmp_path):
    kind, runs, parts, whole = both
    raw, derived = runs.load_with_derived(parts[-1])
    other, reduced = runs.load_with_derived(whole)
    assert raw.start[CONTINUES]["uids"] == list(parts[:2])
    assert derived.derivation.raw_uids == list(parts)
    primary, all_at_once = raw.streams[Stream.PRIMARY], other.streams[Stream.PRIMARY]
    assert len(primary) == len(all_at_once) == raw.measurement.points
    np.testing.assert_array_equal(primary["energy_setpoint"], all_at_once["energy_setpoint"])
    np.testing.assert_array_equal(derived.frames["frame"], np.arange(1, len(primary) + 1))
    own = [len([1 for name, doc in runs.own_documents(runs.find(uid)) if name == "event"]) for uid in parts]
    assert all(own)
    if kind == "stxm":
        np.testing.assert_allclose(primary["stxm_y"].mean(axis=1), all_at_once["stxm_y"].mean(axis=1), atol=0.02)
    assert summary_of(runs, parts[-1])["problems"] == []
    result, expected = (each.read(RESULTS[kind]) for each in (derived, reduced))
    if kind == "xas":
        one, other = (each.spectra["tey"] for each in (result, expected))
        left = (one.normalised - other.normalised) / np.hypot(one.sigma, other.sigma)
        assert 0.5 < np.nanstd(left) < 1.5
    elif kind == "rixs":
        np.testing.assert_allclose(result.excitation_energy, expected.excitation_energy, atol=0.02)
        left = (result.map - expected.map) / np.sqrt(result.map_variance + expected.map_variance)
        assert 0.6 < np.nanstd(left) < 1.2  # less than 1: what the variance holds for the readout, neighbours share
        rows, variances = (np.nansum(each, axis=2) for each in _pairs(result, expected, "map", "map_variance"))
        assert 0.4 < np.std((rows[0] - rows[1]) / np.sqrt(variances.sum(axis=0))) < 1.6
    else:
        np.testing.assert_allclose(result.stack_energy, expected.stack_energy, atol=0.02)
        density, sigma = _pairs(result, expected, "optical_density", "optical_density_sigma")
        assert np.isfinite(density).all(axis=(0, 1)).mean() > 0.7
        left = (density[0] - density[1]) / np.hypot(*sigma)
        # As two that were not interrupted: at edges of grains a pixel is not measured at the same place twice.
        assert np.nanmedian(np.abs(left)) / 0.6745 < 2
        assert np.abs(np.nanmean(density[0] - density[1], axis=(1, 2))).max() < 0.01
    assert replay(runs, parts[-1], config=None, source="log", keep=False)["equal"]
    (path,) = export(runs, parts[-1], "nexus", tmp_path / "run.nxs")
    with h5py.File(path) as file:
        assert len(file["entry/raw_primary/energy_setpoint"]) == len(primary)
    with pytest.raises(BeamlineError, match="lacks nothing: all its points were measured"):
        what_is_missing(runs, parts[0])
    page = write_report(runs, parts[-1], tmp_path / "report.html").read_text()
    assert f"run {parts[0]}: points 1 to {STOP_AFTER[kind]}" in page
    assert f"run {parts[2]}: points {raw.start[CONTINUES]['points'] + 1} to {len(primary)}" in page
    assert [each["continued_by"] for each in list_runs(runs, last=4)] == ["", "", parts[2], parts[2]]
    with pytest.raises(BeamlineError, match="and holds it: name the first alone"):
        analyse_runs([parts[0], parts[2]], config=None, data_dir=tmp_path, output=tmp_path / "pooled.html")


SMALL = {
    "xas": lambda endstation: xas(endstation, "528:540:1", 1.0, **SAMPLE),
    "rixs": lambda endstation: rixs_map(endstation, "528:531:1", 300.0, frames_per_energy=2, dark_frames=2, **SAMPLE),
    "stxm": lambda endstation: stxm_stack(endstation, "528:530:1", "x=-1:1:0.25 y=-1:1:0.25", 0.001, **SAMPLE),
}


@pytest.mark.parametrize("kind", SMALL)
def test_points_are_taken_again_in_their_places_also_of_a_complete_run(kind, tmp_path):
    with Session(simulated(3), tmp_path, in_process=True, followers=[REDUCTION]) as session:
        runs = Runs(tmp_path)
        plan = SMALL[kind](session.endstation)
        first = measure(session, plan)
        assert session.drain() == ""
        before = runs.load(runs.find(first)).streams[Stream.PRIMARY]
        last = len(before)
        missing = what_is_missing(runs, first, again=f"2,5-6,{last}")
        plan = rest_of(session, missing)
        second = interrupted(session, plan, 2)  # of four
        (third,) = measure_all(session, rest_of(session, what_is_missing(runs, first, again="1,5")))
        assert session.drain() == ""
    for uid, new in ((second, [2, 5]), (third, [1, 2, 5])):
        raw, derived = runs.load_with_derived(uid)
        after = raw.streams[Stream.PRIMARY]
        np.testing.assert_array_equal(derived.frames["frame"], np.arange(1, last + 1))
        assert [number for number in range(1, last + 1) if after.time[number - 1] > before.time[-1]] == new
        np.testing.assert_array_equal(after["energy_setpoint"], before["energy_setpoint"])
        if kind == "stxm":
            rows = [each["stxm_y"].mean(axis=1) for each in (before, after)]
            np.testing.assert_allclose(*rows, atol=0.02)
        assert raw.start[CONTINUES]["again"] == ([2, 5, 6, last] if uid == second else [1, 5])
        assert replay(runs, uid, config=None, source="log", keep=False)["equal"]
        assert summary_of(runs, uid)["problems"] == []
    own = [doc for name, doc in runs.own_documents(runs.find(third)) if name in ("descriptor", "event")]
    streams = {doc["uid"]: doc["name"] for doc in own if "seq_num" not in doc}
    scanned = [streams[doc["descriptor"]] for doc in own if "seq_num" in doc]
    assert scanned.count("dark") == (4 if kind == "rixs" else scanned.count("dark"))  # before each of two
    page = write_report(runs, third, tmp_path / "report.html").read_text()
    assert f"run {first}: points 1 to {last}" in page
    assert f"run {third}: 1, 5 again" in page


def test_what_is_to_be_taken_again_is_what_the_reduction_marks(tmp_path):
    with Session(simulated(3), tmp_path, in_process=True, followers=[REDUCTION]) as session:
        runs, scaler = Runs(tmp_path), session.endstation.scaler
        read, counted = scaler.read, []

        def without_light_once():
            counted.append(read())
            reading = dict(counted[-1])
            if len(counted) == 4:
                reading["i0"] = {**reading["i0"], "value": 0.3 * reading["i0"]["value"]}
            return reading

        scaler.read = without_light_once
        first = measure(session, xas(session.endstation, "528:540:1", 1.0, **SAMPLE))
        assert session.drain() == ""
        with pytest.raises(BeamlineError, match="lacks nothing"):
            what_is_missing(runs, first)
        with pytest.raises(BeamlineError, match="has no point 14, expected 1 to 13"):
            what_is_missing(runs, first, again="3-14")
        with pytest.raises(BeamlineError, match="'bad' is neither 'marked' nor numbers of points, as in 3,7-9"):
            what_is_missing(runs, first, again="bad")
        (second,) = measure_all(session, rest_of(session, what_is_missing(runs, first, again="marked")))
        assert session.drain() == ""
        with pytest.raises(BeamlineError, match="its reduction marks no point; name those to take again"):
            what_is_missing(runs, second, again="marked")
    assert len(counted) == 13 + 1
    marked = [list(runs.load_with_derived(uid)[1].result["marked_frames"]) for uid in (first, second)]
    assert marked == [[4], []]


def test_a_spectrum_of_two_polarisations_is_continued_where_it_was(tmp_path):
    with Session(simulated(3), tmp_path, in_process=True, followers=[REDUCTION]) as session:
        runs = Runs(tmp_path)

        def plan():
            regions = "690:702:3, 704:710:0.5, 713:740:3"
            return xas(session.endstation, regions, 1.0, sample="Fe film", edge="Fe L3", polarisation="C+,C-")

        first = interrupted(session, plan(), 15)  # between the two of an energy
        session.endstation.polarisation.set("LV").wait(60)  # as somebody else might, meanwhile
        (second,) = go_on(session, runs, first)
        whole = measure(session, plan())
        assert session.drain() == ""
    parts, at_once = (runs.load_with_derived(uid) for uid in (second, whole))
    for key in ("energy_setpoint", "polarisation"):
        np.testing.assert_array_equal(parts[0].streams[Stream.PRIMARY][key], at_once[0].streams[Stream.PRIMARY][key])
    one, other = (derived.read(XasResult).spectra["tey"] for _, derived in (parts, at_once))
    assert one.dichroism_status == other.dichroism_status == "ok"
    left = (one.dichroism - other.dichroism) / np.hypot(one.dichroism_sigma, other.dichroism_sigma)
    assert 0.5 < np.nanstd(left) < 1.5
    assert replay(runs, second, config=None, source="log", keep=False)["equal"]


def test_a_series_is_continued_with_the_runs_behind_it(tmp_path):
    config = load_config(load_config().path.with_name("simulated_operando.toml"))
    with Session(config, tmp_path, in_process=True, followers=[REDUCTION]) as session:
        runs = Runs(tmp_path)
        scan = "potentiostat=0:3:1"
        plan = xas(session.endstation, "520:526:1, 526:550:2", 1.0, edge="O K", sample="LRNMC operando", scan=scan)
        interrupted(session, plan, 19 + 4)  # amid the second of four
        assert len(runs.raw()) == 2
        uids = go_on(session, runs, "-1")
        assert len(uids) == 3
        assert session.drain() == ""
    raw = [runs.load(runs.find(uid)) for uid in uids]
    assert [run.start[SERIES]["index"] for run in raw] == [1, 2, 3]
    assert len({entry.start[SERIES]["uid"] for entry in runs.raw()}) == 1
    assert [len(run.streams[Stream.PRIMARY]) for run in raw] == [19, 19, 19]
    assert [run.streams[Stream.PRIMARY]["potentiostat_charge"][-1] for run in raw] == pytest.approx([1, 2, 3], abs=0.1)
    with pytest.raises(BeamlineError, match="lacks nothing"):
        what_is_missing(runs, "-1")


def test_dark_frames_precede_what_is_measured_and_monitors_go_on(tmp_path):
    path = load_config().path.with_name("simulated_operando.toml")
    text = path.read_text().replace("points = true", "points = true, monitor = true")
    (tmp_path / "endstation.toml").write_text(text)
    data = tmp_path / "data"
    with Session(load_config(tmp_path / "endstation.toml"), data, in_process=True, followers=[REDUCTION]) as session:
        runs = Runs(data)
        plan = rixs_map(session.endstation, "528:533:1", 300.0, order="random", frames_per_energy=2, dark_frames=2)
        interrupted(session, plan, 4)
        (uid,) = go_on(session, runs, "-1")
        assert session.drain() == ""
    own = runs.own_documents(runs.find(uid))
    streams = {doc["uid"]: doc["name"] for name, doc in own if name == "descriptor"}
    events = [streams[doc["descriptor"]] for name, doc in own if name == "event"]
    scanned = [each for each in events if each in ("dark", "primary")]
    assert scanned[:3] == ["dark", "dark", "primary"]
    assert "potentiostat_charge_monitor" in events
    raw = runs.load(runs.find(uid))
    assert raw.measurement.sample == "LRNMC pristine"
    assert len(raw.streams[Stream.PRIMARY]) == 12


def test_the_sample_that_was_there_is_moved_in_again(tmp_path):
    with Session(simulated(3), tmp_path, in_process=True, followers=[REDUCTION]) as session:
        interrupted(session, xas(session.endstation, "520:530:1", 1.0), 3)
        session.endstation.sample.set("carbon").wait(60)
        (uid,) = go_on(session, Runs(tmp_path), "-1")
        assert session.endstation.sample.read()["sample"]["value"] == "LRNMC pristine"
        assert session.drain() == ""
    assert Runs(tmp_path).load(Runs(tmp_path).find(uid)).measurement.sample == "LRNMC pristine"


def test_a_calibration_scan_is_continued_and_what_cannot_be_told_is_refused(tmp_path):
    with Session(simulated(3), tmp_path, in_process=True, followers=[REDUCTION]) as session:
        runs = Runs(tmp_path)
        interrupted(session, elastic_scan(session.endstation, "512:520:1", 300.0), 4)
        (uid,) = go_on(session, runs, "-1")
        assert len(runs.load(runs.find(uid)).streams[Stream.PRIMARY]) == 9
        interrupted(session, rixs_map(session.endstation, "526:534:1", 300.0, retake="at_once"), 3)
        with pytest.raises(BeamlineError, match="cannot be continued: frames are taken again in it"):
            what_is_missing(runs, "-1")
        assert session.drain() == ""


def test_a_series_of_which_whole_runs_are_there_is_continued(tmp_path):
    config = load_config(load_config().path.with_name("simulated_operando.toml"))
    with Session(config, tmp_path, in_process=True, followers=[REDUCTION]) as one:
        runs = Runs(tmp_path)
        plan = xas(one.endstation, "520:530:1", 1.0, scan="potentiostat=3:0:-1")
        interrupted(one, plan, 3 * 11 + 2)
        uids = go_on(one, runs, "-1")
        assert one.drain() == ""
    assert [runs.find(uid).start[SERIES]["index"] for uid in uids] == [3]
    assert len(runs.raw()) == 5


@pytest.mark.parametrize("kind", SMALL)
def test_what_a_dump_has_ended_is_continued_once_there_is_light(kind, tmp_path):
    settings = Suspenders(ring_current_low=400.0, ring_current_resume=450.0, settle_time=0.1, give_up_after=0.5)
    config = simulated(3).model_copy(update={"suspenders": settings})
    with Session(config, tmp_path, in_process=True, followers=[REDUCTION]) as session:
        runs, world, seen = Runs(tmp_path), session.endstation.energy.world, []

        def dump(name, doc):
            seen.extend([doc["uid"]] if name == "descriptor" and doc["name"] == Stream.PRIMARY else [])
            if name == "event" and doc["descriptor"] in seen and doc["seq_num"] == 3:
                world.ring.dumps.append((world.clock.now(), math.inf))

        token = session.RE.subscribe(dump)
        with pytest.raises(BeamlineError, match=r"there was no light for 0\.5 s, after which the run is ended"):
            measure_all(session, SMALL[kind](session.endstation))
        session.RE.unsubscribe(token)
        world.ring.dumps.clear()
        (uid,) = go_on(session, runs, "-1")
        assert session.drain() == ""
    raw, derived = runs.load_with_derived(uid)
    assert raw.start[CONTINUES]["points"] == 3
    np.testing.assert_array_equal(derived.frames["frame"], np.arange(1, raw.measurement.points + 1))
    assert len(raw.streams[Stream.PRIMARY]) == raw.measurement.points
    assert replay(runs, uid, config=None, source="log", keep=False)["equal"]


def test_stacks_of_several_samples_are_continued_with_those_behind(tmp_path):
    with Session(simulated(3), tmp_path, in_process=True, followers=[REDUCTION]) as session:
        runs = Runs(tmp_path)
        field = "x=-1:1:0.25 y=-1:1:0.25"
        samples = "LRNMC 131 mAh/g, LRNMC 311 mAh/g"
        plan = stack_series(session.endstation, samples, "O K=528:530:1", field, reference="carbon", dark_lines=2)
        interrupted(session, plan, 27 + 4)  # amid the second of three
        uids = go_on(session, runs, "-1")
        assert session.drain() == ""
    raw = [runs.load(runs.find(uid)) for uid in uids]
    assert [run.start[SERIES]["index"] for run in raw] == [1, 2]
    assert [run.measurement.sample for run in raw] == ["LRNMC 131 mAh/g", "LRNMC 311 mAh/g"]
    assert [len(run.streams[Stream.PRIMARY]) for run in raw] == [27, 27]
    assert len({entry.start[SERIES]["uid"] for entry in runs.raw()}) == 1


def test_what_a_killed_process_left_is_closed_and_continued(tmp_path):
    data = tmp_path / "data"
    command = ["beamline", "run", "rixs_map", "--data-dir", str(data), "--regions", "526:537:1"]
    command += ["--exposure-time", "1000", "--dark-frames", "1", "--edge", "O K"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not _frames(data) >= 3:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(BeamlineError, match="is not closed, as its process died: `beamline recover` closes it"):
        what_is_missing(Runs(data), "-1")
    recover(data, rebuild=False)
    dry = subprocess.run(
        ["beamline", "continue", "--dry-run", "--data-dir", str(data)], capture_output=True, text=True, check=True
    )
    left = int(dry.stdout.split()[0])
    done = subprocess.run(
        ["beamline", "continue", "--data-dir", str(data), "--json"], capture_output=True, text=True, check=True
    )
    assert '"exit_status": "success"' in done.stdout
    runs = Runs(data)
    raw, derived = runs.load_with_derived("-1")
    assert len(raw.streams[Stream.PRIMARY]) == len(derived.frames) == raw.measurement.points == 12
    assert raw.start[CONTINUES]["points"] == 12 - left
    assert list_runs(runs, last=1)[0]["problems"] == []
    # The ingester of the killed process may be at work still, which nobody else waits for.
    assert recover(data, rebuild=False).problems == []
    assert replay(runs, "-1", config=None, source="catalogue", keep=False)["equal"]


def _pairs(one, other, *names):
    return [np.array([getattr(one, name), getattr(other, name)]) for name in names]


def _frames(data):
    logs = Layout(data).pending_logs() if data.exists() else []
    entries = Runs(data).raw() if logs else []
    return len(Runs(data).load(entries[-1]).streams.get(Stream.PRIMARY, ())) if entries else 0
