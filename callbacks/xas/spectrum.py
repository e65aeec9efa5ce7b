"""Absorption spectra: yields normalised to I0, pre-edge subtracted, edge or area normalised, with uncertainties."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from callbacks.alarms import is_known
from callbacks.contract import SCALER, Key, XasOutput, XasResult
from callbacks.incident_flux import FluxCheck, IncidentFluxSettings, check_flux, relative_variance
from callbacks.step import Step
from callbacks.wording import number_of
from callbacks.xas.background import SIGMAS, background, jump_weight, windows

FloatArray = NDArray[np.floating]
YIELDS = (Key.TEY, Key.TFY)


class XasSettings(IncidentFluxSettings):
    """Settings of an absorption spectrum; windows in eV."""

    pre_edge: tuple[float, float] | None = None  # below the edge: the background is fitted here
    background: Literal["constant", "linear"] = "linear"
    normalise: Literal["edge", "area"] = "edge"
    post_edge: tuple[float, float] | None = None  # the edge jump is the mean here; with "area" the area is taken here
    fewest_points: int = Field(3, ge=2)  # in a window


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
    pre, post = windows(energy, settings.pre_edge, settings.post_edge)
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
    weight = jump_weight(energy, in_post, settings.normalise)
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


class XasPoint(Step):
    """Normalise the yields of each point to I0."""

    kept = (
        XasOutput.TEY_OVER_I0,
        XasOutput.TEY_OVER_I0_SIGMA,
        XasOutput.TFY_OVER_I0,
        XasOutput.TFY_OVER_I0_SIGMA,
    )

    def __init__(self, settings: XasSettings) -> None:
        self._settings = settings

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a point; give its yields over I0."""
        i0 = _number(event.get(Key.I0))
        tey, tfy = (_ratio(_number(event.get(key)), i0, self._settings.monitor_noise) for key in YIELDS)
        return dict(zip(self.kept, (*tey, *tfy), strict=True))


class XasSpectrum(Step):
    """Put the points together: ordered by energy, repeats added, background subtracted, normalised.

    During the run a point is compared with those before it, and again as more come; the `result` compares it with those
    on both sides.
    """

    kept = (XasOutput.TEY_RELATIVE_ERROR, XasOutput.TFY_RELATIVE_ERROR, XasOutput.POINT_MARK)

    def __init__(self, settings: XasSettings) -> None:
        self._settings = settings
        self._points: list[dict[str, float]] = []
        self._by_energy: dict[float, list[int]] = {}  # places of the points by setpoint
        self._departures: list[float] = []  # of the points from their trend, as far as it is known by now

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a point; say how well the yields at its energy are known by now, and what is wrong with the point."""
        point = {str(key): _number(event.get(key)) for key in (Key.ENERGY, Key.I0, Key.DWELL, *YIELDS)}
        point["setpoint"] = _number(event.get(Key.ENERGY_SETPOINT, event[Key.ENERGY]))
        point["seq_num"] = event["seq_num"]
        if math.isnan(point[Key.DWELL]) and not is_known(event, SCALER):
            point[Key.I0] = math.nan  # counted for a time that is not known
        self._points.append(point)
        places = self._by_energy.setdefault(point["setpoint"], [])
        places.append(len(self._points) - 1)
        newest = self._points[-2 * self._settings.neighbours - 1 :]
        judged = check_flux([_flux(each) for each in newest], self._settings)
        self._departures[len(self._points) - len(newest) :] = _departures(judged)
        total = _sum_of([(self._points[place], self._departures[place]) for place in places])
        ratios = [self._ratio_of(total, key) for key in YIELDS]
        errors = [sigma / ratio if ratio > 0 else math.nan for ratio, sigma in ratios]
        return dict(zip(self.kept, [*errors, judged.reasons[-1]], strict=True))

    @property
    def result(self) -> XasResult:
        """The spectra so far."""
        judged = check_flux([_flux(point) for point in self._points], self._settings)
        numbers = np.array([point["seq_num"] for point in self._points], dtype=int)
        marked = np.array([bool(reason) for reason in judged.reasons], dtype=bool)
        energy, sums = self._add_up(judged)
        (tey, tey_ratio, tey_sigma), (tfy, tfy_ratio, tfy_sigma) = (self._spectrum(key, energy, sums) for key in YIELDS)
        return XasResult(
            xas_energy=energy,
            marked_frames=numbers[marked],
            marks=np.array([reason for reason in judged.reasons if reason], dtype=str),
            i0_counts=np.array([total[Key.I0] for total in sums]),
            tey=tey.normalised,
            tey_sigma=tey.sigma,
            tey_status=tey.status,
            tey_edge_jump=tey.jump,
            tey_edge_jump_sigma=tey.jump_sigma,
            tey_over_i0_spectrum=tey_ratio,
            tey_over_i0_spectrum_sigma=tey_sigma,
            tfy=tfy.normalised,
            tfy_sigma=tfy.sigma,
            tfy_status=tfy.status,
            tfy_edge_jump=tfy.jump,
            tfy_edge_jump_sigma=tfy.jump_sigma,
            tfy_over_i0_spectrum=tfy_ratio,
            tfy_over_i0_spectrum_sigma=tfy_sigma,
        )

    def _spectrum(
        self, key: Key, energy: FloatArray, sums: list[dict[str, float]]
    ) -> tuple[Spectrum, FloatArray, FloatArray]:
        """Give the normalised spectrum of a yield, and the yield over I0 with its standard uncertainty."""
        pairs = [self._ratio_of(total, key) for total in sums]
        ratio, sigma = np.array(pairs).reshape(-1, 2).T
        return normalise_spectrum(energy, ratio, sigma**2, self._settings), ratio, sigma

    def _ratio_of(self, total: Mapping[str, float], key: str) -> tuple[float, float]:
        """Give a yield over I0 of points added up, and its standard uncertainty."""
        return _ratio(total[key], total[Key.I0], math.hypot(self._settings.monitor_noise, total["departure"]))

    def _add_up(self, judged: FluxCheck) -> tuple[FloatArray, list[dict[str, float]]]:
        """Add the counts of points at the same energy, by ascending energy."""
        departures = _departures(judged)
        totals = [
            _sum_of([(self._points[place], departures[place]) for place in places])
            for places in self._by_energy.values()
        ]
        totals.sort(key=lambda total: total["energy"])
        return np.array([total["energy"] for total in totals]), totals


def _flux(point: Mapping[str, float]) -> float:
    return point[Key.I0] / point[Key.DWELL] if point[Key.DWELL] > 0 else point[Key.I0]


def _departures(judged: FluxCheck) -> list[float]:
    """Give by how much the flux of each point departs from its trend; infinity where it is lost."""
    return [math.inf if gone else float(each) for gone, each in zip(judged.lost, judged.departure, strict=True)]


def _sum_of(points: Sequence[tuple[Mapping[str, float], float]]) -> dict[str, float]:
    """Add the counts of points at one energy, each with its departure.

    Those whose I0 is lost count for nothing, and those whose I0 departs from its trend only where there are no others.
    """
    least = min(departure for _, departure in points)
    good = [(point, departure) for point, departure in points if math.isfinite(departure)]
    if least == 0.0:
        good = [(point, departure) for point, departure in good if departure == 0.0]
    total = {str(key): sum(point[key] for point, _ in good) if good else math.nan for key in (Key.I0, *YIELDS)}
    total["energy"] = float(np.mean([point[Key.ENERGY] for point, _ in points]))
    total["departure"] = max((departure for _, departure in good), default=0.0)
    return total


def _ratio(counts: float, i0: float, monitor_noise: float) -> tuple[float, float]:
    """Give counts over I0 and its standard uncertainty; NaN where I0 is not above zero."""
    if not i0 > 0 or not math.isfinite(counts):
        return math.nan, math.nan
    ratio = counts / i0
    return ratio, math.sqrt(max(counts, 1.0) / i0**2 + ratio**2 * relative_variance(i0, monitor_noise=monitor_noise))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
