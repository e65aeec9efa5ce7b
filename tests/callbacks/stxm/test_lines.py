"""Lines: dark counts, dead time and ring current taken out, with the right variance; images put together."""

import numpy as np
import pytest

from callbacks.contract import Key, ScannerConfig, StxmGrid, StxmRegion
from callbacks.stxm.steps.lines import ImageAssembly, LineCorrection, LineSettings, count_rate

RATE, DWELL, DEAD_TIME, DARK = 8e6, 1e-3, 12e-9, 300.0


def counted(rng, rate, size):
    """Counts of a detector with a dead time, photon by photon: exponential gaps, each followed by the dead time."""
    gaps = rng.exponential(1 / rate, (size, int(1.3 * rate * DWELL))) + DEAD_TIME
    return (np.cumsum(gaps, axis=1) < DWELL).sum(axis=1).astype(float)


def test_the_rate_before_the_dead_time_is_recovered_with_its_variance():
    counts = counted(np.random.default_rng(1), 4e6, 3000)
    found = count_rate(counts, np.full(3000, DWELL), dead_time=DEAD_TIME, dark_rate=0.0)
    assert found.value.mean() == pytest.approx(4e6, abs=4 * np.sqrt(found.variance.mean() / 3000))
    assert np.mean(np.abs(found.value - 4e6) <= np.sqrt(found.variance)) == pytest.approx(0.683, abs=0.03)


def test_dark_counts_are_subtracted_and_their_uncertainty_added():
    found = count_rate(np.array([100.0]), np.array([1.0]), dead_time=0.0, dark_rate=30.0, dark_variance=7.0)
    assert (found.value[0], found.variance[0]) == (70.0, 107.0)


def test_a_prescaled_counter_has_less_noise_than_its_counts_say():
    found = count_rate(np.array([100.0]), np.array([1.0]), dead_time=0.0, dark_rate=0.0, divider=10.0)
    assert (found.value[0], found.variance[0]) == (100.0, 10.0)


def test_a_detector_that_was_busy_all_the_time_or_not_at_all_says_nothing():
    found = count_rate(np.array([1e6, 5.0]), np.array([1e-3, 0.0]), dead_time=1e-8, dark_rate=0.0)
    assert np.isnan(found.value).all()
    assert np.isnan(found.variance).all()


def line(counts, **values):
    return {str(Key.STXM_COUNTS): np.asarray(counts, float), str(Key.STXM_DWELL): np.full(len(counts), DWELL), **values}


def test_measured_dark_lines_go_before_the_number_of_the_detector():
    step = LineCorrection(LineSettings())
    event = line([1000.0] * 4, **{ScannerConfig.DARK_RATE: 5e5, ScannerConfig.DEAD_TIME: np.nan})
    np.testing.assert_allclose(step.push(event)["line_rate"], 1e6 - 5e5)
    step.push_dark(line([0.3] * 50))
    np.testing.assert_allclose(step.push(event)["line_rate"], 1e6 - 300.0)
    assert step.result.dark_rate == pytest.approx(300.0)


def test_lines_are_brought_to_the_ring_current_of_the_first():
    step = LineCorrection(LineSettings(flux_noise=0.0))
    first = step.push(line([1000.0] * 3, ring_current=500.0))
    second = step.push(line([800.0] * 3, ring_current=400.0))
    np.testing.assert_allclose(second["line_rate"], first["line_rate"])
    np.testing.assert_allclose(second["line_variance"], 800 / DWELL**2 * 1.25**2)


def test_a_line_without_beam_is_marked_and_not_measured():
    step = LineCorrection(LineSettings())
    step.push(line([1000.0] * 3, ring_current=500.0))
    lost = step.push(line([3.0] * 3, ring_current=0.2))
    assert lost["line_mark"] == "beam lost: ring current 0.2 mA"
    assert np.isnan(lost["line_rate"]).all()


GRID = StxmGrid(
    energies=[520.0, 530.0],
    regions=[
        StxmRegion(x=(0, 1), y=(0, 1), columns=4, rows=2),
        StxmRegion(x=(0, 1), y=(5, 5), columns=3, rows=1),
    ],
)


def corrected(number, rate, energy=520.0):
    return {"seq_num": number, "line_rate": rate, "line_variance": rate, "line_mark": "", str(Key.ENERGY): energy}


def test_lines_come_into_their_image_whatever_their_order_and_what_is_missing_stays_nan():
    step = ImageAssembly(GRID)
    step.push(corrected(2, np.full(4, 2.0)))
    step.push(corrected(3, np.full(3, 3.0)))
    assert list(step.take_closed()) == []
    step.push(corrected(4, np.full(4, 4.0), 530.1))
    (event,) = step.take_closed()
    image = event["image"]
    assert (image.index, image.energy, image.measured) == (0, 520.0, 2)
    assert np.isnan(image.rate[0]).all()
    np.testing.assert_array_equal(image.rate[1], 2.0)
    np.testing.assert_array_equal(image.rate[2], [3.0, 3.0, 3.0, np.nan])  # a narrower region
    (last,) = step.take_closed(final=True)
    assert (last["image"].index, last["image"].energy) == (1, 530.1)


def test_an_image_closes_with_its_last_line():
    step = ImageAssembly(GRID)
    for number in (1, 2, 3):
        step.push(corrected(number, np.ones(3 if number == 3 else 4)))
    assert len(list(step.take_closed())) == 1
    assert list(step.take_closed(final=True)) == []
