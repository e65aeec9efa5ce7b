"""Maps of a line of pixels can be looked at, and scales of colours tell energies as they are."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from beamline.report.analysed import image, images
from callbacks.contract import AnalysedResult, Quantity

pytestmark = pytest.mark.long


def result_of(shape):
    """Energies that differ by some meV, in two runs of this many lines and columns."""
    quantities, axes = {}, ("lines_1", "columns_1")
    for run in (1, 2):
        quantities[f"map{run}_x"] = Quantity(0.03 * np.arange(shape[1]), "", "um", axes[1:])
        quantities[f"map{run}_y"] = Quantity(0.03 * np.arange(shape[0]), "", "um", axes[:1])
        values = 528.2 + 1e-3 * np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)
        quantities[f"map{run}_c_energy"] = Quantity(values, "centroid from 528 to 533 eV, of a line", "eV", axes)
        quantities[f"map{run}_c_energy_sigma"] = Quantity(np.full(shape, 1e-4), "", "eV", axes)
    quantities["map_runs"] = Quantity(np.array(["a", "b"]), "", "", ("maps",))
    texts = {name: np.array(["a", "b"]) for name in ("runs", "row_run", "row_sample", "row_part")}
    return AnalysedResult(**texts, quantities=quantities)


@pytest.mark.parametrize("shape", [(1, 150), (150, 1), (40, 60)])
@pytest.mark.parametrize(
    "draw", [lambda r: image(r, "map1_c_energy"), lambda r: images(r, ["map1_c_energy", "map2_c_energy"])]
)
def test_every_map_has_an_area_positions_and_plain_numbers(shape, draw):
    figure = draw(result_of(shape))
    FigureCanvasAgg(figure).draw()
    maps = [axes for axes in figure.axes if axes.images]
    for axes in maps:
        box = axes.get_window_extent()
        assert min(box.width, box.height) > 15  # of some 900 pixels
        labels = axes.get_xlabel(), axes.get_ylabel()
        assert labels == ("x (um)" if shape[1] > 1 else "", "y (um)" if shape[0] > 1 else "")
    for bar in set(figure.axes) - set(maps):
        assert bar.yaxis.get_offset_text().get_text() in ("", "1e\N{MINUS SIGN}5")
    first = next(axes for axes in figure.axes if axes not in maps)
    assert first.yaxis.get_offset_text().get_text() == ""
    label = first.yaxis.label.get_window_extent()
    assert 0 <= label.y0 < label.y1 <= figure.bbox.height
