"""Maps of white lines, centroids and edges: pixels are chosen by what is expected of them, not by their noise."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.special import expit

from beamline.analysis import read_off
from callbacks.analysis import Pixels, Recipe, Spectra, analyse

ENERGY = np.r_[np.arange(835.0, 848.0, 1.0), np.arange(848.0, 880.0, 0.25), np.arange(880.0, 895.5, 1.0)]
PIXELS = 2000
WINDOWS = {"pre_edge": (835.0, 846.0), "post_edge": (884.0, 895.0)}
IN_L3 = {"by": "centroid", "window": (848.0, 860.0), "pre_edge": (835.0, 846.0)}
MEASURES = {
    "lines": {
        "by": "white_lines", "edges": (853.0, 870.5), "l3_window": (848.0, 860.0), "l2_window": (866.0, 876.0),
        "step": "sharp", **WINDOWS,
    },
    "constant": IN_L3 | {"background": "constant"},
    "linear": IN_L3 | {"background": "linear"},
    "far": IN_L3 | {"background": "linear", "window": (848.0, 880.0)},
    "edge": {"by": "edge_position", **WINDOWS},
}  # fmt: skip
READ = {"lines": "ratio", "edge": "energy", "constant": "energy", "linear": "energy", "far": "energy"}
DIVISOR = {"lines": "l2", "edge": "jump", "constant": "area", "linear": "area", "far": "area"}


def phase(energy, l3, l2):
    def line(centre, area):
        return area * np.exp(-0.5 * ((ENERGY - centre) / 0.8) ** 2) / (0.8 * np.sqrt(2 * np.pi))

    step = 0.6 * (2 / 3 * expit((ENERGY - energy) / 0.8) + 1 / 3 * expit((ENERGY - energy - 17.5) / 0.8))
    return step + line(energy + 1.3, l3) + line(energy + 18.8, l2)


PHASES = np.array([phase(852.0, 4.0, 1.8), phase(853.0, 3.0, 1.8)])


def recipe_of(name, **others):
    measures = {"read": MEASURES[name]}
    if DIVISOR[name] == "area":
        measures["divisor"] = MEASURES[name] | {"by": "integral"}
    return {"technique": "stxm", "measures": measures} | others


def map_of(name, spectra):
    """Give of each pixel of a map why it has no value, what was read off, and its sigma."""
    pixels = Pixels("run-1", "a", spectra, np.ones((1, len(spectra.values)), bool), None, None, np.zeros((1, PIXELS)))
    found = analyse([], [pixels], Recipe.model_validate(recipe_of(name))).quantities
    reasons = found["map1_read_reasons"].values[found["map1_read_status"].values[0]]
    key = f"map1_read_{READ[name]}"
    return reasons, found[key].values[0], found[f"{key}_sigma"].values[0]


def array(values):
    return xr.DataArray(values, dims=("energy",), coords={"energy": ENERGY})


def noise_of(name, part):
    """Give the noise of a point that makes that of the divisor a part of it, at unit thickness."""
    unit = read_off(array(PHASES.mean(axis=0)), recipe_of(name), sigma=array(np.full(len(ENERGY), 0.01)))
    key = f"divisor_{DIVISOR[name]}" if DIVISOR[name] == "area" else f"read_{DIVISOR[name]}"
    return part * 0.01 * float(unit[key] / unit[f"{key}_sigma"])


def pixels_of(name, part, thickness, share):
    """Give pixels without noise, and with it."""
    clean = thickness[:, None] * (0.1 + (1 - share)[:, None] * PHASES[0] + share[:, None] * PHASES[1])
    noise = noise_of(name, part)
    noisy = clean + np.random.default_rng(4).normal(0.0, noise, clean.shape)
    without = Spectra(ENERGY, clean, np.full(clean.shape, 1e-12))
    return without, replace(without, values=noisy, variance=np.full(clean.shape, noise**2))


@pytest.mark.parametrize("part", [0.02, 0.2, 0.5])
@pytest.mark.parametrize("name", MEASURES)
def test_pixels_of_any_thickness_hold_the_truth_and_are_off_to_no_side(name, part):
    rng = np.random.default_rng(7)
    clean, noisy = pixels_of(name, part, rng.uniform(0.1, 3.0, PIXELS), rng.uniform(0.0, 1.0, PIXELS))
    _, true, _ = map_of(name, clean)
    reasons, value, sigma = map_of(name, noisy)
    kept = reasons == "ok"
    assert kept.sum() >= 200
    assert (np.isfinite(value) == kept).all()
    off = (value - true)[kept] / sigma[kept]
    assert 0.60 <= (np.abs(off) < 1).mean() <= 0.76
    assert abs(np.median(off)) < 0.25  # 0.15 of it what a cubic through many points does to an edge


@pytest.mark.parametrize("name", MEASURES)
def test_pixels_that_hold_three_sigma_are_left_out_whatever_their_noise_adds(name):
    _, noisy = pixels_of(name, 1 / 3, np.ones(PIXELS), np.full(PIXELS, 0.5))
    reasons, value, _ = map_of(name, noisy)
    assert (reasons == "ok").mean() < 0.001
    assert np.isnan(value[reasons != "ok"]).all()
    what = {"lines": "L2 area", "edge": "edge jump"}.get(name, "area")
    assert (reasons == f"too thin: the {what} expected is below 5 sigma").mean() > 0.3


@pytest.mark.parametrize("name", MEASURES)
def test_which_of_pixels_at_the_limit_have_a_value_is_no_matter_of_what_is_read_off(name):
    thickness = np.random.default_rng(2).uniform(0.8, 1.2, PIXELS)
    clean, noisy = pixels_of(name, 0.2, thickness, np.full(PIXELS, 0.5))
    _, true, _ = map_of(name, clean)
    reasons, value, sigma = map_of(name, noisy)
    kept = reasons == "ok"
    assert 0.4 < kept.mean() < 0.6
    off = (value - true)[kept] / sigma[kept]
    assert 0.60 <= (np.abs(off) < 1).mean() <= 0.76
    assert abs(np.median(off)) < 0.2


def test_pixels_unlike_the_mean_have_a_value_where_they_have_enough_themselves():
    rare = np.zeros(len(ENERGY))
    rare[(ENERGY > 858.0) & (ENERGY < 860.0)] = 1.0
    spectra = np.vstack([np.tile(PHASES[0], (200, 1)), rare])
    variance = np.full(spectra.shape, 0.02**2)
    settings = IN_L3 | {"by": "centroid", "background": "constant"}
    recipe = {"technique": "stxm", "measures": {"centroid": settings}}
    dims, coords = ("pixel", "energy"), {"energy": ENERGY}
    found = read_off(
        xr.DataArray(spectra, dims=dims, coords=coords), recipe, sigma=xr.DataArray(variance**0.5, dims=dims)
    )
    assert (found["centroid_status"] == "ok").all()
    assert float(found["centroid_energy"][-1]) == pytest.approx(859.0, abs=0.1)


def test_one_point_that_is_out_of_place_empties_no_map():
    thickness = np.random.default_rng(2).uniform(0.8, 1.2, PIXELS)
    counts = np.random.default_rng(3).poisson(9000 * thickness[:, None] * (0.1 + PHASES[0])).astype(float)
    counts[7, 30] = 1e7
    reasons, *_ = map_of("lines", Spectra(ENERGY, counts, np.maximum(counts, 1.0), alike=True))
    assert (reasons == "ok").mean() > 0.99


def test_a_few_spectra_are_judged_each_by_itself():
    noise = noise_of("edge", 1 / 8)  # of the weakest
    spectra = np.array([40.0, 40.0, 1.0])[:, None] * PHASES[[0, 1, 0]]
    spectra += np.random.default_rng(1).normal(0.0, noise, spectra.shape)
    dims = ("sample", "energy")
    array_of = xr.DataArray(spectra, dims=dims, coords={"energy": ENERGY})
    found = read_off(array_of, recipe_of("edge"), sigma=xr.full_like(array_of, noise))
    assert found.read_status.values.tolist() == ["ok"] * 3
