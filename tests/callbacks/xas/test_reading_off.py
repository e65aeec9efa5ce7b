"""Integral, centroid, inflection and normalisation of many spectra: the truth, within what is quoted, or a reason."""

import numpy as np
import pytest

from callbacks.xas.background import area_weight
from callbacks.xas.derivative import derivative
from callbacks.xas.moments import moments
from callbacks.xas.normalised import normalise_spectra
from callbacks.xas.spectrum import XasSettings, normalise_spectrum

ENERGY = np.concatenate([np.arange(520.0, 528.0, 0.5), np.arange(528.0, 540.0, 0.1), np.arange(540.0, 560.0, 0.5)])
NOISE = 0.01
SEARCH = (528.0, 538.0)


def spectrum(energy=ENERGY, position=531.0):
    """An edge with a Gaussian line before it, on a line."""
    line = 0.4 * np.exp(-0.5 * ((energy - 529.0) / 0.5) ** 2)
    return 0.2 + 0.002 * (energy - 520.0) + line + 1 / (1 + np.exp(-(energy - position) / 0.6))


def noisy(count=800, seed=3, values=None):
    rng = np.random.default_rng(seed)
    variance = rng.uniform(0.5, 2.0, (count, len(ENERGY))) * NOISE**2
    values = spectrum() if values is None else values
    return values + rng.normal(0.0, 1.0, variance.shape) * np.sqrt(variance), variance


def held(found, truth, sigma):
    return np.mean(np.abs(found - truth) < sigma)


def jacobian_of(quantity):
    """By how much each point moves a quantity of the spectrum."""
    changed = spectrum() + np.concatenate([np.eye(len(ENERGY)), -np.eye(len(ENERGY))]) * 1e-5
    moved = quantity(changed)
    return (moved[: len(ENERGY)] - moved[len(ENERGY) :]) / 2e-5


def test_area_and_centroid_of_a_line_hold_the_truth_in_two_trials_of_three():
    line = 0.3 + 0.001 * (ENERGY - 520.0) + 0.4 * np.exp(-0.5 * ((ENERGY - 531.2) / 0.8) ** 2)
    spectra, variance = noisy(values=line)
    found = moments(ENERGY, spectra, variance, window=(528.0, 534.4), pre_edge=(520.0, 527.0))
    assert (found.status == "ok").all()
    assert 0.60 < held(found.area, 0.4 * 0.8 * np.sqrt(2 * np.pi), found.area_sigma) < 0.76
    assert 0.60 < held(found.centroid, 531.2, found.centroid_sigma) < 0.76


@pytest.mark.parametrize("form", ["none", "constant", "linear"])
def test_their_sigmas_are_what_a_change_of_each_point_makes(form):
    variance = np.random.default_rng(1).uniform(0.5, 2.0, len(ENERGY)) * NOISE**2
    options = {"window": (528.0, 534.0), "form": form}
    found = moments(ENERGY, spectrum(), variance, **options)
    for name in ("area", "centroid"):
        jacobian = jacobian_of(lambda changed, name=name: getattr(moments(ENERGY, changed, variance, **options), name))
        assert getattr(found, f"{name}_sigma") == pytest.approx(np.sqrt(jacobian**2 @ variance), rel=1e-4)


@pytest.mark.parametrize("window", [(528.0, 534.0), (527.83, 533.94), (521.2, 521.3), (510.0, 521.2), (555.0, 570.0)])
def test_an_area_is_that_of_the_straight_lines_between_points_from_end_to_end(window):
    spectra, _ = noisy(count=1)
    fine = np.unique(ENERGY.clip(*window))
    expected = np.trapezoid(np.interp(fine, ENERGY, spectra[0]), fine)
    assert area_weight(ENERGY, window) @ spectra[0] == pytest.approx(expected, rel=1e-9)


def test_readbacks_that_scatter_about_the_ends_of_a_window_move_neither_area_nor_centroid():
    """Energies are asked for at both ends; a point more or less at the upper one is 30 sigmas of the area."""
    rng, window, scatter = np.random.default_rng(4), (528.0, 540.0), 0.002
    fine = np.linspace(*window, 12001)
    area = np.trapezoid(spectrum(fine), fine)
    truth = {"area": area, "centroid": np.trapezoid(fine * spectrum(fine), fine) / area}
    off = {"area": [], "centroid": []}
    for _ in range(400):
        noise = 3e-3 * rng.standard_normal(len(ENERGY))
        energy = ENERGY + scatter * rng.standard_normal(len(ENERGY))
        found = moments(energy, spectrum() + noise, np.full(len(ENERGY), 9e-6), window=window, form="none")
        for name, pulls in off.items():
            pulls.append((getattr(found, name) - truth[name]) / getattr(found, f"{name}_sigma"))
    for pulls in off.values():
        assert 0.60 < np.mean(np.abs(pulls) < 1) < 0.76
        assert np.abs(pulls).max() < 4.5


@pytest.mark.parametrize("window", [(ENERGY[0] - 5, ENERGY[0] + 5), (ENERGY[-1] - 5, ENERGY[-1] + 5)])
def test_a_window_that_reaches_beyond_what_was_measured_is_refused(window):
    step = ENERGY[1] - ENERGY[0]
    with pytest.raises(ValueError, match=r"the integration window .* eV reaches beyond what was measured, "):
        moments(ENERGY, np.ones(len(ENERGY)), np.full(len(ENERGY), 1e-4), window=window, form="none")
    within = max(window[0], ENERGY[0] - 0.9 * step), min(window[1], ENERGY[-1] + 0.9 * step)  # as readbacks scatter
    found = moments(ENERGY, np.ones(len(ENERGY)), np.full(len(ENERGY), 1e-4), window=within, form="none")
    assert found.area == pytest.approx(5.0)


def test_no_centroid_is_given_of_noise_and_none_where_a_point_is_missing():
    spectra, variance = noisy(count=100, values=np.zeros(len(ENERGY)))
    refused = moments(ENERGY, spectra, variance, window=(528.0, 534.0)).status
    assert (refused == "no area: it is not above 3 sigma").mean() > 0.95
    spectra, variance = noisy(count=3)
    spectra[1, np.searchsorted(ENERGY, 530.0)] = np.nan
    found = moments(ENERGY, spectra, variance, window=(528.0, 534.0))
    assert found.status.tolist() == ["ok", "not measured at an energy that is needed", "ok"]
    assert np.isnan(found.area[1])
    assert np.isfinite(found.area[[0, 2]]).all()


@pytest.mark.parametrize("form", ["none", "linear"])
def test_a_gap_that_all_spectra_share_is_named_where_the_area_needs_it_and_no_matter_elsewhere(form):
    spectra, variance = noisy(count=2)
    options = {"window": (528.0, 534.0), "form": form, "pre_edge": (520.0, 527.0)}
    before = moments(ENERGY, spectra, variance, **options)
    spectra[:, (ENERGY > 536.0) & (ENERGY < 538.0)] = np.nan
    spectra[:, [0, -1]] = np.nan
    beyond = moments(ENERGY, spectra, variance, **options)
    assert beyond.status.tolist() == ["ok", "ok"]
    if form == "none":
        assert beyond.area == pytest.approx(before.area, rel=1e-12)
    spectra[:, (ENERGY > 530.05) & (ENERGY < 531.45)] = np.nan
    found = moments(ENERGY, spectra, variance, **options)
    assert {*found.status, *found.area_status} == {"nothing was measured between 530 and 531.5 eV"}
    assert np.isnan([found.area, found.area_sigma, found.centroid, found.centroid_sigma]).all()


def test_no_inflection_is_told_where_the_largest_slope_may_be_in_a_gap():
    values = 1 / (1 + np.exp(-(ENERGY - 533.03) / 0.6)) + 0.2 / (1 + np.exp(-(ENERGY - 536.5) / 0.3))
    for low, high, expected in (
        (531.05, 535.05, "nothing was measured between 531 and 535.1 eV"),  # the edge is in it
        (533.55, 534.05, "nothing was measured between 533.5 and 534.1 eV"),  # beside it
        (535.55, 536.05, "ok"),
    ):
        torn = np.where(np.abs(ENERGY - (low + high) / 2) < (high - low) / 2, np.nan, values)
        found = derivative(ENERGY, torn, np.full(len(ENERGY), 1e-8), half_width=1.0, search=SEARCH)
        assert found.status == expected
        assert np.isnan(found.slope[np.isnan(torn)]).all()
    assert found.inflection == pytest.approx(533.03, abs=0.01)


def test_spectra_are_not_normalised_by_an_area_over_a_gap_but_by_a_mean():
    spectra, variance = noisy(count=2)
    spectra[:, (ENERGY > 555.0) & (ENERGY < 557.0)] = np.nan
    assert normalise_spectra(ENERGY, spectra, variance, by="edge").status.tolist() == ["ok", "ok"]
    wanted = "nothing was measured between 555 and 557 eV"
    found = normalise_spectra(ENERGY, spectra, variance, by="area")
    assert found.status.tolist() == [wanted, wanted]
    assert np.isnan(found.values).all()
    assert normalise_spectrum(ENERGY, spectra[0], variance[0], XasSettings(normalise="area")).status == wanted


def test_the_slope_of_a_cubic_is_exact_on_any_steps():
    steps = np.random.default_rng(2).uniform(0.1, 0.9, 60).cumsum()
    cubic = 1.0 + steps - 0.3 * steps**2 + 0.02 * steps**3
    found = derivative(steps, cubic, np.full(60, 1e-6), half_width=1.0)
    assert found.slope == pytest.approx(1.0 - 0.6 * steps + 0.06 * steps**2, abs=1e-7)


def test_the_inflection_holds_the_truth_in_two_trials_of_three():
    values = 1 / (1 + np.exp(-(ENERGY - 533.03) / 0.6))  # symmetric, so that smoothing does not move it
    spectra, variance = noisy(values=values)
    found = derivative(ENERGY, spectra, variance, half_width=2.0, search=SEARCH)
    assert (found.status == "ok").mean() > 0.98
    good = found.status == "ok"
    assert 0.60 < held(found.inflection[good], 533.03, found.inflection_sigma[good]) < 0.76


def test_its_sigma_is_what_a_change_of_each_point_makes():
    variance = np.random.default_rng(1).uniform(0.5, 2.0, len(ENERGY)) * NOISE**2
    options = {"half_width": 1.5, "search": (530.0, 538.0)}
    found = derivative(ENERGY, spectrum(position=533.03), variance, **options)
    changed = spectrum(position=533.03) + np.concatenate([np.eye(len(ENERGY)), -np.eye(len(ENERGY))]) * 1e-5
    moved = derivative(ENERGY, changed, variance, **options).inflection
    jacobian = (moved[: len(ENERGY)] - moved[len(ENERGY) :]) / 2e-5
    assert found.inflection_sigma == pytest.approx(np.sqrt(jacobian**2 @ variance), rel=1e-3)


def test_an_inflection_that_noise_hides_is_refused_and_one_at_the_end_of_the_range_too():
    values = 1 / (1 + np.exp(-(ENERGY - 533.03) / 0.6))
    spectra, variance = noisy(values=values, count=100)
    hidden = derivative(ENERGY, spectra, variance, half_width=0.5, search=SEARCH).status
    wanted = "no inflection: noise hides where the slope is largest; a larger half width is needed"
    assert np.mean(hidden == wanted) > 0.5
    at_end = derivative(ENERGY, values, variance[0], half_width=1.0, search=(533.5, 538.0))
    assert at_end.status == "no inflection: the slope has no maximum above noise within the range searched"
    assert np.isnan(at_end.inflection)


@pytest.mark.parametrize("half_width", [0.5, 2.0])
def test_noise_has_no_inflection(half_width):
    spectra, variance = noisy(count=800, values=np.zeros(len(ENERGY)))
    found = derivative(ENERGY, spectra, variance, half_width=half_width)
    assert (found.status != "ok").mean() > 0.99
    assert np.isnan(found.inflection[found.status != "ok"]).all()


@pytest.mark.parametrize("by", ["edge", "area"])
@pytest.mark.parametrize("form", ["constant", "linear"])
def test_one_spectrum_is_normalised_as_by_the_reduction(form, by):
    spectra, variance = noisy(count=3)
    spectra[:, 30] = np.nan  # an energy that none has
    settings = XasSettings(background=form, normalise=by)
    for one, noise in zip(spectra, variance, strict=True):
        expected = normalise_spectrum(ENERGY, one, noise, settings)
        found = normalise_spectra(ENERGY, one, noise, form=form, by=by)
        assert found.status == expected.status == "ok"
        assert found.values == pytest.approx(expected.normalised, rel=1e-10, nan_ok=True)
        assert np.sqrt(found.variance) == pytest.approx(expected.sigma, rel=1e-9, nan_ok=True)
        assert (found.jump, found.jump_sigma) == pytest.approx((expected.jump, expected.jump_sigma), rel=1e-10)


def test_a_map_is_normalised_pixel_by_pixel_and_one_without_edge_is_refused():
    spectra, variance = noisy(count=6)
    spectra[4] -= spectrum()
    spectra[5, 2] = np.nan  # before the edge
    shaped = normalise_spectra(ENERGY, spectra.reshape(2, 3, -1), variance.reshape(2, 3, -1))
    assert shaped.values.shape == (2, 3, len(ENERGY))
    assert shaped.status.ravel().tolist() == [
        *["ok"] * 4,
        "no edge: the jump is not above 3 sigma",
        "not measured at an energy that is needed",
    ]
    beyond = ENERGY > 554.0
    assert shaped.values[0, 0][beyond].mean() == pytest.approx(1.0, abs=0.02)
    assert np.isnan(shaped.values[1, 1:]).all()
