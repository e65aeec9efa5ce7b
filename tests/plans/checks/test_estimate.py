"""An estimate counts what a run then emits, checks every value that would be set, and moves nothing."""

from collections import Counter

import bluesky.plan_stubs as bps
import h5py
import numpy as np
import pytest
from bluesky.utils import Msg

from beamline.endstation.build import build_endstation
from beamline.endstation.config import load_config
from callbacks.contract import Key
from plans.checks.estimate import DOCUMENT_BYTES, LINE_OVERHEAD, POINT_OVERHEAD, estimate
from plans.live_view import live_view
from plans.rixs import elastic_scan, rixs_map
from plans.stxm import stxm_focus, stxm_image, stxm_line_spectrum, stxm_stack
from plans.stxm_series import stack_series
from plans.xas import xas

FIELD = "x=-1:1:0.5 y=-1:1:0.4"
TWO_FIELDS = "x=-1:1:0.5 y=-1:1:1; x=2:4:0.5 y=2:3:1"
PLANS = {
    "xas": lambda e: xas(e, "520:526:1, 526:528:0.5@3", 2.0, sample="NMC charged"),
    "rixs_map": lambda e: rixs_map(e, "528:530:1", 300.0, frames_per_energy=2, order="up_down"),
    "rixs_map with exposures": lambda e: rixs_map(e, "528:530:1@60, 530.5:532:0.5", 300.0, dark_frames=2),
    "rixs_map with old darks": lambda e: rixs_map(e, "528:537:1", 300.0, dark_frames=1, dark_ttl=850.0),
    "rixs_map without darks": lambda e: rixs_map(e, "528:530:1", 300.0, dark_frames=0),
    "elastic_scan": lambda e: elastic_scan(e, "512, 515, 518, 521", 60.0),
    "live_view": lambda e: live_view(e, "ccd", 0.5, frames=4),
    "stxm_image": lambda e: stxm_image(e, 530.0, FIELD),
    "stxm_stack": lambda e: stxm_stack(e, "520:524:1", TWO_FIELDS, 0.002),
    "stxm_line_spectrum": lambda e: stxm_line_spectrum(e, "520:524:1", "x=-1:1:0.5 y=0", dark_lines=0),
    "stxm_focus": lambda e: stxm_focus(e, 530.0, "x=-1:1:0.5 y=0", "-20:20:10"),
    "stack_series": lambda e: stack_series(e, "NMC charged, NMC pristine", "520:522:1", FIELD, reference="carbon"),
}


@pytest.fixture
def endstation(endstation):
    endstation.shutter.check_value = endstation.sample.check_value = lambda value: None  # they have words, not limits
    return endstation


def counting_times(documents):
    """Of each event: exposure or dwell, or all pixels of a line, s."""
    for event in documents.of("event"):
        data = event["data"]
        line = float(np.sum(data.get(Key.STXM_DWELL, 0.0)))
        yield max(line, data.get(Key.EXPOSURE_TIME, 0.0), data.get(Key.DWELL, 0.0))


@pytest.mark.parametrize("name", PLANS)
def test_events_runs_and_counting_time_are_those_of_the_run(endstation, engine, documents, name):
    planned = estimate(PLANS[name](endstation), endstation)
    engine(PLANS[name](endstation))
    streams = {doc["uid"]: doc["name"] for doc in documents.of("descriptor")}
    assert planned.points == Counter(streams[event["descriptor"]] for event in documents.of("event"))
    assert planned.runs == len(documents.of("start"))
    assert planned.events == len(documents.of("event"))
    assert planned.counting_time == pytest.approx(sum(counting_times(documents)))


@pytest.mark.parametrize("name", PLANS)
def test_nothing_is_set_triggered_or_staged(endstation, name):
    triggered = []
    for detector in (endstation.scaler, endstation.ccd, endstation.ccd_dark, endstation.scanner):
        detector.before_trigger = lambda: triggered.append(True)
    before = endstation.scaler.clock.now
    estimate(PLANS[name](endstation), endstation)
    scanner = endstation.scanner
    settings = [scanner.x_start, scanner.x_stop, scanner.y, scanner.columns, scanner.dwell, scanner.mode]
    moved = [endstation.energy, endstation.shutter, endstation.sample, endstation.zone_plate, endstation.scaler.dwell]
    assert [device.history for device in [*moved, *settings, endstation.ccd.exposure_time]] == [[]] * 12
    assert not triggered
    assert not any(detector.staged for detector in (endstation.scaler, endstation.ccd, scanner))
    assert endstation.scaler.clock.now == before


def test_moves_are_counted_where_the_value_changes(endstation):
    stack = estimate(stxm_stack(endstation, "520:524:1", "x=-1:1:0.5 y=-1:1:1", sample="carbon"), endstation)
    assert stack.moves["energy"] == 5
    assert stack.moves["scanner_y"] == 15  # the dark lines are taken where the first one is
    assert stack.moves["sample"] == 1
    assert stack.moves["shutter"] == 3  # closed, open, closed
    assert "held_settings" not in stack.moves


def test_time_in_all_has_an_overhead_for_each_event(endstation):
    spectrum = estimate(xas(endstation, "520:529:1", 2.0), endstation)
    assert spectrum.duration() == pytest.approx(10 * (2.0 + POINT_OVERHEAD))
    assert spectrum.duration(0.25) == pytest.approx(10 * 2.25)
    stack = estimate(stxm_image(endstation, 530.0, FIELD, 0.01, dark_lines=2), endstation)
    assert stack.lines == {"dark": 2, "primary": 6}
    assert stack.duration() == pytest.approx(8 * (5 * 0.01 + LINE_OVERHEAD))


def test_a_sleep_lasts_and_what_was_never_set_is_read(endstation):
    def plan():
        yield from bps.sleep(7.0)
        yield from bps.trigger_and_read([endstation.scaler])

    endstation.scaler.dwell.value = 4.0
    planned = estimate(plan(), endstation)
    assert (planned.sleeping, planned.counting_time) == (7.0, 4.0)
    assert planned.points == {"primary": 1}


def test_a_value_out_of_limits_is_one_line_that_names_it(endstation):
    with pytest.raises(ValueError, match=r"^energy: 5 eV is outside its limits 200 to 1500 eV$"):
        estimate(bps.mv(endstation.energy, 5.0), endstation)
    with pytest.raises(ValueError, match=r"^scanner_y: 40 um is outside its limits -15 to 15 um$"):
        estimate([Msg("set", endstation.scanner.y, 40.0)], endstation)
    assert endstation.energy.history == []


def test_a_plan_that_is_refused_half_way_is_told_so_as_by_an_engine(endstation):
    ended = []

    def plan():
        try:
            yield from bps.mv(endstation.energy, 5.0)
        finally:
            yield from bps.mv(endstation.shutter, "closed")
            ended.append(True)

    with pytest.raises(ValueError, match="energy: 5 eV"):
        estimate(plan(), endstation)
    assert ended == [True]
    assert endstation.shutter.history == []


def test_a_limit_that_only_a_later_point_exceeds_is_found(endstation):
    def plan():
        yield from bps.open_run()
        for energy in (530.0, 900.0, 1600.0):
            yield from bps.mv(endstation.energy, energy)
            yield from bps.trigger_and_read([endstation.scaler])
        yield from bps.close_run()

    with pytest.raises(ValueError, match="energy: 1600 eV is outside"):
        estimate(plan(), endstation)


def test_an_energy_outside_the_range_of_the_grating_is_refused_and_a_device_that_does_not_say_its_name_is_named(
    endstation,
):
    def in_range(value):
        if value > 700.0:
            raise ValueError(f"{value:g} eV is outside the range of grating 1,\n  250 to 700 eV")

    endstation.energy.check_value = in_range
    with pytest.raises(ValueError, match=r"^energy: 850 eV is outside the range of grating 1, 250 to 700 eV$"):
        estimate(bps.mv(endstation.energy, 850.0), endstation)


def test_what_a_plan_refuses_by_itself_is_refused(endstation):
    with pytest.raises(ValueError, match="holds no 'gold'"):
        estimate(xas(endstation, "520:530:1", sample="gold"), endstation)
    endstation.front_end_shutter.value = "closed"
    with pytest.raises(ValueError, match="front_end_shutter: is 'closed'"):
        estimate(xas(endstation, "520:530:1"), endstation)


def test_a_device_that_cannot_be_described_unstaged_is_named(endstation):
    def describe():
        raise RuntimeError("stage me first")

    endstation.ccd.describe = describe
    planned = estimate(rixs_map(endstation, "528:530:1", 1.0, dark_frames=0), endstation)
    assert planned.undescribed == ("ccd",)
    assert planned.points == {"primary": 3}


@pytest.fixture
def soft(tmp_path):
    return build_endstation(load_config(), frames_dir=tmp_path / "frames")


def test_bytes_of_frames_are_those_in_the_files(engine, documents, soft, tmp_path):
    planned = estimate(rixs_map(soft, "528:533:1", 300.0, dark_frames=2), soft)
    assert list((tmp_path / "frames").iterdir()) == []
    engine(rixs_map(soft, "528:533:1", 300.0, dark_frames=2))
    written = 0
    for path in (tmp_path / "frames").iterdir():
        with h5py.File(path) as file:
            written += file["entry/data/data"].id.get_storage_size()
    assert planned.frames == {"dark": 2, "primary": 6}
    assert planned.frame_bytes == pytest.approx(written, rel=0.01)
    assert planned.frame_bytes == 8 * 64 * 2048 * 2


def test_dark_frames_are_renewed_as_often_as_the_camera_does(engine, documents, soft):
    planned = estimate(rixs_map(soft, "528:533:1", 300.0, dark_frames=1, dark_ttl=800.0), soft)
    engine(rixs_map(soft, "528:533:1", 300.0, dark_frames=1, dark_ttl=800.0))
    assert planned.points["dark"] == len(documents.events("dark")) == 2


def test_arrays_of_a_line_are_as_long_as_the_plan_will_set_it(engine, documents, soft):
    planned = estimate(stxm_image(soft, 530.0, "x=-1:1:0.005 y=0:1:0.5"), soft)
    engine(stxm_image(soft, 530.0, "x=-1:1:0.005 y=0:1:0.5"))
    arrays = [np.asarray(value) for event in documents.of("event") for value in event["data"].values()]
    written = sum(array.nbytes for array in arrays if array.ndim)
    # Beside the arrays: start and stop, a descriptor and the events of two streams.
    assert planned.document_bytes - written == (2 + 2 + 6) * DOCUMENT_BYTES
    assert written == 6 * 4 * 401 * 8
    assert planned.frames == {}


def test_a_stack_of_six_thousand_lines_is_counted(endstation):
    planned = estimate(stxm_stack(endstation, "520:525.9:0.1", "x=-1:1:0.5 y=-5:4.9:0.1", dark_lines=0), endstation)
    assert planned.points == {"primary": 6000}


@pytest.mark.parametrize(
    ("seconds", "options", "warned"),
    [
        (300.0, {}, True),
        (300.0, {"frames_per_energy": 2}, True),
        (300.0, {"frames_per_energy": 2, "order": "up_down"}, False),
        (300.0, {"order": "random"}, False),
        (30.0, {}, False),  # too short to drift
    ],
)
def test_a_map_whose_order_cannot_tell_drift_from_dispersion_is_warned_of(endstation, seconds, options, warned):
    planned = estimate(rixs_map(endstation, "528:536:1", seconds, dark_frames=0, **options), endstation)
    assert bool(planned.warnings) == warned
    assert all(warning.startswith("order up: over ") and "h a drift" in warning for warning in planned.warnings)


@pytest.mark.parametrize(
    ("edge", "energies", "warned"),
    [
        ("O K", "520:530:1", ""),  # the oxide's begins 15 eV below the element's
        ("Co L3", "525:545:1", "edge Co L3: lies at 778.1 eV, and 525 to 545 eV are measured"),
        ("Ni L", "525:545:1", "edge Ni L: lies at 852.7 to 1008.6 eV, and 525 to 545 eV are measured"),
        ("Mn L2,3", "635:660:1", ""),
        ("Oxygen K", "525:545:1", "edge Oxygen K: Oxygen is not the symbol of an element, as O of O K"),
        ("my Label", "525:545:1", ""),
        ("the edge", "525:545:1", ""),
        ("", "525:545:1", ""),
    ],
)
def test_energies_that_are_not_those_of_the_edge_are_warned_of(endstation, edge, energies, warned):
    planned = estimate(xas(endstation, energies, 0.1, edge=edge), endstation)
    assert planned.warnings == ((warned,) if warned else ())
