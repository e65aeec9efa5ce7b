"""Calibrate: find by how much the monochromator is off, by a reference, and keep it for the runs that follow."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from beamline.acquire.references import find_reference
from beamline.endstation.config import unknown
from beamline.errors import BeamlineError
from beamline.storage.layout import Layout
from beamline.storage.runs import Runs
from callbacks.contract import EnergyCalibration, XasResult
from callbacks.xas.energy_scale import EnergyOffset, by_edge, by_peak, by_spectrum

REFERENCE, YIELD = "reference", "tey"  # channels: the first of them that there is is taken where none is named


def calibrate(
    runs: Runs,
    name: str,
    *,
    channel: str = "",
    reference: str = "",
    peak: float | None = None,
    edge: float | None = None,
    sigma: float = 0.0,
    largest: float = 2.0,
    keep: bool = True,
) -> dict[str, Any]:
    """Find the offset of the monochromator's scale by a spectrum of a reference, and keep it in the data folder.

    Parameters
    ----------
    runs : Runs
    name : str
        A reduced absorption spectrum, as runs are named.
    channel : str
        Of it; `reference` where it has one, else `tey`.
    reference : str
        A file of two columns, energy (eV) and absorption, of the same substance; or else
    peak, edge : float, optional
        eV: the energy of its highest line, or of half its edge jump, as tabulated. One of the three is given.
    sigma : float
        eV, of what is tabulated.
    largest : float
        eV to either side in which the offset is looked for.
    keep : bool
        Whether runs that begin from now on are given it.

    Returns
    -------
    dict
        For JSON: the calibration; ``misfit``, the reduced chi square; ``before``, the offset that the run was
        calibrated by already, which the new one replaces; ``kept``, the file.

    Raises
    ------
    BeamlineError
        When the run is no reduced spectrum, or the reference cannot be found in it; says why.
    """
    if [bool(reference), peak is not None, edge is not None].count(True) != 1:
        raise BeamlineError("calibrate: expected one of a reference, a peak and an edge")
    raw, derived = runs.load_with_derived(name)
    if derived is None or raw.measurement.technique != "xas":
        raise BeamlineError(f"run {raw.uid}: is no reduced absorption spectrum")
    result = derived.read(XasResult)
    own = not channel and REFERENCE not in result.spectra
    channel = channel or next((each for each in (REFERENCE, YIELD) if each in result.spectra), "")
    if channel not in result.spectra:
        raise BeamlineError(
            f"run {raw.uid}: {unknown('channel', channel, result.spectra)}, expected one of {', '.join(result.spectra)}"
        )
    spectrum = result.spectra[channel]
    before = result.energy_offset if math.isfinite(result.energy_offset) else 0.0
    energy, values = result.xas_energy - before, spectrum.over_i0_spectrum
    variance = spectrum.over_i0_spectrum_sigma**2
    if reference:
        known = find_reference(reference, Path(), runs.data_dir)
        unknown_at = [sum(gap) / 2 for gap in known.get("gaps", [])]
        at, of = np.r_[known["energy"], unknown_at], np.r_[known["optical_density"], np.full(len(unknown_at), np.nan)]
        at, of = at[np.argsort(at, kind="stable")], of[np.argsort(at, kind="stable")]
        found = by_spectrum(energy, values, variance, at, of, largest=largest)
        said = Path(known["source"]).name
    elif peak is not None:
        found = by_peak(energy, values, variance, peak, expected_sigma=sigma, largest=largest)
        said = f"the line at {peak:g} eV"
    else:
        assert edge is not None
        found = by_edge(energy, values, variance, edge, expected_sigma=sigma, largest=largest)
        said = f"the edge at {edge:g} eV"
    if found.status != "ok":
        raise BeamlineError(f"run {raw.uid}: {channel} does not give the offset: {found.status}")
    calibration = _calibration(found, raw.start, channel, said)
    path = Layout(runs.data_dir).energy_calibrations
    if keep:
        _append(path, calibration)
    return calibration.model_dump() | {
        "misfit": found.misfit,
        "before": before,
        "said": str(calibration),
        "own": own,
        "kept": str(path) if keep else "",
    }


def _calibration(found: EnergyOffset, start: dict[str, Any], channel: str, reference: str) -> EnergyCalibration:
    return EnergyCalibration(
        offset=found.offset,
        sigma=found.sigma,
        at=found.at,
        time=float(start["time"]),
        run=start["uid"],
        channel=channel,
        reference=reference,
    )


def _append(path: Path, calibration: EnergyCalibration) -> None:
    """Add a line to the file of calibrations, and have it on the disk."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{calibration.model_dump_json()}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise BeamlineError(f"{path}: cannot be written: {error.strerror}") from error
