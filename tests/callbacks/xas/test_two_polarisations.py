"""The spectrum of two polarisations: points kept apart, mean and difference, and the truth within their intervals."""

import math

import numpy as np
import pytest

from callbacks.contract import Channel, Key, PolarisationConfig
from callbacks.step import Chain
from callbacks.xas.spectrum import XasPoint, XasSettings, XasSpectrum, normalise_spectrum
from plans.xas import alternating
from simulated_devices.physics import SAMPLES
from simulated_devices.physics.undulator import Stokes, setting_for
from simulated_devices.world import SimulatedEndstation
from simulated_devices.world.endstation import CIRCULAR_DEGREE, CIRCULAR_DEGREE_SIGMA, HELICITY_ENERGY

ENERGIES = np.r_[np.arange(690.0, 704.0, 2.0), np.arange(704.0, 712.0, 0.25), np.arange(712.0, 740.1, 2.0)]
PAIR = ("C+", "C-")
SETTINGS = XasSettings(pre_edge=(690.0, 702.0), post_edge=(730.0, 740.0), background="constant")
KNOWN = {
    PolarisationConfig.CIRCULAR_DEGREE: CIRCULAR_DEGREE,
    PolarisationConfig.CIRCULAR_DEGREE_SIGMA: CIRCULAR_DEGREE_SIGMA,
    PolarisationConfig.ENERGY_SIGMA: HELICITY_ENERGY,
}


def chain(settings=SETTINGS, pair=PAIR, **options):
    spectrum = XasSpectrum(settings, polarisations=pair, **options)
    return Chain({"xas_point": XasPoint(settings, **options), "xas_spectrum": spectrum})


def simulated(seed, dwell=1.0, pair=PAIR):
    """Events of a spectrum of the iron film, as the plan takes its points."""
    world = SimulatedEndstation(seed=seed, dump_after=1e9)
    world.sample, world.shutter_open = "Fe film", True
    for number, (index, polarisation) in enumerate(alternating(len(ENERGIES), pair), start=1):
        world.energy = float(ENERGIES[index])
        world.undulator = setting_for(world.energy, polarisation)
        begin = world.clock.now() + 10.0
        world.clock.reach(begin + dwell)
        values = {Key.ENERGY: world.energy, Key.ENERGY_SETPOINT: world.energy, Key.DWELL: dwell, "seq_num": number}
        yield KNOWN | values | world.counts(begin, begin + dwell) | {Key.POLARISATION: polarisation}


def truth():
    film, at = SAMPLES["Fe film"], ENERGIES + SimulatedEndstation().truth.energy_offset
    plus, minus = (film.absorption(at, Stokes(0.0, 0.0, sign)) for sign in (1.0, -1.0))
    exact = normalise_spectrum(ENERGIES, (plus + minus) / 2, np.full(len(at), 1e-9), SETTINGS)
    return exact.normalised, (plus - minus) / exact.jump


def reduced(events, **options):
    steps = chain(**options)
    outputs = [steps.push(event) for event in events]
    assert [problem for _, problem in outputs if problem] == []
    return steps.steps["xas_spectrum"].result, [kept for kept, _ in outputs]


@pytest.mark.long
def test_dichroism_of_the_iron_film_is_within_its_interval_in_68_of_100_seeds():
    mean, dichroic = truth()
    inside, inside_mean, pulls = [], [], []
    for seed in range(100):
        tey = reduced(simulated(seed))[0].spectra["tey"]
        assert tey.dichroism_status == "ok"
        pulls.append((tey.dichroism_per_degree - dichroic) / tey.dichroism_per_degree_sigma)
        inside.append(abs(pulls[-1]) <= 1)
        inside_mean.append(abs(tey.normalised - mean) <= tey.sigma)
    l3 = abs(ENERGIES - 707.7) < 2.0
    assert 0.60 <= np.mean(inside) <= 0.76
    assert 0.60 <= np.mean(np.array(inside)[:, l3]) <= 0.76
    assert 0.60 <= np.mean(inside_mean) <= 0.76
    assert abs(np.mean(np.array(pulls)[:, l3])) < 0.25  # the interval is about the truth
    assert np.nanmax(abs(tey.dichroism_per_degree / tey.dichroism_per_degree_sigma)) > 20  # and tells something


def test_the_difference_is_of_the_sign_and_size_of_the_sum_rules():
    tey = reduced(simulated(3, dwell=20.0))[0].spectra["tey"]
    at = {energy: place for place, energy in enumerate(ENERGIES)}
    assert tey.dichroism[at[707.75]] < -1.2
    assert tey.dichroism[at[720.0]] > 0.3
    assert abs(np.mean(tey.dichroism[ENERGIES > 730])) < 0.005
    assert tey.dichroism_per_degree == pytest.approx(tey.dichroism / 0.95)


def test_a_pair_keeps_its_spectra_apart_and_gives_their_mean():
    events = list(simulated(1))
    result, kept = reduced(events)
    assert list(result.polarisations) == ["C+", "C-"]
    assert np.array_equal(result.xas_energy, ENERGIES)
    tey = result.spectra["tey"]
    assert tey.polarised.shape == (2, len(ENERGIES))
    for row, polarisation in zip(tey.polarised, PAIR, strict=True):
        own = {each[Key.ENERGY]: each["tey"] / each["i0"] for each in events if each[Key.POLARISATION] == polarisation}
        assert np.array_equal(row, [own[energy] for energy in ENERGIES])
    assert tey.over_i0_spectrum == pytest.approx(tey.polarised.mean(axis=0))
    assert len(kept) == 2 * len(ENERGIES)
    assert all(0 < each["tey_relative_error"] < 0.05 for each in kept)


def test_fields_of_a_pair_are_not_there_for_one_polarisation():
    events = [event | {Key.POLARISATION: "C+"} for event in simulated(1, pair=("C+",))]
    result, _ = reduced(events, pair=("C+",))
    assert not any("dichroism" in name or "polaris" in name or "matched" in name for name in result.as_dict())
    assert result.spectra["tey"].status == "ok"
    plain, _ = reduced(events, pair=())
    assert np.array_equal(plain.spectra["tey"].normalised, result.spectra["tey"].normalised)


def test_flux_that_differs_between_the_two_is_no_partial_flux():
    events = [
        event | {key: event[key] * (0.5 if event[Key.POLARISATION] == "C-" else 1.0) for key in ("i0", "tey", "tfy")}
        for event in simulated(1)
    ]
    result, kept = reduced(events)
    assert list(result.marked_frames) == []
    assert {each["point_mark"] for each in kept} == {""}
    assert result.spectra["tey"].dichroism_status == "ok"
    dimmed = [event | ({"i0": event["i0"] * 0.4} if event["seq_num"] == 41 else {}) for event in events]
    result, kept = reduced(dimmed)
    assert list(result.marked_frames) == [41]
    assert result.marks[0].startswith("I0 partial: 0.4")


def test_a_point_of_another_polarisation_is_left_out_of_a_pair_and_named():
    events = list(simulated(1))
    events[60] |= {Key.POLARISATION: "LH"}
    events[70] |= {Key.POLARISATION: ""}
    result, kept = reduced(events)
    assert list(result.marked_frames) == [61, 71]
    assert list(result.marks) == [
        "polarisation: LH, expected C+ or C-",
        "polarisation: none that is known, expected C+ or C-",
    ]
    assert kept[60]["point_mark"] == "polarisation: LH, expected C+ or C-"
    assert math.isnan(kept[60]["tey_relative_error"])
    tey = result.spectra["tey"]
    assert [np.isnan(tey.dichroism[index // 2]) for index in (60, 62, 70)] == [True, False, True]
    single = [event | {Key.POLARISATION: "LH"} for event in simulated(1, pair=("C+",))]
    result, _ = reduced(single, pair=("C+",))
    assert len(result.marks) == len(ENERGIES)
    assert result.spectra["tey"].status == "ok"  # it is the spectrum of what was measured


def test_a_pair_that_was_stopped_before_the_edge_says_why_there_is_no_dichroism():
    result, _ = reduced(list(simulated(1))[:21])
    tey = result.spectra["tey"]
    assert "the post-edge window 730 to 740 eV holds 0 points of both polarisations" in tey.dichroism_status
    assert np.isnan(tey.dichroism).all()
    assert np.isnan(tey.polarised[0]).sum() + np.isnan(tey.polarised[1]).sum() == 1
    empty, _ = reduced([])
    assert empty.xas_energy.size == 0


def test_linear_dichroism_has_no_degree():
    events = list(simulated(2, dwell=20.0, pair=("LH", "LV")))
    tey = reduced(events, pair=("LH", "LV"))[0].spectra["tey"]
    assert tey.dichroism_status == "ok"
    assert np.isnan(tey.dichroism_per_degree).all()
    strongest = tey.dichroism[abs(ENERGIES - 707.0) < 1.0]
    assert strongest.max() == pytest.approx(0.12, abs=0.04)


def test_a_transmission_is_reduced_by_its_logarithm():
    channels = (Channel(name="i0", form="monitor"), Channel(name="thin", form="transmission"))
    events = [event | {"thin": 1e5 * math.exp(-0.2 * event["tey"] / event["i0"])} for event in simulated(1, dwell=50.0)]
    thin = reduced(events, channels=channels)[0].spectra["thin"]
    assert thin.dichroism_status == "ok"
    assert thin.dichroism[np.argmin(abs(ENERGIES - 707.75))] < -1.0
