"""Linear-combination fits: fractions and shift recovered within their uncertainty, for one spectrum and for maps."""

import numpy as np
import pytest
from scipy.optimize import least_squares, nnls

from callbacks.fitting.linear_combination import fit_linear_combination, moved_references

ENERGY = np.r_[np.arange(520.0, 526.0, 0.5), np.arange(526.0, 540.0, 0.2)]
TRUTH = np.array([0.7, 0.4])


def reference(energy, first, second):
    edge = 0.5 + np.arctan((energy - 534.0) / 0.6) / np.pi
    peaks = [np.exp(-0.5 * ((energy - peak) / 0.7) ** 2) for peak in (first, second)]
    return 0.3 + edge + peaks[0] + 0.6 * peaks[1]


def pair(energy):
    return np.stack([reference(energy, 528.5, 532.0), reference(energy, 530.0, 533.5)])


REFERENCES = pair(ENERGY)


def measured(rng, trials, shift=0.0, noise=0.02):
    return TRUTH @ pair(ENERGY - shift) + rng.normal(0.0, noise, (trials, len(ENERGY)))


def test_without_a_shift_fractions_are_those_of_scipy_nnls():
    spectra = measured(np.random.default_rng(0), 6).reshape(2, 3, -1)
    fit = fit_linear_combination(ENERGY, spectra, REFERENCES)
    expected = [nnls(REFERENCES.T, spectrum)[0] for spectrum in spectra.reshape(6, -1)]
    assert fit.fractions == pytest.approx(np.reshape(expected, (2, 3, 2)), abs=1e-12)
    assert fit.status.tolist() == [["ok"] * 3] * 2
    assert np.array_equal(fit.shift, np.zeros((2, 3)))
    alone = fit_linear_combination(ENERGY, spectra[1, 2], REFERENCES)
    assert alone.fractions == pytest.approx(fit.fractions[1, 2], abs=1e-13)
    assert alone.status == "ok"


def test_fractions_below_zero_are_kept_where_allowed():
    spectrum = np.array([0.7, -0.2]) @ REFERENCES
    free = fit_linear_combination(ENERGY, spectrum, REFERENCES, non_negative=False)
    assert free.fractions == pytest.approx([0.7, -0.2], abs=1e-12)
    assert fit_linear_combination(ENERGY, spectrum, REFERENCES).fractions[1] == 0.0


def test_an_exact_shift_is_found_exactly_but_for_the_interpolation():
    for shift in (-0.83, -0.05, 0.0, 0.31, 0.9):
        fit = fit_linear_combination(ENERGY, TRUTH @ pair(ENERGY - shift), REFERENCES, shift=True)
        assert fit.status == "ok"
        assert fit.shift == pytest.approx(shift, abs=2e-3)
        assert fit.fractions == pytest.approx(TRUTH, abs=2e-3)


def test_the_shift_is_the_least_squares_one():
    rng = np.random.default_rng(4)
    spectrum, variance = measured(rng, 1, shift=0.3)[0], rng.uniform(1e-4, 9e-4, len(ENERGY))
    fit = fit_linear_combination(ENERGY, spectrum, REFERENCES, variance, shift=True)
    used = (ENERGY >= 521.0) & (ENERGY - ENERGY[-1] <= -1.0)
    shapes = moved_references(ENERGY, REFERENCES, ENERGY[used])

    def rest(p):
        return (spectrum[used] - p[:2] @ shapes(p[2:])[0][0]) / np.sqrt(variance[used])

    expected = least_squares(rest, [0.5, 0.5, 0.2], xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert [*fit.fractions, fit.shift] == pytest.approx(expected.x, abs=1e-6)
    sigma = np.sqrt(np.diag(np.linalg.inv(expected.jac.T @ expected.jac)))
    assert [*fit.sigma, fit.shift_sigma] == pytest.approx(sigma, rel=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("non_negative", [False, True])
def test_quoted_sigmas_hold_the_truth_in_two_trials_of_three(weighted, shift, non_negative):
    spectra = measured(np.random.default_rng(7), 600, shift=0.3 if shift else 0.0)
    variance = np.full(len(ENERGY), 0.02**2) if weighted else None
    fit = fit_linear_combination(ENERGY, spectra, REFERENCES, variance, shift=shift, non_negative=non_negative)
    assert (fit.status == "ok").all()
    inside = (np.abs(fit.fractions - TRUTH) < fit.sigma).mean(axis=0)
    assert ((inside > 0.60) & (inside < 0.76)).all()
    if shift:
        assert 0.60 < np.mean(np.abs(fit.shift - 0.3) < fit.shift_sigma) < 0.76


def test_each_pixel_of_a_map_has_its_own_shift():
    rng = np.random.default_rng(2)
    shifts = rng.uniform(-0.8, 0.8, 300)
    spectra = np.stack([TRUTH @ pair(ENERGY - shift) for shift in shifts]) + rng.normal(0, 0.01, (300, len(ENERGY)))
    spectra[::3, 40:45] = np.nan
    fit = fit_linear_combination(ENERGY, spectra, REFERENCES, np.full(len(ENERGY), 1e-4), shift=True)
    assert (fit.status == "ok").all()
    assert 0.60 < np.mean(np.abs(fit.shift - shifts) < fit.shift_sigma) < 0.76
    alone = fit_linear_combination(ENERGY, spectra[17], REFERENCES, np.full(len(ENERGY), 1e-4), shift=True)
    assert alone.shift == pytest.approx(fit.shift[17], abs=1e-6)


def test_the_shift_settles_where_fractions_meet_zero():
    rng = np.random.default_rng(6)
    fractions = rng.uniform(0.2, 1.0, (3000, 2)) * [1.0, 0.0]
    spectra = fractions @ pair(ENERGY - 0.25) + rng.normal(0.0, 0.02, (3000, len(ENERGY)))
    fit = fit_linear_combination(ENERGY, spectra, REFERENCES, np.full(len(ENERGY), 0.02**2), shift=True)
    assert (fit.status == "ok").all()
    held = fit.fractions[:, 1] == 0.0
    assert 0.3 < np.mean(held) < 0.7
    # one-sided: the fractions found above zero scatter by what is quoted for those held at it
    assert np.sqrt(np.mean(fit.fractions[~held, 1] ** 2)) == pytest.approx(np.mean(fit.sigma[~held, 1]), rel=0.1)


def test_what_cannot_be_told_is_nan_with_a_status():
    spectra = np.stack([TRUTH @ pair(ENERGY - 3.0), -REFERENCES[0], np.full(len(ENERGY), np.nan)])
    fit = fit_linear_combination(ENERGY, spectra, REFERENCES, shift=True)
    assert fit.status.tolist() == [
        "the shift is at its limit",
        "the shift is not determined",
        "fewer valid energies than unknowns",
    ]
    for values in (fit.fractions, fit.sigma, fit.shift, fit.shift_sigma, fit.residual):
        assert np.isnan(values).all()
    for non_negative, variance in ((False, None), (True, None), (True, np.full(len(ENERGY), 1e-4))):
        twice = fit_linear_combination(ENERGY, REFERENCES[0], REFERENCES[[0, 0]], variance, non_negative=non_negative)
        assert twice.status == "references not linearly independent"
        assert np.isnan(twice.fractions).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"energy": ENERGY[::-1]}, "finite and ascending"),
        ({"references": REFERENCES[:, :-1]}, "expected \\(k, 82\\)"),
        ({"references": np.ones((7, len(ENERGY)))}, "7 references: expected 1 to 6"),
        ({"references": np.full((1, len(ENERGY)), np.nan)}, "references are not finite"),
        ({"spectrum": np.ones(5)}, "spectra \\(5,\\): expected \\(\\.\\.\\., 82\\)"),
        ({"variance": np.ones(5)}, "variance \\(5,\\)"),
        ({"variance": np.zeros(len(ENERGY))}, "variance 0: expected above zero"),
        ({"max_shift": 30.0}, "max_shift 30 eV: 0 energies"),
    ],
)
def test_bad_input_is_named(change, words):
    given = {"energy": ENERGY, "spectrum": REFERENCES[0], "references": REFERENCES, "shift": True} | change
    with pytest.raises(ValueError, match=words):
        fit_linear_combination(**given)
