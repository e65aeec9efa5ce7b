"""Lines: dark counts, dead time and ring current taken out, with the right variance; images put together."""

import numpy as np
import pytest

from callbacks.contract import Key, ScannerConfig, StxmGrid, StxmRegion
from callbacks.stxm.steps.lines import ImageAssembly, LineCorrection, LineSettings, count_rate
from simulated_devices.physics.microscope import DEAD_TIME as DEAD_TIME_OF_SCANNER
from simulated_devices.world.endstation import SimulatedEndstation

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


def test_a_top_up_within_a_line_is_within_the_uncertainty_of_its_pixels_and_said():
    rng = np.random.default_rng(3)
    pixels, rate, low, high = 100, 4e6, 490.0, 500.0
    held, pulls = [], []
    for _ in range(300):
        step = LineCorrection(LineSettings(flux_noise=0.0005))
        step.push(line(np.full(pixels, rate * low / 500 * DWELL), ring_current=low))
        topped_up = rng.uniform(0, pixels)
        current = np.where(np.arange(pixels) + 0.5 < topped_up, low, high)
        found = step.push(line(rng.poisson(rate * current / 500 * DWELL), ring_current=high))
        assert found["line_mark"] == "topped up within the line, it is not known where"
        pull = (found["line_rate"] - rate * low / 500) / np.sqrt(found["line_variance"])
        held.append(np.abs(pull) <= 1)
        pulls.append(pull)
    assert np.sqrt(np.mean(np.square(pulls))) == pytest.approx(1.0, abs=0.1)
    assert 0.60 <= np.mean(held) <= 0.76


def test_the_simulated_ring_is_topped_up_within_a_line_which_the_reduction_notices():
    world = SimulatedEndstation(seed=1)
    world.shutter_open, x = True, np.linspace(-2.9, -2.0, 100)  # beside the sample
    step = LineCorrection(LineSettings(dead_time=DEAD_TIME_OF_SCANNER))
    end, results, times = world.clock.start + world.ring.top_up_interval - 2.0, [], []
    for _ in range(20):
        begin, end = end, end + world.line_time(100, 2e-3, point=False)
        counts, dwell, *_ = world.line(begin, x, 0.0, 2e-3, point=False)
        current = float(world.ring.current(np.array([end]))[0])
        event = {str(Key.STXM_COUNTS): counts, str(Key.STXM_DWELL): dwell, "ring_current": current, "time": end}
        results.append(step.push(event))
        times.append((begin, end))
    top_up = world.clock.start + world.ring.top_up_interval
    marked = [bool(found["line_mark"]) for found in results]
    assert marked == [begin < top_up <= end for begin, end in times]
    plain = np.concatenate([found["line_rate"] for found, one in zip(results, marked, strict=True) if not one])
    (within,) = (found for found, one in zip(results, marked, strict=True) if one)
    pull = (within["line_rate"] - plain.mean()) / np.sqrt(within["line_variance"])
    assert np.sqrt(np.mean(pull**2)) < 1.5


def test_a_top_up_in_a_long_pause_is_none_within_the_line():
    step = LineCorrection(LineSettings())
    step.push(line([1000.0] * 3, ring_current=490.0, time=100.0))
    found = step.push(line([1000.0] * 3, ring_current=500.0, time=400.0))
    assert found["line_mark"] == ""
    np.testing.assert_allclose(found["line_rate"], 1000 / DWELL * 0.98)


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


def test_without_a_dwell_a_rate_is_the_counts_of_a_pixel_unless_something_needs_the_dwell():
    event = line([1000.0, 400.0]) | {str(Key.STXM_DWELL): np.full(2, np.nan)}
    found = LineCorrection(LineSettings(flux_noise=0.0), dwell_known=False).push(event)
    np.testing.assert_array_equal(found["line_rate"], [1000.0, 400.0])
    np.testing.assert_array_equal(found["line_variance"], [1000.0, 400.0])
    assert found["line_mark"] == ""
    for settings, given, mark in (
        (LineSettings(dead_time=1e-8), False, "dwell not known, which the dead time needs"),
        (LineSettings(dark_rate=10.0), False, "dwell not known, which dark counts need"),
        (LineSettings(), True, "dwell not known, which an I0 in counts/s needs"),
    ):
        found = LineCorrection(settings, dwell_known=False, flux_given=given).push(event)
        assert np.isnan(found["line_rate"]).all()
        assert found["line_mark"] == mark


GRID = StxmGrid(
    energies=[520.0, 530.0],
    regions=[
        StxmRegion(x=(0, 1), y=(0, 1), columns=4, rows=2),
        StxmRegion(x=(0, 1), y=(5, 5), columns=3, rows=1),
    ],
)


def corrected(number, rate, energy=520.0):
    line = {"line_rate": rate, "line_variance": rate, "line_shared_variance": 1e-6 * number, "line_mark": ""}
    times = {"time": 1e3 * number, "timestamps": {"stxm_counts": 10.0 * number}}  # of the event, and of its counts
    return {"seq_num": number, str(Key.ENERGY): energy} | line | times


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
    np.testing.assert_array_equal(image.moments, [np.nan, 20.0, 30.0])
    np.testing.assert_array_equal(image.shared, [0.0, 2e-6, 3e-6])
    (last,) = step.take_closed(final=True)
    assert (last["image"].index, last["image"].energy) == (1, 530.1)


def test_an_image_closes_with_its_last_line():
    step = ImageAssembly(GRID)
    for number in (1, 2, 3):
        step.push(corrected(number, np.ones(3 if number == 3 else 4)))
    assert len(list(step.take_closed())) == 1
    assert list(step.take_closed(final=True)) == []
