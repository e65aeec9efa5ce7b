"""MLLS: references beside a power law, recovered within their uncertainty, the exponent's included."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from callbacks.xas.mlls import fit_mlls

ENERGY = np.linspace(620.0, 670.0, 80)
TRUTH, BACKGROUND, EXPONENT = np.array([0.8, 0.5]), 2.0, 3.2
NOISE = 0.01
PRE_EDGE = (620.0, 634.0)


def shape(first, second):
    step = np.where(ENERGY > 636.0, 0.3 * (0.5 + np.arctan((ENERGY - 642.0) / 1.0) / np.pi), 0.0)
    peaks = [np.exp(-0.5 * ((ENERGY - peak) / 1.2) ** 2) for peak in (first, second)]
    return np.where(ENERGY > 635.0, step + peaks[0] + 0.5 * peaks[1], 0.0)


REFERENCES = np.stack([shape(640.0, 651.0), shape(643.0, 654.0)])
MODEL = BACKGROUND * (ENERGY / 645.0) ** -EXPONENT + TRUTH @ REFERENCES


WAYS = {"joint": {}, "pre-edge": {"exponent": "pre-edge", "pre_edge": PRE_EDGE}, "given": {"exponent": EXPONENT}}


def measured(seed, trials):
    return MODEL + np.random.default_rng(seed).normal(0.0, NOISE, (trials, len(ENERGY)))


@pytest.mark.parametrize("way", WAYS)
def test_a_spectrum_without_noise_gives_back_what_it_was_made_of(way):
    fit = fit_mlls(ENERGY, MODEL, REFERENCES, np.full(80, NOISE**2), **WAYS[way])
    assert fit.status == "ok"
    assert fit.reference_energy == 645.0
    assert [*fit.coefficients, fit.background] == pytest.approx([*TRUTH, BACKGROUND], abs=1e-6)
    assert fit.exponent == pytest.approx(EXPONENT, abs=1e-5)
    assert fit.residual == pytest.approx(0.0, abs=1e-6)
    assert (fit.exponent_sigma == 0.0) == (way == "given")


def test_the_fit_is_by_default_the_least_squares_one_of_all_parameters():
    spectrum = measured(3, 1)[0]
    variance = np.random.default_rng(1).uniform(0.5, 2.0, 80) * NOISE**2
    fit = fit_mlls(ENERGY, spectrum, REFERENCES, variance)

    def rest(p):
        return (spectrum - p[0] * (ENERGY / 645.0) ** -p[3] - p[1:3] @ REFERENCES) / np.sqrt(variance)

    expected = least_squares(rest, [2.0, 0.5, 0.5, 3.0], xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert [fit.background, *fit.coefficients, fit.exponent] == pytest.approx(expected.x, abs=1e-5)
    covariance = np.linalg.inv(expected.jac.T @ expected.jac)
    assert [fit.background_sigma, *fit.sigma, fit.exponent_sigma] == pytest.approx(
        np.sqrt(np.diag(covariance)), rel=1e-3
    )
    assert fit.covariance == pytest.approx(covariance[:3, :3], rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("way", ["pre-edge", "joint"])
def test_sigma_of_every_number_is_what_a_change_of_each_point_makes_of_it(way):
    spectrum, variance = measured(5, 1)[0], np.full(80, NOISE**2)
    changed = spectrum + np.concatenate([np.eye(80), -np.eye(80)]) * 1e-4

    def numbers(spectra):
        fit = fit_mlls(ENERGY, spectra, REFERENCES, variance, **WAYS[way])
        every = np.concatenate([fit.background[..., None], fit.coefficients, fit.exponent[..., None]], axis=-1)
        return every, np.concatenate(
            [fit.background_sigma[..., None], fit.sigma, fit.exponent_sigma[..., None]], axis=-1
        )

    moved, _ = numbers(changed)
    jacobian = (moved[:80] - moved[80:]) / 2e-4
    assert numbers(spectrum)[1] == pytest.approx(np.sqrt((jacobian**2).sum(axis=0)) * NOISE, rel=0.02)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("weighted", [True, False])
def test_quoted_sigmas_hold_the_truth_in_two_trials_of_three(way, weighted):
    variance = np.full(80, NOISE**2) if weighted else None
    fit = fit_mlls(ENERGY, measured(8, 800), REFERENCES, variance, **WAYS[way])
    assert (fit.status == "ok").all()
    inside = [
        *(np.abs(fit.coefficients - TRUTH) < fit.sigma).T,
        np.abs(fit.background - BACKGROUND) < fit.background_sigma,
    ]
    if way != "given":
        inside.append(np.abs(fit.exponent - EXPONENT) < fit.exponent_sigma)
    shares = np.mean(inside, axis=1)
    assert ((shares > 0.60) & (shares < 0.76)).all()


def test_what_is_no_power_law_before_the_edge_hardly_moves_coefficients_that_are_fitted_with_the_exponent():
    """The falling tail of a lower edge, 1 % of the background."""
    spectrum = MODEL + 0.01 * BACKGROUND * np.exp(-(ENERGY - 620.0) / 5.0)
    off = {way: np.abs(fit_mlls(ENERGY, spectrum, REFERENCES, **WAYS[way]).coefficients / TRUTH - 1) for way in WAYS}
    assert (off["joint"] < 0.005).all()
    assert (off["pre-edge"] > 0.02).all()


def test_material_without_a_reference_biases_the_exponent_that_is_fitted_together_and_not_that_of_the_pre_edge():
    spectrum = MODEL + np.where(ENERGY > 636.0, 0.02 * (ENERGY - 636.0), 0.0)
    joint, before = (
        fit_mlls(ENERGY, spectrum, REFERENCES, np.full(80, NOISE**2), **WAYS[way]) for way in list(WAYS)[:2]
    )
    assert abs(joint.exponent - EXPONENT) > 10 * joint.exponent_sigma
    assert before.exponent == pytest.approx(EXPONENT, abs=1e-5)


def test_a_window_and_gaps_leave_points_out():
    spectra = measured(2, 4).reshape(2, 2, -1)
    spectra[0, 0, 40:44] = np.nan
    spoilt = spectra.copy()
    spoilt[..., ENERGY > 660.0] = 99.0
    options = {"window": (620.0, 660.0)}
    clean, fit = (fit_mlls(ENERGY, values, REFERENCES, np.full(80, 1e-4), **options) for values in (spectra, spoilt))
    assert np.array_equal(clean.coefficients, fit.coefficients)
    assert fit.reference_energy == 640.0
    assert fit.coefficients.shape == (2, 2, 2)
    assert (fit.status == "ok").all()
    assert (np.abs(fit.coefficients - TRUTH) < 4 * fit.sigma).all()


def test_a_window_ends_at_energies_as_they_are_printed():
    spectrum = MODEL.copy()
    spectrum[[20, 60]] = np.nan  # a fit has as many points as a window that ends before them has
    window = float(ENERGY[20]), float(ENERGY[60])
    for off in (-1e-9, 1e-9):
        for values in (MODEL, spectrum):
            moved = fit_mlls(ENERGY + off, values, REFERENCES, np.full(80, 1e-4), exponent=EXPONENT, window=window)
            exact = fit_mlls(ENERGY, values, REFERENCES, np.full(80, 1e-4), exponent=EXPONENT, window=window)
            assert moved.sigma == pytest.approx(exact.sigma, rel=1e-6)


def test_coefficients_are_kept_from_falling_below_zero_where_asked_for():
    spectrum = MODEL - 1.1 * REFERENCES[1]
    free = fit_mlls(ENERGY, spectrum, REFERENCES, exponent=EXPONENT)
    assert free.coefficients == pytest.approx([0.8, -0.6], abs=1e-9)
    for way in WAYS.values():
        held = fit_mlls(ENERGY, spectrum, REFERENCES, non_negative=True, **way)
        assert held.coefficients[1] == 0.0
        assert held.sigma[1] > 0.0


def test_what_cannot_be_told_is_nan_with_a_status():
    spectra = np.stack([np.full(80, np.nan), np.zeros(80), 2.0 * (ENERGY / 645.0) ** -40.0])
    for exponent in ("pre-edge", "joint"):
        fit = fit_mlls(ENERGY, spectra, REFERENCES, np.full(80, 1e-4), exponent=exponent)
        assert fit.status[1:].tolist() == ["the exponent is not determined", "the exponent is at its limit"]
        assert fit.status[0] == "fewer valid energies than unknowns"
        assert np.isnan([fit.background, fit.exponent, fit.exponent_sigma, fit.residual]).all()
        assert np.isnan(fit.coefficients).all()
    for non_negative in (False, True):
        for exponent in (3.0, "joint"):
            twice = fit_mlls(ENERGY, MODEL, REFERENCES[[0, 0]], exponent=exponent, non_negative=non_negative)
            assert twice.status == "references and background not linearly independent"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window": (700.0, 800.0)}, "the fit window 700 to 800 eV holds 0 points, expected 4"),
        (
            {"exponent": "pre-edge", "pre_edge": (700.0, 800.0)},
            "the pre-edge window 700 to 800 eV holds 0 points, expected 3",
        ),
        ({"pre_edge": PRE_EDGE}, "is used with exponent 'pre-edge' only, which is 'joint'"),
        ({"exponent": "free"}, "exponent 'free': expected 'joint', 'pre-edge' or numbers"),
        ({"references": np.ones((6, 80))}, "6 references: expected 1 to 5"),
        ({"energy": ENERGY - 620.0}, "energy 0 eV: a power law needs"),
    ],
)
def test_bad_input_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        fit_mlls(**({"energy": ENERGY, "spectra": MODEL, "references": REFERENCES} | change))
