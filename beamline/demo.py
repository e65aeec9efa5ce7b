"""The demonstration: measure on the simulated endstation, reduce live, store, replay, and compare with the truth."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table as TextTable

from beamline.commands import INGEST_TIMEOUT, PointCounter, progress_bar, replay, write_report
from beamline.config import load_config
from beamline.engine import Session, measure
from beamline.errors import BeamlineError
from beamline.results import Run
from beamline.runs import Runs
from beamline.summary import marked_frames, print_summary, summarise
from callbacks.rixs.curvature import Curvature
from plans import rixs_map, xas

SAMPLE = "LRNMC 311 mAh/g"
RIXS_REGIONS = "526:529:0.5, 529.2:533:0.2, 533.5:542:0.5"
XAS_REGIONS = "520:526:0.5, 526:535:0.1, 535:560:0.5"


@dataclass
class Outcome:
    """What a demonstration came to.

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
    feeds: list[str] = field(default_factory=list)

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
            "data_dir": str(self.data_dir),
            "seconds": self.seconds,
        }

    def show(self) -> None:
        """Print the outcome."""
        console = Console(highlight=False)
        print_summary(self.summary)
        table = TextTable("found", "", "simulated truth", "difference", box=None, padding=(0, 2))
        for row in self.found:
            table.add_row(*row)
        console.print(table)
        answer = "yes" if self.live_equals_replay else f"no: {', '.join(self.differences)}"
        for line in self.feeds:
            console.print(line)
        console.print(f"live equals replay: {answer}")
        console.print(f"report: {self.report}", soft_wrap=True)
        console.print(f"data: {self.data_dir}  ({self.seconds:.0f} s)", soft_wrap=True)


def run_demo(what: Literal["rixs", "xas"], *, seed: int, data_dir: Path | None, quiet: bool) -> Outcome:
    """Run a demonstration.

    Parameters
    ----------
    what : str
        "rixs" or "xas".
    seed : int
        Of the simulation.
    data_dir : Path or None
        Where the run is kept; the configuration's folder where not given.
    quiet : bool
        Show no progress.

    Raises
    ------
    BeamlineError
        When the run could not be measured, or did not come into the catalogue in time.
    """
    began = time.monotonic()
    config = load_config(None)
    assert config.endstation.shared is not None
    config.endstation.shared.options["seed"] = seed
    data_dir = (data_dir or config.storage.data_dir).absolute()
    with progress_bar(quiet=quiet) as progress, Session(config, data_dir) as session:
        session.watch(PointCounter(progress), "progress")
        if what == "rixs":
            plan = rixs_map(session.endstation, RIXS_REGIONS, 300.0, sample=SAMPLE, edge="O K", frames_per_energy=2)
        else:
            plan = xas(session.endstation, XAS_REGIONS, 1.0, sample=SAMPLE, edge="O K")
        uid = measure(session, plan)
        session.drain()
        truth = session.endstation.energy.world.truth
        derived_uid = Runs(data_dir).derived_uid(uid)
        for each in (uid, derived_uid):
            if not session.ingester.wait_for(each, INGEST_TIMEOUT):
                raise BeamlineError(f"run {each} is not in the catalogue: {session.ingester.status()}")
        status = session.reduction.status()
    replayed = replay(uid, config=None, source="catalogue", keep=False, data_dir=data_dir)
    report = write_report(uid, data_dir / "reports" / f"{what}-{uid[:8]}.html", data_dir=data_dir)
    raw, derived = Runs(data_dir).load_with_derived(uid)
    assert derived is not None
    return Outcome(
        summary=summarise(raw, derived),
        found=_rixs_found(derived, truth) if what == "rixs" else _xas_found(derived, truth),
        live_equals_replay=bool(replayed["equal"]),
        differences=replayed["differences"],
        report=report,
        data_dir=data_dir,
        seconds=time.monotonic() - began,
        feeds=[f"live reduction: {status.errors} errors, {status.caught_up} documents read back from the log"],
    )


def _rixs_found(derived: Run, truth: Any) -> list[tuple[str, str, str, str]]:
    result = derived.result
    pivot, (energy, dispersion, _) = result["calibration_pivot"], result["calibration_coefficients"]
    # A column of the straightened frame stands for a place on the chip that depends on the curvature it was given.
    model, bend = truth.spectrograph, Curvature(result["curvature"], np.zeros((2, 2)), "ok")
    place = pivot - float(np.mean(model.shift(np.arange(model.rows)) - bend.displacement(model.rows)))
    sigma = np.sqrt(np.diag(result["calibration_covariance"]))
    hits = derived.frames["cosmic_removed_counts"]
    charge = sum(float(frame.cosmic_charge.sum()) for frame in truth.frames.values() if frame.expected_photons)
    return [
        _row(f"emission energy at column {pivot:.0f}", energy, sigma[0], truth.emission_energy(place), "eV"),
        _row("dispersion there", dispersion, sigma[1], truth.dispersion(place), "eV/pixel"),
        (
            "tilt and curvature",
            f"{result['curvature'][0]:.2f}, {result['curvature'][1]:.2f} pixel",
            f"{model.tilt:.2f}, {model.curvature:.2f} pixel",
            "",
        ),
        (
            "cosmic-ray charge removed",
            f"{np.nansum(hits):,.0f} counts",
            f"{charge:,.0f} counts",
            "",
        ),
        ("frames marked", str(len(marked_frames(result))), "", ""),
    ]


def _xas_found(derived: Run, truth: Any) -> list[tuple[str, str, str, str]]:
    result = derived.result
    sample = truth.samples[SAMPLE]
    expected = sample.absorption(result["xas_energy"] + truth.energy_offset)
    rows = []
    for energy in (528.8, 530.8, 537.5):
        at = int(np.abs(result["xas_energy"] - energy).argmin())
        scale = result["tey_edge_jump"] / np.median(result["tey_over_i0_spectrum"] / expected)
        background = np.polyval(np.polyfit(result["xas_energy"][:12], expected[:12], 1), result["xas_energy"][at])
        true = (expected[at] - background) / scale
        rows.append(_row(f"TEY at {energy} eV", result["tey"][at], result["tey_sigma"][at], float(true), "of the edge"))
    return rows


def _row(name: str, found: float, sigma: float, truth: float, unit: str) -> tuple[str, str, str, str]:
    digits = max(0, 2 - int(np.floor(np.log10(sigma)))) if sigma > 0 else 6
    return (
        name,
        f"{found:.{digits}f} ± {sigma:.{digits}f} {unit}",
        f"{truth:.{digits}f} {unit}",
        f"{(found - truth) / sigma:+.1f} σ",
    )
