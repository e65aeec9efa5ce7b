"""The polarisation of a plan: set at each point, recorded, alternating for XAS, and refused where it cannot be."""

import dataclasses

import numpy as np
import pytest

from beamline.endstation.build import build_endstation
from beamline.endstation.config import load_config
from callbacks.contract import Key, Stream
from plans import rixs_map, stxm_image, stxm_stack, xas
from plans.checks import estimate
from plans.continued import Done, continued
from plans.errors import PlanError
from plans.rixs import elastic_scan
from plans.stxm import stxm_focus, stxm_line_spectrum
from plans.stxm_series import stack_series
from plans.xas import alternating

LINE = "x=-1:1:0.5 y=0"
FIELD = "x=-1:1:0.5 y=0:0.5:0.5"
PLANS = {
    "xas": lambda e, p: xas(e, "706:708:1", 0.1, polarisation=p),
    "rixs_map": lambda e, p: rixs_map(e, "528, 529", 1.0, dark_frames=1, polarisation=p),
    "elastic_scan": lambda e, p: elastic_scan(e, "512, 515, 518, 521", 1.0, dark_frames=0, polarisation=p),
    "stxm_image": lambda e, p: stxm_image(e, 708.0, FIELD, polarisation=p),
    "stxm_stack": lambda e, p: stxm_stack(e, "706:708:1", FIELD, polarisation=p),
    "stxm_line_spectrum": lambda e, p: stxm_line_spectrum(e, "706:708:1", LINE, polarisation=p),
    "stxm_focus": lambda e, p: stxm_focus(e, 708.0, LINE, "-20:20:10", polarisation=p),
    "stack_series": lambda e, p: stack_series(e, "Fe film", "706:708:1", FIELD, polarisation=p),
}


@pytest.fixture
def twins(tmp_path):
    return build_endstation(load_config(), frames_dir=tmp_path / "frames")


def points(documents):
    return [
        (
            event["data"][Key.ENERGY_SETPOINT],
            event["data"][Key.POLARISATION],
            np.sign(event["data"][Key.UNDULATOR_PHASE]),
        )
        for event in documents.events(Stream.PRIMARY)
    ]


@pytest.mark.long
@pytest.mark.parametrize("plan", PLANS)
def test_every_plan_that_measures_sets_it_and_records_it(plan, engine, documents, twins):
    engine(PLANS[plan](twins, "c-"))
    assert {(polarisation, sign) for _, polarisation, sign in points(documents)} == {("C-", -1)}
    (start,) = documents.of("start")
    assert start["measurement"]["polarisations"] == ["C-"]
    assert start["plan_args"].get("polarisation", "c-") == "c-"
    configuration = next(
        each["configuration"]["polarisation"]["data"]
        for each in documents.of("descriptor")
        if each["name"] == Stream.PRIMARY
    )
    assert configuration == {"circular_degree": 0.95, "circular_degree_sigma": 0.02, "polarisation_energy_sigma": 0.003}


@pytest.mark.long
@pytest.mark.parametrize("plan", PLANS)
def test_where_none_is_asked_for_it_stays_and_is_recorded(plan, engine, documents, twins):
    twins.polarisation.set("LV").wait(60)
    engine(PLANS[plan](twins, ""))
    assert {polarisation for _, polarisation, _ in points(documents)} == {"LV"}
    assert documents.of("start")[0]["measurement"]["polarisations"] == []


def test_two_alternate_at_each_energy_and_change_once_between_energies(engine, documents, twins):
    engine(xas(twins, "706:709:1", 0.1, polarisation="C+,C-"))
    assert points(documents) == [
        (706.0, "C+", 1),
        (706.0, "C-", -1),
        (707.0, "C-", -1),
        (707.0, "C+", 1),
        (708.0, "C+", 1),
        (708.0, "C-", -1),
        (709.0, "C-", -1),
        (709.0, "C+", 1),
    ]
    start = documents.of("start")[0]["measurement"]
    assert (start["points"], start["polarisations"]) == (8, ["C+", "C-"])
    assert alternating(2, []) == [(0, ""), (1, "")]


def test_the_estimate_counts_both_and_the_time_of_the_changes(twins):
    plain = estimate(xas(twins, "706:709:1", 0.5), twins)
    found = estimate(xas(twins, "706:709:1", 0.5, polarisation="C+,C-"), twins)
    assert found.points == {"primary": 8}
    assert found.counting_time == pytest.approx(4.0)
    assert found.moves["polarisation"] == 5
    assert plain.polarising == 0.0
    # at 530 eV, where the undulator is: 15.7 mm at 2 mm/s and 1 s; then four times from -15.7 to 15.7 mm
    assert found.polarising == pytest.approx(15.725 / 2 + 1 + 4 * (2 * 15.725 / 2 + 1), abs=0.1)
    assert found.duration() - plain.duration() == pytest.approx(4 * 1.5 + found.polarising)


def test_what_is_gone_on_with_has_each_point_once(engine, documents, twins):
    plan = xas(twins, "706:709:1", 0.1, polarisation="C+,C-")
    engine(continued(plan, [Done(("before",), 3, complete=False)]))
    assert points(documents) == [
        (707.0, "C+", 1),
        (708.0, "C+", 1),
        (708.0, "C-", -1),
        (709.0, "C-", -1),
        (709.0, "C+", 1),
    ]


@pytest.mark.parametrize(
    ("asked", "regions", "message"),
    [
        ("round", "706:708:1", r"polarisation: 'round' is no polarisation, expected LH, LV, C\+, C- or an angle"),
        ("C+,", "706:708:1", "polarisation: '' is no polarisation"),
        ("C+,C-,LH", "706:708:1", "polarisation: 'C\\+,C-,LH' are 3, expected 2 at most"),
        ("45,225", "706:708:1", "polarisation: '225' is no polarisation"),
        ("90,LV", "706:708:1", "polarisation: '90,LV' is the same twice, expected two to alternate between"),
        ("LH,LV", "250:252:1", "polarisation: LV at 250 eV: gap: .* mm is outside its limits 9 to inf mm"),
    ],
)
def test_what_cannot_be_given_is_refused_before_anything_moves(asked, regions, message, simulator, twins):
    with pytest.raises(PlanError, match=message) as refused:
        simulator.simulate_plan(xas(twins, regions, polarisation=asked))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("plan", [name for name in PLANS if name != "xas"])
def test_only_a_spectrum_alternates(plan, simulator, twins):
    with pytest.raises(PlanError, match=r"polarisation: 'C\+,C-' are 2, expected one"):
        simulator.simulate_plan(PLANS[plan](twins, "C+,C-"))


@pytest.mark.parametrize("plan", PLANS)
def test_an_endstation_without_it_refuses_it_and_measures_otherwise(plan, simulator, twins):
    devices = {role: device for role, device in twins.devices.items() if role != "polarisation"}
    plain = dataclasses.replace(twins, devices=devices)
    lacking = "but the endstation has no polarisation .what sets how the light is polarised."
    with pytest.raises(PlanError, match=f"polarisation: 'LV', {lacking}"):
        simulator.simulate_plan(PLANS[plan](plain, "LV"))
    assert simulator.simulate_plan(PLANS[plan](plain, ""))


def test_a_polarisation_that_is_none_of_those_known_is_refused(simulator, twins, monkeypatch):
    monkeypatch.setattr(twins.energy, "tuned", "")
    with pytest.raises(PlanError, match="polarisation: the undulator has no polarisation that it knows, expected one"):
        simulator.simulate_plan(PLANS["xas"](twins, ""))
    assert simulator.simulate_plan(PLANS["xas"](twins, "LH"))


def test_two_are_not_measured_until_a_precision_is_reached(simulator, twins):
    plan = xas(twins, "706:708:1", polarisation="C+,C-", until_relative_error=0.01)
    with pytest.raises(PlanError, match="until_relative_error: expected one polarisation, or none"):
        simulator.simulate_plan(plan)
