"""One self-contained HTML page of a run: figures, uncertainties, what was marked and why, provenance."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure

from beamline.operations.summary import COUNTED, calibration_line, stxm_lines, summarise
from beamline.report import figures
from beamline.report.stxm import focus_figures, stack_figures
from beamline.storage.results import Documents, Run, collect
from callbacks.contract import Key, Stream
from callbacks.reduction import outputs_of_frame

DPI = 110
MOST_WARNINGS = 20
NAMES = {"stxm": "STXM", "stxm_line_spectrum": "STXM line spectrum", "stxm_focus": "STXM focus scan"}
BELOW_EXCITATION = 25.0  # eV of emission below the lowest excitation energy that the map shows


Drawn = tuple[str, str, Figure]  # heading, caption, figure


def write_report(path: Path, raw_documents: Documents, derived: Run) -> None:
    """Write the report of a run.

    Parameters
    ----------
    path : Path
        The HTML file.
    raw_documents : iterable of (name, document)
        The raw run.
    derived : Run
        What was made of it.
    """
    documents = list(raw_documents)
    raw = collect(documents)
    summary = summarise(raw, derived)
    drawn = _drawn(raw, derived, documents)
    counted = COUNTED.get(raw.measurement.technique, "frames").removesuffix("s")
    warnings = [f"{counted} {mark['frame']}: {mark['reason']}" for mark in summary["marked_frames"][:MOST_WARNINGS]]
    if (more := len(summary["marked_frames"]) - MOST_WARNINGS) > 0:
        warnings.append(f"and {more} more {counted}s")
    for name in ("i0", "pca", "chemistry"):
        if name in summary and summary[name]["status"] != "ok":
            warnings.insert(0, f"{name.upper() if name != 'chemistry' else name}: {summary[name]['status']}")
    warnings += [f"{energy} eV: {reason}" for energy, reason in summary.get("images_not_used", {}).items()]
    if (calibration := summary.get("calibration")) and calibration["alarm"]:
        warnings.insert(0, calibration["alarm"])
    if calibration and calibration["status"] != "ok":
        warnings.insert(0, f"no energy calibration: {calibration['status']}")
    if summary["exit_status"] != "success":
        warnings.insert(0, f"the run ended with {summary['exit_status']}: {summary['reason'] or 'no reason given'}")
    write_page(
        path,
        title=_title(raw),
        subtitle=_subtitle(raw),
        verdict=_verdict(summary),
        warnings=warnings,
        drawn=drawn,
        provenance=_provenance(raw, derived),
    )


def write_page(
    path: Path,
    *,
    title: str,
    subtitle: str,
    verdict: str,
    warnings: list[str],
    drawn: Iterable[Drawn],
    provenance: list[tuple[str, str]],
) -> None:
    """Write a self-contained page.

    Parameters
    ----------
    path : Path
        The HTML file.
    title, subtitle, verdict : str
    warnings : list of str
        What the reader must know first; the page is green where there is none.
    drawn : iterable of (heading, caption, figure)
    provenance : list of (name, value)
    """
    template = jinja2.Environment(loader=jinja2.PackageLoader("beamline.report"), autoescape=True).get_template(
        "report.html"
    )
    page = template.render(
        title=title,
        subtitle=subtitle,
        verdict=verdict,
        warnings=warnings,
        figures=[{"heading": heading, "caption": caption, "png": _png(figure)} for heading, caption, figure in drawn],
        provenance=provenance,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _drawn(raw: Run, derived: Run, documents: Documents) -> Iterable[Drawn]:
    match raw.measurement.technique:
        case "xas":
            return _xas(raw, derived)
        case "stxm" | "stxm_line_spectrum":
            return stack_figures(derived.result)
        case "stxm_focus":
            return focus_figures(derived.result)
        case _:
            return _rixs(raw, derived, documents)


def _rixs(raw: Run, derived: Run, documents: Documents) -> Iterable[Drawn]:
    result, frames = derived.result, derived.frames
    ok = result["calibration_status"] == "ok"
    excitation, intensity = result["excitation_energy"], result["map"]
    axis = result["emission_energy"] if ok else np.arange(intensity.shape[1], dtype=float)
    label = "emission energy (eV)" if ok else "column (pixel): no energy calibration"
    whole = (float(axis.min()), float(axis.max()))
    window = (
        (max(whole[0], float(excitation.min()) - BELOW_EXCITATION), min(whole[1], float(excitation.max()) + 5.0))
        if ok
        else whole
    )
    yield (
        "RIXS map",
        "Counts normalised to I0 and exposure time. The dashed line is emission = excitation, where the elastic line"
        " lies. The colour scale is compressed (power 0.45) so that weak emission shows.",
        figures.rixs_map(excitation, axis, intensity, title=_title(raw), axis_label=label, diagonal=ok, window=window),
    )
    if ok:
        yield (
            "The whole detector",
            "The same map with all that the detector sees; beyond the elastic lines its energy is extrapolated.",
            figures.rixs_map(excitation, axis, intensity, title=_title(raw), axis_label=label, window=whole),
        )
    if ok:
        loss = result["energy_loss"]
        yield (
            "Energy loss",
            "The same map against energy loss (excitation minus emission): the elastic line stands at 0.",
            figures.rixs_map(
                excitation,
                loss,
                result["map_loss"],
                title="energy loss",
                axis_label="energy loss (eV)",
                diagonal=False,
                window=(max(-3.0, float(loss.min())), min(25.0, float(loss.max()))),
            ),
        )
    yield (
        "Energy calibration",
        "Elastic lines used (blue) and not used (grey). Below: what the calibration leaves over, with its 68 % band.",
        figures.calibration(
            result["elastic_pixel"],
            result["elastic_sigma"],
            result["elastic_energy"],
            result["elastic_accepted"].astype(bool),
            coefficients=result["calibration_coefficients"],
            covariance=result["calibration_covariance"],
            pivot=result["calibration_pivot"],
            status=result["calibration_status"],
        ),
    )
    fits = _elastic_fits(result)
    if fits:
        yield (
            "Elastic line in the spectra",
            "Counts around the elastic line with the fitted model; below, the residuals in units of their uncertainty.",
            figures.elastic_fits(fits),
        )
    yield _hits(derived, documents)
    yield (
        "Emission spectra",
        "Spectra at excitation energies spread over the map, with their 68 % bands, one above another.",
        figures.spectra(axis, intensity, np.sqrt(result["map_variance"]), excitation, window=window, axis_label=label),
    )
    yield _flux(raw, result, frames["frame"])


def _xas(raw: Run, derived: Run) -> Iterable[Drawn]:
    result = derived.result
    yields = {
        name: (result[name], result[f"{name}_sigma"]) for name in ("tey", "tfy") if result[f"{name}_status"] == "ok"
    }
    yield (
        "Absorption spectra",
        "Normalised to I0, pre-edge subtracted, edge normalised; with 68 % bands.",
        figures.absorption(result["xas_energy"], yields, title=_title(raw), label="normalised yield"),
    )
    yield _flux(raw, result, derived.frames["frame"])


def _flux(raw: Run, result: dict[str, Any], frame: np.ndarray) -> Drawn:
    primary = raw.streams[Stream.PRIMARY]
    ring = primary.columns.get(Key.RING_CURRENT)
    marked = np.isin(frame, result["marked_frames"])
    return (
        "Incident flux",
        "I0 of every frame or point, with the ring current where it was recorded. Red: marked.",
        figures.flux(primary.timestamps[Key.I0], primary[Key.I0], ring, marked),
    )


def _hits(derived: Run, documents: Documents) -> Drawn:
    """Draw the frame that lost most to cosmic rays, reduced again up to that step."""
    removed = np.nan_to_num(derived.frames["cosmic_removed_counts"])
    number = int(derived.frames["frame"][removed.argmax()])
    assert derived.derivation is not None
    steps = outputs_of_frame(documents, number, derived.derivation.settings)
    return (
        "Cosmic rays",
        f"Frame {number}, the one that lost most charge to cosmic rays: as read without its pedestal, and cleaned."
        " Rings mark the pixels that were replaced by the model of their column.",
        figures.frame_before_and_after(
            steps["dark"]["image"],
            steps["cosmic_rays"]["image"],
            steps["cosmic_rays"]["cosmic_mask"],
            title=f"frame {number} at {derived.frames[Key.ENERGY][removed.argmax()]:.2f} eV",
        ),
    )


def _elastic_fits(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the lines that the calibration rests on; without one, those that come nearest."""
    used = result["elastic_accepted"].astype(bool)
    chosen = np.flatnonzero(used if used.any() else np.isfinite(result["elastic_pixel"]))
    return [
        {
            "title": f"{result['elastic_energy'][row]:.2f} eV: column {result['elastic_pixel'][row]:.2f}"
            f" ± {result['elastic_sigma'][row]:.2f}",
            "pixel": result["elastic_window_column"][row],
            "counts": result["elastic_window_counts"][row],
            "sigma": result["elastic_window_sigma"][row],
            "model": result["elastic_window_model"][row],
        }
        for row in chosen
    ]


def _title(raw: Run) -> str:
    block = raw.measurement
    scan = f"scan {raw.start['scan_id']}: " if "scan_id" in raw.start else ""
    sample = "a sample that is not recorded" if block.sample == "not recorded" else block.sample
    return f"{scan}{NAMES.get(block.technique, block.technique.upper())} of {sample}" + (
        f" at the {block.edge} edge" if block.edge else ""
    )


def _subtitle(raw: Run) -> str:
    began = datetime.fromtimestamp(raw.start["time"]).astimezone()
    lasted = f", {(raw.stop['time'] - raw.start['time']) / 60:.1f} min" if raw.stop else ", not closed"
    return f"{raw.start.get('plan_name', '')} begun {began:%Y-%m-%d %H:%M:%S %Z}{lasted}; run {raw.uid}"


def _verdict(summary: dict[str, Any]) -> str:
    parts = [f"{summary['frames']} {COUNTED.get(summary['technique'], 'frames')} measured"]
    parts += [
        f"{label}: {text}"
        for label, text in stxm_lines(summary)
        if label in ("I0", "drift", "PCA", "fractions", "focus")
    ]
    if cosmic := summary.get("cosmic_rays"):
        parts.append(f"{cosmic['hits']} cosmic-ray hits removed ({cosmic['removed_counts']:,.0f} counts)")
    if calibration := summary.get("calibration"):
        parts.append(f"calibration: {calibration_line(calibration)}")
    return "; ".join(parts) + "."


def _provenance(raw: Run, derived: Run) -> list[tuple[str, str]]:
    derivation = derived.derivation
    assert derivation is not None
    return [
        ("raw run", raw.uid),
        ("derived run", derived.uid),
        ("pipeline", derivation.pipeline),
        ("software", ", ".join(f"{name} {version}" for name, version in derivation.software.items())),
        ("settings", json.dumps(derivation.settings)),
        ("measurement", raw.measurement.model_dump_json()),
        *(
            (key, json.dumps(raw.start[key], default=str))
            for key in ("plan_args", "versions", "instrument_log")
            if key in raw.start
        ),
    ]


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
