"""The simulated spectrograph against the statistics that it promises."""

import numpy as np
import pytest

from simulated_devices.physics.cosmic_rays import cosmic_charges
from simulated_devices.physics.spectrograph import SpectrographModel

EXPOSURE = 300.0  # s


def valence_and_elastic(energy):
    """8000 photons of valence emission at 524 eV and 400 in an elastic line at 535 eV."""
    valence = 8000 * np.exp(-0.5 * ((energy - 524) / 1.2) ** 2) / (1.2 * np.sqrt(2 * np.pi))
    return valence + line(energy, at=535.0, photons=400)


def line(energy, *, at, photons, sigma=0.06):
    return photons * np.exp(-0.5 * ((energy - at) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))


def quiet(**changes):
    """A spectrograph without cosmic rays, curvature and tilt."""
    return SpectrographModel(**({"cosmic_rate": 0.0, "tilt": 0.0, "curvature": 0.0} | changes))


def test_pixel_inverts_energy_to_a_billionth_of_a_pixel():
    model = SpectrographModel()
    pixel = np.linspace(0, model.columns - 1, 500)
    np.testing.assert_allclose(model.pixel(model.energy(pixel)), pixel, rtol=0, atol=1e-9)


def test_dispersion_changes_with_the_energy_squared_and_the_exit_angle_as_at_the_measured_instrument():
    model = SpectrographModel()
    assert np.diff(model.energy(model.centre_column + np.array([-0.5, 0.5]))) == pytest.approx(0.107, rel=1e-6)
    wavelength = 12398.42 / model.energy(np.arange(model.columns))
    per_angstrom = -1 / np.gradient(wavelength)
    assert per_angstrom[1372] / per_angstrom[645] == pytest.approx(202 / 188, abs=0.02)
    assert per_angstrom[-1] / per_angstrom[0] == pytest.approx(1.2, abs=0.03)


def test_the_second_power_is_half_the_change_of_the_dispersion():
    model = SpectrographModel()
    near = np.polynomial.Polynomial.fit(np.arange(-30, 31.0), model.energy(model.centre_column + np.arange(-30, 31)), 3)
    assert near.convert().coef[2] == pytest.approx(model.quadratic_dispersion, rel=1e-3)


def test_light_in_second_order_lies_at_half_its_energy_with_twice_the_charge():
    model = quiet(resolution=0.5)
    _, truth = model.render(
        np.zeros(2048),
        second_order=lambda e: line(e, at=465.0, photons=5000),
        exposure_time=1,
        rng=np.random.default_rng(11),
    )
    assert truth.photon_charge.sum() / truth.photons.sum() == pytest.approx(0.21 * 930, rel=1e-3)
    assert np.average(np.arange(2048), weights=truth.photon_charge.sum(axis=0)) == pytest.approx(
        model.pixel(465.0), abs=0.1
    )


def test_a_chip_that_has_drifted_sees_all_lines_so_much_further():
    model = quiet()
    frames = [
        model.render(valence_and_elastic, exposure_time=1, rng=np.random.default_rng(12), displacement=by)[1]
        for by in (0.0, 3.0)
    ]
    still, moved = (frame.photon_charge.sum(axis=0) for frame in frames)
    at = np.arange(2048)
    assert np.average(at, weights=moved) - np.average(at, weights=still) == pytest.approx(3.0, abs=0.3)
    assert [frame.displacement for frame in frames] == [0.0, 3.0]


def test_an_instrument_that_clips_leaves_the_share_of_dark_pixels_above_zero_that_was_measured():
    model = quiet(read_noise=8.0, clip=1.0)
    frame, _ = model.render(np.zeros(2048), exposure_time=1, rng=np.random.default_rng(13))
    assert (frame == 0).mean() == pytest.approx(0.85, abs=0.02)


def test_photons_follow_poisson_statistics_in_mean_and_variance():
    model = quiet(rows=8)
    expected = np.full(model.columns, 3.0)
    rng = np.random.default_rng(1)
    sums = np.stack([model.render(expected, exposure_time=EXPOSURE, rng=rng)[1].photons.sum(axis=0) for _ in range(60)])
    inner = sums[:, 10:-10]
    assert inner.mean() == pytest.approx(3.0, abs=4 * np.sqrt(3.0 / inner.size))
    assert inner.var(axis=0, ddof=1).mean() == pytest.approx(3.0, rel=0.03)


def test_counts_of_a_photon_are_gain_times_energy_and_all_of_its_charge_arrives():
    model = quiet()
    _, truth = model.render(valence_and_elastic, exposure_time=EXPOSURE, rng=np.random.default_rng(2))
    counts_per_photon = truth.photon_charge.sum() / truth.photons.sum()
    mean_energy = (8000 * 524 + 400 * 535) / 8400
    assert counts_per_photon == pytest.approx(0.21 * mean_energy, rel=1e-3)


def test_charge_of_one_photon_is_shared_between_neighbouring_columns():
    model = quiet(resolution=0.01, cloud_sigma=0.47)  # as measured
    rng = np.random.default_rng(3)
    fractions = []
    for _ in range(200):
        _, truth = model.render(lambda e: line(e, at=535.0, photons=1), exposure_time=1, rng=rng)
        if truth.photons.sum() == 1:
            fractions.append(truth.photon_charge.max() / truth.photon_charge.sum())
    assert np.mean(fractions) == pytest.approx(0.60, abs=0.03)
    assert np.min(fractions) < 0.6  # a photon on the edge of two pixels


def test_a_monochromatic_line_has_its_energy_and_a_width_of_4_to_6_pixels():
    model = quiet()
    _, truth = model.render(lambda e: line(e, at=535.0, photons=40_000), exposure_time=1, rng=np.random.default_rng(4))
    spectrum = truth.photon_charge.sum(axis=0)
    column = np.arange(model.columns)
    centre = np.average(column, weights=spectrum)
    sigma = np.sqrt(np.average((column - centre) ** 2, weights=spectrum))
    assert float(model.energy(centre)) == pytest.approx(535.0, abs=4 * sigma * 0.11 / np.sqrt(40_000))
    assert 4 < 2.3548 * sigma < 6


def test_a_line_lies_on_the_stated_curve():
    model = quiet(tilt=6.0, curvature=10.0)
    _, truth = model.render(lambda e: line(e, at=535.0, photons=200_000), exposure_time=1, rng=np.random.default_rng(5))
    column = np.arange(model.columns)
    centres = (truth.photon_charge * column).sum(axis=1) / truth.photon_charge.sum(axis=1)
    # within a binned row the curve itself runs over a fraction of a pixel: its mean is met to 0.2 pixel
    np.testing.assert_allclose(centres, model.pixel(535.0) + model.shift(np.arange(model.rows)), atol=0.2)


def test_a_dark_frame_has_the_stated_pedestal_read_noise_and_small_fixed_structure():
    model = quiet(pedestal_drift=0.0)
    rng = np.random.default_rng(6)
    frames = np.stack([model.render(np.zeros(2048), exposure_time=EXPOSURE, rng=rng)[0] for _ in range(40)]).astype(
        float
    )
    assert frames.mean() == pytest.approx(340, abs=0.5)
    assert np.sqrt(frames.var(axis=0, ddof=1).mean()) == pytest.approx(np.hypot(4.0, 1 / np.sqrt(12)), rel=0.01)
    structure = frames.mean(axis=(0, 1))
    assert 0.5 < structure.std() < 2.0
    np.testing.assert_allclose(structure, model.pedestal_image.mean(axis=0), atol=0.5)


def test_cosmic_ray_charges_have_the_measured_median_percentile_and_tail():
    charges = cosmic_charges(200_000, rng=np.random.default_rng(7))
    assert np.median(charges) == pytest.approx(750, rel=0.02)
    assert np.quantile(charges, 0.95) == pytest.approx(3000, rel=0.03)
    assert 30_000 < charges.max() <= 40_000


def test_cosmic_rays_come_at_the_stated_rate_and_mostly_cover_two_to_six_pixels():
    model = SpectrographModel()
    rng = np.random.default_rng(8)
    hits, sizes = 0, []
    frames = 300
    for _ in range(frames):
        truth = model.render(np.zeros(2048), exposure_time=120.0, rng=rng)[1]
        hits += truth.cosmic_hits
        if truth.cosmic_hits == 1:
            sizes.append(np.count_nonzero(truth.cosmic_charge > 40))
    rate = hits / (frames * model.area * 2.0)
    assert rate == pytest.approx(0.225, abs=4 * np.sqrt(hits) / (frames * model.area * 2.0))
    sizes = np.array(sizes)
    assert np.mean((sizes >= 2) & (sizes <= 6)) > 0.7
    assert np.mean(sizes > 8) > 0.02  # tracks


def test_strong_light_saturates_at_full_scale():
    model = quiet()
    bright = lambda e: line(e, at=535.0, photons=600_000)  # noqa: E731
    frame, truth = model.render(bright, exposure_time=1, rng=np.random.default_rng(9))
    assert frame.dtype == np.uint16
    assert frame.max() == 65535
    assert truth.photon_charge.max() > 65535


def test_the_same_generator_state_gives_the_same_frame_bit_for_bit():
    model = SpectrographModel()
    one, truth_one = model.render(valence_and_elastic, exposure_time=EXPOSURE, rng=np.random.default_rng(10))
    two, truth_two = model.render(valence_and_elastic, exposure_time=EXPOSURE, rng=np.random.default_rng(10))
    assert np.array_equal(one, two)
    assert np.array_equal(truth_one.cosmic_charge, truth_two.cosmic_charge)


def test_expected_photons_of_the_wrong_shape_or_sign_are_refused():
    model = SpectrographModel()
    with pytest.raises(ValueError, match=r"shape \(10,\), the spectrograph needs \(2048,\)"):
        model.render(np.zeros(10), exposure_time=1, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="not negative"):
        model.render(np.full(2048, -1.0), exposure_time=1, rng=np.random.default_rng(0))
