"""Draw RIXS maps and what they rest on, one function a figure, as matplotlib figures with units on every axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from beamline.report.figures import ACCEPTED, MARKED, REJECTED, BoolArray, FloatArray, spread_over
from beamline.report.numbers import drawn_as
from callbacks.rixs.calibration import Calibration

MAP_COLOURS = "inferno"
MAP_GAMMA = 0.45  # of the colour scale: RIXS maps hold lines a hundred times weaker than their strongest
SHOWN_SPECTRA = 8
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def rixs_map(
    excitation: FloatArray,
    emission: FloatArray,
    intensity: FloatArray,
    *,
    title: str,
    axis_label: str = "emission energy (eV)",
    diagonal: bool = True,
    window: tuple[float, float] | None = None,
) -> Figure:
    """Draw a RIXS map, with the partial yield over the window shown beside it.

    Parameters
    ----------
    excitation : numpy.ndarray, shape (n,)
        Excitation energies, eV, ascending.
    emission : numpy.ndarray, shape (m,)
        The horizontal axis: emission energy or energy loss, eV, or pixel.
    intensity : numpy.ndarray, shape (n, m)
        Counts per column and 10^6 counts of I0; NaN where not measured.
    title, axis_label : str
    diagonal : bool
        Mark where emission equals excitation.
    window : (float, float), optional
        Range of the horizontal axis to show.
    """
    figure = Figure(figsize=(9.0, 5.4), layout="constrained")
    axes, side = figure.subplots(1, 2, width_ratios=(4.5, 1), sharey=True)
    inside = slice(None) if window is None else (emission >= window[0]) & (emission <= window[1])
    shown = intensity[:, inside]
    norm = _contrast(shown)
    image = axes.pcolormesh(
        emission[inside], excitation, shown, norm=norm, cmap=MAP_COLOURS, shading="nearest", rasterized=True
    )
    if diagonal:
        axes.plot(excitation, excitation, color="white", lw=0.8, ls=(0, (4, 4)), label="emission = excitation")
        axes.legend(loc="lower right", fontsize=8, labelcolor="white", facecolor="black", framealpha=0.4)
    axes.set(xlabel=axis_label, ylabel="excitation energy (eV)", title=title)
    if window is not None:
        axes.set_xlim(*window)
    # Right of both panels: between them its label would be read as that of the axis of the yield.
    bar = figure.colorbar(image, ax=[axes, side], label="counts per column and 10⁶ counts of I0", pad=0.01)
    bar.set_ticks(_spread_ticks(image.norm))
    low, high = (emission[inside][0], emission[inside][-1]) if window is None else window
    total = np.nansum(shown, axis=1)
    largest = float(np.abs(total).max(initial=0.0))
    exponent = int(np.floor(np.log10(largest))) if largest > 0 else 0
    side.plot(total / 10.0**exponent, excitation, color=ACCEPTED, lw=1.2)
    unit = "eV" if "(eV)" in axis_label else "pixel"
    counts = f"10{str(exponent).translate(SUPERSCRIPTS)} counts" if exponent else "counts"
    side.set_xlabel(f"{low:.0f} to {high:.0f} {unit}\n({counts}\nfor 10⁶ of I0)", fontsize=8)
    side.set_title("partial yield")
    side.xaxis.set_major_locator(MaxNLocator(3))
    side.grid(alpha=0.3)
    return figure


def _spread_ticks(norm: Normalize) -> list[float]:
    """Give round values that are spread evenly over a colour scale, however it is compressed."""
    values = np.asarray(norm.inverse(np.linspace(0.0, 1.0, 6)), dtype=float)
    size = 10.0 ** np.floor(np.log10(np.maximum(np.abs(values), np.finfo(float).tiny)))
    rounded = {float(value) for value in np.round(values / size) * size}
    return sorted(value for value in rounded if values[0] <= value <= values[-1])


def elastic_lines(
    pixels: FloatArray,
    sigmas: FloatArray,
    energies: FloatArray,
    accepted: BoolArray,
    *,
    calibration: Calibration,
) -> Figure:
    """Draw the elastic lines found against the calibration, and the residuals.

    Parameters
    ----------
    pixels, sigmas, energies : numpy.ndarray, shape (n,)
        Position of the line and its uncertainty (pixel), excitation energy (eV); NaN where no line was found.
    accepted : numpy.ndarray of bool, shape (n,)
        The lines that the calibration is fitted to.
    calibration : Calibration
    """
    calibrated = calibration.status == "ok" and bool(accepted.any())
    figure = Figure(figsize=(9.0, 5.0 if calibrated else 3.6), layout="constrained")
    axes, *more = figure.subplots(
        1 + calibrated, 1, height_ratios=(3, 1.4)[: 1 + calibrated], sharex=True, squeeze=False
    ).flat
    rejected = np.isfinite(pixels) & ~accepted
    for chosen, colour, label in ((accepted, ACCEPTED, "used"), (rejected, REJECTED, "not used")):
        axes.errorbar(
            pixels[chosen],
            energies[chosen],
            xerr=sigmas[chosen],
            fmt="o",
            ms=4,
            color=colour,
            label=f"{label} ({chosen.sum()})",
        )
    axes.set(ylabel="excitation energy (eV)", title=f"elastic line against excitation energy: {calibration.status}")
    if calibrated:
        below = more[0]
        x, band = _draw_calibration(axes, below, pixels[accepted], calibration)
        residuals = energies - calibration.energy(pixels)
        for chosen, colour, label in ((accepted, ACCEPTED, "used"), (rejected, REJECTED, "not used")):
            uncertainty = sigmas[chosen] * calibration.dispersion
            points, *_ = below.errorbar(
                pixels[chosen], residuals[chosen], yerr=uncertainty, fmt="o", ms=4, color=colour
            )
            drawn_as(points, label)
        limit = 3 * max(np.abs(residuals[accepted]).max(), band.max(), 1e-3)
        below.set(ylabel="residual (eV)", ylim=(-limit, limit))
        below.axhline(0, color="black", lw=0.6)
        below.legend(loc="upper right", fontsize=8)
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(*sorted(calibration.energy(x[[0, -1]])))
    elif not rejected.any():
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no elastic line was found", ha="center", va="center", transform=axes.transAxes)
    axes.legend(loc="upper left", fontsize=9)
    for each in (axes, *more):
        each.grid(alpha=0.3)
    (more or [axes])[-1].set_xlabel("column (pixel)")
    return figure


def drift(hours: FloatArray, pixels: FloatArray, sigmas: FloatArray, *, status: str) -> Figure:
    """Draw the drift of the spectrograph against time.

    Parameters
    ----------
    hours, pixels, sigmas : numpy.ndarray, shape (frames,)
        Time since the first frame (h), drift since then and its standard uncertainty (pixel).
    status : str
        What told it.
    """
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(hours, pixels - sigmas, pixels + sigmas, color=ACCEPTED, alpha=0.2, lw=0, label="68 %")
    axes.plot(hours, pixels, color=ACCEPTED, marker=".", lw=1)
    axes.set(xlabel="time since the first frame (h)", ylabel="drift (pixel)", title=f"drift {status}")
    axes.axhline(0, color="black", lw=0.6)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    return figure


def _draw_calibration(
    axes: Axes, below: Axes, pixels: FloatArray, calibration: Calibration
) -> tuple[FloatArray, FloatArray]:
    """Draw the calibration over its elastic lines and its uncertainty below; return columns and uncertainty (eV)."""
    low, high = pixels.min(), pixels.max()
    margin = 0.25 * (high - low)
    x = np.linspace(low - margin, high + margin, 200)
    axes.plot(x, calibration.energy(x), color="black", lw=1)
    band = calibration.sigma(x)
    below.fill_between(x, -band, band, color="black", alpha=0.15, lw=0, label="uncertainty of the calibration (68 %)")
    return x, band


def frame_before_and_after(raw: FloatArray, cleaned: FloatArray, mask: BoolArray, *, title: str) -> Figure:
    """Draw a frame as read and as cleaned, with rings around the cosmic-ray hits, and the column sums of both.

    Parameters
    ----------
    raw, cleaned : numpy.ndarray, shape (rows, columns)
        Counts, pedestal removed.
    mask : numpy.ndarray of bool, shape (rows, columns)
        Pixels that were replaced.
    title : str
    """
    figure = Figure(figsize=(10.0, 6.4), layout="constrained")
    above, below, sums = figure.subplots(3, 1, height_ratios=(1, 1, 1), sharex=True)
    norm = Normalize(0, max(float(np.percentile(cleaned, 99.8)), 1.0))
    rows, columns = np.nonzero(mask)
    for axes, image, label in ((above, raw, "as read"), (below, cleaned, "cleaned")):
        shown = axes.imshow(image, aspect="auto", norm=norm, cmap="magma", interpolation="nearest", origin="lower")
        axes.set_ylabel(f"{label}\nrow (pixel)")
        figure.colorbar(shown, ax=axes, label="counts", pad=0.01)
    if len(rows):
        above.scatter(
            columns, rows, s=60, facecolors="none", edgecolors="#37d0c6", lw=0.9, label=f"replaced ({len(rows)} pixels)"
        )
        above.legend(loc="upper left", fontsize=8)
    above.set_title(title)
    sums.plot(raw.sum(axis=0), color=MARKED, lw=0.7, label="as read")
    sums.plot(cleaned.sum(axis=0), color=ACCEPTED, lw=0.7, label="cleaned")
    low, high = np.percentile(cleaned.sum(axis=0), (0.5, 99.9))
    sums.set(
        xlabel="column (pixel)",
        ylabel="column sum (counts)",
        ylim=(min(low, 0), 1.3 * high),
        xlim=(0, raw.shape[1] - 1),
    )
    sums.legend(loc="upper left", fontsize=8)
    sums.grid(alpha=0.3)
    return figure


def spectra(
    emission: FloatArray,
    intensity: FloatArray,
    sigma: FloatArray,
    excitation: FloatArray,
    *,
    window: tuple[float, float],
    axis_label: str,
) -> Figure:
    """Draw emission spectra at up to eight excitation energies one above the other, each with its 68 % band.

    Parameters
    ----------
    emission : numpy.ndarray, shape (m,)
    intensity, sigma : numpy.ndarray, shape (n, m)
    excitation : numpy.ndarray, shape (n,)
        eV.
    window : (float, float)
        Range of the horizontal axis.
    axis_label : str
    """
    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    axes = figure.subplots()
    inside = (emission >= window[0]) & (emission <= window[1])
    chosen = spread_over(len(excitation), SHOWN_SPECTRA)
    finite = intensity[np.ix_(chosen, np.flatnonzero(inside))]
    step = 0.35 * float(np.nanmax(finite)) if np.isfinite(finite).any() else 1.0
    for position, row in enumerate(chosen):
        line, band = intensity[row, inside] + position * step, sigma[row, inside]
        axes.fill_between(emission[inside], line - band, line + band, color=ACCEPTED, alpha=0.25, lw=0)
        (curve,) = axes.plot(emission[inside], line, color=ACCEPTED, lw=0.8)
        drawn_as(curve, f"{excitation[row]:.2f} eV", position * step)
        axes.annotate(f"{excitation[row]:.2f} eV", (window[1], position * step), fontsize=8, ha="right", va="bottom")
    axes.set(
        xlabel=axis_label,
        ylabel=f"counts per column and 10⁶ counts of I0, offset by {step:.3g} each",
        xlim=window,
        title="emission spectra by excitation energy, with 68 % bands",
    )
    axes.grid(alpha=0.3, axis="x")
    return figure


def elastic_fits(fits: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw up to eight elastic lines with the fitted model, and the normalised residuals below.

    Parameters
    ----------
    fits : sequence of mapping
        Each with `title`, and arrays `pixel`, `counts`, `sigma`, `model` of one length.
    """
    shown = [fits[index] for index in spread_over(len(fits), SHOWN_SPECTRA)]
    columns = min(4, max(1, len(shown)))
    lines = -(-len(shown) // columns) or 1
    figure = Figure(figsize=(10.0, 3.4 * lines), layout="constrained")
    grid = figure.subplots(
        2 * lines, columns, squeeze=False, height_ratios=(3, 1) * lines, sharex="col" if lines == 1 else False
    )
    for axes in grid.flat[:]:
        axes.set_visible(False)
    for place, fit in enumerate(shown):
        above, below = (grid[2 * (place // columns) + half, place % columns] for half in (0, 1))
        above.set_visible(True)
        below.set_visible(True)
        data, *_ = above.errorbar(
            fit["pixel"], fit["counts"], yerr=fit["sigma"], fmt=".", ms=3, lw=0.6, color="#444444"
        )
        (model,) = above.plot(fit["pixel"], fit["model"], color=MARKED, lw=1.2)
        drawn_as(data, "data")
        drawn_as(model, "fit")
        above.set_title(fit["title"], fontsize=9)
        above.tick_params(labelsize=7)
        residual = (fit["counts"] - fit["model"]) / fit["sigma"]
        below.plot(fit["pixel"], residual, ".", ms=3, color="#444444")
        below.axhline(0, color=MARKED, lw=0.8)
        limit = max(4.5, 1.1 * float(np.nanmax(np.abs(residual), initial=0.0)))
        below.set_ylim(-limit, limit)
        below.tick_params(labelsize=7)
        if place % columns == 0:
            above.set_ylabel("counts")
            below.set_ylabel("residual (σ)")
        below.set_xlabel("column (pixel)", fontsize=8)
    return figure


def _contrast(intensity: FloatArray) -> PowerNorm:
    finite = intensity[np.isfinite(intensity)]
    top = float(np.percentile(finite, 99.7)) if finite.size else 1.0
    return PowerNorm(MAP_GAMMA, vmin=0.0, vmax=max(top, np.finfo(float).tiny), clip=True)
