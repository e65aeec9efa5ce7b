"""All combinations of references: which ones a spectrum needs, and how often more are taken than it has."""

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.stats import f

from callbacks.fitting.ranking import SIGNIFICANT, rank_combinations

ENERGY = np.r_[np.arange(520.0, 526.0, 0.5), np.arange(526.0, 540.0, 0.2)]


def reference(peak, height):
    edge = 0.5 + np.arctan((ENERGY - 534.0) / 0.6) / np.pi
    return edge + height * np.exp(-0.5 * ((ENERGY - peak) / 0.7) ** 2)


REFERENCES = np.stack([reference(528.5, 1.0), reference(530.0, 0.8), reference(531.5, 1.2), reference(533.0, 0.5)])
NOISE = 0.02


def measured(rng, fractions):
    return np.asarray(fractions) @ REFERENCES + rng.normal(0.0, NOISE, len(ENERGY))


def ranked(spectrum, **options):
    return rank_combinations(ENERGY, spectrum, REFERENCES, np.full(len(ENERGY), NOISE**2), **options)


def test_sums_of_squares_and_probabilities_are_those_of_scipy():
    spectrum = measured(np.random.default_rng(1), [0.6, 0.0, 0.4, 0.0])
    ranking = ranked(spectrum)
    assert len(ranking.combinations) == 15
    squares = {}
    for size in range(1, 5):
        for chosen in combinations(range(4), size):
            squares[chosen] = nnls(REFERENCES[list(chosen)].T / NOISE, spectrum / NOISE)[1] ** 2
    for each in ranking.combinations:
        assert each.chi_square == pytest.approx(squares[each.references], rel=1e-9)
        if len(each.references) > 1:
            fewer = min(squares[part] for part in combinations(each.references, len(each.references) - 1))
            ratio = (fewer - each.chi_square) / each.reduced_chi_square
            assert each.f_ratio == pytest.approx(ratio, rel=1e-6, abs=1e-9)
            assert each.p_value == pytest.approx(f.sf(ratio, 1, each.freedom), rel=1e-6)


@pytest.mark.long
def test_what_a_spectrum_is_made_of_is_found_and_more_is_taken_as_rarely_as_it_says():
    rng = np.random.default_rng(2)
    best = [
        ranking.combinations[ranking.best].references
        for ranking in (ranked(measured(rng, [0.6, 0.0, 0.4, 0.0])) for _ in range(300))
    ]
    assert all({0, 2} <= set(each) for each in best)
    # Two others may be added; a fraction that would be below zero lowers nothing, so half of the chance is used.
    more = np.mean([len(each) > 2 for each in best])
    assert more < 2 * SIGNIFICANT


def test_a_reference_that_is_hardly_there_is_named_where_the_noise_allows():
    rng = np.random.default_rng(3)
    assert ranked(measured(rng, [1.0, 0.0, 0.0, 0.0])).best is not None
    spectrum = measured(rng, [0.9, 0.1, 0.0, 0.0])
    ranking = ranked(spectrum)
    best = ranking.combinations[ranking.best]
    assert best.references == (0, 1)
    assert best.is_needed
    assert best.fit.fractions == pytest.approx([0.9, 0.1], abs=4 * best.fit.sigma.max())
    assert ranking.combinations[0].is_needed


def test_a_common_shift_is_allowed_for():
    rng = np.random.default_rng(4)
    moved = np.stack([np.interp(ENERGY - 0.3, ENERGY, each) for each in REFERENCES])
    spectrum = np.array([0.5, 0.0, 0.5, 0.0]) @ moved + rng.normal(0.0, NOISE, len(ENERGY))
    ranking = ranked(spectrum, most=2, shift=True)
    best = ranking.combinations[ranking.best]
    assert best.references == (0, 2)
    assert best.fit.shift == pytest.approx(0.3, abs=4 * float(best.fit.shift_sigma))
    assert 0.5 < best.reduced_chi_square < 1.6
    assert max(len(each.references) for each in ranking.combinations) == 2


def test_of_a_spectrum_that_was_not_measured_there_is_no_best():
    ranking = ranked(np.full(len(ENERGY), np.nan))
    assert ranking.best is None
    assert all(str(each.fit.status) != "ok" for each in ranking.combinations)
