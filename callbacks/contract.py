"""The vocabulary: every stream name, data key, unit and start-document block, spelled once.

Plans, devices, importers, simulators and callbacks import these; nothing else spells a key.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Stream(StrEnum):
    """Names of the event streams."""

    PRIMARY = "primary"
    DARK = "dark"
    BASELINE = "baseline"
    # of a derived run
    FRAMES = "frames"  # one event a raw event
    RESULT = "result"  # one event, when the raw run closes


class Key(StrEnum):
    """Data keys of raw runs. `UNITS` gives the unit of each."""

    ENERGY = "energy"  # excitation energy, read back
    ENERGY_SETPOINT = "energy_setpoint"  # frames with the same setpoint belong to one row of a map; optional
    I0 = "i0"  # incident flux monitor, integrated over the exposure
    TEY = "tey"  # total electron yield
    TFY = "tfy"  # total fluorescence yield
    DWELL = "dwell"  # time the three above were integrated for
    RING_CURRENT = "ring_current"
    EXPOSURE_TIME = "ccd_exposure_time"
    CCD_IMAGE = "ccd_image"  # external, (rows, columns), emission energy along the columns
    CCD_DARK_IMAGE = "ccd_dark_image"  # external, of the stream `dark`: shutter closed, same exposure time
    CCD_BACKGROUND = "ccd_background"  # scalar pedestal that the instrument itself subtracted; optional
    FRAME_PROBLEM = "frame_problem"  # why a frame is not to be trusted, "" when it is; optional (importers)


class CcdConfig(StrEnum):
    """Configuration keys of the CCD, in the descriptor's configuration of the object `ccd`."""

    COUNTS_PER_EV = "ccd_counts_per_ev"  # gain: counts (ADU) for each eV of a detected photon; NaN: not known
    READ_NOISE = "ccd_read_noise"  # counts rms a pixel; NaN: not known
    FULL_SCALE = "ccd_full_scale"  # counts at which a pixel saturates
    PEDESTAL_SUBTRACTED = "ccd_pedestal_subtracted"  # 1 where the instrument subtracted it and clipped at 0, else 0


UNITS: dict[str, str] = {
    Key.ENERGY: "eV",
    Key.ENERGY_SETPOINT: "eV",
    Key.I0: "counts",
    Key.TEY: "counts",
    Key.TFY: "counts",
    Key.DWELL: "s",
    Key.RING_CURRENT: "mA",
    Key.EXPOSURE_TIME: "s",
    Key.CCD_IMAGE: "counts",
    Key.CCD_DARK_IMAGE: "counts",
    Key.CCD_BACKGROUND: "counts",
    CcdConfig.COUNTS_PER_EV: "counts/eV",
    CcdConfig.READ_NOISE: "counts",
    CcdConfig.FULL_SCALE: "counts",
}

CCD = "ccd"  # object name of the CCD in descriptors

Technique = Literal["xas", "rixs", "elastic"]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Measurement(_Block):
    """Block `measurement` of a raw run's start document: what was asked for."""

    technique: Technique
    sample: str
    edge: str = ""
    energy_regions: str = ""  # as typed: "520:526:0.5, 526:535:0.1"
    points: int  # events planned in the stream `primary`
    exposure_time: float  # s; the dwell of XAS
    frames_per_energy: int = 1
    order: Literal["up", "up_down", "random"] = "up"


class Derivation(_Block):
    """Block `derivation` of a derived run's start document: from what, by what, with what."""

    raw_uids: list[str]
    pipeline: str
    settings: dict[str, Any]
    software: dict[str, str]  # package -> version


MEASUREMENT = "measurement"  # key of the block in a start document
DERIVATION = "derivation"
