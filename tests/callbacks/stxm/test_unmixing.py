"""Unmixing: the exact non-negative minimum of every pixel, and uncertainties that hold."""

import itertools

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import nnls

from callbacks.compilation import compiled
from callbacks.fitting.compiled import unmix_compiled
from callbacks.fitting.nonnegative import misfit, ratio, unmix
from callbacks.fitting.normal_equations import unmix_with_own_weights

ENERGY = np.linspace(520.0, 535.0, 50)
REFERENCES = np.stack([np.exp(-0.5 * ((ENERGY - peak) / 2.0) ** 2) + 0.2 for peak in (525.0, 528.0, 531.0)])


def scipy_nnls(spectra, references, variance=None):
    """Solve each pixel alone, over its own valid energies."""
    found = []
    for number, spectrum in enumerate(spectra):
        valid = np.isfinite(spectrum)
        own = np.ones(len(spectrum)) if variance is None else np.broadcast_to(variance, spectra.shape)[number]
        root = 1 / np.sqrt(own[valid])
        found.append(nnls((references[:, valid] * root).T, spectrum[valid] * root)[0])
    return np.array(found)


def least_of_all_supports(spectra, references, root):
    """Try every set of references: scipy.optimize.nnls (1.17) misses the minimum where there are ties.

    The minimum is reached on references that are independent, where least squares has one answer.
    """
    least = []
    for spectrum, weight in zip(spectra, np.broadcast_to(root, spectra.shape), strict=True):
        best, fractions = np.linalg.norm(spectrum * weight), np.zeros(len(references))
        for support in map(list, SUPPORTS_OF_FOUR):
            found = np.linalg.lstsq((references[support] * weight).T, spectrum * weight)[0]
            distance = np.linalg.norm((spectrum - found @ references[support]) * weight)
            if (found >= -1e-12).all() and distance < best:
                best, fractions = distance, np.zeros(len(references))
                fractions[support] = found
        least.append(fractions)
    return np.array(least)


SUPPORTS_OF_FOUR = [support for size in range(1, 5) for support in itertools.combinations(range(4), size)]


def norms(spectra, fractions, references):
    return np.linalg.norm(spectra - fractions @ references, axis=1)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("weighting", ["alike", "by energy", "by pixel"])
def test_fractions_are_those_of_scipy_nnls(count, weighting):
    rng = np.random.default_rng(count)
    references = rng.random((count, 30))
    spectra = rng.normal(0.1, 1.0, (300, count)) @ references + rng.normal(0.0, 0.2, (300, 30))
    variance = {"alike": None, "by energy": rng.uniform(0.5, 2, 30), "by pixel": rng.uniform(0.5, 2, (300, 30))}[
        weighting
    ]
    unmixed = unmix(spectra, references, variance)
    expected = scipy_nnls(spectra, references, variance)
    assert np.abs(unmixed.fractions - expected).max() < 1e-10
    assert np.abs(unmixed.residual - norms(spectra, expected, references)).max() < 1e-10
    assert len(np.unique(unmixed.fractions > 0, axis=0)) > min(count, 2) - 1  # several supports were met


@pytest.mark.parametrize("alike", [1.0, 3e-3])  # where they are nearly alike, a step of refinement is taken
def test_a_pixel_is_solved_alone_as_by_matrix_products_of_many(alike):
    rng = np.random.default_rng(0)
    references = 1.0 + alike * rng.random((4, 27))
    spectra = rng.normal(0.1, 1.0, (400, 4)) @ references + rng.normal(0.0, 0.2 * alike, (400, 27))
    variance = rng.uniform(0.5, 2.0, spectra.shape) * alike**2
    spectra[rng.random(spectra.shape) < 0.1] = np.nan
    variance[rng.random(spectra.shape) < 0.1] = np.inf
    fractions, covariance, residual, solved = unmix_compiled(spectra, variance, references)
    valid = np.isfinite(spectra) & np.isfinite(variance)
    expected = unmix_with_own_weights(
        np.where(valid, spectra, 0.0), references, np.where(valid, 1.0 / variance, 0.0), propagate=True
    )
    assert solved.all()
    for found, same in zip((fractions, covariance, residual), expected, strict=True):
        np.testing.assert_allclose(found, same, rtol=1e-9, atol=1e-9)
    assert (unmix(spectra, references, variance).fractions == fractions).all()


@pytest.mark.long
def test_where_what_is_compiled_cannot_be_kept_it_is_compiled_each_time(monkeypatch):
    def nowhere(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function '_unmix': no locator available")
        return compile_(**options)

    compile_ = numba.njit
    monkeypatch.setattr(numba, "njit", nowhere)
    compiled.cache_clear()
    try:
        found = unmix(REFERENCES, REFERENCES, np.ones(REFERENCES.shape))
    finally:
        compiled.cache_clear()
    np.testing.assert_allclose(found.fractions, np.eye(3), atol=1e-12)


DEGENERATE = {
    "duplicate": np.stack([REFERENCES[0], REFERENCES[0], REFERENCES[1]]),
    "scaled duplicate": np.stack([REFERENCES[0], 1e-3 * REFERENCES[0], REFERENCES[1]]),
    "sum of others": np.stack([*REFERENCES, REFERENCES[0] + 2 * REFERENCES[2]]),
    "opposite": np.stack([REFERENCES[0], -REFERENCES[0], REFERENCES[1]]),
    "one zero": np.stack([REFERENCES[0], 0 * REFERENCES[0], REFERENCES[2]]),
    "all zero": np.zeros((3, len(ENERGY))),
    "more than the rank": np.random.default_rng(5).random((6, 2)) @ REFERENCES[:2],
    "far apart in size": REFERENCES * np.array([[1e-6], [1.0], [1e6]]),
}


@pytest.mark.parametrize("weighting", ["alike", "by energy", "by pixel"])
@pytest.mark.parametrize("case", DEGENERATE)
def test_residual_is_that_of_scipy_nnls_where_references_are_degenerate(case, weighting):
    rng = np.random.default_rng(3)
    references = DEGENERATE[case]
    spectra = np.concatenate(
        [
            rng.normal(0.2, 1.0, (100, 3)) @ REFERENCES + rng.normal(0.0, 0.1, (100, len(ENERGY))),
            np.zeros((3, len(ENERGY))),
            -rng.random((20, len(ENERGY))),
            references,
        ]
    )
    variance = {"alike": None, "by energy": np.linspace(1, 2, 50), "by pixel": rng.uniform(1, 2, spectra.shape)}[
        weighting
    ]
    unmixed = unmix(spectra, references, variance)
    root = 1.0 if variance is None else 1 / np.sqrt(variance)
    expected = scipy_nnls(spectra, references, variance)
    ours, theirs = (np.linalg.norm((spectra - f @ references) * root, axis=1) for f in (unmixed.fractions, expected))
    assert (unmixed.fractions >= 0).all()
    # spectra of 1e6 carry rounding of their own
    assert (np.abs(ours - theirs) <= 1e-10 * np.maximum(1.0, np.linalg.norm(spectra, axis=1))).all()


def test_a_spectrum_of_zero_or_below_has_fractions_of_zero():
    unmixed = unmix(np.stack([np.zeros(50), -REFERENCES.sum(axis=0)]), REFERENCES)
    assert np.array_equal(unmixed.fractions, np.zeros((2, 3)))
    assert np.isfinite(unmixed.sigma).all()


TIES = np.array([[0.0, -2, 2, -2, -1, 0], [0, 0, 0, 0, -1, 0], [-2, -2, 0, -1, 0, 2], [0, 0, 0, 0, 0, 0]])


@pytest.mark.long
@example(np.vstack([[-3.0, -2, 2, -2, -1, -3], np.zeros((4, 6))]), TIES, "alike")  # where scipy's misses it
@given(
    arrays(float, (5, 6), elements=st.integers(-3, 3).map(float)),
    arrays(float, (4, 6), elements=st.integers(-2, 2).map(float)),
    st.sampled_from(["alike", "by energy", "by pixel"]),
)
@settings(max_examples=150, deadline=None)
def test_small_whole_numbers_full_of_ties_give_the_minimum(spectra, references, weighting):
    variance = {"alike": None, "by energy": np.array([1.0, 2, 4, 1, 2, 4]), "by pixel": np.full((5, 6), 2.0)}[weighting]
    unmixed = unmix(spectra, references, variance)
    root = 1.0 if variance is None else 1 / np.sqrt(variance)
    expected = least_of_all_supports(spectra, references, root)
    ours, least = (np.linalg.norm((spectra - f @ references) * root, axis=1) for f in (unmixed.fractions, expected))
    assert (unmixed.fractions >= 0).all()
    assert np.abs(ours - least).max() < 1e-10
    if np.linalg.matrix_rank(references) == 4:
        assert np.abs(unmixed.fractions - expected).max() < 1e-10


@given(st.floats(1e-4, 1.0), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_references_that_are_nearly_alike_give_the_same_in_both_ways(difference, seed):
    rng = np.random.default_rng(seed)
    first = rng.random(30)
    references = np.stack([first, first + difference * rng.random(30), rng.random(30)])
    spectra = rng.normal(0.2, 1.0, (20, 3)) @ references + rng.normal(0.0, 0.01, (20, 30))
    alike, each = unmix(spectra, references, np.full(30, 2.0)), unmix(spectra, references, np.full((20, 30), 2.0))
    assert np.abs(alike.fractions - each.fractions).max() < 1e-10 / difference
    assert np.allclose(alike.covariance, each.covariance, rtol=1e-6)
    assert np.abs(alike.residual - each.residual).max() < 1e-10


def test_an_energy_not_measured_is_left_out_of_that_pixel_alone():
    rng = np.random.default_rng(1)
    spectra = rng.random((40, 3)) @ REFERENCES + rng.normal(0.0, 0.1, (40, 50))
    spectra[::2, rng.integers(0, 50, 9)] = np.nan
    for variance in (None, np.linspace(1, 3, 50), rng.uniform(1, 3, (40, 50))):
        unmixed = unmix(spectra, REFERENCES, variance)
        expected = scipy_nnls(spectra, REFERENCES, variance)
        rest = np.nan_to_num(spectra - expected @ REFERENCES)
        assert np.abs(unmixed.fractions - expected).max() < 1e-10
        assert np.abs(unmixed.residual - np.linalg.norm(rest, axis=1)).max() < 1e-10
        gap = np.isfinite(spectra[0])
        alone = None if variance is None else np.broadcast_to(variance, spectra.shape)[0, gap]
        short = unmix(spectra[:1, gap], REFERENCES[:, gap], alone)
        assert unmixed.covariance[0] == pytest.approx(short.covariance[0], rel=1e-9)


def test_infinities_count_as_not_measured():
    spectra = np.random.default_rng(1).random((2, 50))
    gaps = spectra.copy()
    gaps[0, [4, 7]] = np.nan
    spectra[0, [4, 7]] = np.inf, -np.inf
    assert np.array_equal(unmix(spectra, REFERENCES).fractions, unmix(gaps, REFERENCES).fractions)


def test_a_variance_that_is_not_finite_leaves_the_energy_out():
    spectra = np.random.default_rng(1).random((10, 50))
    variance = np.ones(50)
    variance[[3, 40]] = np.nan, np.inf
    used = np.isfinite(variance)
    expected = unmix(spectra[:, used], REFERENCES[:, used], variance[used])
    for given_variance in (variance, np.tile(variance, (10, 1))):
        unmixed = unmix(spectra, REFERENCES, given_variance)
        assert np.abs(unmixed.fractions - expected.fractions).max() < 1e-10
        assert np.abs(unmixed.residual - expected.residual).max() < 1e-10
        assert np.allclose(unmixed.sigma, expected.sigma)


def test_too_few_valid_energies_are_nan():
    spectra = np.full((2, 50), np.nan)
    spectra[0, :2] = 1.0
    unmixed = unmix(spectra, REFERENCES)
    assert np.isnan(unmixed.fractions).all()
    assert np.isnan(unmixed.sigma).all()
    assert np.isnan(unmixed.residual).all()
    assert np.isnan(ratio(unmixed, 0, (0, 1))[0]).all()


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("left", [0, 2])
def test_what_has_no_weight_has_no_fraction_whichever_way_the_variance_is_given(each, left):
    spectra = np.random.default_rng(1).random((4, 50))
    variance = np.full(50, np.inf)
    variance[:left] = 1.0  # fewer than there are references
    unmixed = unmix(spectra, REFERENCES, np.tile(variance, (4, 1)) if each else variance)
    for values in (unmixed.fractions, unmixed.sigma, unmixed.residual, unmixed.covariance):
        assert np.isnan(values).all()


def test_as_many_energies_as_references_leave_no_scatter_to_judge_by():
    unmixed = unmix(np.array([[1.0, 2.0]]), np.eye(2))
    assert unmixed.fractions == pytest.approx(np.array([[1.0, 2.0]]))
    assert np.isnan(unmixed.sigma).all()
    assert unmix(np.array([[1.0, 2.0]]), np.eye(2), np.array([4.0, 9.0])).sigma == pytest.approx(np.array([[2.0, 3.0]]))


def test_no_pixels_give_no_fractions():
    for variance in (None, np.ones((0, 50))):
        unmixed = unmix(np.empty((0, 50)), REFERENCES, variance)
        assert (unmixed.fractions.shape, unmixed.covariance.shape) == ((0, 3), (0, 3, 3))


@pytest.mark.parametrize("weighting", ["alike", "by energy", "by pixel"])
def test_the_quoted_sigma_holds_the_truth_in_two_trials_of_three(weighting):
    rng = np.random.default_rng(11)
    trials, truth = 1000, np.array([0.6, 0.3, 0.4])
    variance = {"alike": np.full((trials, 50), 0.02**2)}.get(weighting, rng.uniform(0.01, 0.05, (trials, 50)) ** 2)
    if weighting == "by energy":
        variance = np.broadcast_to(variance[0], variance.shape)
    spectra = truth @ REFERENCES + rng.normal(0.0, np.sqrt(variance))
    unmixed = unmix(spectra, REFERENCES, {"alike": None, "by energy": variance[0], "by pixel": variance}[weighting])
    inside = np.abs(unmixed.fractions - truth) < unmixed.sigma
    assert ((inside.mean(axis=0) > 0.60) & (inside.mean(axis=0) < 0.76)).all()
    value, sigma = ratio(unmixed, 0, (0, 1))
    assert 0.60 < np.mean(np.abs(value - 2 / 3) < sigma) < 0.76


def test_sigma_of_an_absent_reference_is_that_of_the_fit_it_would_join():
    spectra = np.array([1.0, -0.3, 0.5]) @ REFERENCES
    for variance in (np.full(50, 0.1**2), np.full((1, 50), 0.1**2)):
        unmixed = unmix(spectra[None], REFERENCES, variance)
        assert unmixed.fractions[0, 1] == 0.0
        expected = 0.1**2 * np.linalg.inv(REFERENCES @ REFERENCES.T)
        active = 0.1**2 * np.linalg.inv(REFERENCES[[0, 2]] @ REFERENCES[[0, 2]].T)
        assert unmixed.sigma[0, 1] == pytest.approx(np.sqrt(expected[1, 1]))
        assert unmixed.covariance[0][np.ix_([0, 2], [0, 2])] == pytest.approx(active)
        assert np.array_equal(unmixed.covariance[0, 1, [0, 2]], [0.0, 0.0])


@pytest.mark.parametrize("variance", [np.ones(50), np.ones((1, 50))], ids=["by energy", "by pixel"])
def test_a_fraction_that_the_references_do_not_determine_has_no_sigma(variance):
    spectrum = (REFERENCES[0] + REFERENCES[1])[None]
    unmixed = unmix(spectrum, np.stack([REFERENCES[0], REFERENCES[0], REFERENCES[1]]), variance)
    assert np.isnan(unmixed.sigma[0, :2]).all()
    assert np.isfinite(unmixed.sigma[0, 2])
    without = unmix(spectrum, np.stack([REFERENCES[0], 0 * ENERGY, REFERENCES[1]]), variance)
    assert np.array_equal(np.isnan(without.sigma[0]), [False, True, False])
    assert without.fractions[0] == pytest.approx([1.0, 0.0, 1.0])
    assert np.isfinite(ratio(without, 0, (0, 2))[1]).all()


def test_ratio_is_exact_and_nan_where_the_sum_is_not_above_zero():
    unmixed = unmix(np.stack([0.3 * REFERENCES[0] + 0.1 * REFERENCES[1], -REFERENCES[0]]), REFERENCES, np.ones(50))
    value, sigma = ratio(unmixed, 0, (0, 1))
    assert value[0] == pytest.approx(0.75)
    assert np.isnan([value[1], sigma[1]]).all()
    covariance = unmixed.covariance[0]
    gradient = np.array([0.1, -0.3, 0.0]) / 0.4**2
    assert sigma[0] == pytest.approx(np.sqrt(gradient @ covariance @ gradient))
    share, share_sigma = ratio(unmixed, 1, (0, 1))
    assert (share[0], share_sigma[0]) == pytest.approx((0.25, sigma[0]))


@pytest.mark.parametrize(
    ("spectra", "references", "variance", "words"),
    [
        (np.ones((2, 5)), np.ones((7, 5)), None, "7 references: expected 1 to 6"),
        (np.ones((2, 5)), np.ones((0, 5)), None, "0 references"),
        (np.ones((2, 5)), np.ones((2, 4)), None, r"references \(2, 4\): expected \(k, 5\)"),
        (np.ones(5), np.ones((2, 5)), None, r"expected \(n_pixels, n_energies\)"),
        (np.ones((2, 5)), np.diag([np.nan] * 5), None, "not finite at energy number 0"),
        (np.ones((2, 5)), np.ones((2, 5)), np.ones(4), r"variance \(4,\)"),
        (np.ones((2, 5)), np.ones((2, 5)), np.zeros(5), "variance 0: expected above zero"),
    ],
)
def test_bad_input_is_named(spectra, references, variance, words):
    with pytest.raises(ValueError, match=words):
        unmix(spectra, references, variance)


@pytest.mark.parametrize(("numerator", "denominator"), [(3, (0, 1)), (0, (0, 5)), (0, ())])
def test_ratio_of_what_is_not_there_is_refused(numerator, denominator):
    with pytest.raises(ValueError, match="expected numbers 0 to 2"):
        ratio(unmix(np.ones((1, 50)), REFERENCES), numerator, denominator)


def test_a_misfit_beyond_the_noise_widens_the_uncertainties():
    rng = np.random.default_rng(11)
    references = rng.uniform(0.2, 1.0, (2, 40))
    exact = np.array([[0.4, 0.6]]) @ references * np.ones((200, 1))
    variance = np.full(exact.shape, 0.01**2)
    good = exact + 0.01 * rng.standard_normal(exact.shape)
    bad = exact + 0.03 * rng.standard_normal(exact.shape)
    for spectra, factor in ((good, 1.0), (bad, 3.0)):
        plain = unmix(spectra, references, variance)
        widening = np.sqrt(misfit(plain, spectra, references, variance))
        assert np.median(widening) == pytest.approx(factor, rel=0.08)
        assert np.mean(np.abs(plain.fractions - [0.4, 0.6]) <= plain.sigma * widening[:, None]) == pytest.approx(
            0.70, abs=0.08
        )


def test_fewer_energies_than_references_are_refused():
    with pytest.raises(ValueError, match="2 energies, expected 3 or more for 3 references"):
        unmix(np.ones((1, 2)), np.eye(3, 2), np.ones((1, 2)))


@pytest.mark.parametrize("alike", [1.0, 1e-5])  # where they are nearly alike, pixels are solved by matrix products
def test_a_free_reference_may_be_negative_and_the_others_may_not(alike):
    rng = np.random.default_rng(15)
    references = np.vstack([rng.random((2, 30)), np.ones(30)])
    references[1] = references[0] + alike * (references[1] - references[0])
    spectra = rng.normal(0.2, 0.5, (200, 2)) @ references[:2] + rng.normal(-0.5, 0.3, (200, 1))
    variance = rng.uniform(0.5, 2.0, spectra.shape)
    found = unmix(spectra, references, variance, free=1)
    for spectrum, own, fractions in zip(spectra, variance, found.fractions, strict=True):
        root = np.sqrt(own)
        both = np.vstack([references, -references[2]]) / root
        expected, norm = nnls(both.T, spectrum / root)
        assert np.linalg.norm((spectrum - fractions @ references) / root) <= norm * (1 + 1e-6) + 1e-9
        if alike == 1.0:
            np.testing.assert_allclose(fractions[2], expected[2] - expected[3], atol=1e-7)
    assert (found.fractions[:, :2] >= 0).all()
    assert (found.fractions[:, 2] < 0).any()
    with pytest.raises(ValueError, match="expected a variance a pixel"):
        unmix(spectra, references, free=1)
