"""The registry: what a command line can say to a plan, and how it is told what it cannot."""

import inspect

import pytest

from plans.errors import PlanError
from plans.regions.energy import EnergyRegions
from plans.regions.spatial import StxmRegions
from plans.registry import PLANS, find_plan

RATIOS = ("until_relative_error", "until_fraction_sigma")


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_every_parameter_of_every_plan_is_documented_and_has_a_default_of_its_type(plan):
    assert plan.summary.endswith(".")
    assert list(plan.parameters) == list(inspect.signature(plan.function).parameters)[1:]
    for parameter in plan.parameters.values():
        assert parameter.help
        assert parameter.type in (str, int, float, bool) or callable(parameter.type.parse)
        assert parameter.required or isinstance(parameter.default, parameter.type)
        if parameter.type not in (str, int, bool):
            assert parameter.unit == "" if parameter.name in RATIOS else parameter.unit in ("s", "eV", "um")


def test_units_defaults_and_choices_come_from_the_plan():
    parameters = find_plan("rixs_map").parameters
    assert (parameters["exposure_time"].unit, parameters["exposure_time"].required) == ("s", True)
    assert parameters["dark_ttl"].default == 3600.0
    assert parameters["order"].choices == ("up", "up_down", "random")


def test_a_command_line_becomes_keyword_arguments():
    arguments = ["--regions", "520:526:0.5", "--exposure-time=300", "--frames-per-energy", "2", "--order", "up_down"]
    assert find_plan("rixs-map").parse(arguments) == {
        "regions": EnergyRegions.parse("520:526:0.5"),
        "exposure_time": 300.0,
        "frames_per_energy": 2,
        "order": "up_down",
    }


def test_types_that_read_their_own_text_and_yes_or_no_are_converted():
    arguments = ["--energies", "520:526:0.5@0.002", "--regions", "x=0:1:0.1 y=0:1:0.1", "--follow-focus", "No"]
    assert find_plan("stxm_stack").parse(arguments) == {
        "energies": EnergyRegions.parse("520:526:0.5@0.002"),
        "regions": StxmRegions.parse("x=0:1:0.1 y=0:1:0.1"),
        "follow_focus": False,
    }
    with pytest.raises(PlanError, match="follow_focus: 'maybe' is neither yes nor no"):
        find_plan("stxm_stack").parse(["--follow-focus", "maybe"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--regions", "520"], "rixs_map needs exposure_time: Exposure of a frame"),
        (["--exposure", "3"], "rixs_map has no parameter 'exposure'; did you mean exposure_time?"),
        (["--zzz", "3"], "rixs_map has no parameter 'zzz'; it has regions, exposure_time, sample"),
        (["--exposure-time", "long"], "exposure_time: 'long' is not a number in s"),
        (["--frames-per-energy", "1.5"], "frames_per_energy: '1.5' is not a whole number"),
        (["--order", "down"], "order: 'down' is none of up, up_down, random"),
        (["--regions", "520:x:1"], "energy region '520:x:1': 'x' is not a number"),
        (["--seed", "1", "--seed=2"], "rixs_map: seed is given twice"),
        (["--regions"], "rixs_map: --regions has no value"),
        (["520:526:1"], "rixs_map: '520:526:1' belongs to no parameter; expected --name value"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments, message):
    with pytest.raises(PlanError) as error:
        find_plan("rixs_map").parse(arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_plan_is_answered_with_the_nearest():
    with pytest.raises(PlanError, match="no plan 'rixsmap'; did you mean rixs_map"):
        find_plan("rixsmap")
    with pytest.raises(PlanError, match="no plan 'zzz'; there are xas, rixs_map, elastic_scan, stxm_image"):
        find_plan("zzz")
