"""The figures of an absorption spectrum's report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from beamline.report.figures import ACCEPTED, MARKED, Drawn, FloatArray, Member, incident_flux
from beamline.report.numbers import drawn_as
from beamline.storage import Run
from beamline.storage.results import Table
from callbacks.contract import ChannelSpectrum, Key, Stream, XasResult


def spectrum_figures(raw: Run, derived: Run, title: str) -> Iterable[Drawn]:
    """Draw the spectra of the channels, those that could not be normalised over I0 only, and the incident flux."""
    result = derived.read(XasResult)
    spectra = {name.upper(): spectrum for name, spectrum in result.spectra.items()}
    normalised = {name: (each.normalised, each.sigma) for name, each in spectra.items() if each.status == "ok"}
    refused = {
        name: (each.over_i0_spectrum, each.over_i0_spectrum_sigma)
        for name, each in spectra.items()
        if name not in normalised
    }
    if not result.xas_energy.size:  # no point was measured, or the step has no result
        yield from incident_flux(raw, result.marked_frames)
        return
    if normalised:
        of_two = f" Mean of {' and '.join(result.polarisations)}." if result.polarisations.size else ""
        yield (
            "Absorption spectra",
            f"Normalised to I0, pre-edge subtracted, edge normalised; with 68 % bands.{of_two}",
            absorption(result.xas_energy, normalised, title=title, label="normalised absorption"),
        )
    if result.polarisations.size:
        yield from _dichroism_figures(result, title)
    if refused:
        reasons = "; ".join(f"{name}: {spectra[name].status}" for name in refused)
        yield (
            "Counts over I0",
            f"Not normalised: {reasons}. With 68 % bands.",
            absorption(result.xas_energy, refused, title=title, label="counts over I0"),
        )
    yield from incident_flux(raw, result.marked_frames)
    if Stream.POINTS in derived.streams:
        yield (
            "Sweeps",
            f"Incident flux in each sweep, by the energy at which it was counted. {lag_text(result)}.",
            _sweeps(derived.streams[Stream.POINTS], str(derived.settings["xas"].get("i0", Key.I0))),
        )


def lag_text(result: XasResult) -> str:
    """Say by how much the times of the energies are late that were read back in flight."""
    late = "The energies are read back"
    if result.lag_status == "ok":
        value, sigma = 1e3 * result.lag, 1e3 * result.lag_sigma
        return f"{late} {value:.2f} ± {sigma:.2f} ms late, found in {result.lag_channel.upper()} up against down"
    if result.lag_status == "configured":
        return f"{late} {1e3 * result.lag:.2f} ms late, as configured"
    return f"How late energies are read back is not known, and taken as 0: {result.lag_status}"


def _dichroism_figures(result: XasResult, title: str) -> Iterable[Drawn]:
    first, second = (str(each) for each in result.polarisations)
    for name, spectrum in result.spectra.items():
        if spectrum.dichroism_status == "ok":
            per = " Of the same per degree of circular polarisation, the uncertainty of that degree is a part."
            yield (
                f"Dichroism: {name.upper()}",
                f"{first} and {second} over I0, matched before the edge and divided by the edge jump of their mean;"
                " below their difference, with 68 % bands."
                + (per if np.isfinite(spectrum.dichroism_per_degree_sigma).any() else ""),
                dichroism(result.xas_energy, spectrum, (first, second), title=f"{title}: {name.upper()}"),
            )


def dichroism(energy: FloatArray, spectrum: ChannelSpectrum, polarisations: tuple[str, str], *, title: str) -> Figure:
    """Draw the spectra of two polarisations and their difference.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n,)
        eV.
    spectrum : ChannelSpectrum
        With its dichroism.
    polarisations : (str, str)
    title : str
    """
    figure = Figure(figsize=(9.0, 6.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for polarisation, sign, colour in zip(polarisations, (0.5, -0.5), (ACCEPTED, MARKED), strict=True):
        values = spectrum.normalised + sign * spectrum.dichroism
        above.plot(energy, values, ".-", ms=3, lw=1.0, color=colour, label=polarisation)
    first, second = polarisations
    drawn = [(spectrum.dichroism, spectrum.dichroism_sigma, ACCEPTED, f"{first} less {second}")]
    if np.isfinite(spectrum.dichroism_per_degree_sigma).any():
        per_degree = spectrum.dichroism_per_degree, spectrum.dichroism_per_degree_sigma
        drawn.append((*per_degree, MARKED, "per degree of polarisation"))
    for values, sigma, colour, label in drawn:
        below.fill_between(energy, values - sigma, values + sigma, color=colour, alpha=0.25, lw=0)
        below.plot(energy, values, lw=1.0, color=colour, label=label)
    below.axhline(0.0, color="0.6", lw=0.8)
    above.set(title=title, ylabel="normalised absorption")
    below.set(xlabel="excitation energy (eV)", ylabel="difference (edge jumps)")
    for axes in (above, below):
        axes.legend(loc="upper right", fontsize=9)
        axes.grid(alpha=0.3)
    return figure


def series_figures(members: Sequence[Member], axis: str) -> Iterable[Drawn]:
    """Draw the spectra of a series, coloured by the position of what was moved, and what changes from the first.

    Parameters
    ----------
    members : sequence of Member
        By position.
    axis : str
        What was moved, with its unit.
    """
    results = [(member.position, member.derived.read(XasResult)) for member in members]
    for name in dict.fromkeys(name for _, result in results for name in result.spectra):
        kept = [
            (position, result.xas_energy, spectrum.normalised, spectrum.sigma)
            for position, result in results
            if (spectrum := result.spectra.get(name)) is not None and spectrum.status == "ok"
        ]
        if len(kept) > 1:
            yield (
                f"{name.upper()} of the series",
                f"{len(kept)} of {len(members)} runs, normalised. Below: less the first of them, with 68 % bands.",
                _series(kept, f"normalised {name.upper()}", axis),
            )


def _series(kept: Sequence[tuple[float, FloatArray, FloatArray, FloatArray]], label: str, axis: str) -> Figure:
    figure = Figure(figsize=(9.0, 6.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    colours = ScalarMappable(Normalize(min(each[0] for each in kept), max(each[0] for each in kept)), "viridis")
    _, first_energy, first, first_sigma = kept[0]
    for position, energy, values, sigma in kept:
        colour = colours.to_rgba(np.asarray(position))
        (curve,) = above.plot(energy, values, color=colour, lw=1.2)
        drawn_as(curve, f"{position:g}")
        left = values - np.interp(energy, first_energy, first)
        band = np.hypot(sigma, np.interp(energy, first_energy, first_sigma))
        if energy is not first_energy:
            below.fill_between(energy, left - band, left + band, color=colour, alpha=0.25, lw=0)
            (curve,) = below.plot(energy, left, color=colour, lw=1.2)
            drawn_as(curve, f"{position:g}")
    above.set_ylabel(label)
    below.set_ylabel("less the first")
    below.set_xlabel("excitation energy (eV)")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.colorbar(colours, ax=(above, below), label=axis, ticks=[each[0] for each in kept[:: -(-len(kept) // 10)]])
    return figure


def _sweeps(points: Table, i0: str) -> Figure:
    """Draw I0 over the time it was counted for in each sweep."""
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    axes = figure.subplots()
    sweep = np.asarray(points["sweep"])
    for number in np.unique(sweep):
        of_it = sweep == number
        energy, counts, dwell = (np.asarray(points[key])[of_it] for key in (Key.ENERGY, i0, Key.DWELL))
        with np.errstate(divide="ignore", invalid="ignore"):
            up = energy[0] < energy[-1]
            (curve,) = axes.plot(
                energy, np.where(dwell > 0, counts / dwell, np.nan), color="C0" if up else "C3", lw=0.8
            )
        drawn_as(curve, f"sweep {number}, {'up' if up else 'down'}")
    for label, colour in (("up", "C0"), ("down", "C3")):
        axes.plot([], [], color=colour, label=label)
    axes.set(xlabel="excitation energy (eV)", ylabel="I0 (counts/s)")
    axes.legend(fontsize=9)
    axes.grid(alpha=0.3)
    return figure


def absorption(
    energy: FloatArray, yields: Mapping[str, tuple[FloatArray, FloatArray]], *, title: str, label: str
) -> Figure:
    """Draw absorption spectra with their 68 % bands.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n,)
        eV.
    yields : mapping of str to (values, sigmas)
        One or more; each is drawn in a panel of its own.
    title, label : str
        Title of the figure, label of the vertical axes.
    """
    figure = Figure(figsize=(9.0, 2.9 * len(yields)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(yields), 1, sharex=True))
    for axes, (name, (values, sigmas)) in zip(panels, yields.items(), strict=True):
        axes.fill_between(energy, values - sigmas, values + sigmas, color=ACCEPTED, alpha=0.3, lw=0, label="68 %")
        axes.plot(energy, values, ".-", ms=3, color=ACCEPTED, lw=1.0, label=name)
        axes.set_ylabel(label)
        axes.legend(loc="upper left", fontsize=9)
        axes.grid(alpha=0.3)
    panels[0].set_title(title)
    panels[-1].set_xlabel("excitation energy (eV)")
    return figure
