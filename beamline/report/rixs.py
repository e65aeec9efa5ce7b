"""The figures of a RIXS map's report: the map, its calibration, elastic lines, cosmic rays, spectra, incident flux."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from beamline.report import rixs_figures
from beamline.report.figures import Drawn, FloatArray, incident_flux
from beamline.storage import Documents, Run
from callbacks.contract import Key, RixsOutput, RixsResult
from callbacks.pipelines import RIXS
from callbacks.reduction import outputs_of_frame
from callbacks.rixs.calibration import calibration_of

BELOW_EXCITATION = 25.0  # eV of emission below the lowest excitation energy that the map shows
ABOVE_EXCITATION = 5.0  # eV above the highest


@dataclass(frozen=True)
class _Axis:
    """The horizontal axis of a map: emission energy, or the pixel if there is no calibration."""

    values: FloatArray
    label: str
    calibrated: bool
    window: tuple[float, float]  # range that is shown

    @property
    def whole(self) -> tuple[float, float]:
        """The range of the whole detector."""
        return float(self.values.min()), float(self.values.max())


def map_figures(raw: Run, derived: Run, documents: Documents, title: str) -> Iterable[Drawn]:
    """Draw a RIXS map and what it rests on, the most important figures first."""
    result = derived.read(RixsResult)
    axis = _axis(result) if result.map.size else None  # else no frame was measured, or the step has no result
    if axis:
        yield _map(result, axis, title)
    if axis and axis.calibrated:
        yield _whole_detector(result, axis, title)
        yield _energy_loss(result)
    if result.elastic_energy.size:
        yield _calibration(result)
    yield from _drift(result)
    if fits := _elastic_fits(result):
        yield (
            "Elastic line in the spectra",
            "Counts around the elastic line with the fitted model; below, the residuals in units of their uncertainty.",
            rixs_figures.elastic_fits(fits),
        )
    yield from _cosmic_rays(derived, documents)
    if axis:
        yield _spectra(result, axis)
    yield from incident_flux(raw, result.marked_frames)


def _axis(result: RixsResult) -> _Axis:
    if result.calibration_status != "ok":
        pixels = np.arange(result.map.shape[1], dtype=float)
        window = (float(pixels.min()), float(pixels.max()))
        return _Axis(pixels, "column (pixel): no energy calibration", calibrated=False, window=window)
    emission, excitation = result.emission_energy, result.excitation_energy
    window = (
        max(float(emission.min()), float(excitation.min()) - BELOW_EXCITATION),
        min(float(emission.max()), float(excitation.max()) + ABOVE_EXCITATION),
    )
    return _Axis(emission, "emission energy (eV)", calibrated=True, window=window)


def _map(result: RixsResult, axis: _Axis, title: str) -> Drawn:
    return (
        "RIXS map",
        "Counts normalised to I0 and exposure time."
        + (" The dashed line is emission = excitation, where the elastic line lies." if axis.calibrated else "")
        + " The colour scale is compressed (power 0.45) so that weak emission shows. Beside it, the sum of what is"
        " shown.",
        rixs_figures.rixs_map(
            result.excitation_energy,
            axis.values,
            result.map,
            title=title,
            axis_label=axis.label,
            diagonal=axis.calibrated,
            window=axis.window,
        ),
    )


def _whole_detector(result: RixsResult, axis: _Axis, title: str) -> Drawn:
    return (
        "The whole detector",
        "The same map over the whole detector; beyond the elastic lines its energy is extrapolated.",
        rixs_figures.rixs_map(
            result.excitation_energy, axis.values, result.map, title=title, axis_label=axis.label, window=axis.whole
        ),
    )


def _energy_loss(result: RixsResult) -> Drawn:
    loss = result.energy_loss
    return (
        "Energy loss",
        "The same map against energy loss (excitation minus emission): the elastic line is at 0.",
        rixs_figures.rixs_map(
            result.excitation_energy,
            loss,
            result.map_loss,
            title="energy loss",
            axis_label="energy loss (eV)",
            diagonal=False,
            window=(max(-3.0, float(loss.min())), min(25.0, float(loss.max()))),
        ),
    )


def _calibration(result: RixsResult) -> Drawn:
    return (
        "Energy calibration",
        "Elastic lines used (blue) and not used (grey)."
        + (" Below: the residuals of the calibration, with its 68 % band." if result.calibration_status == "ok" else "")
        + _known_lines(result),
        rixs_figures.elastic_lines(
            result.elastic_pixel - np.nan_to_num(result.elastic_moved),
            result.elastic_sigma,
            result.elastic_energy,
            result.elastic_accepted.astype(bool),
            calibration=calibration_of(result),
        ),
    )


def _known_lines(result: RixsResult) -> str:
    """Say which known lines the calibration rests on, too, and which it does not."""
    joined = [
        f"{name} at column {pixel:.1f} ({pull:+.1f} sigmas off the other lines)"
        for name, pixel, pull in zip(result.known_names, result.known_pixel, result.known_pull, strict=False)
    ]
    left_out = [str(name) for name in result.known_left_out]
    said = (("join the fit", joined), ("do not join it", left_out))
    return "".join(f" Known lines that {what}: {', '.join(lines)}." for what, lines in said if lines)


def _drift(result: RixsResult) -> Iterator[Drawn]:
    if len(result.drift_frame_hours) < 2:
        return
    yield (
        "Drift of the spectrograph",
        "How far the chip has moved since the first frame, to which all spectra were brought before they were added,"
        " with its 68 % band.",
        rixs_figures.drift(
            result.drift_frame_hours, result.drift_frame_pixels, result.drift_frame_sigma, status=result.drift_status
        ),
    )


def _spectra(result: RixsResult, axis: _Axis) -> Drawn:
    return (
        "Emission spectra",
        "Spectra at excitation energies spread over the map, with their 68 % bands, one above the other.",
        rixs_figures.spectra(
            axis.values,
            result.map,
            np.sqrt(result.map_variance),
            result.excitation_energy,
            window=axis.window,
            axis_label=axis.label,
        ),
    )


def _cosmic_rays(derived: Run, documents: Documents) -> Iterator[Drawn]:
    """Draw the frame with the most charge from cosmic rays, reduced again up to their removal, if it can be read."""
    if RixsOutput.COSMIC_REMOVED_COUNTS not in derived.frames:
        return
    removed = np.nan_to_num(derived.frames[RixsOutput.COSMIC_REMOVED_COUNTS])
    number = int(derived.frames["frame"][removed.argmax()])
    assert derived.derivation is not None
    steps = outputs_of_frame(documents, number, RIXS, derived.derivation.settings)
    if "cosmic_rays" not in steps:
        return
    yield (
        "Cosmic rays",
        f"Frame {number}, the one with the most charge from cosmic rays: as read less its pedestal, and cleaned."
        " Rings mark the pixels that were replaced by the model of their column.",
        rixs_figures.frame_before_and_after(
            steps["dark"][RixsOutput.IMAGE],
            steps["cosmic_rays"][RixsOutput.IMAGE],
            steps["cosmic_rays"][RixsOutput.COSMIC_MASK],
            title=f"frame {number} at {derived.frames[Key.ENERGY][removed.argmax()]:.2f} eV",
        ),
    )


def _elastic_fits(result: RixsResult) -> list[dict[str, Any]]:
    """List the elastic lines that the calibration is fitted to; without a calibration, all that were found."""
    used = result.elastic_accepted.astype(bool)
    chosen = np.flatnonzero(used if used.any() else np.isfinite(result.elastic_pixel))
    return [
        {
            "title": f"{result.elastic_energy[row]:.2f} eV\ncolumn {result.elastic_pixel[row]:.2f}"
            f" ± {result.elastic_sigma[row]:.2f}",
            "pixel": result.elastic_window_column[row],
            "counts": result.elastic_window_counts[row],
            "sigma": result.elastic_window_sigma[row],
            "model": result.elastic_window_model[row],
        }
        for row in chosen
    ]
