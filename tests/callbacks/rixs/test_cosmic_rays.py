"""Cosmic rays: taken out of measured and simulated frames, with the photons left where they are."""

import numpy as np
import pytest
import tifffile
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from irixs import COUNTS_PER_EV, READ_NOISE, read_scan
from scan_cosmic_rays import constant, expose, hits_left, injected, photons_lost
from scipy.special import ndtr
from scipy.stats import poisson

from callbacks.rixs.cosmic_rays import remove_cosmic_rays
from callbacks.rixs.dark import estimate_pedestal
from callbacks.rixs.photon_charge import (
    BOXES,
    CLOUD_SIGMA,
    LARGEST_CHANCE,
    LEAST_CREDIBLE,
    charge_limits,
    cloud_of,
    pixel_share,
)
from callbacks.rixs.photon_model import UNSEEN_PHOTONS, PhotonModel
from simulated_devices.physics.spectrograph import SpectrographModel


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
        (np.full((64, 50), 65535.0), {"photon_counts": 20.0}, "covers 100% of the frame, expected at most 10%"),
        (np.where(np.arange(64 * 50).reshape(64, 50) % 5 < 3, 65535.0, 0.0), {}, "covers 54% of the frame"),
    ],
)
def test_bad_input_is_named(frame, arguments, message):
    with pytest.raises(ValueError, match=message):
        remove_cosmic_rays(frame, **{"photon_counts": 110.0, "read_noise": 4.0} | arguments)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 140), columns=st.integers(1, 90), seed=st.integers(0, 99), charge=st.floats(0, 5e4))
def test_the_account_adds_up_for_frames_of_any_size(rows, columns, seed, charge):
    assume(rows * columns >= 150)  # of less, a hit may cover more than it is taken out of
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


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.measured
@pytest.mark.parametrize("scan", [17174, 17175])
def test_measured_hits_injected_into_measured_frames_are_removed_and_counts_stay_without(measured_data, scan):
    with np.load(measured_data / "als-irixs" / "cosmic_stamps_17174.npz") as file:
        stamps = [file[name].astype(float) for name in file.files]
    changes, left, charge = [], [], []
    for energy, frame in zip(*read_scan(measured_data, scan), strict=True):
        known = {"photon_counts": COUNTS_PER_EV * energy, "read_noise": READ_NOISE}
        without = remove_cosmic_rays(frame, **known)
        changes.append(without.removed_counts / frame.sum())
        frame_left = frame_charge = 0.0
        for seed in range(3):
            hit, more = injected(frame, stamps, np.random.default_rng([seed, round(100 * energy)]))
            # Column by column, so that a hit that is left does not make up for photons that are taken.
            frame_left += np.abs((remove_cosmic_rays(hit, **known).frame - without.frame).sum(axis=0)).sum()
            frame_charge += more
        left.append(frame_left)
        charge.append(frame_charge)
    removed = 1 - np.array(left) / np.array(charge)
    assert removed.mean() >= 0.95
    assert 1 - np.sum(left) / np.sum(charge) >= 0.955  # 0.960 to 0.964 with six seeds
    assert np.median(changes) <= 0.004
    assert np.percentile(changes, 90) <= 0.010


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
    ("NEAR_ROWS", 3, 8),
    ("NEAR_PHOTONS", 0.02, 0.3),
    ("WING_READ_NOISE", 1.0, 3.0),
    ("WING_PHOTON_NOISE", 2.0, 4.0),
    ("GROWS_ALONG", 0.2, 1.0),
    ("GROWS_ACROSS", 0.5, 1.5),
    ("CROWDED", 0.1, 0.25),
    ("PHOTON_SEEN", 0.15, 0.7),
]


@pytest.fixture(scope="module")
def as_they_are():
    return photons_lost(range(6, 9))[0], hits_left(range(104, 112))


@pytest.mark.long
@pytest.mark.parametrize(("name", "lower", "upper"), PLATEAUS)
def test_a_constant_between_these_values_changes_little(name, lower, upper, as_they_are):
    kept, left = as_they_are
    for value in (lower, upper):
        with constant(name, value):
            assert photons_lost(range(6, 9))[0] < max(0.001, 1.6 * kept)
            assert hits_left(range(104, 112)) == pytest.approx(left, abs=0.02)


def flat_light(photons, shape, rng):
    """Draw photons one by one, the charge of each shared along its row; in photons, with read noise."""
    rows, columns = shape
    image = np.zeros(shape)
    for row in range(rows):
        at = rng.uniform(0, columns, rng.poisson(photons * columns))
        first = at.astype(int)
        for step in range(-2, 3):
            low = (first + step - at) / CLOUD_SIGMA
            share = ndtr(low + 1 / CLOUD_SIGMA) - ndtr(low)
            image[row] += np.bincount((first + step) % columns, share, minlength=columns)
    return image, image + 0.05 * rng.standard_normal(shape)


@pytest.mark.long
@pytest.mark.parametrize("photons", [0.02, 0.2, 1.5, 12.0])
def test_photons_leave_the_share_above_the_limits_that_was_asked_for(photons):
    _, image = flat_light(photons, (3, 600_000), np.random.default_rng(0))
    for largest_loss in (0.05, 0.01):
        limits = charge_limits(np.array(photons), largest_loss=largest_loss, noise=0.05)
        for (high, wide), limit in zip(BOXES, limits, strict=True):
            charge = sum(np.roll(image[:high].sum(axis=0), step) for step in range(wide))
            more = np.where(charge > limit, charge - high * wide * photons, 0.0).mean() / photons
            assert more < 1.3 * largest_loss
            if limit > LEAST_CREDIBLE and (charge > limit).mean() < 0.5 * LARGEST_CHANCE:
                assert more > 0.4 * largest_loss  # limits are stepwise where photons are few


def test_light_of_the_second_order_is_left_where_its_photons_are_few_and_few_hits_for_it():
    charge, image = flat_light(0.0005, (64, 2048), np.random.default_rng(0))
    frame = 100 * (image + charge)

    def lost():
        cleaned = remove_cosmic_rays(frame, photon_counts=100.0, read_noise=5.0)
        return float((2 * charge - cleaned.frame / 100)[cleaned.mask].sum() / (2 * charge.sum()))

    assert lost() < 0.04  # a pair that falls on one place
    left = hits_left(range(100, 104))
    with constant("LEAST_CREDIBLE", 1.25):
        assert lost() > 0.1
    with constant("LEAST_CREDIBLE", 4.0):
        assert hits_left(range(100, 104)) > 1.08 * left


@pytest.mark.parametrize("photons", [0.005, 0.02, 0.1, 0.5, 3.0])
def test_evenly_spread_light_loses_no_more_than_its_boxes_together(photons):
    lost = light = 0.0
    for seed in range(4):
        charge, image = flat_light(photons, (64, 2048), np.random.default_rng(seed))
        cleaned = remove_cosmic_rays(100 * image, photon_counts=100.0, read_noise=5.0)
        lost += float((charge - cleaned.frame / 100)[cleaned.mask].sum())
        light += float(charge.sum())
    assert lost < 0.006 * light


def test_the_spread_of_a_photon_s_charge_is_found_in_bright_frames():
    for sigma in (0.25, 0.35):
        assert cloud_of(pixel_share(sigma)) == pytest.approx(sigma, abs=0.005)
        model = SpectrographModel(cloud_sigma=sigma, tilt=0.0, curvature=0.0)
        image, _ = expose(model, 540.0, np.random.default_rng(0), scale=3.0)
        found = PhotonModel(image, 0.21 * 540, 4.0, 2e-3).cloud_sigma
        assert found == pytest.approx(sigma, abs=0.1)  # rows share charge, too


def test_photons_may_have_been_expected_unseen_up_to_the_limit_at_95_percent():
    assert poisson.pmf(0, UNSEEN_PHOTONS) == pytest.approx(0.05, abs=0.001)


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


def test_a_lower_threshold_takes_more_and_a_higher_one_less():
    image, _ = expose(SpectrographModel(cosmic_rate=1.0), 540.0, np.random.default_rng(0), scale=3.0)
    taken = [
        remove_cosmic_rays(image, photon_counts=0.21 * 540, read_noise=4.0, threshold=each).mask.sum()
        for each in (2.0, 5.5, 6.0, 6.5, 9.0)
    ]
    assert taken == sorted(taken, reverse=True)
    assert taken[0] > taken[2] >= taken[-1] > 0
