"""Absorption spectra: normalised as they should be, within their uncertainty, refused where they cannot be."""

import math
import tracemalloc

import h5py
import numpy as np
import pytest

from callbacks.contract import Key
from callbacks.xas.edge_position import edge_position
from callbacks.xas.spectrum import XasPoint, XasSettings, XasSpectrum, normalise_spectrum

ENERGY = np.arange(520.0, 560.0, 0.5)
PRE, POST = (520.0, 526.0), (550.0, 560.0)
SETTINGS = XasSettings(pre_edge=PRE, post_edge=POST, background="linear")


def truth(energy):
    edge = 0.5 + np.arctan((energy - 535.0) / 0.5) / np.pi
    return edge + 0.6 * np.exp(-0.5 * ((energy - 530.8) / 0.6) ** 2)


def yields(rng, i0=1e6):
    background = 0.2 - 0.002 * (ENERGY - 520)
    expected = 0.05 * (background + truth(ENERGY))
    flux = rng.poisson(i0, len(ENERGY)).astype(float)
    return rng.poisson(expected * flux) / flux, expected, flux


def expected_spectrum():
    exact = normalise_spectrum(
        ENERGY, 0.05 * (0.2 - 0.002 * (ENERGY - 520) + truth(ENERGY)), np.full(len(ENERGY), 1e-9), SETTINGS
    )
    return exact.normalised


def test_normalised_spectra_hold_the_truth_within_their_uncertainty():
    exact, inside = expected_spectrum(), []
    for seed in range(300):
        ratio, expected, flux = yields(np.random.default_rng(seed))
        found = normalise_spectrum(ENERGY, ratio, expected / flux + expected**2 / flux, SETTINGS)
        assert found.status == "ok"
        inside.append(abs(found.normalised - exact) <= found.sigma)
    assert 0.60 <= np.mean(inside) <= 0.76
    assert np.all(np.mean(inside, axis=0) > 0.55)


@pytest.mark.parametrize("settings", [{}, {"background": "constant"}, {"normalise": "area"}])
def test_sigma_is_that_of_the_whole_jacobian(settings):
    energy, intensity, variance = noisy_edge(90)
    intensity[12] = np.nan
    measured = np.isfinite(intensity)
    found = normalise_spectrum(energy, intensity, variance, XasSettings(**settings))
    for point in (3, 45, 85):
        jacobian = np.zeros(len(energy))
        for other in np.flatnonzero(measured):
            step = 1e-4 * np.sqrt(variance[other])
            up, down = (
                normalise_spectrum(energy, intensity + sign * step * np.eye(1, 90, other)[0], variance,
                                   XasSettings(**settings)).normalised[point]
                for sign in (1, -1)
            )  # fmt: skip
            jacobian[other] = (up - down) / (2 * step)
        expected = np.sqrt(np.sum(jacobian[measured] ** 2 * variance[measured]))
        assert found.sigma[point] == pytest.approx(expected, rel=1e-6)


def test_memory_is_linear_in_the_number_of_points():
    def most(points):
        spectrum = noisy_edge(points)
        tracemalloc.start()
        try:
            assert normalise_spectrum(*spectrum).status == "ok"
            assert edge_position(*spectrum, points=points // 50).status == "ok"
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert most(20_000) < 12 * most(2_000)


def noisy_edge(points):
    energy = np.linspace(520.0, 560.0, points)
    truth = 0.2 - 0.001 * (energy - 520.0) + 0.5 + np.arctan((energy - 531.0) / 0.5) / np.pi
    variance = truth * 1e-6
    return energy, np.random.default_rng(3).normal(truth, np.sqrt(variance)), variance


def test_normalising_by_area_gives_an_area_of_one():
    settings = XasSettings(pre_edge=PRE, post_edge=(526.0, 560.0), normalise="area")
    found = normalise_spectrum(ENERGY, 0.3 + truth(ENERGY), np.full(len(ENERGY), 1e-6), settings)
    inside = ENERGY >= 526.0
    assert np.trapezoid(found.normalised[inside], ENERGY[inside]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (XasSettings(pre_edge=(400.0, 410.0)), "pre-edge window 400 to 410 eV holds 0 points"),
        (XasSettings(post_edge=(700.0, 710.0)), "post-edge window 700 to 710 eV holds 0 points"),
    ],
)
def test_windows_outside_the_data_are_refused(settings, reason):
    found = normalise_spectrum(ENERGY, truth(ENERGY), np.full(len(ENERGY), 1e-6), settings)
    assert reason in found.status
    assert np.isnan(found.normalised).all()


def test_a_spectrum_without_an_edge_is_refused():
    rng = np.random.default_rng(0)
    found = normalise_spectrum(
        ENERGY, 0.1 + 1e-3 * rng.standard_normal(len(ENERGY)), np.full(len(ENERGY), 1e-6), SETTINGS
    )
    assert found.status.startswith("no edge")


def push_all(points):
    step, result = XasPoint(SETTINGS), XasSpectrum(SETTINGS)
    kept = []
    for number, point in enumerate(points, start=1):
        event = {"seq_num": number, Key.DWELL: 1.0, **point}
        kept.append(step.push(event))
        result.push(event)
    return kept, result.result


def test_points_without_flux_are_marked_and_not_divided_by():
    points = [{Key.ENERGY: e, Key.I0: 1e6, Key.TEY: 5e4 * (0.2 + truth(e)), Key.TFY: 1e4} for e in ENERGY]
    points[40][Key.I0] = 0.0
    kept, result = push_all(points)
    assert np.isnan(kept[40]["tey_over_i0"])
    assert result.marked_frames.tolist() == [41]
    assert np.isnan(result.spectra["tey"].normalised[40])
    assert np.isfinite(np.delete(result.spectra["tey"].normalised, 40)).all()
    assert result.spectra["tfy"].status.startswith("no edge")


def test_repeated_energies_are_added():
    once = [{Key.ENERGY: e, Key.I0: 1e6, Key.TEY: 5e4 * (0.2 + truth(e)), Key.TFY: 1e4} for e in ENERGY]
    _, single = push_all(once)
    _, double = push_all(once + once[::-1])
    np.testing.assert_allclose(double.spectra["tey"].normalised, single.spectra["tey"].normalised, atol=1e-5)
    np.testing.assert_allclose(double.spectra["tey"].sigma, single.spectra["tey"].sigma / np.sqrt(2), rtol=0.03)
    np.testing.assert_array_equal(double.i0_counts, 2e6)


def test_a_point_whose_i0_departs_from_its_trend_counts_only_where_there_is_no_other_and_is_as_uncertain():
    points = [{Key.ENERGY: e, Key.I0: 1e6, Key.TEY: 1e4, Key.TFY: 1e4} for e in ENERGY]
    points.append({**points[5], Key.I0: 5e5})
    points[9] = {**points[9], Key.I0: 5e5}
    _, result = push_all(points)
    ratio, sigma = result.spectra["tey"].over_i0_spectrum, result.spectra["tey"].over_i0_spectrum_sigma
    np.testing.assert_allclose(np.delete(ratio, 9), 0.01)
    assert sigma[5] == sigma[4]
    assert ratio[9] - sigma[9] == pytest.approx(0.01, rel=0.01)


def test_i0_is_added_up_at_each_energy_where_it_is_not_lost():
    points = [{Key.ENERGY: e, Key.I0: 1e6 + n, Key.TEY: 1e4, Key.TFY: 1e4} for n, e in enumerate(ENERGY)]
    points += [{**points[3], Key.I0: 0.0}, {**points[5], Key.I0: 9e5}]
    points[7][Key.I0] = math.nan
    _, result = push_all(points)
    expected = 1e6 + np.arange(len(ENERGY))
    expected[5], expected[7] = expected[5] + 9e5, np.nan
    np.testing.assert_array_equal(result.i0_counts, expected)


@pytest.mark.measured
def test_the_measured_oxygen_edge_of_copper_oxide_is_normalised(measured_data):
    spectra = []

    def keep(_, node):
        if isinstance(node, h5py.Dataset) and node.shape == (501,):
            spectra.append(node[:])

    with h5py.File(measured_data / "ok-reference" / "library.h5") as file:
        file.visititems(keep)
    energy = next(each for each in spectra if each.min() > 500 and each.max() < 600 and np.all(np.diff(each) > 0))
    tey = next(each for each in spectra if not np.array_equal(each, energy))
    found = normalise_spectrum(
        energy, tey, np.full(501, (0.01 * np.ptp(tey)) ** 2), XasSettings(pre_edge=(520.0, 526.0))
    )
    assert found.status == "ok"
    assert abs(np.mean(found.normalised[(energy >= 520) & (energy <= 526)])) < 0.05
    assert 528.0 < energy[np.argmax(np.where(energy < 534, found.normalised, -np.inf))] < 534.0
