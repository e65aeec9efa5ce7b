"""What is read off normalised spectra: intervals hold the truth, as background and jump are the same for all points."""

import numpy as np
import pytest

from callbacks.analysis import Recipe, Spectra, analyse
from callbacks.analysis.recipe import Normalisation
from callbacks.analysis.rows import Row, normalised
from callbacks.analysis.shared_noise import take

ENERGY = np.arange(628.0, 670.0, 0.25)
NOISE = 0.01
TRIALS = 400
PRE_EDGE, POST_EDGE, WHOLE = (628.0, 636.0), (662.0, 670.0), (636.0, 660.0)
MEASURES = {
    "area": {"by": "integral", "window": [640, 648]},
    "centre": {"by": "centroid", "window": [638, 648]},
    "lines": {
        "by": "white_lines", "edges": [642, 653], "l3_window": [638, 648], "l2_window": [650, 660],
        "pre_edge": PRE_EDGE, "post_edge": POST_EDGE,
    },
    "parts": {"by": "lcf"},
}  # fmt: skip
TAKEN = (
    ("area", "area"),
    ("centre", "energy"),
    ("lines", "ratio"),
    ("lines", "l3"),
    ("parts", "of_a"),
    ("parts", "sum"),
)


def line(centre, width, height):
    return height * np.exp(-0.5 * ((ENERGY - centre) / width) ** 2)


def spectrum(share):
    """Two phases above a background and two steps."""
    first = line(643.0, 1.2, 1.5) + line(640.5, 0.6, 0.7) + line(654.0, 1.5, 0.9)
    second = line(641.5, 1.2, 1.8) + line(652.5, 1.5, 1.1)
    steps = 0.2 / (1 + np.exp(-(ENERGY - 642.0) / 0.5)) + 0.1 / (1 + np.exp(-(ENERGY - 653.0) / 0.5))
    return 0.3 + 0.001 * (ENERGY - 628.0) + share * first + (1 - share) * second + steps


def exact(share, how):
    return normalised(Spectra(ENERGY, spectrum(share)[None], np.full((1, len(ENERGY)), 1e-14)), how)[0]


def settings(form, by):
    return Normalisation(pre_edge=PRE_EDGE, post_edge=POST_EDGE if by == "edge" else WHOLE, background=form, by=by)


def recipe_of(how, **tables):
    references = {
        name: {"energy": ENERGY.tolist(), "values": exact(share, how).values[0].tolist(), "source": name}
        for name, share in (("a", 1.0), ("b", 0.0))
    }
    return Recipe.model_validate({"technique": "xas", "references": references, "measures": MEASURES, **tables})


@pytest.mark.parametrize("form", ["constant", "linear"])
@pytest.mark.parametrize("by", ["edge", "area"])
def test_intervals_of_normalised_spectra_hold_the_truth_in_two_trials_of_three(form, by):
    how = settings(form, by)
    recipe = recipe_of(how)
    references = {name: each.spectrum() for name, each in recipe.references.items()}
    noisy = spectrum(0.4) + np.random.default_rng(5).normal(0.0, NOISE, (TRIALS, len(ENERGY)))
    spectra, _ = normalised(Spectra(ENERGY, noisy, np.full(noisy.shape, NOISE**2)), how)
    found = {name: take(measure, spectra, references) for name, measure in recipe.measures.items()}
    true = {name: take(measure, exact(0.4, how), references) for name, measure in recipe.measures.items()}
    for name, key in TAKEN:
        value = found[name].values[key]
        assert (found[name].status == "ok").all()
        held = np.abs(value.values - true[name].values[key].values) < value.sigma
        assert 0.60 < held.mean() < 0.76, (name, key)
    assert found["parts"].values["reduced_chi_square"].values.mean() == pytest.approx(1.0, abs=0.03)


def test_the_uncertainty_of_an_area_is_that_of_the_whole_jacobian():
    how = settings("linear", "edge")
    measure = recipe_of(how).measures["area"]
    noise = np.random.default_rng(2).uniform(0.5, 2.0, len(ENERGY)) * NOISE

    def area(values):
        return take(measure, normalised(Spectra(ENERGY, values, np.broadcast_to(noise**2, values.shape)), how)[0], {})

    moved = spectrum(0.4) + np.diag(noise) * 1e-3
    each = (area(moved).values["area"].values - area(spectrum(0.4)[None]).values["area"].values) / 1e-3
    assert area(spectrum(0.4)[None]).values["area"].sigma[0] == pytest.approx(np.sqrt((each**2).sum()), rel=1e-3)


def test_a_row_is_as_a_pixel_and_a_spectrum_that_is_not_normalised_shares_nothing():
    how = settings("linear", "edge")
    noisy = spectrum(0.4) + np.random.default_rng(7).normal(0.0, NOISE, len(ENERGY))
    raw = Spectra(ENERGY, noisy, np.full(len(ENERGY), NOISE**2))
    found = analyse([Row("run-1", "a", "tey", raw)], [], recipe_of(how, normalise=how)).quantities
    spectra, _ = normalised(raw, how)
    assert found["area_area_sigma"].values[0] == take(recipe_of(how).measures["area"], spectra, {}).values["area"].sigma
    assert found["spectrum_sigma"].values[0] == pytest.approx(np.sqrt(spectra.variance))  # each point by itself
    plain = recipe_of(how).measures["area"]
    assert take(plain, raw, {}).values["area"].sigma == plain.measure(raw, {}).values["area"].sigma
