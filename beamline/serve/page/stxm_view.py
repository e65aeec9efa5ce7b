"""Figures of STXM images, stacks and line spectra, while they are measured and afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
from skimage.draw import polygon2mask

from beamline.serve.page.growing import GrowingRun
from beamline.serve.page.panels import Axis, Curve, FloatArray, Panel, image, lines
from callbacks.contract import Key, Stream, StxmGrid
from callbacks.external import FrameReadError

ENERGY, COMPONENT = Axis("energy", "eV"), Axis("component", whole=True)


def panels(raw: GrowingRun, derived: GrowingRun | None, *, energy: int | None = None) -> list[Panel]:
    """Give the figures of a stack.

    Parameters
    ----------
    raw, derived : GrowingRun
    energy : int, optional
        Number of the image whose optical density is shown; where not given the newest, and of a stack that is complete
        that of the strongest absorption.
    """
    grid = StxmGrid.model_validate(raw.measurement["grid"]) if raw.measurement.get("grid") else None
    if grid is None:
        return []
    made = _counts(raw, grid)
    if derived is None or not derived.count(Stream.IMAGES):
        return made
    made += _density(derived, grid, energy)
    made += _fractions(derived, grid) if derived.count(Stream.RESULT) else _live_fraction(derived, grid)
    made += [_shifts(derived), _flux(derived)]
    return made + (_components(derived, grid) if derived.count(Stream.RESULT) else _scree(derived))


def _axes(grid: StxmGrid, number: int, shape: tuple[int, ...]) -> tuple[Axis, Axis]:
    region = grid.regions[number]
    return (
        Axis("x", "µm", np.linspace(*region.x, shape[1])),
        Axis("y", "µm", np.linspace(*region.y, shape[0])) if grid.is_image else Axis("line", ""),
    )


def _counts(raw: GrowingRun, grid: StxmGrid) -> list[Panel]:
    """Give the image under way: counts of its lines so far."""
    done = raw.count(Stream.PRIMARY)
    if not done:
        return []
    at, number, row = grid.place(done)
    first = done - row
    region = grid.regions[number]
    values = np.full((region.rows, region.columns), np.nan)
    for line in range(row + 1):
        counts = raw.read(Stream.PRIMARY, Key.STXM_COUNTS, first - 1 + line)
        values[line, : len(counts)] = counts
    x, y = _axes(grid, number, values.shape)
    title = f"image {at + 1} of {len(grid.energies)}, {grid.energies[at]:.2f} eV: as counted"
    return [
        image("counts", title, values, x, y, scale="transmitted", unit="counts", colours="grey", equal=grid.is_image)
    ]


def regions_of(values: FloatArray, grid: StxmGrid) -> list[FloatArray]:
    """Take an image of the result apart, where its regions lie side by side."""
    if len(grid.regions) == 1:
        return [values]
    parts, left = [], 0
    for region in grid.regions:
        parts.append(values[: region.rows, left : left + region.columns])
        left += region.columns
    return parts


def _image(name: str, title: str, values: FloatArray, grid: StxmGrid, **how: Any) -> list[Panel]:
    made = []
    for number, part in enumerate(regions_of(values, grid)):
        x, y = _axes(grid, number, part.shape)
        of = f", region {number + 1}" if len(grid.regions) > 1 else ""
        each = {key: value[number] if key == "brightness" else value for key, value in how.items()}
        made.append(image(f"{name}-{number}" if number else name, title + of, part, x, y, equal=grid.is_image, **each))
    return made


def strongest(spectrum: FloatArray | None) -> int | None:
    """Give the number of the image with the strongest absorption; None where that is not known."""
    return int(np.nanargmax(spectrum)) if spectrum is not None and np.isfinite(spectrum).any() else None


def _density(derived: GrowingRun, grid: StxmGrid, energy: int | None) -> list[Panel]:
    stack = derived.result("optical_density")
    if stack is not None and energy is None:
        energy = strongest(derived.result("spectrum"))
    if stack is not None and energy is not None:
        energies = np.asarray(derived.result("stack_energy"), dtype=float)
        number = int(np.clip(energy, 0, len(energies) - 1))
        values, at = np.asarray(stack[number]), float(energies[number])
    else:
        number = derived.count(Stream.IMAGES) - 1 if energy is None else min(energy, derived.count(Stream.IMAGES) - 1)
        try:
            values = derived.read(Stream.IMAGES, "optical_density", number)
        except FrameReadError:
            return []
        at = float(derived.column(Stream.IMAGES, Key.ENERGY)[number])
    title = f"optical density at {at:.2f} eV (image {number + 1} of {len(grid.energies)})"
    return _image("density", title, values, grid, scale="optical density", colours="grey")


def _live_fraction(derived: GrowingRun, grid: StxmGrid) -> list[Panel]:
    told = derived.last(Stream.IMAGES)
    if told.get("chemical_status") != "ok":
        return []
    try:
        values = derived.read(Stream.IMAGES, "reduced_fraction")
        sigma = derived.read(Stream.IMAGES, "reduced_fraction_sigma")
    except (FrameReadError, KeyError):
        return []
    return _fraction_images(values, sigma, grid, "so far")


def _fraction_images(values: FloatArray, sigma: FloatArray, grid: StxmGrid, when: str) -> list[Panel]:
    limits = (0.0, 1.0)
    return [
        *_image(
            "reduced",
            f"reduced fraction {when}".strip(),
            values,
            grid,
            scale="reduced fraction",
            colours="fraction",
            limits=limits,
        ),
        *_image("reduced-sigma", "its standard uncertainty", sigma, grid, scale="1 sigma", limits=(0.0, 0.5)),
    ]


def _fractions(derived: GrowingRun, grid: StxmGrid) -> list[Panel]:
    made = []
    if derived.has_result("reduced_fraction", "reduced_fraction_sigma"):
        values, sigma = (np.asarray(derived.result(f"reduced_fraction{end}"), dtype=float) for end in ("", "_sigma"))
        total, spread = derived.result("total_reduced"), derived.result("total_reduced_sigma")
        made = _fraction_images(values, sigma, grid, "")
        if total is not None and spread is not None:
            made[0] = Panel(
                made[0].name,
                made[0].title,
                "image",
                made[0].about,
                made[0].arrays,
                f"total {float(total):.3f} ± {float(spread):.3f}",
            )
    if derived.has_result("residual"):
        values = np.asarray(derived.result("residual"), dtype=float)
        limits = (0.0, _quantile(values, 0.98))  # pixels that nothing fits are as bright as the scale goes
        made += _image("residual", "residual of the fit", values, grid, scale="2-norm", limits=limits)
    return made


def _quantile(values: FloatArray, share: float) -> float:
    finite = values[np.isfinite(values)]
    return float(np.quantile(finite, share)) if finite.size else 1.0


def _shifts(derived: GrowingRun) -> Panel:
    shift, sigma = (derived.column(Stream.IMAGES, key)[:, 0] for key in ("shift", "shift_sigma"))
    number = np.arange(1.0, len(shift) + 1)
    curves = [Curve(name, number, shift[:, axis], sigma[:, axis]) for axis, name in enumerate(("rows", "columns"))]
    return lines("shift", "drift", curves, Axis("image", whole=True), Axis("shift", "pixel"))


def _flux(derived: GrowingRun) -> Panel:
    energy, rate, sigma = (
        derived.column(Stream.IMAGES, key) for key in (Key.ENERGY, "incident_rate", "incident_sigma")
    )
    status = str(derived.last(Stream.IMAGES).get("i0_status", ""))
    note = "" if status == "ok" else status
    return lines("i0", "incident flux", [Curve("I0", energy, rate, sigma)], ENERGY, Axis("I0", "counts/s"), note=note)


def _scree(derived: GrowingRun) -> list[Panel]:
    told = derived.last(Stream.IMAGES)
    share = np.asarray(told.get("pca_explained", ()), dtype=float)
    if not np.isfinite(share).any():
        return []
    curve = Curve("share", np.arange(1.0, len(share) + 1), share, style="points")
    note = (
        f"{told.get('pca_significant')} above the noise"
        if told.get("pca_status") == "ok"
        else str(told.get("pca_status"))
    )
    return [
        lines(
            "scree",
            "principal components",
            [curve],
            COMPONENT,
            Axis("share of the variance"),
            note=note,
        )
    ]


def _components(derived: GrowingRun, grid: StxmGrid) -> list[Panel]:
    """Give what the analysis of the whole stack has found."""
    made = []
    if derived.has_result("spectrum"):
        at, mean, sigma = (
            np.asarray(derived.result(key), dtype=float) for key in ("stack_energy", "spectrum", "spectrum_sigma")
        )
        made.append(lines("mean", "mean spectrum", [Curve("mean", at, mean, sigma)], ENERGY, Axis("optical density")))
    if derived.has_result("pca_eigenvalues", "pca_components") and str(derived.result("pca_status")) == "ok":
        values = np.asarray(derived.result("pca_eigenvalues"), dtype=float)
        above, gap = (int(np.asarray(derived.result(key))) for key in ("pca_significant", "pca_scree"))
        number = np.arange(1.0, len(values) + 1)
        scree = Curve("eigenvalue", number[:20], values[:20], style="points")
        note = f"{above} above the noise, {gap} before the gap"
        made.append(
            lines(
                "scree",
                "principal components",
                [scree],
                COMPONENT,
                Axis("variance"),
                note=note,
                log=True,
            )
        )
        energy, loadings = np.asarray(derived.result("pca_energy")), np.asarray(derived.result("pca_components"))
        curves = [Curve(f"component {k + 1}", energy, each) for k, each in enumerate(loadings[:4])]
        made.append(lines("loadings", "loadings", curves, ENERGY, Axis("loading")))
        scores = np.asarray(derived.result("pca_scores"))
        for k, each in enumerate(scores[:3]):
            most = _quantile(np.abs(each), 0.98)
            how: dict[str, Any] = {"scale": "score", "colours": "diverging", "limits": (-most, most)}  # white is 0
            made += _image(f"score-{k + 1}", f"score of component {k + 1}", each, grid, **how)
    if derived.has_result("end_members", "end_member_names"):
        energy, members = np.asarray(derived.result("end_member_energy")), np.asarray(derived.result("end_members"))
        sigma, names = np.asarray(derived.result("end_members_sigma")), np.asarray(derived.result("end_member_names"))
        curves = [Curve(str(name), energy, *pair) for name, *pair in zip(names, members, sigma, strict=True)]
        note = str(derived.result("end_member_note") or "")
        made.append(lines("members", "end members", curves, ENERGY, Axis("normalised optical density"), note=note))
    return made


def region_spectrum(derived: GrowingRun, grid: StxmGrid, number: int, path: FloatArray) -> Panel:
    """Give the mean optical density of a region against energy.

    Parameters
    ----------
    derived : GrowingRun
        A reduction.
    grid : StxmGrid
    number : int
        Of the region of the measurement.
    path : numpy.ndarray, shape (n, 2)
        Rows and columns of the outline.

    Raises
    ------
    ValueError
        When the outline holds no pixel, or nothing has been reduced.
    """
    if derived.has_result("optical_density", "optical_density_sigma"):
        energy = np.asarray(derived.result("stack_energy"), dtype=float)
        stack, sigma = (derived.result(key) for key in ("optical_density", "optical_density_sigma"))
        assert stack is not None
        assert sigma is not None
        densities = np.stack([regions_of(each, grid)[number] for each in stack])
        noise = np.stack([regions_of(each, grid)[number] for each in sigma])
    elif derived.count(Stream.IMAGES):
        energy = derived.column(Stream.IMAGES, Key.ENERGY)
        densities = np.stack(
            [regions_of(each, grid)[number] for each in derived.all_of(Stream.IMAGES, "optical_density")]
        )
        noise = np.full_like(densities, np.nan)
    else:
        raise ValueError("nothing has been reduced yet")
    inside = polygon2mask(densities.shape[1:], path)
    inside[tuple(np.asarray(path, dtype=int).T)] = True
    if not inside.any():
        raise ValueError("the outline holds no pixel")
    chosen = densities[:, inside]
    seen = np.isfinite(chosen)
    count = np.maximum(seen.sum(axis=1), 1)
    mean = np.where(seen.any(axis=1), np.where(seen, chosen, 0.0).sum(axis=1) / count, np.nan)
    spread = np.sqrt(np.where(seen, noise[:, inside], 0.0) ** 2 @ np.ones(chosen.shape[1])) / count
    curve = Curve("mean", energy, mean, spread if np.isfinite(noise).any() else None)
    title = f"mean spectrum of the region drawn, {int(inside.sum())} pixels"
    note = "68 % band of the counts of the pixels alone: what they have in common, as I0, is not in it"
    return lines(
        "region", title, [curve], ENERGY, Axis("optical density"), note=note if curve.sigma is not None else ""
    )
