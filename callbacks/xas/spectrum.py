"""Absorption spectra: yields normalised to I0, pre-edge subtracted, edge or area normalised, with uncertainties."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from callbacks.alarms import is_known
from callbacks.contract import (
    CIRCULAR,
    SCALER,
    Channel,
    ChannelSpectrum,
    EnergyCalibration,
    Key,
    Measurement,
    Output,
    PolarisationConfig,
    XasOutput,
    XasResult,
    ratio_outputs,
    relative_error,
)
from callbacks.incident_flux import FluxCheck, IncidentFluxSettings, check_flux
from callbacks.step import Step
from callbacks.wording import number_of
from callbacks.xas.background import SIGMAS, background, gaps, jump_weight, windows
from callbacks.xas.dichroism import Light, dichroism

FloatArray = NDArray[np.floating]
HALF_STEP = 0.5  # by which an energy read back may lie beyond the last of the open beam, whose value it then has
# Of runs that do not say what they count.
CHANNELS = (
    Channel(name=Key.I0, title="incident flux", form="monitor"),
    Channel(name=Key.TEY, title="total electron yield"),
    Channel(name=Key.TFY, title="total fluorescence yield"),
)


def channels_of(measurement: Measurement) -> Sequence[Channel]:
    """Give what an absorption spectrum is measured with."""
    return measurement.channels or CHANNELS


class OpenBeam(BaseModel):
    """What a detector in the open beam measured over I0: the response of the I0 monitor, inverted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    energy: list[float] = Field(min_length=2)  # eV, ascending
    ratio: list[float]
    sigma: list[float]
    source: str = ""  # where it comes from

    @model_validator(mode="after")
    def _is_a_curve(self) -> Self:
        if not len(self.energy) == len(self.ratio) == len(self.sigma):
            raise ValueError("energy, ratio and sigma have different lengths")
        if not all(low < high for low, high in itertools.pairwise(self.energy)):
            raise ValueError("the energies do not ascend")
        if not all(value > 0 for value in self.ratio):
            raise ValueError("a ratio is not above zero")
        return self

    def at(self, energy: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the ratio at energies and its variance, interpolated; NaN beyond half a step of what was measured."""
        at, known = np.asarray(self.energy), np.asarray(energy, dtype=float)
        place = np.searchsorted(at, known).clip(1, len(at) - 1)
        share = (known - at[place - 1]) / (at[place] - at[place - 1])
        share = np.where((share >= -HALF_STEP) & (share <= 1 + HALF_STEP), share.clip(0.0, 1.0), np.nan)
        ratio, variance = np.asarray(self.ratio), np.asarray(self.sigma) ** 2
        low, high = 1 - share, share
        return low * ratio[place - 1] + high * ratio[place], low**2 * variance[place - 1] + high**2 * variance[place]


class XasSettings(IncidentFluxSettings):
    """Settings of an absorption spectrum; windows in eV."""

    pre_edge: tuple[float, float] | None = None  # below the edge: the background is fitted here
    background: Literal["constant", "linear"] = "linear"
    normalise: Literal["edge", "area"] = "edge"
    post_edge: tuple[float, float] | None = None  # the edge jump is the mean here; with "area" the area is taken here
    fewest_points: int = Field(3, ge=2)  # in a window
    match_polarisations: bool = True  # whether spectra of two polarisations are scaled to agree before the edge
    # A second monitor that I0 is compared with; none where not given. A point is marked where their ratio departs from
    # its trend by more than the share below and by five of its sigmas.
    compared_with: str = ""
    differ_above: float = Field(0.01, gt=0, lt=1)
    # Channels cut out of the spectra of a detector that tells energies apart: from and to, eV; of none, the whole.
    windows: dict[str, tuple[float, float]] = Field(default_factory=dict)
    # s by which the times of energies read back in flight are late; the device's own, or found, where not given
    lag: float | None = None
    # Of the light itself, by which the monitor's own structure is taken out: what another detector sees of it over I0,
    # by energy, as `beamline.acquire.references` reads it from a run without a sample.
    open_beam: OpenBeam | None = None
    # Of the monochromator's scale, added to the energies; one that is older is named: a week is longer than most beam
    # times, in which it is measured anew.
    energy_calibration: EnergyCalibration | None = None
    calibration_holds: float = Field(7.0, gt=0)  # days

    @field_validator("windows")
    @classmethod
    def _windows(cls, windows: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for name, (low, high) in windows.items():
            if not name.isidentifier():
                raise ValueError(f"{name!r}: expected a name of letters, digits and _")
            if not low < high:
                raise ValueError(f"{name}: {low:g} to {high:g} eV, expected the lower end first")
        return windows


@dataclass(frozen=True)
class Spectrum:
    """A normalised absorption spectrum.

    Attributes
    ----------
    normalised, sigma : numpy.ndarray, shape (n,)
        NaN throughout where `status` is not "ok".
    jump, jump_sigma : float
        What was divided by: the edge jump, or the area (eV).
    status : str
        "ok", or why the spectrum is not normalised.
    """

    normalised: FloatArray
    sigma: FloatArray
    jump: float
    jump_sigma: float
    status: str


def normalise_spectrum(
    energy: FloatArray, intensity: FloatArray, variance: FloatArray, settings: XasSettings | None = None
) -> Spectrum:
    """Subtract the pre-edge background and normalise by the edge jump or the area.

    Parameters
    ----------
    energy : numpy.ndarray, shape (n,)
        eV, ascending.
    intensity, variance : numpy.ndarray, shape (n,)
        Yield over I0, of independent points; NaN where not measured. A partial yield of a RIXS map serves as well.
    settings : XasSettings, optional

    Returns
    -------
    Spectrum

    Notes
    -----
    The normalised spectrum is a function of all points: of each one itself, and through background and jump of those
    in the windows. Its uncertainty is propagated through the whole Jacobian, correlations included. That is the unit
    matrix less one of rank three at most, over the jump: work and memory are linear in the number of points.
    """
    settings = settings or XasSettings()
    measured = np.isfinite(intensity) & np.isfinite(variance)
    pre, post = windows(energy, settings.pre_edge, settings.post_edge, np.where(measured, intensity, np.nan))
    in_pre = measured & (energy >= pre[0]) & (energy <= pre[1])
    in_post = measured & (energy >= post[0]) & (energy <= post[1])
    for name, window, inside in (("pre-edge", pre, in_pre), ("post-edge", post, in_post)):
        if inside.sum() < settings.fewest_points:
            return _refused(
                energy,
                f"the {name} window {window[0]:g} to {window[1]:g} eV holds {number_of(int(inside.sum()), 'point')},"
                f" expected {settings.fewest_points} or more",
            )
    before = background(energy, variance, in_pre, settings.background)
    weight = jump_weight(energy, post, measured, settings.normalise)
    if gap := next((said for places, said in gaps(energy, measured) if weight[places].any()), ""):
        return _refused(energy, gap)
    values, noise = np.where(measured, intensity, 0.0), np.where(measured, variance, 0.0)
    subtracted = before.off(values)
    jump_row = before.after_off(weight)
    jump, jump_sigma = float(weight @ subtracted), math.sqrt(float(jump_row**2 @ noise))
    if not jump > SIGMAS * jump_sigma:
        return _refused(energy, f"no edge: the jump is {jump:.3g} ± {jump_sigma:.3g}")
    normalised = subtracted / jump
    columns, rows = np.column_stack([before.columns, normalised]), np.vstack([before.rows, jump_row])
    # Jacobian = (1 - columns @ rows) / jump; what follows is the diagonal of Jacobian @ diag(noise) @ Jacobian.T
    own = noise * (1.0 - 2.0 * np.einsum("nr,rn->n", columns, rows))
    shared = np.einsum("nr,rs,ns->n", columns, (rows * noise) @ rows.T, columns)
    sigma = np.sqrt(np.maximum(own + shared, 0.0)) / jump
    return Spectrum(np.where(measured, normalised, np.nan), np.where(measured, sigma, np.nan), jump, jump_sigma, "ok")


def _refused(energy: FloatArray, reason: str) -> Spectrum:
    nothing = np.full(len(energy), np.nan)
    return Spectrum(nothing, nothing.copy(), math.nan, math.nan, reason)


@dataclass(frozen=True)
class _Amount:
    """What a channel measured in a time: a sum, with its variance."""

    value: float
    variance: float
    is_counted: bool  # so that nothing is uncertain by one
    points: int = 1  # that it is the sum of

    @classmethod
    def of(cls, event: Mapping[str, Any], channel: Channel) -> _Amount:
        """Read it from an event: counts have the variance of their number, others that of the sigma beside them."""
        value, dwell = _number(event.get(channel.name)), _number(event.get(Key.DWELL))
        sigma = event.get(f"{channel.name}_sigma")
        if sigma is None and not channel.is_rate:
            return cls(value, value, is_counted=True)
        times = dwell if channel.is_rate else 1.0
        return cls(value * times, (_number(sigma) * times) ** 2, is_counted=False)


NOTHING = _Amount(math.nan, math.nan, is_counted=False)


def _sum(amounts: Sequence[_Amount]) -> _Amount:
    """Add up what was measured at several points; not known of none."""
    if not amounts:
        return NOTHING
    value, variance = sum(each.value for each in amounts), sum(each.variance for each in amounts)
    return _Amount(value, variance, is_counted=amounts[0].is_counted, points=sum(each.points for each in amounts))


def _ratio(above: _Amount, below: _Amount, noise: float) -> tuple[float, float]:
    """Give a ratio and its standard uncertainty; NaN where it is divided by nothing.

    Parameters
    ----------
    noise : float
        Relative, of what is divided by, beyond its own variance.
    """
    if not below.value > 0 or not math.isfinite(above.value):
        return math.nan, math.nan
    ratio = above.value / below.value
    own = max(above.variance, 1.0) if above.is_counted else above.variance
    return ratio, math.sqrt(own / below.value**2 + ratio**2 * (below.variance / below.value**2 + noise**2))


class _Ratios:
    """Divides the channels of points by their I0, or by the channel that stands for it."""

    def __init__(self, settings: XasSettings, channels: Sequence[Channel]) -> None:
        self.settings = settings
        self.channels = {each.name: each for each in channels}
        self.channels.setdefault(settings.i0, Channel(name=settings.i0, form="monitor"))
        self.divided = [each for each in channels if each.form != "monitor" and each.name != settings.i0]

    def amounts(self, event: Mapping[str, Any]) -> dict[str, _Amount]:
        """Read what all channels measured."""
        return {name: _Amount.of(event, channel) for name, channel in self.channels.items()}

    def of(self, channel: Channel, amounts: Mapping[str, _Amount], departure: float = 0.0) -> tuple[float, float]:
        """Give the ratio of a channel and its standard uncertainty; of an absorption, the mean of its points.

        Parameters
        ----------
        departure : float
            By how much I0 departs from its trend, relative.
        """
        if channel.form == "absorption":
            mean = amounts.get(channel.name, NOTHING)
            return mean.value / mean.points, math.sqrt(mean.variance) / mean.points
        below = amounts.get(channel.over or self.settings.i0, NOTHING)
        return _ratio(amounts.get(channel.name, NOTHING), below, math.hypot(self.settings.monitor_noise, departure))


class XasPoint(Step):
    """Divide what each channel measured at a point by I0.

    Parameters
    ----------
    settings : XasSettings
    channels : sequence of Channel
        What is measured.
    """

    def __init__(self, settings: XasSettings, channels: Sequence[Channel] = CHANNELS) -> None:
        self._ratios = _Ratios(settings, channels)
        self._outputs = {channel.name: ratio_outputs(channel.name) for channel in self._ratios.divided}
        self.kept: tuple[Output, ...] = tuple(output for pair in self._outputs.values() for output in pair)

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a point; give its channels over I0."""
        amounts = self._ratios.amounts(event)
        given: dict[str, Any] = {}
        for channel in self._ratios.divided:
            given |= zip(self._outputs[channel.name], self._ratios.of(channel, amounts), strict=True)
        return given


@dataclass(frozen=True)
class _Total:
    """What was measured at an energy, of one point or of several."""

    energy: float
    amounts: Mapping[str, _Amount]
    departure: float  # of I0 from its trend, relative


NO_TOTAL = _Total(math.nan, {}, 0.0)  # of an energy that was not measured


@dataclass(frozen=True)
class _Point(_Total):
    """A point of the spectrum."""

    number: int
    dwell: float


class _Points:
    """Points that are compared with one another, and added up by energy."""

    def __init__(self, settings: XasSettings) -> None:
        self._settings = settings
        self.points: list[_Point] = []
        self._by_energy: dict[float, list[int]] = {}  # places of the points by setpoint
        self._departures: list[float] = []  # of the points from their trend, as far as it is known by now

    def add(self, point: _Point, setpoint: float) -> tuple[_Total, str]:
        """Take a point; give what is known at its energy by now, and what is wrong with its flux."""
        self.points.append(point)
        places = self._by_energy.setdefault(setpoint, [])
        places.append(len(self.points) - 1)
        newest = self.points[-2 * self._settings.neighbours - 1 :]
        judged = check_flux([self._flux(each) for each in newest], self._settings)
        self._departures[len(self.points) - len(newest) :] = _departures(judged)
        total = _add_up([replace(self.points[place], departure=self._departures[place]) for place in places])
        return total, judged.reasons[-1]

    def judged(self) -> FluxCheck:
        """Compare the flux of each point with those on both sides."""
        return check_flux([self._flux(point) for point in self.points], self._settings)

    def totals(self, judged: FluxCheck) -> dict[float, _Total]:
        """Add up points at the same energy, by setpoint."""
        departures = _departures(judged)
        return {
            setpoint: _add_up([replace(self.points[place], departure=departures[place]) for place in places])
            for setpoint, places in self._by_energy.items()
        }

    def marks(self, judged: FluxCheck) -> dict[int, str]:
        """Say by number what is wrong with points."""
        pairs = zip(judged.reasons, self._differences(judged), strict=True)
        reasons = ["; ".join(filter(None, pair)) for pair in pairs]
        return {point.number: reason for point, reason in zip(self.points, reasons, strict=True) if reason}

    def _differences(self, judged: FluxCheck) -> list[str]:
        """Say of each point where the second monitor does not go with I0; "" where it does, or there is none."""
        name = self._settings.compared_with
        if not name or not self.points:
            return [""] * len(self.points)
        pairs = [
            _ratio(
                point.amounts.get(name, NOTHING),
                point.amounts[self._settings.i0],
                math.sqrt(2) * self._settings.monitor_noise,
            )
            for point in self.points
        ]
        ratio, sigma = np.array(pairs).T
        compared = check_flux(np.where(judged.lost, np.nan, ratio), self._settings)
        away = np.abs(compared.relative - 1)
        differs = (away > self._settings.differ_above) & (away > 5 * sigma / ratio)
        return [
            f"{self._settings.i0} and {name} differ: their ratio is {each:.3f} of its trend" if wrong else ""
            for each, wrong in zip(compared.relative, differs, strict=True)
        ]

    def _flux(self, point: _Point) -> float:
        i0 = point.amounts[self._settings.i0].value
        return i0 / point.dwell if point.dwell > 0 else i0


@dataclass(frozen=True)
class _Absorbed:
    """A channel over I0 at each energy, and what is normalised of it."""

    ratio: FloatArray
    sigma: FloatArray
    absorbed: FloatArray
    variance: FloatArray
    beyond: str  # why it cannot be; "" where it can


class XasSpectrum(Step):
    """Put the points together: ordered by energy, repeats added, background subtracted, normalised.

    During the run a point is compared with those before it, and again as more come; the `result` compares it with those
    on both sides. Points of two polarisations are kept apart: each is compared with those of its own, and the two
    spectra make a mean, which is given as the spectrum, and a difference.

    Parameters
    ----------
    settings : XasSettings
    channels : sequence of Channel
        What is measured.
    polarisations : sequence of str
        That were asked for: none, one, or two.
    """

    def __init__(
        self, settings: XasSettings, channels: Sequence[Channel] = CHANNELS, polarisations: Sequence[str] = ()
    ) -> None:
        self._settings = settings
        self._ratios = _Ratios(settings, channels)
        self._errors = [relative_error(channel.name) for channel in self._ratios.divided]
        self.kept: tuple[Output, ...] = (*self._errors, XasOutput.POINT_MARK)
        self._asked = tuple(polarisations)
        self._is_pair = len(self._asked) > 1
        self._points = {name: _Points(settings) for name in (self._asked if self._is_pair else ("",))}
        self._strays: dict[int, str] = {}  # points of another polarisation, by number, and what is said of them
        self._light = Light()  # of a pair
        self._begin = math.nan  # s since 1970, of the first point

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a point; say how well each channel at its energy is known by now, and what is wrong with the point."""
        energy, dwell = _number(event.get(Key.ENERGY)), _number(event.get(Key.DWELL))
        amounts = self._ratios.amounts(event)
        if math.isnan(self._begin):
            self._begin = _number(event.get("time"))
        if math.isnan(dwell) and not is_known(event, SCALER):
            amounts[self._settings.i0] = NOTHING  # counted for a time that is not known
        if stray := self._stray(event):
            self._strays[event["seq_num"]] = stray
            if self._is_pair:  # it belongs to neither
                return dict(zip(self.kept, [*[math.nan] * len(self._errors), stray], strict=True))
        if self._is_pair:
            self._light = light_of(event, self._asked)
        points = self._points[str(event[Key.POLARISATION]) if self._is_pair else ""]
        setpoint = _number(event.get(Key.ENERGY_SETPOINT, event[Key.ENERGY]))
        total, reason = points.add(_Point(energy, amounts, 0.0, event["seq_num"], dwell), setpoint)
        found = [self._ratios.of(channel, total.amounts, total.departure) for channel in self._ratios.divided]
        errors = [sigma / ratio if ratio > 0 else math.nan for ratio, sigma in found]
        return dict(zip(self.kept, [*errors, "; ".join(filter(None, (reason, stray)))], strict=True))

    @property
    def result(self) -> XasResult:
        """The spectra so far."""
        marks, spectra = [self._strays], []
        for points in self._points.values():
            judged = points.judged()
            marks.append(points.marks(judged))
            spectra.append(points.totals(judged))
        setpoints = list(dict.fromkeys(setpoint for totals in spectra for setpoint in totals))
        at = {each: float(np.mean([totals[each].energy for totals in spectra if each in totals])) for each in setpoints}
        setpoints.sort(key=at.__getitem__)
        energy = np.array([at[each] for each in setpoints])
        calibration = self._settings.energy_calibration
        calibrated = energy + (calibration.offset if calibration else 0.0)
        totals = [[found.get(each, NO_TOTAL) for each in setpoints] for found in spectra]
        numbers = sorted({number for each in marks for number in each})
        i0 = np.array([[each.amounts.get(self._settings.i0, NOTHING).value for each in one] for one in totals])
        pair: dict[str, Any] = {"polarisations": np.array(self._asked, dtype=str)} if self._is_pair else {}
        return XasResult(
            xas_energy=calibrated,
            energy_offset=calibration.offset if calibration else math.nan,
            energy_offset_sigma=calibration.sigma if calibration else math.nan,
            energy_calibration=self._said_of(calibration),
            marked_frames=np.array(numbers, dtype=int),
            marks=np.array(
                ["; ".join(each[number] for each in marks if number in each) for number in numbers], dtype=str
            ),
            i0_counts=i0.sum(axis=0),
            channels=np.array([channel.name for channel in self._ratios.divided], dtype=str),
            spectra={
                channel.name: self._spectrum(channel, energy, calibrated, totals) for channel in self._ratios.divided
            },
            **pair,
        )

    def _said_of(self, calibration: EnergyCalibration | None) -> str:
        """Say what the energies are calibrated by; empty where they are not."""
        if calibration is None:
            return ""
        days = (self._begin - calibration.time) / 86400.0
        old = f"{abs(days):.0f} days {'old' if days > 0 else 'younger than the run'}: "
        return f"{old if abs(days) > self._settings.calibration_holds else ''}{calibration}"

    def _stray(self, event: Mapping[str, Any]) -> str:
        """Say where a point has another polarisation than was asked for; "" where it has not, or none was."""
        found = event.get(Key.POLARISATION)
        if not self._asked or found in self._asked:
            return ""
        shown = f"{found}" if found else "none that is known"
        return f"polarisation: {shown}, expected {' or '.join(self._asked)}"

    def _spectrum(
        self, channel: Channel, energy: FloatArray, calibrated: FloatArray, totals: Sequence[Sequence[_Total]]
    ) -> ChannelSpectrum:
        """Give the spectrum of a channel over I0, and normalised; of two polarisations their mean and difference.

        By energies as read back, and as calibrated.
        """
        each = [self._absorbed(channel, energy, one) for one in totals]
        if self._is_pair:
            return self._dichroic(channel, calibrated, each)
        (only,) = each
        found = normalise_spectrum(calibrated, only.absorbed, only.variance, self._settings)
        return ChannelSpectrum(
            normalised=found.normalised,
            sigma=found.sigma,
            status=only.beyond or found.status,
            edge_jump=found.jump,
            edge_jump_sigma=found.jump_sigma,
            over_i0_spectrum=only.ratio,
            over_i0_spectrum_sigma=only.sigma,
        )

    def _absorbed(self, channel: Channel, energy: FloatArray, totals: Sequence[_Total]) -> _Absorbed:
        """Give a channel over I0, and of a transmission its negative logarithm."""
        pairs = [self._ratios.of(channel, total.amounts, total.departure) for total in totals]
        ratio, sigma = np.array(pairs, dtype=float).reshape(-1, 2).T
        beyond = ""
        if self._settings.open_beam is not None and not channel.over and channel.form != "absorption":
            ratio, sigma = _over_open_beam(energy, ratio, sigma, self._settings.open_beam)
            if np.isnan(self._settings.open_beam.at(energy)[0]).all():
                beyond = "the open beam was measured at none of its energies"
        if len(ratio) and np.isfinite(ratio).any() and not np.isfinite(sigma).any():
            beyond = f"no {channel.name}_sigma is recorded, and it is no number of counts"
        absorbed, variance = ratio, sigma**2
        if channel.form == "transmission":
            with np.errstate(divide="ignore", invalid="ignore"):
                absorbed, variance = np.where(ratio > 0, -np.log(ratio), np.nan), (sigma / ratio) ** 2
        return _Absorbed(ratio, sigma, absorbed, variance, beyond)

    def _dichroic(self, channel: Channel, energy: FloatArray, each: Sequence[_Absorbed]) -> ChannelSpectrum:
        first, second = ((one.absorbed, one.variance) for one in each)
        shifted = channel.form == "transmission"  # what is a factor of it is added to its logarithm
        found = dichroism(energy, first, second, self._settings, self._light, shifted=shifted)
        status = next((one.beyond for one in each if one.beyond), found.status)
        return ChannelSpectrum(
            normalised=found.mean,
            sigma=found.mean_sigma,
            status=status,
            edge_jump=found.jump,
            edge_jump_sigma=found.jump_sigma,
            over_i0_spectrum=(each[0].ratio + each[1].ratio) / 2,
            over_i0_spectrum_sigma=np.hypot(each[0].sigma, each[1].sigma) / 2,
            polarised=np.array([one.ratio for one in each]),
            polarised_sigma=np.array([one.sigma for one in each]),
            dichroism=found.difference,
            dichroism_sigma=found.difference_sigma,
            dichroism_per_degree=found.per_degree,
            dichroism_per_degree_sigma=found.per_degree_sigma,
            dichroism_status=status,
            matched_by=found.matched_by,
            matched_by_sigma=found.matched_by_sigma,
        )


def light_of(event: Mapping[str, Any], polarisations: Sequence[str]) -> Light:
    """Give what an event's configuration says of the light of two polarisations."""
    circular = all(each in CIRCULAR for each in polarisations)
    degree, sigma, energy = (
        _number(event.get(key))
        for key in (
            PolarisationConfig.CIRCULAR_DEGREE,
            PolarisationConfig.CIRCULAR_DEGREE_SIGMA,
            PolarisationConfig.ENERGY_SIGMA,
        )
    )
    return Light(degree if circular else math.nan, sigma if circular else math.nan, energy)


def _over_open_beam(
    energy: FloatArray, ratio: FloatArray, sigma: FloatArray, open_beam: OpenBeam
) -> tuple[FloatArray, FloatArray]:
    """Divide a channel over I0 by what the open beam is over I0 (double normalisation).

    Notes
    -----
    What is shared by neighbours, as they are interpolated between the same energies of the open beam, is counted as
    that of each: the open beam is to be measured with less noise than the sample.
    """
    light, variance = open_beam.at(energy)
    divided = ratio / light
    return divided, np.sqrt((sigma / light) ** 2 + divided**2 * variance / light**2)


def _departures(judged: FluxCheck) -> list[float]:
    """Give by how much the flux of each point departs from its trend; infinity where it is lost."""
    return [math.inf if gone else float(each) for gone, each in zip(judged.lost, judged.departure, strict=True)]


def _add_up(points: Sequence[_Point]) -> _Total:
    """Add up what was measured in the points at one energy.

    Those whose I0 is lost count for nothing, and those whose I0 departs from its trend only where there are no others.
    """
    least = min(point.departure for point in points)
    good = [point for point in points if math.isfinite(point.departure)]
    if least == 0.0:
        good = [point for point in good if point.departure == 0.0]
    return _Total(
        energy=float(np.mean([point.energy for point in points])),
        amounts={name: _sum([point.amounts[name] for point in good]) for name in points[0].amounts},
        departure=max((point.departure for point in good), default=0.0),
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
