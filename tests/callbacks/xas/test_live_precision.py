"""How well a spectrum is known while it is measured: at each energy, by all points there so far."""

import numpy as np

from callbacks.contract import Key
from callbacks.xas.spectrum import XasSettings, XasSpectrum


def push_all(i0, energies):
    rng, step = np.random.default_rng(1), XasSpectrum(XasSettings())
    found = []
    for number, (flux, energy) in enumerate(zip(i0, energies, strict=True), start=1):
        light = np.nan_to_num(flux)
        counts = {Key.I0: flux, Key.TEY: float(rng.poisson(0.4 * light)), Key.TFY: float(rng.poisson(0.1 * light))}
        found.append(step.push({Key.ENERGY: energy, Key.DWELL: 1.0, "seq_num": number} | counts))
    return step, found


def test_the_relative_error_falls_with_the_points_at_an_energy_and_ends_as_that_of_the_result():
    energies = [520.0] * 9 + [521.0, 520.0]
    step, found = push_all([1e4] * 11, energies)
    errors = np.array([each["tey_relative_error"] for each in found])
    assert np.allclose(errors[:9] * np.sqrt(np.arange(1, 10)), errors[0], rtol=0.05)
    assert np.isclose(errors[9], errors[0], rtol=0.05)
    result = step.result
    tey = result.spectra["tey"]
    assert np.isclose(errors[10], tey.over_i0_spectrum_sigma[0] / tey.over_i0_spectrum[0])
    assert found[10]["tfy_relative_error"] > found[10]["tey_relative_error"]


def test_a_point_whose_flux_is_lost_or_partial_is_marked_and_adds_nothing():
    _, found = push_all([1e4, 1e4, 1e4, 5e3, np.nan, 1e4], [520.0] * 6)
    marks = [each["point_mark"] for each in found]
    assert [bool(mark) for mark in marks] == [False, False, False, True, True, False]
    assert marks[3].startswith("I0 partial")
    errors = [each["tey_relative_error"] for each in found]
    assert errors[2] == errors[3] == errors[4] > errors[5]
