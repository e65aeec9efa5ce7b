"""Cosmic rays: taken out of measured and simulated frames, with the photons left where they are."""

import itertools

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from irixs import COUNTS_PER_EV, READ_NOISE, read_scan
from scan_cosmic_rays import constant, expose, hits_left, injected, photons_lost
from scipy.special import ndtr
from scipy.stats import norm, poisson

from callbacks.rixs.cosmic_rays import remove_cosmic_rays
from callbacks.rixs.dark import estimate_pedestal
from callbacks.rixs.photon_model import (
    LEAST_CREDIBLE,
    PHOTON_MARGIN,
    SHARE_SKEW,
    SHARED_CHANCE_FACTOR,
    UNSEEN_PHOTONS,
    poisson_limit,
)
from simulated_devices.physics.spectrograph import CLOUD_SIGMA, SpectrographModel


def test_a_frame_of_photons_alone_is_left_as_it_is():
    model = SpectrographModel(cosmic_rate=0.0)
    image, truth = expose(model, 529.0, np.random.default_rng(0))
    cleaned = remove_cosmic_rays(image, photon_counts=0.21 * 529, read_noise=4.0)
    assert cleaned.removed_counts <= 0.002 * truth.photon_charge.sum()


def test_a_hit_is_replaced_by_the_mean_of_its_column():
    image = 4.0 * np.random.default_rng(0).standard_normal((64, 300))
    image[30, 100:103] += [400.0, 2500.0, 60.0]
    cleaned = remove_cosmic_rays(image, photon_counts=110.0, read_noise=4.0)
    assert cleaned.hits == 1
    assert cleaned.mask[30, 100:103].all()
    assert abs(cleaned.frame[30, 100:103]).max() < 8.0
    assert cleaned.removed_counts == pytest.approx(2960.0, abs=25.0)
    np.testing.assert_array_equal(cleaned.frame[~cleaned.mask], image[~cleaned.mask])


@pytest.mark.parametrize(
    ("frame", "arguments", "message"),
    [
        (np.zeros(5), {}, r"not \(5,\)"),
        (np.full((4, 4), np.nan), {}, "not finite"),
        (np.zeros((4, 4)), {"photon_counts": np.nan}, "photon_counts is nan"),
        (np.zeros((4, 4)), {"read_noise": 0.0}, "read_noise is 0"),
        (np.zeros((4, 4)), {"threshold": -1.0}, "threshold is -1"),
    ],
)
def test_bad_input_is_named(frame, arguments, message):
    with pytest.raises(ValueError, match=message):
        remove_cosmic_rays(frame, **{"photon_counts": 110.0, "read_noise": 4.0} | arguments)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 140), columns=st.integers(1, 90), seed=st.integers(0, 99), charge=st.floats(0, 5e4))
def test_the_account_adds_up_for_frames_of_any_size(rows, columns, seed, charge):
    rng = np.random.default_rng(seed)
    image = 100.0 * rng.poisson(0.05, (rows, columns)) + 4.0 * rng.standard_normal((rows, columns))
    image[rng.integers(rows), rng.integers(columns)] += charge
    before = image.copy()
    cleaned = remove_cosmic_rays(image, photon_counts=100.0, read_noise=4.0)
    np.testing.assert_array_equal(image, before)
    assert cleaned.removed_counts == pytest.approx(image.sum() - cleaned.frame.sum(), abs=1e-6 * (1 + charge))
    assert (cleaned.hits > 0) == cleaned.mask.any()


def charge_lost(cleaned, truth, columns=slice(None)):
    mask = cleaned.mask[:, columns]
    return float(truth.photon_charge[:, columns][mask].sum() - cleaned.frame[:, columns][mask].sum())


@pytest.mark.parametrize(
    ("excitation", "scale"), [(526.0, 1.0), (529.0, 1.0), (531.4, 1.0), (540.0, 1.0), (540.0, 3.0)]
)
def test_simulated_frames_lose_less_than_two_photons_in_a_thousand(excitation, scale):
    model = SpectrographModel()
    lost = light = near_lost = near_light = 0.0
    elastic = round(float(model.pixel(excitation)))
    near = slice(elastic - 6, elastic + 7)
    for seed in range(24):
        image, truth = expose(model, excitation, np.random.default_rng(seed), scale=scale)
        cleaned = remove_cosmic_rays(image, photon_counts=0.21 * excitation, read_noise=4.0)
        lost += charge_lost(cleaned, truth)
        light += float(truth.photon_charge.sum())
        near_lost += charge_lost(cleaned, truth, near)
        near_light += float(truth.photon_charge[:, near].sum())
    assert lost < 0.002 * light
    assert near_lost < 0.002 * near_light


def test_simulated_hits_are_removed():
    model = SpectrographModel(cosmic_rate=1.0)
    left = charge = 0.0
    for seed in range(16):
        image, truth = expose(model, 540.0, np.random.default_rng(seed))
        cleaned = remove_cosmic_rays(image, photon_counts=0.21 * 540, read_noise=4.0)
        left += float(truth.cosmic_charge[~cleaned.mask].sum())
        charge += float(truth.cosmic_charge.sum())
    assert left < 0.15 * charge  # half of the hits leave less than seven photons do, one in ten less than three


@pytest.fixture(scope="module")
def frames_17174(measured_data):
    return read_scan(measured_data)


@pytest.mark.measured
def test_measured_frames_without_injection_keep_their_counts(frames_17174):
    changes = []
    for energy, frame in zip(*frames_17174, strict=True):
        cleaned = remove_cosmic_rays(frame, photon_counts=COUNTS_PER_EV * energy, read_noise=READ_NOISE)
        changes.append(cleaned.removed_counts / frame.sum())
    assert np.median(changes) <= 0.004
    assert np.percentile(changes, 90) <= 0.010


@pytest.mark.measured
def test_measured_hits_injected_into_measured_frames_are_removed(frames_17174, measured_data):
    with np.load(measured_data / "als-irixs" / "cosmic_stamps_17174.npz") as file:
        stamps = [file[name].astype(float) for name in file.files]
    left = charge = 0.0
    for seed, (energy, frame) in itertools.product(range(3), zip(*frames_17174, strict=True)):
        known = {"photon_counts": COUNTS_PER_EV * energy, "read_noise": READ_NOISE}
        hit, more = injected(frame, stamps, np.random.default_rng([seed, round(100 * energy)]))
        # Column by column, so that a hit that is left does not make up for photons that are taken.
        with_hits, without = (remove_cosmic_rays(each, **known).frame.sum(axis=0) for each in (hit, frame))
        left += np.abs(with_hits - without).sum()
        charge += more
    assert 1 - left / charge >= 0.94


@pytest.mark.measured
def test_the_raw_ccd_frame_loses_its_hits_and_keeps_its_line(measured_data):
    raw = tifffile.imread(measured_data / "raw-ccd" / "LSCO_0040.TIF").astype(float)
    level, noise = estimate_pedestal(raw)
    image = (raw - level).T  # this camera's lines run along its rows
    cleaned = remove_cosmic_rays(image, photon_counts=65.0, read_noise=noise)
    assert cleaned.mask[image > 6 * 65.0].all()
    assert 12 <= cleaned.hits <= 100
    # The line, about 50,000 photons, and the single photons beside it are kept.
    assert cleaned.removed_counts < 0.02 * image[image > 4 * noise].sum()
    line = image.sum(axis=0) > 0.2 * image.sum(axis=0).max()
    assert cleaned.mask[:, line].mean() < 1e-3
    singles = (image > 50) & (image < 75)
    assert (cleaned.mask & singles).sum() <= 0.015 * singles.sum()


# Where the constants stand; the whole scans are in docs/decisions/constants-cosmic-rays.md.

PLATEAUS = [
    ("CLUMP_CHANCE_FACTOR", 1e4, 1e7),
    ("PHOTON_MARGIN", 0.15, 0.4),
    ("NOISE_MARGIN", 0.0, 1.0),
    ("SHARING_PIXELS", 100, 2000),
    ("SHARING_CAP", 4.0, 10.0),
    ("MEAN_PARTS", 3, 6),
    ("CAP_SIGMAS", 3.0, 12.0),
    ("CAP_PHOTONS", 2.0, 8.0),
    ("NEAR_COLUMNS", 3, 7),
    ("DIM_COLUMNS", 9, 25),
    ("FAR_COLUMNS", 25, 101),
    ("MEDIAN_COLUMNS", 41, 81),
    ("LINE_SIGMAS", 2.0, 6.0),
    ("UNSEEN_PHOTONS", 0.5, 12.0),
    ("SIDE_GAP", 2, 8),
    ("SIDE_COLUMNS", 5, 50),
    ("WING_READ_NOISE", 1.0, 3.0),
    ("WING_PHOTON_NOISE", 1.0, 2.0),
    ("CROWDED", 0.1, 0.25),
    ("PHOTON_SEEN", 0.15, 0.7),
]


@pytest.fixture(scope="module")
def as_they_are():
    return photons_lost(range(6, 9))[0], hits_left(range(104, 112))


@pytest.mark.parametrize(("name", "lower", "upper"), PLATEAUS)
def test_a_constant_between_these_values_changes_little(name, lower, upper, as_they_are):
    kept, left = as_they_are
    for value in (lower, upper):
        with constant(name, value):
            assert photons_lost(range(6, 9))[0] < max(0.001, 1.6 * kept)
            assert hits_left(range(104, 112)) == pytest.approx(left, abs=0.02)


def test_the_chance_of_shared_charge_is_the_largest_that_loses_less_than_two_photons_in_a_thousand():
    worst, left = photons_lost(range(12, 24))[1], hits_left(range(100, 104))
    assert worst < 0.002
    with constant("SHARED_CHANCE_FACTOR", 10 * SHARED_CHANCE_FACTOR):
        assert photons_lost(range(12, 24))[1] > 0.004
    with constant("SHARED_CHANCE_FACTOR", SHARED_CHANCE_FACTOR / 10):
        assert hits_left(range(100, 104)) > 1.1 * left


def test_fewer_than_two_credible_photons_would_lose_light_and_more_would_leave_hits():
    left = hits_left(range(100, 104))
    with constant("LEAST_CREDIBLE", 1):
        assert photons_lost(range(12, 24))[1] > 0.004
    with constant("LEAST_CREDIBLE", 3):
        assert hits_left(range(100, 104)) > 1.08 * left


@pytest.mark.parametrize("row_binning", [1, 8])
@pytest.mark.parametrize("side", [1, 2])
def test_the_skew_of_shares_holds_the_chance_that_shared_charge_passes_for_a_hit(side, row_binning):
    """The charge in a box is a compound Poisson sum, whose tail is longer than Poisson's of the same variance."""
    rng = np.random.default_rng(0)
    margin, bins = 2, 100
    offsets = rng.uniform(-margin, side + margin, (2, 200_000))
    across, along = (
        ndtr((side - offset) / sigma) - ndtr(-offset / sigma)
        for offset, sigma in zip(offsets, (CLOUD_SIGMA, CLOUD_SIGMA / row_binning), strict=True)
    )
    caught, area = across * along, (side + 2 * margin) ** 2
    share = (caught**2).mean() / caught.mean()
    one = np.fft.fft(np.bincount(np.rint(bins * caught).astype(int), minlength=bins + 1) / caught.size, 1 << 13)
    chance = norm.sf(6.0) * SHARED_CHANCE_FACTOR

    def excess(skew):
        ratios = []
        for photons in (0.15, 0.3, 0.45, 0.6, 1.0, 2.0, 3.0):
            total = np.fft.ifft(np.exp(photons * area * (one - 1))).real
            clumps = LEAST_CREDIBLE + PHOTON_MARGIN
            limit = max(skew * share * poisson.isf(chance, photons * side**2 / (skew * share)), clumps)
            ratios.append((1 - total[: int(bins * limit) + 1].sum()) / chance)
        return ratios

    assert np.median(excess(SHARE_SKEW)) < 0.7
    assert max(excess(SHARE_SKEW)) < 2.0
    assert np.median(excess(1.0)) > 1.4
    assert max(excess(1.0)) > 3.4


def test_photons_may_have_been_expected_unseen_up_to_the_limit_at_95_percent():
    assert poisson.pmf(0, UNSEEN_PHOTONS) == pytest.approx(0.05, abs=0.001)


def test_the_limit_of_poisson_s_law_is_scipy_s():
    expected = np.geomspace(1e-9, 3e3, 4000)
    for chance in (0.01, 1e-3, norm.sf(6.0) * 1e5, 1e-6, 1e-9):
        np.testing.assert_array_equal(poisson_limit(chance, expected), poisson.isf(chance, expected))


@pytest.mark.parametrize("threshold", [10.0, 15.0, 30.0])
def test_a_hit_is_found_above_thresholds_beyond_the_rounding_of_one(threshold):
    image = 4.0 * np.random.default_rng(0).standard_normal((64, 300))
    image[30, 100] = 1e5
    found = remove_cosmic_rays(image, photon_counts=110.0, read_noise=4.0, threshold=threshold)
    assert found.hits == 1
    assert found.mask[30, 100]


def test_no_charge_is_above_a_threshold_whose_chance_is_zero():
    image = np.zeros((64, 300))
    image[30, 100] = 1e5
    assert remove_cosmic_rays(image, photon_counts=110.0, read_noise=4.0, threshold=50.0).hits == 0
