"""The fit of emission energy against elastic lines: its numbers, its honesty, its refusals."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callbacks.rixs import fit_calibration
from callbacks.rixs.calibration import Displacements, KnownLine
from callbacks.rixs.drift import DriftSettings, find_drift

DISPERSION, ENERGY, PIVOT = 0.107, 530.0, 1000.0
BEND = -0.8e-4  # 1/pixel, of a grating at grazing exit


def true_energy(pixel, bend=BEND):
    u = pixel - PIVOT
    return ENERGY / (1 - DISPERSION / ENERGY * (u + 0.5 * bend * u**2))


def true_pixel(energy, bend=BEND):
    way = ENERGY / DISPERSION * (1 - ENERGY / energy)
    return PIVOT + 2 * way / (1 + np.sqrt(1 + 2 * bend * way))


def true_dispersion(pixel, bend=BEND):
    return true_energy(pixel + 0.5, bend) - true_energy(pixel - 0.5, bend)


def lines(rng, *, n=12, sigma=0.15, bend=BEND):
    energies = np.sort(rng.uniform(526.0, 545.0, n))
    sigmas = rng.uniform(0.7, 1.4, n) * sigma
    return true_pixel(energies, bend) + sigmas * rng.standard_normal(n), energies, sigmas


def coverage(make, trials=300, far=300.0):
    inside = {"dispersion": 0, "energy": 0, "far away": 0}
    for seed in range(trials):
        pixels, energies, sigmas, bend, options = make(np.random.default_rng(seed))
        found = fit_calibration(pixels, energies, sigmas, **options)
        assert found.status == "ok"
        inside["energy"] += abs(found.energy(found.pivot) - true_energy(found.pivot, bend)) <= found.sigma(found.pivot)
        inside["dispersion"] += abs(found.dispersion - true_dispersion(found.pivot, bend)) <= found.dispersion_sigma
        inside["far away"] += abs(found.energy(far) - true_energy(far, bend)) <= found.sigma(far)
    return {key: value / trials for key, value in inside.items()}


def any_bend(rng):
    """One of those that gratings have, as the fit supposes them."""
    return rng.normal(-1e-4, 0.8e-4)


def test_quoted_intervals_hold_the_truth_as_often_as_they_say():
    def make(rng):
        bend = any_bend(rng)
        return *lines(rng, bend=bend), bend, {}

    shares = coverage(make)
    assert all(0.60 <= share <= 0.76 for share in shares.values()), shares


def test_quoted_intervals_hold_the_truth_with_outliers_among_the_lines():
    def make(rng):
        bend = any_bend(rng)
        pixels, energies, sigmas = lines(rng, n=14, bend=bend)
        pixels[rng.choice(14, 4, replace=False)] = 940 + rng.normal(0, 3, 4)  # fluorescence, that does not move
        return pixels, energies, sigmas, bend, {}

    shares = coverage(make)
    assert all(0.60 <= share <= 0.76 for share in shares.values()), shares


@pytest.mark.long
def test_quoted_intervals_hold_the_truth_where_the_dispersion_bends_as_no_grating_does():
    bend = 1e-3  # to be seen every time
    shares = coverage(lambda rng: (*lines(rng, n=24, bend=bend), bend, {}))
    assert all(0.60 <= share <= 0.76 for share in shares.values()), shares


@pytest.mark.long
@pytest.mark.parametrize("order", ["up", "random"])
def test_quoted_intervals_hold_the_truth_where_the_chip_drifts_and_nothing_but_the_lines_tells(order):
    hours = np.linspace(0.0, 4.0, 24)
    drift = find_drift(hours, [], DriftSettings())

    def make(rng):
        bend = any_bend(rng)
        pixels, energies, sigmas = lines(rng, n=24, bend=bend)
        place = np.arange(24) if order == "up" else rng.permutation(24)
        moved = Displacements(drift.mean[place], drift.factor[place])
        pixels = pixels + moved.factor @ rng.standard_normal(moved.factor.shape[1])
        return pixels, energies, sigmas, bend, {"displacements": moved}

    shares = coverage(make)
    assert all(0.60 <= share <= 0.76 for share in shares.values()), shares


def test_a_drift_that_looks_like_another_dispersion_is_refused_as_such():
    hours = np.linspace(0.0, 4.0, 12)
    drift = find_drift(hours, [], DriftSettings())
    rng = np.random.default_rng(0)
    energies = np.linspace(530.0, 531.3, 12)  # twelve pixels
    found = fit_calibration(
        true_pixel(energies) + rng.normal(0, 0.05, 12), energies, np.full(12, 0.05), displacements=drift
    )
    assert "a drift of the spectrograph would look alike" in found.status
    assert fit_calibration(true_pixel(energies), energies, np.full(12, 0.05)).status == "ok"


def test_known_lines_far_away_join_the_fit_with_their_own_uncertainty():
    def make(rng):
        bend = any_bend(rng)
        pixels, energies, sigmas = lines(rng, bend=bend)
        place = float(true_pixel(452.0, bend)) + rng.normal(0, 0.4)
        known = [KnownLine("Ti La", 452.0 + rng.normal(0, 0.5), 0.5, place, 0.4)]
        return pixels, energies, sigmas, bend, {"known": known}

    shares = coverage(make)
    assert all(0.60 <= share <= 0.76 for share in shares.values()), shares
    pixels, energies, sigmas, _, options = make(np.random.default_rng(0))
    near, far = fit_calibration(pixels, energies, sigmas), fit_calibration(pixels, energies, sigmas, **options)
    assert far.sigma(300.0) < 0.5 * near.sigma(300.0)


def test_the_uncertainty_of_the_axis_far_from_the_lines_is_that_of_the_bend():
    energies = np.linspace(529.0, 531.0, 12)  # too near to one another to show it
    found = fit_calibration(true_pixel(energies), energies, np.full(12, 0.02))
    distance = found.pivot - 100.0
    bent = 0.8e-4 * DISPERSION * distance**2 / 2 * (found.energy(100.0) / ENERGY) ** 2
    assert found.sigma(100.0) == pytest.approx(bent, rel=0.5)
    known = fit_calibration(true_pixel(energies), energies, np.full(12, 0.02), bend=(BEND, 1e-6))
    assert known.sigma(100.0) < 0.7 * found.sigma(100.0)


def test_scatter_beyond_the_sigmas_widens_the_uncertainty():
    rng = np.random.default_rng(0)
    pixels, energies, sigmas = lines(rng, n=20, sigma=0.15)
    honest = fit_calibration(pixels, energies, sigmas)
    optimistic = fit_calibration(pixels, energies, sigmas / 2.5)
    assert optimistic.dispersion_sigma > 0.7 * honest.dispersion_sigma


def test_lines_that_lie_about_the_calibration_in_waves_give_none_and_those_that_scatter_as_much_do():
    rng = np.random.default_rng(0)
    _, energies, _ = lines(rng, n=40)
    sigmas = np.full(40, 0.1)
    wave = 0.28 * np.sin(2 * np.pi * (energies - 526.0) / 6.0)
    refused = fit_calibration(true_pixel(energies) + wave, energies, sigmas)
    assert "runs of energy, not at random" in refused.status
    assert np.isnan(refused.energy(1000.0))
    assert fit_calibration(true_pixel(energies) + rng.permutation(wave), energies, sigmas).status == "ok"
    wild = fit_calibration(true_pixel(energies) + 0.2 * rng.standard_normal(40), energies, sigmas / 2.5)
    assert "times as much as their uncertainties explain" in wild.status


def test_of_many_lines_the_right_ones_are_found_within_bounded_memory():
    rng = np.random.default_rng(0)
    energies = np.linspace(520.0, 550.0, 300)
    wrong = rng.random(300) < 0.6
    pixels = true_pixel(energies) + rng.normal(0, 0.3, 300)
    pixels[wrong] = rng.uniform(0, 2048, wrong.sum())
    tracemalloc.start()
    try:
        found = fit_calibration(pixels, energies, np.full(300, 0.3))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.status == "ok"
    assert abs(found.dispersion - true_dispersion(found.pivot)) < 4 * found.dispersion_sigma
    assert found.accepted[~wrong].all()
    assert most < 50e6  # of all pairs of them against all it was 300 MB


def test_outliers_are_named():
    pixels, energies, sigmas = lines(np.random.default_rng(1))
    pixels[[2, 7]] += [9.0, -30.0]
    accepted = fit_calibration(pixels, energies, sigmas).accepted
    assert np.flatnonzero(~accepted).tolist() == [2, 7]


def test_lines_that_are_not_there_are_left_out():
    pixels, energies, sigmas = lines(np.random.default_rng(2))
    pixels[3] = np.nan
    found = fit_calibration(pixels, energies, sigmas)
    assert found.status == "ok"
    assert not found.accepted[3]


@pytest.mark.parametrize(
    ("pixels", "energies", "sigmas", "reason"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0.1] * 3, "3 elastic lines"),
        ([], [], [], "0 elastic lines"),
        ([900.0] * 10, np.linspace(526, 545, 10), [0.1] * 10, "agree"),  # fluorescence only
        (np.linspace(1000, 900, 10), np.linspace(526, 536, 10), [0.1] * 10, "agree"),  # the wrong way round
        (1000 + np.linspace(0, 2, 6), np.linspace(530, 530.2, 6), [2.0] * 6, "no more than their uncertainty"),
    ],
)
def test_refuses_with_a_reason_where_lines_do_not_suffice(pixels, energies, sigmas, reason):
    found = fit_calibration(pixels, energies, sigmas)
    assert reason in found.status
    assert not found.accepted.any()
    assert np.isnan(found.coefficients).all()


def test_points_at_random_are_refused():
    ok = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = fit_calibration(rng.uniform(0, 2048, 20), rng.uniform(526, 545, 20), np.full(20, 0.2))
        ok += found.status == "ok"
    assert ok == 0


def test_says_which_lengths_differ():
    with pytest.raises(ValueError, match=r"\(2,\), \(3,\) and \(3,\)"):
        fit_calibration([1, 2], [1, 2, 3], [1, 1, 1])


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1000),
    pixel_shift=st.integers(-500, 500),
    order=st.randoms(use_true_random=False),
)
def test_shifting_and_reordering_the_lines_shifts_and_reorders_the_answer(seed, pixel_shift, order):
    pixels, energies, sigmas = lines(np.random.default_rng(seed))
    before = fit_calibration(pixels, energies, sigmas)
    at = list(range(len(pixels)))
    order.shuffle(at)
    after = fit_calibration(pixels[at] + pixel_shift, energies[at], sigmas[at])
    assert after.status == before.status == "ok"
    assert np.array_equal(after.accepted, before.accepted[at])
    probe = np.linspace(900, 1100, 5)
    np.testing.assert_allclose(after.energy(probe + pixel_shift), before.energy(probe), atol=1e-6)
    np.testing.assert_allclose(after.dispersion_sigma, before.dispersion_sigma, rtol=1e-6)


@given(energy=st.floats(520, 550))
def test_pixel_is_the_inverse_of_energy(energy):
    found = fit_calibration(*lines(np.random.default_rng(3), n=20, bend=1e-3))
    assert abs(float(found.energy(found.pixel(energy))) - energy) < 1e-6
