"""Single photons: counted, placed better than a pixel, and refused where they touch."""

import numpy as np
import pytest
import tifffile

from callbacks.rixs.dark import estimate_pedestal
from callbacks.rixs.photon_counting import find_photons, photon_spectrum
from simulated_devices.physics.spectrograph import SpectrographModel

PHOTON, NOISE = 0.21 * 530.0, 4.0


def expose(photons, rng, **options):
    model = SpectrographModel(cosmic_rate=0.0, tilt=0.0, curvature=0.0, **options)

    def photons_per_ev(emission):
        return photons * np.exp(-0.5 * ((emission - 530.0) / 0.01) ** 2) / (0.01 * np.sqrt(2 * np.pi)) + 0.05

    frame, truth = model.render(photons_per_ev, exposure_time=1.0, rng=rng)
    return model, frame.astype(float) - model.pedestal_image, truth


def test_single_photons_are_counted_to_a_few_in_a_hundred():
    _, image, truth = expose(40.0, np.random.default_rng(0))
    found = find_photons(image, photon_counts=PHOTON, read_noise=NOISE)
    assert found.status == "ok"
    assert len(found.column) == pytest.approx(truth.photons.sum(), rel=0.06)


def test_counting_places_a_line_as_it_is_and_narrower_than_summing():
    model, _, _ = expose(0.0, np.random.default_rng(0))
    centre = float(model.pixel(530.0))
    placed, summed = [], []
    for seed in range(40):
        _, image, _ = expose(40.0, np.random.default_rng(seed), resolution=1.5)
        found = find_photons(image, photon_counts=PHOTON, read_noise=NOISE)
        near = found.column[abs(found.column - centre) < 8]
        placed.append(near)
        summed.append(image[:, round(centre) - 8 : round(centre) + 9].sum(axis=0))
    placed, summed = np.concatenate(placed), np.sum(summed, axis=0)
    assert placed.mean() == pytest.approx(centre, abs=0.06)
    columns = np.arange(round(centre) - 8, round(centre) + 9)
    width = np.sqrt(np.average((columns - centre) ** 2, weights=np.clip(summed, 0, None)))
    assert placed.std() < width


def test_the_spectrum_keeps_the_unit_of_a_summed_one():
    _, image, truth = expose(40.0, np.random.default_rng(3))
    found = find_photons(image, photon_counts=PHOTON, read_noise=NOISE)
    spectrum, variance = photon_spectrum(found, np.zeros(64), 2048, photon_counts=PHOTON)
    assert spectrum.sum() == pytest.approx(truth.photon_charge.sum(), rel=0.06)
    assert variance.sum() == pytest.approx(PHOTON * spectrum.sum(), rel=0.6)
    assert (variance > 0).all()


def test_a_displaced_row_is_moved_back():
    image = np.zeros((8, 400))
    image[1, 20], image[6, 25] = 110.0, 110.0
    found = find_photons(image, photon_counts=110.0, read_noise=4.0)
    spectrum, _ = photon_spectrum(found, np.linspace(-1, 6, 8), 400, photon_counts=110.0)
    assert np.flatnonzero(spectrum).tolist() == [20]


def test_crowded_frames_and_weak_photons_are_refused_with_the_reason():
    _, image, _ = expose(9000.0, np.random.default_rng(0), resolution=120.0)
    assert "photons a pixel" in find_photons(image, photon_counts=PHOTON, read_noise=NOISE).status
    weak = find_photons(np.zeros((8, 8)), photon_counts=20.0, read_noise=4.0)
    assert "too few above a noise" in weak.status
    assert len(weak.column) == 0


@pytest.mark.measured
def test_the_raw_ccd_frame_shows_its_single_photons_beside_the_line(measured_data):
    raw = tifffile.imread(measured_data / "raw-ccd" / "LSCO_0040.TIF").astype(float)
    level, noise = estimate_pedestal(raw)
    found = find_photons((raw - level).T[:, 450:], photon_counts=65.0, read_noise=noise)
    assert found.status == "ok"
    assert np.median(found.counts) == pytest.approx(65.0, rel=0.2)
