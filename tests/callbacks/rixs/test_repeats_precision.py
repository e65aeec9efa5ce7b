"""How precise a row of a RIXS map is: the relative error of its brightest resolution element."""

import math

import numpy as np
import pytest

from callbacks.rixs.repeats import relative_error


@pytest.fixture
def spectrum():
    return np.exp(-0.5 * ((np.arange(200) - 80.0) / 6.0) ** 2) + 0.01


def test_it_is_that_of_the_brightest_columns(spectrum):
    brightest = slice(78, 83)
    expected = math.sqrt(5 * 0.04) / spectrum[brightest].sum()
    assert np.isclose(relative_error(spectrum, np.full(200, 0.04), 0.0, columns=5), expected)


def test_the_flux_is_one_error_of_all_its_columns(spectrum):
    variance = 1e-12 + (0.03 * spectrum) ** 2  # each column has the flux's, as in a row
    assert np.isclose(relative_error(spectrum, variance, 0.03, columns=5), 0.03, rtol=1e-6)


def test_columns_that_are_not_known_are_left_out_and_nothing_is_told_of_none(spectrum):
    variance = np.full(200, 0.04)
    brightest = relative_error(spectrum, variance, 0.0, columns=5)
    spectrum[80] = np.nan
    assert relative_error(spectrum, variance, 0.0, columns=5) > brightest
    assert math.isnan(relative_error(np.full(200, np.nan), variance, 0.0, columns=5))
    assert math.isnan(relative_error(np.full(200, -1.0), variance, 0.0, columns=5))
    assert math.isnan(relative_error(spectrum[:3], variance[:3], 0.0, columns=5))


def test_noise_alone_does_not_pass_for_what_may_be_asked_for():
    rng = np.random.default_rng(1)
    found = [relative_error(rng.normal(0, 1, 2000), np.ones(2000), 0.0, columns=5) for _ in range(500)]
    assert np.nanmin(found) > 0.2
    assert np.isclose(np.nanmedian(found), 0.3, atol=0.03)


def test_it_holds_the_truth_as_often_as_it_says(spectrum):
    rng = np.random.default_rng(2)
    counts = rng.poisson(400 * spectrum, (1000, 200)).astype(float)
    sums = counts[:, 78:83].sum(axis=1)
    errors = np.array([relative_error(each, np.maximum(each, 1), 0.0, columns=5) for each in counts])
    truth = 400 * spectrum[78:83].sum()
    assert 0.60 < np.mean(np.abs(sums / truth - 1) < errors) < 0.76
