"""Step 4 of a RIXS map: normalise a frame to the incident flux and the exposure time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from callbacks.alarms import is_known
from callbacks.contract import SCALER, Key, Marks, RixsOutput
from callbacks.incident_flux import (
    NORMALISATION_COUNTS,
    FluxCheck,
    IncidentFluxSettings,
    check_flux,
    relative_variance,
)
from callbacks.step import Step
from callbacks.wording import number_of


class NormalisationSettings(IncidentFluxSettings):
    """Settings of `Normalisation`."""


class Normalisation(Step):
    """Find the factor that normalises each frame, and mark frames whose I0 is lost, partial or high.

    The factor is ``1e6 / (flux * exposure time)`` with the flux ``I0 / dwell``. A frame whose I0 is lost has the factor
    NaN: it is never divided by zero. That of a frame whose I0 departs from its trend is uncertain by the departure.
    During the run a frame is compared with those before it, and again as more come; the `result` compares it with those
    on both sides.
    """

    kept = (
        RixsOutput.FRAME_MARK,
        RixsOutput.I0_RELATIVE,
        RixsOutput.NORMALISATION,
        RixsOutput.NORMALISATION_VARIANCE,
    )

    def __init__(self, settings: NormalisationSettings) -> None:
        self._settings = settings
        self._numbers: list[int] = []
        self._flux: list[float] = []
        self._factors: list[tuple[float, float]] = []  # and their relative variances by the noise of I0 alone
        self._told: list[tuple[float, float]] = []  # factors and their variances, NaN where I0 is lost
        self._other_marks: list[str] = []

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a frame's I0 and times; give its normalisation."""
        i0 = _number(event.get(self._settings.i0))
        exposure = _number(event.get(Key.EXPOSURE_TIME))
        dwell = _number(event.get(Key.DWELL, exposure))
        if math.isnan(dwell) and not is_known(event, SCALER):
            i0 = math.nan  # counted for a time that is not known
        exposures = exposure / dwell if exposure > 0 and dwell > 0 else 1.0  # times unknown: counted as long as exposed
        flux = i0 / dwell if dwell > 0 else i0
        self._numbers.append(int(event["seq_num"]))
        self._flux.append(flux)
        saturated = event.get(RixsOutput.SATURATED)
        n_saturated = int(np.count_nonzero(saturated)) if saturated is not None else 0
        self._other_marks.append(number_of(n_saturated, "saturated pixel") if n_saturated else "")

        checked = check_flux(self._flux[-2 * self._settings.neighbours - 1 :], self._settings)
        mark = "; ".join(filter(None, (checked.reasons[-1], self._other_marks[-1])))
        factor = NORMALISATION_COUNTS / (i0 * exposures) if flux > 0 else math.nan
        noise = relative_variance(i0, monitor_noise=self._settings.monitor_noise) if flux > 0 else math.nan
        self._factors.append((factor, noise))
        self._told.append((math.nan, math.nan))
        changed = self._changed(checked)
        factor, variance = changed.pop(self._numbers[-1], (math.nan, math.nan))
        return {
            RixsOutput.FRAME_MARK: mark,
            RixsOutput.I0_RELATIVE: float(checked.relative[-1]),
            RixsOutput.NORMALISATION: factor,
            RixsOutput.NORMALISATION_VARIANCE: variance,
            RixsOutput.REVISED_NORMALISATION: changed,
        }

    def _changed(self, checked: FluxCheck) -> dict[int, tuple[float, float]]:
        """Give the factors, and their variances, of the newest frames that the trend shows in another light by now."""
        changed = {}
        first = len(self._flux) - len(checked.departure)
        for place, (lost, departure) in enumerate(zip(checked.lost, checked.departure.tolist(), strict=True), first):
            factor, noise = (math.nan, math.nan) if lost else self._factors[place]
            told = factor, factor**2 * (noise + departure**2)
            if (not lost and told != self._told[place]) or (lost and math.isfinite(self._told[place][0])):
                self._told[place] = changed[self._numbers[place]] = told
        return changed

    @property
    def result(self) -> Marks:
        """Frames marked when the trend on both sides is known, counted from 1, and why."""
        checked = check_flux(self._flux, self._settings)
        marks = [
            (number, "; ".join(filter(None, (reason, other))))
            for number, reason, other in zip(self._numbers, checked.reasons, self._other_marks, strict=True)
            if reason or other
        ]
        return Marks(
            marked_frames=np.array([number for number, _ in marks], dtype=int),
            marks=np.array([reason for _, reason in marks], dtype=str),
        )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
