"""The steps between a clean frame and a map: curvature, integration, normalisation, repeats, the map itself."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from callbacks.contract import Key
from callbacks.incident_flux import check_flux
from callbacks.rixs.calibration import Calibration, fit_calibration
from callbacks.rixs.curvature import Curvature, fit_curvature, straighten
from callbacks.rixs.dark import estimate_pedestal
from callbacks.rixs.drift import DriftSettings
from callbacks.rixs.integration import Integration, IntegrationSettings, spectrum_of, spectrum_variance
from callbacks.rixs.line_fit import FWHM_PER_SIGMA
from callbacks.rixs.normalisation import Normalisation, NormalisationSettings
from callbacks.rixs.repeats import RepeatedFrames, RepeatedFramesSettings, Row, measure_drift
from callbacks.rixs.rixs_map import (
    RixsMap,
    RixsMapSettings,
    emission_cut,
    inverse_partial_yield,
    map_on_energy_loss,
    partial_yield,
)

PHOTON, NOISE = 110.0, 4.0
COLUMNS = 600


def line(centre, area, fwhm=5.0, columns=COLUMNS):
    sigma = fwhm / FWHM_PER_SIGMA
    return area / (sigma * np.sqrt(2 * np.pi)) * np.exp(-0.5 * ((np.arange(columns) - centre) / sigma) ** 2)


def bent_image(rng, *, rows=64, photons=20_000, tilt=1.2, curvature=2.5):
    truth = Curvature(np.array([tilt, curvature]), np.zeros((2, 2)), "ok").displacement(rows)
    expected = np.stack(
        [line(300 + shift, 0.3 * photons / rows) + line(240 + shift, 0.7 * photons / rows, 25.0) for shift in truth]
    )
    return PHOTON * rng.poisson(expected) + NOISE * rng.standard_normal(expected.shape), truth


# Curvature


def test_straightening_keeps_the_counts_and_moves_the_line():
    image, truth = bent_image(np.random.default_rng(0))
    straight = straighten(image, truth)
    np.testing.assert_allclose(straight.sum(axis=1), image.sum(axis=1), atol=5 * NOISE)
    assert straight.sum(axis=0).max() > 1.02 * image.sum(axis=0).max()


@settings(max_examples=30, deadline=None)
@given(shift=st.floats(-20, 20))
def test_straightening_moves_the_centre_of_a_line_by_what_is_asked(shift):
    before = line(300, 1e4)[None, :]
    after = straighten(before, np.array([shift]))[0]
    assert np.average(np.arange(COLUMNS), weights=after) == pytest.approx(300 - shift, abs=1e-6)


@pytest.mark.long
def test_the_curvature_is_found_within_its_uncertainty():
    inside = 0
    for seed in range(200):
        image, _ = bent_image(np.random.default_rng(seed))
        groups = image.reshape(8, 8, COLUMNS).sum(axis=1)
        variance = PHOTON * np.clip(groups, 0, None) + 8 * NOISE**2
        found = fit_curvature(groups, variance, largest_sigma=1.0)
        assert found.status == "ok"
        sigma = np.sqrt(np.diag(found.covariance))
        inside += (np.abs(found.coefficients - [1.2, 2.5]) <= sigma).sum()
        assert np.all(np.abs(found.coefficients - [1.2, 2.5]) < 0.8)
    assert 0.60 <= inside / 400 <= 0.85  # the sums of eight rows bend a little in themselves; never too narrow


def test_a_curvature_that_noise_nearly_hides_is_as_uncertain_as_it_is():
    pulls, at = [], Curvature(np.array([1.2, 2.5]), np.zeros((2, 2)), "ok").displacement(8)
    for seed in range(120):
        rng = np.random.default_rng(seed)
        light = np.array([0.05 + line(300 + by, 6) + line(220 + by, 90, 20) for by in at])
        groups = PHOTON * rng.poisson(light) + 30.0 * rng.standard_normal(light.shape)
        found = fit_curvature(groups, PHOTON**2 * light + 30.0**2, largest_sigma=3.0)
        if found.status == "ok":
            pulls.append((found.coefficients - [1.2, 2.5]) / np.sqrt(np.diag(found.covariance)))
    assert len(pulls) > 20
    assert (np.sqrt(np.median(np.square(pulls), axis=0)) < 1.1).all()  # 0.67 where they are as they should be


def test_the_curvature_is_refused_without_light():
    dark = NOISE * np.random.default_rng(0).standard_normal((8, COLUMNS))
    assert "too few photons" in fit_curvature(dark, np.full(dark.shape, NOISE**2), largest_sigma=0.25).status


@pytest.mark.measured
def test_the_bend_of_the_raw_ccd_frame_is_followed(measured_data):
    raw = tifffile.imread(measured_data / "raw-ccd" / "LSCO_0040.TIF").astype(float)
    level, noise = estimate_pedestal(raw)
    image = np.clip(raw - level, None, 5 * 65.0).T
    groups = image.reshape(32, 64, -1).sum(axis=1)
    found = fit_curvature(groups, 65.0 * np.clip(groups, 1, None) + 64 * noise**2, largest_sigma=1.0)
    assert found.status == "ok"
    assert np.ptp(found.displacement(32)) == pytest.approx(45.0, abs=12.0)
    straight = straighten(groups, found.displacement(32))
    centres = [
        np.average(np.arange(751), weights=np.clip(group - np.median(group), 0, None) ** 2) for group in straight
    ]
    assert np.std(centres) < 8.0


# Integration


@pytest.mark.measured
def test_plain_sums_equal_those_of_the_instrument(measured_data):
    folder = measured_data / "als-irixs" / "CCD Scan 17174" / "Andor"
    frame = tifffile.imread(folder / "cox17174-00001.tif").astype(float)
    spectrum, _ = spectrum_of(frame, np.zeros(64), photon_counts=162.0, read_noise=6.0)
    lines = (folder / "cox17174-00001-1D.txt").read_text().splitlines()
    numbers = [row.split() for row in lines if row and row[0].isdigit()]
    instrument = np.array([float(row[-1]) for row in numbers])
    assert np.array_equal(spectrum, instrument)


def test_the_variance_of_a_spectrum_is_that_of_its_scatter():
    spectra, variances = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        image = PHOTON * rng.poisson(np.tile(0.05 + line(300, 5.0), (64, 1))) + NOISE * rng.standard_normal(
            (64, COLUMNS)
        )
        spectrum, variance = spectrum_of(image, np.zeros(64), photon_counts=PHOTON, read_noise=NOISE)
        spectra.append(spectrum)
        variances.append(variance)
    ratio = np.mean(variances, axis=0) / np.var(spectra, axis=0)
    assert np.median(ratio) == pytest.approx(1.0, abs=0.1)


def frame_event(image, number, **values):
    nothing = np.zeros(image.shape, dtype=bool)
    return {
        "image": image,
        "cosmic_mask": nothing,
        "image_saturated": nothing,
        "photon_counts": PHOTON,
        "read_noise": NOISE,
        "seq_num": number,
        **values,
    }


def test_spectra_from_before_the_curvature_was_known_are_made_anew():
    step = Integration(IntegrationSettings())
    revised = {}
    for number in range(1, 20):
        image, _ = bent_image(np.random.default_rng(number), photons=3000)
        outputs = step.push(frame_event(image, number))
        revised = outputs["revised_spectra"]
        if revised:
            break
    assert len(revised) == number > 1
    assert step.result.curvature_status == "ok"
    assert step.result.curvature == pytest.approx([1.2, 2.5], abs=0.6)
    assert revised[number][0].max() >= 0.95 * outputs["spectrum"].max()


# Incident flux and normalisation


def test_a_partial_first_frame_and_a_lost_one_are_marked_and_no_other():
    flux = 1e5 * (1 + 0.01 * np.sin(np.arange(40) / 6)) * np.where(np.arange(40) > 20, 1.02, 1.0)
    flux[0] *= 0.53
    flux[17] = 0.0
    flux[30] = np.nan
    checked = check_flux(flux)
    assert [index for index, reason in enumerate(checked.reasons) if reason] == [0, 17, 30]
    assert "0.53 of its trend" in checked.reasons[0]
    assert checked.lost.nonzero()[0].tolist() == [17, 30]


def test_a_count_below_zero_is_not_known_and_is_not_compared_with_what_is_usual():
    checked = check_flux([1e5, -9.23e4, 1e5])
    assert checked.lost.tolist() == [False, True, False]
    assert checked.reasons[1] == "I0 lost: below zero, and not known"
    assert set(check_flux([-1e5, -9.23e4, -1e5]).reasons) == {
        "I0 lost: at or below zero throughout; is the sign of its electrometer turned?"
    }


@pytest.mark.parametrize(("times", "marked"), [(100.0, True), (1.3, True), (1.2, False)])
def test_an_i0_that_is_too_high_is_marked_and_is_as_uncertain_as_it_departs(times, marked):
    flux = np.full(20, 1e5)
    flux[7] *= times
    checked = check_flux(flux)
    assert not checked.lost.any()
    assert [index for index, reason in enumerate(checked.reasons) if reason] == [7] * marked
    assert checked.departure[7] == pytest.approx((times - 1) * marked)
    assert (np.delete(checked.departure, 7) == 0).all()
    if marked:
        assert checked.reasons[7] == f"I0 high: {times:.3g} times its trend"


def test_a_long_dump_is_not_taken_for_the_trend():
    flux = np.full(60, 1e5)
    flux[20:40] = 30.0
    checked = check_flux(flux)
    assert checked.lost[20:40].all()
    assert not any(checked.reasons[:20] + checked.reasons[40:])


def test_frames_are_normalised_to_flux_and_time_and_never_divided_by_nothing():
    step = Normalisation(NormalisationSettings())
    good = step.push({"seq_num": 1, Key.I0: 2e6, Key.DWELL: 100.0, Key.EXPOSURE_TIME: 300.0})
    assert good["normalisation"] == pytest.approx(1e6 / (2e6 / 100 * 300))
    lost = step.push({"seq_num": 2, Key.I0: 0.0, Key.DWELL: 100.0, Key.EXPOSURE_TIME: 300.0})
    assert np.isnan(lost["normalisation"])
    assert lost["frame_mark"].startswith("I0 lost")
    assert step.result.marked_frames.tolist() == [2]


def map_with_i0_off(at, times, *, repeats=1):
    """Reduce twelve energies of 10,000 counts, the I0 of one frame of which is off and the light is not."""
    rng = np.random.default_rng(0)
    normalisation, frames, final = (
        Normalisation(NormalisationSettings()),
        RepeatedFrames(RepeatedFramesSettings(drift=DriftSettings(rate=0.0))),
        RixsMap(RixsMapSettings()),
    )
    for number in range(12 * repeats):
        spectrum = PHOTON * rng.poisson(np.full(COLUMNS, 1e4 / PHOTON / COLUMNS * 100)).astype(float)
        i0 = rng.poisson(1e6 * (times if number == at else 1.0))
        event = spectrum_event(number + 1, spectrum, energy=530.0 + number % 12) | {Key.I0: i0, Key.DWELL: 1.0}
        event |= normalisation.push(event | {Key.EXPOSURE_TIME: 1.0})
        event |= frames.push(event)
        final.push(event | {"row_shifts": np.zeros(12), "calibration": fit_calibration([], [], [])})
    return final.result


@pytest.mark.parametrize("at", [0, 5, 11])
@pytest.mark.parametrize("times", [0.5, 100.0])
def test_a_yield_is_as_uncertain_as_an_i0_that_departs_from_its_trend(at, times):
    result = map_with_i0_off(at, times)
    wrong = np.arange(12) == at
    truth = 1e6
    off = np.abs(result.pfy - truth) / result.pfy_sigma
    assert off[wrong] < 1.2
    assert (off[~wrong] < 4).all()
    assert (result.pfy_sigma[~wrong] < 0.02 * truth).all()
    assert result.pfy_sigma[wrong] == pytest.approx(abs(times - 1) * result.pfy[wrong], rel=0.05)
    assert (np.sqrt(result.map_variance)[wrong] > 0.99 * abs(times - 1) * result.map[wrong]).all()


def test_a_frame_whose_i0_departs_has_no_part_in_a_row_that_another_shows():
    result = map_with_i0_off(5, 0.5, repeats=2)
    assert np.abs(result.pfy / 1e6 - 1).max() < 0.03
    assert result.pfy_sigma.max() < 0.02e6


def test_the_uncertainty_of_i0_does_not_average_out_in_a_yield():
    inside = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        i0 = int(rng.poisson(400))
        step = RepeatedFrames(RepeatedFramesSettings())
        spectrum = PHOTON * rng.poisson(np.full(COLUMNS, 20.0)).astype(float)
        event = spectrum_event(1, spectrum, factor=400 / i0, variance=np.full(COLUMNS, PHOTON**2 * 20.0))
        event |= step.push(event | {"normalisation_variance": (400 / i0) ** 2 / i0})
        final = RixsMap(RixsMapSettings())
        final.push(event | {"row_shifts": np.zeros(1), "calibration": fit_calibration([], [], [])})
        inside += abs(final.result.pfy[0] - 20.0 * PHOTON * COLUMNS) <= final.result.pfy_sigma[0]
    assert 0.60 <= inside / 300 <= 0.76


# Repeated frames


def spectrum_event(number, spectrum, *, energy=530.0, factor=1.0, variance=None):
    return {
        "seq_num": number,
        Key.ENERGY: energy,
        "spectrum": spectrum,
        "spectrum_variance": PHOTON * np.clip(spectrum, PHOTON, None) if variance is None else variance,
        "normalisation": factor,
        "normalisation_variance": 1e-6 * factor**2,
        "revised_spectra": {},
        "revised_normalisation": {},
    }


def test_drift_between_two_frames_is_measured_within_its_uncertainty():
    inside = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        drift = rng.uniform(-6, 6)
        reference, moved = (
            PHOTON * rng.poisson(0.2 + line(300 + by, 400) + line(240 + by, 2000, 25)) + rng.normal(0, 30, COLUMNS)
            for by in (0.0, drift)
        )
        variances = [spectrum_variance(each, photon_counts=PHOTON, read_noise=30.0) for each in (moved, reference)]
        found, sigma = measure_drift(moved, variances[0], reference, variances[1], largest_drift=20)
        inside += abs(found - drift) <= sigma
        assert abs(found - drift) < 1.0
    assert 0.60 <= inside / 200 <= 0.82


def test_small_drifts_are_not_drawn_to_whole_columns():
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        spectra = [
            PHOTON * rng.poisson(0.2 + line(300 + by, 400) + line(240 + by, 2000, 25)) + rng.normal(0, 30, COLUMNS)
            for by in (0.0, 0.3)
        ]
        known = [spectrum_variance(each, photon_counts=PHOTON, read_noise=30.0) for each in spectra]
        found.append(measure_drift(spectra[1], known[1], spectra[0], known[0], largest_drift=20))
    shifts, sigmas = np.array(found).T
    assert shifts.mean() == pytest.approx(0.3, abs=4 * sigmas.mean() / np.sqrt(200))


def test_drift_is_undone_before_frames_are_added():
    rng = np.random.default_rng(0)
    step = RepeatedFrames(RepeatedFramesSettings())
    for number, drift in enumerate((0.0, 4.0), start=1):  # two hours apart
        spectrum = PHOTON * rng.poisson(line(300 + drift, 4000)).astype(float)
        outputs = step.push(spectrum_event(number, spectrum) | {"time": 7200.0 * number})
    assert outputs["drift_pixels"] == pytest.approx(4.0, abs=0.3)
    row = outputs["rows"][0]
    assert np.average(np.arange(COLUMNS), weights=row.spectrum) == pytest.approx(300.0, abs=0.3)
    assert row.spectrum.max() > 0.93 * 2 * PHOTON * line(300, 4000).max()


def test_what_drift_moved_off_the_chip_is_not_known_and_what_one_frame_sees_is_as_bright():
    rng = np.random.default_rng(0)
    step = RepeatedFrames(RepeatedFramesSettings())
    for number, (drift, energy) in enumerate(((0.0, 530.0), (4.0, 530.0), (4.0, 531.0)), start=1):
        spectrum = PHOTON * rng.poisson(400.0 + line(300 + drift, 40_000)).astype(float)
        event = spectrum_event(number, spectrum, energy=energy) | {"time": 7200.0 * number - (number > 2) * 7000}
        step.push(event)
    both, late = step.rows
    np.testing.assert_allclose(both.normalised_spectrum[-40:] / PHOTON, 400.0, atol=6 * 20)
    rows = {"rows": tuple(step.rows), "row_shifts": np.zeros(2), "calibration": fit_calibration([], [], [])}
    final = RixsMap(RixsMapSettings())
    final.push(rows)
    seen = np.isfinite(final.result.map)
    assert seen[0].all()
    assert COLUMNS - seen[1].sum() in {4, 5}
    assert not seen[1, -4:].any()
    assert np.isfinite(final.result.pfy).all()
    np.testing.assert_array_equal(seen, np.isfinite(final.result.map_variance))
    assert late.index == 1


def test_a_frame_without_flux_has_no_part_in_the_normalised_row():
    step = RepeatedFrames(RepeatedFramesSettings())
    spectrum = np.full(COLUMNS, 1000.0)
    step.push(spectrum_event(1, spectrum, factor=0.5))
    outputs = step.push(spectrum_event(2, spectrum, factor=np.nan))
    row = outputs["rows"][0]
    np.testing.assert_allclose(row.normalised_spectrum, 500.0)
    np.testing.assert_allclose(row.spectrum, 2000.0)


def test_a_row_of_two_frames_is_as_bright_as_one_of_one_and_that_of_a_lost_i0_is_not_known():
    step = RepeatedFrames(RepeatedFramesSettings())
    step.push(spectrum_event(1, np.full(COLUMNS, 1000.0), energy=530.0, factor=0.5))
    for number, factor in ((2, 0.5), (3, 0.5), (4, np.nan)):
        step.push(spectrum_event(number, np.full(COLUMNS, 1000.0), energy=531.0, factor=factor))
    step.push(spectrum_event(5, np.full(COLUMNS, 1000.0), energy=532.0, factor=np.nan))
    one, three, lost = step.rows
    assert one.scale * one.spectrum.sum() == pytest.approx(three.scale * three.spectrum.sum())
    assert np.isnan(lost.scale)


def test_where_no_frame_has_i0_rows_are_as_bright_as_they_were_exposed_until_one_has():
    step = RepeatedFrames(RepeatedFramesSettings())
    for number, exposure in ((1, 100.0), (2, 300.0)):
        event = spectrum_event(number, np.full(COLUMNS, exposure), energy=529.0 + number, factor=np.nan)
        step.push(event | {"ccd_exposure_time": exposure})
    short, long = step.rows
    assert short.scale * short.spectrum.sum() == pytest.approx(long.scale * long.spectrum.sum())
    step.push(spectrum_event(3, np.ones(COLUMNS), energy=532.0, factor=0.5))
    assert np.isnan([short.scale, long.scale]).all()
    assert step.rows[2].scale == pytest.approx(0.5)


def test_rows_visited_again_later_are_updated():
    step = RepeatedFrames(RepeatedFramesSettings())
    rows = [
        step.push(spectrum_event(number, np.ones(COLUMNS), energy=energy))["row"]
        for number, energy in enumerate((530.0, 531.0, 531.0, 530.0), start=1)
    ]
    assert rows == [0, 1, 1, 0]
    assert step.result.row_frames.tolist() == [2, 2]


def test_the_intensity_of_a_map_lies_within_its_uncertainty():
    inside = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        step = RepeatedFrames(RepeatedFramesSettings(drift=DriftSettings(rate=0.0)))
        for number in (1, 2):
            flux = rng.uniform(0.5, 2.0)
            spectrum = PHOTON * rng.poisson(np.full(50, 30.0 * flux)).astype(float)
            i0 = rng.poisson(flux * 1e6)
            event = spectrum_event(number, spectrum, factor=1e6 / i0, variance=np.full(50, PHOTON**2 * 30.0 * flux))
            outputs = step.push(event | {"normalisation_variance": (1e6 / i0) ** 2 / i0})
        row = outputs["rows"][0]
        inside += (abs(row.normalised_spectrum - 30 * PHOTON) <= np.sqrt(row.normalised_variance)).mean()
    assert 0.60 <= inside / 200 <= 0.76


# The map


def calibration(status="ok"):
    covariance = np.diag([1e-4, 1e-8, 1e-12])
    return Calibration(np.array([530.0, 0.1, -1e-4]), 300.0, covariance, np.ones(4, dtype=bool), status, 0.01)


def map_of(energies, status="ok"):
    step = RixsMap(RixsMapSettings(yield_window=(520.0, 525.0)))
    for index, energy in enumerate(energies):
        spectrum = line(float(calibration().pixel(energy)), 100.0) + line(230, 1000.0, 10)
        row = Row(index, energy=energy, normalised_spectrum=spectrum, normalised_variance=np.ones(COLUMNS))
        step.push({"rows": (row,), "calibration": calibration(status), "row_shifts": np.zeros(index + 1)})
    return step.result


def test_the_elastic_line_stands_on_the_diagonal_and_at_no_energy_loss():
    result = map_of([534.0, 530.0, 532.0])
    assert result.excitation_energy.tolist() == [530.0, 532.0, 534.0]
    for row, energy in enumerate(result.excitation_energy):
        near = abs(result.emission_energy - energy) < 1.5
        at = np.average(result.emission_energy[near], weights=result.map[row, near])
        assert at == pytest.approx(energy, abs=0.02)
        near = abs(result.energy_loss) < 1.5
        assert np.average(result.energy_loss[near], weights=result.map_loss[row, near]) == pytest.approx(0, abs=0.02)


def test_the_axis_of_energy_loss_keeps_the_counts():
    rng = np.random.default_rng(0)
    emission = 500 + 0.1 * np.arange(400) + 2e-5 * np.arange(400) ** 2
    intensity = rng.poisson(50.0, (3, 400)).astype(float)
    loss, moved, _ = map_on_energy_loss(intensity, intensity, emission, np.array([530.0, 531.03, 533.0]))
    assert np.all(np.diff(loss) > 0)
    assert np.nansum(moved, axis=1) == pytest.approx(intensity.sum(axis=1), rel=0.01)


def test_without_a_calibration_there_is_no_axis_and_the_partial_yield_is_that_of_the_whole_detector():
    result = map_of([530.0, 532.0], status="too few lines")
    assert np.isnan(result.emission_energy).all()
    assert "energy_loss" not in result
    assert result.pfy == pytest.approx([1100.0, 1100.0], rel=0.01)


def test_partial_yields_carry_their_uncertainty():
    result = map_of([530.0, 532.0])
    assert result.pfy == pytest.approx([1000.0, 1000.0], rel=0.02)
    assert result.pfy_sigma == pytest.approx([np.sqrt(51)] * 2, rel=0.02)
    assert result.ipfy == pytest.approx(1 / result.pfy)
    inverse, sigma = inverse_partial_yield(np.array([0.0, 2.0]), np.array([1.0, 0.1]))
    assert np.isnan(inverse[0])
    assert np.isnan(sigma[0])
    assert np.isnan(partial_yield(np.ones((2, 3)), np.ones((2, 3)), np.arange(3.0), (10, 11))[0]).all()


def test_an_emission_cut_averages_rows_and_refuses_energies_outside():
    intensity = np.arange(12.0).reshape(3, 4)
    cut, sigma = emission_cut(intensity, np.ones((3, 4)), np.array([1.0, 2.0, 3.0]), 2.5, width=1.0)
    np.testing.assert_allclose(cut, intensity[1:].mean(axis=0))
    np.testing.assert_allclose(sigma, np.sqrt(2) / 2)
    with pytest.raises(ValueError, match=r"9.0 eV is outside the map, 1.00 to 3.00 eV"):
        emission_cut(intensity, intensity, np.array([1.0, 2.0, 3.0]), 9.0)
