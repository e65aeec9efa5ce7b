"""Figures of stacks: capacities read from names, and images and plots without any data."""

import numpy as np
import pytest

from beamline.report.stxm.images import Field, gallery
from beamline.report.stxm.maps import residual_against_brightness
from beamline.report.stxm.pooled import capacities


def test_capacities_are_read_from_the_names_or_the_runs_are_counted():
    found, label = capacities(["LRNMC 131 mAh/g", "LRNMC 311 mAh/g"])
    assert (found.tolist(), label) == ([131.0, 311.0], "capacity (mAh/g)")
    found, label = capacities(["one", "LRNMC 311 mAh/g"])
    assert (found.tolist(), label) == ([1.0, 2.0], "run")


@pytest.mark.parametrize("image", [np.full((5, 6), np.nan), np.zeros((1, 6))])
def test_an_image_of_nothing_and_a_single_line_are_drawn(image, tmp_path):
    place = Field(slice(0, len(image)), slice(0, 6), (0.0, 1.0), (0.0, len(image) - 1.0))
    gallery([("nothing", image)], [place], label="optical density").savefig(tmp_path / "one.png")


def test_a_residual_plot_without_pixels_is_drawn(tmp_path):
    residual_against_brightness(np.full(4, np.nan), np.full(4, np.nan)).savefig(tmp_path / "none.png")
