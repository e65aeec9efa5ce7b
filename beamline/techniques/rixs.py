"""RIXS maps, and the single emission spectra that are measured to find the elastic line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from beamline.formats.exporters.columns import Table
from beamline.formats.exporters.nexus import Axis, Plot
from beamline.storage.results import Documents, Run
from beamline.techniques.technique import NOT_KNOWN, Summary, Technique, columns_exporter, nexus_exporter
from callbacks.contract import CalibrationResult, RixsOutput, RixsResult
from callbacks.pipelines import RIXS as PIPELINE
from callbacks.wording import number_of

if TYPE_CHECKING:
    from beamline.report.figures import Drawn

FloatArray = NDArray[np.floating]

INTENSITY = "counts per 1e6 counts of I0"


def summarise(derived: Run) -> dict[str, Any]:
    """Summarise cosmic rays and calibration."""
    result = derived.read(RixsResult)
    nothing = np.zeros(0)  # where no frame was measured
    hits = np.asarray(derived.frames.columns.get(RixsOutput.COSMIC_HITS, nothing))
    removed = derived.frames.columns.get(RixsOutput.COSMIC_REMOVED_COUNTS, nothing)
    return {
        "cosmic_rays": {"hits": int(hits[hits > 0].sum()), "removed_counts": float(np.nansum(removed))},
        "calibration": {
            "status": result.calibration_status or NOT_KNOWN,
            "alarm": result.calibration_alarm,
            "dispersion_ev_per_pixel": result.calibration_dispersion_ev_per_pixel,
            "dispersion_sigma": result.calibration_dispersion_sigma,
            "at_ev": float(result.calibration_parameters[0]) if result.calibration_status == "ok" else math.nan,
            "rms_ev": result.calibration_rms_ev,
            "accepted": int(result.calibration_accepted),
            "rejected": int(result.calibration_rejected),
            "loaded": result.calibration_loaded,
            "loaded_offset_pixels": result.calibration_loaded_offset,
            "loaded_offset_sigma": result.calibration_loaded_offset_sigma,
            "known_lines": known_lines(result),
        },
        "drift": {
            "status": result.drift_status,
            "pixels": _last(result.drift_frame_pixels),
            "sigma": _last(result.drift_frame_sigma),
            "hours": _last(result.drift_frame_hours),
        },
        "rows": len(result.excitation_energy),
    }


def _last(values: FloatArray) -> float:
    """Give the value of the last frame; NaN where there is none."""
    return float(values[-1]) if len(values) else math.nan


def known_lines(result: CalibrationResult) -> list[dict[str, Any]]:
    """List the fluorescence lines that were given: where each joined the fit, and its pull, or why it did not."""
    pulls = result.known_pull if len(result.known_pull) else np.full(len(result.known_names), np.nan)  # of before
    joined = zip(
        result.known_names,
        result.known_energy,
        result.known_energy_sigma,
        result.known_pixel,
        result.known_pixel_sigma,
        pulls,
        strict=True,
    )
    names = ("energy_ev", "energy_sigma", "pixel", "pixel_sigma", "pull")
    left_out = zip(result.known_left_out, result.known_left_out_reasons, strict=True)
    return [
        {"name": str(name)} | dict(zip(names, map(float, values), strict=True)) | {"reason": ""}
        for name, *values in joined
    ] + [{"name": str(name)} | dict.fromkeys(names, math.nan) | {"reason": str(reason)} for name, reason in left_out]


def describe_known_line(line: Mapping[str, Any]) -> str:
    """Describe one of `known_lines`."""
    if line["reason"]:
        return f"{line['name']} does not join the fit: {line['reason']}"
    return (
        f"{line['name']}, {line['energy_ev']:.2f} ± {line['energy_sigma']:.2f} eV, joins the fit at column"
        f" {line['pixel']:.1f} ± {line['pixel_sigma']:.1f}, {line['pull']:+.1f} sigmas off the other lines"
    )


def lines(summary: Summary) -> Iterator[tuple[str, str]]:
    """Describe cosmic rays and calibration."""
    cosmic, calibration = summary["cosmic_rays"], summary["calibration"]
    yield "cosmic rays", f"{number_of(cosmic['hits'], 'hit')}, {cosmic['removed_counts']:,.0f} counts removed"
    if calibration["status"] != "ok":
        yield "calibration", f"none: {calibration['status']}"
    else:
        yield (
            "calibration",
            f"{calibration['dispersion_ev_per_pixel']:.5f} ± {calibration['dispersion_sigma']:.5f} eV/pixel"
            f" at {calibration['at_ev']:.2f} eV as the chip lay at the first frame, "
            f"rms {calibration['rms_ev']:.3f} eV, {number_of(calibration['accepted'], 'elastic line')} used,"
            f" {number_of(calibration['rejected'], 'row')} without a usable one",
        )
    if calibration["loaded"]:
        yield (
            "loaded",
            f"dispersion and bend from {calibration['loaded']}; the lines lie"
            f" {calibration['loaded_offset_pixels']:+.1f} ± {calibration['loaded_offset_sigma']:.1f} pixels from there",
        )
    for line in calibration["known_lines"]:
        yield "known line", describe_known_line(line)
    drift = summary["drift"]
    if math.isfinite(drift["pixels"]):
        yield (
            "drift",
            f"{drift['pixels']:+.2f} ± {drift['sigma']:.2f} pixels of the last frame, {drift['hours']:.1f} h after the"
            f" first; {drift['status']}",
        )


def figures(raw: Run, derived: Run, documents: Documents, title: str) -> Iterable[Drawn]:
    """Draw the figures of a map."""
    from beamline.report.rixs import map_figures  # noqa: PLC0415 - matplotlib takes time to import

    return map_figures(raw, derived, documents, title)


def warnings(summary: Summary) -> Iterator[str]:
    """Warn of a calibration that is missing, or differs from the one that was loaded."""
    calibration = summary["calibration"]
    if calibration["status"] != "ok":
        yield f"no energy calibration: {calibration['status']}"
    if calibration["alarm"]:
        yield calibration["alarm"]


def tables(derived: Run) -> Iterator[Table]:
    """Give the map (a column for each excitation energy), its standard uncertainty, and the partial yields."""
    result = derived.read(RixsResult)
    if not result.map.size:
        return
    calibrated = result.calibration_status == "ok"
    across = result.emission_energy if calibrated else np.arange(result.map.shape[1])
    first = "emission_eV" if calibrated else "column"
    remarks = (f"calibration: {result.calibration_status}", f"intensity: {INTENSITY}")
    for name, rows in (("map", result.map), ("map_sigma", np.sqrt(result.map_variance))):
        spectra = [(f"{energy:.4f}", row) for energy, row in zip(result.excitation_energy, rows, strict=True)]
        yield Table(name, [(first, across), *spectra], remarks)
    yields = [
        ("excitation_eV", result.excitation_energy),
        ("pfy", result.pfy),
        ("pfy_sigma", result.pfy_sigma),
        ("ipfy", result.ipfy),
        ("ipfy_sigma", result.ipfy_sigma),
    ]
    yield Table("partial_yield", yields, remarks)


def plots(derived: Run) -> Iterator[Plot]:
    """Give the map against emission energy (column without a calibration) and, with one, against energy loss."""
    result = derived.read(RixsResult)
    if not result.map.size:
        return
    calibrated = result.calibration_status == "ok"
    excitation = Axis("excitation_energy", result.excitation_energy, "eV", "excitation energy")
    emission = (
        Axis("emission_energy", result.emission_energy, "eV", "emission energy")
        if calibrated
        else Axis("column", np.arange(result.map.shape[1]), "pixel", "column of the detector")
    )
    sigma = np.sqrt(result.map_variance)
    yield Plot("rixs_map", "intensity", result.map, sigma, INTENSITY, (excitation, emission))
    if calibrated:
        loss = Axis("energy_loss", result.energy_loss, "eV", "energy loss")
        sigma = np.sqrt(result.map_loss_variance)
        yield Plot("energy_loss_map", "intensity", result.map_loss, sigma, INTENSITY, (excitation, loss))


RIXS = Technique(
    name="rixs",
    title="RIXS",
    counted="frames",
    pipeline=PIPELINE,
    summarise=summarise,
    lines=lines,
    warnings=warnings,
    figures=figures,
    exporters={"nexus": nexus_exporter(plots), "columns": columns_exporter(tables)},
)
ELASTIC = replace(RIXS, name="elastic", title="ELASTIC")
