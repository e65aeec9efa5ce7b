"""A run that is a reference and analysed, too: its noise is that of one measurement, not of two."""

import numpy as np
import pytest

from callbacks.analysis import Recipe, Row, Spectra, analyse

ENERGY = np.arange(630.0, 670.0, 0.5)
NOISE = 0.02
RUNS = {name: f"{name}0000000-0000-4000-8000-000000000000" for name in "abc"}
TOLD = (
    "part of {}, tey: is reference {} itself, with the same noise: a fraction of 1 ± 0 by construction, no chi square"
)


def line(centre):
    return np.exp(-0.5 * ((ENERGY - centre) / 2.0) ** 2)


PURE = {"a": line(640.0) + 0.5 * line(652.0) + 0.05, "b": line(643.0) + 0.4 * line(654.0) + 0.05}


def noisy(values, rng, noise=NOISE):
    return values + rng.normal(0.0, noise, ENERGY.shape)


def row(name, values, noise=NOISE, **own):
    return Row(RUNS[name], name, "tey", Spectra(ENERGY, values, np.full(ENERGY.shape, noise**2)), **own)


def recipe(spectra, measure, noise=NOISE):
    references = {
        name: {
            "energy": ENERGY.tolist(),
            "values": values.tolist(),
            "sigma": [noise] * len(ENERGY),
            "source": f"run {RUNS[name]}, tey",
        }
        for name, values in spectra.items()
    }
    return Recipe.model_validate({"technique": "xas", "references": references, "measures": {"part": measure}})


MEASURES = [
    {"by": "lcf"},
    {"by": "lcf", "non_negative": False, "values": {"a": 2, "b": 3}},
    {"by": "lcf", "combinations": 2},
    {"by": "lcf", "shift": True, "max_shift": 1.0},
    {"by": "mlls", "exponent": 3.0},
]


@pytest.mark.parametrize("measure", MEASURES)
def test_a_spectrum_that_is_a_reference_is_that_without_uncertainty_and_the_analysis_says_so(measure):
    rng = np.random.default_rng(3)
    noise = 0.01 * NOISE  # with more the references could not be shifted
    spectra = {name: noisy(values, rng, noise) for name, values in PURE.items()}
    mixed = noisy(0.4 * PURE["a"] + 0.6 * PURE["b"], rng, noise)
    rows = [row("a", spectra["a"], noise, energy_sigma=0.01), row("c", mixed, noise, energy_sigma=0.01)]
    result = analyse(rows, [], recipe(spectra, measure, noise))
    found = {key: quantity.values for key, quantity in result.quantities.items() if key.startswith("part_")}
    assert found["part_status"].tolist() == ["ok", "ok"]
    assert (found["part_of_a"][0], found["part_of_b"][0]) == pytest.approx((1.0, 0.0), abs=1e-6)
    sigmas = [
        key for key, quantity in result.quantities.items() if key.endswith("_sigma") and quantity.axes == ("rows",)
    ]
    for key in sigmas:
        assert found[key][0] == 0.0, key
    for key in ("part_of_a_sigma", "part_of_b_sigma", "part_of_a_scale_sigma"):
        assert found[key][1] > 0.0, key
    assert np.isnan(found["part_reduced_chi_square"][0])
    assert 0.2 < found["part_reduced_chi_square"][1] < 2.0
    assert result.assumed.tolist() == [TOLD.format("a", "a")]


def test_a_run_that_is_no_reference_is_as_uncertain_as_before_and_nothing_is_said():
    rng = np.random.default_rng(4)
    held, trials = 0, 300
    for _ in range(trials):
        spectra = {name: noisy(values, rng) for name, values in PURE.items()}
        mixed = noisy(0.4 * PURE["a"] + 0.6 * PURE["b"], rng)
        result = analyse([row("c", mixed)], [], recipe(spectra, {"by": "lcf", "non_negative": False}))
        assert not result.assumed.size
        found = result.quantities
        held += abs(found["part_of_a"].values[0] - 0.4) < found["part_of_a_sigma"].values[0]
    assert 0.60 < held / trials < 0.76


def test_a_region_of_the_stack_that_is_a_reference_is_said_to_count_noise_twice_and_its_interval_is_too_wide():
    rng = np.random.default_rng(5)
    held, trials = 0, 300
    for _ in range(trials):
        region, others = noisy(PURE["a"], rng), noisy(PURE["a"], rng)
        spectra = {"a": (region + others) / 2, "b": noisy(PURE["b"], rng, NOISE / np.sqrt(2))}
        made = recipe(spectra, {"by": "lcf", "non_negative": False}, NOISE / np.sqrt(2))
        result = analyse([row("a", region)], [], made)
        found = result.quantities
        held += abs(found["part_of_a"].values[0] - 1.0) < found["part_of_a_sigma"].values[0]
        (told,) = result.assumed
        assert told == (
            "part of a, tey: is of the same run as reference a: noise that both share is counted twice, the"
            " uncertainties are too large, and chi square too small"
        )
    assert held / trials > 0.80  # of 68 % that are quoted
