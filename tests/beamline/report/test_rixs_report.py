"""The figures and the summary box of a RIXS map's report hold what their captions say, within their edges."""

import itertools
import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from beamline.report import rixs_figures
from beamline.report.figures import flux, literal
from beamline.report.page import PageContents, write_page
from callbacks.rixs.calibration import refused

REASON = "light rises towards the high-energy end of the chip: the elastic line lies off the chip; " * 2


def inside_of(figure, texts):
    """Tell whether texts lie within a figure."""
    literal(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    boxes = [text.get_window_extent() for text in texts]
    return [box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes]


@pytest.mark.parametrize("found", [0, 3])
def test_without_a_calibration_there_is_no_empty_panel_and_a_long_reason_is_whole(found):
    pixels = np.where(np.arange(5) < found, 100.0 + np.arange(5), np.nan)
    accepted = np.zeros(5, bool)
    figure = rixs_figures.elastic_lines(
        pixels, np.full(5, 0.2), 530.0 + np.arange(5.0), accepted, calibration=refused(5, REASON)
    )
    assert len(figure.axes) == 1
    assert all(inside_of(figure, [figure.axes[0].title]))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 3e4])
def test_the_partial_yield_says_over_what_and_of_what_and_its_numbers_do_not_touch(scale):
    energies = np.linspace(750.0, 790.0, 80)
    figure = rixs_figures.rixs_map(
        np.arange(775.0, 785.0),
        energies,
        scale * np.outer(np.arange(1, 11), np.ones(80)),
        title="map",
        window=(755.0, 785.0),
    )
    side = figure.axes[1]
    assert all(inside_of(figure, [side.xaxis.label]))
    assert re.match(r"755 to 785 eV\n\((10\S+ )?counts\n", side.get_xlabel())
    boxes = sorted((label.get_window_extent().x0, label.get_window_extent().x1) for label in side.get_xticklabels())
    assert all(right < left for (_, right), (left, _) in itertools.pairwise(boxes))


def test_the_scale_of_colours_does_not_stand_where_an_axis_of_the_partial_yield_would():
    figure = rixs_figures.rixs_map(np.arange(9.0), np.arange(50.0), np.outer(np.arange(9), np.ones(50)), title="map")
    figure.draw_without_rendering()
    of_map, of_yield, bar = (axes.get_window_extent() for axes in figure.axes)
    assert of_map.x1 < of_yield.x0 < of_yield.x1 < bar.x0
    assert figure.axes[2].yaxis.label.get_window_extent().x0 > of_yield.x1
    assert all(inside_of(figure, [figure.axes[2].yaxis.label]))


@pytest.mark.long
def test_the_residuals_of_elastic_lines_and_their_titles_are_shown_whole():
    fit = {
        "title": "778.51 eV\ncolumn 1548.07 ± 0.30", "pixel": np.arange(29), "counts": np.full(29, 10.0),
        "sigma": np.ones(29), "model": np.linspace(2.0, 10.0, 29),
    }  # fmt: skip
    figure = rixs_figures.elastic_fits([fit] * 8)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert all(inside_of(figure, [axes.title for axes in shown]))
    for axes in shown[1::2]:
        assert axes.get_ylim()[1] > 8.0


def test_a_steady_ring_current_does_not_lie_on_the_frame():
    figure = flux(np.arange(10.0), np.full(10, 1e6), np.full(10, 500.0), np.zeros(10, bool))
    left, right = figure.axes
    assert left.get_ylim() == (0.0, pytest.approx(1.1e6))
    assert right.get_ylim() == (0.0, pytest.approx(550.0))


def test_what_holds_of_any_such_result_is_grey_and_its_box_green(tmp_path):
    path = tmp_path / "report.html"
    write_page(path, PageContents("t", "s", "v", [], drawn=[], provenance=[], notes=["scales <b> are as read"]))
    page = path.read_text()
    assert '<div class="good">' in page
    assert '<div class="note">scales &lt;b&gt; are as read</div>' in page


@pytest.mark.parametrize(
    ("warnings", "remarks", "colour"),
    [([], [], "good"), ([], ["frame 1: I0 partial"], "noted"), (["no energy calibration"], ["frame 1"], "bad")],
)
def test_the_box_is_red_only_for_what_concerns_the_whole_run(tmp_path, warnings, remarks, colour):
    path = tmp_path / "report.html"
    write_page(path, PageContents("t", "s", "v", warnings, drawn=[], provenance=[], remarks=remarks))
    page = path.read_text()
    assert f'<div class="{colour}">' in page
    assert page.count('<div class="noted">') == bool(remarks)  # below what is red
    assert all(f"<li>{text}</li>" in page for text in [*warnings, *remarks])
