"""The registry of techniques: each is whole, and what its steps give is described."""

import pytest

from beamline.techniques import TECHNIQUES, pipelines
from beamline.techniques.settings import shown_settings
from callbacks.contract import Result
from plans import PLANS


@pytest.mark.parametrize("technique", TECHNIQUES.values(), ids=lambda one: one.name)
def test_every_field_of_a_result_has_a_meaning_and_is_not_known_by_default(technique):
    described = technique.pipeline.result.describe()
    assert all(field.meaning for field in described.values())
    nothing = technique.pipeline.result.read({})
    assert nothing.as_dict() == {}
    for name, field in described.items():
        assert (len(field.shape) > 0) == (getattr(getattr(nothing, name), "ndim", 0) > 0), name


def test_a_result_is_read_back_as_it_was_written():
    model = TECHNIQUES["rixs"].pipeline.result
    written = model(calibration_status="ok", calibration_accepted=7)
    assert written.as_dict() == {"calibration_status": "ok", "calibration_accepted": 7}
    assert model.read(written.as_dict() | {"of_another_step": 1}).as_dict() == written.as_dict()


def test_a_field_that_is_not_declared_is_refused():
    with pytest.raises(ValueError, match="calibration_state"):
        TECHNIQUES["rixs"].pipeline.result(calibration_state="ok")


def test_the_names_of_the_registry_are_those_of_the_techniques_and_every_plan_has_one():
    assert all(name == technique.name for name, technique in TECHNIQUES.items())
    assert set(pipelines()) == set(TECHNIQUES)
    assert issubclass(TECHNIQUES["xas"].pipeline.result, Result)
    assert {"xas", "rixs_map", "elastic_scan", "stxm_stack"} <= PLANS.keys()


def test_of_spectra_in_settings_source_energies_and_number_are_shown():
    spectrum = {"energy": [520.0, 521.0, 530.0], "values": [0.0, 1.0, 2.0], "sigma": [], "gaps": [[521.0, 530.0]]}
    settings = {"window": [526.0, 550.0], "references": {"a": spectrum | {"source": "run 1"}}, "line": {"energy": 3.0}}
    assert shown_settings(settings) == settings | {
        "references": {
            "a": {
                "energy": "520 to 530 eV", "points": 3, "sigma": [], "gaps": [[521.0, 530.0]], "source": "run 1"
            }
        }
    }  # fmt: skip
    assert settings["references"]["a"]["values"] == [0.0, 1.0, 2.0]
