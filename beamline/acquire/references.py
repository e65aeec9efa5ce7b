"""What the configuration takes from runs of the data folder: reference spectra, also from files, and a calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from beamline.endstation.config import CalibrationTable, ReductionConfig, unknown
from beamline.errors import BeamlineError
from beamline.formats.importers.text_table import read_table
from beamline.storage import Run, Runs
from beamline.storage.layout import Layout
from callbacks.analysis.measured import gaps_of
from callbacks.contract import RIXS_POOLED, CalibrationResult, EnergyCalibration, RixsResult, XasResult

YIELD = "tey"  # the channel of an absorption spectrum where none is named


def processing_with_references(config: ReductionConfig, data_dir: Path) -> dict[str, dict[str, Any]]:
    """Return the settings of the pipelines, with what the tables `references` and `calibration` name.

    Parameters
    ----------
    config : ReductionConfig
    data_dir : Path
        The data folder, for references that are runs.

    Raises
    ------
    BeamlineError
        When a reference is neither a file nor a run with a spectrum, or what the calibration is to be of has none.
    """
    processing = config.processing
    if config.references:
        references = {
            name: find_reference(where, config.path.parent, data_dir) for name, where in config.references.items()
        }
        stxm = processing.get("stxm", {})
        chemistry = stxm.get("chemistry", {}) | {"references": references}
        processing = processing | {"stxm": stxm | {"chemistry": chemistry}}
    if config.calibration is not None and config.calibration.rixs:
        rixs = processing.get("rixs", {})
        line = rixs.get("elastic_line", {})
        if "loaded" in line:
            raise BeamlineError(
                f"{config.path}: calibration.rixs and processing.rixs.elastic_line.loaded: expected one of the two"
            )
        line = line | {"loaded": find_calibration(config.calibration.rixs, data_dir)}
        processing = processing | {"rixs": rixs | {"elastic_line": line}}
    if config.calibration is not None and (found := _of_spectra(config.calibration, data_dir)):
        xas = processing.get("xas", {})
        if twice := found.keys() & xas.keys():
            raise BeamlineError(f"{config.path}: calibration and processing.xas.{min(twice)}: expected one of the two")
        processing = processing | {"xas": xas | found}
    return processing


def _of_spectra(table: CalibrationTable, data_dir: Path) -> dict[str, Any]:
    """Give the settings of spectra that a table names."""
    found: dict[str, Any] = {}
    if table.open_beam:
        found["open_beam"] = find_open_beam(table.open_beam, table.open_beam_channel, data_dir)
    if table.energy and (newest := newest_calibration(data_dir)) is not None:
        found["energy_calibration"] = newest.model_dump()
    return found


def newest_calibration(data_dir: Path) -> EnergyCalibration | None:
    """Read the newest calibration of the energy that a data folder keeps; None where it has none.

    Raises
    ------
    BeamlineError
        When the file in which they are kept cannot be read.
    """
    path = Layout(data_dir).energy_calibrations
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return EnergyCalibration.model_validate_json(lines[-1]) if lines else None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BeamlineError(f"{path}: its last line is no calibration of the energy: {reason}") from error


def find_open_beam(where: str, channel: str, data_dir: Path) -> dict[str, Any]:
    """Read what a channel saw of the open beam over I0 into the form that the settings have; its mean is 1.

    Parameters
    ----------
    where : str
        A reduced absorption spectrum, as runs are named.
    channel : str
        A detector without structure of its own.
    data_dir : Path
        The data folder.

    Raises
    ------
    BeamlineError
        When it is none, has no such channel, or was itself divided by an open beam.
    """
    raw, derived = Runs(data_dir).load_with_derived(where)
    if derived is None:
        raise BeamlineError(f"open beam {where}: run {raw.uid} has not been reduced")
    result = derived.read(XasResult)
    if channel not in result.spectra:
        raise BeamlineError(f"open beam {where}: {unknown('channel', channel, result.spectra)}")
    assert derived.derivation is not None
    if derived.derivation.settings.get("open_beam"):
        raise BeamlineError(f"open beam {where}: it was itself divided by one; replay it without")
    spectrum = result.spectra[channel]
    known = np.isfinite(spectrum.over_i0_spectrum_sigma) & (spectrum.over_i0_spectrum > 0)
    if known.sum() < 2:
        raise BeamlineError(f"open beam {where}: {channel} saw no light in it")
    applied = result.energy_offset if np.isfinite(result.energy_offset) else 0.0
    mean = float(spectrum.over_i0_spectrum[known].mean())
    return {
        "energy": (result.xas_energy[known] - applied).tolist(),
        "ratio": (spectrum.over_i0_spectrum[known] / mean).tolist(),
        "sigma": (spectrum.over_i0_spectrum_sigma[known] / mean).tolist(),
        "source": f"run {derived.derivation.raw_uids[-1]}",
    }


def find_calibration(where: str, data_dir: Path) -> dict[str, Any]:
    """Read the calibration of a spectrograph into the form that the settings have.

    Parameters
    ----------
    where : str
        A pooled analysis of RIXS maps: its uid or the unique beginning of it; or a run, as runs are named.
    data_dir : Path
        The data folder.

    Raises
    ------
    BeamlineError
        When it is neither, or has no calibration.
    """
    runs = Runs(data_dir)
    pooled = runs.find_pooled(where)
    derived = runs.load(pooled) if pooled else runs.load_with_derived(where)[1]
    if derived is None:
        raise BeamlineError(f"calibration {where}: the run has not been reduced")
    result = derived.read(CalibrationResult)
    if result.calibration_status != "ok":
        why = result.calibration_status or "it is no RIXS map"
        raise BeamlineError(f"calibration {where}: the run has none: {why}")
    return {
        "pivot": float(result.calibration_pivot),
        "coefficients": result.calibration_parameters.tolist(),
        "covariance": result.calibration_covariance.tolist(),
        "source": f"{'pooled analysis' if pooled else 'reduction'} {derived.uid}",
        "runs": _lines_of(derived),
    }


def _lines_of(derived: Run) -> list[str]:
    """Give the uids of all maps whose lines a calibration is made of, those of one that was loaded for it included."""
    assert derived.derivation is not None
    loaded = derived.derivation.settings.get("elastic_line", {}).get("loaded")
    used = derived.derivation.pipeline != RIXS_POOLED and derived.read(RixsResult).calibration_loaded
    return [*derived.derivation.raw_uids, *(loaded.get("runs", ()) if used and loaded else ())]


def find_reference(where: str, folder: Path, data_dir: Path, channel: str = "") -> dict[str, Any]:
    """Read a reference spectrum into the form that the settings have.

    Parameters
    ----------
    where : str
        A file of two columns, energy (eV) and optical density, or of three, its standard uncertainty the last; or a
        run: a uid, the unique beginning of one, or a scan id.
    folder : Path
        Folder that a relative path refers to.
    data_dir : Path
        The data folder, for references that are runs.
    channel : str
        Of a run that is an absorption spectrum; that of `channel_of` where none is named.

    Raises
    ------
    BeamlineError
        When it is neither a file nor a run with a spectrum.
    """
    try:
        path = folder / Path(where).expanduser()
    except RuntimeError as error:  # there is no such user
        raise BeamlineError(f"reference {where}: {error}") from error
    if path.is_file():
        found = read_table(path)
        if found.problems or found.numbers.shape[1] < 2:
            why = found.problems[0] if found.problems else "it has one"
            raise BeamlineError(f"{path}: expected two columns, energy in eV and optical density: {why}")
        table = found.numbers
        energy, density = table[:, 0], table[:, 1]
        if not np.isfinite(table).all():
            row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0]) + 1
            raise BeamlineError(f"{path}: row {row} of its numbers has one that is not finite, expected numbers")
        reference = {"energy": energy.tolist(), "optical_density": density.tolist(), "source": str(path)}
        return reference | ({"sigma": table[:, 2].tolist()} if table.shape[1] > 2 else {})
    if path.suffix or len(Path(where).parts) > 1:  # as no run is named
        raise BeamlineError(f"reference {where}: there is no file {path}")
    raw, derived = Runs(data_dir).load_with_derived(where)
    if derived is None:
        raise BeamlineError(f"reference {where}: run {raw.uid} has not been reduced")
    return reference_of(derived, where, channel)


def channel_of(result: XasResult, asked: str = "") -> str:
    """Give the channel that is asked for, else the yield of electrons where there is one, else the first."""
    names = [*result.spectra]
    return asked or (YIELD if YIELD in names else names[0] if names else "")


def reference_of(derived: Run, where: str, channel: str = "") -> dict[str, Any]:
    """Return the mean spectrum of a reduced stack or line spectrum, or an absorption spectrum, as a reference."""
    result = derived.result
    if "xas_energy" in result:
        return _absorption_of(derived, where, channel)
    if "spectrum" not in result:
        raise BeamlineError(
            f"reference {where}: the run has no optical density; expected a stack, a line or an absorption spectrum"
        )
    known = np.isfinite(result["spectrum"])
    if known.sum() < 4:
        raise BeamlineError(f"reference {where}: the run has no spectrum: I0 {result['i0_status']}")
    energy, density = np.asarray(result["stack_energy"])[known], np.asarray(result["spectrum"])[known]
    assert derived.derivation is not None
    sigma = np.asarray(result["spectrum_sigma"])[known]
    return {
        "energy": energy.tolist(),
        "optical_density": density.tolist(),
        "sigma": sigma.tolist(),
        "source": f"run {derived.derivation.raw_uids[-1]}",
        "gaps": gaps_of(np.asarray(result["stack_energy"]), known),
    }


def _absorption_of(derived: Run, where: str, channel: str) -> dict[str, Any]:
    """Return a normalised absorption spectrum as a reference."""
    result = derived.read(XasResult)
    channel = channel_of(result, channel)
    if channel not in result.spectra:
        raise BeamlineError(f"reference {where}: {unknown('channel', channel, result.spectra)}")
    spectrum = result.spectra[channel]
    if spectrum.status != "ok":
        raise BeamlineError(f"reference {where}: {channel} is not normalised: {spectrum.status}")
    known = np.isfinite(spectrum.normalised)
    assert derived.derivation is not None
    return {
        "energy": result.xas_energy[known].tolist(),
        "optical_density": spectrum.normalised[known].tolist(),
        "sigma": spectrum.sigma[known].tolist(),
        "source": f"run {derived.derivation.raw_uids[-1]}, {channel}",
        "gaps": gaps_of(result.xas_energy, known),
    }
