"""The figures of several RIXS maps that were pooled: their lines, their dispersions, and how the maps differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from beamline.report.figures import ACCEPTED, MARKED, Drawn, FloatArray
from beamline.text import with_sigma
from callbacks.contract import RixsPooledResult
from callbacks.rixs.calibration import calibration_of

RUN_COLOURS = ("#1b6ca8", "#d1495b", "#5a9367", "#8a5fa8", "#c98a1b", "#3d3d3d")
MAP_PERCENTILE = 99.5  # of the intensities, where the colours of maps end
DIFFERENCE_PERCENTILE = 99.5  # of the absolute differences, where the colours end
BELOW_EXCITATION, ABOVE_EXCITATION = 25.0, 5.0  # eV of emission that is shown, as of a single map


def pooled_figures(result: RixsPooledResult, names: Sequence[str]) -> Iterator[Drawn]:
    """Draw maps that were pooled, the most important figures first.

    Parameters
    ----------
    result : RixsPooledResult
    names : sequence of str
        Of the runs.
    """
    yield (
        "Maps",
        "On the emission energies of the first, by the calibration of all, and on one colour scale.",
        maps(result, names),
    )
    for place in range(1, len(names)):
        yield (
            f"{names[place]} less {names[0]}",
            "Difference of the maps on the emission energies of the first, by the calibration of all. Below: the sum"
            " over the excitation energies that both have, and their difference with its 68 % band of noise (grey) and"
            " of the offset between the two (red). The uncertainty of the common calibration moves all maps alike.",
            difference(result, place, names),
        )
    yield (
        "Calibration by all maps",
        "Residuals of the elastic lines of all maps about their common calibration, with its 68 % band, after offsets,"
        " drift and emission have been taken off. Hollow: not used.",
        residuals(result, names),
    )
    yield (
        "Dispersion by map",
        "What the lines of each map tell where bend, the pull of emission and the energies of known lines are those of"
        " all maps, and all together (band: 68 %). It is not the map's own calibration, which has a bend of its own."
        f" Chi square {result.chi_square:.2f} for {result.chi_square_freedom}.",
        dispersions(result, names),
    )


def maps(result: RixsPooledResult, names: Sequence[str]) -> Figure:
    """Draw the maps side by side on one colour scale, with the line at which emission and excitation are equal."""
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(9.0, 3.6 * lines + 0.4), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    emission, excitation, _ = shown_of_maps(result)
    for axes in grid.ravel()[len(names) :]:
        axes.set_visible(False)
    for place, (axes, name) in enumerate(zip(grid.ravel(), names, strict=False)):
        drawn = draw_map(axes, result, place)
        axes.plot(excitation, excitation, color="white", lw=0.5, ls=":")
        axes.set_title(name, fontsize=9)
        axes.set(xlim=(emission[0], emission[-1]), xlabel="emission energy (eV)")
    for row in grid:
        row[0].set_ylabel("excitation energy (eV)")
    figure.colorbar(drawn, ax=list(grid.ravel()), label="counts per column and 10⁶ counts of I0", pad=0.01)
    return figure


def shown_of_maps(result: RixsPooledResult) -> tuple[FloatArray, FloatArray, float]:
    """Give the emission energies that are shown of maps, all excitation energies, and where the colours end."""
    excitation, emission = result.excitation_energy, result.emission_energy
    inside = (emission >= excitation.min() - BELOW_EXCITATION) & (emission <= excitation.max() + ABOVE_EXCITATION)
    return emission[inside], excitation, float(np.nanpercentile(result.maps[:, :, inside], MAP_PERCENTILE))


def draw_map(axes: Axes, result: RixsPooledResult, place: int) -> QuadMesh:
    """Draw one of the maps."""
    emission, excitation, top = shown_of_maps(result)
    image = result.maps[place][:, np.isin(result.emission_energy, emission)]
    known = np.isfinite(image).any(axis=1)
    return axes.pcolormesh(
        emission, excitation[known], image[known], vmin=0.0, vmax=top, cmap="magma", shading="nearest", rasterized=True
    )


def residuals(result: RixsPooledResult, names: Sequence[str]) -> Figure:
    """Draw the residuals of the elastic lines about the calibration, eV."""
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    axes = figure.subplots()
    calibration = calibration_of(result)
    left = result.elastic_energy - calibration.energy(result.elastic_pixel)
    used = result.elastic_accepted.astype(bool)
    sigma = result.elastic_fit_sigma * calibration.dispersion
    for place, name in enumerate(names):
        colour, own = RUN_COLOURS[place % len(RUN_COLOURS)], result.elastic_run == place
        chosen = own & used
        axes.errorbar(
            result.elastic_pixel[chosen], left[chosen], yerr=sigma[chosen], fmt="o", ms=4, lw=0.8, color=colour,
            label=f"{name} ({chosen.sum()} lines)",
        )  # fmt: skip
        axes.plot(result.elastic_pixel[own & ~used], left[own & ~used], "o", ms=4, color=colour, mfc="none")
    low, high = result.elastic_pixel[used].min(), result.elastic_pixel[used].max()
    margin = 0.25 * (high - low) + 1
    x = np.linspace(low - margin, high + margin, 200)
    band = calibration.sigma(x)
    axes.fill_between(x, -band, band, color="black", alpha=0.15, lw=0, label="uncertainty of the calibration (68 %)")
    limit = 3 * max(float(np.abs(left[used]).max()), float(band.max()))
    axes.set(
        xlabel=f"column of {names[0]} (pixel)", ylabel="residual (eV)", xlim=(x[0], x[-1]), ylim=(-limit, limit),
        title="elastic lines about the common calibration",
    )  # fmt: skip
    axes.axhline(0, color="black", lw=0.6)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def dispersions(result: RixsPooledResult, names: Sequence[str]) -> Figure:
    """Draw the dispersion that the lines of each map tell with the bend of all, and that of all."""
    figure = Figure(figsize=(9.0, 1.6 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.errorbar(result.run_dispersion, places, xerr=result.run_dispersion_sigma, fmt="o", color=ACCEPTED)
    value, sigma = result.calibration_dispersion_ev_per_pixel, result.calibration_dispersion_sigma
    axes.axvspan(value - sigma, value + sigma, color="black", alpha=0.15, lw=0)
    axes.axvline(value, color="black", lw=0.8)
    axes.set_yticks(places, names)
    axes.set(
        xlabel=f"dispersion at {result.calibration_parameters[0]:.2f} eV (eV/pixel)",
        ylim=(len(names) - 0.5, -0.5),
        title=f"all together {with_sigma(value, sigma)} eV/pixel",
    )
    axes.grid(alpha=0.3, axis="x")
    return figure


def difference(result: RixsPooledResult, place: int, names: Sequence[str]) -> Figure:
    """Draw the difference of a map and the first one, as an image and summed over excitation energies."""
    both = np.isfinite(result.difference[place - 1]).any(axis=1)
    excitation, emission = result.excitation_energy[both], result.emission_energy
    figure = Figure(figsize=(9.0, 8.0), layout="constrained")
    image, spectra, below = figure.subplots(3, 1, height_ratios=(3, 2, 1.4))
    if not both.any():
        image.set(title=f"{names[place]} and {names[0]} have no excitation energy in common")
        return figure
    inside = (emission >= excitation.min() - BELOW_EXCITATION) & (emission <= excitation.max() + ABOVE_EXCITATION)
    energies = emission[inside]
    values, variance, by_offset = (
        each[place - 1][np.ix_(both, inside)]
        for each in (result.difference, result.difference_variance, result.difference_by_offset)
    )
    finite = np.abs(values[np.isfinite(values)])
    top = max(float(np.percentile(finite, DIFFERENCE_PERCENTILE)) if finite.size else 1.0, np.finfo(float).tiny)
    shown = image.pcolormesh(
        energies, excitation, values, norm=TwoSlopeNorm(0.0, -top, top), cmap="RdBu_r", shading="nearest",
        rasterized=True,
    )  # fmt: skip
    figure.colorbar(shown, ax=image, label="counts per column and 10⁶ counts of I0", pad=0.01)
    image.set(xlabel="emission energy (eV)", ylabel="excitation energy (eV)", title=f"{names[place]} less {names[0]}")
    for number in (0, place):
        summed, noise = (each[number][np.ix_(both, inside)].sum(axis=0) for each in (result.maps, result.maps_variance))
        _band(
            spectra,
            energies,
            summed,
            np.sqrt(noise),
            colour=RUN_COLOURS[number % len(RUN_COLOURS)],
            label=names[number],
        )
    spectra.legend(fontsize=8)
    spectra.set(ylabel="sum over excitation\n(counts per column\nand 10⁶ of I0)", xlim=(energies[0], energies[-1]))
    total = values.sum(axis=0)
    _band(below, energies, total, np.sqrt(variance.sum(axis=0)), colour="#444444", label="difference")
    shifted = np.abs(by_offset.sum(axis=0))
    below.fill_between(
        energies, -shifted, shifted, color=MARKED, alpha=0.35, lw=0, label="by the offset between the two"
    )
    below.legend(fontsize=8)
    sigma = float(np.nanmedian(result.emission_energy_sigma[inside]))
    below.set(
        xlabel=f"emission energy (eV), ± {sigma:.2g} eV in common",
        ylabel="difference\n(the same)",
        xlim=(energies[0], energies[-1]),
    )
    for axes in (spectra, below):
        axes.grid(alpha=0.3)
    return figure


def _band(axes: Axes, x: FloatArray, y: FloatArray, sigma: FloatArray, *, colour: str, label: str) -> None:
    axes.fill_between(x, y - sigma, y + sigma, color=colour, alpha=0.25, lw=0)
    axes.plot(x, y, color=colour, lw=0.9, label=label)
