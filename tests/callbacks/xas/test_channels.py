"""Channels of any number and kind: what each is divided by, and that its uncertainty holds."""

import numpy as np
import pytest

from callbacks.contract import Channel, FluorescenceConfig, Key
from callbacks.step import UnusableError
from callbacks.xas import OpenBeam, XasPoint, XasSettings, XasSpectrum
from callbacks.xas.windows import WHOLE, FluorescenceWindows

ENERGY = np.arange(520.0, 560.0, 0.5)
WINDOWS = {"pre_edge": (520.0, 526.0), "post_edge": (550.0, 560.0)}
MESH = 1 + 0.04 * np.exp(-0.5 * ((ENERGY - 532.0) / 1.5) ** 2)  # structure of a monitor
CHANNELS = (
    Channel(name="i0", form="monitor"),
    Channel(name="mesh", form="monitor", is_rate=True),
    Channel(name="drain", is_rate=True),
    Channel(name="through", form="transmission"),
    Channel(name="behind", form="transmission", over="through"),
)
TRIALS = 60
OPEN_BEAM = OpenBeam(energy=[500.0, 600.0], ratio=[2.0, 2.0], sigma=[0.0, 0.0])


def shape(energy):
    edge = 0.5 + np.arctan((energy - 535.0) / 0.5) / np.pi
    return 0.2 + edge + 0.6 * np.exp(-0.5 * ((energy - 530.8) / 0.6) ** 2)


def events(seed, *, mesh=1.0, dwell=2.0):
    """Points of a spectrum: counts and currents of one light."""
    rng = np.random.default_rng(seed)
    given = []
    for number, (energy, structure) in enumerate(
        zip(ENERGY, MESH if mesh is MESH else np.ones(len(ENERGY)), strict=True)
    ):
        absorbed = float(shape(energy))
        through = 4e5 * dwell * np.exp(-absorbed)
        event = {Key.ENERGY: energy, Key.DWELL: dwell, "seq_num": number + 1}
        event["i0"] = float(rng.poisson(1e6 * dwell * structure))
        event |= {"mesh": 0.9 + 0.001 * rng.standard_normal(), "mesh_sigma": 0.001}
        event |= {"drain": 0.3 * absorbed + 5e-4 * rng.standard_normal(), "drain_sigma": 5e-4}
        event |= {"through": float(rng.poisson(through)), "behind": float(rng.poisson(through * np.exp(-2 * absorbed)))}
        given.append(event)
    return given


def result_of(given, settings, channels=CHANNELS):
    step = XasSpectrum(settings, channels)
    for event in given:
        step.push(event)
    return step.result


SETTINGS = XasSettings(**WINDOWS, monitor_noise=0.0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("drain", lambda energy: 0.3e-6 * shape(energy)),
        ("through", lambda energy: 0.4 * np.exp(-shape(energy))),
        ("behind", lambda energy: np.exp(-2 * shape(energy))),
    ],
)
def test_what_each_channel_is_over_its_own_monitor_holds_the_truth(channel, expected):
    inside = []
    for seed in range(TRIALS):
        found = result_of(events(seed), SETTINGS).spectra[channel]
        left = found.over_i0_spectrum - expected(ENERGY)
        inside.append(np.abs(left) <= found.over_i0_spectrum_sigma)
        assert found.status == "ok"
    assert 0.64 <= np.mean(inside) <= 0.72  # of 4800


@pytest.mark.long
@pytest.mark.parametrize("channel", ["drain", "through", "behind"])
def test_currents_and_transmissions_are_normalised_as_what_is_absorbed(channel):
    slope = np.polyfit(ENERGY[ENERGY <= 526], shape(ENERGY[ENERGY <= 526]), 1)
    truth = shape(ENERGY) - np.polyval(slope, ENERGY)
    truth /= truth[ENERGY >= 550].mean()
    pulls = []
    for seed in range(TRIALS):
        found = result_of(events(seed), SETTINGS).spectra[channel]
        pulls.append((found.normalised - truth) / found.sigma)
    assert 0.6 <= np.mean(np.abs(pulls) <= 1) <= 0.76


def test_a_current_without_an_uncertainty_has_none_and_says_so():
    given = [{key: value for key, value in event.items() if key != "drain_sigma"} for event in events(1)]
    found = result_of(given, SETTINGS).spectra["drain"]
    assert found.status == "no drain_sigma is recorded, and it is no number of counts"
    assert np.isnan(found.normalised).all()
    assert np.isfinite(found.over_i0_spectrum).all()


def test_another_monitor_is_a_setting():
    found = result_of(events(2), XasSettings(**WINDOWS, i0="mesh"))
    np.testing.assert_allclose(found.i0_counts, 1.8, rtol=0.01)
    drain = found.spectra["drain"]
    np.testing.assert_allclose(drain.over_i0_spectrum, shape(ENERGY) / 3, rtol=0.02)
    assert "i0" not in found.spectra


def test_a_monitor_that_departs_from_the_other_is_named_and_one_that_does_not_is_not():
    settings = XasSettings(**WINDOWS, compared_with="mesh")
    assert result_of(events(3), settings).marks.size == 0
    given = events(3)
    given[40]["mesh"] *= 1.05
    found = result_of(given, settings)
    assert found.marked_frames.tolist() == [41]
    assert found.marks.tolist() == ["i0 and mesh differ: their ratio is 1.049 of its trend"]


@pytest.mark.long
def test_the_structure_of_a_monitor_is_taken_out_by_the_open_beam_with_its_variance():
    truth = 0.3e-6 * shape(ENERGY)
    rng = np.random.default_rng(0)
    inside, without = [], []
    for seed in range(TRIALS):
        ratio = 1 / MESH * (1 + 1e-3 * rng.standard_normal(len(ENERGY)))
        light = OpenBeam(energy=ENERGY.tolist(), ratio=ratio.tolist(), sigma=(1e-3 / MESH).tolist())
        given = events(seed, mesh=MESH)
        found = result_of(given, SETTINGS.model_copy(update={"open_beam": light})).spectra["drain"]
        inside.append(np.abs(found.over_i0_spectrum - truth) <= found.over_i0_spectrum_sigma)
        bare = result_of(given, SETTINGS).spectra["drain"]
        without.append(np.abs(bare.over_i0_spectrum - truth) <= bare.over_i0_spectrum_sigma)
    assert 0.64 <= np.mean(inside) <= 0.72
    assert np.mean(np.array(without)[:, abs(ENERGY - 532) < 1]) < 0.1


def test_beyond_the_open_beam_a_spectrum_is_not_known():
    light = OpenBeam(energy=[500.0, 539.9, 540.0], ratio=[1.0] * 3, sigma=[0.0] * 3)
    found = result_of(events(4), SETTINGS.model_copy(update={"open_beam": light})).spectra["drain"]
    assert np.isnan(found.over_i0_spectrum).tolist() == (ENERGY > 540).tolist()
    elsewhere = OpenBeam(energy=[500.0, 510.0], ratio=[1.0, 1.0], sigma=[0.0, 0.0])
    found = result_of(events(4), SETTINGS.model_copy(update={"open_beam": elsewhere})).spectra["drain"]
    assert found.status == "the open beam was measured at none of its energies"


def test_a_point_gives_the_ratio_of_each_channel():
    step = XasPoint(SETTINGS, CHANNELS)
    given = step.push(events(5)[0])
    assert list(given) == [f"{name}_over_i0{end}" for name in ("drain", "through", "behind") for end in ("", "_sigma")]
    assert given["behind_over_i0"] == pytest.approx(np.exp(-2 * shape(520.0)), rel=0.02)


def spectrum_event(counts, **others):
    return {
        Key.FLUORESCENCE: counts,
        Key.FLUORESCENCE_REAL_TIME: 2.0,
        Key.FLUORESCENCE_LIVE_TIME: 1.6,
        FluorescenceConfig.FIRST: 0.0,
        FluorescenceConfig.WIDTH: 10.0,
        **others,
    }


def test_windows_of_a_spectrum_count_as_if_the_detector_were_never_blind():
    counts = np.zeros(100)
    counts[52], counts[28] = 900.0, 100.0
    given = FluorescenceWindows({"oxygen": (460.0, 590.0), "titanium": (440.0, 455.0)}).push(spectrum_event(counts))
    assert given == pytest.approx({"oxygen": 1125.0, "oxygen_sigma": 37.5, "titanium": 0.0, "titanium_sigma": 1.25})
    whole = FluorescenceWindows(WHOLE).push(spectrum_event(counts))
    assert whole["fluorescence"] == pytest.approx(1250.0)


def test_a_spectrum_that_is_not_there_or_has_no_times_is_not_counted():
    step = FluorescenceWindows(WHOLE)
    with pytest.raises(UnusableError, match=r"^fluorescence_spectrum: not recorded, and windows of it are asked for$"):
        step.push({})
    assert np.isnan(step.push(spectrum_event(np.ones(4), **{Key.FLUORESCENCE_LIVE_TIME: 0.0}))["fluorescence"])


def test_an_absorption_is_taken_as_it_is_and_repeats_are_its_mean():
    channels = (Channel(name="i0", form="monitor"), Channel(name="mu", form="absorption"))
    given = [
        {Key.ENERGY: energy, "i0": 5.0, "mu": value, "mu_sigma": 0.02, "seq_num": 2 * number + repeat + 1}
        for number, energy in enumerate(ENERGY)
        for repeat, value in enumerate((float(shape(energy)) - 0.01, float(shape(energy)) + 0.01))
    ]
    settings = XasSettings(**WINDOWS, monitor_noise=0.1, open_beam=OPEN_BEAM)
    spectrum = result_of(given, settings, channels).spectra["mu"]
    np.testing.assert_allclose(spectrum.over_i0_spectrum, shape(ENERGY), rtol=1e-12)
    np.testing.assert_allclose(spectrum.over_i0_spectrum_sigma, 0.02 / np.sqrt(2), rtol=1e-12)
    assert spectrum.status == "ok"
