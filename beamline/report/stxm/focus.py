"""The figure of a focus scan."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from beamline.report.figures import ACCEPTED, MARKED, Drawn, FloatArray
from callbacks.contract import FocusResult


def focus_figures(result: FocusResult) -> Iterable[Drawn]:
    """Draw the result of a focus scan; nothing where no line was measured."""
    if not result.focus_lines.size:
        return
    yield (
        "Focus",
        "The line at each position of the zone plate, and its sharpness: the mean square slope less that of the noise.",
        focus(
            result.focus_position,
            result.focus_sharpness,
            result.focus_sharpness_sigma,
            result.focus_lines,
            best=float(result.focus),
            status=str(result.focus_status),
        ),
    )


def focus(
    position: FloatArray, sharpness: FloatArray, sigma: FloatArray, lines: FloatArray, *, best: float, status: str
) -> Figure:
    """Draw a focus scan: the lines one above the other, and their sharpness against the zone plate's position.

    Parameters
    ----------
    position, sharpness, sigma : numpy.ndarray, shape (n,)
        Position of the zone plate (um), sharpness of the line there and its standard uncertainty.
    lines : numpy.ndarray, shape (n, pixels)
    best : float
        Position of the focus, um; NaN if it was not found.
    status : str
        "ok", or why there is no focus.
    """
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    order = np.argsort(position)
    half = max(float(np.ptp(position)) / max(1, len(position) - 1), 1e-3) / 2  # um; one position has no step
    left.imshow(
        lines[order],
        origin="lower",
        aspect="auto",
        cmap="gray",
        interpolation="nearest",
        extent=(-0.5, lines.shape[1] - 0.5, position.min() - half, position.max() + half),
    )
    left.set(xlabel="pixel", ylabel="zone plate (um)", title="lines")
    right.errorbar(position, sharpness, yerr=sigma, fmt=".", color=ACCEPTED)
    if np.isfinite(best):
        for axes, draw in ((left, left.axhline), (right, right.axvline)):
            draw(best, color=MARKED, lw=1.0)
            axes.grid(visible=False)
    right.set(
        xlabel="zone plate (um)", ylabel="sharpness", title=status if status != "ok" else f"focus at {best:.2f} um"
    )
    right.grid(alpha=0.3)
    return figure
