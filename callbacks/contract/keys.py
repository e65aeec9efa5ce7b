"""Streams and data keys of raw runs, with their units."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Stream(StrEnum):
    """Names of the event streams."""

    PRIMARY = "primary"  # the points of the scan
    DARK = "dark"  # frames or lines with the shutter closed
    BASELINE = "baseline"  # all other devices, before and after the run
    INTERRUPTED = "interrupted"  # a point under way when the light went, kept but taken again for `primary`
    # of a derived run
    FRAMES = "frames"  # one event a raw event
    IMAGES = "images"  # one event a STXM image, as it closes
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
    UNDULATOR_GAP = "undulator_gap"  # optional
    EXPOSURE_TIME = "ccd_exposure_time"
    CCD_IMAGE = "ccd_image"  # external, (rows, columns), emission energy along the columns
    CCD_DARK_IMAGE = "ccd_dark_image"  # external, of the stream `dark`: shutter closed, same exposure time
    CCD_BACKGROUND = "ccd_background"  # scalar pedestal that the instrument itself subtracted; optional
    FRAME_PROBLEM = "frame_problem"  # why a frame is not to be trusted, "" when it is; optional (importers)
    # One event is one line of a STXM image; the streams `primary` and `dark` have the same keys.
    STXM_COUNTS = "stxm_counts"  # (pixels,), of the transmission detector
    STXM_DWELL = "stxm_dwell"  # (pixels,), as the scanner timed it
    STXM_X = "stxm_x"  # (pixels,), encoder of the fine stage
    STXM_Y = "stxm_y"  # (pixels,)
    ZONE_PLATE = "zone_plate"  # position along the beam


class CcdConfig(StrEnum):
    """Configuration keys of the CCD, in the descriptor's configuration of the object `ccd`."""

    COUNTS_PER_EV = "ccd_counts_per_ev"  # gain: counts (ADU) for each eV of a detected photon; NaN: not known
    READ_NOISE = "ccd_read_noise"  # counts rms a pixel; NaN: not known
    FULL_SCALE = "ccd_full_scale"  # counts at which a pixel saturates
    PEDESTAL_SUBTRACTED = "ccd_pedestal_subtracted"  # 1 where the instrument subtracted it and clipped at 0, else 0
    # How the chip was cooled and read out, of which the four above depend; none where it is not known.
    TEMPERATURE = "ccd_temperature"  # of the chip
    TEMPERATURE_SETPOINT = "ccd_temperature_setpoint"
    COOLER = "ccd_cooler"  # "On" or "Off"
    COOLING_STATE = "ccd_cooling_state"  # in the camera's words
    GAIN = "ccd_gain"  # of the preamplifier, in the camera's words
    READOUT_SPEED = "ccd_readout_speed"  # in the camera's words
    BINNING_X = "ccd_binning_x"  # pixels of the chip in a column of a frame
    BINNING_Y = "ccd_binning_y"  # in a row
    MODEL = "ccd_model"


class ScannerConfig(StrEnum):
    """Configuration keys of the line scanner, in the descriptor's configuration of the object `scanner`."""

    DEAD_TIME = "stxm_dead_time"  # of the counting detector, which a photon does not prolong; NaN: not known
    DARK_RATE = "stxm_dark_rate"  # where no dark line is measured; NaN: not known
    COUNTER_DIVIDER = "stxm_counter_divider"  # photons of a count; optional, 1 where it is not given


UNITS: dict[str, str] = {
    Key.ENERGY: "eV",
    Key.ENERGY_SETPOINT: "eV",
    Key.I0: "counts",
    Key.TEY: "counts",
    Key.TFY: "counts",
    Key.DWELL: "s",
    Key.RING_CURRENT: "mA",
    Key.UNDULATOR_GAP: "mm",
    Key.EXPOSURE_TIME: "s",
    Key.CCD_IMAGE: "counts",
    Key.CCD_DARK_IMAGE: "counts",
    Key.CCD_BACKGROUND: "counts",
    Key.STXM_COUNTS: "counts",
    Key.STXM_DWELL: "s",
    Key.STXM_X: "um",
    Key.STXM_Y: "um",
    Key.ZONE_PLATE: "um",
    CcdConfig.COUNTS_PER_EV: "counts/eV",
    CcdConfig.READ_NOISE: "counts",
    CcdConfig.FULL_SCALE: "counts",
    CcdConfig.TEMPERATURE: "degC",
    CcdConfig.TEMPERATURE_SETPOINT: "degC",
    ScannerConfig.DEAD_TIME: "s",
    ScannerConfig.DARK_RATE: "counts/s",
    ScannerConfig.COUNTER_DIVIDER: "",
}

# object names in descriptors
CCD = "ccd"
CCD_DARK = "ccd_dark"
ENERGY = "energy"
RING = "ring"
SCALER = "scaler"
SCANNER = "scanner"


class Severity(IntEnum):
    """Severity of an alarm, as EPICS counts it."""

    NO_ALARM = 0
    MINOR = 1
    MAJOR = 2
    INVALID = 3  # the value is not known: NaN, or an empty text


def severity_key(device: str) -> str:
    """Give the data key of the highest `Severity` among what a device read; optional."""
    return f"{device}_severity"


def alarm_key(device: str) -> str:
    """Give the data key of the text that says which of its values have an alarm, and which; "" for none."""
    return f"{device}_alarm"
