"""Differences and ratios: interpolation, what is outside, small denominators, and uncertainties that hold."""

import numpy as np
import pytest
import xarray as xr

from beamline.analysis import difference, ratio
from beamline.errors import BeamlineError


def spectrum(energy, values, sigma, **others):
    axis = "energy"
    return xr.Dataset(
        {"tey": (axis, np.asarray(values, float), {"units": "counts"}), "tey_sigma": (axis, np.asarray(sigma, float))},
        {axis: np.asarray(energy, float)},
        others,
    )


def test_the_second_is_interpolated_and_is_not_known_outside():
    first = spectrum([1.0, 1.5, 2.0, 4.0], [1, 1, 1, 1], [0.3] * 4, uid="a")
    second = spectrum([1.0, 2.0, 3.0], [0.0, 4.0, np.nan], [0.4, 0.4, 0.4], uid="b")
    found = difference(first, second, "tey")
    np.testing.assert_allclose(found.tey, [1.0, -1.0, -3.0, np.nan])
    np.testing.assert_allclose(found.tey_sigma, [0.5, np.hypot(0.3, 0.4 / np.sqrt(2)), 0.5, np.nan])
    assert found.tey.attrs["units"] == "counts"
    assert (found.attrs["first_uid"], found.attrs["second_uid"]) == ("a", "b")


def test_what_is_no_dataset_is_refused_in_one_line():
    one = spectrum([1.0, 2.0], [1, 1], [0.3, 0.3])
    with pytest.raises(BeamlineError, match="tey: of DataArray, expected of two "):
        difference(one, one.tey, "tey")


def test_maps_are_interpolated_along_both_axes():
    def plane(x, y):
        return xr.Dataset(
            {"map": (("y", "x"), y[:, None] + 10 * x), "map_sigma": (("y", "x"), np.ones((len(y), len(x))))},
            {"x": x, "y": y},
        )

    coarse = plane(np.array([0.0, 1.0, 2.0]), np.array([0.0, 2.0]))
    fine = plane(np.array([0.5, 1.5]), np.array([0.5, 1.0, 2.0]))
    found = difference(fine, coarse, "map")
    np.testing.assert_allclose(found["map"], np.zeros((3, 2)), atol=1e-12)
    np.testing.assert_allclose(found["map_sigma"][1], np.sqrt(1 + 0.25 * np.ones(2)))


def test_a_ratio_with_a_denominator_in_the_noise_is_not_known():
    first, second = spectrum([1, 2, 3], [1, 1, 1], [0.1] * 3), spectrum([1, 2, 3], [2.0, 0.2, 0.0], [0.1, 0.1, 0.0])
    found = ratio(first, second, "tey")
    np.testing.assert_allclose(found.ratio, [0.5, np.nan, np.nan])
    np.testing.assert_allclose(found.ratio_sigma[0], np.hypot(0.1 / 2, 0.1 / 4))
    assert found.ratio.attrs["status"] == "2 of 3 not known: the denominator is less than 3 sigmas from 0"
    assert ratio(first, first, "tey").ratio.attrs["status"] == "ok"


def test_places_of_one_stack_are_divided():
    stack = spectrum([1, 2], [6.0, 3.0], [0.1, 0.1])
    found = ratio(stack.sel(energy=1), stack.sel(energy=2), "tey")
    assert float(found.ratio) == 2.0
    assert not found.coords


@pytest.mark.long
def test_quoted_uncertainties_of_differences_and_ratios_hold():
    rng, points, trials = np.random.default_rng(2), np.linspace(0, 1, 5), 400
    between, inside = np.linspace(0.1, 0.9, 4), {"difference": 0, "ratio": 0}
    for _ in range(trials):
        first = spectrum(between, 3 + between + 0.2 * rng.standard_normal(4), [0.2] * 4)
        second = spectrum(points, 2 + points + 0.1 * rng.standard_normal(5), [0.1] * 5)
        one, other = difference(first, second, "tey"), ratio(first, second, "tey")
        inside["difference"] += abs(float(one.tey[1]) - 1) <= float(one.tey_sigma[1])
        truth = (3 + between[1]) / (2 + between[1])
        inside["ratio"] += abs(float(other.ratio[1]) - truth) <= float(other.ratio_sigma[1])
    assert all(0.60 <= number / trials <= 0.76 for number in inside.values()), inside


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one.drop_vars("tey_sigma"), "tey_sigma: not in the dataset; expected a quantity with its sigma"),
        (lambda one: one.isel(energy=slice(None, None, -1)).assign_coords(energy=[3.0, 2.5, 1.0]), "ascending"),
        (lambda one: one.drop_vars("energy").isel(energy=[0, 1]), "energy: 2, expected 3: it has no positions"),
        (lambda one: one.expand_dims("sample"), r"tey: along sample, energy, expected energy"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, said):
    first = spectrum([1, 2, 3], [1, 1, 1], [0.1] * 3)
    with pytest.raises(BeamlineError, match=said):
        difference(first, change(first), "tey")
