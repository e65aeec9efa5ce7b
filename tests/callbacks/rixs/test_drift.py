"""The drift of the spectrograph: followed by fluorescence and repeated energies, as uncertain as it is said to be."""

import numpy as np
import pytest
from irixs import measured_map
from scipy.ndimage import gaussian_filter1d

from callbacks.contract import Key, RixsResult
from callbacks.rixs.drift import DriftSettings, Moved, find_drift, find_lines, follow_line, prior_covariance, track
from callbacks.rixs.elastic_line import ElasticLine, ElasticLineSettings
from callbacks.rixs.integration import spectrum_variance
from callbacks.rixs.pooling import MapLines, on_one_axis, pool_calibrations
from callbacks.rixs.repeats import RepeatedFrames, RepeatedFramesSettings, measure_drift
from simulated_devices.physics.escape import Escape
from simulated_devices.physics.samples import SAMPLES
from simulated_devices.physics.spectrograph import ChipDrift, SpectrographModel
from simulated_devices.world import endstation as world

EXCITATIONS = np.r_[np.arange(526, 529, 0.5), np.arange(529.2, 533, 0.2), np.arange(533.5, 542.1, 0.5)]
EXPOSURE = 300.0  # s
OFFSET = 0.18  # eV, of the monochromator
PLACES = np.arange(-20.375, 2067.9, 0.25)  # quarters of columns
SAMPLE = SAMPLES["LRNMC 311 mAh/g"]
ESCAPE = Escape(80.0, 10.0)


def expected_photons(model, energy, light):
    """Photons of each quarter of a column, from twenty columns before the chip to twenty behind it."""
    emission = model.energy(PLACES)
    photons = world.ELASTIC_PHOTONS * world.line(emission, energy, 0.12) + world.STRAY_PHOTONS_PER_EV
    own = world.EMISSION_PHOTONS * SAMPLE.emission(energy, emission)
    (titanium, width, number), nickel = world.TITANIUM_LINE, world.NICKEL_LINE
    own = own + number * world.line(emission, titanium, width)
    photons = photons + own * ESCAPE.share(SAMPLE, energy, emission) + nickel[2] * world.line(emission, *nickel[:2])
    return light * gaussian_filter1d(
        photons * (model.energy(PLACES + 0.125) - model.energy(PLACES - 0.125)), 4 * model.resolution / 2.3548
    )


def simulated_map(seed, order, light, drift=None):
    """Reduce the spectra of a map whose chip drifts; give calibration, rows, true energies and the true drift."""
    rng = np.random.default_rng(seed)
    model = SpectrographModel(centre_energy=525 + rng.normal(0, 0.3), dispersion=0.107 * (1 + rng.normal(0, 0.01)))
    chip = ChipDrift.by_chance(0.0, rng, 1.0)
    energies = np.r_[EXCITATIONS, EXCITATIONS[::-1]] if order == "up_down" else EXCITATIONS
    rows, lines = RepeatedFrames(RepeatedFramesSettings()), ElasticLine(ElasticLineSettings())
    moved = np.zeros(len(energies))
    for number, energy in enumerate(energies):
        time = number * (EXPOSURE + 7)
        moved[number] = chip.at(time) if drift is None else drift * number / len(energies)
        photons = rng.poisson(expected_photons(model, energy + OFFSET, light))
        place = np.repeat(PLACES, photons) + rng.uniform(-0.125, 0.125, photons.sum()) + moved[number]
        columns = np.rint(place[(place > -0.5) & (place < 2047.5)]).astype(int)
        seen, photon = np.bincount(columns, minlength=2048), 0.21 * energy
        spectrum = photon * seen + 32.0 * rng.standard_normal(2048)
        event = {
            "seq_num": number + 1,
            "time": 1.7e9 + time,
            Key.ENERGY: energy,
            Key.EXPOSURE_TIME: EXPOSURE,
            "spectrum": spectrum,
            "spectrum_variance": spectrum_variance(spectrum, photon_counts=photon, read_noise=32.0),
            "normalisation": 1.0,
            "normalisation_variance": 1e-6,
            "revised_spectra": {},
            "revised_normalisation": {},
        }
        outputs = rows.push(event)
    lines.push(outputs | {"rows": tuple(rows.rows)})
    return lines.calibration, rows.result, lambda column: model.energy(column - moved[0]) - OFFSET, moved - moved[0]


@pytest.mark.long
@pytest.mark.parametrize(("order", "light"), [("up", 1.0), ("up", 0.1), ("up_down", 1.0), ("up_down", 0.1)])
def test_calibration_and_drift_of_simulated_maps_lie_within_their_uncertainties(order, light):
    pulls, drifts, trials = [], [], 6 if order == "up_down" else 12
    for seed in range(trials):
        found, rows, true, drift = simulated_map(seed, order, light)
        drifts.append((rows.drift_frame_pixels[-1] - drift[-1]) / rows.drift_frame_sigma[-1])
        if found.status != "ok":
            continue
        below, at, above = true(found.pivot + np.array([-0.5, 0.0, 0.5]))
        pulls.append(
            (
                (found.dispersion - above + below) / found.dispersion_sigma,
                (found.coefficients[0] - at) / found.sigma(found.pivot),
            )
        )
    assert len(pulls) >= (0.4 if light < 1 else 1.0) * trials
    assert np.abs(pulls).max() < 4
    assert np.sqrt(np.mean(np.square(pulls))) < 1.4
    assert np.abs(drifts).max() < 4
    assert np.sqrt(np.mean(np.square(drifts))) < 1.6


@pytest.mark.long
@pytest.mark.parametrize("drift", [0.0, 2.0, 4.0, 8.0])
def test_an_even_drift_does_not_become_dispersion(drift):
    for seed in range(3):
        found, _, true, _ = simulated_map(seed, "up", 0.3, drift)
        below, above = true(found.pivot + np.array([-0.5, 0.5]))
        assert found.status != "ok" or abs(found.dispersion - above + below) < 4 * found.dispersion_sigma


def test_the_covariance_of_the_drift_is_that_of_an_integrated_rate_that_keeps_for_a_while():
    settings = DriftSettings(rate=2.0, persistence=3.0)
    step, times = 0.01, np.array([0.5, 2.0, 4.0])
    moments = np.arange(step / 2, 4.0, step)
    rates = 4.0 * np.exp(-np.abs(moments[:, None] - moments) / 3.0)
    until = (moments < times[:, None]) * step
    np.testing.assert_allclose(prior_covariance(times, settings), until @ rates @ until.T, rtol=2e-3)


def test_where_nothing_tells_the_drift_it_is_as_uncertain_as_before():
    times = np.linspace(0.0, 4.0, 40)
    found = find_drift(times, [], DriftSettings())
    np.testing.assert_allclose(found.mean, 0.0)
    knots = times[::1]
    expected = np.sqrt(np.diag(prior_covariance(knots, DriftSettings())))
    np.testing.assert_allclose(found.sigma, expected, atol=0.05)
    assert not find_drift(times, [], DriftSettings(rate=0.0)).sigma.any()
    assert find_drift(np.zeros(1), [], DriftSettings()).sigma.tolist() == [0.0]


def test_comparisons_that_contradict_one_another_are_worth_less():
    times = np.linspace(0.0, 4.0, 30)
    rng = np.random.default_rng(0)
    frames, sigma = np.arange(30), np.full(30, 0.2)
    moves = Moved(frames, -1.5 * times + rng.normal(0, 0.2, 30), sigma, None)
    stands = Moved(frames, rng.normal(0, 0.2, 30), sigma, None)
    alone, both = find_drift(times, [moves], DriftSettings()), find_drift(times, [moves, stands], DriftSettings())
    assert alone.mean[-1] == pytest.approx(-6.0, abs=3 * alone.sigma[-1])
    assert both.sigma[-1] > 2 * alone.sigma[-1]


def test_a_line_that_grows_with_the_excitation_or_stands_at_an_end_of_the_chip_is_not_followed():
    rng = np.random.default_rng(0)
    columns, frames = np.arange(1000), 30
    lines = [
        (200, 15, np.full(frames, 400.0)),
        (600, 15, np.geomspace(50, 2000, frames)),
        (990, 30, np.full(frames, 900.0)),
    ]
    spectra = np.array(
        [
            rng.poisson(
                2 + sum(height[n] / width * np.exp(-0.5 * ((columns - at) / width) ** 2) for at, width, height in lines)
            )
            for n in range(frames)
        ],
        dtype=float,
    )
    variance = np.maximum(gaussian_filter1d(spectra, 3, axis=1), 1.0)
    assert len(find_lines(spectra.mean(axis=0), variance.mean(axis=0) / frames)) == 2
    moved, places = track(spectra, variance, np.ones(frames), np.zeros(frames))
    assert len(moved) == 1
    assert places == pytest.approx([200], abs=8)


def test_the_shift_of_a_line_is_found_within_its_uncertainty_whatever_its_strength():
    rng = np.random.default_rng(1)
    columns, shifts = np.arange(400), rng.uniform(-3, 3, 60)
    strength = rng.uniform(0.4, 1.6, 60)
    expected = 3 + strength[:, None] * 60 * np.exp(-0.5 * ((columns - 200 - shifts[:, None]) / 12) ** 2)
    spectra = rng.poisson(expected).astype(float)
    found, sigma, seen = follow_line(spectra, expected, slice(150, 251), np.zeros(60))
    left = found - shifts - (found - shifts).mean()
    assert 0.55 < (np.abs(left) < sigma).mean() < 0.8
    assert np.corrcoef(seen, strength)[0, 1] > 0.98


# Measured maps, through all steps


@pytest.fixture(scope="module")
def maps(measured_data):
    return {number: measured_map(measured_data, number) for number in (17174, 17175, 16492)}


@pytest.mark.measured
def test_two_maps_of_one_day_have_the_dispersion_of_all_five(maps):
    found = [maps[number]["elastic_line"].calibration.dispersion_at(776.5) for number in (17174, 17175)]
    for dispersion, sigma in found:
        assert sigma < 0.012
        assert abs(dispersion - 0.235) < 2 * np.hypot(sigma, 0.005)
    (one, sigma), (other, other_sigma) = found
    assert abs(one - other) < 2 * np.hypot(sigma, other_sigma)


@pytest.mark.measured
@pytest.mark.parametrize(
    ("number", "oxygen", "iron", "rate"), [(17174, 77.7, 1212.0, -1.54), (17175, 75.0, 1202.0, -1.86)]
)
def test_the_axis_far_from_the_elastic_lines_is_as_uncertain_as_it_is(maps, number, oxygen, iron, rate):
    found, rows = maps[number]["elastic_line"].calibration, maps[number]["repeated_frames"].result
    for column, energy, largest in ((oxygen, 525.0, 15.0), (iron, 705.0, 4.0)):
        assert found.sigma(column) < largest
        assert abs(found.energy(column) - energy) < 2 * found.sigma(column)
    hours = rows.drift_frame_hours
    seen = np.polyfit(hours, rows.drift_frame_pixels, 1)[0]
    assert seen == pytest.approx(rate, abs=0.35)


@pytest.mark.long
@pytest.mark.measured
def test_lines_that_are_given_put_the_axis_within_an_ev(measured_data):
    known = {"elastic_line": {"known_lines": {"O K": [525.0, 0.5], "Fe La": [705.0, 0.5]}}}
    found = measured_map(measured_data, 17174, known)["elastic_line"]
    assert found.result.known_names.tolist() == ["O K", "Fe La"]
    assert found.calibration.energy(77.7) == pytest.approx(525.0, abs=1.0)
    assert found.calibration.energy(1212.0) == pytest.approx(705.0, abs=1.0)
    assert found.calibration.dispersion_at(776.5)[0] == pytest.approx(0.235, abs=0.005)


@pytest.mark.measured
def test_a_map_whose_elastic_line_is_off_the_chip_is_refused_as_such_and_its_partial_yield_is_smooth(maps):
    status = maps[16492]["elastic_line"].calibration.status
    assert status.startswith("light rises towards the high-energy end of the chip: the elastic line lies off the chip")
    yields = maps[16492]["rixs_map"].result.pfy
    jumps = np.abs(np.diff(yields, 2)) / yields[1:-1]
    assert np.median(jumps) < 0.1
    assert jumps.max() < 0.5


@pytest.mark.measured
def test_two_maps_of_one_day_have_one_dispersion_that_is_known_better_than_by_either(maps):
    names = ("repeated_frames", "elastic_line", "rixs_map")
    results = [
        RixsResult(**{key: value for name in names for key, value in maps[number][name].result.as_dict().items()})
        for number in (17174, 17175)
    ]
    pooled = pool_calibrations(
        [MapLines.of(str(number), one) for number, one in zip((17174, 17175), results, strict=True)]
    )
    dispersion, sigma = pooled.calibration.dispersion_at(776.5)
    assert sigma < min(one.calibration_dispersion_sigma for one in results)
    assert abs(dispersion - 0.235) < 2 * np.hypot(sigma, 0.005)
    assert pooled.alarm == ""
    assert pooled.chi_square < 4.0
    axis = on_one_axis(results, pooled)
    assert np.isfinite(axis.difference[0]).any(axis=1).all()  # every excitation energy of one is one of the other
    spectra = axis.intensity[:, :, 20:160].sum(axis=1)  # O K emission, that the calibration has never seen
    shift, _ = measure_drift(spectra[1], spectra[1], spectra[0], spectra[0], largest_drift=20.0)
    assert abs(shift) < 3 * pooled.offset_sigmas[1]
