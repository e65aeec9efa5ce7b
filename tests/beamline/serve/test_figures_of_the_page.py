"""What the page draws: values as they are in the data, of runs that grow and of runs that have ended."""

import struct

import numpy as np
import pytest
from pages import unpack

from beamline.serve.page.panels import LARGEST_SIDE, Axis, Curve, image, lines, pack


def test_an_image_arrives_as_it_is():
    values = np.random.default_rng(0).normal(size=(64, 2048))
    values[3, 7] = np.nan
    x, y = Axis("emission energy", "eV", np.linspace(500, 600, 2048)), Axis("row", "pixel")
    head, arrays = unpack(image("map", "map", values, x, y, scale="counts", marks=np.array([[1, 2]])).packed())
    np.testing.assert_array_equal(arrays["values"], values.astype(np.float32))
    np.testing.assert_allclose(arrays["x"], x.values, rtol=1e-6)
    np.testing.assert_array_equal(arrays["y"], np.arange(64))
    np.testing.assert_array_equal(arrays["marks"], [[1, 2]])
    assert head["binned"] == [1, 1]
    assert head["limits"][0] < head["limits"][1]


def test_a_large_image_is_averaged_and_says_so():
    values = np.arange(2048 * 2048, dtype=float).reshape(2048, 2048)
    head, arrays = unpack(image("raw", "raw", values, Axis("x"), Axis("y"), scale="counts").packed())
    assert head["binned"] == [2, 2]
    assert max(arrays["values"].shape) <= LARGEST_SIDE
    np.testing.assert_allclose(arrays["values"][5, 9], values[10:12, 18:20].mean(), rtol=1e-6)
    np.testing.assert_allclose(arrays["x"][9], 18.5)


def test_curves_are_sorted_and_keep_their_uncertainty_and_what_is_not_known():
    curve = Curve("one", np.array([3.0, 1.0, 2.0]), np.array([30.0, np.nan, 20.0]), np.array([3.0, 1.0, 2.0]))
    head, arrays = unpack(lines("spectrum", "spectrum", [curve], Axis("energy", "eV"), Axis("counts")).packed())
    np.testing.assert_array_equal(arrays["x0"], [1, 2, 3])
    np.testing.assert_array_equal(arrays["y0"], [np.nan, 20, 30])
    np.testing.assert_array_equal(arrays["s0"], [1, 2, 3])
    assert head["curves"] == [{"name": "one", "style": "line"}]


@pytest.mark.parametrize("text", ["<b>", "\u2028", 'x"\\'])
def test_text_is_carried_as_text(text):
    head, _ = unpack(image("a", text, np.zeros((2, 2)), Axis(text), Axis("y"), scale=text).packed())
    assert (head["title"], head["x"]["label"], head["scale"]["label"]) == (text, text, text)


def test_several_are_packed_behind_their_lengths():
    made = [lines(name, name, [], Axis("x"), Axis("y")) for name in ("a", "bb")]
    packed, names = pack(made), []
    while packed:
        (length,) = struct.unpack_from("<I", packed)
        names.append(unpack(packed[4 : 4 + length])[0]["name"])
        packed = packed[4 + length :]
    assert names == ["a", "bb"]
