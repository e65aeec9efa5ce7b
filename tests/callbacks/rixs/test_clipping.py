"""Frames that the instrument has clipped at zero: their noise, and the light that clipping took."""

import numpy as np
import pytest
from irixs import read_scan

from callbacks.rixs.clipping import find_clipped_noise, undo_clipping
from callbacks.rixs.dark import estimate_clipped_noise
from callbacks.rixs.integration import spectrum_of
from simulated_devices.physics.spectrograph import SpectrographModel

PHOTON = 0.21 * 525
BANDS = {600: 5.0, 800: 20.0, 1000: 80.0, 1200: 300.0, 1400: 1500.0}  # first column: photons a column


def clipped(seed, *, clip=1.0, read_noise=8.0):
    """Give a simulated frame with five bands of light, and its truth."""
    model = SpectrographModel(
        cosmic_rate=0.0, tilt=0.0, curvature=0.0, read_noise=read_noise, clip=clip, cloud_sigma=0.47
    )
    photons = np.full(2048, 0.5)
    for first, number in BANDS.items():
        photons[first : first + 100] = number
    frame, truth = model.render(photons, exposure_time=300.0, rng=np.random.default_rng(seed))
    return frame.astype(float), truth


@pytest.mark.long
@pytest.mark.parametrize(("clip", "read_noise"), [(0.5, 8.0), (1.0, 8.0), (1.0, 4.0), (1.6, 8.0)])
def test_noise_and_offset_of_dark_columns_are_found(clip, read_noise):
    found = [find_clipped_noise(clipped(seed, clip=clip, read_noise=read_noise)[0]) for seed in range(30)]
    noises, sigmas = np.array([(each.noise, each.noise_sigma) for each in found]).T
    truth = np.hypot(read_noise, 1 / np.sqrt(12))
    assert noises.mean() == pytest.approx(truth, rel=0.07)  # columns differ in their pedestal, which adds to it
    assert noises.std() < 1.5 * sigmas.mean()
    # The darkest columns are those with the lowest pedestal, too, by a count or so.
    assert np.mean([each.offset for each in found]) == pytest.approx(-clip * read_noise - 1.0, abs=1.2)


def test_light_is_given_back_from_dim_to_bright_columns():
    ratios, before = [], []
    for seed in range(10):
        frame, truth = clipped(seed)
        found = find_clipped_noise(frame)
        image = frame - found.level()
        spectrum, _ = spectrum_of(image, np.zeros(64), photon_counts=PHOTON, read_noise=found.noise, clipping=found)
        true, raw = truth.photon_charge.sum(axis=0), image.sum(axis=0)
        bands = [slice(first + 5, first + 95) for first in BANDS]
        ratios.append([spectrum[band].sum() / true[band].sum() for band in bands])
        before.append([raw[band].sum() / true[band].sum() for band in bands])
    assert np.mean(ratios, axis=0) == pytest.approx(np.ones(5), abs=0.015)
    assert np.mean(before, axis=0)[0] < 0.85  # which was lost of dim light


def test_what_is_undone_rises_with_the_light_and_nothing_is_added_to_the_dark():
    found = find_clipped_noise(clipped(0)[0])
    means = np.linspace(-1.0, 3000.0, 500)
    light, slope = undo_clipping(means, found, PHOTON)
    assert (np.diff(light) > 0).all()
    assert undo_clipping(np.zeros(1), found, PHOTON)[0][0] == pytest.approx(0.0, abs=1e-9)
    assert slope[-1] == 1.0
    assert light[-1] - means[-1] == pytest.approx(-found.offset - found.level(), abs=1.5)


@pytest.mark.long
@pytest.mark.measured
@pytest.mark.parametrize("number", [17174, 17175, 16492])
def test_the_noise_of_measured_frames_is_the_same_for_dim_and_bright_ones(measured_data, number):
    found = [find_clipped_noise(frame) for frame in read_scan(measured_data, number)[1]]
    noises, sigmas = np.array([(each.noise, each.noise_sigma) for each in found if np.isfinite(each.noise)]).T
    assert len(noises) >= 0.9 * len(found)
    mean = np.average(noises, weights=sigmas**-2)
    assert mean == pytest.approx(8.1, rel=0.05)
    assert np.sqrt(np.mean(((noises - mean) / sigmas) ** 2)) < 1.6
    assert max(each.level() for each in found if np.isfinite(each.noise)) < 1.0


@pytest.mark.measured
def test_the_frame_whose_noise_was_taken_for_light_has_the_noise_of_its_dark_columns(measured_data):
    level, noise = estimate_clipped_noise(read_scan(measured_data, 16492)[1][13])
    assert noise == pytest.approx(8.0, rel=0.1)
    assert 0.0 < level < 0.7
