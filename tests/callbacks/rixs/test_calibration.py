"""The fit of emission energy against elastic lines: its numbers, its honesty, its refusals."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callbacks.rixs import fit_calibration

DISPERSION, ENERGY, PIVOT = 0.107, 530.0, 1000.0


def lines(rng, *, n=12, sigma=0.15, quadratic=0.0):
    energies = np.sort(rng.uniform(526.0, 545.0, n))
    roots = (energies - ENERGY) / DISPERSION
    for _ in range(20):
        roots = (energies - ENERGY - quadratic * roots**2) / DISPERSION
    sigmas = rng.uniform(0.7, 1.4, n) * sigma
    return PIVOT + roots + sigmas * rng.standard_normal(n), energies, sigmas


def coverage(make, trials=300):
    inside = {"dispersion": 0, "energy": 0}
    for seed in range(trials):
        pixels, energies, sigmas, quadratic = make(np.random.default_rng(seed))
        found = fit_calibration(pixels, energies, sigmas)
        assert found.status == "ok"
        x = found.pivot - PIVOT
        truth = ENERGY + DISPERSION * x + quadratic * x**2
        inside["energy"] += abs(found.energy(found.pivot) - truth) <= found.sigma(found.pivot)
        inside["dispersion"] += abs(found.dispersion - DISPERSION - 2 * quadratic * x) <= found.dispersion_sigma
    return {key: value / trials for key, value in inside.items()}


def test_quoted_intervals_hold_the_truth_as_often_as_they_say():
    shares = coverage(lambda rng: (*lines(rng), 0.0))
    assert all(0.60 <= share <= 0.76 for share in shares.values()), shares


def test_quoted_intervals_hold_the_truth_with_outliers_among_the_lines():
    def make(rng):
        pixels, energies, sigmas = lines(rng, n=14)
        pixels[rng.choice(14, 4, replace=False)] = 940 + rng.normal(0, 3, 4)  # fluorescence, that does not move
        return pixels, energies, sigmas, 0.0

    shares = coverage(make)
    assert all(0.60 <= share <= 0.76 for share in shares.values()), shares


def test_quoted_intervals_hold_the_truth_where_the_dispersion_bends():
    bend = 1e-4  # five times what a grating has, to be seen every time
    shares = coverage(lambda rng: (*lines(rng, n=20, quadratic=bend), bend))
    assert all(0.60 <= share <= 0.76 for share in shares.values()), shares


def test_scatter_beyond_the_sigmas_widens_the_uncertainty():
    rng = np.random.default_rng(0)
    pixels, energies, sigmas = lines(rng, n=20, sigma=0.15)
    honest = fit_calibration(pixels, energies, sigmas)
    optimistic = fit_calibration(pixels, energies, sigmas / 4)
    assert optimistic.dispersion_sigma > 0.7 * honest.dispersion_sigma


def test_of_many_lines_the_right_ones_are_found_within_bounded_memory():
    rng = np.random.default_rng(0)
    energies = np.linspace(525.0, 560.0, 300)
    wrong = rng.random(300) < 0.6
    pixels = (energies - 500.0) / 0.05 + rng.normal(0, 0.3, 300)
    pixels[wrong] = rng.uniform(0, 2048, wrong.sum())
    tracemalloc.start()
    try:
        found = fit_calibration(pixels, energies, np.full(300, 0.3))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.status == "ok"
    assert abs(found.dispersion - 0.05) < 4 * found.dispersion_sigma
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
    energy_shift=st.floats(-100, 100),
    order=st.randoms(use_true_random=False),
)
def test_shifting_and_reordering_the_lines_shifts_and_reorders_the_answer(seed, pixel_shift, energy_shift, order):
    pixels, energies, sigmas = lines(np.random.default_rng(seed))
    before = fit_calibration(pixels, energies, sigmas)
    at = list(range(len(pixels)))
    order.shuffle(at)
    after = fit_calibration(pixels[at] + pixel_shift, energies[at] + energy_shift, sigmas[at])
    assert after.status == before.status == "ok"
    assert np.array_equal(after.accepted, before.accepted[at])
    probe = np.linspace(900, 1100, 5)
    np.testing.assert_allclose(after.energy(probe + pixel_shift), before.energy(probe) + energy_shift, atol=1e-6)
    np.testing.assert_allclose(after.dispersion_sigma, before.dispersion_sigma, rtol=1e-6)


@given(energy=st.floats(520, 550))
def test_pixel_is_the_inverse_of_energy(energy):
    found = fit_calibration(*lines(np.random.default_rng(3), n=20, quadratic=1e-4))
    assert abs(float(found.energy(found.pixel(energy))) - energy) < 1e-6
