"""A spectrum in flight against one in steps: the same within noise, on the same scale, in a fifth of the time."""

import os
import signal
import subprocess
import threading
import time

import numpy as np
import pytest

from beamline.acquire.session import Session, measure
from beamline.operations.continuing import what_is_missing
from beamline.operations.demonstrate.techniques import simulated
from beamline.operations.recover import recover
from beamline.operations.replay import reduce_documents, replay
from beamline.operations.report import write_report
from beamline.operations.runs import summary_lines, summary_of, summary_warnings
from beamline.storage.layout import REDUCTION
from beamline.storage.results import collect
from beamline.storage.runs import Runs
from callbacks.contract import CONTINUES, Stream, XasResult
from plans import PLANS, xas
from plans.continued import continued
from simulated_devices.physics.samples import SAMPLES
from simulated_devices.world.endstation import I0_RATE, TEY_RATE

pytestmark = pytest.mark.long

SAMPLE = "LRNMC 311 mAh/g"


def taken(folder, seed, regions, dwell, *, speed_up=1000.0, readback_lag=None, **options):
    """Measure with the sample in the beam; give run, result, simulated time (s) and the world."""
    config = simulated(seed)
    config.endstation.shared.options.update({"speed_up": speed_up, "monitor_oxygen": 0.0})  # I0 without structure
    with Session(config, folder, in_process=True, followers=[REDUCTION]) as session:
        endstation = session.endstation
        world = endstation.energy.world
        world.readback_lag = world.readback_lag if readback_lag is None else readback_lag
        endstation.sample.set(SAMPLE).wait(60)
        endstation.energy.set(float(regions.partition(":")[0])).wait(60)
        begin = world.clock.now()
        uid = measure(session, xas(endstation, regions, dwell, edge="O K", sample=SAMPLE, **options))
        passed = world.clock.now() - begin
        assert session.drain() == ""
    runs = Runs(folder)
    return uid, runs.load_with_derived(uid)[1].read(XasResult), passed, world


@pytest.mark.parametrize("regions", ["520:560:0.2", "520:526:0.5, 526:536:0.1, 536:546:0.5"])
def test_a_flight_equals_steps_within_noise(tmp_path, regions):
    _, steps, _, _ = taken(tmp_path / "steps", 3, regions, 0.2)
    _, flight, _, world = taken(tmp_path / "flight", 4, regions, 0.2, mode="fly")
    assert len(steps.xas_energy) == len(flight.xas_energy)
    np.testing.assert_allclose(flight.exposure, 0.2, rtol=0.15)  # the velocity swings
    assert flight.exposure.sum() == pytest.approx(0.2 * len(flight.exposure), rel=0.005)
    assert abs(flight.lag - world.readback_lag) < 4 * flight.lag_sigma
    for name in ("tey", "tfy"):
        one, other = steps.spectra[name], flight.spectra[name]
        assert one.status == other.status == "ok"
        sigma = np.hypot(one.over_i0_spectrum_sigma, other.over_i0_spectrum_sigma)
        pulls = (one.over_i0_spectrum - other.over_i0_spectrum) / sigma
        spread = np.sqrt(2 / len(pulls))
        assert np.mean(pulls**2) == pytest.approx(1.0, abs=4 * spread)
        assert abs(pulls.mean()) < 4 / np.sqrt(len(pulls))


def test_a_flight_takes_a_fifth_of_the_time_of_steps_of_a_fifth_of_a_second(tmp_path):
    # A clock that runs faster lets what is asked for together, as counting of several devices, follow one another.
    stepped, flown = (
        taken(tmp_path / mode, 3, "520:560:0.2", 0.2, speed_up=20.0, mode=mode)[2] for mode in ("step", "fly")
    )
    assert stepped / flown > 5
    assert flown < 201 * 0.2 + 2


def off_the_truth(result, offset):
    """By how much a spectrum of TEY is displaced, eV, from what the sample has, averaged over the steps of 0.1 eV."""

    def true(energy):
        within = energy[:, None] + 0.1 * (np.arange(9) - 4) / 9
        return TEY_RATE / I0_RATE * SAMPLES[SAMPLE].absorption(within + offset).mean(axis=1)

    energy, spectrum = result.asked_energy, result.spectra["tey"]
    slope = (true(energy + 0.01) - true(energy - 0.01)) / 0.02
    columns = np.column_stack([true(energy), slope]) / spectrum.over_i0_spectrum_sigma[:, None]
    (_, shift), *_ = np.linalg.lstsq(columns, spectrum.over_i0_spectrum / spectrum.over_i0_spectrum_sigma)
    return -shift, np.sqrt(np.linalg.inv(columns.T @ columns)[1, 1])


@pytest.mark.parametrize(("sweeps", "lag"), [(2, None), (3, 0.05)])
def test_its_energy_scale_is_right_to_5_mev(tmp_path, sweeps, lag):
    _, result, _, world = taken(tmp_path, 11, "525:545:0.1", 4.0, readback_lag=lag, mode="fly", sweeps=sweeps)
    shift, sigma = off_the_truth(result, world.truth.energy_offset)
    assert sigma < 0.002
    assert abs(shift) < 0.005


def test_without_a_way_back_the_lag_is_not_known_and_that_is_said_unless_it_is_configured(tmp_path):
    uid, result, _, world = taken(tmp_path, 7, "525:545:0.1", 1.0, mode="fly", sweeps=1)
    assert result.lag_status == "flown in one direction only: sweep up and down, or configure the lag"
    runs = Runs(tmp_path)
    summary = summary_of(runs, uid)
    assert ("lag", "none, taken as 0") in summary_lines(summary)
    assert "one direction only" in summary_warnings(summary)[0]
    shift, sigma = off_the_truth(result, world.truth.energy_offset)
    # Each energy that is read is that of some time before: lower, on the way up. 0.1 eV/s.
    assert shift == pytest.approx(-0.1 * world.readback_lag, abs=4 * sigma)
    documents = list(runs.own_documents(runs.find(uid)))
    configured = XasResult.read(collect(reduce_documents(documents, {"xas": {"lag": world.readback_lag}})).result)
    assert (configured.lag, configured.lag_status) == (world.readback_lag, "configured")
    shift, sigma = off_the_truth(configured, world.truth.energy_offset)
    assert abs(shift) < 4 * sigma < 0.005


def test_a_flight_is_replayed_reported_and_its_lag_is_shown(tmp_path):
    uid, result, _, _ = taken(tmp_path, 5, "520:528:0.5@0.6, 528:545:0.1", 0.3, mode="fly", sweeps=4)
    runs = Runs(tmp_path)
    assert replay(runs, uid, config=None, source="log", keep=False)["equal"]
    summary = summary_of(runs, uid)
    assert summary["problems"] == []
    shown = f"{1e3 * result.lag:.2f} ± {1e3 * result.lag_sigma:.2f} ms, found in tey"
    assert ("lag", shown) in summary_lines(summary)
    page = write_report(runs, uid, tmp_path / "report.html").read_text()
    assert "Incident flux in each sweep" in page
    raw, derived = runs.load_with_derived(uid)
    assert len(raw.streams["primary"]) == 8
    points = derived.streams["points"]
    assert len(points) == 4 * (17 + 170)
    assert sorted(set(points["sweep"])) == list(range(1, 9))
    # The derived run can be read by itself: its points add up to the result.
    for energy in (520.0, 530.0):
        of_it = points["energy_setpoint"] == energy
        counted = points["tey"][of_it].sum() / points["i0"][of_it].sum()
        place = np.argmin(np.abs(result.xas_energy - energy))
        assert counted == pytest.approx(result.spectra["tey"].over_i0_spectrum[place])


def test_a_flight_that_was_aborted_in_a_sweep_is_continued_with_each_sweep_once(tmp_path):
    with Session(simulated(9), tmp_path, in_process=True, followers=[REDUCTION]) as session:
        seen, asked = [], []

        def abort_in_third(name, doc):
            if name == "descriptor" and doc["name"] == Stream.PRIMARY:
                seen.append(doc["uid"])
            if name == "event" and doc["descriptor"] in seen and doc["seq_num"] == 2 and not asked:
                asked.append(True)
                threading.Thread(target=lambda: (time.sleep(0.2), session.RE.request_pause(False))).start()

        session.RE.subscribe(abort_in_third)
        options = {"mode": "fly", "sweeps": 4, "edge": "O K", "sample": SAMPLE}
        first = measure(session, xas(session.endstation, "525:545:0.1", 10.0, **options))  # 0.5 s on the wall each
        runs = Runs(tmp_path)
        assert len(runs.load(runs.find(first)).streams[Stream.PRIMARY]) == 2
        missing = what_is_missing(runs, first)
        rest = continued(PLANS[missing.plan].function(session.endstation, **missing.parameters), missing.done)
        last = measure(session, rest)
        assert session.drain() == ""
    raw, derived = runs.load_with_derived(last)
    assert raw.start[CONTINUES]["points"] == 2
    assert len(raw.streams[Stream.PRIMARY]) == len(derived.frames) == raw.measurement.points == 4
    ends = raw.streams[Stream.PRIMARY]["sweep_energies"]
    assert (ends[:, -1] > ends[:, 0]).tolist() == [True, False, True, False]
    result = derived.read(XasResult)
    assert result.exposure.sum() == pytest.approx(201 * 10.0, rel=0.001)
    assert result.lag_status == "ok"
    assert replay(runs, last, config=None, source="log", keep=False)["equal"]


def test_whole_sweeps_outlive_a_process_that_is_killed_in_one(tmp_path):
    command = ["beamline", "run", "xas", "--data-dir", str(tmp_path), "--mode", "fly", "--sweeps", "8"]
    command += ["--regions", "525:545:0.1", "--dwell", "40", "--edge", "O K"]  # 1 s on the wall each
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and swept(tmp_path) < 2:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    recover(tmp_path, rebuild=False)
    runs = Runs(tmp_path)
    raw, derived = runs.load_with_derived("-1")
    whole = len(raw.streams[Stream.PRIMARY])
    assert 2 <= whole < 8
    for key in ("sweep_i0", "sweep_tey", "sweep_energies"):
        assert np.isfinite(raw.streams[Stream.PRIMARY][key]).all()
    result = derived.read(XasResult)
    assert result.exposure.sum() == pytest.approx(201 * 40.0 * whole / 8, rel=0.001)
    assert f"{whole} of 8 sweeps measured" in summary_of(runs, "-1")["problems"]


def swept(data):
    """Count the sweeps in the log of the newest run."""
    runs = Runs(data)
    entries = runs.raw() if data.exists() else []
    return len(runs.load(entries[-1]).streams.get(Stream.PRIMARY, ())) if entries else 0
