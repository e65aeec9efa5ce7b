"""Figures of features along the cycle name the samples whose capacity is not known."""

import numpy as np
import pytest

from beamline.report.across import along_the_cycle
from beamline.report.figures import literal
from callbacks.contract import AnalysedResult, Quantity


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
