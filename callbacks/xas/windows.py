"""Partial fluorescence yields: windows of the spectra that a silicon drift detector takes at each point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from callbacks.contract import Channel, FluorescenceConfig, Key, Output, counts_outputs
from callbacks.step import Step, UnusableError

Window = tuple[float, float]  # eV, from and to
WHOLE = {"fluorescence": (-math.inf, math.inf)}


def window_channels(windows: Mapping[str, Window]) -> list[Channel]:
    """Give the channels that windows are."""
    return [
        Channel(name=name, title=f"fluorescence of {low:g} to {high:g} eV" if windows is not WHOLE else "fluorescence")
        for name, (low, high) in windows.items()
    ]


class FluorescenceWindows(Step):
    """Add up the counts in each window, as if the detector were never blind.

    Counts are multiplied by real time over live time (G. F. Knoll, Radiation Detection and Measurement, chapter 17),
    and so is their standard uncertainty, the square root of their number, one at least. A bin belongs to the window in
    which its middle lies.

    Parameters
    ----------
    windows : mapping of str to (float, float)
        eV, from and to, by channel.
    """

    def __init__(self, windows: Mapping[str, Window]) -> None:
        self._windows = windows
        self._outputs = {name: counts_outputs(name) for name in windows}
        self.kept: tuple[Output, ...] = tuple(output for pair in self._outputs.values() for output in pair)

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a spectrum; give the counts in the windows."""
        try:
            counts = np.asarray(event[Key.FLUORESCENCE], dtype=float)
            first, width = float(event[FluorescenceConfig.FIRST]), float(event[FluorescenceConfig.WIDTH])
        except KeyError as error:
            raise UnusableError(f"{error.args[0]}: not recorded, and windows of it are asked for") from error
        energy = first + width * np.arange(len(counts))
        real, live = (
            float(event.get(key, math.nan)) for key in (Key.FLUORESCENCE_REAL_TIME, Key.FLUORESCENCE_LIVE_TIME)
        )
        blind = real / live if live > 0 else math.nan
        given: dict[str, Any] = {}
        for name, (low, high) in self._windows.items():
            total = float(counts[(energy >= low) & (energy <= high)].sum())
            given |= zip(self._outputs[name], (total * blind, math.sqrt(max(total, 1.0)) * blind), strict=True)
        return given
