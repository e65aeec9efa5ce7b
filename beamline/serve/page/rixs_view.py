"""Figures of a RIXS map, while it is measured and afterwards."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from beamline.report.rixs import ABOVE_EXCITATION, BELOW_EXCITATION
from beamline.serve.page.growing import GrowingRun
from beamline.serve.page.panels import Axis, Curve, FloatArray, Panel, image, lines
from callbacks.contract import Key, RixsOutput, Stream
from callbacks.external import FrameReadError
from callbacks.pipelines import RixsSettings
from callbacks.rixs.calibration import Calibration
from callbacks.rixs.cosmic_rays import remove_cosmic_rays
from callbacks.rixs.curvature import straighten
from callbacks.rixs.rixs_map import map_on_energy_loss

GAMMA = 0.45  # as of the reports: a map holds lines a hundred times weaker than its strongest
COLUMN, ROW = Axis("column", "pixel"), Axis("row", "pixel")
PER_FLUX = "counts per column and 10⁶ counts of I0"


Later = Callable[[Callable[[], "Cleaned"]], "Future[Cleaned]"]


@dataclass(frozen=True)
class Cleaned:
    """A frame without its hits: which it is, counted from 1, where they were, shape (hits, 2), and its figure."""

    number: int
    hits: FloatArray
    panel: Panel


def panels(raw: GrowingRun, derived: GrowingRun | None, *, later: Later | None = None) -> list[Panel]:
    """Give the figures of a map: the newest frame as it was read, and what the reduction has made of those before.

    Parameters
    ----------
    raw, derived : GrowingRun
    later : callable, optional
        Begins to take the hits out of a frame, which takes as long as the reduction itself needs, and does not wait for
        it; the figures show the frame of before until it is done. Waited for where not given.
    """
    if derived is None or not derived.count(Stream.FRAMES):
        first = _newest(raw, {}, None)
        return [first] if first else []
    known = derived.count(Stream.FRAMES), derived.count(Stream.RESULT)
    if derived.cache.get("reduced", (None,))[0] != known:
        derived.cache["reduced"] = known, _reduced(derived)
    reduced: list[Panel] = derived.cache["reduced"][1]
    cleaned = _cleaned(raw, derived, later)
    newest = _newest(raw, derived.last(Stream.FRAMES), cleaned)
    return [*([newest] if newest else []), *([cleaned.panel] if cleaned else []), *reduced]


def _reduced(derived: GrowingRun) -> list[Panel]:
    calibration = _calibration(derived)
    made = [_spectrum(derived, calibration), *_maps(derived, calibration)]
    return [*made, *_lines(derived, calibration), _drift(derived)]


def _calibration(derived: GrowingRun) -> Calibration | None:
    """Give the calibration so far; None where there is none."""
    ended = derived.has_result("calibration_status")
    now = derived.last(Stream.FRAMES)
    status = str(derived.result("calibration_status")) if ended else now[RixsOutput.CALIBRATION_NOW]
    if status != "ok":
        return None
    if ended:
        coefficients, pivot = derived.result("calibration_parameters"), derived.result("calibration_pivot")
        covariance = derived.result("calibration_covariance")
    else:
        coefficients, pivot = now[RixsOutput.CALIBRATION_NOW_PARAMETERS], now[RixsOutput.CALIBRATION_NOW_PIVOT]
        covariance = np.full((3, 3), np.nan)
    assert pivot is not None
    return Calibration(
        np.asarray(coefficients), float(pivot), np.asarray(covariance), np.zeros(0, bool), "ok", float("nan")
    )


def _emission(calibration: Calibration | None, columns: int) -> Axis:
    if calibration is None:
        return Axis(COLUMN.label, COLUMN.unit, np.arange(columns, dtype=float))
    return Axis("emission energy", "eV", calibration.energy(np.arange(columns, dtype=float)))


def _cleaned(raw: GrowingRun, derived: GrowingRun, later: Later | None) -> Cleaned | None:
    """Give the last frame that was reduced without its hits, or one before it; None where nothing can be cleaned."""
    told, cache = derived.last(Stream.FRAMES), derived.cache
    if told["problem"] or not np.isfinite(told[RixsOutput.PHOTON_COUNTS]):
        return None
    if "cleaning" in cache and cache["cleaning"].done():
        cache["cleaned"] = cache.pop("cleaning").result()
    last: Cleaned | None = cache.get("cleaned")
    if "cleaning" in cache or (last is not None and last.number == int(told["frame"])):
        return last
    try:
        frame = _above_dark(raw, int(told["frame"])) - told[RixsOutput.PEDESTAL]
    except (FrameReadError, KeyError, IndexError):
        return last
    settings = RixsSettings.model_validate((derived.start.get("derivation") or {}).get("settings") or {})
    work = partial(_without_hits, frame, told, settings)
    if later is None:
        cache["cleaned"] = last = work()
    else:
        cache["cleaning"] = later(work)
    return last


def _without_hits(frame: FloatArray, told: dict[str, Any], settings: RixsSettings) -> Cleaned:
    found = remove_cosmic_rays(
        frame,
        photon_counts=float(told[RixsOutput.PHOTON_COUNTS]),
        read_noise=float(told[RixsOutput.READ_NOISE]),
        threshold=settings.cosmic_rays.threshold,
    )
    number = int(told["frame"])
    count = int(told[RixsOutput.COSMIC_HITS])
    removed = f"{count} hit{'' if count == 1 else 's'}, {told[RixsOutput.COSMIC_REMOVED_COUNTS]:.3g} counts removed"
    title = f"frame {number}, {told[Key.ENERGY]:.2f} eV: cleaned"
    panel = image("cleaned", title, found.frame, COLUMN, ROW, note=removed, **_charge(told))
    return Cleaned(number, np.argwhere(found.mask).astype(float), panel)


def _newest(raw: GrowingRun, told: dict[str, Any], cleaned: Cleaned | None) -> Panel | None:
    """Give the newest frame as it was read, its hits marked where they are known; the one before where it is not there.

    Above the pedestal of the last frame that is reduced, or its own median where none is.
    """
    reduced = int(told["frame"]) if told else 0
    number = max(raw.count(Stream.PRIMARY), reduced)
    is_marked = cleaned is not None and cleaned.number == number
    panel: Panel | None
    shown, panel = raw.cache.get("raw", (None, None))
    if shown == (number, number == reduced, is_marked):
        return panel
    try:
        values = _above_dark(raw, number)
    except (FrameReadError, KeyError, IndexError):  # its file is not that far yet
        return panel
    if told and np.isfinite(told[RixsOutput.PEDESTAL]):
        pedestal, charge = told[RixsOutput.PEDESTAL], _charge(told)
    else:
        pedestal = float(np.median(values))
        noise = 1.4826 * float(np.median(np.abs(values - pedestal)))  # of a normal distribution
        charge = _charge({RixsOutput.READ_NOISE: noise, RixsOutput.PHOTON_COUNTS: 0.0})
    energy = raw.number(Stream.PRIMARY, Key.ENERGY, number - 1)
    title = f"frame {number}, {energy:.2f} eV: as read{', hits marked' if is_marked else ''}"
    hits = cleaned.hits if cleaned is not None and is_marked else None
    note = str(told["problem"]) if number == reduced else ""
    panel = image("raw", title, values - pedestal, COLUMN, ROW, marks=hits, note=note, **charge)
    raw.cache["raw"] = (number, number == reduced, is_marked), panel
    return panel


def _above_dark(raw: GrowingRun, number: int) -> FloatArray:
    """Read a frame, counted from 1, less the mean of the dark frames where there are any."""
    frame = raw.read(Stream.PRIMARY, Key.CCD_IMAGE, number - 1).astype(float)
    dark = _dark(raw)
    if dark is not None and dark.shape == frame.shape:
        frame -= dark
    return frame


def _charge(told: dict[str, Any]) -> dict[str, Any]:
    """Give how an image of charge is drawn."""
    noise = float(told[RixsOutput.READ_NOISE])
    limits = (-2 * noise, float(max(told[RixsOutput.PHOTON_COUNTS], 5 * noise)) * 2)
    return {"scale": "charge", "unit": "counts", "limits": limits, "colours": "grey"}


def _dark(raw: GrowingRun) -> FloatArray | None:
    """Give the mean of the dark frames; None where there are none."""
    count = raw.count(Stream.DARK)
    if raw.cache.get("dark", (0,))[0] != count:
        raw.cache["dark"] = count, np.mean(raw.all_of(Stream.DARK, Key.CCD_DARK_IMAGE), axis=0, dtype=float)
    return np.asarray(raw.cache["dark"][1]) if count else None


def _spectrum(derived: GrowingRun, calibration: Calibration | None) -> Panel:
    told = derived.last(Stream.FRAMES)
    counts, variance = (
        np.asarray(told[key], dtype=float) for key in (RixsOutput.SPECTRUM, RixsOutput.SPECTRUM_VARIANCE)
    )
    axis = _emission(calibration, len(counts))
    assert axis.values is not None
    curve = Curve("spectrum", axis.values, counts, np.sqrt(variance))
    title = f"spectrum of frame {int(told['frame'])}, {told[Key.ENERGY]:.2f} eV"
    note = "" if calibration else f"not calibrated: {told[RixsOutput.CALIBRATION_NOW]}"
    return lines("spectrum", title, [curve], axis, Axis("counts a column"), note=note)


def rows_of(derived: GrowingRun) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Add up the frames so far: excitation energies (rows,), intensity and variance (rows, columns)."""
    frames = Stream.FRAMES
    spectra, variances = (derived.column(frames, key) for key in (RixsOutput.SPECTRUM, RixsOutput.SPECTRUM_VARIANCE))
    factor, row = derived.column(frames, RixsOutput.NORMALISATION), derived.column(frames, RixsOutput.ROW)
    energy, drift = derived.column(frames, Key.ENERGY), derived.column(frames, RixsOutput.DRIFT_PIXELS)
    usable = np.isfinite(factor) & (row >= 0)
    back = np.nan_to_num(drift)
    numbers = np.unique(row[usable])
    intensity, variance = np.full((2, len(numbers), spectra.shape[1]), np.nan)
    excitation = np.zeros(len(numbers))
    for place, number in enumerate(numbers):
        own = usable & (row == number)
        flux = (1 / factor[own]).sum()
        excitation[place] = energy[own].mean()
        intensity[place] = straighten(spectra[own], back[own]).sum(axis=0) / flux
        variance[place] = straighten(variances[own], back[own]).sum(axis=0) / flux**2
    order = np.argsort(excitation)
    return excitation[order], intensity[order], variance[order]


def _maps(derived: GrowingRun, calibration: Calibration | None) -> list[Panel]:
    if derived.has_result("map", "excitation_energy"):
        excitation, intensity = derived.result("excitation_energy"), derived.result("map")
        loss, on_loss = derived.result("energy_loss"), derived.result("map_loss")
    else:
        excitation, intensity, variance = rows_of(derived)
        loss = on_loss = None
        if calibration is not None and len(excitation):
            emission = calibration.energy(np.arange(intensity.shape[1], dtype=float))
            loss, on_loss, _ = map_on_energy_loss(intensity, variance, emission, excitation)
    assert excitation is not None
    assert intensity is not None
    if not len(excitation):
        return []
    y = Axis("excitation energy", "eV", excitation)
    common: dict[str, Any] = {"scale": PER_FLUX, "gamma": GAMMA}
    limits = (0.0, float(np.nanquantile(intensity, 0.9995))) if np.isfinite(intensity).any() else None
    axis = _around(_emission(calibration, intensity.shape[1]), excitation) if calibration else COLUMN
    made = [image("map", "RIXS map", intensity, axis, y, limits=limits, diagonal=calibration is not None, **common)]
    if loss is not None and on_loss is not None and np.size(loss):
        shown = (np.asarray(loss) > -3) & (np.asarray(loss) < 15)
        x = Axis("energy loss", "eV", np.asarray(loss)[shown])
        made.append(image("map-loss", "RIXS map on energy loss", on_loss[:, shown], x, y, limits=limits, **common))
    return made


def _around(emission: Axis, excitation: FloatArray) -> Axis:
    """Show at first what of the emission lies about the excitation, as the reports do: most of a chip is dark."""
    values = emission.values
    assert values is not None
    low = max(float(values.min()), float(excitation.min()) - BELOW_EXCITATION)
    high = min(float(values.max()), float(excitation.max()) + ABOVE_EXCITATION)
    return replace(emission, shown=(low, high)) if low < high else emission


def _lines(derived: GrowingRun, calibration: Calibration | None) -> list[Panel]:
    """Give the elastic lines against the calibration, and what is left of them."""
    if derived.has_result("elastic_pixel", "elastic_accepted"):
        energy, pixel, sigma, moved = (
            np.asarray(derived.result(f"elastic_{key}"), dtype=float) for key in ("energy", "pixel", "sigma", "moved")
        )
        used = np.asarray(derived.result("elastic_accepted"), dtype=bool)
    else:
        frames = Stream.FRAMES
        energy, pixel = derived.column(frames, Key.ENERGY), derived.column(frames, RixsOutput.ELASTIC_LINE_PIXEL)
        sigma = derived.column(frames, RixsOutput.ELASTIC_LINE_SIGMA)
        moved, used = np.zeros(len(energy)), derived.column(frames, RixsOutput.ELASTIC_LINE_REASON) == ""
    x, y = Axis("excitation energy", "eV"), Axis("column", "pixel")
    found = np.isfinite(pixel)
    kinds = [("used", found & used), ("not used", found & ~used)]
    points = [Curve(name, energy[of], pixel[of], sigma[of], "points") for name, of in kinds if of.any()]
    if calibration is None or not points:
        note = str(derived.last(Stream.FRAMES)[RixsOutput.CALIBRATION_NOW])
        return [lines("elastic", "elastic lines", points, x, y, note=f"not calibrated: {note}")]
    span = np.linspace(energy.min(), energy.max(), 100)
    fit = Curve("calibration", span, calibration.pixel(span))
    left = [
        Curve(name, energy[of], (pixel - moved - calibration.pixel(energy))[of], sigma[of], "points")
        for name, of in kinds[:1]
        if of.any()
    ]
    dispersion = f"{calibration.dispersion:.4f}"
    if np.isfinite(calibration.dispersion_sigma):
        dispersion += f" ± {calibration.dispersion_sigma:.4f}"
    return [
        lines("elastic", "elastic lines", [fit, *points], x, y, note=f"{dispersion} eV a pixel"),
        lines("residuals", "elastic lines less the calibration, drift undone", left, x, Axis("residual", "pixel")),
    ]


def _drift(derived: GrowingRun) -> Panel:
    if derived.has_result("drift_frame_hours"):
        keys = ("drift_frame_hours", "drift_frame_pixels", "drift_frame_sigma")
        hours, pixels, sigma = (np.asarray(derived.result(key), dtype=float) for key in keys)
        x, note = Axis("time", "h"), str(derived.result("drift_status"))
    else:
        pixels = derived.column(Stream.FRAMES, RixsOutput.DRIFT_PIXELS)
        sigma = derived.column(Stream.FRAMES, RixsOutput.DRIFT_SIGMA)
        hours, x, note = np.arange(1.0, len(pixels) + 1), Axis("frame", whole=True), "as known when each frame came"
    return lines(
        "drift",
        "drift of the spectrograph",
        [Curve("drift", hours, pixels, sigma)],
        x,
        Axis("drift", "pixel"),
        note=note,
    )
