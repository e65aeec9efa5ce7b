"""The counts of the simulated microscope against the statistics of its detector."""

import numpy as np
import pytest

from callbacks.stxm.steps.lines import count_rate
from simulated_devices.physics.microscope import DARK_RATE, DEAD_TIME, Drift, Microscope


def test_counts_have_the_mean_and_variance_of_a_detector_with_dead_time():
    microscope = Microscope(Drift.by_chance(0.0, np.random.default_rng(0), 0.0))
    rate, dwell = np.full(20_000, 8e6), np.full(20_000, 1e-3)
    counts = microscope.count(rate, dwell, np.random.default_rng(1))
    seen = 8e6 + DARK_RATE
    assert counts.mean() == pytest.approx(seen * 1e-3 / (1 + seen * DEAD_TIME), rel=1e-3)
    assert counts.var() == pytest.approx(seen * 1e-3 / (1 + seen * DEAD_TIME) ** 3, rel=0.05)
    found = count_rate(counts, dwell, dead_time=DEAD_TIME, dark_rate=DARK_RATE)
    assert found.value.mean() == pytest.approx(8e6, rel=1e-3)
