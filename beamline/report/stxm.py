"""The figures of a STXM run's report: images, drift, components, end members, chemical and residual maps."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from beamline.report import stxm_figures as figures
from beamline.report.figures import Drawn
from callbacks.contract import AnalysisResult, FocusResult, PooledResult, StxmResult
from callbacks.stxm.unmixing.analysis import average_spectrum

SHOWN_IMAGES = 6
FEWEST_PIXELS = 30  # of a spectrum by region


def stack_figures(result: StxmResult) -> Iterable[Drawn]:
    """Draw the result of a stack: what matters most first."""
    if not result.optical_density.size:
        return
    places = figures.fields(result)
    single = len(result.stack_energy) == 1 or all(place.rows.stop - place.rows.start == 1 for place in places)
    if not single and result.reduced_fraction.size and result.chemical_status == "ok":
        yield from _chemistry(result, places)
    yield _images(result, places)
    if len(result.stack_energy) > 1:
        if not single:
            yield (
                "Drift",
                "Shift of each image against the mean of those before it, with its uncertainty. Dotted: not used.",
                figures.drift(result.stack_energy, result.drift, result.drift_sigma, list(result.image_status)),
            )
        yield (
            "Incident flux",
            "Mean rate of the sample-free pixels of each image, after dark counts, dead time and ring current.",
            figures.incident(result.stack_energy, result.incident_rate, result.incident_sigma, str(result.i0_status)),
        )
    if not single:
        yield from _masks(result, places)
    if result.pca_status == "ok":
        yield from _components(result, places, maps=not single)
    yield from _spectra(result)


def focus_figures(result: FocusResult) -> Iterable[Drawn]:
    """Draw the result of a focus scan."""
    yield (
        "Focus",
        "Lines by the position of the zone plate, and how sharp each is: mean square slope without what noise adds.",
        figures.focus(
            result.focus_position,
            result.focus_sharpness,
            result.focus_sharpness_sigma,
            result.focus_lines,
            best=float(result.focus),
            status=str(result.focus_status),
        ),
    )


def _images(result: StxmResult, places: list[figures.Field]) -> Drawn:
    energy, density = result.stack_energy, result.optical_density
    if str(result.i0_status) != "ok":
        density = np.full_like(density, np.nan)
    used = np.flatnonzero([status == "ok" for status in result.image_status])
    chosen = used[np.unique(np.linspace(0, len(used) - 1, min(SHOWN_IMAGES, len(used))).round().astype(int))]
    if result.edge_top.size and np.isfinite(result.edge_top).all() and len(chosen) > 2:
        top = used[np.abs(energy[used] - result.edge_top.mean()).argmin()]
        chosen = np.unique(np.r_[chosen[:-1], top]) if top not in chosen else chosen
    return (
        "Images",
        "Aligned optical density, -ln(I/I0), on one scale. Grey: not measured, or drifted out of the field.",
        figures.images(
            [(f"{energy[image]:.2f} eV", density[image]) for image in chosen], places, label="optical density"
        ),
    )


def _chemistry(result: StxmResult, places: list[figures.Field]) -> Iterable[Drawn]:
    names = [str(name) for name in result.end_member_names]
    window = result.brightness_window
    for number, place in enumerate(places, start=1):
        at = (place.rows, place.columns)
        yield (
            "Chemical map" if len(places) == 1 else f"Chemical map, region {number}",
            f"Hue by the fraction of {names[0]} in {names[0]} + {names[1]}, brightness by the edge area from"
            f" {window[0]:g} to {window[1]:g} eV. Black or grey: left out, without sample, or not known to"
            f" {figures.WORST_FRACTION}.",
            figures.chemical_map(
                result.reduced_fraction[at],
                result.reduced_fraction_sigma[at],
                result.brightness[at],
                place,
                names=(names[0], names[1]),
            ),
        )
    yield (
        "Fractions",
        "Non-negative fractions of each end member or reference in every pixel.",
        figures.images(list(zip(names, result.fractions, strict=True)), places, label="fraction"),
    )
    full = np.nanpercentile(result.brightness, 99)
    yield (
        "Residual",
        "What the fit leaves in each pixel, as a 2-norm; a domain that stands out holds something else.",
        figures.images(
            [("residual", result.residual)],
            places,
            label="residual (2-norm)",
            limits=(0.0, max(figures.RESIDUAL_WHITE, float(np.nanpercentile(result.residual, 99)))),
            colours_of="gray",
        ),
    )
    yield (
        "Residual against brightness",
        "Each dot is a pixel.",
        figures.residual_against_brightness((result.brightness / full).ravel(), result.residual.ravel()),
    )


def _masks(result: StxmResult, places: list[figures.Field]) -> Iterable[Drawn]:
    density = result.optical_density[[status == "ok" for status in result.image_status]]
    known = np.isfinite(density)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, density, 0.0).sum(axis=0) / known.sum(axis=0)
    for number, place in enumerate(places, start=1):
        at = (place.rows, place.columns)
        yield (
            "Pixels" if len(places) == 1 else f"Pixels, region {number}",
            "Where I0 was taken, and which pixels the analysis leaves out, each for the first reason that holds.",
            figures.pixel_masks(mean[at], result.blank[at] > 0, result.mask[at], list(result.mask_reasons), place),
        )


def _components(result: AnalysisResult, places: list[figures.Field], *, maps: bool) -> Iterable[Drawn]:
    if np.isfinite(result.pixel_noise).any() and np.isfinite(result.noise_cut):
        yield (
            "Noise of the pixels",
            "Standard deviation of each normalised pixel below the edge.",
            figures.noise_histogram(result.pixel_noise.ravel(), float(result.noise_cut)),
        )
    yield (
        "Principal components",
        f"Of {int(result.pixels_used)} pixels, mean-centred. Above the noise: eigenvalues of the covariance,"
        " whitened by the noise, beyond the Marchenko-Pastur edge.",
        figures.components(
            result.pca_energy, result.pca_eigenvalues, result.pca_components, int(result.pca_significant)
        ),
    )
    scores = result.pca_scores
    if maps:
        spread = float(np.nanpercentile(np.abs(scores[:3]), 98))
        yield (
            "Score maps",
            "Scores of the first components.",
            figures.images(
                [(f"component {number}", image) for number, image in enumerate(scores[:3], start=1)],
                places,
                label="score",
                limits=(-spread, spread),
                colours_of=figures.DIVERGING,
            ),
        )
    if result.clusters.size:
        weights = result.nmf_weights
        names = [str(name) for name in result.cluster_names]
        yield (
            "PCA and NMF space",
            "Each dot is a pixel; circles are the clusters at the extremes, whose spectra are averaged.",
            figures.spaces(
                scores.reshape(len(scores), -1).T,
                None if not weights.size else weights.reshape(len(weights), -1).T,
                result.clusters.ravel(),
                names,
            ),
        )


def _spectra(result: StxmResult) -> Iterable[Drawn]:
    if result.end_members.size:
        yield _end_members(result)
    if len(result.stack_energy) > 1 and np.isfinite(result.spectrum).any():
        yield (
            "Mean spectrum",
            "Mean optical density of the pixels of the analysis, with its 68 % band.",
            figures.spectra(
                result.stack_energy,
                [("mean", result.spectrum, result.spectrum_sigma)],
                label="optical density",
                title="mean spectrum of the sample",
            ),
        )
    if (curves := spectra_by_fraction(result)) is not None:
        yield (
            "Spectra by region",
            "Mean spectra of the pixels of three ranges of the reduced fraction, each less its background and over its"
            " edge area; below, the difference from the first.",
            figures.spectra(
                result.pca_energy,
                curves,
                label="optical density over edge area (1/eV)",
                title="spectra by reduced fraction",
                difference=True,
            ),
        )


def _end_members(result: AnalysisResult) -> Drawn:
    names, members, sigma = result.end_member_names, result.end_members, result.end_members_sigma
    from_data = bool(np.any(sigma > 0))
    nmf = result.nmf_components if from_data else ()
    return (
        "End members" if from_data else "References",
        "Mean spectra of the clusters at the extremes, with 68 % bands; dashed: components of the NMF."
        if from_data
        else "The references that are fitted, each brought to an edge jump of 1.",
        figures.spectra(
            result.end_member_energy,
            [(str(name), one, band) for name, one, band in zip(names, members, sigma, strict=True)],
            dashed=[(f"NMF {number}", one) for number, one in enumerate(nmf, start=1)],
            label="normalised optical density",
            title="end members" if from_data else "references",
        ),
    )


def spectra_by_fraction(result: StxmResult) -> list[tuple[str, np.ndarray, np.ndarray | None]] | None:
    """Give the mean spectra of pixels by thirds of the reduced fraction, those that enough pixels are in."""
    if not result.reduced_fraction.size or result.chemical_status != "ok":
        return None
    used = np.array([status == "ok" for status in result.image_status])
    density, sigma = result.optical_density[used], result.optical_density_sigma[used]
    energies = result.stack_energy[used]
    good = result.mask == 0
    curves: list[tuple[str, np.ndarray, np.ndarray | None]] = []
    for low, high in ((2 / 3, 1.01), (1 / 3, 2 / 3), (-0.01, 1 / 3)):
        inside = good & (result.reduced_fraction >= low) & (result.reduced_fraction < high)
        if inside.sum() < FEWEST_PIXELS:
            continue
        spectrum, band, count = average_spectrum(
            energies,
            density[:, inside],
            sigma[:, inside] ** 2,
            background=tuple(result.background_window),
            area=tuple(result.brightness_window),
        )
        if np.isfinite(spectrum).any():
            curves.append((f"reduced {max(low, 0):.2f} to {min(high, 1):.2f} ({count} pixels)", spectrum, band))
    return curves or None


def pooled_figures(result: PooledResult) -> Iterable[Drawn]:
    """Draw a pooled analysis: chemical maps of all runs, components, end members, residuals, total fractions."""
    names = [str(name) for name in result.samples]
    if result.reduced_fraction.size:
        reduced, residual = (_by_run(result, values) for values in (result.reduced_fraction, result.residual))
        area = _by_run(result, result.brightness)
        full = float(np.nanpercentile(result.brightness, 99))
        places = [
            figures.Field(slice(0, height), slice(0, width), (0.0, float(wide)), (0.0, float(high)))
            for (height, width), wide, high in zip(
                (image.shape for image in reduced), result.run_width_um, result.run_height_um, strict=True
            )
        ]
        yield (
            "Chemical maps",
            "Hue by the fraction of reduced in reduced + oxidised (green 1, red 0), brightness by the edge area,"
            " all on one scale. Black: left out, or without sample.",
            figures.chemical_maps(
                [
                    (name, figures.colours(one, bright, full=full))
                    for name, one, bright in zip(names, reduced, area, strict=True)
                ],
                places,
            ),
        )
        yield (
            "Residual maps",
            f"White: a residual of {figures.RESIDUAL_WHITE} or more.",
            figures.gallery(
                list(zip(names, residual, strict=True)), places, label="residual (2-norm)",
                limits=(0.0, figures.RESIDUAL_WHITE), colours_of="gray",
            ),
        )  # fmt: skip
        yield (
            "Residual against brightness",
            "Each dot is a pixel.",
            figures.residual_against_brightness((result.brightness / full).ravel(), result.residual.ravel()),
        )
    if result.pca_status == "ok":
        yield from _components(result, [], maps=False)
    if result.end_members.size:
        yield _end_members(result)
        shares = np.column_stack([result.total_fractions, result.total_reduced])
        sigmas = np.column_stack([result.total_fractions_sigma, result.total_reduced_sigma])
        capacity, label = capacities(names)
        members = [str(name) for name in result.end_member_names]
        yield (
            "Total fractions",
            "Linear-combination fit of the end members to the average spectrum of each run.",
            figures.against_capacity(
                capacity, shares, sigmas, [*members, "reduced / (reduced + oxidised)"], label=label
            ),
        )
    yield (
        "Average spectra",
        "Average of the sample pixels of each run, less the background and over the area.",
        figures.spectra(
            result.pca_energy,
            list(zip(names, result.average_spectra, result.average_spectra_sigma, strict=True)),
            label="optical density over area (1/eV)",
            title="average spectra",
            difference=len(names) > 1,
        ),
    )


def capacities(names: list[str]) -> tuple[np.ndarray, str]:
    """Give the capacity that each sample's name tells (mAh/g), or else its place in the list, and what that is."""
    found = [re.search(r"(\d+(?:\.\d+)?) ?mAh", name) for name in names]
    if all(found) and len({match[1] for match in found if match}) == len(names):
        return np.array([float(match[1]) for match in found if match]), "capacity (mAh/g)"
    return np.arange(1.0, len(names) + 1), "run"


def _by_run(result: PooledResult, pixels: np.ndarray) -> list[np.ndarray]:
    """Give the pixels of each run as images."""
    values, images, begin = np.asarray(pixels).ravel(), [], 0
    for count, lines in zip(result.run_pixels.tolist(), result.run_lines.tolist(), strict=True):
        images.append(values[begin : begin + count].reshape(lines, -1))
        begin += count
    return images
