"""Plans on the soft twins of the simulated endstation, in a real RunEngine: frames, interruptions, baseline."""

import threading
import time

import numpy as np
import pytest
from bluesky import SupplementalData
from bluesky.utils import RunEngineInterrupted

from beamline.endstation.build import build_endstation
from beamline.endstation.config import load_config
from callbacks.contract import MEASUREMENT, Key, Measurement
from plans.live_view import live_view
from plans.rixs import elastic_scan, rixs_map
from plans.stxm import stxm_stack
from plans.xas import xas

SAMPLE = "LRNMC pristine"


@pytest.fixture
def twins(tmp_path):
    return build_endstation(load_config(), frames_dir=tmp_path / "frames")


def energies(documents):
    return [event["data"][Key.ENERGY_SETPOINT] for event in documents.events("primary")]


def assert_all_closed(twins, documents, exit_status):
    assert [stop["exit_status"] for stop in documents.of("stop")] == [exit_status]
    assert twins.shutter.state.get() == "closed"
    assert twins.ccd._file is None  # noqa: SLF001 - nothing public tells whether a file is open
    assert twins.ccd_dark._file is None  # noqa: SLF001


@pytest.mark.long
def test_a_map_has_dark_frames_without_light_and_frames_with_it(engine, documents, twins):
    engine(rixs_map(twins, "528:530:1", 300.0, sample=SAMPLE, frames_per_energy=2))
    assert energies(documents) == [528.0, 528.0, 529.0, 529.0, 530.0, 530.0]
    darks = documents.frames("dark", Key.CCD_DARK_IMAGE)
    lights = documents.frames("primary", Key.CCD_IMAGE)
    assert (len(darks), len(lights)) == (3, 6)
    lit = [np.count_nonzero(frame > np.median(frame) + 50) for frame in (*darks, *lights)]  # a photon: 111 counts
    assert max(lit[:3]) < 100 < 0.1 * min(lit[3:])  # in the dark, cosmic rays
    assert {event["data"][Key.EXPOSURE_TIME] for event in documents.of("event")} == {300.0}
    assert_all_closed(twins, documents, "success")


def test_event_times_run_with_the_simulated_clock(engine, documents, twins):
    engine(rixs_map(twins, "528:530:1", 300.0, dark_frames=0))
    taken = [event["timestamps"][Key.CCD_IMAGE] for event in documents.events("primary")]
    assert np.diff(taken) == pytest.approx([301.0, 301.0], abs=2.0)  # and the monochromator's moving


def test_old_dark_frames_are_renewed_by_the_simulated_clock(engine, documents, twins):
    engine(rixs_map(twins, "528:533:1", 300.0, dark_frames=1, dark_ttl=800.0))
    assert len(documents.events("dark")) == 2


def test_spectrum_elastic_scan_and_live_views_run(engine, documents, twins):
    engine(xas(twins, "526:528:1, 528:528.4:0.2@0.5", sample=SAMPLE))
    assert energies(documents) == [526.0, 527.0, 528.0, 528.2, 528.4]
    engine(elastic_scan(twins, "518, 520, 522, 524", 60.0, dark_frames=1, sample="carbon"))
    engine(live_view(twins, "scaler", 0.1, frames=2))
    engine(live_view(twins, "ccd", 0.1, frames=2))
    assert [stop["exit_status"] for stop in documents.of("stop")] == ["success"] * 4


def test_the_baseline_sees_the_sample_at_start_and_end(engine, documents, twins):
    baseline = [getattr(twins, name) for name, device in load_config().devices.items() if device.baseline]
    engine.preprocessors.append(SupplementalData(baseline=baseline))
    engine(rixs_map(twins, "528", 10.0, sample="carbon", dark_frames=1))
    events = [event["data"] for event in documents.events("baseline")]
    assert [event["sample"] for event in events] == ["carbon", "carbon"]
    assert [event["shutter"] for event in events] == ["closed", "open"]
    assert {"exit_slit", "spectrograph_energy", Key.RING_CURRENT, "front_end_shutter", Key.ENERGY} < events[0].keys()


def pause_while(engine, documents, count, delay=0.1):
    """Ask for a pause `delay` s after the `count`-th frame, while the next one is exposed."""

    def pause():
        time.sleep(delay)
        engine.request_pause(defer=False)

    def watch(name, _doc):
        if name == "event" and len(documents.events("primary")) == count and not asked:
            asked.append(True)
            threading.Thread(target=pause).start()

    asked = []
    engine.subscribe(watch)


def test_resume_takes_the_interrupted_frame_again_and_no_other(engine, documents, twins):
    pause_while(engine, documents, 2)
    with pytest.raises(RunEngineInterrupted):
        engine(rixs_map(twins, "528:531:1", 300.0, dark_frames=1))
    assert energies(documents) == [528.0, 529.0]
    engine.resume()
    assert energies(documents) == [528.0, 529.0, 530.0, 531.0]
    assert [event["seq_num"] for event in documents.events("primary")] == [1, 2, 3, 4]
    light = documents.frames("primary", Key.CCD_IMAGE)
    assert all(not np.array_equal(light[0], other) for other in light[1:])
    assert_all_closed(twins, documents, "success")


@pytest.mark.long
@pytest.mark.parametrize(("end", "exit_status"), [("abort", "abort"), ("stop", "success")])
def test_an_ended_pause_leaves_run_shutter_and_files_closed(engine, documents, twins, end, exit_status):
    pause_while(engine, documents, 2)
    with pytest.raises(RunEngineInterrupted):
        engine(rixs_map(twins, "528:531:1", 300.0, dark_frames=1))
    getattr(engine, end)()
    assert energies(documents) == [528.0, 529.0]
    assert len(documents.frames("primary", Key.CCD_IMAGE)) == 2
    assert_all_closed(twins, documents, exit_status)


def test_resume_while_the_monochromator_moves_measures_at_the_right_energy(engine, documents, twins):
    twins.energy.speed = 0.005  # eV/s: 1 eV in 0.2 s on the wall clock
    pause_while(engine, documents, 1, delay=0.05)
    with pytest.raises(RunEngineInterrupted):
        engine(xas(twins, "528:531:1"))
    engine.resume()
    readback = [event["data"][Key.ENERGY] for event in documents.events("primary")]
    assert readback == pytest.approx([528.0, 529.0, 530.0, 531.0], abs=0.02)
    assert_all_closed(twins, documents, "success")


def test_a_stack_interrupted_in_a_line_has_each_line_once_dark_and_in_focus(engine, documents, twins):
    pause_while(engine, documents, 4, delay=0.01)
    with pytest.raises(RunEngineInterrupted):
        engine(stxm_stack(twins, "528:530:1", "x=-1:0.9:0.1 y=0:0.2:0.1", 1.0, dark_lines=2))
    twins.scanner.y.set(1.0).wait(60)
    twins.shutter.set("closed").wait(60)
    engine.resume()
    events = documents.events("primary")
    grid = Measurement.model_validate(documents.of("start")[0][MEASUREMENT]).grid
    assert [event["seq_num"] for event in events] == list(range(1, 10))
    for event in events:
        energy, _, row = grid.place(event["seq_num"])
        assert event["data"][Key.ENERGY_SETPOINT] == grid.energies[energy]
        assert event["data"][Key.ZONE_PLATE] == pytest.approx(twins.zone_plate.focus(grid.energies[energy]), abs=1.0)
        assert np.asarray(event["data"][Key.STXM_X]) == pytest.approx(np.linspace(-1.0, 0.9, 20), abs=0.05)
        assert np.asarray(event["data"][Key.STXM_Y]) == pytest.approx(np.full(20, 0.1 * row), abs=0.05)
        assert np.asarray(event["data"][Key.STXM_DWELL]) == pytest.approx(np.full(20, 1.0), rel=0.05)
    dark = np.mean([event["data"][Key.STXM_COUNTS] for event in documents.events("dark")])
    light = [np.mean(event["data"][Key.STXM_COUNTS]) for event in events]
    assert len(documents.events("dark")) == 2
    assert min(light) > 10 * dark
    assert [stop["exit_status"] for stop in documents.of("stop")] == ["success"]
    assert twins.shutter.state.get() == "closed"
