"""Figures of a spectrum, while it is measured and afterwards."""

from __future__ import annotations

import numpy as np

from beamline.serve.page.growing import GrowingRun
from beamline.serve.page.panels import Axis, Curve, Panel, lines
from callbacks.contract import Key, Measurement, Stream
from callbacks.xas import channels_of


def panels(raw: GrowingRun, derived: GrowingRun | None) -> list[Panel]:
    """Give the figures of a spectrum."""
    if derived is None or not derived.count(Stream.FRAMES):
        return []
    channels = channels_of(Measurement.model_validate(raw.measurement))
    energy = derived.column(Stream.FRAMES, Key.ENERGY)
    x, made = Axis("energy", "eV"), []
    for each in channels:
        if each.form == "monitor":
            continue
        channel, name = each.name, each.title or each.name
        over, sigma = (derived.column(Stream.FRAMES, f"{channel}_over_i0{end}") for end in ("", "_sigma"))
        if len(over):
            made.append(lines(channel, f"{name} over I0", [Curve(name, energy, over, sigma)], x, Axis("ratio")))
        if derived.has_result(f"{channel}_status") and str(derived.result(f"{channel}_status")) == "ok":
            at, value, spread = (
                np.asarray(derived.result(key), dtype=float) for key in ("xas_energy", channel, f"{channel}_sigma")
            )
            title = f"{name}, normalised to the edge jump"
            made.append(lines(f"{channel}-normalised", title, [Curve(name, at, value, spread)], x, Axis("normalised")))
    flux = derived.column(Stream.FRAMES, Key.I0)
    if len(flux):
        made.append(lines("i0", "incident flux", [Curve("I0", energy, flux)], x, Axis("I0", "counts")))
    return made
