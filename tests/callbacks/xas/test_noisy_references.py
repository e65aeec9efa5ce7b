"""Fractions by references that have noise of their own: their intervals hold the truth in two of three."""

import numpy as np
import pytest

from callbacks.analysis.measured import Reference
from callbacks.fitting.linear_combination import fit_linear_combination
from callbacks.fitting.ranking import rank_combinations
from callbacks.xas.mlls import fit_mlls

ENERGY = np.linspace(700.0, 740.0, 161)
TRIALS = 400


def line(centre, width):
    return np.exp(-0.5 * ((ENERGY - centre) / width) ** 2)


STEP = 0.5 + np.arctan((ENERGY - 716) / 0.6) / np.pi
FIRST, SECOND = STEP + 2 * line(718.0, 0.8), STEP + 1.6 * line(719.5, 1.0)
TRUTH = np.array([0.65, 0.4])
LAW = 3.0 * (ENERGY / 720) ** -3.0


def fitted(form, spectrum, references, sigma, reference_sigma):
    variance, noise = np.full(len(ENERGY), sigma**2), np.full(references.shape, reference_sigma**2)
    if form in {"mlls", "pre-edge"}:
        exponent = {"mlls": "joint", "pre-edge": "pre-edge"}[form]
        before = {"pre_edge": (700.0, 713.0), "window": (714.0, 740.0)} if form == "pre-edge" else {}
        found = fit_mlls(
            ENERGY, spectrum + LAW, references, variance, reference_variance=noise, exponent=exponent, **before
        )
        return found.coefficients, found.sigma, str(found.status)
    if form == "ranked":
        ranking = rank_combinations(ENERGY, spectrum, references, variance, reference_variance=noise)
        best = ranking.combinations[ranking.best]
        assert best.references == (0, 1)
        return best.fit.fractions, best.fit.sigma, str(best.fit.status)
    found = fit_linear_combination(
        ENERGY, spectrum, references, variance,
        reference_variance=noise, non_negative=form == "non-negative", shift=form == "shift",
    )  # fmt: skip
    return found.fractions, found.sigma, str(found.status)


CASES = [
    (form, *noise)
    for form in ("plain", "non-negative", "ranked", "mlls", "pre-edge")
    for noise in ((0.03, 0.03), (0.01, 0.04))
]


@pytest.mark.long
@pytest.mark.parametrize(("form", "sigma", "reference_sigma"), [*CASES, ("shift", 0.03, 0.006)])
def test_intervals_hold_the_truth_where_references_are_as_noisy_as_the_spectrum(form, sigma, reference_sigma):
    rng = np.random.default_rng(7)
    held = []
    for _ in range(TRIALS):
        spectrum = TRUTH @ [FIRST, SECOND] + sigma * rng.standard_normal(len(ENERGY))
        references = np.stack([FIRST, SECOND]) + reference_sigma * rng.standard_normal((2, len(ENERGY)))
        values, sigmas, status = fitted(form, spectrum, references, sigma, reference_sigma)
        assert status == "ok"
        held.append(np.abs(values - TRUTH) < sigmas)
    share = np.mean(held)
    print(form, sigma, reference_sigma, share)
    assert 0.60 < share < 0.76


@pytest.mark.parametrize(("sigma", "reference_sigma"), [(0.03, 0.03), (0.1, 0.03)])
def test_references_that_are_too_noisy_are_not_shifted(sigma, reference_sigma):
    """Their noise is less between the points of the spline: the shift goes there, whatever the spectrum has."""
    rng = np.random.default_rng(7)
    spectrum = TRUTH @ [FIRST, SECOND] + sigma * rng.standard_normal(len(ENERGY))
    references = np.stack([FIRST, SECOND]) + reference_sigma * rng.standard_normal((2, len(ENERGY)))
    values, _, status = fitted("shift", spectrum, references, sigma, reference_sigma)
    assert status == "the references are too noisy to be shifted"
    assert np.isnan(values).all()


def test_without_their_noise_the_intervals_are_far_too_narrow():
    rng = np.random.default_rng(7)
    held = []
    for _ in range(TRIALS):
        spectrum = TRUTH @ [FIRST, SECOND] + 0.01 * rng.standard_normal(len(ENERGY))
        references = np.stack([FIRST, SECOND]) + 0.04 * rng.standard_normal((2, len(ENERGY)))
        values, sigmas, _ = fitted("plain", spectrum, references, 0.01, 0.0)
        held.append(np.abs(values - TRUTH) < sigmas)
    assert np.mean(held) < 0.35


def test_a_value_that_several_energies_share_counts_as_often():
    coarse = Reference(ENERGY[::4], FIRST[::4], np.full(len(ENERGY[::4]), 1e-4))
    assert coarse.variance_at(ENERGY) == pytest.approx(1e-4 * len(ENERGY) / len(ENERGY[::4]))
    assert coarse.variance_at(ENERGY[::8]) == pytest.approx(1e-4)


def test_a_variance_of_another_shape_is_refused():
    for noise in (np.zeros((1, len(ENERGY))), np.full((2, len(ENERGY)), -1.0)):
        with pytest.raises(
            ValueError, match=r"variance of references \(\d, 161\): expected \(2, 161\), none below zero"
        ):
            fit_linear_combination(ENERGY, FIRST, np.stack([FIRST, SECOND]), np.ones(161), reference_variance=noise)
