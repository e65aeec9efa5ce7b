"""Figures keep the names of samples: where a capacity is not known, and whatever the names hold."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from beamline.report.across import along_the_cycle
from beamline.report.figures import literal
from beamline.report.style import FigureStyle, write_figures
from callbacks.contract import AnalysedResult, Quantity


def test_long_names_and_dollars_leave_a_figure_for_print_whole(tmp_path):
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    for name in ("é" * 190, r"$\frac{1$ <b>", "pristine"):
        axes.plot([1, 2], label=name)
    axes.set_xticks([0.0, 1.0], ["a" * 190, "b"], rotation=20, ha="right")
    axes.legend()
    (file, *_) = write_figures([("Names", "", literal(figure))], tmp_path, FigureStyle(format="png"))
    assert file.exists()
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told == ["é" * 31 + " … " + "é" * 30, r"$\frac{1$ <b>", "pristine"]
    assert axes.get_window_extent().width > 0.5 * figure.bbox.width


@pytest.mark.parametrize("features", [("oxygen",), ("oxygen", "nickel")])
def test_samples_without_a_capacity_are_named_below_the_lowest_panel(features):
    numbers = {"capacity": [131.0, np.nan]} | {f"feature_{name}": [0.4, 0.9] for name in features}
    numbers |= {f"feature_{name}_sigma": [0.1, 0.1] for name in features}
    quantities = {name: Quantity(np.array(each), "", "", ("samples",)) for name, each in numbers.items()}
    quantities["sample"] = Quantity(np.array(["LRNMC 131 mAh/g", "at $5"]), "", "", ("samples",))
    figure = literal(along_the_cycle(AnalysedResult(runs=np.array([], dtype=str), quantities=quantities), features))
    labels = figure.axes[-1].get_xticklabels()
    assert [label.get_text() for label in labels] == ["LRNMC 131 mAh/g", r"at \$5"]
    assert all(label.get_visible() for label in labels)
