"""A technique of its own: how stable the incident flux is, from the same point measured again and again.

It has all that a technique has: a plan, the vocabulary of its outputs and its result, a step, a pipeline, and one
object that says how it is summarised, drawn and written for other programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import numpy as np
from bluesky.utils import MsgGenerator
from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, Field

from beamline.formats.exporters.columns import Table
from beamline.formats.exporters.nexus import Axis, Plot
from beamline.report.figures import Drawn
from beamline.storage.results import Documents, Run
from beamline.techniques import Technique
from beamline.techniques.technique import Summary, columns_exporter, nexus_exporter
from callbacks.contract import Account, Described, Key, Measurement, Output, Stream
from callbacks.contract.outputs import NAN, NOT_KNOWN_1D, Floats
from callbacks.pipelines import Pipeline
from callbacks.step import Chain, Step
from plans import Endstation
from plans.checks import check_beamline, check_positive
from plans.endstation import OPEN
from plans.measuring import Interruptions, run_with_light, start_metadata, take_point

# The plan: what to measure ---------------------------------------------------------------------------------------


def flux_stability(
    endstation: Endstation, points: int = 30, dwell: float = 1.0, *, sample: str = ""
) -> MsgGenerator[str]:
    """Measure the incident flux again and again.

    Parameters
    ----------
    endstation : Endstation
        The devices.
    points : int
        How often.
    dwell : float, s
        Counting time a point.
    sample : str
        Sample to move into the beam; the one that is there when left out.
    """
    check_positive(points=points, dwell=dwell)
    measured_sample = yield from check_beamline(endstation, sample)

    def measure(interruptions: Interruptions) -> MsgGenerator[None]:
        positions = [endstation.shutter, OPEN, endstation.scaler.dwell, dwell]
        devices = [endstation.energy, endstation.scaler, endstation.ring]
        for _ in range(points):
            yield from take_point(endstation, interruptions, positions, devices, stream=Stream.PRIMARY)

    measurement = Measurement(technique="flux_stability", sample=measured_sample, points=points, exposure_time=dwell)
    metadata = start_metadata("flux_stability", {"points": points, "dwell": dwell}, measurement)
    return (
        yield from run_with_light(
            endstation, measure, detectors=[endstation.scaler], metadata=metadata, move_to_sample=sample
        )
    )


# The vocabulary: what its step gives -----------------------------------------------------------------------------


class StabilityOutput(Output):
    """What the step gives for each point."""

    FLUX = "flux", "number", "counts/s", "incident flux"
    FLUX_SIGMA = "flux_sigma", "number", "counts/s", "its standard uncertainty by counting statistics"


class StabilityResult(Account):
    """How stable the flux was."""

    mean_flux: Annotated[float, Described("mean flux", "counts/s")] = NAN
    excess_variance: Annotated[float, Described("relative variance beyond counting statistics")] = NAN
    excess_variance_sigma: Annotated[float, Described("its standard uncertainty")] = NAN
    stability_status: Annotated[str, Described("ok, or why nothing can be said")] = ""
    flux_of_points: Annotated[Floats, Described("flux of each point", "counts/s", ("points",))] = NOT_KNOWN_1D


# The reduction: a step, and a pipeline of one step ---------------------------------------------------------------


class StabilitySettings(BaseModel):
    """Settings of the step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fewest_points: int = Field(5, ge=3)  # a spread of fewer says nothing


class Stability(Step):
    """Compare the spread of the flux with counting statistics."""

    kept = (StabilityOutput.FLUX, StabilityOutput.FLUX_SIGMA)

    def __init__(self, settings: StabilitySettings) -> None:
        self._settings = settings
        self._points: list[tuple[float, float]] = []

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a point; give its flux."""
        counts, dwell = float(event[Key.I0]), float(event[Key.DWELL])
        self._points.append((counts / dwell, np.sqrt(counts) / dwell))
        return dict(zip(self.kept, self._points[-1], strict=True))

    @property
    def result(self) -> StabilityResult:
        """What the points so far say."""
        flux, sigma = np.array(self._points).reshape(-1, 2).T
        if len(flux) < self._settings.fewest_points:
            reason = f"{len(flux)} points, expected {self._settings.fewest_points} or more"
            return StabilityResult(stability_status=reason, flux_of_points=flux)
        mean = float(flux.mean())
        spread, counting = float(flux.var(ddof=1)) / mean**2, float(np.mean(sigma**2)) / mean**2
        return StabilityResult(
            mean_flux=mean,
            excess_variance=spread - counting,  # below zero by chance where there is none
            excess_variance_sigma=spread * float(np.sqrt(2 / (len(flux) - 1))),  # of a normal distribution's variance
            stability_status="ok",
            flux_of_points=flux,
        )


PIPELINE = Pipeline(
    "flux_stability",
    StabilitySettings,
    lambda settings, _measurement: Chain({"stability": Stability(settings)}),
    StabilityResult,
)


# The technique: one object with all that is special to it --------------------------------------------------------


def summarise(derived: Run) -> dict[str, Any]:
    """Summarise the flux."""
    result = derived.read(StabilityResult)
    return {
        "stability": {
            "status": str(result.stability_status),
            "mean_flux": result.mean_flux,
            "excess_variance": result.excess_variance,
            "excess_variance_sigma": result.excess_variance_sigma,
        }
    }


def lines(summary: Summary) -> Iterator[tuple[str, str]]:
    """Describe the flux."""
    found = summary["stability"]
    if found["status"] != "ok":
        yield "flux", f"not known: {found['status']}"
    else:
        variance = f"{found['excess_variance']:.2g} ± {found['excess_variance_sigma']:.2g}"
        yield "flux", f"{found['mean_flux']:.4g} counts/s, relative variance {variance} beyond counting statistics"


def figures(_raw: Run, derived: Run, _documents: Documents, title: str) -> Iterable[Drawn]:
    """Draw the flux of every point."""
    flux = derived.read(StabilityResult).flux_of_points
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(1, len(flux) + 1), flux, ".-")
    axes.set(xlabel="point", ylabel="incident flux (counts/s)", title=title)
    yield "Incident flux", "Flux of every point.", figure


def tables(derived: Run) -> Iterator[Table]:
    """Give the flux of every point."""
    flux = derived.read(StabilityResult).flux_of_points
    yield Table("flux", [("point", np.arange(1, len(flux) + 1)), ("flux_counts_per_s", flux)])


def plots(derived: Run) -> Iterator[Plot]:
    """Give the flux of every point with its uncertainty."""
    point = Axis("point", np.asarray(derived.frames["frame"]), "", "point")
    flux, sigma = derived.frames[StabilityOutput.FLUX], derived.frames[StabilityOutput.FLUX_SIGMA]
    yield Plot("flux", "flux", flux, sigma, "counts/s", (point,))


FLUX_STABILITY = Technique(
    name="flux_stability",
    title="Flux stability",
    counted="points",
    pipeline=PIPELINE,
    summarise=summarise,
    lines=lines,
    warnings=lambda _summary: (),
    figures=figures,
    exporters={"nexus": nexus_exporter(plots), "columns": columns_exporter(tables)},
)
