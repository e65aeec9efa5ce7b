"""Dichroism of two spectra: the truth within its interval, the whole Jacobian, and what is refused."""

import numpy as np
import pytest

from callbacks.xas.dichroism import Light, dichroism
from callbacks.xas.spectrum import XasSettings, normalise_spectrum

ENERGY = np.r_[np.arange(695.0, 703.0, 0.5), np.arange(703.0, 712.0, 0.2), np.arange(712.0, 740.0, 0.5)]
SETTINGS = XasSettings(pre_edge=(695.0, 702.0), post_edge=(730.0, 740.0), background="constant")
DEGREE, DEGREE_SIGMA, ENERGY_SIGMA = 0.95, 0.02, 0.003
LIGHT = Light(DEGREE, DEGREE_SIGMA, ENERGY_SIGMA)


def gauss(energy, centre, sigma):
    return np.exp(-0.5 * ((energy - centre) / sigma) ** 2)


def mean(energy):
    step = 0.5 + np.arctan((energy - 707.0) / 0.5) / np.pi
    return 0.15 + step + 4.0 * gauss(energy, 707.9, 0.75) + 1.5 * gauss(energy, 721.0, 1.1)


def magnetic(energy):
    """Of fully polarised light, first less second."""
    return -1.6 * gauss(energy, 707.9, 0.7) + 0.7 * gauss(energy, 721.0, 1.0)


def true(energy):
    exact = normalise_spectrum(energy, mean(energy), np.full(len(energy), 1e-9), SETTINGS)
    return exact.normalised, magnetic(energy) / exact.jump


def measured(seed, i0=2e5, efficiency=0.0, light=LIGHT):
    """Two spectra over I0 with their variance, of light that differs as it is said to, by chance."""
    rng = np.random.default_rng(seed)
    degree = light.degree + light.degree_sigma * rng.standard_normal()
    apart = light.energy_sigma * rng.standard_normal()
    spectra = []
    for sign in (1, -1):
        at = ENERGY + sign * apart / 2
        expected = 0.4 * (1 + sign * efficiency / 2) * (mean(at) + sign * degree * magnetic(at) / 2)
        flux = rng.poisson(i0, len(ENERGY)).astype(float)
        counts = rng.poisson(expected * i0)
        ratio = counts / flux
        spectra.append((ratio, counts / flux**2 + ratio**2 / flux))
    return spectra


@pytest.mark.parametrize("efficiency", [0.0, 0.01])
def test_the_truth_is_within_the_interval_in_68_of_100(efficiency):
    exact_mean, exact = true(ENERGY)
    inside, inside_mean = [], []
    for seed in range(300):
        found = dichroism(ENERGY, *measured(seed, efficiency=efficiency), SETTINGS, LIGHT)
        assert found.status == "ok"
        inside.append(abs(found.per_degree - exact) <= found.per_degree_sigma)
        inside_mean.append(abs(found.mean - exact_mean) <= found.mean_sigma)
    edge = abs(ENERGY - 707.9) < 2
    assert 0.60 <= np.mean(inside) <= 0.76
    assert 0.60 <= np.mean(np.array(inside)[:, edge]) <= 0.76
    assert 0.60 <= np.mean(inside_mean) <= 0.76


def test_what_is_left_of_an_efficiency_that_is_not_matched_is_in_the_difference():
    _, exact = true(ENERGY)
    left = XasSettings(**SETTINGS.model_dump() | {"match_polarisations": False})
    spectra = measured(1, i0=1e8, efficiency=0.02)
    matched, plain = (dichroism(ENERGY, *spectra, each, LIGHT) for each in (SETTINGS, left))
    after = ENERGY > 730
    assert abs(np.mean((matched.per_degree - exact)[after])) < 0.003
    assert np.mean((plain.per_degree - exact)[after]) == pytest.approx(0.02 * 1.15 / DEGREE, abs=0.004)
    assert matched.matched_by == pytest.approx(1.02, abs=0.002)
    assert (plain.matched_by, plain.matched_by_sigma) == (1.0, 0.0)


@pytest.mark.long
@pytest.mark.parametrize(
    "changed", [{}, {"background": "linear"}, {"normalise": "area"}, {"match_polarisations": False}]
)
@pytest.mark.parametrize("shifted", [False, True])
def test_sigma_is_that_of_the_whole_jacobian(changed, shifted):
    settings = XasSettings(**SETTINGS.model_dump() | changed)
    first, second = measured(3, i0=1e6)
    first[0][20] = np.nan
    plain = Light()
    found = dichroism(ENERGY, first, second, settings, plain, shifted=shifted)
    spectra = [first, second]
    for point in (3, 40, 100):
        variance = {"difference": 0.0, "mean": 0.0}
        for which in (0, 1):
            for other in np.flatnonzero(np.isfinite(first[0])):
                step = 1e-3 * np.sqrt(spectra[which][1][other])
                moved = []
                for sign in (1, -1):
                    values = [each[0].copy() for each in spectra]
                    values[which][other] += sign * step
                    pair = [(value, each[1]) for value, each in zip(values, spectra, strict=True)]
                    moved.append(dichroism(ENERGY, *pair, settings, plain, shifted=shifted))
                for name in variance:
                    slope = (getattr(moved[0], name)[point] - getattr(moved[1], name)[point]) / (2 * step)
                    variance[name] += slope**2 * spectra[which][1][other]
        for name, expected in variance.items():
            assert getattr(found, f"{name}_sigma")[point] == pytest.approx(np.sqrt(expected), rel=1e-4), name


def test_the_densities_of_a_transmission_agree_before_the_edge_by_a_shift():
    first, second = measured(2, i0=1e9)
    weaker = (second[0] + 0.05, second[1])
    plain, shifted = (dichroism(ENERGY, first, each, SETTINGS, LIGHT, shifted=True) for each in (second, weaker))
    assert shifted.matched_by == pytest.approx(plain.matched_by - 0.05, abs=1e-12)
    assert shifted.difference == pytest.approx(plain.difference, abs=1e-9)
    assert shifted.difference_sigma == pytest.approx(plain.difference_sigma, rel=1e-9)


def test_a_point_that_one_polarisation_lacks_is_not_known():
    first, second = measured(1)
    second[0][50] = np.nan
    found = dichroism(ENERGY, first, second, SETTINGS, LIGHT)
    for name in ("mean", "difference", "difference_sigma", "per_degree"):
        values = getattr(found, name)
        assert np.isnan(values[50])
        assert np.isfinite(np.delete(values, 50)).all()


def test_without_a_degree_there_is_a_difference_and_none_per_degree():
    found = dichroism(ENERGY, *measured(1), SETTINGS, Light())
    assert np.isfinite(found.difference).all()
    assert np.isnan(found.per_degree).all()
    assert np.isnan(found.per_degree_sigma).all()
    known = dichroism(ENERGY, *measured(1), SETTINGS, Light(0.9))
    assert np.array_equal(known.per_degree, known.difference / 0.9)
    assert np.isnan(known.per_degree_sigma).all()  # how well the degree is known is not


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            {"pre_edge": (690.0, 695.5)},
            "pre-edge window 690 to 695.5 eV holds 2 points of both polarisations, expected 3",
        ),
        ({"post_edge": (800.0, 810.0)}, "the post-edge window 800 to 810 eV holds 0 points of both polarisations"),
        ({"post_edge": (696.0, 701.0)}, "no edge: the jump is"),
    ],
)
def test_what_cannot_be_normalised_says_why(changed, reason):
    settings = XasSettings(**SETTINGS.model_dump() | changed)
    found = dichroism(ENERGY, *measured(1), settings, LIGHT)
    assert reason in found.status
    assert np.isnan(found.difference).all()
    assert np.isnan(found.jump)


def test_spectra_that_are_zero_before_the_edge_are_refused():
    first, second = measured(1)
    nothing = np.where(ENERGY < 702.5, 0.0, second[0])
    found = dichroism(ENERGY, first, (nothing, second[1]), SETTINGS, LIGHT)
    assert "not above zero before the edge" in found.status
