"""The figures of an analysis that pools the stacks of several samples."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure

from beamline.report.figures import Drawn, FloatArray
from beamline.report.stxm.components import component_figures, end_member_figure
from beamline.report.stxm.curves import SERIES, spectra
from beamline.report.stxm.images import Field, gallery
from beamline.report.stxm.maps import RESIDUAL_WHITE, chemical_maps, residual_against_brightness
from callbacks.contract import PooledResult
from callbacks.stxm.unmixing.chemical_map import colours

RUN = "run"  # the axis where capacities are not known
SAID_OF_MAPS = (
    "Hue: the fraction of reduced in reduced + oxidised (green 1, red 0); brightness: the edge area, on one scale for"
    " all of an edge. Black: excluded, or without sample."
)


def pooled_figures(result: PooledResult) -> Iterable[Drawn]:
    """Draw a pooled analysis: chemical maps of all runs, residuals, components, end members, total fractions."""
    if result.reduced_fraction.size:
        yield from _maps(result)
    if result.pca_status == "ok":
        yield from component_figures(result)
    if result.end_members.size:
        yield end_member_figure(result)
        yield _total_fractions(result)
    names = [str(name) for name in result.samples]
    yield (
        "Average spectra",
        "Average of the sample pixels of each run, after subtraction of its background and division by its area.",
        spectra(
            result.pca_energy,
            list(zip(names, result.average_spectra, result.average_spectra_sigma, strict=True)),
            label="optical density over area (1/eV)",
            title="average spectra",
            difference=len(names) > 1,
        ),
    )


def _maps(result: PooledResult) -> Iterable[Drawn]:
    names, full = [str(name) for name in result.samples], _full_brightness(result)
    residual, regions = result.images(result.residual), _regions(result)
    coloured = [(name, image) for name, image, _ in coloured_maps(result)]
    yield "Chemical maps", SAID_OF_MAPS, chemical_maps(coloured, regions)
    yield (
        "Residual maps",
        f"White: a residual of {RESIDUAL_WHITE} or more.",
        gallery(
            list(zip(names, residual, strict=True)),
            regions,
            label="residual (2-norm)",
            limits=(0.0, RESIDUAL_WHITE),
            colours_of="gray",
        ),
    )
    yield (
        "Residual against brightness",
        "Each dot is a pixel.",
        residual_against_brightness((result.brightness / full).ravel(), result.residual.ravel()),
    )


def coloured_maps(result: PooledResult) -> list[tuple[str, FloatArray, Field]]:
    """Give sample, colours (lines, columns, 3) and field of the chemical map of each run, on one scale."""
    full = _full_brightness(result)
    images = (result.images(values) for values in (result.reduced_fraction, result.brightness))
    return [
        (str(name), colours(reduced, bright, full=full), region)
        for name, reduced, bright, region in zip(result.samples, *images, _regions(result), strict=True)
    ]


def _full_brightness(result: PooledResult) -> float:
    return float(np.nanpercentile(result.brightness, 99))


def _regions(result: PooledResult) -> list[Field]:
    """Give the field of each run, from its own corner on."""
    return [
        Field(slice(0, image.shape[0]), slice(0, image.shape[1]), (0.0, float(width)), (0.0, float(height)))
        for image, width, height in zip(
            result.images(result.brightness), result.run_width_um, result.run_height_um, strict=True
        )
    ]


def _total_fractions(result: PooledResult) -> Drawn:
    totals = np.column_stack([result.total_fractions, result.total_reduced])
    sigmas = np.column_stack([result.total_fractions_sigma, result.total_reduced_sigma])
    capacity, label = capacities([str(name) for name in result.samples])
    curves = [*(str(name) for name in result.end_member_names), "reduced / (reduced + oxidised)"]
    return (
        "Total fractions",
        "Linear-combination fit of the end members to the average spectrum of each run, as shares of the edge area;"
        " 68 % intervals, with what is not known of the end members.",
        against_capacity(capacity, totals, sigmas, curves, label=label, samples=[str(name) for name in result.samples]),
    )


def capacity_of(name: str) -> float:
    """Read the capacity (mAh/g) in a sample's name; NaN where there is none, and 0 of a pristine one."""
    found = re.search(r"(\d+(?:\.\d+)?) ?mAh", name)
    if found:
        return float(found[1])
    return 0.0 if re.search(r"\bpristine\b", name, re.IGNORECASE) else math.nan


def capacities(names: Sequence[str]) -> tuple[FloatArray, str]:
    """Read the capacity (mAh/g) in each sample's name, or else number the samples; return that and the axis label."""
    found = np.array([capacity_of(name) for name in names])
    if np.isfinite(found).all() and len(set(found)) == len(names):
        return found, "capacity (mAh/g)"
    return np.arange(1.0, len(names) + 1), RUN


def against_capacity(
    capacity: FloatArray,
    totals: FloatArray,
    sigma: FloatArray,
    names: Sequence[str],
    *,
    label: str,
    samples: Sequence[str] = (),
) -> Figure:
    """Draw total fractions against the capacity of each sample.

    Parameters
    ----------
    capacity : numpy.ndarray, shape (samples,)
        Capacity, or any other number that the samples are ordered by.
    totals, sigma : numpy.ndarray, shape (samples, curves)
        Fractions and their standard uncertainties.
    names : sequence of str
        Names of the curves.
    label : str
        Label of the horizontal axis.
    samples : sequence of str
        Named at the axis where that is not of capacities.
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(names):
        axes.errorbar(
            capacity, totals[:, number], yerr=sigma[:, number], fmt="o-", ms=5, lw=1.0, color=SERIES[number], label=name
        )
    axes.set(xlabel=label, ylabel="fraction", ylim=(-0.05, 1.05), title="total fractions")
    if label == RUN and samples:
        axes.set_xticks(capacity, samples, rotation=20, ha="right", fontsize=8)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return figure
