"""The figures of a STXM stack's report: chemical maps, images, drift, incident flux, masks, components, spectra."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from beamline.report.figures import Drawn, FloatArray, spread_over
from beamline.report.stxm import curves, maps
from beamline.report.stxm.components import component_figures, end_member_figure
from beamline.report.stxm.images import Field, fields, images
from callbacks.contract import StxmResult
from callbacks.stxm.unmixing.analysis import average_spectrum

SHOWN_IMAGES = 6
FEWEST_PIXELS = 30  # that the mean spectrum of a range of the reduced fraction is shown for


def stack_figures(result: StxmResult, *, rate_unit: str = "counts/s") -> Iterable[Drawn]:
    """Draw the result of a stack, the most important figures first; nothing where no image was measured."""
    if not result.has_images or not result.region_rows.size:
        return
    regions = fields(result)
    is_map = len(result.stack_energy) > 1 and not all(each.rows.stop - each.rows.start == 1 for each in regions)
    if is_map and result.reduced_fraction.size and result.chemical_status == "ok":
        yield from _chemistry(result, regions)
    yield from _images(result, regions)
    if is_map:
        yield _drift(result)
    if len(result.stack_energy) > 1:
        yield _incident_flux(result, rate_unit)
    if is_map:
        yield from _masks(result, regions)
    if result.pca_status == "ok":
        yield from component_figures(result, regions if is_map else ())
    yield from _spectra(result)


def _images(result: StxmResult, regions: Sequence[Field]) -> Iterable[Drawn]:
    energy, density = result.stack_energy, result.optical_density
    if str(result.i0_status) != "ok":
        density = np.full_like(density, np.nan)
    used = np.flatnonzero([status == "ok" for status in result.image_status])
    if not len(used):
        return
    chosen = used[spread_over(len(used), SHOWN_IMAGES)]
    if result.edge_top.size and np.isfinite(result.edge_top).all() and len(chosen) > 2:
        top = used[np.abs(energy[used] - result.edge_top.mean()).argmin()]
        chosen = np.unique(np.r_[chosen[:-1], top]) if top not in chosen else chosen
    yield (
        "Images",
        "Aligned optical density, -ln(I/I0), on one scale. Grey: not measured, or drifted out of the field.",
        images([(f"{energy[image]:.2f} eV", density[image]) for image in chosen], regions, label="optical density"),
    )


def _drift(result: StxmResult) -> Drawn:
    return (
        "Drift",
        "Shift of each image relative to the first, with its uncertainty. Dotted: not used.",
        curves.drift(result.stack_energy, result.drift, result.drift_sigma, list(result.image_status)),
    )


def _incident_flux(result: StxmResult, unit: str) -> Drawn:
    return (
        "Incident flux",
        f"Mean, in {unit}, of the sample-free pixels of each image, corrected for"
        f" {'dark counts, dead time and ' if unit == 'counts/s' else ''}ring current.",
        curves.incident(result.stack_energy, result.incident_rate, result.incident_sigma, str(result.i0_status), unit),
    )


def _chemistry(result: StxmResult, regions: Sequence[Field]) -> Iterable[Drawn]:
    names = [str(name) for name in result.end_member_names]
    window = result.brightness_window
    for number, region in enumerate(regions, start=1):
        at = (region.rows, region.columns)
        yield (
            "Chemical map" if len(regions) == 1 else f"Chemical map, region {number}",
            f"Hue: the fraction of {names[0]} in {names[0]} + {names[1]}; brightness: the edge area from"
            f" {window[0]:g} to {window[1]:g} eV. Black or grey: excluded, without sample, or with an uncertainty above"
            f" {maps.WORST_FRACTION}.",
            maps.chemical_map(
                result.reduced_fraction[at],
                result.reduced_fraction_sigma[at],
                result.brightness[at],
                region,
                names=(names[0], names[1]),
            ),
        )
    yield (
        "Fractions",
        "Non-negative fractions of each end member or reference in every pixel.",
        images(list(zip(names, result.fractions, strict=True)), regions, label="fraction"),
    )
    highest = float(np.nanpercentile(result.residual, 99))
    yield (
        "Residual",
        "Residual of the fit in each pixel, as a 2-norm; a domain that stands out contains another material.",
        images(
            [("residual", result.residual)],
            regions,
            label="residual (2-norm)",
            limits=(0.0, max(maps.RESIDUAL_WHITE, highest)),
            colours_of="gray",
        ),
    )
    full = np.nanpercentile(result.brightness, 99)
    yield (
        "Residual against brightness",
        "Each dot is a pixel.",
        maps.residual_against_brightness((result.brightness / full).ravel(), result.residual.ravel()),
    )


def _masks(result: StxmResult, regions: Sequence[Field]) -> Iterable[Drawn]:
    density = result.optical_density[[status == "ok" for status in result.image_status]]
    known = np.isfinite(density)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, density, 0.0).sum(axis=0) / known.sum(axis=0)
    for number, region in enumerate(regions, start=1):
        at = (region.rows, region.columns)
        yield (
            "Pixels" if len(regions) == 1 else f"Pixels, region {number}",
            "The sample-free pixels that I0 was taken from, and the pixels excluded from the analysis, each for the"
            " first reason that applies.",
            maps.pixel_masks(mean[at], result.blank[at] > 0, result.mask[at], list(result.mask_reasons), region),
        )


def _spectra(result: StxmResult) -> Iterable[Drawn]:
    if result.end_members.size:
        yield end_member_figure(result)
    if len(result.stack_energy) > 1 and np.isfinite(result.spectrum).any():
        yield (
            "Mean spectrum",
            "Mean optical density of the analysed pixels, with its 68 % band.",
            curves.spectra(
                result.stack_energy,
                [("mean", result.spectrum, result.spectrum_sigma)],
                label="optical density",
                title="mean spectrum of the sample",
            ),
        )
    if by_fraction := _spectra_by_fraction(result):
        yield (
            "Spectra by region",
            "Mean spectra of the pixels in three ranges of the reduced fraction, each after subtraction of its"
            " background and division by its edge area; below, the difference from the first.",
            curves.spectra(
                result.pca_energy,
                by_fraction,
                label="optical density over edge area (1/eV)",
                title="spectra by reduced fraction",
                difference=True,
            ),
        )


def _spectra_by_fraction(result: StxmResult) -> list[tuple[str, FloatArray, FloatArray | None]]:
    """Average the spectra of the pixels in each third of the reduced fraction that has enough pixels."""
    if not result.reduced_fraction.size or result.chemical_status != "ok":
        return []
    used = np.array([status == "ok" for status in result.image_status])
    density, sigma = result.optical_density[used], result.optical_density_sigma[used]
    energies = result.stack_energy[used]
    good = result.mask == 0
    found: list[tuple[str, FloatArray, FloatArray | None]] = []
    for low, high in ((2 / 3, 1.01), (1 / 3, 2 / 3), (-0.01, 1 / 3)):
        inside = good & (result.reduced_fraction >= low) & (result.reduced_fraction < high)
        if inside.sum() < FEWEST_PIXELS:
            continue
        average = average_spectrum(
            energies,
            density[:, inside],
            sigma[:, inside] ** 2,
            background=tuple(result.background_window),
            area=tuple(result.brightness_window),
        )
        if np.isfinite(average.spectrum).any():
            label = f"reduced {max(low, 0):.2f} to {min(high, 1):.2f} ({average.pixels} pixels)"
            found.append((label, average.spectrum, average.sigma))
    return found
