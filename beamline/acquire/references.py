"""Reference spectra of the configuration: from a run of the data folder, or from a file of two columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from beamline.endstation.config import Config
from beamline.errors import BeamlineError
from beamline.storage import Run, Runs

LARGEST_FILE = 10_000_000  # bytes of a file of two columns: some 400,000 energies


def processing_with_references(config: Config, data_dir: Path) -> dict[str, dict[str, Any]]:
    """Return the settings of the pipelines, with the reference spectra that the table `references` names.

    Parameters
    ----------
    config : Config
    data_dir : Path
        The data folder, for references that are runs.

    Raises
    ------
    BeamlineError
        When a reference is neither a file nor a run with a spectrum.
    """
    if not config.references:
        return config.processing
    references = {
        name: find_reference(where, config.path.parent, data_dir) for name, where in config.references.items()
    }
    stxm = config.processing.get("stxm", {})
    chemistry = stxm.get("chemistry", {}) | {"references": references}
    return config.processing | {"stxm": stxm | {"chemistry": chemistry}}


def find_reference(where: str, folder: Path, data_dir: Path) -> dict[str, Any]:
    """Read a reference spectrum into the form that the settings have.

    Parameters
    ----------
    where : str
        A file of two columns, energy (eV) and optical density; or a run: a uid, the unique beginning of one, or a scan
        id.
    folder : Path
        Folder that a relative path refers to.
    data_dir : Path
        The data folder, for references that are runs.

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
        if path.stat().st_size > LARGEST_FILE:
            raise BeamlineError(f"{path}: {path.stat().st_size} bytes, expected two columns of at most {LARGEST_FILE}")
        try:
            table = np.loadtxt(path, ndmin=2)
            energy, density = table[:, 0], table[:, 1]
        except (OSError, ValueError, IndexError) as error:
            raise BeamlineError(f"{path}: expected two columns, energy in eV and optical density: {error}") from error
        return {"energy": energy.tolist(), "optical_density": density.tolist(), "source": str(path)}
    raw, derived = Runs(data_dir).load_with_derived(where)
    if derived is None:
        raise BeamlineError(f"reference {where}: run {raw.uid} has not been reduced")
    return reference_of(derived, where)


def reference_of(derived: Run, where: str) -> dict[str, Any]:
    """Return the mean spectrum of a reduced stack or line spectrum as a reference."""
    result = derived.result
    if "spectrum" not in result:
        raise BeamlineError(f"reference {where}: the run has no optical density; expected a stack or a line spectrum")
    known = np.isfinite(result["spectrum"])
    if known.sum() < 4:
        raise BeamlineError(f"reference {where}: the run has no spectrum: I0 {result['i0_status']}")
    energy, density = np.asarray(result["stack_energy"])[known], np.asarray(result["spectrum"])[known]
    assert derived.derivation is not None
    return {
        "energy": energy.tolist(),
        "optical_density": density.tolist(),
        "source": f"run {derived.derivation.raw_uids[0]}",
    }
