"""Incident flux: sample-free pixels found where they are, refused where there are none."""

import numpy as np
import pytest
from phantoms import blobs
from scan_blank import constant, scores
from scipy import ndimage

from callbacks.stxm.density.blank import BlankSettings, find_blank, incident_rate

NOISE = 0.006


def seen(thickness, rng, noise=NOISE):
    return np.exp(-thickness) + noise * rng.standard_normal(thickness.shape), np.full(thickness.shape, noise)


@pytest.mark.parametrize("seed", range(8))
def test_sample_free_pixels_are_found_and_hold_no_sample(seed):
    rng = np.random.default_rng(seed)
    thickness = blobs((100, 100), rng)
    brightness, sigma = seen(thickness, rng)
    found = find_blank(brightness, sigma)
    assert found.status == "ok"
    assert found.pixels.sum() > 0.7 * (thickness < 1e-6).sum()
    assert thickness[found.pixels].mean() < 0.003
    assert brightness[found.pixels].mean() == pytest.approx(1.0, abs=3 * NOISE / np.sqrt(found.pixels.sum()) + 0.003)


def test_a_small_empty_corner_is_enough():
    rng = np.random.default_rng(1)
    thickness = 0.5 + 0.1 * ndimage.gaussian_filter(rng.standard_normal((100, 100)), 6) / 0.047
    thickness[:12, :14] = 0.0
    found = find_blank(*seen(thickness, rng))
    assert found.status == "ok"
    assert found.pixels[:12, :14].mean() > 0.8
    assert not found.pixels[14:, :].any()


@pytest.mark.parametrize("seed", range(8))
def test_a_field_covered_with_sample_is_refused(seed):
    rng = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(rng.standard_normal((100, 100)), 5)
    thickness = 0.2 + 0.25 * (rough - rough.min()) / rough.std()
    found = find_blank(*seen(thickness, rng))
    assert found.status != "ok"
    assert not found.pixels.any()


def test_hot_pixels_are_not_taken_for_the_brightest():
    rng = np.random.default_rng(2)
    brightness, sigma = seen(blobs((100, 100), rng), rng)
    brightness[rng.integers(0, 100, 8), rng.integers(0, 100, 8)] = 3.0
    found = find_blank(brightness, sigma)
    assert found.status == "ok"
    assert brightness[found.pixels].max() < 1.1


def test_a_single_line_can_be_blank_in_part():
    rng = np.random.default_rng(3)
    thickness = np.where(np.arange(150) < 60, 0.0, 0.8)[None]
    found = find_blank(*seen(thickness, rng))
    assert found.status == "ok"
    assert not found.pixels[0, 60:].any()
    assert found.pixels.sum() > 50


def test_too_few_pixels_are_refused():
    found = find_blank(np.ones((4, 5)), np.full((4, 5), 0.01), BlankSettings(fewest_pixels=20))
    assert found.status == "20 pixels are known, expected 40 or more"


def test_the_incident_rate_is_the_mean_of_its_pixels_with_its_uncertainty():
    rng = np.random.default_rng(4)
    counts = rng.poisson(1000.0, (300, 10, 10)).astype(float)
    pixels = np.zeros((10, 10), dtype=bool)
    pixels[2:7, 3:8] = True
    counts[0, 2:6] = np.nan  # most of them drifted out
    rate, sigma = incident_rate(counts, counts, pixels, np.zeros(counts.shape[1]))
    assert np.isnan(rate[0])
    assert np.isfinite(rate[1:]).all()
    assert np.mean(np.abs(rate[1:] - 1000.0) <= sigma[1:]) == pytest.approx(0.683, abs=0.08)


def test_what_the_pixels_of_a_line_share_is_in_the_incident_rate():
    rng = np.random.default_rng(5)
    flux = 1e5 * (1 + 0.002 * rng.standard_normal((300, 10, 1)))
    counts = rng.poisson(np.broadcast_to(flux, (300, 10, 10))).astype(float)
    pixels = np.zeros((10, 10), dtype=bool)
    pixels[2:7, 1:9] = True
    rate, sigma = incident_rate(counts, counts, pixels, np.full(10, 0.002**2))
    assert np.mean(np.abs(rate - 1e5) <= sigma) == pytest.approx(0.683, abs=0.08)


def test_an_even_sample_is_not_taken_for_its_surroundings_where_these_are_too_few():
    rng = np.random.default_rng(4)
    thickness = np.where(np.arange(61) < 18, 0.0, 0.6)[None]
    found = find_blank(*seen(thickness, rng))
    assert not found.pixels.any()
    assert found.status.startswith("18 pixels are brighter than the ")


@pytest.mark.parametrize("side", [3, 4])
def test_a_film_is_not_taken_for_the_hole_in_it(side):
    rng = np.random.default_rng(side)
    thickness = np.full((60, 90), 0.5)
    thickness[20 : 20 + side, 30 : 30 + side] = 0.0
    found = find_blank(*seen(thickness, rng))
    assert not found.pixels.any()
    assert "are brighter than the " in found.status


# Where the constants stand; the whole scans are in docs/decisions/constants-blank.md.


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "lower", "upper"),
    [
        ("PEAK_WIDTH", 2.0, 4.5),
        ("BRIGHT_PERCENTILE", 80.0, 99.0),
        ("STEPS_PER_WIDTH", 4, 16),
        ("IGNORED_BRIGHTEST", 0.0, 0.01),
        ("STANDS_OUT", 1.5, 3.0),
        ("BRIGHTER", 1.0, 1.5),
        ("HOLE", 2, 4),
        ("ALIKE_WIDTHS", 0.25, 0.75),
        ("ALIKE_SIGMAS", 1.0, 3.0),
        ("LARGEST_SPREAD", 1.3, 5.0),
    ],
)
def test_a_constant_between_these_values_finds_and_refuses_alike(name, lower, upper):
    for value in (lower, upper):
        with constant(name, value):
            found, share, bias, refused = scores(range(4))
            assert found > 0.9
            assert share > 0.97
            assert bias < 0.0025
            assert refused > 0.95


def test_fewer_neighbours_would_let_the_rim_of_the_sample_in():
    bias = {}
    for number in (4, 6, 8):
        with constant("NEIGHBOURS", number):
            bias[number] = scores(range(4))[2]
    assert bias[8] < bias[6] < bias[4]


def test_what_an_interpolated_image_rises_by_beside_grains_is_no_brighter_place_but_a_hole_there_is():
    x, y = np.meshgrid(np.arange(80.0), np.arange(60.0))
    grain = np.hypot((x - 40) / 12, (y - 30) / 14) < 1
    sharp = np.where(grain, 0.4, 1.0)  # as of a probe smaller than a pixel
    shifts = np.linspace(-0.5, 0.5, 9)
    images = [ndimage.shift(sharp, (shift, -shift), order=3, mode="nearest") for shift in shifts]
    noise = 2e-4
    mean = np.mean(images, axis=0) + noise * np.random.default_rng(4).standard_normal(grain.shape)
    assert mean.max() > 1 + 50 * noise
    found = find_blank(mean, np.full(grain.shape, noise))
    assert found.status == "ok"
    assert mean[found.pixels].mean() == pytest.approx(1.0, abs=1e-3)
    mean[40:44, 44:47] = 1.3  # beside the grain
    assert "pixels are brighter" in find_blank(mean, np.full(grain.shape, noise)).status
