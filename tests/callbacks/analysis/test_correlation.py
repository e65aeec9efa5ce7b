"""Two maps of one place: how they go together, also where the second was measured on another grid, off by a drift."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from callbacks.analysis import Pixels, Spectra
from callbacks.analysis.correlation import correlate

NOTHING = Spectra(np.arange(3.0), np.zeros((0, 3)), np.zeros((0, 3)))


def truth(x, y, seed=1):
    """Thickness and two states of a grain, of which the second follows the first, at any positions."""
    rng = np.random.default_rng(seed)
    fine = np.arange(-1.0, 7.0, 0.05)
    state = gaussian_filter(rng.normal(0.0, 1.0, (len(fine), len(fine))), 6)
    state /= state.std()
    mottled = gaussian_filter(rng.normal(0.0, 1.0, state.shape), 4)
    at_x, at_y = np.meshgrid(x, y)
    places = tuple(np.clip(np.rint((at + 1.0) / 0.05).astype(int), 0, len(fine) - 1) for at in (at_y, at_x))
    grain = np.hypot(at_x - 3.0, at_y - 2.5) < 2.0
    thickness = np.where(grain, 1.0 + 0.5 * (mottled / mottled.std())[places] ** 2, 0.05)
    return gaussian_filter(thickness, 0.7), np.where(grain, state[places], np.nan)


def pixels(x, y, picture):
    return Pixels("run", "a", NOTHING, np.isfinite(picture), x, y, picture)


def test_noise_is_taken_off_a_correlation_of_two_runs_but_not_of_maps_of_one_that_share_it():
    x, y = np.arange(0.0, 6.0, 0.1), np.arange(0.0, 5.0, 0.1)
    picture, state = truth(x, y)
    rng = np.random.default_rng(2)
    place = pixels(x, y, picture)
    noisy = [
        (factor * state + rng.normal(0.0, noise, state.shape), np.full(state.shape, noise))
        for factor, noise in ((1.0, 0.5), (-2.0, 1.5))
    ]
    of_one = correlate(*noisy, (place, place))
    assert of_one.status == "ok"
    assert np.isnan(of_one.without_noise)
    assert of_one.shift == (0.0, 0.0)
    found = correlate(*noisy, (place, pixels(x, y, picture)))
    assert found.status == "ok"
    assert found.shift == pytest.approx((0.0, 0.0), abs=1e-3)
    assert -0.85 < found.pearson < -0.6
    assert found.without_noise == pytest.approx(-1.0, abs=0.03)
    assert found.pearson_sigma < 0.02
    assert found.spearman == pytest.approx(found.pearson, abs=0.05)


def test_a_run_on_another_grid_is_registered_by_its_image():
    x, y = np.arange(0.0, 6.0, 0.1), np.arange(0.0, 5.0, 0.1)
    picture, state = truth(x, y)
    other_x, other_y = np.arange(-0.2, 6.3, 0.08), np.arange(-0.3, 5.2, 0.08)
    drift = 0.24, -0.16  # um that the sample has moved when the second run is measured
    moved, other = truth(other_x - drift[0], other_y - drift[1])
    places = pixels(x, y, picture), pixels(other_x, other_y, moved)
    sigma = np.full(state.shape, 0.01), np.full(other.shape, 0.01)
    found = correlate((state, sigma[0]), (other, sigma[1]), places)
    assert found.status == "ok"
    assert found.shift == pytest.approx((-drift[0], -drift[1]), abs=0.04)
    assert found.pearson > 0.95


def test_what_cannot_be_compared_says_why():
    x, y = np.arange(0.0, 6.0, 0.1), np.arange(0.0, 5.0, 0.1)
    picture, state = truth(x, y)
    place = pixels(x, y, picture)
    one = state, np.full(state.shape, 0.1)
    empty = np.full(state.shape, np.nan), one[1]
    assert correlate(one, empty, (place, place)).status == "both are known in 0 pixels, expected 20 or more"
    even = np.ones(state.shape), one[1]
    assert correlate(one, even, (place, place)).status == "one of the two is the same everywhere"
    nowhere = Pixels("run", "a", NOTHING, place.chosen, None, None, picture)
    assert "positions of the pixels are not known" in correlate(one, one, (place, nowhere)).status
    blank = pixels(x, y, np.zeros(picture.shape))
    assert correlate(one, one, (place, blank)).status.startswith("the two runs cannot be registered: ")


def test_lines_of_two_runs_are_not_registered():
    x, y = np.arange(0.0, 6.0, 0.1), np.zeros(1)
    picture, state = truth(x, y)
    places = pixels(x, y, picture), pixels(x, y, picture)
    found = correlate((state, 0.1 * state), (state, 0.1 * state), places)
    assert found.status == "the two runs cannot be registered: an image is a single line, expected two or more"
    assert np.isnan(found.pearson)
