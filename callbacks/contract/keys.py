"""Streams and data keys of raw runs, with their units."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Stream(StrEnum):
    """Names of the event streams."""

    PRIMARY = "primary"  # the points of the scan
    DARK = "dark"  # frames or lines with the shutter closed
    BASELINE = "baseline"  # all other devices, before and after the run
    INTERRUPTED = "interrupted"  # a point under way when the light went, kept but taken again for `primary`
    DECISION = "decision"  # whether the precision that was asked for is reached, and why a plan went on or did not
    # of a derived run
    FRAMES = "frames"  # one event a raw event
    POINTS = "points"  # one event an energy of a sweep, of a spectrum that was flown
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
    FLUORESCENCE = "fluorescence_spectrum"  # (bins,), of a silicon drift detector
    FLUORESCENCE_REAL_TIME = "fluorescence_real_time"
    FLUORESCENCE_LIVE_TIME = "fluorescence_live_time"  # less, as it is blind behind each photon
    RING_CURRENT = "ring_current"
    UNDULATOR_GAP = "undulator_gap"  # optional
    POLARISATION = "polarisation"  # as `callbacks.contract.polarisation` names it, "" for none of those; optional
    UNDULATOR_PHASE = "undulator_phase"  # optional
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
    # One event is one sweep over a region of energies. Its counts have the keys that `sweep_key` gives.
    SWEEP_BIN_TIMES = "sweep_bin_times"  # (bins,), how long each time bin was, as the counter timed it
    SWEEP_ENERGIES = "sweep_energies"  # (samples,), of the monochromator, read back while it moved
    SWEEP_ENERGY_TIMES = (
        "sweep_energy_times"  # (samples,), since the first time bin began, by the monochromator's clock
    )


class DecisionKey(StrEnum):
    """Data keys of the stream `decision`: what the reduction had told by then, and what the plan made of it."""

    EVENT = "decision_event"  # number of the frame or point, or of the STXM image, that was asked for; -1: none was
    REACHED = "decision_reached"  # relative error, or sigma of a fraction; NaN: not known
    MARK = "decision_mark"  # how the reduction marks that frame or point; "" where it does not
    LATE = "decision_late"  # 1 where the reduction had not come to it when the patience ended, else 0
    TOLD = "decision_told"  # number of the newest that the reduction had come to
    WAITED = "decision_waited"  # time that the plan waited for the reduction
    ASKED = "decision_asked"  # what `decision_reached` is to be at most
    ENERGY_INDEX = "decision_energy_index"  # place among the energies asked for, from 0; -1: all of them
    COUNT = "decision_count"  # frames or points at the energy, or passes over the stack, so far
    REASON = "decision_reason"  # one of `Reason`
    AGAIN = "decision_again"  # why a frame is taken again; "" where it is not


class Reason(StrEnum):
    """Why a plan took more, or no more, at an energy."""

    GO_ON = "not reached"  # one more is taken
    REACHED = "reached"  # no more is taken
    MOST = "most taken"  # not reached with as many as were allowed
    TIME = "time spent"  # not reached in the time that was allowed
    LATE = "reduction late"  # the most are taken at this energy, without looking
    MARKED = "marked"  # not to be trusted: it is taken again


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


class FluorescenceConfig(StrEnum):
    """Configuration keys of the detector of fluorescence, in the configuration of the object `fluorescence`."""

    FIRST = "fluorescence_first"  # energy of the middle of the first bin
    WIDTH = "fluorescence_width"  # of a bin


class PolarisationConfig(StrEnum):
    """Configuration keys of the polarisation, in the descriptor's configuration of the object `polarisation`."""

    CIRCULAR_DEGREE = "circular_degree"  # of C+ and C- at the sample, 1 at most; NaN: not known
    CIRCULAR_DEGREE_SIGMA = "circular_degree_sigma"  # its standard uncertainty; NaN: not known
    ENERGY_SIGMA = "polarisation_energy_sigma"  # by which the photon energies of two polarisations may differ, rms


class SweepConfig(StrEnum):
    """Configuration keys of the device that flies, in the descriptor's configuration of the object `energy_sweep`."""

    LAG = "sweep_lag"  # by which the times of readbacks are late; NaN: not known


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
    Key.FLUORESCENCE: "counts",
    Key.FLUORESCENCE_REAL_TIME: "s",
    Key.FLUORESCENCE_LIVE_TIME: "s",
    Key.RING_CURRENT: "mA",
    Key.UNDULATOR_GAP: "mm",
    Key.POLARISATION: "",
    Key.UNDULATOR_PHASE: "mm",
    Key.EXPOSURE_TIME: "s",
    Key.CCD_IMAGE: "counts",
    Key.CCD_DARK_IMAGE: "counts",
    Key.CCD_BACKGROUND: "counts",
    Key.STXM_COUNTS: "counts",
    Key.STXM_DWELL: "s",
    Key.STXM_X: "um",
    Key.STXM_Y: "um",
    Key.ZONE_PLATE: "um",
    Key.SWEEP_BIN_TIMES: "s",
    Key.SWEEP_ENERGIES: "eV",
    Key.SWEEP_ENERGY_TIMES: "s",
    DecisionKey.EVENT: "",
    DecisionKey.REACHED: "",
    DecisionKey.MARK: "",
    DecisionKey.LATE: "",
    DecisionKey.TOLD: "",
    DecisionKey.WAITED: "s",
    DecisionKey.ASKED: "",
    DecisionKey.ENERGY_INDEX: "",
    DecisionKey.COUNT: "",
    DecisionKey.REASON: "",
    DecisionKey.AGAIN: "",
    CcdConfig.COUNTS_PER_EV: "counts/eV",
    CcdConfig.READ_NOISE: "counts",
    CcdConfig.FULL_SCALE: "counts",
    CcdConfig.TEMPERATURE: "degC",
    CcdConfig.TEMPERATURE_SETPOINT: "degC",
    FluorescenceConfig.FIRST: "eV",
    FluorescenceConfig.WIDTH: "eV",
    PolarisationConfig.CIRCULAR_DEGREE: "",
    PolarisationConfig.CIRCULAR_DEGREE_SIGMA: "",
    PolarisationConfig.ENERGY_SIGMA: "eV",
    SweepConfig.LAG: "s",
    ScannerConfig.DEAD_TIME: "s",
    ScannerConfig.DARK_RATE: "counts/s",
    ScannerConfig.COUNTER_DIVIDER: "",
}

# object names in descriptors
CCD = "ccd"
CCD_DARK = "ccd_dark"
ENERGY = "energy"
POLARISATION = "polarisation"
RING = "ring"
SCALER = "scaler"
SCANNER = "scanner"
ENERGY_SWEEP = "energy_sweep"


def sweep_key(channel: str) -> str:
    """Give the data key of what a channel counted in each time bin of a sweep, shape (bins,)."""
    return f"sweep_{channel}"


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
