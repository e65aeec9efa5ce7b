"""Cosmic rays: taken out of measured and simulated frames, with the photons left where they are."""

import itertools

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from irixs import COUNTS_PER_EV, READ_NOISE, read_scan

from callbacks.rixs.cosmic_rays import remove_cosmic_rays
from callbacks.rixs.dark import estimate_pedestal
from simulated_devices.physics.samples import SAMPLES
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


def expose(model, excitation, rng, elastic=320.0, scale=1.0):
    sample, width = SAMPLES["LRNMC 311 mAh/g"], 0.05

    def photons_per_ev(emission):
        line = np.exp(-0.5 * ((emission - excitation) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        return scale * (elastic * line + 14_000.0 * sample.emission(excitation, emission) + 0.8)

    frame, truth = model.render(photons_per_ev, exposure_time=300.0, rng=rng)
    return frame.astype(float) - model.pedestal_image, truth


def photons_lost(cleaned, truth, columns=slice(None)):
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
    for seed in range(12):
        image, truth = expose(model, excitation, np.random.default_rng(seed), scale=scale)
        cleaned = remove_cosmic_rays(image, photon_counts=0.21 * excitation, read_noise=4.0)
        lost += photons_lost(cleaned, truth)
        light += float(truth.photon_charge.sum())
        near_lost += photons_lost(cleaned, truth, near)
        near_light += float(truth.photon_charge[:, near].sum())
    assert lost < 0.002 * light
    assert near_lost < 0.002 * near_light


def test_simulated_hits_are_removed():
    model = SpectrographModel(cosmic_rate=1.0)
    left = charge = 0.0
    for seed in range(8):
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
    left = injected = 0.0
    for seed, (energy, frame) in itertools.product(range(3), zip(*frames_17174, strict=True)):
        rng = np.random.default_rng([seed, round(100 * energy)])
        known = {"photon_counts": COUNTS_PER_EV * energy, "read_noise": READ_NOISE}
        hit = frame.copy()
        for _ in range(15):
            stamp = stamps[rng.integers(len(stamps))]
            row, column = (
                rng.integers(size - length + 1) for size, length in zip(frame.shape, stamp.shape, strict=True)
            )
            hit[row : row + stamp.shape[0], column : column + stamp.shape[1]] += stamp
            injected += stamp.sum()
        # Column by column, so that a hit that is left does not make up for photons that are taken.
        with_hits, without = (remove_cosmic_rays(each, **known).frame.sum(axis=0) for each in (hit, frame))
        left += np.abs(with_hits - without).sum()
    assert 1 - left / injected >= 0.94


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
