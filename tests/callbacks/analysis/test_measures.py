"""Measures of a recipe on spectra and pixels: the truth within what is quoted, or a line that says why not."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from callbacks.analysis import Pixels, Recipe, Row, Spectra, analyse
from callbacks.analysis.cuts import MapOnAxes, cut_of_map
from callbacks.analysis.recipe import Cut

ENERGY = np.arange(630.0, 670.0, 0.25)
NOISE = 0.005
NAMES = ("two", "three", "four")  # states, by their valences


def line(centre, energy=ENERGY):
    step = 0.5 + np.arctan((energy - 641.0) / 0.5) / np.pi
    return 0.6 * step + np.exp(-0.5 * ((energy - centre) / 1.2) ** 2)


def references(energy=ENERGY):
    return {name: line(centre, energy) for name, centre in zip(NAMES, (640.0, 641.5, 643.0), strict=True)}


def recipe(**tables):
    kept = {
        name: {"energy": tuple(ENERGY), "values": tuple(values), "source": "a file"}
        for name, values in references().items()
    }
    return Recipe.model_validate({"technique": "xas", "references": kept, **tables})


def row(values, sample="a", run="run-1", energy=ENERGY, *, seed=0, noise=NOISE):
    noise = np.random.default_rng(seed).normal(0.0, noise, len(energy))
    return Row(run, sample, "tey", Spectra(energy, values + noise, np.full(len(energy), NOISE**2)))


def mixed(*fractions):
    return sum(fraction * values for fraction, values in zip(fractions, references().values(), strict=True))


def test_fractions_and_the_mean_of_their_valences_are_the_truth():
    rows = [row(mixed(0.2, 0.3, 0.5), seed=seed) for seed in range(200)]
    measure = {"by": "lcf", "values": {"two": 2, "three": 3, "four": 4}}
    found = analyse(rows, [], recipe(measures={"valence": measure})).quantities
    assert (found["valence_status"].values == "ok").all()
    for name, truth in (("of_two", 0.2), ("of_four", 0.5), ("sum", 1.0), ("mean", 3.3)):
        values, sigma = found[f"valence_{name}"].values, found[f"valence_{name}_sigma"].values
        assert 0.60 < np.mean(np.abs(values - truth) < sigma) < 0.76, name
    fitted = found["valence_fit"].values
    assert np.abs(fitted - mixed(0.2, 0.3, 0.5)).max() < 5 * NOISE


@pytest.mark.long
def test_what_is_not_known_of_the_energy_scale_is_in_the_interval_and_apart_from_noise():
    rng, scale = np.random.default_rng(2), 0.06
    names, fractions = list(references()), (0.2, 0.3, 0.5)

    def spectrum(energy):
        return sum(share * references(energy)[name] for share, name in zip(fractions, names, strict=True))

    off = rng.normal(0.0, scale, 250)  # by which the energies that are read are too low
    rows = [replace(row(spectrum(ENERGY + each), seed=seed), energy_sigma=scale) for seed, each in enumerate(off)]
    measures = {
        "centre": {"by": "centroid", "window": (636.1, 647.0)},
        "edge_position": {"by": "edge_position", "search": (636.0, 643.0), "points": 6},
        "state": {"by": "lcf", "window": (632.0, 668.0)},
    }
    tables = {"measures": measures, "normalise": {"background": "constant", "pre_edge": (630.0, 634.0)}}
    found = analyse(rows, [], recipe(**tables)).quantities
    truth = analyse([row(spectrum(ENERGY), noise=0.0)], [], recipe(**tables)).quantities
    for name in ("centre_energy", "edge_position_energy", "state_of_two"):
        noise, by_scale = found[f"{name}_sigma"].values, found[f"{name}_scale_sigma"].values
        error = np.abs(found[name].values - truth[name].values)
        held = np.mean(error < np.hypot(noise, by_scale))
        assert 0.60 < held < 0.76, name
        # A fraction is told less well than its scale is known: it holds the jump's noise, which all points share.
        assert np.mean(error < noise) < (held - 0.01 if name == "state_of_two" else 0.60), name
    # What leaves a window at one end as it comes in at the other holds a centroid back; an edge moves with the scale.
    assert 0.3 * scale < np.median(found["centre_energy_scale_sigma"].values) < 0.8 * scale
    assert np.median(found["edge_position_energy_scale_sigma"].values) == pytest.approx(scale, rel=0.1)


def test_a_scale_that_is_known_exactly_adds_nothing_and_one_that_is_not_known_says_so():
    measures = {"centre": {"by": "centroid", "window": (636.0, 647.0)}}
    known, unknown = replace(row(line(641.0)), energy_sigma=0.0), row(line(641.0))
    found = analyse([known, unknown], [], recipe(measures=measures)).quantities["centre_energy_scale_sigma"]
    assert found.values[0] == 0.0
    assert np.isnan(found.values[1])
    assert "centre_energy_scale_sigma" not in analyse([unknown], [], recipe(measures=measures)).quantities


def test_all_combinations_are_ranked_and_the_true_one_is_the_best():
    rows = [row(mixed(0.4, 0.0, 0.6), seed=seed) for seed in range(20)]
    found = analyse(rows, [], recipe(measures={"phases": {"by": "lcf", "combinations": 3}})).quantities
    assert np.mean(found["phases_of_three"].values == 0.0) >= 0.8  # noise asks for a third in one of twenty
    assert np.abs(found["phases_of_two"].values - 0.4).max() < 5 * np.nanmax(found["phases_of_two_sigma"].values)
    listed = found["phases_combination"].values
    assert listed.shape == (20, 10)
    assert [text for text in listed[0] if text][-1].count("+") <= 2
    assert sum(bool(text) for text in listed[0]) == 7
    assert np.isfinite(found["phases_combination_reduced_chi_square"].values[:, :7]).all()


@pytest.mark.long
def test_a_power_law_under_references_is_fitted_with_them():
    law = 0.8 * (ENERGY / np.mean(ENERGY[[0, -1]])) ** -4
    rows = [row(law + mixed(0.5, 0.5, 0.0), seed=seed) for seed in range(100)]
    found = analyse(rows, [], recipe(measures={"mlls": {"by": "mlls", "values": dict.fromkeys(NAMES, 1.0)}})).quantities
    for name, truth in (("of_two", 0.5), ("exponent", 4.0), ("background", 0.8), ("mean", 1.0)):
        values, sigma = found[f"mlls_{name}"].values, found[f"mlls_{name}_sigma"].values
        assert np.abs(np.mean(values) - truth) < 4 * np.mean(sigma) / 10 + 1e-9, name
    assert np.nanmax(np.abs(found["mlls_fit"].values - found["spectrum"].values)) < 6 * NOISE
    assert np.nanmean(np.abs(found["mlls_power_law"].values - law)) < 0.02


def test_rows_of_different_energies_stand_side_by_side_and_less_the_first():
    coarse = np.arange(632.0, 668.0, 1.0)
    rows = [row(mixed(1, 0, 0)), row(line(641.5, coarse), "b", "run-2", coarse)]
    found = analyse(rows, [], recipe(measures={"half": {"by": "edge_position"}})).quantities
    assert found["energy"].values.shape == (2, len(ENERGY))
    assert np.isnan(found["energy"].values[1, len(coarse) :]).all()
    difference = found["difference"].values
    assert np.isnan(difference[0]).all()
    expected = line(641.5, coarse) - line(640.0, coarse)
    assert np.abs(difference[1, : len(coarse)] - expected).max() < 5 * NOISE
    assert found["difference_from"].values.tolist() == ["", "run-1"]
    named = analyse(rows, [], recipe(difference_from="b")).quantities
    assert named["difference_from"].values.tolist() == ["run-2", ""]


def test_what_others_are_compared_with_is_the_run_that_is_named_among_several_of_one_sample():
    rows = [row(mixed(1, 0, 0), run=f"run-{number}") for number in (1, 2, 3)]
    named = analyse(rows, [], recipe(difference_from="run-3")).quantities
    assert named["difference_from"].values.tolist() == ["run-3", "run-3", ""]


@pytest.mark.parametrize("by", ["edge", "area"])
def test_references_are_normalised_as_the_spectra_are(by):
    how = {"pre_edge": [630, 636], "post_edge": [650, 669], "background": "constant", "by": by}
    made = recipe(normalise=how, measures={"part": {"by": "lcf"}})
    result = analyse([row(3.0 * mixed(0.4, 0.0, 0.6) + 0.7)], [], made)
    found = result.quantities
    assert found["part_sum"].values[0] == pytest.approx(1.0, abs=0.02)
    for name, truth in (("two", 0.4), ("three", 0.0), ("four", 0.6)):
        value, sigma = found[f"part_of_{name}"].values[0], found[f"part_of_{name}_sigma"].values[0]
        assert abs(value - truth) < 4 * sigma
    short = {"short": {"energy": tuple(ENERGY[60:]), "values": tuple(mixed(1, 0, 0)[60:]), "source": "a file"}}
    told = analyse([row(mixed(1, 0, 0))], [], recipe(references=short, normalise=how, measures={})).assumed
    assert "reference short is as it was, without what is done to the spectra: " in told[0]


def test_a_fit_without_a_window_does_without_ends_that_a_reference_misses_by_what_encoders_differ():
    rng = np.random.default_rng(5)
    kept = {}
    for name in NAMES:
        energy = ENERGY + 0.003 * rng.standard_normal(len(ENERGY))
        kept[name] = {"energy": tuple(energy), "values": tuple(references(energy)[name]), "source": "a run"}
    made = recipe(
        references=kept, measures={"part": {"by": "lcf", "combinations": 3}, "law": {"by": "mlls", "exponent": 3.0}}
    )
    found = analyse([row(mixed(0.4, 0.0, 0.6))], [], made).quantities
    assert found["part_status"].values.tolist() == found["law_status"].values.tolist() == ["ok"]
    assert found["part_of_two"].values[0] == pytest.approx(0.4, abs=4 * found["part_of_two_sigma"].values[0])
    assert np.isnan(found["part_fit"].values[0]).sum() <= 2


@pytest.mark.parametrize("by", ["lcf", "mlls"])
def test_there_is_no_mean_of_valences_where_the_fractions_are_noise(by):
    rows = [row(np.zeros(len(ENERGY)), seed=seed) for seed in range(100)]
    values = {"two": 2, "three": 3, "four": 4}
    part = {"by": by, "values": values} | ({"non_negative": False} if by == "lcf" else {"exponent": 3.0})
    found = analyse(rows, [], recipe(measures={"part": part})).quantities
    none = np.isnan(found["part_mean"].values)
    assert none.mean() > 0.97
    assert (
        found["part_status"].values[none] == "the sum of the fractions does not stand out of its noise: no mean"
    ).all()
    assert (found["part_status"].values[~none] == "ok").all()


def test_windows_and_widths_that_make_no_sense_are_refused():
    lines = {"by": "white_lines", "edges": [640, 652], "l3_window": [638, 655], "l2_window": [650, 662]}
    wide = {"by": "derivative", "half_width": 1000}
    found = analyse([row(mixed(1, 0, 0))], [], recipe(measures={"ratio": lines, "slope": wide})).quantities
    assert found["ratio_status"].values[0] == (
        "l3_window 638 to 655 eV and l2_window 650 to 662 eV: expected the second behind the first"
    )
    assert found["slope_status"].values[0] == "half width 1000 eV: expected less than the energies span, 39.75 eV"


def test_nothing_is_compared_with_what_was_not_measured():
    torn = mixed(1, 0, 0)
    torn[40:44] = np.nan
    found = analyse([row(torn), row(mixed(0, 1, 0), run="run-2")], [], recipe(measures={})).quantities
    assert np.flatnonzero(np.isnan(found["difference"].values[1])).tolist() == [40, 41, 42, 43]
    halfway = row(mixed(0, 1, 0)[:-1], run="run-2", energy=ENERGY[:-1] + 0.1)
    found = analyse([row(torn), halfway], [], recipe(measures={})).quantities
    for name in ("difference", "difference_sigma"):
        assert np.flatnonzero(np.isnan(found[name].values[1, :-1])).tolist() == [39, 40, 41, 42, 43]


def test_what_cannot_be_taken_says_why_and_the_others_are_taken():
    rows = [row(mixed(1, 0, 0)), row(np.zeros(len(ENERGY)), "nothing", "run-2")]
    measures = {"half": {"by": "edge_position"}, "area": {"by": "integral", "window": [700, 710]}}
    result = analyse(rows, [], recipe(measures=measures, normalise={}))
    found = result.quantities
    assert found["spectrum_status"].values.tolist() == ["ok", "no edge: the jump is not above 3 sigma"]
    assert found["half_status"].values.tolist() == ["ok", "no edge: the jump is not above 3 sigma"]
    assert np.isnan(found["half_energy"].values[1])
    assert found["area_status"].values[0] == ("the integration window 700 to 710 eV holds 0 points, expected 2 or more")
    assert "area_area" not in found


def test_a_reference_that_is_too_short_is_named():
    short = {"energy": [640.0, 641.0, 642.0, 643.0], "values": [0.0, 1.0, 1.0, 1.0], "source": "a file"}
    made = recipe(references={"short": short}, measures={"part": {"by": "lcf"}})
    (status,) = analyse([row(mixed(1, 0, 0))], [], made).quantities["part_status"].values
    assert status == (
        "reference short reaches from 640 to 643 eV, expected 630 to 669.75 eV: a window of the fit within both can be"
        " given"
    )


@pytest.mark.parametrize("options", [{"by": "lcf"}, {"by": "lcf", "combinations": 3}, {"by": "mlls", "exponent": 3.0}])
def test_energies_at_which_a_reference_was_not_measured_are_left_out_and_named(options):
    kept = recipe().model_dump()["references"]
    gap = (ENERGY > 640.0) & (ENERGY < 641.0)
    own = {key: tuple(np.asarray(kept["two"][key])[~gap]) for key in ("energy", "values")}
    torn = kept | {"two": own | {"source": "a file", "gaps": [(640.0, 641.0)]}}
    spoilt = mixed(0.4, 0.0, 0.6)
    spoilt[gap] += 5.0
    made = {"part": options | {"values": {"two": 2, "three": 3, "four": 4}}}
    result = analyse([row(spoilt)], [], recipe(references=torn, measures=made))
    found, told = (
        result.quantities,
        "3 energies from 640.25 to 640.75 eV left out, where reference two was not measured",
    )
    assert found["part_status"].values.tolist() == ["ok"]
    assert [line for line in result.assumed if told in line]
    for name, truth in (("two", 0.4), ("four", 0.6)):
        assert found[f"part_of_{name}"].values == pytest.approx(truth, abs=4 * found[f"part_of_{name}_sigma"].values[0])
    assert np.isnan(found["part_fit"].values[0, gap]).all()


@pytest.mark.parametrize("by", ["lcf", "mlls"])
@pytest.mark.parametrize("options", [{}, {"non_negative": True}, {"combinations": 2}])
def test_references_that_cannot_be_told_apart_are_named(by, options):
    if by == "mlls" and "combinations" in options:
        by = "lcf"
    kept = recipe().model_dump()["references"]
    same = {"again": kept["two"] | {"values": tuple(3.0 * np.array(kept["two"]["values"]))}}
    both = kept["two"] | {"values": tuple(np.array(kept["two"]["values"]) + np.array(kept["four"]["values"]))}
    for more, names in ((same, "two, again"), ({"both": both}, "two, four, both")):
        made = recipe(references=kept | more, measures={"part": {"by": by} | options})
        (status,) = analyse([row(mixed(0.4, 0.2, 0.4))], [], made).quantities["part_status"].values
        assert status == f"references {names} cannot be told apart: one is a sum of the others"
    zero = recipe(references={"zero": kept["two"] | {"values": (0.0,) * len(ENERGY)}}, measures={"part": {"by": by}})
    (status,) = analyse([row(mixed(1, 0, 0))], [], zero).quantities["part_status"].values
    assert status == "reference zero is zero at all energies of the fit"


def test_pixels_make_maps_with_status_and_each_is_as_a_row():
    chosen = np.array([[True, False, True], [True, True, True]])
    rng = np.random.default_rng(4)
    truth = rng.uniform(0.2, 0.8, chosen.sum())
    values = np.array([mixed(share, 1 - share, 0) for share in truth])
    values[2] = 0.0  # a pixel without edge
    noisy = values + rng.normal(0.0, NOISE, values.shape)
    spectra = Spectra(ENERGY, noisy, np.full(noisy.shape, NOISE**2))
    pixels = Pixels("run-1", "a", spectra, chosen, np.array([0.0, 0.1, 0.2]), np.array([0.0, 0.1]), np.zeros((2, 3)))
    made = recipe(
        references={name: each for name, each in recipe().model_dump()["references"].items() if name != "four"},
        measures={
            "state": {"by": "lcf", "non_negative": False},
            "half": {"by": "edge_position", "pre_edge": (630.0, 634.0), "post_edge": (664.0, 670.0)},
        },
    )
    rows = [
        Row("run-1", "a", str(n), Spectra(ENERGY, one, np.full(len(ENERGY), NOISE**2))) for n, one in enumerate(noisy)
    ]
    result = analyse(rows, [pixels], made)
    assert "run run-1: half has no value in 1 of 5 pixels of sample: no edge: the jump is not above 3 sigma" in (
        result.assumed
    )
    found = result.quantities
    image = found["map1_state_of_two"]
    assert image.axes == ("lines_1", "columns_1")
    assert np.isnan(image.values[~chosen]).all()
    good = np.delete(np.arange(5), 2)
    assert np.abs(image.values[chosen][good] - truth[good]).max() < 5 * np.nanmax(
        found["map1_state_of_two_sigma"].values
    )
    for key in ("state_of_two", "state_of_two_sigma", "half_energy", "half_jump_sigma"):
        assert found[f"map1_{key}"].values[chosen] == pytest.approx(found[key].values, rel=1e-9, nan_ok=True), key
    reasons = found["map1_half_reasons"].values[found["map1_half_status"].values]
    assert (reasons[~chosen] == "no sample").all()
    assert reasons[chosen][2] == "no edge: the jump is not above 3 sigma"


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"measures": {"a": {"by": "lcf"}, "a_b": {"by": "mlls"}}}, "begins with 'a'"),
        ({"measures": {"energy": {"by": "lcf"}}}, "other things have this name"),
        ({"measures": {"mapped": {"by": "lcf"}}}, "begins with 'map'"),
        ({"measures": {"a b": {"by": "lcf"}}}, "expected a name of letters"),
        ({"regions": {"left": {}}}, "are of stxm, and the recipe is of xas"),
        ({"cuts": {"pfy": {"emission": [520, 528]}}}, "are of rixs"),
        ({"align": {"channel": "reference", "by": "peak"}}, "expected an energy `expected`"),
        ({"measures": {"v": {"by": "lcf", "references": ["two"], "values": {"four": 4}}}}, "expected of two"),
    ],
)
def test_a_recipe_that_means_nothing_is_refused(tables, words):
    with pytest.raises(ValidationError, match=words):
        recipe(**tables)


def a_map(seed=0):
    """A map of an elastic line and of emission that stays, known exactly."""
    rng = np.random.default_rng(seed)
    excitation, emission = np.arange(526.0, 536.0, 0.5), np.arange(510.0, 540.0, 0.07)
    shape = np.exp(-0.5 * ((emission - 524.0) / 1.5) ** 2)
    expected = np.outer(1 + (excitation - 526.0), shape) * 100
    expected += 50 * np.exp(-0.5 * ((emission - excitation[:, None]) / 0.2) ** 2)
    return excitation, emission, expected, rng.poisson(expected).astype(float)


def test_cuts_add_up_the_light_of_their_window():
    excitation, emission, expected, measured = a_map()
    pulls = []
    for seed in range(40):
        *_, measured = a_map(seed)
        spectra, axis, units = cut_of_map(
            MapOnAxes(excitation, emission, measured, np.maximum(measured, 1.0)), Cut(emission=(521.0, 527.0))
        )
        assert (axis, units) == ("excitation energy", "counts")
        whole = cut_of_map(MapOnAxes(excitation, emission, expected, expected), Cut(emission=(521.0, 527.0)))[0]
        pulls.append((spectra.values - whole.values) / np.sqrt(spectra.variance))
    assert 0.9 < np.std(pulls) < 1.1
    light = 100 * 1.5 * np.sqrt(2 * np.pi) / 0.07 * 0.9545  # of two sigmas to either side
    assert whole.values[-1] == pytest.approx(10.5 * light, rel=2e-3)  # where the elastic line is elsewhere
    inverse = cut_of_map(
        MapOnAxes(excitation, emission, measured, measured), Cut(emission=(521.0, 527.0), inverse=True)
    )[0]
    assert inverse.values == pytest.approx(1 / spectra.values)
    assert np.sqrt(inverse.variance) / inverse.values == pytest.approx(
        np.sqrt(spectra.variance) / spectra.values, rel=1e-2
    )


def test_a_window_of_loss_moves_with_the_excitation_energy():
    excitation, emission, expected, _ = a_map()
    spectra, *_ = cut_of_map(MapOnAxes(excitation, emission, expected, expected), Cut(loss=(-1.0, 1.0)))
    elastic = 50 * 0.2 * np.sqrt(2 * np.pi) / 0.07
    far = excitation > 531.0  # of the emission that stays
    assert spectra.values[far] == pytest.approx(elastic, rel=2e-3)


def test_a_cut_at_an_excitation_energy_is_against_emission_or_loss():
    excitation, emission, expected, _ = a_map()
    spectra, axis, _ = cut_of_map(MapOnAxes(excitation, emission, expected, expected), Cut(excitation=(532.4, 533.1)))
    assert axis == "emission energy"
    assert spectra.values == pytest.approx(expected[13:15].mean(axis=0))
    assert spectra.variance == pytest.approx(expected[13:15].sum(axis=0) / 4)
    by_loss, axis, _ = cut_of_map(
        MapOnAxes(excitation, emission, expected, expected), Cut(excitation=(532.4, 533.1), against="loss")
    )
    assert axis == "energy loss"
    assert by_loss.energy[np.nanargmax(np.where(by_loss.energy < 3, by_loss.values, 0))] == pytest.approx(0.0, abs=0.07)


def test_a_cut_has_the_rows_at_its_ends_wherever_they_are_read_back():
    excitation, emission, expected, _ = a_map()
    window = (float(excitation[13].round(3)), float(excitation[14].round(3)))
    for scatter in (-0.004, 0.004):
        whole = MapOnAxes(excitation + scatter, emission, expected, expected)
        spectra, *_ = cut_of_map(whole, Cut(excitation=window))
        assert spectra.values == pytest.approx(expected[13:15].mean(axis=0))


def test_a_row_of_which_the_window_is_not_measured_is_not_known():
    excitation, emission, expected, _ = a_map()
    torn = expected.copy()
    torn[3, 200] = np.nan
    spectra, *_ = cut_of_map(MapOnAxes(excitation, emission, torn, expected), Cut(emission=(521.0, 527.0)))
    assert np.flatnonzero(np.isnan(spectra.values)).tolist() == [3]
    for window in ((490.0, 500.0), (521.0, 9999.0)):
        with pytest.raises(ValueError, match=r"emission .* eV: is not whole .*; the map has emission from 510 to"):
            cut_of_map(MapOnAxes(excitation, emission, expected, expected), Cut(emission=window))
    with pytest.raises(ValueError, match=r"excitation 600 to 601 eV: the map has 20 rows from 526 to 535.5 eV"):
        cut_of_map(MapOnAxes(excitation, emission, expected, expected), Cut(excitation=(600.0, 601.0)))


def test_valences_and_white_line_ratios_of_a_spectrum_image_hold_their_truth():
    """A particle whose surface is reduced, on a power law, as electrons see it at the L edge of manganese."""
    energy = np.arange(620.0, 675.0, 0.3)

    def edge(ratio):
        lines = [np.exp(-0.5 * ((energy - at) / 1.3) ** 2) for at in (642.0, 653.0)]
        step = sum(
            part * (0.5 + np.arctan((energy - at) / 0.5) / np.pi) for part, at in ((2 / 3, 642.0), (1 / 3, 653.0))
        )
        return 0.3 * step + (ratio * lines[0] + lines[1]) / (1 + ratio) * 2

    kept = {
        name: {"energy": tuple(energy), "values": tuple(edge(ratio)), "source": "a file"}
        for name, ratio in (("surface", 3.6), ("bulk", 2.1))
    }
    windows = {"pre_edge": [620, 634], "post_edge": [664, 675]}
    made = Recipe.model_validate(
        {
            "technique": "stxm",
            "references": kept,
            "measures": {
                "valence": {"by": "mlls", "values": {"surface": 2.0, "bulk": 4.0}},
                "white": {
                    "by": "white_lines",
                    "edges": [642, 653],
                    "l3_window": [634, 648],
                    "l2_window": [648, 660],
                    "background": "power_law",
                    **windows,
                },
            },
        }
    )
    rng = np.random.default_rng(12)
    depth = np.hypot(*np.meshgrid(np.arange(40.0) - 20, np.arange(30.0) - 15))
    share = np.clip((depth - 6) / 10, 0.05, 0.95)  # of the surface
    pure = np.array([kept["surface"]["values"], kept["bulk"]["values"]])
    clean = share[..., None] * pure[0] + (1 - share[..., None]) * pure[1]
    noise = 0.01
    law = rng.uniform(0.5, 1.0, (*depth.shape, 1)) * (energy / 650.0) ** -3
    everywhere = np.ones(depth.shape, dtype=bool)

    def measured(values):
        noisy = (values + rng.normal(0.0, noise, values.shape)).reshape(-1, len(energy))
        spectra = Spectra(energy, noisy, np.full(noisy.shape, noise**2))
        pixels = Pixels("run-1", "a", spectra, everywhere, None, None, depth)
        return analyse([row(edge(3.0), energy=energy)], [pixels], made).quantities

    found = measured(clean + law)
    values, sigma = (found[f"map1_valence_mean{end}"].values for end in ("", "_sigma"))
    assert (found["map1_valence_status"].values == 1).all()
    assert 0.60 < np.mean(np.abs(values - (4.0 - 2.0 * share)) < sigma) < 0.76
    # The truth is what they are of the spectrum without noise and without what lies beneath.
    without = Spectra(energy, clean, np.full(clean.shape, noise**2))
    by_line = made.measures["white"].model_copy(update={"background": "linear"})
    exact = by_line.measure(without, {}).values["ratio"].values
    assert exact.min() == pytest.approx(2.1, abs=0.25)
    assert exact.max() == pytest.approx(3.5, abs=0.25)
    ratio, sigma = (found[f"map1_white_ratio{end}"].values for end in ("", "_sigma"))
    assert 0.60 < np.mean(np.abs(ratio - exact) < sigma) < 0.76
