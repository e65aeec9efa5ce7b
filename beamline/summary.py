"""What a run and its reduction come to, as one object: for `show`, `import` and `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as TextTable

from beamline.results import Run
from callbacks.contract import Stream


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
    summary: dict[str, Any] = {
        "raw_uid": raw.uid,
        "derived_uid": derived.uid if derived else None,
        "scan_id": raw.start.get("scan_id"),
        "plan": raw.start.get("plan_name"),
        "technique": raw.measurement.technique,
        "sample": raw.measurement.sample,
        "exit_status": raw.stop["exit_status"] if raw.stop else "open",
        "reason": raw.stop.get("reason", "") if raw.stop else "",
        "frames": len(primary) if primary else 0,
    }
    if derived is None or Stream.RESULT not in derived.streams:
        return summary
    result = derived.result
    summary["marked_frames"] = marked_frames(result)
    if raw.measurement.technique == "xas":
        return summary | _xas(result)
    return summary | _rixs(derived, result)


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


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print a summary for people."""
    console = Console(highlight=False)
    scan = f"scan {summary['scan_id']}" if summary["scan_id"] is not None else "run"
    console.print(f"[bold]{scan}[/]  {summary['technique']} of {summary['sample']}  ({summary['plan']})")
    table = TextTable.grid(padding=(0, 2))
    table.add_row("raw run", summary["raw_uid"])
    table.add_row("derived run", summary["derived_uid"] or "none: the run has not been reduced")
    table.add_row("ended", summary["exit_status"] + (f": {summary['reason']}" if summary["reason"] else ""))
    table.add_row("points" if summary["technique"] == "xas" else "frames", str(summary["frames"]))
    for mark in summary.get("marked_frames", []):
        table.add_row(f"frame {mark['frame']}", f"[yellow]{mark['reason']}[/]")
    if cosmic := summary.get("cosmic_rays"):
        table.add_row("cosmic rays", f"{cosmic['hits']} hits, {cosmic['removed_counts']:,.0f} counts removed")
    if calibration := summary.get("calibration"):
        table.add_row("calibration", calibration_line(calibration))
        if calibration["alarm"]:
            table.add_row("", f"[bold red]{calibration['alarm']}[/]")
    for name, spectrum in summary.get("spectra", {}).items():
        table.add_row(name.upper(), spectrum["status"])
    console.print(table)


def calibration_line(calibration: Mapping[str, Any]) -> str:
    """Say in one line what a calibration is worth."""
    if calibration["status"] != "ok":
        return f"none: {calibration['status']}"
    return (
        f"{calibration['dispersion_ev_per_pixel']:.5f} ± {calibration['dispersion_sigma']:.5f} eV/pixel, "
        f"rms {calibration['rms_ev']:.3f} eV, {calibration['accepted']} elastic lines used,"
        f" {calibration['rejected']} spectra without one"
    )
