"""The figures of a RIXS map's report: the map, its calibration, elastic lines, cosmic rays, spectra, incident flux."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from beamline.report import figures
from beamline.report.figures import Drawn, incident_flux
from beamline.storage.results import Documents, Run
from callbacks.contract import Key, RixsOutput, RixsResult
from callbacks.pipelines import RIXS
from callbacks.reduction import outputs_of_frame

BELOW_EXCITATION = 25.0  # eV of emission below the lowest excitation energy that the map shows


def map_figures(raw: Run, derived: Run, documents: Documents, title: str) -> Iterable[Drawn]:
    """Draw a RIXS map and what it rests on: what matters most first."""
    result, frames = derived.read(RixsResult), derived.frames
    ok = result.calibration_status == "ok"
    excitation, intensity = result.excitation_energy, result.map
    axis = result.emission_energy if ok else np.arange(intensity.shape[1], dtype=float)
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
        figures.rixs_map(excitation, axis, intensity, title=title, axis_label=label, diagonal=ok, window=window),
    )
    if ok:
        yield (
            "The whole detector",
            "The same map with all that the detector sees; beyond the elastic lines its energy is extrapolated.",
            figures.rixs_map(excitation, axis, intensity, title=title, axis_label=label, window=whole),
        )
    if ok:
        loss = result.energy_loss
        yield (
            "Energy loss",
            "The same map against energy loss (excitation minus emission): the elastic line stands at 0.",
            figures.rixs_map(
                excitation,
                loss,
                result.map_loss,
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
            result.elastic_pixel,
            result.elastic_sigma,
            result.elastic_energy,
            result.elastic_accepted.astype(bool),
            coefficients=result.calibration_coefficients,
            covariance=result.calibration_covariance,
            pivot=result.calibration_pivot,
            status=result.calibration_status,
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
        figures.spectra(axis, intensity, np.sqrt(result.map_variance), excitation, window=window, axis_label=label),
    )
    yield incident_flux(raw, result.marked_frames, frames["frame"])


def _hits(derived: Run, documents: Documents) -> Drawn:
    """Draw the frame that lost most to cosmic rays, reduced again up to that step."""
    removed = np.nan_to_num(derived.frames[RixsOutput.COSMIC_REMOVED_COUNTS])
    number = int(derived.frames["frame"][removed.argmax()])
    assert derived.derivation is not None
    steps = outputs_of_frame(documents, number, RIXS, derived.derivation.settings)
    return (
        "Cosmic rays",
        f"Frame {number}, the one that lost most charge to cosmic rays: as read without its pedestal, and cleaned."
        " Rings mark the pixels that were replaced by the model of their column.",
        figures.frame_before_and_after(
            steps["dark"][RixsOutput.IMAGE],
            steps["cosmic_rays"][RixsOutput.IMAGE],
            steps["cosmic_rays"][RixsOutput.COSMIC_MASK],
            title=f"frame {number} at {derived.frames[Key.ENERGY][removed.argmax()]:.2f} eV",
        ),
    )


def _elastic_fits(result: RixsResult) -> list[dict[str, Any]]:
    """Give the lines that the calibration rests on; without one, those that come nearest."""
    used = result.elastic_accepted.astype(bool)
    chosen = np.flatnonzero(used if used.any() else np.isfinite(result.elastic_pixel))
    return [
        {
            "title": f"{result.elastic_energy[row]:.2f} eV: column {result.elastic_pixel[row]:.2f}"
            f" ± {result.elastic_sigma[row]:.2f}",
            "pixel": result.elastic_window_column[row],
            "counts": result.elastic_window_counts[row],
            "sigma": result.elastic_window_sigma[row],
            "model": result.elastic_window_model[row],
        }
        for row in chosen
    ]
