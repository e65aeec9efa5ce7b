"""Blocks of start documents: what was asked for, and what a derived run was made from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StxmRegion(_Block):
    """A rectangle of pixels; lines run along x, and follow one another along y."""

    x: tuple[float, float]  # um, centres of the first and the last pixel of a line
    y: tuple[float, float]  # um, of the first and the last line
    columns: int  # pixels of a line
    rows: int  # lines


class StxmGrid(_Block):
    """What a STXM measurement covers: at each energy, all lines of one region after the other."""

    energies: list[float]  # eV, as asked for, in the order of measurement; the positions of a focus scan are below
    regions: list[StxmRegion]
    mode: Literal["line", "point"] = "line"  # the stage flies a line, or stops at each of its pixels
    blank: tuple[float, float, float, float] | None = None  # um, x and y from and to: no sample there
    zone_plate: list[float] = []  # um, one a line, of a focus scan only

    @property
    def lines(self) -> int:
        """Lines at one energy."""
        return sum(region.rows for region in self.regions)

    @property
    def is_image(self) -> bool:
        """Whether the lines of a region make an image; those of a line spectrum stand alone."""
        return any(region.rows > 1 for region in self.regions)

    def place(self, seq_num: int) -> tuple[int, int, int]:
        """Give energy, region and row (all from 0) of an event of the stream `primary`.

        Raises
        ------
        ValueError
            When there are not so many lines.
        """
        energy, line = divmod(seq_num - 1, self.lines)
        if not 0 <= energy < len(self.energies):
            raise ValueError(f"event {seq_num} of a grid with {self.lines * len(self.energies)} lines")
        for index, region in enumerate(self.regions):
            if line < region.rows:
                return energy, index, line
            line -= region.rows
        raise AssertionError("unreachable: the rows of the regions are the lines")


class Precision(_Block):
    """What a measurement is to reach, and what it takes at least; `Measurement.points` are the most that it takes."""

    of: str  # the output of the reduction that is looked at
    asked: float  # its largest value
    least_points: int
    least_time: float  # s of counting
    most_time: float | None = None  # s in which more are taken; None: no limit


class Channel(_Block):
    """What a detector without pixels measures at each point."""

    name: str  # its data key; where events have one of this name and `_sigma`, that is its uncertainty, else it counts
    title: str = ""
    # Of light that comes in, that a sample gives, or lets through; spectra of it, of which windows are channels; or
    # what was divided by I0 already, as files of other programs have it: taken as it is.
    form: Literal["monitor", "yield", "transmission", "spectrum", "absorption"] = "yield"
    over: str = ""  # the channel that it is divided by, as one behind another sample; I0 where not given
    is_rate: bool = False  # a mean over the dwell, as a current is, and not a sum


class SweepRegion(_Block):
    """Energies that are flown over at one velocity."""

    energies: list[float]  # eV, ascending and evenly spaced: each is counted half a step to either side
    dwell: float  # s that each is counted for, in all sweeps together


class SweepGrid(_Block):
    """What a spectrum that is flown covers; every other sweep goes down, from the last region to the first.

    One event of the stream `primary` is one sweep over one region.
    """

    regions: list[SweepRegion]
    sweeps: int

    def place(self, seq_num: int) -> tuple[int, bool]:
        """Give the region (from 0) of an event of the stream `primary`, and whether it was flown upwards."""
        sweep, passed = divmod(seq_num - 1, len(self.regions))
        up = sweep % 2 == 0
        return (passed if up else len(self.regions) - 1 - passed), up


class Measurement(_Block):
    """Block `measurement` of a raw run's start document: what was asked for."""

    technique: str  # a name in the registry of techniques
    sample: str
    edge: str = ""
    energy_regions: str = ""  # as typed: "520:526:0.5, 526:535:0.1"
    points: int  # events planned in the stream `primary`
    exposure_time: float  # s; the dwell of XAS, and of a STXM pixel; NaN or 0: an imported run does not say
    frames_per_energy: int = 1
    order: Literal["up", "up_down", "random"] = "up"
    grid: StxmGrid | None = None  # of STXM
    polarisations: list[str] = []  # that were set, XAS alternates between two; none: as it was
    flown: SweepGrid | None = None  # of XAS, where the monochromator does not stop
    channels: list[Channel] = []  # of XAS; none in older runs, which have I0, TEY and TFY
    precision: Precision | None = None  # of what is measured until it is reached

    @property
    def dwell_known(self) -> bool:
        """Whether it is known for how long anything was counted."""
        return self.exposure_time > 0

    @property
    def rate_unit(self) -> str:
        """Unit of the rates of STXM pixels and of their I0: counts of a pixel where its dwell is not known."""
        return "counts/s" if self.dwell_known else "counts"


class Derivation(_Block):
    """Block `derivation` of a derived run's start document: from what, by what, with what."""

    raw_uids: list[str]
    pipeline: str
    settings: dict[str, Any]
    software: dict[str, str]  # package -> version


class Continues(_Block):
    """Block `continues` of the start document of a run that goes on with others, which were interrupted."""

    uids: list[str]  # in the order they were measured
    points: int  # events of the stream `primary` that they have together
    ends: list[int] = []  # number of the last of them in each of the runs
    again: list[int] = []  # numbers of those that this run takes again, ascending: its first events stand for them


class EnergyCalibration(_Block):
    """Block `energy_calibration`: by how much the photon energy is more than what the monochromator says."""

    offset: float  # eV
    sigma: float  # eV
    at: float  # eV, by the monochromator, where it was found
    time: float  # s since 1970, when the reference was measured
    run: str  # uid of that run
    channel: str
    reference: str  # what it is known by, in words

    def __str__(self) -> str:
        """Say how far the scale is off, since when, and by what."""
        when = datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"{self.offset:+.4f} ± {self.sigma:.4f} eV of {when}, by {self.reference} (run {self.run[:8]})"


class Geometry(_Block):
    """Block `geometry`: how light meets the sample, as the configuration says it."""

    incidence: float = Field(gt=0, le=90)  # degrees to the surface, of the light that excites
    exit: float = Field(gt=0, le=90)  # degrees to the surface, of the emission that is measured


class CampaignPart(_Block):
    """Block `campaign` of the start documents of the runs of a campaign."""

    name: str
    part: int  # 0: its spectra; else the place of the plan among those behind them, from 1
    sample: str


class Series(_Block):
    """Block `series` of the start documents of runs that belong together."""

    uid: str
    index: int  # from 0
    runs: int
    role: Literal["reference", "sample"]
    axis: str = ""  # the device that is at another position in each run
    position: float | None = None  # of it
    unit: str = ""
    plan: str = ""  # that measures them all, where that is another one than the plan of each, and its arguments
    arguments: dict[str, Any] = {}


MEASUREMENT = "measurement"  # keys of the blocks in a start document
SERIES = "series"
DERIVATION = "derivation"
# The pipelines of what is derived from several runs as if they were one.
STXM_POOLED, RIXS_POOLED = "stxm_pooled", "rixs_pooled"
ANALYSED = "analysed"  # pipeline of an analysis by a recipe
ANALYSED_ACROSS = "analysed_across"  # of a comparison of analyses
OF_SEVERAL = (STXM_POOLED, RIXS_POOLED, ANALYSED, ANALYSED_ACROSS)
CONTINUES = "continues"
CAMPAIGN = "campaign"
ENERGY_CALIBRATION = "energy_calibration"
GEOMETRY = "geometry"
REMARK = "remark"  # of a raw run: what of it was measured in another way than asked for, and why; optional
ADDED = "added_devices"  # of a raw run: data keys of the devices that have no role, by name
PROCESSING = "processing"  # of a raw run: the settings of the reduction when it began, by pipeline


def reduction_of(start: Mapping[str, Any]) -> str:
    """Give the uid of the raw run that a run is the reduction of, by its start document; empty if it is none.

    Of several, as a run that goes on with others is reduced with them, it is the last. An analysis is no
    reduction, also where it was made of one run.
    """
    match start.get(DERIVATION):
        case {"raw_uids": [*_, str(uid)], "pipeline": pipeline} if pipeline not in OF_SEVERAL:
            return uid
    return ""


def parts_before(start: Mapping[str, Any]) -> list[str]:
    """Give the uids of the runs that a run goes on with, by its start document; none where it begins by itself."""
    block = start.get(CONTINUES)
    return Continues.model_validate(block).uids if block else []


def ends_of_parts(start: Mapping[str, Any]) -> list[int]:
    """Give the numbers of the last points of the runs that a run goes on with."""
    block = start.get(CONTINUES)
    return Continues.model_validate(block).ends if block else []


def taken_again(start: Mapping[str, Any]) -> list[int]:
    """Give the numbers of the points of the runs before that a run takes again; none where there are none."""
    block = start.get(CONTINUES)
    return Continues.model_validate(block).again if block else []


def points_before(start: Mapping[str, Any]) -> int:
    """Give how many points the runs have that a run goes on with."""
    block = start.get(CONTINUES)
    return Continues.model_validate(block).points if block else 0
