"""Step 3 of a RIXS map: straighten a frame and sum it along the energy channels, with variance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from callbacks.contract import IntegrationResult, RixsOutput
from callbacks.rixs.clipping import ClippedNoise, undo_clipping
from callbacks.rixs.compiled import straightened_sum
from callbacks.rixs.curvature import Curvature, fit_curvature, straighten
from callbacks.rixs.photon_counting import find_photons, photon_spectrum
from callbacks.rixs.smoothing import smooth_level
from callbacks.step import Step

FloatArray = NDArray[np.floating]


class IntegrationSettings(BaseModel):
    """Settings of `Integration`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # "sum" adds counts; "photons" counts single photons at the centre of their charge, and adds where it cannot.
    method: Literal["sum", "photons"] = "sum"
    # Tilt and curvature as `Curvature.coefficients`, in columns; "fit" finds them in the first frames that suffice.
    curvature: Literal["fit"] | tuple[float, float] = "fit"
    row_groups: int = Field(8, ge=4)  # of rows that are summed to find the curvature
    largest_sigma: float = Field(0.25, gt=0)  # columns; a curvature less certain than this at the edge is not used
    fit_frames: int = Field(64, ge=1)  # frames after which the search is given up

    @model_validator(mode="after")
    def _photons_need_a_known_curvature(self) -> Self:
        if self.method == "photons" and self.curvature == "fit":
            raise ValueError('method "photons" needs the curvature as two numbers: photons are placed as frames come')
        return self


def spectrum_of(
    image: FloatArray,
    displacement: FloatArray,
    *,
    photon_counts: float,
    read_noise: float,
    unmeasured: NDArray[np.bool_] | None = None,
    clipping: ClippedNoise | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Straighten an image and sum it over its rows.

    Parameters
    ----------
    image : numpy.ndarray, shape (rows, columns)
        Counts, pedestal removed, cosmic rays replaced.
    displacement : numpy.ndarray, shape (rows,)
        Columns by which each row's lines are displaced, see `callbacks.rixs.curvature`.
    photon_counts : float
        Counts of one photon.
    read_noise : float
        Counts rms a pixel.
    unmeasured : numpy.ndarray of bool, shape (rows, columns), optional
        Pixels whose counts are a model's, not measured; their noise is not in the variance.
    clipping : ClippedNoise, optional
        How the instrument has clipped the frame; what that took of the light is given back.

    Returns
    -------
    spectrum, variance : numpy.ndarray, shape (columns,)
        Counts and counts².

    Notes
    -----
    Pixels that a model has filled add to the counts and not to the variance. See also `spectrum_variance`.
    """
    spectrum = straightened_sum(image, displacement) if displacement.any() else image.sum(axis=0)
    noise = np.full(len(spectrum), read_noise)
    if clipping is not None:
        undone, slope = undo_clipping(spectrum / len(image), clipping, photon_counts)
        spectrum, noise = undone * len(image), read_noise * slope
    measured = image.shape[0] - (0 if unmeasured is None else unmeasured.sum(axis=0))
    variance = spectrum_variance(spectrum, photon_counts=photon_counts, read_noise=0.0)
    return spectrum, variance * measured / image.shape[0] + measured * noise**2


def spectrum_variance(spectrum: FloatArray, *, photon_counts: float, read_noise: float) -> FloatArray:
    """Estimate the variance of a spectrum of photon counts.

    Parameters
    ----------
    spectrum : numpy.ndarray, shape (columns,)
        Counts.
    photon_counts : float
        Counts of one photon.
    read_noise : float
        Counts rms of a column.

    Returns
    -------
    numpy.ndarray, shape (columns,)
        counts².

    Notes
    -----
    N photons of g counts each have the variance g² N, that is g times the counts. The counts are averaged over five
    columns: a column that happens to be empty must not get too much weight in a fit.
    """
    variance: FloatArray = photon_counts * np.clip(smooth_level(spectrum), 0, None) + read_noise**2
    return variance


class Integration(Step):
    """Turn cleaned frames into spectra.

    Where the curvature is to be found in the data, the frames so far are summed until their sum suffices; it is then
    kept for the run. The spectra of earlier frames are computed again and passed on as `revised_spectra`.
    """

    kept = (
        RixsOutput.SPECTRUM,
        RixsOutput.SPECTRUM_VARIANCE,
        RixsOutput.INTEGRATION_METHOD,
        RixsOutput.CURVATURE_STATUS,
    )

    def __init__(self, settings: IntegrationSettings) -> None:
        self._settings = settings
        self._curvature: Curvature | None = None
        if settings.curvature != "fit":
            self._curvature = Curvature(np.array(settings.curvature), np.zeros((2, 2)), "ok")
        self._waiting: dict[int, tuple[FloatArray, FloatArray]] = {}  # by frame: groups of rows and their variance
        self._columns = 0

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take a cleaned frame; give its spectrum."""
        image = event[RixsOutput.IMAGE]
        rows, self._columns = image.shape
        noise = {"photon_counts": event[RixsOutput.PHOTON_COUNTS], "read_noise": event[RixsOutput.READ_NOISE]}
        clipping = event.get(RixsOutput.CLIPPING)
        unmeasured = event[RixsOutput.COSMIC_MASK] | event[RixsOutput.SATURATED]
        revised: dict[int, tuple[FloatArray, FloatArray]] = {}
        if self._curvature is None:
            self._waiting[int(event["seq_num"])] = self._groups(
                image, unmeasured=unmeasured, clipping=clipping, **noise
            )
            revised = self._try_to_fit()
        displacement = np.zeros(rows) if self._curvature is None else self._curvature.displacement(rows)
        spectrum, variance = spectrum_of(image, displacement, unmeasured=unmeasured, clipping=clipping, **noise)
        method: str = self._settings.method
        if method == "photons":
            photons = find_photons(image, **noise)
            if photons.status == "ok":
                counted = photon_spectrum(photons, displacement, self._columns, photon_counts=noise["photon_counts"])
                spectrum, variance = counted
            else:
                method = f"sum: {photons.status}"
        return {
            RixsOutput.SPECTRUM: spectrum,
            RixsOutput.SPECTRUM_VARIANCE: variance,
            RixsOutput.INTEGRATION_METHOD: method,
            RixsOutput.REVISED_SPECTRA: revised,
            RixsOutput.CURVATURE_STATUS: "not known yet" if self._curvature is None else self._curvature.status,
        }

    @property
    def result(self) -> IntegrationResult:
        """The curvature that the frames were straightened with."""
        if self._curvature is None:
            return IntegrationResult(curvature=np.zeros(2), curvature_sigma=math.nan, curvature_status="too few frames")
        return IntegrationResult(
            curvature=self._curvature.coefficients,
            curvature_sigma=self._curvature.edge_sigma,
            curvature_status=self._curvature.status,
        )

    def _groups(
        self,
        image: FloatArray,
        *,
        unmeasured: NDArray[np.bool_],
        clipping: ClippedNoise | None,
        photon_counts: float,
        read_noise: float,
    ) -> tuple[FloatArray, FloatArray]:
        edges = np.linspace(0, len(image), self._settings.row_groups + 1).astype(int)
        parts = [
            spectrum_of(
                image[low:high],
                np.zeros(high - low),
                photon_counts=photon_counts,
                read_noise=read_noise,
                unmeasured=unmeasured[low:high],
                clipping=clipping,
            )
            for low, high in pairwise(edges)
        ]
        return np.stack([spectrum for spectrum, _ in parts]), np.stack([variance for _, variance in parts])

    def _try_to_fit(self) -> dict[int, tuple[FloatArray, FloatArray]]:
        """Look for the curvature in the sum of the frames so far; give their spectra anew once it is found."""
        groups = np.sum([groups for groups, _ in self._waiting.values()], axis=0)
        variance = np.sum([variance for _, variance in self._waiting.values()], axis=0)
        found = fit_curvature(groups, variance, largest_sigma=self._settings.largest_sigma)
        given_up = len(self._waiting) >= self._settings.fit_frames
        if found.status != "ok" and not given_up:
            return {}
        self._curvature = found
        displacement = found.displacement(self._settings.row_groups)
        revised = {
            number: (straighten(one, displacement).sum(axis=0), straighten(noise, displacement).sum(axis=0))
            for number, (one, noise) in self._waiting.items()
        }
        self._waiting.clear()
        return revised
