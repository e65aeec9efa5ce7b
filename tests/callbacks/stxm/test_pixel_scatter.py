"""What pixels scatter beyond their noise, and what that leaves of the corners of their cloud."""

import numpy as np
import pytest
from test_analysis import ENERGIES, NOISE, oxygen_spectra, totalled

from callbacks.stxm.unmixing.pixel_scatter import with_own_scatter


@pytest.mark.parametrize("number", [1, 4])
def test_pixels_that_scatter_by_their_noise_keep_it(number):
    rng = np.random.default_rng(number)
    noise = rng.uniform(0.5, 2.0, 3000)
    wide = with_own_scatter(noise, noise[:, None] * rng.standard_normal((3000, number)))
    assert (wide >= noise).all()
    assert np.mean((wide / noise) ** 2) < 1.15
    np.testing.assert_array_equal(with_own_scatter(noise, np.zeros((3000, 0))), noise)


def test_each_pixel_scatters_by_its_own():
    rng = np.random.default_rng(3)
    noise, times = np.ones(20_000), np.exp(rng.normal(1.5, 0.8, 20_000))
    beside = times[:, None] * rng.standard_normal((20_000, 4))
    along = times * rng.standard_normal(20_000)
    wide = with_own_scatter(noise, beside)
    for some in np.array_split(np.argsort(wide), 5):  # those said to scatter least, ..., most
        assert 0.58 <= np.mean(np.abs(along[some]) <= wide[some]) <= 0.76
    assert np.corrcoef(np.log(wide), np.log(times))[0, 1] > 0.8


@pytest.mark.long
def test_rims_that_scatter_hardly_move_the_corners():
    """Images a little aside in two directions, all pixels by the same steps, but each by what it has of a rim."""
    pure = oxygen_spectra(ENERGIES)[:2]
    wrong, quoted = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        shares, thickness = rng.dirichlet((0.8, 0.8), 1000), rng.uniform(0.4, 0.9, 1000)
        steps = np.cumsum(rng.standard_normal((2, len(ENERGIES))), axis=1) / np.sqrt(len(ENERGIES))
        rim = 0.01 * np.exp(rng.normal(0.0, 1.5, (1000, 1))) * rng.standard_normal((1000, 2))
        density = thickness[:, None] * (shares @ pure) + rim @ steps
        density += NOISE * rng.standard_normal(density.shape)
        found, off, sigma = totalled(density, pure, shares, thickness, number=2)
        wrong.append(off)
        quoted.append(sigma)
        assert found.phases.end_members.scatter > 3.0
    assert np.sqrt(np.mean(np.square(wrong))) < 0.055  # 0.066 with the noise of all pixels alike
    assert np.mean(np.abs(wrong) <= quoted) >= 0.6
    assert np.median(quoted) < 0.2
