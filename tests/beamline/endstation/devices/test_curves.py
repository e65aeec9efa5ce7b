"""Curves by polarisation: one for all, one for both helicities, and angles between those that are listed."""

import numpy as np
import pytest
from ophyd.utils.errors import LimitError

from beamline.endstation.config import EPICS, load_config
from beamline.endstation.devices.curves import Curve, PolarisedCurve
from callbacks.contract import angle_of
from simulated_devices.physics.undulator import Setting, energy_of, setting_for, stokes_of


def shipped():
    devices = load_config(EPICS).devices
    gap = PolarisedCurve("gap", devices["energy"].options["gap"])
    return gap, PolarisedCurve("phase", devices["polarisation"].options["phase"], signed=True)


@pytest.mark.parametrize(
    "polarisation", ["LH", "LV", "C+", "C-", "2", "5", "10", "22", "-30", "36", "45", "-52", "70", "80", "88"]
)
def test_the_shipped_tables_tune_the_undulator_and_polarise_its_light(polarisation):
    gap, phase = shipped()
    mode = setting_for(700.0, polarisation).mode
    for energy in np.arange(530.0, 1400.0, 7.0):
        setting = Setting(gap(energy, polarisation), phase(energy, polarisation), mode)
        # of 6 eV rms that the beamline accepts: 2 % of the flux at most
        assert energy_of(setting.gap, setting.phase, mode) == pytest.approx(energy, abs=1.2)
        light = stokes_of(setting)
        if polarisation in ("C+", "C-"):
            assert light.circular == pytest.approx(1.0 if polarisation == "C+" else -1.0, abs=1e-3)
        else:
            angle = np.degrees(np.arctan2(light.diagonal, light.horizontal)) / 2
            assert abs((angle - angle_of(polarisation) + 90) % 180 - 90) < 0.1


def test_one_curve_is_for_any_polarisation_and_lists_none():
    curve = PolarisedCurve("gap", {"polynomial": [10.0, 0.01]})
    assert curve.names == []
    assert curve(500.0, "") == curve(500.0, "C+") == pytest.approx(15.0)


def test_a_table_of_one_helicity_takes_precedence_over_that_of_both():
    curve = PolarisedCurve("phase", {"C": 12.0, "C-": -12.5, "LH": 0.0}, signed=True)
    assert [curve(700.0, each) for each in ("C+", "C-", "LH")] == [12.0, -12.5, 0.0]
    assert PolarisedCurve("phase", {"C": 12.0}, signed=True)(700.0, "C-") == -12.0
    assert PolarisedCurve("gap", {"C": 12.0})(700.0, "C-") == 12.0


@pytest.mark.parametrize(
    ("options", "polarisation", "message"),
    [
        ({"LH": 20.0}, "LV", "gap: has nothing for LV, only for LH"),
        ({"LH": 20.0, "C": 18.0}, "45", r"gap: has nothing for 45, only for LH, C\+, C-"),
        ({"30": 20.0, "60": 18.0}, "20", "gap: has nothing for 20, only for 30, 60"),
    ],
)
def test_what_has_no_table_is_refused(options, polarisation, message):
    with pytest.raises(ValueError, match=message):
        PolarisedCurve("gap", options)(700.0, polarisation)


@pytest.mark.parametrize("key", ["X", "-30", "90", "0"])
def test_another_name_is_refused(key):
    with pytest.raises(ValueError, match=r"gap: '.*': expected LH, LV, C\+, C-, C for both of these, or an angle"):
        PolarisedCurve("gap", {key: 12.0})


def test_an_energy_outside_a_table_names_the_table():
    curve = PolarisedCurve("energy: gap", {"LV": {"table": [[300, 9.0], [900, 18.0]]}})
    with pytest.raises(LimitError, match="energy: gap LV table: 200 eV is outside its limits 300 to 900 eV"):
        curve(200.0, "LV")


def test_a_curve_is_a_polynomial_or_a_table():
    with pytest.raises(ValueError, match="gap: expected either polynomial"):
        Curve("gap")
