"""A mapping: which dataset of an HDF5 file has the frames of a RIXS map, the energies, and so on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from beamline.endstation.config import read_model

SHIPPED = Path(__file__).parent / "mappings"
PART = "{part}"  # in a path: the group of the scan, which FILE::PART names


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Place(_Table):
    """Where a value is: in the first of these datasets that exists, or given."""

    dataset: list[str] = []
    value: float | None = None
    unit: str = ""  # where the dataset has no attribute `units`

    @field_validator("dataset", mode="before")
    @classmethod
    def _one_or_several(cls, dataset: object) -> object:
        return [dataset] if isinstance(dataset, str) else dataset

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.dataset) == (self.value is not None):
            raise ValueError("expected a dataset, or a value")
        return self


class Frames(_Table):
    """Where the frames are, and how they lie: the last two axes of a dataset are those of a frame."""

    dataset: list[str] = Field(min_length=1)
    emission: Literal["columns", "rows"] = "columns"  # the axis along which the emission energy runs
    falling: bool = False  # whether it falls along that axis

    _one_or_several = field_validator("dataset", mode="before")(lambda each: [each] if isinstance(each, str) else each)


class Dark(_Table):
    """Frames without light, of the same exposure time and lying alike."""

    dataset: list[str] = Field(min_length=1)

    _one_or_several = field_validator("dataset", mode="before")(lambda each: [each] if isinstance(each, str) else each)


class Camera(_Table):
    """What is known of the camera; what is not is estimated from the frames."""

    counts_per_ev: float | None = Field(None, gt=0)
    read_noise: float | None = Field(None, gt=0)  # counts rms
    full_scale: float | None = Field(None, gt=0)  # counts
    pedestal_subtracted: bool = False  # and clipped at 0


class RixsMapping(_Table):
    """A mapping of a layout.

    Attributes
    ----------
    title : str
    holds : list of str
        What a file of this layout has: by these groups and datasets it is recognised.
    frames, energy, i0, exposure_time, dark, start, sample, camera
        Where each is. Paths begin with a slash; `PART` in them is the group of the scan.
    """

    title: str = ""
    holds: list[str] = []
    frames: Frames
    energy: Place
    i0: Place | None = None
    exposure_time: Place | None = None
    dark: Dark | None = None
    start: Place | None = None
    sample: Place | None = None
    camera: Camera = Camera()


def read_mapping(path: Path) -> RixsMapping:
    """Read a mapping; BeamlineError with a line for each mistake."""
    return read_model(path, RixsMapping)


def shipped_mappings() -> dict[str, RixsMapping]:
    """Read the mappings that come with the program, by the names of their files."""
    return {path.stem: read_mapping(path) for path in sorted(SHIPPED.glob("*.toml"))}
