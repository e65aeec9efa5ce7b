"""Draw curves of a STXM stack against energy: spectra, drift, incident flux."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from beamline.report.figures import ACCEPTED, MARKED, FloatArray
from beamline.report.numbers import drawn_as

SERIES = ("#1b6ca8", "#d1495b", "#5a9367", "#b8860b", "#7a4fa3", "#444444")


def spectra(
    energy: FloatArray,
    curves: Sequence[tuple[str, FloatArray, FloatArray | None]],
    *,
    label: str,
    title: str,
    dashed: Sequence[tuple[str, FloatArray]] = (),
    difference: bool = False,
) -> Figure:
    """Draw spectra with their 68 % bands and, on request, their differences from the first below.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n,)
        eV.
    curves : sequence of (name, values, sigma or None)
    label, title : str
    dashed : sequence of (name, values)
        Further spectra, dashed, each in the colour of the curve at the same position.
    difference : bool
        Whether to show the differences from the first curve.
    """
    figure = Figure(figsize=(9.0, 5.6 if difference else 3.8), layout="constrained")
    panels = figure.subplots(2 if difference else 1, 1, sharex=True, squeeze=False)[:, 0]
    for number, (name, values, sigma) in enumerate(curves):
        colour = SERIES[number % len(SERIES)]
        panels[0].plot(energy, values, lw=1.2, color=colour, label=name)
        if sigma is not None:
            panels[0].fill_between(energy, values - sigma, values + sigma, color=colour, alpha=0.25, lw=0)
        if difference and number:
            left = values - curves[0][1]
            (drawn,) = panels[1].plot(energy, left, lw=1.0, color=colour)
            drawn_as(drawn, name)
            if sigma is not None and curves[0][2] is not None:
                band = np.hypot(sigma, curves[0][2])
                panels[1].fill_between(energy, left - band, left + band, color=colour, alpha=0.25, lw=0)
    for number, (name, values) in enumerate(dashed):
        panels[0].plot(energy, values, lw=1.0, ls="--", color=SERIES[number % len(SERIES)], label=name)
    panels[0].set(ylabel=label, title=title)
    panels[0].legend(fontsize=8)
    if difference:
        panels[1].axhline(0, color="black", lw=0.6)
        panels[1].set_ylabel("difference from the first")
    panels[-1].set_xlabel("energy (eV)")
    for axes in panels:
        axes.grid(alpha=0.3)
    return figure


def drift(energy: FloatArray, shift: FloatArray, sigma: FloatArray, status: Sequence[str]) -> Figure:
    """Draw the shift of every image with its uncertainty.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n,)
        eV.
    shift, sigma : numpy.ndarray, shape (n, regions, 2)
        Rows and columns, pixel.
    status : sequence of str
        "ok", or why an image has no shift.
    """
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axes, path = figure.subplots(1, 2, width_ratios=(2, 1))
    for region in range(shift.shape[1]):
        for axis, name in enumerate(("rows", "columns")):
            label = name if shift.shape[1] == 1 else f"{name}, region {region + 1}"
            axes.errorbar(
                energy,
                shift[:, region, axis],
                yerr=sigma[:, region, axis],
                fmt=".-",
                ms=4,
                lw=0.8,
                color=SERIES[(2 * region + axis) % len(SERIES)],
                label=label,
            )
        path.plot(shift[:, region, 1], shift[:, region, 0], ".-", lw=0.6, ms=3, color=SERIES[region % len(SERIES)])
    lost = [place for place, reason in enumerate(status) if reason != "ok"]
    for place in lost:
        axes.axvline(energy[place], color=MARKED, lw=0.8, ls=":")
    axes.set(xlabel="energy (eV)", ylabel="shift (pixel)", title=f"shift of each image ({len(lost)} not used)")
    path.set(xlabel="columns (pixel)", ylabel="rows (pixel)", title="path")
    path.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize=8)
    for each in (axes, path):
        each.grid(alpha=0.3)
    return figure


def incident(energy: FloatArray, rate: FloatArray, sigma: FloatArray, status: str, unit: str) -> Figure:
    """Draw the incident flux found in the sample-free pixels against energy.

    Parameters
    ----------
    energy, rate, sigma : numpy.ndarray, shape (n,)
        eV; I0 with its standard uncertainty.
    status : str
        "ok", or why I0 is not known.
    unit : str
        Of the rate.
    """
    figure = Figure(figsize=(9.0, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(energy, (rate - sigma) / 1e6, (rate + sigma) / 1e6, color=ACCEPTED, alpha=0.3, lw=0)
    axes.plot(energy, rate / 1e6, ".-", color=ACCEPTED, lw=1.0, ms=3)
    axes.set(
        xlabel="energy (eV)", ylabel=f"I0 (10⁶ {unit})", title=f"incident flux of the sample-free pixels: {status}"
    )
    axes.grid(alpha=0.3)
    return figure
