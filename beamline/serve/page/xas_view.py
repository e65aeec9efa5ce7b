"""Figures of a spectrum, while it is measured and afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beamline.serve.page.growing import GrowingRun
from beamline.serve.page.panels import Axis, Curve, Panel, lines
from callbacks.contract import Key, Measurement, Stream
from callbacks.xas import channels_of


def panels(raw: GrowingRun, derived: GrowingRun | None) -> list[Panel]:
    """Give the figures of a spectrum."""
    measurement = Measurement.model_validate(raw.measurement)
    points = Stream.FRAMES if measurement.flown is None else Stream.POINTS
    if derived is None or not derived.count(points):
        return []
    channels, two = channels_of(measurement), measurement.polarisations if len(measurement.polarisations) > 1 else []
    energy = derived.column(points, Key.ENERGY)
    x, made = Axis("energy", "eV"), []
    for each in channels:
        if each.form == "monitor":
            continue
        channel, name = each.name, each.title or each.name
        over, sigma = (derived.column(points, f"{channel}_over_i0{end}") for end in ("", "_sigma"))
        if len(over):
            apart = kept_apart(derived, points, two)
            curves = [Curve(each or name, energy[those], over[those], sigma[those]) for each, those in apart]
            made.append(lines(channel, f"{name} over I0", curves, x, Axis("ratio")))
        if derived.has_result(f"{channel}_status") and str(derived.result(f"{channel}_status")) == "ok":
            at, value, spread = (
                np.asarray(derived.result(key), dtype=float) for key in ("xas_energy", channel, f"{channel}_sigma")
            )
            title = f"{name}, normalised to the edge jump"
            made.append(lines(f"{channel}-normalised", title, [Curve(name, at, value, spread)], x, Axis("normalised")))
            made += dichroism(derived, channel, name, two)
    flux = derived.column(points, Key.I0)
    if len(flux):
        made.append(lines("i0", "incident flux", [Curve("I0", energy, flux)], x, Axis("I0", "counts")))
    return made


def kept_apart(derived: GrowingRun, points: Stream, two: Sequence[str]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Give two polarisations, and which points have each; one name, "", and all points where there are not two."""
    if not two:
        return [("", np.ones(derived.count(points), dtype=bool))]
    seen = derived.column(points, Key.POLARISATION)
    return [(each, seen == each) for each in two]


def dichroism(derived: GrowingRun, channel: str, name: str, two: Sequence[str]) -> list[Panel]:
    """Give the figure of the difference of two polarisations; none where there are not two."""
    keys = ("xas_energy", f"{channel}_dichroism", f"{channel}_dichroism_sigma")
    if not two or not derived.has_result(*keys):
        return []
    at, value, spread = (np.asarray(derived.result(key), dtype=float) for key in keys)
    title = f"{name}: {two[0]} less {two[1]}"
    x, y = Axis("energy", "eV"), Axis("difference", "edge jumps")
    return [lines(f"{channel}-dichroism", title, [Curve(f"{two[0]} less {two[1]}", at, value, spread)], x, y)]
