"""Elastic lines in spectra: found where they are, refused where they are not, and what they calibrate."""

import itertools
import re

import numpy as np
import pytest
from irixs import COUNTS_PER_EV, READ_NOISE, read_scan
from pydantic import ValidationError
from scan_elastic_line import constant, false_calibrations, simulated_scores
from scipy.optimize import least_squares
from scipy.stats import norm
from simulated_lines import (
    BEND,
    COLUMNS,
    DISPERSION,
    ENERGY,
    EXCITATIONS,
    FWHM,
    LIT,
    PHOTON,
    PIVOT,
    WITHOUT_ELASTIC_LINE,
    calibrate,
    column,
    gaussian,
    measure,
    simulated_map,
    true_energy,
)

from callbacks.rixs.cosmic_rays import remove_cosmic_rays
from callbacks.rixs.elastic_line import HC_EV_MM, ElasticLineSettings, Grating
from callbacks.rixs.elastic_peak import find_elastic_line
from callbacks.rixs.integration import spectrum_of, spectrum_variance
from callbacks.rixs.line_fit import FIT_FWHM, FWHM_PER_SIGMA, fit_line, line_and_slopes
from simulated_devices.physics.spectrograph import SpectrographModel


def test_a_line_is_found_within_its_uncertainty():
    inside = 0
    for seed in range(300):
        spectrum, variance = measure(540.0, np.random.default_rng(seed), elastic=250.0, emission=8000.0)
        peak = find_elastic_line(spectrum, variance)
        assert peak.reason == ""
        inside += abs(peak.pixel - column(540.0)) <= peak.sigma
    assert 0.60 <= inside / 300 <= 0.76


@pytest.mark.long
def test_simulated_maps_are_calibrated_within_the_quoted_intervals():
    trials, inside_dispersion, inside_offset = 200, 0, 0
    for seed in range(trials):
        found = simulated_map(seed, **LIT).calibration
        assert found.status == "ok", (seed, found.status)
        below, truth, above = true_energy(found.pivot + np.array([-0.5, 0.0, 0.5]))
        inside_offset += abs(found.energy(found.pivot) - truth) <= found.sigma(found.pivot)
        inside_dispersion += abs(found.dispersion - (above - below)) <= found.dispersion_sigma
    assert 0.60 <= inside_dispersion / trials <= 0.76, inside_dispersion
    assert 0.60 <= inside_offset / trials <= 0.88, inside_offset  # no emission pulls a line here, but it might


@pytest.mark.long
@pytest.mark.parametrize("light", WITHOUT_ELASTIC_LINE)
def test_without_an_elastic_line_calibration_refuses_every_time(light):
    for seed in range(200):
        found = simulated_map(seed, **light).calibration
        assert found.status != "ok", (seed, found)


@pytest.mark.parametrize("seed", range(5))
def test_the_same_rows_give_the_same_answer_bit_for_bit_one_by_one_or_at_once(seed):
    first, *others = (simulated_map(seed, at_once=at_once, **LIT).result.as_dict() for at_once in (False, False, True))
    for (key, value), other in itertools.product(first.items(), others):
        assert np.array_equal(value, other[key], equal_nan=np.asarray(value).dtype.kind == "f"), key


def test_a_loaded_calibration_that_is_off_raises_the_alarm():
    loaded = {"pivot": PIVOT, "coefficients": (ENERGY + 3.4, DISPERSION, BEND)}
    rng = np.random.default_rng(0)
    spectra = [measure(energy, rng, **LIT) for energy in EXCITATIONS]
    step = calibrate(EXCITATIONS, spectra, ElasticLineSettings.model_validate({"loaded": loaded}), at_once=False)
    assert "off by -3.4" in step.result.calibration_alarm


@pytest.mark.parametrize(("order", "incidence", "inclination"), [(1, 2.0, 0.0), (1, 3.0, 50.0), (-1, 8.0, -30.0)])
def test_the_bend_of_a_configured_grating_is_that_of_the_grating_equation(order, incidence, inclination):
    lines, energy, arm = 1200.0, 530.0, 9e4  # arm in pixels
    start = np.cos(np.radians(incidence))
    exit_angle = np.arccos(start - order * lines * HC_EV_MM / energy)
    along = 20.0 * np.array([-1.0, 0.0, 1.0])
    tilt = np.radians(inclination)
    turned = np.arctan(along * np.cos(tilt) / (arm + along * np.sin(tilt)))
    wavelength = (start - np.cos(exit_angle - order * turned)) / (order * lines)
    slope, second = (wavelength[2] - wavelength[0]) / 40, (wavelength[2] - 2 * wavelength[1] + wavelength[0]) / 400
    grating = Grating(lines_per_mm=lines, incidence=incidence, order=order, inclination=inclination)
    bend, sigma = grating.bend(energy, -slope / wavelength[1] * energy)
    assert bend == pytest.approx(second / slope, rel=0.01)
    assert sigma == pytest.approx(abs(bend) / 10, rel=0.01)


def test_with_the_grating_configured_the_axis_is_known_far_from_the_lines():
    model = SpectrographModel()
    rng = np.random.default_rng(0)
    spectra = []
    for excitation in EXCITATIONS[:5]:
        photons = rng.poisson(0.15 + gaussian(float(model.pixel(excitation)), FWHM, 3000.0))
        spectra.append((PHOTON * photons.astype(float), PHOTON**2 * np.maximum(photons, 0.2)))
    grating = Grating(lines_per_mm=model.grooves, incidence=model.incidence)
    far = float(model.pixel(460.0))
    settings = (ElasticLineSettings(), ElasticLineSettings(grating=grating))
    without, known = (calibrate(EXCITATIONS[:5], spectra, each).calibration for each in settings)
    assert known.sigma(far) < 0.4 * without.sigma(far)
    assert abs(known.energy(far) - 460.0) < 2 * known.sigma(far)


def test_a_grating_that_sends_no_such_light_is_refused_with_the_place_of_its_setting():
    with pytest.raises(ValueError, match=r"sends no light of 30\.0 eV into the order -1: check .*grating"):
        Grating(lines_per_mm=1200.0, incidence=2.0, order=-1).bend(30.0, 0.1)


def test_a_map_whose_grating_sends_no_such_light_has_no_calibration_and_says_why():
    grating = Grating(lines_per_mm=1200.0, incidence=2.0, order=-1)
    step = simulated_map(0, settings=ElasticLineSettings(grating=grating), **LIT)
    assert "sends no light" in step.calibration.status
    assert not step.result.elastic_accepted.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"known_lines": {"O K": [525.0, -1.0]}}, r"'O K' is \[525.0, -1.0\]"),
        ({"grating": {"lines_per_mm": 1200.0, "incidence": 2.0, "order": 0}}, "order 0 is not dispersed"),
        ({"loaded": {"pivot": 0.0, "coefficients": [0.0, 0.0, 0.0]}}, "expected an energy .* and a dispersion"),
        ({"bend": {"value": 1e-5}, "grating": {"lines_per_mm": 1200.0, "incidence": 2.0}}, "both given"),
    ],
)
def test_settings_that_no_spectrometer_has_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ElasticLineSettings.model_validate(settings)


def map_with_a_line(seed, given):
    """Simulate a map with a line at 505 eV, of which it is given that it lies at an energy, ± 0.5 eV."""
    rng = np.random.default_rng(seed)
    spectra = []
    for energy in EXCITATIONS:
        spectrum, variance = measure(energy, rng, elastic=300.0, emission=0.0)
        photons = rng.poisson(gaussian(column(505.0), 20.0, 4000.0))
        spectra.append((spectrum + PHOTON * photons, variance + PHOTON**2 * photons))
    settings = ElasticLineSettings.model_validate({"known_lines": {"X Ka": [given, 0.5]}})
    return calibrate(EXCITATIONS, spectra, settings).result


@pytest.mark.long
def test_the_pull_of_a_known_line_is_a_standard_normal_number_where_its_energy_is_right():
    rng = np.random.default_rng(0)
    found = [map_with_a_line(seed, 505.0 + rng.normal(0, 0.5)) for seed in range(60)]
    assert all(one.known_names.tolist() == ["X Ka"] and one.known_left_out.size == 0 for one in found)
    pulls = np.array([one.known_pull[0] for one in found])
    assert 0.6 < np.sqrt(np.mean(pulls**2)) < 1.2
    assert [bool(one.calibration_alarm) for one in found] == (np.abs(pulls) > 3).tolist()


@pytest.mark.parametrize("off", [-40.0, -6.0, 6.0, 30.0])
def test_a_known_line_that_is_not_where_it_is_said_to_be_is_left_out_with_the_reason(off):
    found = map_with_a_line(0, 505.0 + off)
    assert found.known_names.size == found.known_pull.size == 0
    assert found.known_left_out.tolist() == ["X Ka"]
    nearest = r"the nearest line, at column \d+\.\d \(5\d\d\.\d eV\), is off by [+-]\d+\.\d sigmas"
    assert re.fullmatch(rf"expected at column \d+; {nearest}", found.known_left_out_reasons[0])


def test_a_known_line_that_joins_and_disagrees_raises_the_alarm():
    found = map_with_a_line(0, 506.8)
    assert found.known_pull[0] > 3
    assert re.fullmatch(
        r"known lines disagree with the other lines: X Ka, 506\.80 ± 0\.50 eV at column 857\.\d, by \+3\.\d sigmas",
        found.calibration_alarm,
    )


def test_known_lines_may_be_names_whose_energies_are_tabulated():
    given = ElasticLineSettings.model_validate({"known_lines": ["O K", "Fe La", "Ti Ll"]})
    assert given.known_lines == {"O K": (524.9, 1.0), "Fe La": (704.8, 1.0), "Ti Ll": (395.1, 1.0)}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (5, "5: expected a list of names, as"),
        ("Fe La", "'Fe La': expected a list of names, as"),
        (["Fe La", 5], r"\['Fe La', 5\]: expected a list of names, as"),
        (["Zz K"], "'Zz K': there is no element 'Zz', expected a name as 'O K'"),
        (["O L"], "'O L': expected 'O', a space and one of its lines: Ka1, Ka2, Ka3"),
        ({"Fe La": 705}, "'Fe La' is 705, expected its energy and the uncertainty of that"),
        ({"Fe La": [705]}, r"'Fe La' is \[705\], expected its energy"),
        ({"Fe La": ["a", 1]}, r"'Fe La' is \['a', 1\], expected its energy"),
        ({"Fe La": [True, 1]}, r"'Fe La' is \[True, 1\], expected its energy"),
        ({"Fe La": []}, r"'Fe La' is \[\], expected its energy"),
    ],
)
def test_wrong_known_lines_are_named_in_one_line_with_what_was_expected(lines, message):
    with pytest.raises(ValidationError) as refused:
        ElasticLineSettings.model_validate({"known_lines": lines})
    (problem,) = refused.value.errors()
    assert problem["loc"] == ("known_lines",)
    assert re.match(f"Value error, {message}", problem["msg"])


def test_a_fit_that_ran_away_is_said_to_be_undetermined_and_leaves_no_numbers():
    undetermined = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        spectrum, variance = measure(rng.uniform(520.0, 545.0), rng, elastic=0.0, emission=500.0)
        peak = find_elastic_line(spectrum, variance, expected_pixel=float(rng.uniform(1000.0, 1250.0)), search=3.0)
        undetermined += "a fit that the counts do not determine" in peak.reason
        if np.isfinite(peak.pixel):
            assert abs(peak.significance) < 30.0, peak
            assert peak.sigma < 3 * FWHM, peak
            assert peak.pull < FWHM, peak
    assert undetermined > 10


def test_rows_without_a_line_are_not_said_to_be_moved_by_emission():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        energies = np.concatenate([EXCITATIONS, EXCITATIONS + 0.3])
        lights = [LIT] * len(EXCITATIONS) + [LIT | {"elastic": 0.0}] * len(EXCITATIONS)
        spectra = [measure(energy, rng, **light) for energy, light in zip(energies, lights, strict=True)]
        result = calibrate(energies, spectra).result
        refused = result.elastic_reason != ""
        assert refused.sum() >= len(EXCITATIONS)
        assert (result.elastic_displacement[refused & ~result.elastic_accepted, -1] < FWHM).all()
        assert np.abs(result.elastic_moved).max() < FWHM


def test_an_unmeasured_spectrum_has_no_line():
    peak = find_elastic_line(np.full(100, np.nan), np.ones(100))
    assert peak.reason == "the spectrum is not measured"


@pytest.fixture(scope="module")
def scan_17174(measured_data):
    energies, frames = read_scan(measured_data)
    spectra = []
    for energy, frame in zip(energies, frames, strict=True):
        noise = {"photon_counts": COUNTS_PER_EV * energy, "read_noise": READ_NOISE}
        cleaned = remove_cosmic_rays(frame - 1.4, **noise)
        spectra.append(spectrum_of(cleaned.frame, np.zeros(64), unmeasured=cleaned.mask, **noise))
    return energies, calibrate(energies, spectra, at_once=False)


@pytest.mark.long
@pytest.mark.measured
def test_scan_17174_is_calibrated_by_its_isolated_lines(scan_17174):
    energies, step = scan_17174
    found, result = step.calibration, step.result
    assert found.status == "ok"
    assert found.accepted.sum() >= 6
    assert 0.21 <= found.dispersion <= 0.28
    assert 0.001 < found.dispersion_sigma < 0.02
    assert found.rms <= 0.15
    isolated = energies < 777.7
    assert found.accepted[isolated].all()
    np.testing.assert_allclose(result.elastic_pixel[0], 1531.9, atol=0.5)
    np.testing.assert_allclose(result.elastic_pixel[5], 1543.3, atol=0.5)
    assert np.all((result.elastic_fwhm[isolated] > 3.5) & (result.elastic_fwhm[isolated] < 6.5))


@pytest.mark.measured
def test_scan_17174_uses_no_line_where_emission_lies_beside_it(scan_17174):
    energies, step = scan_17174
    assert not step.calibration.accepted[energies > 779.6].any()
    assert all(reason for reason in step.result.elastic_reason[energies > 779.6])


def test_spectra_of_any_noise_are_fitted_or_refused_and_never_fail():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        spectrum = PHOTON * rng.poisson(rng.choice([0.001, 0.05, 3.0]), COLUMNS).astype(float)
        spectrum[rng.integers(COLUMNS, size=3)] += rng.choice([0.0, 1e3, 1e6])
        variance = spectrum_variance(spectrum, photon_counts=PHOTON, read_noise=rng.choice([0.1, 30.0]))
        for where in (None, float(rng.integers(-5, COLUMNS + 5))):
            peak = find_elastic_line(spectrum, variance, expected_pixel=where, search=3.0)
            assert peak.reason or (np.isfinite(peak.pixel) and peak.sigma > 0)


def test_the_fit_of_a_line_is_that_of_scipy_to_two_thousandths_of_its_sigma():
    columns = np.arange(30.0)
    truth = np.array([10.4, FWHM / FWHM_PER_SIGMA, 47.0, 1.0, 0.15])
    low, high = np.full(5, -np.inf), np.full(5, np.inf)
    low[1], high[1] = (share * FWHM / FWHM_PER_SIGMA for share in FIT_FWHM)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        counts = PHOTON * rng.poisson(line_and_slopes(columns, truth)[0]) + 32.0 * rng.standard_normal(30)
        noise = np.sqrt(PHOTON * np.clip(counts, 0, None) + 32.0**2)
        start = np.array([10.0, FWHM / FWHM_PER_SIGMA, counts[10], 110.0, 16.0])
        found, covariance, _ = fit_line(columns, counts, noise, start, fwhm=FWHM)
        expected = least_squares(
            lambda parameters, counts, noise: (line_and_slopes(columns, parameters)[0] - counts) / noise,
            start,
            bounds=(low, high),
            x_scale=np.abs(truth),
            args=(counts, noise),
            xtol=1e-12,
            ftol=1e-12,
        ).x
        np.testing.assert_allclose(found[0], expected[0], atol=2e-3 * np.sqrt(covariance[0, 0]))


# Where the constants stand; the whole scans are in docs/decisions/constants-elastic-line.md.


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "lower", "upper"),
    [
        ("FIT_LEFT", 1.6, 2.8),
        ("FIT_RIGHT", 2.5, 5.0),
        ("FILTER_REACH", 1.8, 4.0),
        ("NEIGHBOUR_FWHM", (1.0, 1.6), (2.0, 4.0)),
        ("NEIGHBOUR_BIAS", 0.25, 1.0),
        ("fwhm_range", (0.65, 1.45), (0.45, 1.8)),
        ("largest_neighbour", 0.1, 0.5),
    ],
)
def test_a_constant_between_these_values_calibrates_simulated_maps_alike(name, lower, upper):
    for value in (lower, upper):
        with constant(name, value) as chosen:
            share, held, lines, rms = simulated_scores(range(1000, 1006), chosen)
            assert share == 1.0
            assert held.min() >= 0.33
            assert lines > 11.5
            assert rms < 0.15
            assert false_calibrations(range(1), chosen) == 0


def test_wider_lines_would_be_calibrated_by_features_of_constant_loss():
    with constant("fwhm_range", (0.35, 2.5)) as chosen:
        assert false_calibrations(range(4), chosen) >= 3


def test_noise_alone_passes_for_a_line_in_one_spectrum_of_a_thousand():
    settings = ElasticLineSettings()
    assert COLUMNS * norm.sf(settings.significance) < 1e-3
    assert (2 * 0.6 * FWHM + 1) * norm.sf(settings.expected_significance) < 1e-3
