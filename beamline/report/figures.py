"""Figures of XAS spectra and RIXS maps, one function a figure, as matplotlib figures with units on every axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.dates import ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from beamline.storage.results import Run
from callbacks.contract import Key, Stream

Drawn = tuple[str, str, Figure]  # heading, caption, figure

MAP_COLOURS = "inferno"
ACCEPTED, REJECTED, MARKED = "#1b6ca8", "#b0b0b0", "#d1495b"
MAP_GAMMA = 0.45  # of the colour scale: RIXS maps hold lines a hundred times weaker than their strongest


def rixs_map(
    excitation: np.ndarray,
    emission: np.ndarray,
    intensity: np.ndarray,
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
    figure.colorbar(image, ax=axes, label="counts per column and 10⁶ counts of I0", pad=0.01)
    side.plot(np.nansum(shown, axis=1), excitation, color=ACCEPTED, lw=1.2)
    side.set(xlabel="sum over window", title="partial yield")
    side.grid(alpha=0.3)
    return figure


def calibration(
    pixels: np.ndarray,
    sigmas: np.ndarray,
    energies: np.ndarray,
    accepted: np.ndarray,
    *,
    coefficients: np.ndarray,
    covariance: np.ndarray,
    pivot: float,
    status: str,
) -> Figure:
    """Draw the elastic lines found against the calibration, and what is left over.

    Parameters
    ----------
    pixels, sigmas, energies : numpy.ndarray, shape (n,)
        Position of the line and its uncertainty (pixel), excitation energy (eV); NaN where no line was found.
    accepted : numpy.ndarray of bool, shape (n,)
    coefficients, covariance, pivot
        The calibration: ascending powers about `pivot`, eV.
    status : str
        "ok" or the reason why there is no calibration.
    """
    figure = Figure(figsize=(9.0, 5.0), layout="constrained")
    axes, rest = figure.subplots(2, 1, height_ratios=(3, 1.4), sharex=True)
    found = np.isfinite(pixels)
    for chosen, colour, label in ((accepted, ACCEPTED, "used"), (found & ~accepted, REJECTED, "not used")):
        axes.errorbar(
            pixels[chosen],
            energies[chosen],
            xerr=sigmas[chosen],
            fmt="o",
            ms=4,
            color=colour,
            label=f"{label} ({chosen.sum()})",
        )
    axes.set(ylabel="excitation energy (eV)", title=f"elastic line against excitation energy: {status}")
    rest.set(xlabel="column (pixel)", ylabel="left over (eV)")
    if status == "ok" and accepted.any():
        low, high = pixels[accepted].min(), pixels[accepted].max()
        margin = 0.25 * (high - low)
        x = np.linspace(low - margin, high + margin, 200)
        axes.plot(x, _polynomial(coefficients, x - pivot), color="black", lw=1)
        powers = (x - pivot)[:, None] ** np.arange(len(coefficients))
        band = np.sqrt(np.einsum("ij,jk,ik->i", powers, covariance, powers))
        rest.fill_between(
            x, -band, band, color="black", alpha=0.15, lw=0, label="uncertainty of the calibration (68 %)"
        )
        dispersion = abs(coefficients[1])
        for chosen, colour in ((accepted, ACCEPTED), (found & ~accepted, REJECTED)):
            left = energies[chosen] - _polynomial(coefficients, pixels[chosen] - pivot)
            rest.errorbar(pixels[chosen], left, yerr=sigmas[chosen] * dispersion, fmt="o", ms=4, color=colour)
        left = energies[accepted] - _polynomial(coefficients, pixels[accepted] - pivot)
        limit = 3 * max(np.abs(left).max(), band.max(), 1e-3)
        rest.set_ylim(-limit, limit)
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(*sorted(_polynomial(coefficients, x[[0, -1]] - pivot)))
        rest.legend(loc="upper right", fontsize=8)
    rest.axhline(0, color="black", lw=0.6)
    axes.legend(loc="upper left", fontsize=9)
    for each in (axes, rest):
        each.grid(alpha=0.3)
    return figure


def frame_before_and_after(raw: np.ndarray, cleaned: np.ndarray, mask: np.ndarray, *, title: str) -> Figure:
    """Draw a frame as read and as cleaned, with the cosmic-ray hits ringed, and the column sums of both.

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
    emission: np.ndarray,
    intensity: np.ndarray,
    sigma: np.ndarray,
    excitation: np.ndarray,
    *,
    window: tuple[float, float],
    axis_label: str,
) -> Figure:
    """Draw emission spectra above one another, each with its 68 % band, at up to eight excitation energies.

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
    chosen = np.unique(np.linspace(0, len(excitation) - 1, min(8, len(excitation))).round().astype(int))
    finite = intensity[np.ix_(chosen, np.flatnonzero(inside))]
    step = 0.35 * float(np.nanmax(finite)) if np.isfinite(finite).any() else 1.0
    for place, row in enumerate(chosen):
        line, band = intensity[row, inside] + place * step, sigma[row, inside]
        axes.fill_between(emission[inside], line - band, line + band, color=ACCEPTED, alpha=0.25, lw=0)
        axes.plot(emission[inside], line, color=ACCEPTED, lw=0.8)
        axes.annotate(f"{excitation[row]:.2f} eV", (window[1], place * step), fontsize=8, ha="right", va="bottom")
    axes.set(
        xlabel=axis_label,
        ylabel=f"counts per column and 10⁶ counts of I0, each {step:.3g} higher",
        xlim=window,
        title="emission spectra by excitation energy, with 68 % bands",
    )
    axes.grid(alpha=0.3, axis="x")
    return figure


def flux(
    time: np.ndarray, i0: np.ndarray, ring_current: np.ndarray | None, marked: Sequence[bool] | np.ndarray
) -> Figure:
    """Draw I0, and the ring current where it was recorded, against time, with the marked frames in red.

    Parameters
    ----------
    time : numpy.ndarray, shape (n,)
        s since 1970.
    i0 : numpy.ndarray, shape (n,)
        Counts of a frame or point.
    ring_current : numpy.ndarray, shape (n,), optional
        mA.
    marked : sequence of bool, length n
    """
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    axes = figure.subplots()
    when = date2num([datetime.fromtimestamp(moment, UTC) for moment in time])
    bad = np.asarray(marked, dtype=bool)
    axes.plot(when, i0, ".-", color=ACCEPTED, lw=0.8, ms=4, label="I0")
    axes.plot(when[bad], i0[bad], "o", color=MARKED, ms=7, mfc="none", mew=1.5, label=f"marked ({bad.sum()})")
    axes.set(
        ylabel="I0 (counts)",
        title="incident flux" + ("" if ring_current is None else " and ring current"),
        xlabel="time (UTC)",
    )
    axes.set_ylim(bottom=0)
    _time_axis(axes)
    lines = axes.get_lines()
    if ring_current is not None:
        right = axes.twinx()
        lines += right.plot(when, ring_current, color="#5a9367", lw=1.0, label="ring current")
        right.set_ylabel("ring current (mA)")
        right.set_ylim(bottom=0)
    axes.legend(handles=lines, loc="lower left", fontsize=8)
    axes.grid(alpha=0.3)
    return figure


def absorption(
    energy: np.ndarray, yields: Mapping[str, tuple[np.ndarray, np.ndarray]], *, title: str, label: str
) -> Figure:
    """Draw absorption spectra with their 68 % bands.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n,)
        eV.
    yields : mapping of str to (values, sigmas)
        One panel each.
    title, label : str
    """
    figure = Figure(figsize=(9.0, 2.9 * max(1, len(yields))), layout="constrained")
    panels = np.atleast_1d(figure.subplots(max(1, len(yields)), 1, sharex=True))
    for axes, (name, (values, sigmas)) in zip(panels, yields.items(), strict=True):
        axes.fill_between(energy, values - sigmas, values + sigmas, color=ACCEPTED, alpha=0.3, lw=0, label="68 %")
        axes.plot(energy, values, color=ACCEPTED, lw=1.0, label=name)
        axes.set_ylabel(label)
        axes.legend(loc="upper left", fontsize=9)
        axes.grid(alpha=0.3)
    panels[0].set_title(title)
    panels[-1].set_xlabel("excitation energy (eV)")
    return figure


def elastic_fits(fits: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw elastic lines with the fitted model and the normalised residuals below, up to eight of them.

    Parameters
    ----------
    fits : sequence of mapping
        Each with `title`, and arrays `pixel`, `counts`, `sigma`, `model` of one length.
    """
    shown = [fits[index] for index in np.unique(np.linspace(0, len(fits) - 1, min(8, len(fits))).round().astype(int))]
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
        above.errorbar(fit["pixel"], fit["counts"], yerr=fit["sigma"], fmt=".", ms=3, lw=0.6, color="#444444")
        above.plot(fit["pixel"], fit["model"], color=MARKED, lw=1.2)
        above.set_title(fit["title"], fontsize=9)
        above.tick_params(labelsize=7)
        residual = (fit["counts"] - fit["model"]) / fit["sigma"]
        below.plot(fit["pixel"], residual, ".", ms=3, color="#444444")
        below.axhline(0, color=MARKED, lw=0.8)
        below.set_ylim(-4.5, 4.5)
        below.tick_params(labelsize=7)
        if place % columns == 0:
            above.set_ylabel("counts")
            below.set_ylabel("residual (σ)")
        below.set_xlabel("column (pixel)", fontsize=8)
    return figure


def _polynomial(coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.polynomial.polynomial.polyval(x, coefficients)


def _contrast(intensity: np.ndarray) -> PowerNorm:
    finite = intensity[np.isfinite(intensity)]
    top = float(np.percentile(finite, 99.7)) if finite.size else 1.0
    return PowerNorm(MAP_GAMMA, vmin=0.0, vmax=max(top, np.finfo(float).tiny), clip=True)


def _time_axis(axes: Axes) -> None:
    axes.xaxis_date()
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))


def incident_flux(raw: Run, marked_frames: np.ndarray, frame: np.ndarray) -> Drawn:
    """Draw the incident flux of a run, with heading and caption.

    Parameters
    ----------
    raw : Run
    marked_frames : numpy.ndarray of int
        Numbers of the frames or points that are marked.
    frame : numpy.ndarray of int, shape (n,)
        Number of each frame or point.
    """
    primary = raw.streams[Stream.PRIMARY]
    ring = primary.columns.get(Key.RING_CURRENT)
    return (
        "Incident flux",
        "I0 of every frame or point, with the ring current where it was recorded. Red: marked.",
        flux(primary.timestamps[Key.I0], primary[Key.I0], ring, np.isin(frame, marked_frames)),
    )
