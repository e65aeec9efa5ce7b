"""Outputs and results of the step that puts the sweeps of a spectrum that was flown on the grid of energies."""

from __future__ import annotations

from typing import Annotated

from callbacks.contract.outputs import NAN, NOT_KNOWN_1D, Described, Floats, Output, Result


class SweepOutput(Output):
    """What is told of each sweep."""

    EXPOSURE = "sweep_exposure", "number", "s", "time that was counted at the energies asked for"
    LAG = "sweep_lag_used", "number", "s", "by which the times of readbacks are late, as it is known by now"


class FlownResult(Result):
    """What is known of all sweeps together; of a spectrum that was flown."""

    lag: Annotated[float, Described("by which the times of the energies read back are late", "s")] = NAN
    lag_sigma: Annotated[float, Described("its standard uncertainty; NaN where it was configured", "s")] = NAN
    lag_status: Annotated[str, Described("ok, configured, or why it is not known and taken as 0")] = ""
    lag_channel: Annotated[str, Described("channel in whose structure it was found")] = ""
    asked_energy: Annotated[Floats, Described("energies asked for", "eV", ("asked",), is_axis=True)] = NOT_KNOWN_1D
    exposure: Annotated[Floats, Described("time that was counted at each of them", "s", ("asked",))] = NOT_KNOWN_1D
