"""Registration: shifts recovered within their uncertainty, across changes of contrast; refused where there is none."""

import numpy as np
import pytest
from phantoms import blobs
from scan_registration import constant, coverage, drift_error, placing_error
from scipy import ndimage
from simulated_stack import Field, registered, simulated_stack

from callbacks.stxm.alignment.appearance import Appearance
from callbacks.stxm.alignment.drift import drift_of
from callbacks.stxm.alignment.registration import (
    RegistrationSettings,
    Shift,
    left_field,
    put_in_place,
    register,
    shifted,
    with_position_noise,
)
from callbacks.stxm.stack import AlignedStack, Image

COUNTS = 4000.0
SHAPE = (96, 110)


def transmission(seed, shift=(0.0, 0.0), scale=1.0):
    """A noise-free image on a larger field, moved by `shift` and cut out."""
    thickness = blobs((SHAPE[0] + 40, SHAPE[1] + 40), np.random.default_rng(seed), number=30, empty=0.0)
    moved = ndimage.shift(np.exp(-scale * thickness), shift, order=5, mode="nearest")
    return moved[20:-20, 20:-20]


def noisy(image, rng):
    return rng.poisson(COUNTS * image) / COUNTS


@pytest.mark.parametrize("true", [(0.0, 0.0), (0.37, -0.81), (3.4, 2.2), (-6.3, 4.9)])
def test_a_known_shift_is_recovered_to_a_twentieth_of_a_pixel(true):
    rng = np.random.default_rng(1)
    found = register(noisy(transmission(3, true), rng), noisy(transmission(3), rng))
    assert found.status == "ok"
    np.testing.assert_allclose(found.shift, -np.array(true), atol=0.05)
    assert np.all(found.sigma < 0.05)


def test_a_change_of_absorption_does_not_move_the_sample():
    rng = np.random.default_rng(2)
    appearance = Appearance(RegistrationSettings())
    for number in range(4):
        appearance.add(noisy(transmission(5, scale=0.7), rng), number)
    found = appearance.register(noisy(transmission(5, (1.3, -0.6), scale=2.2), rng), np.zeros(2))
    np.testing.assert_allclose(found.shift, (-1.3, 0.6), atol=0.05)


@pytest.mark.long
def test_the_uncertainty_holds_the_truth_in_two_thirds_of_the_trials():
    inside = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        true = rng.uniform(-3, 3, 2)
        found = register(noisy(transmission(seed, true), rng), transmission(seed))
        assert found.status == "ok"
        inside.append(np.abs(found.shift + true) <= found.sigma)
    assert 0.60 <= np.mean(inside) <= 0.76


def test_lines_that_were_not_measured_are_left_out():
    rng = np.random.default_rng(4)
    image = noisy(transmission(7, (0.7, -1.2)), rng)
    image[10:16] = np.nan
    image[-3:] = np.nan
    found = register(image, noisy(transmission(7), rng))
    np.testing.assert_allclose(found.shift, (-0.7, 1.2), atol=0.06)


def test_the_same_images_give_the_same_shift_bit_for_bit():
    rng = np.random.default_rng(4)
    image, reference = noisy(transmission(7, (0.7, -1.2)), rng), noisy(transmission(7), rng)
    np.testing.assert_array_equal(register(image, reference).shift, register(image.copy(), reference.copy()).shift)


def test_an_image_of_noise_or_of_nothing_is_refused():
    rng = np.random.default_rng(3)
    nothing = rng.poisson(COUNTS, SHAPE) / COUNTS
    assert register(nothing, transmission(1)).status != "ok"
    assert register(np.ones(SHAPE), np.ones(SHAPE)).status == "no structure"
    assert np.isnan(register(np.ones(SHAPE), np.ones(SHAPE)).shift).all()


def test_a_shift_beyond_the_limit_is_refused_with_its_size():
    settings = RegistrationSettings(largest_shift=0.05)
    found = register(transmission(3, (9.0, 0.0)), transmission(3), settings)
    assert found.status.startswith("the shift of -9.0")
    assert np.isnan(found.shift).all()


def test_images_of_different_shape_and_tiny_ones():
    with pytest.raises(ValueError, match=r"an image of \(20, 20\) pixels, a reference of \(20, 21\)"):
        register(np.ones((20, 20)), np.ones((20, 21)))
    assert register(np.ones((4, 20)), np.ones((4, 20))).status == "20 x 4 pixels, expected 16 or more each way"


def test_shifting_moves_an_image_to_the_reference():
    true = np.array([1.3, -2.6])
    moved, _ = shifted(transmission(3, true), np.ones(SHAPE), -true)
    inner = np.s_[6:-6, 6:-6]
    np.testing.assert_allclose(moved[inner], transmission(3)[inner], atol=2e-3)


def test_an_image_that_drifted_while_it_was_measured_is_put_right_line_by_line():
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    moves = np.array([0.4, 1.2]) + np.outer(np.arange(SHAPE[0]) - 47.5, [0.03, -0.02])  # 2.9 and 1.9 in all
    exact = transmission(3)
    lines = np.array([rows, columns]) + moves.T[:, :, None]  # where in the sample each line lies
    seen = ndimage.map_coordinates(exact, lines, order=5, mode="nearest")
    placed, variance = shifted(seen, np.ones(SHAPE), moves)
    inner = np.s_[8:-8, 8:-8]
    np.testing.assert_allclose(placed[inner], exact[inner], atol=3e-3)
    assert np.abs(seen - exact)[inner].max() > 0.2
    np.testing.assert_array_equal(left_field(SHAPE, moves), np.isnan(placed))
    np.testing.assert_array_equal(np.isnan(variance), np.isnan(placed))


def test_a_whole_shift_copies_pixels_and_marks_what_left_the_field():
    image = np.arange(30.0 * 20).reshape(30, 20)
    moved, variance = shifted(image, image, np.array([2.0, -3.0]))
    np.testing.assert_array_equal(moved[2:, :-3], image[:-2, 3:])
    np.testing.assert_array_equal(variance[2:, :-3], image[:-2, 3:])
    assert np.isnan(moved[:2]).all()
    assert np.isnan(moved[:, -3:]).all()


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.0, -3.0), (0.4, 0.0), (-1.3, 2.7), (40.0, 0.2)])
def test_the_pixels_that_left_the_field_are_those_that_cannot_be_made_of_others(shift):
    moved, _ = shifted(np.ones((30, 20)), np.ones((30, 20)), np.array(shift))
    np.testing.assert_array_equal(left_field((30, 20), np.array(shift)), np.isnan(moved))


def test_nothing_rings_from_a_missing_line_into_others():
    image = transmission(3)
    image[40] = np.nan
    moved, _ = shifted(image, np.ones(SHAPE), np.array([0.4, 0.0]))
    missing = np.isnan(moved).all(axis=1)
    assert set(np.flatnonzero(missing)) - {0, 1, 94, 95} == {39, 40, 41, 42}
    whole, _ = shifted(transmission(3), np.ones(SHAPE), np.array([0.4, 0.0]))
    np.testing.assert_array_equal(moved[~missing], whole[~missing])


def test_the_variance_of_a_shifted_image_is_that_of_its_pixels():
    rng = np.random.default_rng(0)
    trials = np.array(
        [shifted(rng.standard_normal((24, 24)), np.ones((24, 24)), np.array([0.3, 0.5]))[0] for _ in range(800)]
    )
    _, variance = shifted(np.zeros((24, 24)), np.ones((24, 24)), np.array([0.3, 0.5]))
    inner = np.s_[4:-4, 4:-4]
    np.testing.assert_allclose(trials.var(axis=0)[inner].mean(), variance[inner].mean(), rtol=0.02)


def test_pixels_that_were_off_their_place_are_put_right():
    rng = np.random.default_rng(9)
    thickness = blobs((SHAPE[0], SHAPE[1]), np.random.default_rng(3), number=30, empty=0.0)
    off = 0.15 * rng.standard_normal((2, *SHAPE))
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    exact = np.exp(-thickness)
    seen = ndimage.map_coordinates(exact, np.array([rows, columns]) + off, order=3, mode="nearest")
    placed = put_in_place(seen, off)
    variance = with_position_noise(placed, np.full(SHAPE, 1e-6), 0.1)
    inner = np.s_[4:-4, 4:-4]
    assert np.std((placed - exact)[inner]) < 0.4 * np.std((seen - exact)[inner])
    assert variance.min() >= 1e-6
    slopes = np.hypot(*np.gradient(exact))[inner]
    assert np.corrcoef(variance[inner].ravel(), slopes.ravel() ** 2)[0, 1] > 0.9


def test_a_mean_displacement_is_left_to_registration():
    image = transmission(3)
    placed = put_in_place(image, np.full((2, *SHAPE), 0.3))
    np.testing.assert_allclose(placed, image, atol=1e-12)


O_K = np.r_[520:528:2, 527:533:0.5, 533:545:2]
MN_L3 = np.r_[630:638:2, 638:646:0.5, 646:660:2]


@pytest.mark.long
@pytest.mark.parametrize(
    ("energies", "resonance", "field", "sample"),
    [
        (O_K, (528.0, 532.5), Field((60, 60), 0.03, -1.4, -0.9, 4e-3), "LRNMC 280 mAh/g"),
        (MN_L3, (640.0, 645.0), Field((50, 70), 0.04, -1.6, -1.0, 1e-3), "LRNMC 311 mAh/g"),
    ],
    ids=["O K", "Mn L3"],
)
def test_chemistry_does_not_pull_the_images_of_a_stack(energies, resonance, field, sample):
    wrong, pulls, live_wrong = [], [], []
    for seed in (1, 2):
        images, drift = simulated_stack(energies, field, sample, seed)
        live, found, sigma = registered(images)
        wrong.append(found + drift)
        live_wrong.append(live + drift)
        pulls.append((found + drift)[1:] / sigma[1:])
    at_resonance = (energies >= resonance[0]) & (energies <= resonance[1])
    assert (rms(np.concatenate(wrong)) < 0.03).all()
    assert (rms(np.concatenate([each[at_resonance] for each in wrong])) < 0.04).all()
    assert (rms(np.concatenate(live_wrong)) < 0.07).all()
    assert (rms(np.concatenate(pulls)) < 2.0).all()


def rms(values):
    return np.sqrt(np.mean(np.square(values), axis=0))


def drifting(rng, number=40, pull=0.06, noise=0.005, roughness=0.005):
    """Make up shifts of a stack over an edge, of which a share follows the contrast."""
    moment = np.linspace(0, 1500, number)
    energy = 520 + moment / 60
    contrast = (np.exp(-0.5 * ((energy - 531) / 0.8) ** 2) - 0.3 * (energy > 536))[:, None]
    speed = rng.normal(0, 0.1, 2) + np.cumsum(rng.normal(0, roughness, (number, 2)), axis=0)
    drift = np.cumsum(speed, axis=0) + np.outer(energy - 520, rng.normal(0, 0.05, 2))
    slope = rng.normal(0, pull, 2)
    shift = drift + contrast * slope + noise * rng.standard_normal((number, 2))
    given = {"contrast": contrast, "expected": np.full((2, 1), pull), "moment": moment, "energy": energy}
    return shift, np.full(shift.shape, noise), given, drift, slope


@pytest.mark.long
def test_what_follows_the_contrast_is_told_from_drift_within_its_uncertainty():
    held = []
    for seed in range(100):
        shift, sigma, given, _, slope = drifting(np.random.default_rng(seed))
        pull = drift_of(shift, sigma, **given).pull
        held.append(np.abs(pull.slope[:, 0] - slope) <= np.sqrt(pull.covariance[:, 0, 0]))
    assert 0.60 <= np.mean(held) <= 0.76


def test_drift_freed_of_what_follows_the_contrast_is_closer_to_the_truth():
    before, after = [], []
    for seed in range(10):
        shift, sigma, given, drift, _ = drifting(np.random.default_rng(seed))
        after.append(drift_of(shift, sigma, **given).shift - drift)
        before.append(shift - drift)
    spread = [np.std(each, axis=1) for each in (before, after)]
    assert np.mean(spread[1]) < 0.4 * np.mean(spread[0])


def test_jumps_from_image_to_image_are_not_smoothed_away():
    rng = np.random.default_rng(1)
    shift, sigma, given, drift, _ = drifting(rng, pull=0.0)
    jumps = 0.3 * rng.standard_normal(shift.shape)
    found = drift_of(shift + jumps, sigma, **given | {"expected": np.full((2, 1), 0.05)})
    wrong = found.shift - drift - jumps
    assert np.std(wrong, axis=0).max() < 0.06
    assert np.std(wrong / found.sigma, axis=0).max() < 2


def test_the_rate_of_the_drift_is_told_from_what_goes_with_the_energy():
    rates, truths = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        shift, sigma, given, _, _ = drifting(rng, pull=0.0, roughness=0.0)
        given["energy"] = np.r_[np.linspace(520, 528, 5), np.linspace(528.2, 534, 30), np.linspace(536, 545, 5)]
        settling = 3 * np.exp(-given["moment"] / 600)[:, None] * rng.choice((-1.0, 1.0), 2)
        drifted = settling + 0.1 * np.outer(given["energy"] - 520, rng.normal(0, 1, 2))
        shift = drifted + sigma * rng.standard_normal(shift.shape)
        rates.append(drift_of(shift, sigma, **given | {"expected": np.full((2, 1), 0.05)}).rate)
        truths.append(-settling / 600)
    assert np.std(np.array(rates) - truths) < 0.15 * np.std(truths)


@pytest.mark.long
def test_images_that_drift_while_they_are_measured_are_put_right_line_by_line():
    """One stack as it is, one whose lines have no time of their own, and one that was interrupted for ten hours."""
    energies, interrupted = np.arange(520.0, 536.0), 4
    thickness = blobs((SHAPE[0] + 40, SHAPE[1] + 40), np.random.default_rng(4), number=30, empty=0.0)
    moments = np.arange(len(energies) * SHAPE[0]).reshape(len(energies), SHAPE[0]) * 3.0
    settled = 4.0 * (1 - np.exp(-moments / 1200.0))  # pixels; 0.9 of them within the first image
    later = moments + np.where(moments > moments[interrupted, SHAPE[0] // 2], 36e3, 0.0)
    told = {"as it is": moments, "no lines": np.repeat(moments.mean(axis=1), SHAPE[0]).reshape(moments.shape)}
    stacks = {
        name: (AlignedStack([slice(0, SHAPE[0])], RegistrationSettings(), registered=True), of_lines)
        for name, of_lines in (told | {"interrupted": later}).items()
    }
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] + 20.0

    def seen(place, along):
        at = ndimage.map_coordinates(thickness, [rows - along, columns + 0.5 * along], order=3)
        return np.exp(-(0.5 + 0.5 / (1 + np.exp(528 - energies[place]))) * at)

    for place, energy in enumerate(energies):
        rate = rng.poisson(1000 * COUNTS * seen(place, settled[place][:, None])) / (1000 * COUNTS)
        for stack, of_lines in stacks.values():
            stack.append(Image(place, energy, rate, rate / COUNTS, np.zeros((2, *SHAPE)), SHAPE[0], of_lines[place]))
            start = np.array([-1.0, 0.5]) * (settled[place].mean() - settled[0].mean())
            stack.put(place, [Shift(start, np.full(2, 0.01), np.full(2, 0.01), "ok")], "ok")

    def wrong(name, place):
        stack, _ = stacks[name]
        return np.std((stack.final.aligned(place).rate - seen(place, settled[0].mean()))[12:-12, 12:-12])

    assert wrong("as it is", 0) < 0.3 * wrong("no lines", 0)
    assert wrong("interrupted", interrupted) < 1.5 * wrong("no lines", interrupted)


def test_a_pull_is_not_extrapolated_beyond_the_contrast_it_was_found_from():
    shift, sigma, given, _, _ = drifting(np.random.default_rng(3))
    pull = drift_of(shift, sigma, **given).pull
    highest = given["contrast"].max(axis=0)
    np.testing.assert_array_equal(pull.of(10 * highest)[0], pull.of(highest)[0])


# Where the constants stand; the whole scans are in docs/decisions/constants-registration.md.


def test_residuals_are_correlated_over_blocks_of_eight_pixels():
    held = {}
    for side in (1, 8, 16):
        with constant("BLOCK", side) as settings:
            held[side] = coverage(range(25), settings)
    assert held[1] < 0.4
    assert held[8] == pytest.approx(held[16], abs=0.08)


def test_a_wide_gaussian_of_three_times_the_narrow_one_keeps_an_overlayer_out():
    error = {}
    for width in (1.5, 3.0, 10.0):
        with constant("WIDE", width) as settings:
            error[width] = drift_error(range(2), settings, overlayer=True)[0]
    assert error[3.0] < 0.9 * min(error[1.5], error[10.0])


@pytest.mark.parametrize("name", ["PASSES", "LOWEST", "UNABSORBED_PERCENTILE", "CONVERGED", "FADE"])
def test_a_constant_of_the_registration_changes_no_shift_by_a_hundredth_of_a_pixel(name):
    others = {
        "PASSES": 3,
        "LOWEST": 0.005,
        "UNABSORBED_PERCENTILE": 95.0,
        "CONVERGED": 1e-3,
        "FADE": 16,
    }
    expected = drift_error(range(1), RegistrationSettings())[0]
    with constant(name, others[name]) as settings:
        assert drift_error(range(1), settings)[0] == pytest.approx(expected, abs=0.01)


def test_slopes_are_taken_where_smoothing_costs_as_much_as_noise():
    left = {}
    for value in (0.3, 0.7, 1.5):
        with constant("SLOPE_SMOOTHING", value):
            left[value] = [placing_error(range(2), probe=probe, counts=4000.0) for probe in (0.8, 1.5)]
    assert np.less(left[0.7], left[0.3]).all()
    assert np.less(left[0.7], left[1.5]).all()
