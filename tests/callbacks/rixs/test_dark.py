"""The pedestal of a frame, its noise, and the counts of a photon."""

import numpy as np
import pytest
import tifffile
from irixs import read_scan
from scipy.special import ndtr

from callbacks.contract import CcdConfig, Key
from callbacks.rixs.cosmic_rays import CosmicRayRemoval, CosmicRaySettings
from callbacks.rixs.dark import (
    BLOCK_COLUMNS,
    BLOCK_ROWS,
    BLOCK_SHARE,
    DarkSettings,
    DarkSubtraction,
    estimate_pedestal,
    estimate_photon_counts,
)
from callbacks.step import Chain
from simulated_devices.physics.spectrograph import CLOUD_SIGMA, SpectrographModel

ISOLATED_COUNTS_PER_EV = 0.235  # of isolated photons of the measured scans, in 3 x 3 pixels
KNOWN = {CcdConfig.COUNTS_PER_EV: 0.21, CcdConfig.READ_NOISE: 4.0, CcdConfig.FULL_SCALE: 65535.0}
MODEL = SpectrographModel(cosmic_rate=0.0)


def dark(rng):
    return MODEL.render(np.zeros(2048), exposure_time=300.0, rng=rng)[0]


def light(rng, photons=2.0):
    return MODEL.render(np.full(2048, photons), exposure_time=300.0, rng=rng)[0]


def event(frame, **values):
    return {Key.CCD_IMAGE: frame, Key.ENERGY: 530.0, "seq_num": 1, **KNOWN, **values}


def test_dark_frames_take_the_pedestal_off_pixel_by_pixel():
    rng = np.random.default_rng(0)
    step = DarkSubtraction(DarkSettings())
    for _ in range(5):
        step.push_dark({Key.CCD_DARK_IMAGE: dark(rng)})
    outputs = step.push(event(dark(rng)))
    image = outputs["image"]
    assert abs(image.mean()) < 0.05
    assert image.std() == pytest.approx(outputs["read_noise"], rel=0.05)
    assert outputs["read_noise"] == pytest.approx(4.0 * np.sqrt(1.2), rel=1e-6)
    assert abs(image.mean(axis=0)).max() < 3.0  # no structure of the columns is left


@pytest.mark.parametrize("number", [2, 3, 8])
def test_a_cosmic_ray_in_a_dark_frame_is_not_taken_off_the_light(number):
    rng = np.random.default_rng(number)
    clean = [dark(rng).astype(int) + shift for shift in rng.integers(0, 3, number)]  # its pedestal drifts
    hit = [frame.copy() for frame in clean]
    for frame in hit:
        rows, columns = rng.integers(0, 64, 40), rng.integers(0, 2048, 40)
        frame[rows, columns] += rng.integers(60, 3000, 40)
    frame = light(rng)
    images = []
    for frames in (clean, hit):
        step = DarkSubtraction(DarkSettings())
        for each in frames:
            step.push_dark({Key.CCD_DARK_IMAGE: each})
        images.append(step.push(event(frame))["image"])
    changed = np.abs(images[1] - images[0])
    assert np.count_nonzero(changed > 0.5) <= 40 * number
    assert changed.max() < 6 * 4.0  # the mean of the others has their noise, and no hit
    assert abs((images[1] - images[0]).sum(axis=0)).max() < 40


def test_without_dark_frames_the_pedestal_is_found_in_the_frame():
    outputs = DarkSubtraction(DarkSettings()).push(event(light(np.random.default_rng(1))))
    assert outputs["pedestal"] == pytest.approx(340.0, abs=0.7)
    assert outputs["image"].sum() == pytest.approx(2 * 2048 * 0.21 * 525, rel=0.15)


def test_later_dark_frames_replace_those_before():
    step = DarkSubtraction(DarkSettings())
    step.push_dark({Key.CCD_DARK_IMAGE: np.full((8, 50), 300)})
    step.push(event(np.full((8, 50), 310)))
    step.push_dark({Key.CCD_DARK_IMAGE: np.full((8, 50), 305)})
    step.push_dark({Key.CCD_DARK_IMAGE: np.full((8, 50), 307)})
    assert step.push(event(np.full((8, 50), 310)))["pedestal"] == pytest.approx(4.0)


def test_saturated_pixels_are_named():
    frame = np.full((8, 50), 340)
    frame[3, 7] = 65535
    outputs = DarkSubtraction(DarkSettings()).push(event(frame))
    assert np.argwhere(outputs["image_saturated"]).tolist() == [[3, 7]]


@pytest.mark.parametrize("subtracted", [False, True])
@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (np.full((64, 256), 65535, np.uint16), "100% of the pixels are saturated: neither pedestal nor light is known"),
        (np.full((64, 256), np.nan), "the frame holds values that are not finite"),
        (np.full((64, 256), 500, np.uint16), None),
    ],
)
def test_a_frame_that_tells_nothing_is_refused_with_what_is_wrong_with_it_and_no_name_of_the_program(
    fill, reason, subtracted
):
    chain = Chain({"dark": DarkSubtraction(DarkSettings()), "cosmic_rays": CosmicRayRemoval(CosmicRaySettings())})
    kept, problem = chain.push({Key.CCD_IMAGE: fill, Key.ENERGY: 530.0, CcdConfig.PEDESTAL_SUBTRACTED: subtracted})
    if reason is None:
        reason = (
            "the frame has no dark pixels that tell its level without light"
            if subtracted
            else "the counts of a photon are not known: no light in the frame"
        )
    assert problem == reason
    assert "cosmic_hits" not in kept


def test_the_pedestal_is_found_beside_light():
    rng = np.random.default_rng(2)
    level, noise = estimate_pedestal(light(rng, photons=4.0).astype(float))
    assert level == pytest.approx(340.0, abs=1.0)
    assert noise == pytest.approx(4.2, abs=0.6)


def test_the_counts_of_a_photon_are_found_in_a_frame_with_light():
    rng = np.random.default_rng(3)
    frame = light(rng, photons=40.0).astype(float) - MODEL.pedestal_image
    found, sigma, reason = estimate_photon_counts(frame, read_noise=4.0)
    assert reason == ""
    assert found == pytest.approx(0.21 * 525, rel=0.15)
    assert sigma < 0.1 * found


def test_a_dark_frame_does_not_tell_the_counts_of_a_photon():
    frame = dark(np.random.default_rng(4)).astype(float) - MODEL.pedestal_image
    found, _, reason = estimate_photon_counts(frame, read_noise=4.0)
    assert np.isnan(found)
    assert "photons" in reason or "light" in reason


@pytest.mark.measured
def test_the_raw_ccd_frame_has_the_pedestal_and_noise_that_are_known(measured_data):
    raw = tifffile.imread(measured_data / "raw-ccd" / "LSCO_0040.TIF").astype(float)
    level, noise = estimate_pedestal(raw)
    assert level == pytest.approx(167.0, abs=0.5)
    assert noise == pytest.approx(1.5, abs=0.3)


@pytest.mark.measured
@pytest.mark.parametrize("number", [17174, 17175])
def test_the_gain_of_measured_scans_is_found_in_their_frames_to_a_fifth(measured_data, number):
    step = DarkSubtraction(DarkSettings())
    for energy, frame in zip(*read_scan(measured_data, number), strict=True):
        clipped = {Key.CCD_IMAGE: frame, Key.ENERGY: energy, CcdConfig.PEDESTAL_SUBTRACTED: True}
        counts = step.push(clipped)["photon_counts"]
    assert counts / energy == pytest.approx(ISOLATED_COUNTS_PER_EV, rel=0.2)


@pytest.mark.parametrize(("row_binning", "share"), [(1, 0.809), (8, 0.860)])
def test_the_share_of_a_photon_within_a_block_is_that_of_its_charge_cloud(row_binning, share):
    rng = np.random.default_rng(0)
    caught = np.ones(400_000)
    for size, sigma in ((BLOCK_ROWS, CLOUD_SIGMA / row_binning), (BLOCK_COLUMNS, CLOUD_SIGMA)):
        position = rng.uniform(-2, size + 2, caught.size)
        caught *= ndtr((size - position) / sigma) - ndtr(-position / sigma)
    seen = (caught**2).mean() / caught.mean()
    assert seen == pytest.approx(share, abs=0.003)
    assert pytest.approx(seen, rel=0.05) == BLOCK_SHARE
