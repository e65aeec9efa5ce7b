"""A short run of the inputs that nobody means; the long one is ``python tests/attacks/inputs.py``."""

from collections import Counter

import pytest
from inputs import TARGETS, attack

pytestmark = pytest.mark.long

INPUTS = {"Regions": 200, "Parameters": 15, "Configurations": 10, "CommandLines": 10, "SdfScans": 60, "NxstxmFiles": 15,
          "IrixsScans": 40, "Logs": 3}  # fmt: skip


@pytest.mark.parametrize(("name", "inputs"), INPUTS.items())
def test_inputs_that_nobody_means_are_accepted_with_right_values_or_refused_in_one_line(tmp_path, name, inputs):
    counts = Counter()
    for _, kind, what, why in attack(inputs, seed=1, folder=tmp_path, names=(name,)):
        assert not why, f"{kind}: {what}\n{why}"
        counts[kind] += 1
    assert counts.total() == inputs
    assert counts["refused"] > 0 or name == "Logs"  # a log is read as far as it can be
    assert set(INPUTS) < {target.__name__ for target in TARGETS}
