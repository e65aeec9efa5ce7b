"""Step 4 of a RIXS map: normalise a frame to the incident flux and the exposure time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from callbacks.alarms import is_known
from callbacks.contract import SCALER, Key, Marks, RixsOutput
from callbacks.incident_flux import NORMALISATION_COUNTS, IncidentFluxSettings, check_flux, relative_variance
from callbacks.step import Step


class NormalisationSettings(IncidentFluxSettings):
    """Settings of `Normalisation`."""


class Normalisation(Step):
    """Find the factor that normalises each frame, and mark frames whose I0 is lost or partial.

    The factor is ``1e6 / (flux * exposure time)`` with the flux ``I0 / dwell``. A frame whose I0 is lost has the factor
    NaN: it is never divided by zero. During the run a frame is compared with those before it; the `result` compares it
    with those on both sides.
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
        self._other_marks: list[str] = []

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a frame's I0 and times; give its normalisation."""
        i0 = _number(event.get(Key.I0))
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
        self._other_marks.append(f"{n_saturated} saturated pixels" if n_saturated else "")

        checked = check_flux(self._flux[-2 * self._settings.neighbours - 1 :], self._settings)
        mark = "; ".join(filter(None, (checked.reasons[-1], self._other_marks[-1])))
        if checked.lost[-1]:
            factor, variance = math.nan, math.nan
        else:
            factor = NORMALISATION_COUNTS / (i0 * exposures)
            variance = factor**2 * relative_variance(i0, monitor_noise=self._settings.monitor_noise)
        return {
            RixsOutput.FRAME_MARK: mark,
            RixsOutput.I0_RELATIVE: float(checked.relative[-1]),
            RixsOutput.NORMALISATION: factor,
            RixsOutput.NORMALISATION_VARIANCE: variance,
        }

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
