"""The figure of a campaign's spectra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from beamline.report.figures import ACCEPTED, MARKED, FloatArray
from beamline.report.numbers import drawn_as
from callbacks.contract import ChannelSpectrum
from callbacks.xas.features import Feature

APART = 1.2  # edge jumps by which one spectrum stands above the other


@dataclass(frozen=True)
class Spectrum:
    """A spectrum of a sample, with its features; energies, eV, as the monochromator says."""

    sample: str
    energy: FloatArray
    spectrum: ChannelSpectrum
    features: Sequence[Feature]


def spectra_figure(spectra: Sequence[Spectrum], channel: str) -> Figure:
    """Draw spectra above one another, with their features.

    Parameters
    ----------
    spectra : sequence of Spectrum
    channel : str
        Of all of them.
    """
    figure = Figure(figsize=(9.0, 2.4 + 1.3 * len(spectra)), layout="constrained")
    axes = figure.subplots()
    for place, each in enumerate(spectra):
        drawn, energy, level = each.spectrum, each.energy, APART * place
        axes.fill_between(
            energy, level + drawn.normalised - drawn.sigma, level + drawn.normalised + drawn.sigma, alpha=0.3, lw=0,
            color=ACCEPTED,
        )  # fmt: skip
        (curve,) = axes.plot(energy, level + drawn.normalised, color=ACCEPTED, lw=1.2)
        drawn_as(curve, each.sample, level)
        axes.text(energy[0], level + 0.08, each.sample, fontsize=9, va="bottom")
        for feature in each.features:
            if feature.status == "ok":
                top = level + feature.height
                axes.axvspan(
                    feature.energy - feature.sigma, feature.energy + feature.sigma, color=MARKED, alpha=0.15, lw=0
                )
                axes.plot([feature.energy] * 2, [level, top], color=MARKED, lw=0.8)
                label = f"{feature.energy:.2f}"
                axes.annotate(label, (feature.energy, top), (0, 3), textcoords="offset points", fontsize=7, ha="center")
    axes.set(xlabel="excitation energy (eV)", ylabel=f"normalised {channel.upper()}, one above the other")
    axes.grid(alpha=0.3)
    return figure
