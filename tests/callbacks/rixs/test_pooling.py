"""Several maps as one: one dispersion, an offset and a drift each; maps on one axis; the next map by what they tell."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_lines import BEND, DISPERSION, ENERGY, EXCITATIONS, LIT, PIVOT, calibrate, measure, true_energy

from callbacks.contract import RixsResult
from callbacks.rixs import fit_calibration
from callbacks.rixs.calibration import Displacements, KnownLine
from callbacks.rixs.elastic_line import ElasticLineSettings, LoadedCalibration
from callbacks.rixs.pooling import MapLines, on_one_axis, pool_calibrations

# Columns by which two independent causes of unit variance make the chip drift during a map: a rate, and its change.
DRIFT = np.linspace(0.0, 1.0, 14)[:, None] ** [1, 2] * [0.8, 0.4]


def place(energy, *, dispersion=DISPERSION, bend=BEND):
    way = ENERGY / dispersion * (1 - ENERGY / energy)
    return PIVOT + 2 * way / (1 + np.sqrt(1 + 2 * bend * way))


def true_dispersion(pixel, dispersion, bend):
    u = pixel - PIVOT
    return dispersion * (1 + bend * u) / (1 - dispersion / ENERGY * (u + 0.5 * bend * u**2)) ** 2


def simulated(rng, name, offset, *, dispersion=DISPERSION, bend=BEND, pull=0.0, known=None, n=14):
    """Give the lines of a map: drift and emission displace them, each with its own noise."""
    energies = np.linspace(527.0, 543.0, n)
    factor = np.column_stack([DRIFT[:n], 0.5 * rng.random(n)])
    z = np.r_[rng.standard_normal(DRIFT.shape[1]), pull]
    pixels = place(energies, dispersion=dispersion, bend=bend) + offset + factor @ z + 0.15 * rng.standard_normal(n)
    lines = []
    if known:
        found = place(known[1], dispersion=dispersion, bend=bend) + offset + 0.4 * rng.standard_normal()
        lines = [KnownLine("Ti La", known[0], 0.5, found, 0.4, np.zeros(factor.shape[1]))]
    moved = Displacements(np.zeros(n), factor)
    own = fit_calibration(pixels, energies, np.full(n, 0.15), displacements=moved, known=lines)
    assert own.status == "ok"
    return MapLines(name, energies, pixels, np.full(n, 0.15), factor, tuple(lines), own)


@pytest.mark.long
def test_dispersion_and_every_offset_hold_the_truth_as_often_as_they_say_and_better_than_a_single_map():
    trials = 200
    pulls = {"dispersion": [], "offset": [], "energy": []}
    chi_squares, of_maps = [], []
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        offsets, emission, bend = rng.uniform(-15, 15, 3), rng.standard_normal(), rng.normal(-1e-4, 0.8e-4)
        maps = [simulated(rng, str(number), offset, bend=bend, pull=emission) for number, offset in enumerate(offsets)]
        pooled = pool_calibrations(maps)
        found = pooled.calibration
        at = found.pivot - offsets[0]
        u = at - PIVOT
        energy = ENERGY / (1 - DISPERSION / ENERGY * (u + 0.5 * bend * u**2))
        pulls["dispersion"].append((found.dispersion - true_dispersion(at, DISPERSION, bend)) / found.dispersion_sigma)
        pulls["energy"].append(float((found.energy(found.pivot) - energy) / found.sigma(found.pivot)))
        pulls["offset"].extend((pooled.offsets[1:] - (offsets[1:] - offsets[0])) / pooled.offset_sigmas[1:])
        assert found.dispersion_sigma < min(one.calibration.dispersion_sigma for one in maps) or pooled.chi_square > 4
        chi_squares.append(pooled.chi_square)
        of_maps.append(pooled.pulls)
    shares = {name: np.mean(np.abs(values) < 1) for name, values in pulls.items()}
    assert all(0.60 <= share <= 0.76 for share in shares.values()), shares
    assert max(np.abs(values).max() for values in pulls.values()) < 4.5
    assert pooled.freedom == 2
    assert np.mean(chi_squares) == pytest.approx(2.0, abs=0.45)
    assert np.std(of_maps) == pytest.approx(1.0, abs=0.12)


def test_a_map_that_disagrees_is_named_and_widens_the_uncertainty():
    rng = np.random.default_rng(1)
    good = [simulated(rng, f"scan {number}", number) for number in range(3)]
    odd = simulated(rng, "scan 9", 4.0, dispersion=1.1 * DISPERSION)
    agreeing, together = pool_calibrations(good), pool_calibrations([*good, odd])
    assert agreeing.alarm == ""
    assert together.alarm.startswith("the maps disagree in dispersion")
    assert "scan 9 by" in together.alarm
    assert "scan 0" not in together.alarm
    assert np.abs(together.pulls).argmax() == 3
    assert together.calibration.dispersion_sigma > 2 * agreeing.calibration.dispersion_sigma


def test_the_error_of_a_given_line_is_common_to_all_maps_and_does_not_average():
    """The line is given 1 eV too high, in every map."""
    rng = np.random.default_rng(2)
    single, *others = maps = [simulated(rng, str(number), 2.0 * number, known=(453.0, 452.0)) for number in range(8)]
    pooled = pool_calibrations(maps).calibration
    at = float(place(452.0))
    assert others
    assert pooled.sigma(at) > 0.35  # 0.18 if each map had an error of its own
    assert pooled.sigma(at) < single.calibration.sigma(at)
    assert abs(pooled.energy(at) - 452.0) < 3 * pooled.sigma(at)


@pytest.mark.parametrize(
    ("offset", "dispersion", "words"),
    [(400.0, DISPERSION, "lies .* columns off"), (0.0, 1.8 * DISPERSION, "dispersed 1.8. times as much")],
)
def test_a_map_of_another_setting_of_the_spectrograph_is_refused(offset, dispersion, words):
    rng = np.random.default_rng(3)
    maps = [simulated(rng, "scan 1", 0.0), simulated(rng, "scan 2", offset, dispersion=dispersion)]
    with pytest.raises(ValueError, match=f"scan 2: is of another setting of the spectrograph than scan 1: .*{words}"):
        pool_calibrations(maps)
    with pytest.raises(ValueError, match="calibrated maps: 1, expected 2 or more"):
        pool_calibrations(maps[:1])


def test_the_setting_cannot_be_told_where_the_edges_are_far_apart():
    rng = np.random.default_rng(4)
    near, far = simulated(rng, "scan 1", 0.0), simulated(rng, "scan 2", 0.0)
    pixels = place(far.energies + 150.0)
    elsewhere = fit_calibration(pixels, far.energies + 150.0, far.sigmas)
    with pytest.raises(ValueError, match="scan 2: it cannot be told whether"):
        pool_calibrations([near, replace(far, energies=far.energies + 150.0, pixels=pixels, calibration=elsewhere)])


# Maps on one axis


def a_map(rng, offset, energies, *, extra=0.0):
    """Give the result of a simulated map and its lines; the last row has another emission line where asked for."""
    columns = np.arange(600)
    spectra = []
    for energy in energies:
        centre = 300.3 + offset + (energy - 530.0) / DISPERSION
        light = 40 * np.exp(-0.5 * ((columns - centre) / 2.1) ** 2)
        light += 60 * np.exp(-0.5 * ((columns - 250.3 - offset) / 9.0) ** 2)
        spectra.append(light)
    spectra[-1] = spectra[-1] + extra * np.exp(-0.5 * ((columns - 200.3 - offset) / 5.0) ** 2)
    expected = np.array(spectra) + 2.0
    counts = rng.poisson(expected).astype(float)
    pixels = 300.3 + offset + (energies - 530.0) / DISPERSION + 0.02 * rng.standard_normal(len(energies))
    factor = np.zeros((len(energies), 2))
    calibration = fit_calibration(pixels, energies, np.full(len(energies), 0.02), bend=(0.0, 1e-6))
    result = RixsResult(
        excitation_energy=energies,
        elastic_energy=energies,
        elastic_displacement=factor,
        calibration_common=np.zeros(2),
        map=counts,
        map_variance=expected,
    )
    return result, MapLines(f"{offset}", energies, pixels, np.full(len(energies), 0.02), factor, (), calibration)


def test_maps_differ_by_their_noise_where_nothing_else_differs_and_by_what_does():
    rng = np.random.default_rng(5)
    energies = np.arange(526.0, 536.0, 1.0)
    (one, lines), (other, others) = a_map(rng, 0.0, energies), a_map(rng, 6.4, energies + 0.01, extra=30.0)
    pooled = pool_calibrations([lines, others], bend=(0.0, 1e-6))
    assert pooled.offsets[1] == pytest.approx(6.4, abs=4 * pooled.offset_sigmas[1])
    axis = on_one_axis([one, other], pooled)
    assert axis.excitation.tolist() == energies.tolist()
    assert np.isnan(axis.intensity[1][:, -6:]).all()  # beyond the end of the chip, as it was then
    within = slice(20, 560)
    pull = (axis.difference / np.sqrt(axis.difference_variance))[0, :-1, within]
    blocks = axis.difference[0, :-1, within].reshape(9, 54, 10).sum(axis=2)
    noise = np.sqrt(axis.difference_variance[0, :-1, within].reshape(9, 54, 10).sum(axis=2))
    assert np.std(blocks / noise) == pytest.approx(1.0, abs=0.1)  # sums over more columns than were split
    assert 0.7 < pull.std() <= 1.02
    assert np.abs(axis.difference_by_offset[0, :, within]).max() < 1.0
    found = axis.difference[0, -1, 180:221].sum()
    assert found == pytest.approx(
        30 * 5 * np.sqrt(2 * np.pi), abs=4 * np.sqrt(axis.difference_variance[0, -1, 180:221].sum())
    )


def test_what_an_offset_that_is_not_known_does_to_the_difference_is_told_beside_the_noise():
    rng = np.random.default_rng(6)
    energies = np.arange(526.0, 536.0, 1.0)
    (one, lines), (other, others) = a_map(rng, 0.0, energies), a_map(rng, 0.0, energies)
    pooled = pool_calibrations([lines, others], bend=(0.0, 1e-6))
    uncertain = replace(pooled, covariance=pooled.covariance * (0.5 / pooled.offset_sigmas[1]) ** 2)
    axis = on_one_axis([one, other], uncertain)
    slope = np.gradient(40 * np.exp(-0.5 * ((np.arange(600) - 300.3) / 2.1) ** 2))[290:312]
    at_530 = axis.difference_by_offset[0, 4, 290:312]
    assert np.corrcoef(at_530, slope)[0, 1] > 0.9
    assert at_530 @ slope / (slope @ slope) == pytest.approx(0.5, rel=0.15)


def test_rows_that_only_one_map_has_are_kept_and_have_no_difference():
    rng = np.random.default_rng(7)
    (one, lines), (other, others) = (
        a_map(rng, 0.0, np.arange(526.0, 536.0, 1.0)),
        a_map(rng, 1.0, np.arange(528.5, 536.0, 0.5)),
    )
    axis = on_one_axis([one, other], pool_calibrations([lines, others], bend=(0.0, 1e-6)))
    assert axis.excitation.tolist() == sorted({*np.arange(526.0, 536.0), *np.arange(528.5, 536.0, 0.5)})
    both = np.isfinite(axis.difference[0]).any(axis=1)
    assert axis.excitation[both].tolist() == np.arange(529.0, 536.0).tolist()


# The next map


def loaded_from(pooled):
    found = pooled.calibration
    return {
        "pivot": found.pivot,
        "coefficients": found.coefficients.tolist(),
        "covariance": found.covariance.tolist(),
        "source": "pooled analysis",
    }


def test_the_next_map_has_the_pooled_dispersion_and_an_offset_of_its_own():
    rng = np.random.default_rng(8)
    pooled = pool_calibrations([simulated(rng, name, 4.0) for name in "abc"])
    few = EXCITATIONS[[4, 7, 11]]  # three elastic lines, too few to be calibrated by themselves
    settings = ElasticLineSettings.model_validate({"loaded": loaded_from(pooled)})
    inside = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        spectra = [measure(energy, rng, **LIT) for energy in few]
        assert calibrate(few, spectra).calibration.status == "3 elastic lines, at least 4 are needed"
        step = calibrate(few, spectra, settings)
        found, result = step.calibration, step.result
        assert found.status == "ok", found.status
        assert found.dispersion_sigma < 1.05 * pooled.calibration.dispersion_sigma
        below, above = true_energy(found.pivot + np.array([-0.5, 0.5]))
        assert abs(found.dispersion - (above - below)) < 3 * found.dispersion_sigma
        assert result.calibration_loaded == "pooled analysis"
        assert result.calibration_loaded_offset == pytest.approx(-4.0, abs=4 * result.calibration_loaded_offset_sigma)
        inside += abs(found.energy(found.pivot) - true_energy(found.pivot)) <= found.sigma(found.pivot)
    assert 0.55 <= inside / 40 <= 0.95  # no emission pulls a line here, but it might


def test_many_lines_and_a_loaded_calibration_are_known_better_than_either():
    rng = np.random.default_rng(9)
    pooled = pool_calibrations([simulated(rng, name, 4.0) for name in "ab"]).calibration
    trials, inside = 200, 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        coefficients = rng.multivariate_normal(pooled.coefficients, pooled.covariance)  # what it may be as well
        truth = replace(pooled, coefficients=coefficients)
        energies = np.linspace(528.0, 541.0, 10)
        pixels = truth.pixel(energies) + 7.0 + 0.15 * rng.standard_normal(10)
        found = fit_calibration(pixels, energies, np.full(10, 0.15), loaded=pooled)
        alone = fit_calibration(pixels, energies, np.full(10, 0.15))
        expected, _ = truth.dispersion_at(float(found.coefficients[0]))
        inside += abs(found.dispersion - expected) <= found.dispersion_sigma
        assert found.dispersion_sigma < min(1.05 * alone.dispersion_sigma, pooled.dispersion_sigma)
    assert 0.60 <= inside / trials <= 0.76


def test_a_loaded_dispersion_that_the_lines_contradict_is_not_used_and_said():
    rng = np.random.default_rng(10)
    pooled = pool_calibrations([simulated(rng, name, 0.0, dispersion=1.2 * DISPERSION) for name in "ab"])
    spectra = [measure(energy, rng, **LIT) for energy in EXCITATIONS]
    step = calibrate(EXCITATIONS, spectra, ElasticLineSettings.model_validate({"loaded": loaded_from(pooled)}))
    alone = calibrate(EXCITATIONS, spectra)
    assert np.array_equal(step.calibration.coefficients, alone.calibration.coefficients)
    assert step.result.calibration_alarm.startswith("the loaded dispersion is not used: 0.1")
    assert step.result.calibration_loaded == ""


def test_a_loaded_dispersion_that_is_used_is_not_said_to_be_contradicted_however_well_it_is_known():
    loaded = LoadedCalibration(pivot=PIVOT, coefficients=(ENERGY, DISPERSION, BEND), source="before")
    loaded = loaded.model_copy(update={"covariance": np.diag([1e-16] * 3)})  # past what refuses it
    rng = np.random.default_rng(0)
    settings = ElasticLineSettings().model_copy(update={"loaded": loaded})
    result = calibrate(EXCITATIONS, [measure(energy, rng, **LIT) for energy in EXCITATIONS], settings).result
    assert (result.calibration_alarm, result.calibration_loaded) == ("", "before")


def test_a_dispersion_that_is_known_better_than_it_can_be_placed_is_refused():
    covariance = np.diag([1e-4, 1e-12, 1e-10]).tolist()
    loaded = {"pivot": PIVOT, "coefficients": [ENERGY, DISPERSION, BEND], "covariance": covariance}
    with pytest.raises(ValueError, match=r"known to 1e-06 eV/pixel, expected .*e-05 or more"):
        ElasticLineSettings.model_validate({"loaded": loaded})


def test_a_covariance_that_is_none_is_refused():
    rng = np.random.default_rng(11)
    loaded = loaded_from(pool_calibrations([simulated(rng, name, 0.0) for name in "ab"]))
    loaded["covariance"][1][1] = -1.0
    with pytest.raises(ValueError, match="is no covariance"):
        ElasticLineSettings.model_validate({"loaded": loaded})
