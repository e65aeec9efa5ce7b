"""Spectra as plain columns of text, for a spreadsheet or any plotting program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from beamline.errors import BeamlineError
from beamline.storage.results import Run


def write_columns(folder: Path, raw: Run, derived: Run | None) -> list[Path]:
    """Write the spectra of a run as text.

    Parameters
    ----------
    folder : Path
        Where to; it is made.
    raw : Run
    derived : Run

    Returns
    -------
    list of Path
        The files: of XAS one table; of RIXS the map (first row the excitation energies, first column the emission
        energy), its uncertainty alike, and the partial yields.

    Raises
    ------
    BeamlineError
        When the run has not been reduced.
    """
    if derived is None:
        raise BeamlineError(f"run {raw.uid} has not been reduced; `beamline replay --keep {raw.uid[:8]}` does it")
    folder.mkdir(parents=True, exist_ok=True)
    header = [
        f"{raw.measurement.technique.upper()} of {raw.measurement.sample}",
        f"raw run {raw.uid}, derived run {derived.uid}",
    ]
    if raw.measurement.technique == "xas":
        return [_xas(folder / "xas.txt", derived.result, header)]
    return _rixs(folder, derived.result, header)


def _xas(path: Path, result: Mapping[str, Any], header: list[str]) -> Path:
    names = ["xas_energy", "tey", "tey_sigma", "tfy", "tfy_sigma"]
    titles = ["energy_eV", "tey", "tey_sigma", "tfy", "tfy_sigma"]
    return _write(path, [result[name] for name in names], titles, header)


def _rixs(folder: Path, result: Mapping[str, Any], header: list[str]) -> list[Path]:
    header = [*header, f"calibration: {result['calibration_status']}", "intensity: counts per 1e6 counts of I0"]
    excitation = result["excitation_energy"]
    calibrated = result["calibration_status"] == "ok"
    across = result["emission_energy"] if calibrated else np.arange(result["map"].shape[1])
    titles = ["emission_eV" if calibrated else "column", *(f"{energy:.4f}" for energy in excitation)]
    return [
        _write(folder / "map.txt", [across, *result["map"]], titles, header),
        _write(folder / "map_sigma.txt", [across, *np.sqrt(result["map_variance"])], titles, header),
        _write(
            folder / "partial_yield.txt",
            [excitation, *(result[name] for name in PARTIAL_YIELDS)],
            ["excitation_eV", *PARTIAL_YIELDS],
            header,
        ),
    ]


PARTIAL_YIELDS = ("pfy", "pfy_sigma", "ipfy", "ipfy_sigma")


def _write(path: Path, columns: list[np.ndarray], titles: list[str], header: list[str]) -> Path:
    np.savetxt(path, np.column_stack(columns), fmt="%.10g", header="\n".join([*header, "  ".join(titles)]))
    return path
