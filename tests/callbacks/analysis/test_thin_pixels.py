"""Maps of normalised pixels: those that are too thin are left out by what is expected of them, not by their noise."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from callbacks.analysis import Pixels, Recipe, Spectra, analyse
from callbacks.analysis.recipe import Normalisation
from callbacks.analysis.rows import normalised
from callbacks.analysis.shared_noise import take
from callbacks.xas.normalised import normalise_spectra

ENERGY = np.concatenate([np.arange(520.0, 527.0), np.arange(527.0, 540.0, 0.25), np.arange(540.0, 552.5)])
PIXELS = 2000
NO_EDGE, TOO_THIN = "no edge: the jump is not above 3 sigma", "too thin: the edge jump expected is below 5 sigma"


def line(centre, width, height):
    return height * np.exp(-0.5 * ((ENERGY - centre) / width) ** 2)


PHASES = np.array(
    [line(530.5, 0.8, 1.2) + line(534.0, 1.2, 0.8), line(529.0, 0.8, 2.2) + line(536.0, 1.5, 0.5)]
) + expit((ENERGY - 532.0) / 0.5)


def settings(form="constant", by="edge"):
    window = (545.0, 552.0) if by == "edge" else (527.0, 552.0)
    return Normalisation(pre_edge=(520.0, 527.0), post_edge=window, background=form, by=by)


def exact(spectra, how):
    return normalised(Spectra(ENERGY, spectra, np.full(spectra.shape, 1e-14)), how)[0]


def recipe_of(how):
    references = {
        name: {"energy": ENERGY.tolist(), "values": values.tolist(), "source": name}
        for name, values in zip("ab", exact(PHASES, how).values, strict=True)
    }
    return Recipe.model_validate(
        {
            "technique": "stxm",
            "normalise": how.model_dump(),
            "references": references,
            "measures": {"parts": {"by": "lcf", "non_negative": False}},
        }
    )


def noisy_pixels(noise, thickness, share, how, seed=1):
    """Give pixels without and with noise, of which that of the jump is a part `noise` of the jump of unit thickness."""
    clean = thickness[:, None] * (0.1 + (1 - share)[:, None] * PHASES[0] + share[:, None] * PHASES[1])
    windows = how.model_dump(include={"pre_edge", "post_edge", "by"}) | {"form": how.background}
    unit = normalise_spectra(ENERGY, PHASES[:1], np.ones(len(ENERGY)), **windows)
    sigma = noise * unit.jump[0] / unit.jump_sigma[0]
    noisy = clean + np.random.default_rng(seed).normal(0.0, sigma, clean.shape)
    return clean, Spectra(ENERGY, noisy, np.full(noisy.shape, sigma**2), alike=True)


def map_of(clean, spectra, how):
    """Give the reason of each pixel of a map by a recipe, and of each fraction value, sigma and truth."""
    recipe = recipe_of(how)
    count = len(clean)
    pixels = Pixels("run-1", "a", spectra, np.ones((1, count), bool), None, None, np.zeros((1, count)))
    found = analyse([], [pixels], recipe).quantities
    references = {name: each.spectrum() for name, each in recipe.references.items()}
    true = take(recipe.measures["parts"], exact(clean, how), references).values
    reasons = found["map1_parts_reasons"].values[found["map1_parts_status"].values[0]]
    return reasons, {
        key: (found[f"map1_parts_{key}"].values[0], found[f"map1_parts_{key}_sigma"].values[0], true[key].values)
        for key in ("of_a", "of_b", "sum")
    }  # fmt: skip


def check(reasons, values):
    """Check that pixels with a value have intervals that hold, and values that are off by little on average."""
    kept = reasons == "ok"
    assert kept.sum() >= 200
    for key, (value, sigma, true) in values.items():
        assert (np.isfinite(value) == kept).all()
        off = (value - true)[kept]
        assert 0.60 < (np.abs(off) < sigma[kept]).mean() < 0.76, key
        # To second order the mean of a quotient is too high by a fifth of its sigma at most, its median is not.
        assert abs(off.mean()) < 0.2 * np.median(sigma[kept]), key
        assert abs(np.median(off / sigma[kept])) < 0.15, key


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1, 0.2, 0.33])
def test_fractions_of_pixels_of_any_thickness_hold_the_truth_and_are_not_too_small(noise):
    rng, how = np.random.default_rng(7), settings()
    clean, spectra = noisy_pixels(noise, rng.uniform(0.1, 3.0, PIXELS), rng.uniform(0.0, 1.0, PIXELS), how)
    reasons, values = map_of(clean, spectra, how)
    check(reasons, values)
    assert set(reasons) <= {"ok", TOO_THIN, NO_EDGE}


@pytest.mark.parametrize(("form", "by"), [("linear", "edge"), ("constant", "area"), ("linear", "area")])
def test_so_they_are_by_any_background_and_divisor(form, by):
    rng, how = np.random.default_rng(8), settings(form, by)
    clean, spectra = noisy_pixels(0.2, rng.uniform(0.1, 3.0, PIXELS), rng.uniform(0.0, 1.0, PIXELS), how)
    check(*map_of(clean, spectra, how))


def sums(spectra, how):
    """Give the sum of the fractions, 1 in truth, of pixels by their own jump, and its sigma."""
    recipe = recipe_of(how)
    references = {name: each.spectrum() for name, each in recipe.references.items()}
    by_their_own, status = normalised(replace(spectra, alike=False), how)
    found = take(recipe.measures["parts"], by_their_own, references).values["sum"]
    return found.values, found.sigma, status


@pytest.mark.parametrize(("noise", "low"), [(0.33, 0.5), (0.5, 1.2)])
def test_thin_pixels_whose_noise_makes_their_jump_large_have_fractions_too_small_and_are_left_out(noise, low):
    how, ones = settings(), np.ones(PIXELS)
    _, spectra = noisy_pixels(noise, ones, 0.0 * ones, how)
    value, sigma, by_their_own = sums(spectra, how)
    own = by_their_own == "ok"
    assert own.mean() > 0.1
    assert np.mean(value[own] - 1.0) / np.median(sigma[own]) < -low
    status = normalised(spectra, how)[1]
    assert (status == "ok").mean() < 0.001
    assert {NO_EDGE, TOO_THIN} <= set(status)


def test_which_pixels_have_a_value_does_not_depend_on_what_their_noise_makes_of_it():
    how, thickness = settings(), np.ones(PIXELS)
    _, spectra = noisy_pixels(0.2, thickness, 0.5 * thickness, how)  # five sigma: half of them stay
    value, sigma, _ = sums(spectra, how)
    kept = normalised(spectra, how)[1] == "ok"
    assert 0.4 < kept.mean() < 0.6
    measured = np.isfinite(value)
    apart = np.nanmedian(value[kept]) - np.nanmedian(value[~kept])
    assert abs(apart) < 0.15 * np.nanmedian(sigma)
    jump = jumps(spectra, how)
    large = jump > np.median(jump)
    apart = np.nanmedian(value[large]) - np.nanmedian(value[measured & ~large])
    assert apart < -np.nanmedian(sigma)  # as it would be by the jump of each


def jumps(spectra, how):
    windows = {"pre_edge": how.pre_edge, "post_edge": how.post_edge, "form": how.background}
    return normalise_spectra(ENERGY, spectra.values, spectra.variance, **windows).jump


def test_a_stack_of_thin_pixels_has_no_maps_and_says_why():
    how, ones = settings(), np.ones(400)
    _, spectra = noisy_pixels(0.5, ones, 0.0 * ones, how)
    pixels = Pixels("run-1", "a", spectra, np.ones((20, 20), bool), None, None, np.zeros((20, 20)))
    result = analyse([], [pixels], recipe_of(how))
    assert result.assumed.tolist() == [f"run run-1: no maps: of all pixels: {NO_EDGE} or {TOO_THIN}"]


def test_a_single_spectrum_and_a_few_have_their_own_jump_to_go_by():
    how = settings()
    _, spectra = noisy_pixels(0.25, np.ones(1), np.zeros(1), how)
    values = PHASES[0] + 0.1  # four sigma
    one = Spectra(ENERGY, values, spectra.variance[0])
    assert normalised(one, how)[1] == "ok"
    for number, said in ((1, "ok"), (19, "ok"), (20, TOO_THIN)):
        values, variance = (np.tile(each, (number, 1)) for each in (one.values, one.variance))
        assert (normalised(Spectra(ENERGY, values, variance, alike=True), how)[1] == said).all()
