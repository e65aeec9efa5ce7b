"""The compiled passes over a frame: the same to the last bit as plain numpy."""

import numpy as np
import plain_frames
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from irixs import COUNTS_PER_EV, READ_NOISE, read_scan
from scan_cosmic_rays import simulated

from callbacks.rixs import cosmic_rays, photon_model
from callbacks.rixs.compiled import box_charges, capped_means, count_whole, pixels_above, straightened_sum
from callbacks.rixs.cosmic_rays import remove_cosmic_rays
from callbacks.rixs.curvature import straighten
from callbacks.rixs.dark import estimate_pedestal

# numpy sums a single column in another order.
ANY_SIZE = {"rows": st.integers(1, 140), "columns": st.integers(2, 90), "seed": st.integers(0, 999)}


def frame(rows, columns, seed):
    rng = np.random.default_rng(seed)
    image = 100.0 * rng.poisson(rng.choice([0.01, 0.3, 3.0]), (rows, columns)) + 4.0 * rng.standard_normal(
        (rows, columns)
    )
    image[rng.integers(rows), rng.integers(columns)] += rng.choice([0.0, 300.0, 5e4])
    return image


@settings(max_examples=60, deadline=None)
@given(parts=st.integers(1, 7), blocks=st.integers(1, 3), **ANY_SIZE)
def test_capped_means_are_those_of_numpy(rows, columns, seed, parts, blocks):
    image = frame(rows, columns, seed)
    edges = np.linspace(0, rows, min(blocks, rows) + 1).astype(int)
    options = {"parts": parts, "cap_sigmas": 6.0, "cap_counts": 30.0, "photon_counts": 100.0, "read_noise": 4.1}
    expected = plain_frames.capped_means(image, edges, **options)
    np.testing.assert_array_equal(capped_means(image, edges, **options), expected)


@settings(max_examples=60, deadline=None)
@given(**ANY_SIZE)
def test_bright_pixels_and_their_boxes_are_those_of_numpy(rows, columns, seed):
    image = frame(rows, columns, seed)
    block_of = np.arange(rows) * 2 // rows
    levels = np.random.default_rng(seed).normal(0.0, 10.0, (2, columns))
    found = pixels_above(image, levels, block_of)
    np.testing.assert_array_equal(found, plain_frames.pixels_above(image, levels, block_of))
    np.testing.assert_array_equal(box_charges(image, *found), plain_frames.box_charges(image, *found))


@settings(max_examples=60, deadline=None)
@given(tilt=st.floats(-120, 120), bend=st.floats(-9, 9), **ANY_SIZE)
def test_a_straightened_sum_is_the_sum_of_straightened_rows(rows, columns, seed, tilt, bend):
    image = frame(rows, columns, seed)
    y = np.linspace(-1, 1, rows)
    displacement = tilt * y + bend * y**2
    np.testing.assert_array_equal(
        straightened_sum(image, displacement), straighten(image, displacement).sum(axis=0), strict=True
    )


def test_rows_that_leave_the_chip_add_nothing():
    assert straightened_sum(np.ones((3, 5)), np.array([6.0, -6.0, 1e9])).tolist() == [0.0] * 5


@settings(max_examples=60, deadline=None)
@given(parts=st.integers(1, 12), seed=st.integers(0, 999))
def test_values_in_whole_parts_are_counted_each(parts, seed):
    rng = np.random.default_rng(seed)
    numerators = rng.normal(40 * parts, 30, 5000).round()
    values, counts = count_whole(numerators / parts, parts=parts)
    expected, often = np.unique(numerators, return_counts=True)
    np.testing.assert_array_equal(values, expected / parts)
    np.testing.assert_array_equal(counts, often)


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.0, 2.5, 3.0],
        [0.0, 1.0, 1e300],
        [-np.inf, 0.0, 0.0],
        [0.0, 0.0, np.inf],
        [0.0, np.nan, 1.0],
        [0.0, 25.0, 1.0],
    ],
)
def test_values_that_are_not_whole_or_far_apart_are_not_counted(values):
    assert count_whole(np.tile(values, 25), parts=1) is None
    assert count_whole(np.tile([0.0, 15.0, 1.0, 2.0], 25), parts=1) is not None


@pytest.fixture
def in_plain_numpy(monkeypatch):
    """Reduce with plain numpy in place of what is compiled."""

    def switch():
        monkeypatch.setattr(photon_model, "capped_means", plain_frames.capped_means)
        for name in ("pixels_above", "box_charges"):
            monkeypatch.setattr(cosmic_rays, name, getattr(plain_frames, name))

    return switch


def assert_cleaned_alike(frames, switch):
    found = [remove_cosmic_rays(image, **known) for image, known in frames]
    switch()
    for cleaned, (image, known) in zip(found, frames, strict=True):
        expected = remove_cosmic_rays(image, **known)
        np.testing.assert_array_equal(cleaned.frame, expected.frame)
        np.testing.assert_array_equal(cleaned.mask, expected.mask)
        assert (cleaned.hits, cleaned.removed_counts) == (expected.hits, expected.removed_counts)
    assert sum(cleaned.hits for cleaned in found) > len(found)


@pytest.mark.parametrize("threshold", [3.0, 6.0, 8.0])
def test_simulated_frames_are_cleaned_as_in_plain_numpy(in_plain_numpy, threshold):
    cases = [(529.0, 1.0), (540.0, 1.0), (540.0, 3.0)]
    known = [{"photon_counts": 0.21 * energy, "read_noise": 4.0, "threshold": threshold} for energy, _ in cases]
    frames = [simulated(energy, scale, 0, 1.0)[0] for energy, scale in cases]
    assert_cleaned_alike(list(zip(frames, known, strict=True)), in_plain_numpy)


@pytest.mark.long
@pytest.mark.measured
@pytest.mark.parametrize("scan", [17174, 17175])
def test_measured_frames_are_cleaned_as_in_plain_numpy(measured_data, in_plain_numpy, scan):
    frames = [
        (image, {"photon_counts": COUNTS_PER_EV * energy, "read_noise": READ_NOISE})
        for energy, image in zip(*read_scan(measured_data, scan), strict=True)
    ]
    assert_cleaned_alike(frames, in_plain_numpy)


@pytest.mark.parametrize("light", [0.02, 0.5])
def test_the_pedestal_is_that_of_the_pixels(light):
    rng = np.random.default_rng(0)
    raw = np.rint(340.0 + 100.0 * rng.poisson(light, (64, 500)) + rng.normal(0, 4, (64, 500)))
    assert estimate_pedestal(raw) == plain_frames.pedestal(raw)
    dark = np.rint(rng.normal(340.0, 4.0, (5, 64, 500)))
    subtracted = raw - dark.sum(axis=0) / 5
    expected = plain_frames.pedestal(subtracted)
    assert estimate_pedestal(subtracted, parts=5) == pytest.approx(expected, rel=1e-12)
    assert estimate_pedestal(subtracted) == pytest.approx(expected, rel=1e-12)


def test_a_frame_that_is_not_a_number_has_no_pedestal():
    assert np.isnan(estimate_pedestal(np.array([[1.0, np.nan]]))[0])
