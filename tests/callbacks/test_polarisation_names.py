"""The names of polarisations: one for each, however it is typed."""

import math

import pytest

from callbacks.contract import angle_of, polarisation_called


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("LH", "LH"),
        ("lv", "LV"),
        (" c+ ", "C+"),
        ("C-", "C-"),
        ("0", "LH"),
        ("180", "LH"),
        ("-90", "LV"),
        ("90.0", "LV"),
        ("45", "45"),
        ("135", "-45"),
        ("-135", "45"),
        ("30.50", "30.5"),
        ("89.9996", "LV"),
        ("0.0004", "LH"),
    ],
)
def test_each_polarisation_has_one_name(typed, name):
    assert polarisation_called(typed) == name
    assert polarisation_called(name) == name


@pytest.mark.parametrize("typed", ["", "L", "circular", "nan", "inf", "181", "C", "45 deg"])
def test_what_is_no_polarisation_is_refused(typed):
    with pytest.raises(ValueError, match=r"is no polarisation, expected LH, LV, C\+, C- or an angle from -180 to 180"):
        polarisation_called(typed)


def test_only_linear_light_has_an_angle():
    assert angle_of("LH") == 0.0
    assert angle_of("LV") == 90.0
    assert angle_of("-45") == -45.0
    assert math.isnan(angle_of("C+"))
