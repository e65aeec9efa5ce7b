"""What a run and its reduction come to, as one object: for `show`, `import` and `--json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as TextTable

from beamline.storage.results import Run
from callbacks.contract import MEASUREMENT, Stream

INTERRUPTIONS = "interruptions"  # stream of the engine
COUNTED = {"xas": "points", "stxm": "lines", "stxm_line_spectrum": "lines", "stxm_focus": "lines"}  # or frames


def summarise(raw: Run, derived: Run | None) -> dict[str, Any]:
    """Summarise a raw run and what was derived from it.

    Parameters
    ----------
    raw : Run
    derived : Run or None
        None when the run has not been reduced.

    Returns
    -------
    dict
        For JSON. Energies in eV. `calibration.status` is "ok" or the reason why there is no calibration.
    """
    primary = raw.streams.get(Stream.PRIMARY)
    block = raw.start.get(MEASUREMENT, {})  # a look at a detector has none
    summary: dict[str, Any] = {
        "raw_uid": raw.uid,
        "derived_uid": derived.uid if derived else None,
        "scan_id": raw.start.get("scan_id"),
        "plan": raw.start.get("plan_name"),
        "technique": block.get("technique", raw.start.get("plan_name")),
        "sample": block.get("sample", raw.start.get("sample", {}).get("name", "")),
        "exit_status": raw.stop["exit_status"] if raw.stop else "open",
        "reason": raw.stop.get("reason", "") if raw.stop else "",
        "frames": len(primary) if primary else 0,
        "interruptions": interruptions(raw),
    }
    if derived is None or Stream.RESULT not in derived.streams:
        return summary
    result = derived.result
    summary["marked_frames"] = marked_frames(result)
    match raw.measurement.technique:
        case "xas":
            return summary | _xas(result)
        case "stxm" | "stxm_line_spectrum":
            return summary | _stxm(result)
        case "stxm_focus":
            return summary | {
                "focus": {"status": result["focus_status"], "um": result["focus"], "sigma_um": result["focus_sigma"]}
            }
        case _:
            return summary | _rixs(derived, result)


def interruptions(raw: Run) -> list[dict[str, Any]]:
    """List when a run was held and why, and the points that were kept apart because the light had gone."""
    found = []
    if held := raw.streams.get(INTERRUPTIONS):
        for time, text in zip(held.time, held["interruption"], strict=True):
            if str(text) != "resume":
                found.append({"time": float(time), "reason": str(text)})
    if dark := raw.streams.get(Stream.INTERRUPTED):
        reason = "a point was taken without light; it is in the stream `interrupted`, and was taken again"
        found += [{"time": float(time), "reason": reason} for time in dark.time]
    return sorted(found, key=lambda each: each["time"])


def marked_frames(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the frames that are not to be trusted as the others are, counted from 1, each with its reason."""
    marks: dict[int, list[str]] = {}
    for frames, reasons in (("marked_frames", "marks"), ("problem_frames", "problems")):
        for frame, reason in zip(result[frames], result[reasons], strict=True):
            marks.setdefault(int(frame), []).append(str(reason))
    return [{"frame": frame, "reason": "; ".join(marks[frame])} for frame in sorted(marks)]


def _rixs(derived: Run, result: Mapping[str, Any]) -> dict[str, Any]:
    hits = np.asarray(derived.frames["cosmic_hits"])
    return {
        "cosmic_rays": {
            "hits": int(hits[hits > 0].sum()),
            "removed_counts": float(np.nansum(derived.frames["cosmic_removed_counts"])),
        },
        "calibration": {
            "status": result["calibration_status"],
            "alarm": result["calibration_alarm"],
            "dispersion_ev_per_pixel": result["calibration_dispersion_ev_per_pixel"],
            "dispersion_sigma": result["calibration_dispersion_sigma"],
            "rms_ev": result["calibration_rms_ev"],
            "accepted": int(result["calibration_accepted"]),
            "rejected": int(result["calibration_rejected"]),
        },
        "rows": len(result["excitation_energy"]),
    }


def _xas(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "spectra": {
            name: {"status": result[f"{name}_status"], "edge_jump": result[f"{name}_edge_jump"]}
            for name in ("tey", "tfy")
        }
    }


def _stxm(result: Mapping[str, Any]) -> dict[str, Any]:
    """Summarise a stack: what can be said of its incident flux, drift, components and fractions."""
    if "optical_density" not in result:  # no image was measured
        return {"shape": [0, 0, 0], "i0": {"status": result["i0_status"], "pixels": 0}}
    density, drift = np.asarray(result["optical_density"]), np.asarray(result["drift"])
    mask, reasons = np.asarray(result["mask"]), [str(reason) for reason in result["mask_reasons"]]
    status = [str(one) for one in result["image_status"]]
    refused = {f"{energy:.2f}": one for energy, one in zip(result["stack_energy"], status, strict=True) if one != "ok"}
    found: dict[str, Any] = {
        "shape": list(density.shape),
        "energies_ev": [float(result["stack_energy"][0]), float(result["stack_energy"][-1])],
        "i0": {"status": str(result["i0_status"]), "pixels": int(np.sum(result["blank"]))},
        "drift_pixels": float(np.nanmax(np.ptp(drift, axis=0))) if np.isfinite(drift).all() else _range(drift),
        "images_not_used": refused,
        "masked_pixels": {
            reason: int((mask == number).sum()) for number, reason in enumerate(reasons) if reason != "good"
        },
        "pca": {"status": str(result["pca_status"])},
        "chemistry": {"status": str(result["chemical_status"])},
    }
    if result["pca_status"] == "ok":
        eigenvalues = np.asarray(result["pca_eigenvalues"])
        found["pca"] |= {
            "explained_variance_ratio": (eigenvalues / eigenvalues.sum())[: len(result["pca_components"])].tolist(),
            "significant": int(result["pca_significant"]),
            "pixels": int(result["pixels_used"]),
            "noise_cut": result["noise_cut"],
        }
    if "total_fractions" in result:
        names = [str(name) for name in result["end_member_names"]]
        found["fractions"] = dict(zip(names, np.asarray(result["total_fractions"]).tolist(), strict=True))
        found["fractions_sigma"] = dict(zip(names, np.asarray(result["total_fractions_sigma"]).tolist(), strict=True))
        found["reduced_fraction"] = {"total": result["total_reduced"], "sigma": result["total_reduced_sigma"]}
    return found


def _range(drift: np.ndarray) -> float:
    """Give the largest range of a shift, of the images that have one; NaN where none has."""
    known = drift[np.isfinite(drift).all(axis=(1, 2))]
    return float(np.ptp(known, axis=0).max()) if len(known) else float("nan")


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print a summary for people."""
    console = Console(highlight=False)
    scan = f"scan {summary['scan_id']}" if summary["scan_id"] is not None else "run"
    console.print(f"[bold]{scan}[/]  {summary['technique']} of {summary['sample']}  ({summary['plan']})")
    table = TextTable.grid(padding=(0, 2))
    table.add_row("raw run", summary["raw_uid"])
    table.add_row("derived run", summary["derived_uid"] or "none: the run has not been reduced")
    if series := summary.get("series"):
        table.add_row("last of the runs", ", ".join(uid[:8] for uid in series))
    table.add_row("ended", summary["exit_status"] + (f": {summary['reason']}" if summary["reason"] else ""))
    table.add_row(COUNTED.get(summary["technique"], "frames"), str(summary["frames"]))
    counted = COUNTED.get(summary["technique"], "frames").removesuffix("s")
    for held in summary.get("interruptions", []):
        table.add_row(f"held at {datetime.fromtimestamp(held['time']):%H:%M:%S}", f"[yellow]{held['reason']}[/]")
    for mark in summary.get("marked_frames", []):
        table.add_row(f"{counted} {mark['frame']}", f"[yellow]{mark['reason']}[/]")
    if cosmic := summary.get("cosmic_rays"):
        table.add_row("cosmic rays", f"{cosmic['hits']} hits, {cosmic['removed_counts']:,.0f} counts removed")
    if calibration := summary.get("calibration"):
        table.add_row("calibration", calibration_line(calibration))
        if calibration["alarm"]:
            table.add_row("", f"[bold red]{calibration['alarm']}[/]")
    for label, text in stxm_lines(summary):
        table.add_row(label, text)
    for name, spectrum in summary.get("spectra", {}).items():
        table.add_row(name.upper(), spectrum["status"])
    console.print(table)


def stxm_lines(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Say what a stack came to, line by line."""
    if focus := summary.get("focus"):
        yield "focus", f"{focus['um']:.2f} ± {focus['sigma_um']:.2f} um" if focus["status"] == "ok" else focus["status"]
    if "i0" not in summary:
        return
    energies, rows, columns = summary["shape"]
    yield "stack", f"{energies} energies of {columns} x {rows} pixels"
    i0 = summary["i0"]
    yield "I0", f"{i0['pixels']} sample-free pixels" if i0["status"] == "ok" else f"none: {i0['status']}"
    if "drift_pixels" not in summary:
        return
    yield "drift", f"{summary['drift_pixels']:.2f} pixels"
    for energy, reason in summary["images_not_used"].items():
        yield f"{energy} eV", f"[yellow]{reason}[/]"
    masked = ", ".join(f"{count} {reason}" for reason, count in summary["masked_pixels"].items() if count)
    yield "pixels left out", masked or "none"
    pca = summary["pca"]
    if pca["status"] == "ok":
        shares = ", ".join(f"{share:.1%}" for share in pca["explained_variance_ratio"])
        yield "PCA", f"{shares} of the variance; {pca['significant']} components above the noise"
    else:
        yield "PCA", f"none: {pca['status']}"
    if "fractions" in summary:
        shares = ", ".join(f"{name} {share:.3f}" for name, share in summary["fractions"].items())
        total = summary["reduced_fraction"]
        yield "fractions", f"{shares}; reduced {total['total']:.3f} ± {total['sigma']:.3f}"
    elif summary["chemistry"]["status"] != "ok":
        yield "chemical map", f"none: {summary['chemistry']['status']}"


def calibration_line(calibration: Mapping[str, Any]) -> str:
    """Say in one line what a calibration is worth."""
    if calibration["status"] != "ok":
        return f"none: {calibration['status']}"
    return (
        f"{calibration['dispersion_ev_per_pixel']:.5f} ± {calibration['dispersion_sigma']:.5f} eV/pixel, "
        f"rms {calibration['rms_ev']:.3f} eV, {calibration['accepted']} elastic lines used,"
        f" {calibration['rejected']} spectra without one"
    )
