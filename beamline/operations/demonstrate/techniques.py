"""The demonstration: measure on the simulated endstation, reduce live, store, replay, and compare with the truth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from beamline.acquire.session import Session, measure
from beamline.endstation.config import Config, load_config
from beamline.errors import BeamlineError
from beamline.operations.progress import EventCounter, Progress, no_progress
from beamline.operations.replay import replay
from beamline.operations.report import write_report
from beamline.operations.runs import data_folder, marked_frames, summarise_run
from beamline.storage.catalogue.condition import check_catalogue
from beamline.storage.layout import Layout
from beamline.storage.results import Run
from beamline.storage.runs import Runs
from callbacks.contract import ImageOutput, Key, RixsOutput, RixsResult, Stream, StxmResult, XasResult
from callbacks.rixs.curvature import Curvature
from callbacks.stxm.density.masks import GOOD
from callbacks.stxm.edges import Edge
from plans import rixs_map, stxm_line_spectrum, stxm_stack, xas
from plans.endstation import Truth

What = Literal["rixs", "xas", "stxm"]

SAMPLE = "LRNMC 311 mAh/g"
RIXS_REGIONS = "526:529:0.5, 529.2:533:0.2, 533.5:542:0.5"
STXM_ENERGIES = "520:526:1, 526:533:0.25, 533:536:0.5, 536:545:1"  # 50
STXM_FIELD, STXM_DWELL = "x=-1.8:1.77:0.03 y=-1.8:1.77:0.03", 0.001  # 120 x 120 pixels; s
REFERENCE_SAMPLES = {
    "reduced": "LRNMC powder reference",
    "oxidised": "LRNMC oxidised reference",
    "carbon": "carbon",
}
REFERENCE_LINE, REFERENCE_DWELL = "x=-1.8:1.77:0.03 y=0", 0.1
XAS_REGIONS = "520:526:0.5, 526:535:0.1, 535:560:0.5"


@dataclass
class Outcome:
    """The outcome of a demonstration.

    Attributes
    ----------
    found : list of (str, str, str, str)
        Quantity, value found with its uncertainty, the simulated truth, and the difference in sigmas.
    """

    summary: dict[str, Any]
    found: list[tuple[str, str, str, str]]
    live_equals_replay: bool
    differences: list[str]
    report: Path
    data_dir: Path
    seconds: float
    live_page: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give the outcome for JSON."""
        return {
            **self.summary,
            "found": [
                dict(zip(("quantity", "found", "truth", "difference_sigmas"), row, strict=True)) for row in self.found
            ],
            "live_equals_replay": self.live_equals_replay,
            "differences": self.differences,
            "report": str(self.report),
            "live_page": None if self.live_page is None else str(self.live_page),
            "data_dir": str(self.data_dir),
            "seconds": self.seconds,
        }


def run_demo(what: What, *, seed: int, data_dir: Path | None, progress: Progress = no_progress) -> Outcome:
    """Run a demonstration.

    Parameters
    ----------
    what : str
        "rixs", "xas" or "stxm".
    seed : int
        Of the simulation.
    data_dir : Path or None
        Where the run is kept; the configuration's folder where not given.
    progress : callable
        See `beamline.operations.progress`.

    Raises
    ------
    BeamlineError
        When the catalogue of the folder cannot be used, the run could not be measured, or did not come into the
        catalogue in time.
    """
    began = time.monotonic()
    config = simulated(seed)
    data_dir = data_folder(data_dir, config)
    check_catalogue(data_dir)  # before anything is measured, which takes half a minute
    with Session(config, data_dir) as session:
        session.watch(EventCounter(progress), "progress")
        uid = _MEASURE[what](session)
        truth = truth_of(session)
        wait_until_reduced(session)
        wait_for_catalogue(session, uid)
    runs = Runs(data_dir)
    replayed = replay(runs, uid, config=None, source="catalogue", keep=False)
    report = write_report(runs, uid, Layout(data_dir).reports / f"{what}-{uid[:8]}.html")
    raw, derived = runs.load_with_derived(uid)
    assert derived is not None
    page = Layout(data_dir).live / "stxm.html"
    return Outcome(
        summary=summarise_run(raw, derived),
        found=_FOUND[what](raw, derived, truth),
        live_equals_replay=bool(replayed["equal"]),
        differences=replayed["differences"],
        report=report,
        data_dir=data_dir,
        seconds=time.monotonic() - began,
        live_page=page if what == "stxm" else None,
    )


def simulated(seed: int, **options: Any) -> Config:
    """Give the configuration of the simulated endstation, with a seed and further options of the simulation."""
    config = load_config(None)
    assert config.endstation.shared is not None
    config.endstation.shared.options.update(seed=seed, **options)
    return config


def truth_of(session: Session) -> Truth:
    """Give the truth that the endstation of a session simulates.

    Raises
    ------
    BeamlineError
        When it simulates none: it is real, or served from elsewhere.
    """
    truth: Truth | None = session.endstation.truth
    if truth is None:
        raise BeamlineError("the endstation offers no truth to compare with; the demonstration needs the simulated one")
    return truth


def wait_until_reduced(session: Session) -> None:
    """Wait until everything measured so far has been reduced.

    Raises
    ------
    BeamlineError
        When a run is not; says why.
    """
    if reason := session.drain():
        raise BeamlineError(reason)


def wait_for_catalogue(session: Session, *uids: str) -> None:
    """Wait until runs and what was derived from them are in the catalogue."""
    for uid in uids:
        for each in (uid, Runs(session.data_dir).derived_uid(uid)):
            if late := session.ingester.why_missing(each):
                raise BeamlineError(late)


def measure_rixs(session: Session) -> str:
    """Measure a RIXS map."""
    return measure(
        session, rixs_map(session.endstation, RIXS_REGIONS, 300.0, sample=SAMPLE, edge="O K", frames_per_energy=2)
    )


def measure_xas(session: Session) -> str:
    """Measure an absorption spectrum."""
    return measure(session, xas(session.endstation, XAS_REGIONS, 1.0, sample=SAMPLE, edge="O K"))


def measure_references(session: Session) -> dict[str, str]:
    """Measure the spectra of the phases; give their uids by name, as a session takes references."""
    return {
        name: measure(
            session,
            stxm_line_spectrum(
                session.endstation, STXM_ENERGIES, REFERENCE_LINE, REFERENCE_DWELL, sample=sample, edge="O K"
            ),
        )
        for name, sample in REFERENCE_SAMPLES.items()
    }


def measure_stxm(session: Session, *, field: str = STXM_FIELD) -> str:
    """Measure the reference spectra, then a stack that they are fitted to while it is measured."""
    references = measure_references(session)
    wait_until_reduced(session)
    session.use_references(references)
    return measure(session, stxm_stack(session.endstation, STXM_ENERGIES, field, STXM_DWELL, sample=SAMPLE, edge="O K"))


def _rixs_found(_raw: Run, derived: Run, truth: Truth) -> list[tuple[str, str, str, str]]:
    result = derived.read(RixsResult)
    pivot, (energy, dispersion, _) = result.calibration_pivot, result.calibration_parameters
    # A column of the straightened frame stands for a place on the chip that depends on the curvature it was given.
    model, bend = truth.spectrograph, Curvature(result.curvature, np.zeros((2, 2)), "ok")
    place = pivot - float(np.mean(model.shift(np.arange(model.rows)) - bend.displacement(model.rows)))
    sigma = np.sqrt(np.diag(result.calibration_covariance))
    first = min(number for number, frame in truth.frames.items() if frame.expected_photons)
    hits = derived.frames[RixsOutput.COSMIC_REMOVED_COUNTS]
    charge = sum(float(frame.cosmic_charge.sum()) for frame in truth.frames.values() if frame.expected_photons)
    return [
        _row(
            f"emission energy at column {pivot:.0f}", energy, sigma[0], truth.emission_energy(place, frame=first), "eV"
        ),
        _row("dispersion there", dispersion, sigma[1], truth.dispersion(place, frame=first), "eV/pixel"),
        *_drift_found(result, truth, first),
        (
            "tilt and curvature",
            f"{result.curvature[0]:.2f}, {result.curvature[1]:.2f} pixel",
            f"{model.tilt:.2f}, {model.curvature:.2f} pixel",
            "",
        ),
        (
            "cosmic-ray charge removed",
            f"{np.nansum(hits):,.0f} counts",
            f"{charge:,.0f} counts",
            "",
        ),
        ("frames marked", str(len(marked_frames(derived))), "", ""),
    ]


def _drift_found(result: RixsResult, truth: Truth, first: int) -> list[tuple[str, str, str, str]]:
    """Compare the drift of the last frame; none where the chip did not move or nothing told it."""
    if not result.drift_frame_pixels.size:
        return []
    last = max(truth.frames)
    true = truth.frames[last].displacement - truth.frames[first].displacement
    return [_row("drift of the last frame", result.drift_frame_pixels[-1], result.drift_frame_sigma[-1], true, "pixel")]


def _xas_found(_raw: Run, derived: Run, truth: Truth) -> list[tuple[str, str, str, str]]:
    result = derived.read(XasResult)
    tey = result.spectra[Key.TEY]
    sample = truth.samples[SAMPLE]
    expected = sample.absorption(result.xas_energy + truth.energy_offset)
    rows = []
    for energy in (528.8, 530.8, 537.5):
        at = int(np.abs(result.xas_energy - energy).argmin())
        scale = tey.edge_jump / np.median(tey.over_i0_spectrum / expected)
        background = np.polyval(np.polyfit(result.xas_energy[:12], expected[:12], 1), result.xas_energy[at])
        true = (expected[at] - background) / scale
        rows.append(_row(f"TEY at {energy} eV", tey.normalised[at], tey.sigma[at], float(true), "of the edge"))
    return rows


def _stxm_found(raw: Run, derived: Run, truth: Truth) -> list[tuple[str, str, str, str]]:
    result, images = derived.read(StxmResult), derived.streams[Stream.IMAGES]
    wrong = drift_error(raw, derived, truth)
    expected = true_fraction(raw, truth)
    thick = (result.edge_jump > 0.3) & np.isfinite(result.reduced_fraction)
    difference = (result.reduced_fraction - expected)[thick]
    held = np.abs(difference) <= result.reduced_fraction_sigma[thick]
    shares = truth.stxm.phantom(raw.measurement.sample).thickness
    good = np.asarray(result.mask) == GOOD
    reduced, oxidised = (float(on_pixels(raw, truth, shares[name])[good].sum()) for name in ("reduced", "oxidised"))
    mapped = [bool(np.isfinite(one).any()) for one in images[ImageOutput.REDUCED_FRACTION]]
    total = len(mapped)
    return [
        ("drift over the stack", f"{np.ptp(result.drift[:, 0], axis=0).max():.2f} pixel", "", ""),
        ("drift, rms of what was found less the truth", f"{np.sqrt(np.mean(wrong**2)):.3f} pixel", "0", ""),
        ("reduced fraction, median of |found less truth|", f"{np.median(np.abs(difference)):.4f}", "0", ""),
        ("pixels with an edge jump above 0.3", str(thick.sum()), "", ""),
        ("of these, truth within the quoted 68 % interval", f"{held.mean():.1%}", "68 %", ""),
        _row(
            "reduced fraction in the mean of the good pixels",
            result.total_reduced,
            result.total_reduced_sigma,
            reduced / (reduced + oxidised),
            "",
        ),
        ("first chemical map", f"with image {mapped.index(True) + 1} of {total}" if any(mapped) else "none", "", ""),
    ]


def drift_error(raw: Run, derived: Run, truth: Truth) -> np.ndarray:
    """Give the drift that was found less the simulated one, pixel, shape (energies, 2), from the first image on."""
    grid = raw.measurement.grid
    assert grid is not None
    lines = _displacement(raw, truth).reshape(len(grid.energies), grid.lines, 2).mean(axis=1)
    region = grid.regions[0]
    step = np.array([np.ptp(region.y) / (region.rows - 1), np.ptp(region.x) / (region.columns - 1)])
    return np.asarray(derived.read(StxmResult).drift[:, 0] + (lines - lines[0]) / step)


def true_fraction(raw: Run, truth: Truth) -> np.ndarray:
    """Give the simulated reduced fraction on the pixels of the first image, as its probe sees it."""
    fraction = truth.stxm.phantom(raw.measurement.sample).reduced_fraction(truth.stxm.probe)
    return on_pixels(raw, truth, np.nan_to_num(fraction, nan=0.0))


def true_reduced_area(raw: Run, derived: Run, truth: Truth, edge: Edge, energy_offset: float) -> float:
    """Give the share of the reduced phase in the edge area of both, in the pixels whose spectra are averaged.

    This is what fractions of end members of area 1 count: the oxidised phase has more area than as much of the reduced.
    """
    result = derived.read(StxmResult)
    used = np.array([status == "ok" for status in result.image_status])
    energies, pixels = np.asarray(result.stack_energy)[used], np.asarray(result.mask) == GOOD
    phantom = truth.stxm.phantom(raw.measurement.sample)
    areas = phantom.edge_areas(truth.stxm.probe, energies, edge.background, edge.area, energy_offset=energy_offset)
    reduced, oxidised = (float(on_pixels(raw, truth, areas[name])[pixels].sum()) for name in ("reduced", "oxidised"))
    return reduced / (reduced + oxidised)


def on_pixels(raw: Run, truth: Truth, image: np.ndarray) -> np.ndarray:
    """Give a map of the sample on the pixels of the first image, as it lay in the middle of its time."""
    grid = raw.measurement.grid
    assert grid is not None
    region = grid.regions[0]
    x, y = np.linspace(*region.x, region.columns), np.linspace(*region.y, region.rows)
    middle = _displacement(raw, truth)[: grid.lines].mean(axis=0)
    return truth.stxm.sampled(image, x, y, np.tile(middle, (region.rows, 1)))


def _displacement(raw: Run, truth: Truth) -> np.ndarray:
    """Give where the image lay when each line was measured, um along y and x."""
    primary = raw.streams[Stream.PRIMARY]
    return truth.stxm.drift(primary.timestamps[Key.STXM_COUNTS], primary[Key.ZONE_PLATE])


def _row(name: str, found: float, sigma: float, truth: float, unit: str) -> tuple[str, str, str, str]:
    digits = max(0, 2 - int(np.floor(np.log10(sigma)))) if sigma > 0 else 6
    return (
        name,
        f"{found:.{digits}f} ± {sigma:.{digits}f} {unit}",
        f"{truth:.{digits}f} {unit}",
        f"{(found - truth) / sigma:+.1f} σ",
    )


_MEASURE = {"rixs": measure_rixs, "xas": measure_xas, "stxm": measure_stxm}
_FOUND = {"rixs": _rixs_found, "xas": _xas_found, "stxm": _stxm_found}
