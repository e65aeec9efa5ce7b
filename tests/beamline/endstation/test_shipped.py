"""The shipped endstations of one technique, on twins, with nothing else there."""

import pytest
from shipped import FOLDER, PLANS, measured

from beamline.endstation.config import load_config
from beamline.operations.check import check

pytestmark = pytest.mark.long


@pytest.mark.parametrize("kind", PLANS)
def test_one_of_less_than_sixty_lines_measures_what_it_is_for(kind, tmp_path):
    path = FOLDER / f"simulated_{kind}.toml"
    assert len(path.read_text().splitlines()) < 60
    assert check(path)["ok"]
    measured(load_config(path), kind, tmp_path)
