"""Draw the state of a STXM stack while it is measured: newest image, chemical map, drift, components, incident flux."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from beamline.report.figures import FloatArray, literal
from beamline.report.stxm.curves import SERIES
from beamline.report.stxm.images import DENSITY, FRACTION, NOT_MEASURED
from beamline.report.stxm.maps import WORST_FRACTION


@dataclass
class History:
    """What the images of a stack have shown so far, one entry an image.

    Attributes
    ----------
    title : str
        Sample and edge.
    grid : dict or None
        The grid of the measurement, as in its start document.
    energy : list of float
        eV.
    shift : list of numpy.ndarray, shape (2,)
        Rows and columns, pixel, of the first region.
    explained : list of numpy.ndarray
        Share of the variance that the first components explain.
    incident : list of float
        Incident rate, counts/s.
    """

    title: str
    grid: Mapping[str, Any] | None
    energy: list[float] = field(default_factory=list)
    shift: list[FloatArray] = field(default_factory=list)
    explained: list[FloatArray] = field(default_factory=list)
    incident: list[float] = field(default_factory=list)

    def append(self, data: Mapping[str, Any]) -> None:
        """Add the event of an image."""
        self.energy.append(data["energy"])
        self.shift.append(np.asarray(data["shift"])[0])
        self.explained.append(np.asarray(data["pca_explained"])[:3])
        self.incident.append(data["incident_rate"])

    def copy(self) -> History:
        """Copy it, so that another thread may read it."""
        return History(
            self.title, self.grid, list(self.energy), list(self.shift), list(self.explained), list(self.incident)
        )


def draw_stack(history: History, data: Mapping[str, Any]) -> Figure:
    """Draw the newest image, the chemical map, and drift, components and incident flux so far.

    Parameters
    ----------
    history : History
        Up to and including the newest image.
    data : mapping
        `data` of the newest event of the stream `images`.
    """
    figure = Figure(figsize=(13.0, 7.2), layout="constrained")
    upper, lower = figure.subplots(2, 3)
    progress = f"image {len(history.energy)}"
    if history.grid:
        progress += f" of {len(history.grid['energies'])}"
    figure.suptitle(f"{history.title}: {progress}, {data['energy']:.2f} eV", fontsize=12)
    _draw_images(upper, data, _extent(history.grid))
    _draw_drift(lower[0], history)
    _draw_components(lower[1], history, data["pca_significant"])
    lower[2].plot(history.energy, np.array(history.incident) / 1e6, ".-", ms=4, lw=0.8, color=SERIES[0])
    lower[2].set(ylabel="I0 (10⁶ counts/s)", title="incident flux")
    for axes in lower:
        axes.set_xlabel("energy (eV)")
        axes.grid(alpha=0.3)
    return literal(figure)


def _extent(grid: Mapping[str, Any] | None) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of the images, um; from 0 to 1 if there are several regions."""
    x, y = ((0.0, 1.0), (0.0, 1.0))
    if grid and len(grid["regions"]) == 1:
        region = grid["regions"][0]
        x, y = tuple(region["x"]), tuple(region["y"])
    return x[0], x[1], y[0], y[1] if y[1] != y[0] else y[0] + 1.0


def _draw_images(panels: Any, data: Mapping[str, Any], extent: tuple[float, float, float, float]) -> None:
    """Draw optical density, reduced fraction and its uncertainty."""
    density = np.asarray(data["optical_density"], dtype=float)
    fraction, sigma = (np.asarray(data[key], dtype=float) for key in ("reduced_fraction", "reduced_fraction_sigma"))
    with np.errstate(invalid="ignore"):
        known = sigma <= WORST_FRACTION
    _draw_image(panels[0], density, f"optical density (I0: {data['i0_status']})", extent, colours=DENSITY)
    _draw_image(
        panels[1], np.where(known, fraction, np.nan), "reduced fraction", extent, colours=FRACTION, limits=(0.0, 1.0)
    )
    _draw_image(panels[2], np.where(known, sigma, np.nan), "its uncertainty", extent, colours="magma")
    if not np.isfinite(fraction).any():
        panels[1].text(
            0.5,
            0.5,
            str(data["chemical_status"]),
            transform=panels[1].transAxes,
            ha="center",
            va="center",
            wrap=True,
            fontsize=9,
        )


def _draw_image(
    axes: Axes,
    image: FloatArray,
    title: str,
    extent: tuple[float, float, float, float],
    *,
    colours: Any,
    limits: tuple[float, float] | None = None,
) -> None:
    available = bool(np.isfinite(image).any())
    axes.set_title(title if available else f"{title}: not yet available", fontsize=10)
    axes.set_facecolor(NOT_MEASURED)
    axes.set(xlabel="x (um)", ylabel="y (um)")
    if not available:
        return
    low, high = limits or np.nanpercentile(image, (1, 99))
    shown = axes.imshow(
        image,
        origin="lower",
        extent=extent,
        cmap=colours,
        vmin=low,
        vmax=high,
        interpolation="nearest",
        aspect="equal" if image.shape[0] > 1 else "auto",
    )
    axes.figure.colorbar(shown, ax=axes, shrink=0.8)


def _draw_drift(axes: Axes, history: History) -> None:
    shift = np.array(history.shift)
    for axis, name in enumerate(("rows", "columns")):
        axes.plot(history.energy, shift[:, axis], ".-", ms=4, lw=0.8, color=SERIES[axis], label=name)
    axes.set(ylabel="shift (pixel)", title="drift")
    axes.legend(fontsize=8)


def _draw_components(axes: Axes, history: History, significant: int) -> None:
    explained = np.array(history.explained)
    for component in range(explained.shape[1]):
        label = str(component + 1)
        axes.plot(history.energy, explained[:, component], ".-", ms=4, lw=0.8, color=SERIES[component], label=label)
    axes.set(ylabel="share of the variance", ylim=(0, 1), title=f"components ({significant} above the noise)")
    axes.legend(fontsize=8)
