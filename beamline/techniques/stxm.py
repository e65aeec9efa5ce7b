"""STXM: stacks of images, line spectra and focus scans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from beamline.errors import BeamlineError
from beamline.formats.exporters.columns import Table
from beamline.formats.exporters.nexus import Axis, Plot
from beamline.formats.exporters.nxstxm import write_nxstxm
from beamline.storage.results import Documents, Run
from beamline.techniques.technique import NOT_KNOWN, Summary, Technique, columns_exporter, nexus_exporter
from callbacks import pipelines
from callbacks.contract import FocusResult, StxmResult
from callbacks.wording import number_of

if TYPE_CHECKING:
    from beamline.report.figures import Drawn

# Of the pixels: where more are free of sample, there is hardly another brightness that they are told apart from. It is
# a hint and no alarm, since a field with a few grains looks the same.
MOST_OF_FIELD = 0.9


def summarise(derived: Run) -> dict[str, Any]:
    """Summarise a stack: what can be said of its incident flux, drift, components and fractions."""
    result = derived.read(StxmResult)
    if not result.has_images:
        return {"shape": [0, 0, 0], "i0": {"status": str(result.i0_status) or NOT_KNOWN, "pixels": 0}}
    reasons = [str(reason) for reason in result.mask_reasons]
    status = [str(one) for one in result.image_status]
    found: dict[str, Any] = {
        "shape": list(result.optical_density.shape),
        "energies_ev": [float(result.stack_energy[0]), float(result.stack_energy[-1])],
        "i0": {
            "status": str(result.i0_status) or NOT_KNOWN,
            "pixels": 0 if _is_given(derived) else int(np.sum(result.blank)),
        },
        "drift_pixels": _range(result.drift),
        "images_not_used": {
            f"{energy:.2f}": one for energy, one in zip(result.stack_energy, status, strict=True) if one != "ok"
        },
        "masked_pixels": {
            reason: int((result.mask == number).sum()) for number, reason in enumerate(reasons) if reason != "good"
        },
        "pca": {"status": str(result.pca_status) or NOT_KNOWN},
        "chemistry": {"status": str(result.chemical_status) or NOT_KNOWN, "references": str(result.reference_note)},
    }
    if result.pca_status == "ok":
        shares = result.pca_eigenvalues / result.pca_eigenvalues.sum()
        found["pca"] |= {
            "explained_variance_ratio": shares[: len(result.pca_components)].tolist(),
            "significant": int(result.pca_significant),
            "before_gap": int(result.pca_scree),
            "pixels": int(result.pixels_used),
            "noise_cut": result.noise_cut,
        }
    if result.total_fractions.size:
        names = [str(name) for name in result.end_member_names]
        found["fractions"] = dict(zip(names, result.total_fractions.tolist(), strict=True))
        found["fractions_sigma"] = dict(zip(names, result.total_fractions_sigma.tolist(), strict=True))
        found["end_members"] = str(result.end_member_note)
        found["reduced_fraction"] = {"total": result.total_reduced, "sigma": result.total_reduced_sigma}
    return found


def _range(drift: np.ndarray) -> float:
    """Give the largest range of a shift, of the images that have one; NaN where none was registered."""
    known = drift[np.isfinite(drift).all(axis=(1, 2))]
    return float(np.ptp(known, axis=0).max()) if len(known) > 1 else float("nan")  # one alone is the first image's, 0


def _is_given(derived: Run) -> bool:
    """Tell whether I0 was measured elsewhere, and is of no pixels."""
    settings = next(iter(derived.settings.values()), {})  # of the one pipeline that made it
    return bool((settings.get("absorbance") or {}).get("incident_rate"))


def _described_flux(pixels: int, field: int) -> str:
    """Say of which pixels I0 is, and where they are nearly all, what they may be."""
    if not pixels:
        return "as it was given"
    share = pixels / field
    said = f"{pixels} sample-free pixels, {share:.0%} of the field"
    if share > MOST_OF_FIELD:
        said += (
            "; a uniform film all over it would look the same, and take its absorption for that of nothing: to be sure,"
            " say where there is no sample (blank), or give I0 (incident_rate)"
        )
    return said


def lines(summary: Summary) -> Iterator[tuple[str, str]]:
    """Describe shape, incident flux, drift, pixels, components and fractions."""
    energies, rows, columns = summary["shape"]
    yield "stack", f"{energies} {'energy' if energies == 1 else 'energies'} of {columns} x {rows} pixels"
    i0 = summary["i0"]
    yield "I0", _described_flux(i0["pixels"], rows * columns) if i0["status"] == "ok" else f"none: {i0['status']}"
    if "drift_pixels" not in summary:
        return
    drift = summary["drift_pixels"]
    if energies > 1:
        yield "drift", f"{drift:.2f} pixels" if np.isfinite(drift) else "not known: no image was registered"
    for energy, reason in summary["images_not_used"].items():
        yield f"{energy} eV", reason
    masked = ", ".join(f"{count} {reason}" for reason, count in summary["masked_pixels"].items() if count)
    yield "pixels left out", masked or "none"
    pca = summary["pca"]
    if pca["status"] == "ok":
        shares = ", ".join(f"{share:.1%}" for share in pca["explained_variance_ratio"])
        gap = f", {pca['before_gap']} before the gap of the scree" if pca["significant"] else ""
        yield "PCA", f"{shares} of the variance; {number_of(pca['significant'], 'component')} above the noise{gap}"
    else:
        yield "PCA", f"none: {pca['status']}"
    if "fractions" in summary and summary["chemistry"]["status"] == "ok":
        shares = ", ".join(f"{name} {share:.3f}" for name, share in summary["fractions"].items())
        total = summary["reduced_fraction"]
        yield "fractions", f"{shares}; reduced / (reduced + oxidised) {total['total']:.3f} ± {total['sigma']:.3f}"
        if summary["end_members"]:
            yield "end members", summary["end_members"]
    elif summary["chemistry"]["status"] != "ok":
        yield "chemical map", f"none: {summary['chemistry']['status']}"


def warnings(summary: Summary) -> Iterator[str]:
    """Warn of a missing I0, missing components, a missing map, and images that are not used."""
    for name, label in (("chemistry", "chemistry"), ("pca", "PCA"), ("i0", "I0")):
        if name in summary and summary[name]["status"] != "ok":
            yield f"{label}: {summary[name]['status']}"
    if references := summary.get("chemistry", {}).get("references"):
        yield references
    for energy, reason in summary.get("images_not_used", {}).items():
        yield f"{energy} eV: {reason}"


def plots(derived: Run) -> Iterator[Plot]:
    """Give the aligned optical density and the mean spectrum."""
    result = derived.read(StxmResult)
    if not result.has_images:
        return
    energy = Axis("energy", result.stack_energy, "eV", "photon energy")
    _, rows, columns = result.optical_density.shape
    pixels = (Axis("line", np.arange(rows), "", "line"), Axis("column", np.arange(columns), "", "pixel of a line"))
    density, sigma = result.optical_density, result.optical_density_sigma
    yield Plot("optical_density", "optical_density", density, sigma, "", (energy, *pixels))
    yield Plot("spectrum", "spectrum", result.spectrum, result.spectrum_sigma, "", (energy,))


def tables(derived: Run) -> Iterator[Table]:
    """Give the mean spectrum of the sample with I0, and the end members or references."""
    result = derived.read(StxmResult)
    if not result.has_images or not result.spectrum.size:
        return
    spectrum = [
        ("energy_eV", result.stack_energy),
        ("optical_density", result.spectrum),
        ("optical_density_sigma", result.spectrum_sigma),
        ("i0_counts_per_s" if derived.measurement.dwell_known else "i0_counts", result.incident_rate),
        ("i0_sigma", result.incident_sigma),
    ]
    yield Table("spectrum", spectrum)
    if result.end_members.size:
        members = [("energy_eV", result.end_member_energy)]
        for name, one, sigma in zip(result.end_member_names, result.end_members, result.end_members_sigma, strict=True):
            members += [(str(name), one), (f"{name}_sigma", sigma)]
        yield Table("end_members", members)


def write_nxstxm_file(path: Path, documents: Documents, raw: Run, derived: Run | None) -> list[Path]:
    """Write one NXstxm file, for MANTiS and others."""
    try:
        write_nxstxm(path, documents, derived)
    except ValueError as error:
        raise BeamlineError(error if raw.uid in str(error) else f"run {raw.uid}: {error}") from error
    return [path]


def summarise_focus(derived: Run) -> dict[str, Any]:
    """Give the best focus."""
    result = derived.read(FocusResult)
    return {"focus": {"status": result.focus_status or NOT_KNOWN, "um": result.focus, "sigma_um": result.focus_sigma}}


def focus_lines(summary: Summary) -> Iterator[tuple[str, str]]:
    """Describe the best focus."""
    focus = summary["focus"]
    yield "focus", f"{focus['um']:.2f} ± {focus['sigma_um']:.2f} um" if focus["status"] == "ok" else focus["status"]


def focus_plots(derived: Run) -> Iterator[Plot]:
    """Give the sharpness of the lines against the position of the zone plate."""
    result = derived.read(FocusResult)
    if not result.focus_position.size:
        return
    position = Axis("zone_plate", result.focus_position, "um", "position of the zone plate")
    yield Plot("sharpness", "sharpness", result.focus_sharpness, result.focus_sharpness_sigma, "", (position,))


def focus_tables(derived: Run) -> Iterator[Table]:
    """Give the sharpness of every line."""
    result = derived.read(FocusResult)
    if not result.focus_position.size:
        return
    sharpness = [
        ("zone_plate_um", result.focus_position),
        ("sharpness", result.focus_sharpness),
        ("sharpness_sigma", result.focus_sharpness_sigma),
    ]
    yield Table("focus", sharpness)


def figures(_raw: Run, derived: Run, _documents: Documents, _title: str) -> Iterable[Drawn]:
    """Draw the figures of a stack."""
    from beamline.report.stxm import stack_figures  # noqa: PLC0415 - matplotlib takes time to import

    return stack_figures(derived.read(StxmResult), rate_unit=derived.measurement.rate_unit)


def focus_figures(_raw: Run, derived: Run, _documents: Documents, _title: str) -> Iterable[Drawn]:
    """Draw the figures of a focus scan."""
    from beamline.report.stxm import focus_figures as drawn  # noqa: PLC0415 - as above

    return drawn(derived.read(FocusResult))


STXM = Technique(
    name="stxm",
    title="STXM",
    counted="lines",
    pipeline=pipelines.STXM,
    summarise=summarise,
    lines=lines,
    warnings=warnings,
    figures=figures,
    exporters={"nexus": nexus_exporter(plots), "columns": columns_exporter(tables), "nxstxm": write_nxstxm_file},
)
LINE_SPECTRUM = replace(STXM, name="stxm_line_spectrum", title="STXM line spectrum")
FOCUS = Technique(
    name="stxm_focus",
    title="STXM focus scan",
    counted="lines",
    pipeline=pipelines.FOCUS,
    summarise=summarise_focus,
    lines=focus_lines,
    warnings=lambda _summary: (),
    figures=focus_figures,
    exporters={
        "nexus": nexus_exporter(focus_plots),
        "columns": columns_exporter(focus_tables),
        "nxstxm": write_nxstxm_file,
    },
)
