"""What the page draws: images and lines as data, whichever technique they are of, and how they are sent."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

LARGEST_SIDE = 1100  # pixels of an image that is sent; a larger one is binned, and its values are asked for


@dataclass(frozen=True)
class Axis:
    """An axis: its label and unit, and the centres of the pixels along it where it is one of an image.

    Attributes
    ----------
    label, unit : str
    values : numpy.ndarray, shape (n,), optional
    shown : (float, float), optional
        What of it is shown at first; all of it where not given.
    whole : bool
        Whether it counts, so that ticks are whole numbers.
    """

    label: str
    unit: str = ""
    values: FloatArray | None = None
    shown: tuple[float, float] | None = None
    whole: bool = False

    def described(self) -> dict[str, Any]:
        """Give what of it is no array."""
        return {"label": self.label, "unit": self.unit, "shown": self.shown, "whole": self.whole}


@dataclass(frozen=True)
class Panel:
    """One figure of the page.

    Attributes
    ----------
    name : str
        What tells it from others of its run.
    title : str
    kind : str
        "image" or "lines".
    about : dict
        What is no array, for JSON.
    arrays : dict of str to numpy.ndarray
        float32, by name.
    note : str
        What has to be known to read it, under it.
    """

    name: str
    title: str
    kind: Literal["image", "lines"]
    about: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    note: str = ""

    def packed(self) -> bytes:
        """Give it as the page reads it: the length of the head, the head in JSON, the arrays one after the other."""
        arrays = {key: np.ascontiguousarray(value, dtype="<f4") for key, value in self.arrays.items()}
        shapes = {key: list(value.shape) for key, value in arrays.items()}
        head = {"name": self.name, "title": self.title, "kind": self.kind, "note": self.note} | self.about
        text = json.dumps(head | {"arrays": shapes}, allow_nan=False).encode()
        text += b" " * (-len(text) % 4)  # the arrays begin at a whole number of floats
        return struct.pack("<I", len(text)) + text + b"".join(value.tobytes() for value in arrays.values())


def pack(panels: Sequence[Panel]) -> bytes:
    """Give several panels, each behind its length."""
    packed = [panel.packed() for panel in panels]
    return b"".join(struct.pack("<I", len(each)) + each for each in packed)


def image(
    name: str,
    title: str,
    values: NDArray[Any],
    x: Axis,
    y: Axis,
    *,
    scale: str,
    unit: str = "",
    colours: Literal["intensity", "grey", "fraction", "diverging"] = "intensity",
    limits: tuple[float, float] | None = None,
    gamma: float = 1.0,
    equal: bool = False,
    marks: FloatArray | None = None,
    diagonal: bool = False,
    brightness: FloatArray | None = None,
    note: str = "",
) -> Panel:
    """Make an image.

    Parameters
    ----------
    name, title : str
    values : numpy.ndarray, shape (rows, columns)
        NaN where not measured.
    x, y : Axis
        Of columns and rows.
    scale, unit : str
        What the values are.
    colours : str
    limits : (float, float), optional
        Of the colours; those that hold all but the highest and lowest of a thousand pixels where not given.
    gamma : float
        Power of the colour scale.
    equal : bool
        Whether a unit of x is as long as one of y.
    marks : numpy.ndarray, shape (n, 2), optional
        Rows and columns that are marked.
    diagonal : bool
        Mark where x equals y.
    brightness : numpy.ndarray, shape (rows, columns), optional
        0 to 1, by which the colours are darkened.
    note : str
    """
    shown, factors = binned(np.asarray(values))
    finite = shown[np.isfinite(shown)]
    low, high = limits or (tuple(np.quantile(finite, (0.001, 0.999))) if finite.size else (0.0, 1.0))
    arrays: dict[str, NDArray[Any]] = {"values": shown}
    for key, axis, count, factor in (("x", x, values.shape[1], factors[1]), ("y", y, values.shape[0], factors[0])):
        centres = np.arange(count, dtype=float) if axis.values is None else np.asarray(axis.values, dtype=float)
        arrays[key] = centres[: len(centres) // factor * factor].reshape(-1, factor).mean(axis=1)
    if marks is not None:
        arrays["marks"] = (np.asarray(marks, dtype=float).reshape(-1, 2) + 0.5) / factors - 0.5
    if brightness is not None:
        arrays["brightness"] = brightness
    about = {
        "x": x.described(),
        "y": y.described(),
        "scale": {"label": scale, "unit": unit},
        "colours": colours,
        "limits": [float(low), float(high) if high > low else float(low) + 1.0],
        "gamma": gamma,
        "equal": equal,
        "diagonal": diagonal,
        "binned": list(factors),
    }
    return Panel(name, title, "image", about, arrays, note)


def binned(values: NDArray[Any]) -> tuple[FloatArray, tuple[int, int]]:
    """Average an image over as few pixels as make it no larger than `LARGEST_SIDE` in rows or columns."""
    rows, columns = (max(1, -(-side // LARGEST_SIDE)) for side in values.shape)
    if columns <= 2 and values.size < LARGEST_SIDE**2 // 4:  # few rows: all columns are sent
        columns = 1
    if rows == columns == 1:
        return np.asarray(values, dtype=np.float32), (1, 1)
    whole = values[: values.shape[0] // rows * rows, : values.shape[1] // columns * columns]
    blocks = whole.reshape(whole.shape[0] // rows, rows, -1, columns)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32)), (rows, columns)


@dataclass(frozen=True)
class Curve:
    """A curve of a figure of lines.

    Attributes
    ----------
    name : str
    x, y : numpy.ndarray, shape (n,)
    sigma : numpy.ndarray, shape (n,), optional
        Drawn as a band about a line, as bars at points.
    style : str
        "line", "points" or "dashed".
    """

    name: str
    x: FloatArray
    y: FloatArray
    sigma: FloatArray | None = None
    style: Literal["line", "points", "dashed"] = "line"


@dataclass
class _Lines:
    about: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


def lines(
    name: str, title: str, curves: Sequence[Curve], x: Axis, y: Axis, *, note: str = "", log: bool = False
) -> Panel:
    """Make a figure of curves."""
    made = _Lines()
    for number, curve in enumerate(curves):
        order = np.argsort(curve.x, kind="stable")
        made.arrays[f"x{number}"] = np.asarray(curve.x, dtype=float)[order]
        made.arrays[f"y{number}"] = np.asarray(curve.y, dtype=float)[order]
        if curve.sigma is not None:
            made.arrays[f"s{number}"] = np.asarray(curve.sigma, dtype=float)[order]
    made.about = {
        "x": x.described(),
        "y": y.described(),
        "curves": [{"name": curve.name, "style": curve.style} for curve in curves],
        "log": log,
    }
    return Panel(name, title, "lines", made.about, made.arrays, note)
