"""The noise of a spectrum as its own points tell it."""

import numpy as np
import pytest

from callbacks.xas.scatter import scatter_of


def spectrum(energy):
    """An edge and lines as sharp as lifetime and monochromator leave them at the O K edge: 0.3 eV and more."""
    line = 0.8 / (1 + ((energy - 530.8) / 0.2) ** 2) + 0.5 / (1 + ((energy - 532.5) / 0.4) ** 2)
    return 0.1 + 0.5 + np.arctan((energy - 535) / 0.5) / np.pi + line


EVEN = np.arange(520, 560, 0.1)
REGIONS = np.concatenate([np.arange(500, 525, 1.0), np.arange(525, 540, 0.1), np.arange(540, 600, 0.5)])


@pytest.mark.parametrize("energy", [EVEN, REGIONS], ids=["even", "regions"])
@pytest.mark.parametrize("sigma", [1e-3, 1e-2])
def test_the_noise_is_that_which_was_put_in(energy, sigma):
    rng = np.random.default_rng(1)
    found = [scatter_of(energy, spectrum(energy) + sigma * rng.standard_normal(len(energy)))[0] for _ in range(100)]
    assert np.mean(found) == pytest.approx(sigma, rel=0.12)
    assert np.std(found) < 0.12 * sigma


def test_the_order_does_not_matter_and_repeats_count_as_their_mean():
    rng = np.random.default_rng(2)
    energy = np.repeat(EVEN, 4)
    values = spectrum(energy) + 0.01 * rng.standard_normal(len(energy))
    shuffled = rng.permutation(len(energy))
    assert scatter_of(energy, values)[0] == pytest.approx(0.01, rel=0.12)
    assert scatter_of(energy[shuffled], values[shuffled])[0] == pytest.approx(scatter_of(energy, values)[0])


def test_intervals_by_it_hold_the_truth():
    rng = np.random.default_rng(3)
    held = []
    for _ in range(200):
        values = spectrum(REGIONS) + 5e-3 * rng.standard_normal(len(REGIONS))
        sigma, _ = scatter_of(REGIONS, values)
        held.append(np.mean(np.abs(values - spectrum(REGIONS)) < sigma))
    assert 0.64 < np.mean(held) < 0.74


def test_what_is_not_known_is_left_out_and_outliers_hardly_count():
    rng = np.random.default_rng(4)
    values = spectrum(EVEN) + 0.01 * rng.standard_normal(len(EVEN))
    values[::40] = np.nan
    values[7::200] += 5.0
    assert scatter_of(EVEN, values)[0] == pytest.approx(0.01, rel=0.2)


def test_of_few_or_computed_points_it_is_not_known_and_says_why():
    sigma, reason = scatter_of(EVEN[:13], EVEN[:13])
    assert np.isnan(sigma)
    assert reason == "13 energies are too few to tell the noise by, expected 14 or more"
    sigma, reason = scatter_of(EVEN, 2.0 + 0.01 * EVEN)
    assert np.isnan(sigma)
    assert reason == "the points do not scatter"
    assert np.isnan(scatter_of(np.array([]), np.array([]))[0])
