"""Figures of each technique: of a run as it grows, and of one that has ended, as the reduction found it."""

import asyncio
import time
import tomllib
from concurrent.futures import Future

import event_model
import numpy as np
import pytest
from here import reducing_session

from beamline.errors import BeamlineError
from beamline.operations.demonstrate.techniques import simulated
from beamline.serve.page.again import Again, settings_of, side_by_side, written
from beamline.serve.page.beside import Turn
from beamline.serve.page.growing import GrowingRun
from beamline.serve.page.live import LiveFigures, load, panels_of
from beamline.serve.page.state import held_why
from beamline.serve.page.stxm_view import region_spectrum
from beamline.storage.runs import Runs
from callbacks.contract import StxmGrid
from plans import rixs_map, stxm_stack, xas

pytestmark = pytest.mark.long

SAMPLE = "LRNMC 311 mAh/g"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    session = reducing_session(simulated(5), folder)
    plans = {
        "rixs": rixs_map(session.endstation, "526:546:1", 300.0, sample=SAMPLE, edge="O K"),
        "stxm": stxm_stack(
            session.endstation,
            "520:524:1, 526:534:0.5, 536:544:2",
            "x=-1.5:1.5:0.1 y=-1.5:1.5:0.1",
            sample=SAMPLE,
            edge="O K",
        ),
        "xas": xas(session.endstation, "520:550:0.5", sample=SAMPLE, edge="O K"),
    }
    uids = {name: session.RE(plan).run_start_uids[0] for name, plan in plans.items()}
    assert session.drain() == ""
    session.close()
    return folder, uids


def loaded(measured, name):
    folder, uids = measured
    runs = Runs(folder)
    return load(runs, runs.find(uids[name]))


def by_name(panels):
    return {panel.name: panel for panel in panels}


def test_a_map_that_has_ended_is_shown_as_it_was_reduced(measured):
    raw, derived = loaded(measured, "rixs")
    panels = by_name(panels_of(raw, derived))
    names = ["raw", "cleaned", "spectrum", "map", "map-loss", "elastic", "residuals", "drift"]
    assert list(panels) == names
    np.testing.assert_array_equal(panels["map"].arrays["values"], derived.result("map").astype(np.float32))
    np.testing.assert_array_equal(panels["map"].arrays["y"], derived.result("excitation_energy"))
    np.testing.assert_allclose(panels["map"].arrays["x"], derived.result("emission_energy"), rtol=1e-12)
    np.testing.assert_array_equal(panels["drift"].arrays["y0"], derived.result("drift_frame_pixels"))
    assert f"{float(derived.result('calibration_dispersion_ev_per_pixel')):.4f} ±" in panels["elastic"].note
    hits = panels["raw"].arrays["marks"]
    changed = panels["raw"].arrays["values"] != panels["cleaned"].arrays["values"]
    assert np.count_nonzero(changed) == len(hits)


def test_a_frame_is_shown_before_its_hits_are_found_and_marked_afterwards(measured):
    raw, derived = loaded(measured, "rixs")
    begun, doing = [], Future()

    def later(work):
        begun.append(work)
        return doing

    panels = by_name(panels_of(raw, derived, later=later))
    assert "cleaned" not in panels
    assert panels["raw"].title.endswith("as read")
    panels_of(raw, derived, later=later)
    assert len(begun) == 1
    doing.set_result(begun[0]())
    panels = by_name(panels_of(raw, derived, later=later))
    assert len(begun) == 1
    at_once = by_name(panels_of(*loaded(measured, "rixs")))
    assert list(panels) == list(at_once)
    for name, panel in panels.items():
        assert panel.packed() == at_once[name].packed()


def test_a_stack_that_has_ended_is_shown_as_it_was_reduced(measured):
    raw, derived = loaded(measured, "stxm")
    panels = by_name(panels_of(raw, derived, energy=3))
    stack = np.asarray(derived.result("optical_density"))
    np.testing.assert_array_equal(panels["density"].arrays["values"], stack[3].astype(np.float32))
    np.testing.assert_allclose(panels["density"].arrays["x"], np.linspace(-1.5, 1.5, 31), atol=1e-9)
    assert {"counts", "shift", "i0", "mean", "scree", "loadings", "score-1"} <= set(panels)
    grid = StxmGrid.model_validate(raw.measurement["grid"])
    region = region_spectrum(derived, grid, 0, np.array([[10.0, 10.0], [10.0, 14.0], [14.0, 14.0], [14.0, 10.0]]))
    assert "25 pixels" in region.title
    np.testing.assert_allclose(
        region.arrays["y0"], np.nanmean(stack[:, 10:15, 10:15], axis=(1, 2)).astype(float), rtol=1e-5
    )


def test_a_spectrum_is_shown_with_its_uncertainty(measured):
    raw, derived = loaded(measured, "xas")
    panels = by_name(panels_of(raw, derived))
    np.testing.assert_array_equal(panels["tey-normalised"].arrays["y0"], derived.result("tey"))
    np.testing.assert_array_equal(panels["tey-normalised"].arrays["s0"], derived.result("tey_sigma"))
    assert len(panels["tey"].arrays["x0"]) == 61


@pytest.mark.parametrize("name", ["rixs", "stxm", "xas"])
def test_a_run_is_shown_at_each_stage_of_its_growth(measured, name):
    folder, uids = measured
    runs = Runs(folder)
    entry = runs.find(uids[name])
    documents = [runs.documents(entry), runs.documents(runs.derived(entry))]
    shown = []
    for share in (0.02, 0.3, 0.7, 0.98):
        raw, derived = (GrowingRun(each[0][1]) for each in documents)
        for run, each in zip((raw, derived), documents, strict=True):
            for document in each[1 : int(share * len(each))]:
                assert run.owns(*document)
                run.take(*document)
        assert raw.stop is None
        panels = panels_of(raw, derived)
        assert all(panel.packed() for panel in panels)
        shown.append(len(panels))
    assert shown == sorted(shown)
    assert shown[-1] > shown[0]


def test_figures_of_the_newest_run_are_put_up_for_whoever_watches_and_none_for_nobody(measured):
    folder, uids = measured
    for watched in (True, False):
        put = []
        figures = LiveFigures(folder, put.append, lambda watched=watched: watched)
        figures.start()
        deadline = time.monotonic() + (10.0 if watched else 1.0)
        while not put and time.monotonic() < deadline:
            time.sleep(0.05)
        figures.stop()
        assert bool(put) == watched
        assert figures.raw.uid == uids["xas"]
        assert figures.error == ""
    assert "tey" in put[0] if put else True


def test_what_holds_a_run_is_said_until_it_goes_on():
    bundle = event_model.compose_run()
    stream = bundle.compose_descriptor(name="primary", data_keys={"x": {"dtype": "number", "shape": [], "source": ""}})
    held = bundle.compose_descriptor(
        name="interruptions", data_keys={"interruption": {"dtype": "string", "shape": [], "source": ""}}
    )
    run = GrowingRun(bundle.start_doc)
    for descriptor in (stream, held):
        run.take("descriptor", descriptor.descriptor_doc)

    def event(of, moment, **data):
        run.take("event", of.compose_event(data=data, timestamps=dict.fromkeys(data, moment), time=moment))

    running = {"status": {"re_state": "running"}}
    event(stream, 1.0, x=1.0)
    assert held_why(run, running) == ""
    event(held, 2.0, interruption="the ring has 12 mA, expected 100 or more")
    assert held_why(run, running) == "the ring has 12 mA, expected 100 or more"
    assert held_why(run, {"status": {"re_state": "paused"}}) == "paused by a user"
    event(stream, 3.0, x=1.0)
    assert held_why(run, running) == ""


def test_a_run_reduced_again_differs_by_what_was_changed_and_only_then(measured, monkeypatch):
    monkeypatch.setattr("beamline.serve.page.beside.NICENESS", 0)  # the other workers would leave it next to nothing
    folder, uids = measured
    runs, again = Runs(folder), Again(folder, Turn())
    _, before = runs.load_with_derived(uids["rixs"])
    names = {each["name"]: each["value"] for each in settings_of(before)}
    assert names["cosmic_rays.threshold"] == "6.0"
    same = asyncio.run(again(uids["rixs"], {}))
    assert (same["equal"], same["compared_with"]) == (True, before.uid)
    other = asyncio.run(again(uids["rixs"], {"cosmic_rays.threshold": "9", "integration.row_groups": "4"}))
    assert other["equal"] is None
    _, after = Runs(folder).load_with_derived(uids["rixs"])
    (settings,) = after.settings.values()
    assert (settings["cosmic_rays"]["threshold"], settings["integration"]["row_groups"]) == (9.0, 4)


def test_settings_that_are_none_or_wrong_are_refused_in_one_line(measured):
    folder, uids = measured
    again = Again(folder, Turn())
    with pytest.raises(BeamlineError, match="'cosmic' is no setting"):
        asyncio.run(again(uids["rixs"], {"cosmic": "1"}))
    with pytest.raises(BeamlineError, match=r"^processing\.rixs\.cosmic_rays\.threshold.*-1") as refused:
        asyncio.run(again(uids["rixs"], {"cosmic_rays.threshold": "-1"}))
    assert "\n" not in str(refused.value)


def test_all_settings_survive_being_written(measured):
    folder, uids = measured
    for uid in uids.values():
        settings = Runs(folder).load_with_derived(uid)[1].settings
        told = tomllib.loads(written(settings))["processing"]
        assert told == without_null(settings)


def without_null(table):
    if isinstance(table, dict):
        return {key: without_null(value) for key, value in table.items() if value is not None}
    return [without_null(each) for each in table] if isinstance(table, list) else table


def test_two_runs_side_by_side_have_their_curves_in_one_figure_and_images_one_after_the_other(measured):
    folder, uids = measured
    runs = Runs(folder)
    xas_panels, rixs_panels = (panels_of(*load(runs, runs.find(uids[name]))) for name in ("xas", "rixs"))
    (tey,) = (each for each in side_by_side(xas_panels, xas_panels, ("scan 1", "scan 2")) if each.name == "tey")
    assert [curve["name"] for curve in tey.about["curves"]] == [
        "total electron yield, scan 1",
        "total electron yield, scan 2",
    ]
    np.testing.assert_array_equal(tey.arrays["y0"], tey.arrays["y1"])
    np.testing.assert_array_equal(tey.arrays["s0"], tey.arrays["s1"])
    names = [each.name for each in side_by_side(rixs_panels, rixs_panels, ("scan 1", "scan 2"))]
    assert names[names.index("map") + 1] == "other-map"
    assert "other-spectrum" not in names
