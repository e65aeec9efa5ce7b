"""The recipes of docs/examples/figures: each is whole, and of what is measured for them."""

import sys
import tomllib
from pathlib import Path

import pytest

from beamline.operations.analyse_across import AcrossRecipe, is_across
from beamline.operations.recipes import Selection, is_pooled, read_recipe
from beamline.report.stxm.pooled import capacity_of
from simulated_devices.physics import SAMPLES

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "examples" / "figures"
RECIPES = sorted(FIGURES.glob("*.toml"))


@pytest.fixture
def measured(monkeypatch):
    """What `measure.py` measures: technique, sample and edge of each plan."""
    monkeypatch.syspath_prepend(FIGURES)
    import measure

    for name in ("xas", "stxm_stack", "stxm_line_spectrum", "rixs_map"):
        technique = name.partition("_")[0]
        monkeypatch.setattr(measure, name, lambda *_, _of=technique, **own: (_of, own["sample"], own["edge"]))
    yield {plan for plans in (measure.spectra, measure.stacks, measure.maps) for plan in plans(None)}
    sys.modules.pop("measure")


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_is_whole_and_of_what_is_measured(file, measured, tmp_path):
    assert {sample for _, sample, _ in measured} <= SAMPLES.keys()
    tables = tomllib.loads(file.read_text())
    if is_across(file):
        recipe = AcrossRecipe.model_validate(tables)
        for feature in recipe.features.values():
            if feature.values:
                assert {sample for sample, _, _ in feature.values} <= SAMPLES.keys()
                continue
            assert FIGURES / feature.of in RECIPES
            selected = tomllib.loads((FIGURES / feature.of).read_text())["select"]["samples"]
            assert all(sample in dict(recipe.capacity) or capacity_of(sample) >= 0 for sample in selected)
        return
    selection = Selection.model_validate(tables["select"])
    wanted = {(selection.technique, sample, edge) for sample in selection.samples for edge in selection.edges if edge}
    assert wanted <= measured
    references = tables.get("references", {}).values()
    assert {("stxm", one["sample"], one["edge"]) for one in references if isinstance(one, dict)} <= measured
    if not is_pooled(file):
        assert read_recipe(file, (), (), selection.technique, tmp_path).technique == selection.technique
