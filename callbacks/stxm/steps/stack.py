"""The aligned stack: what registration makes of the images, for the steps behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callbacks.contract import AlignmentResult, ImageOutput, StxmGrid
from callbacks.step import Step
from callbacks.stxm.alignment.appearance import Appearance
from callbacks.stxm.alignment.registration import RegistrationSettings, Shift, put_in_place, shifted
from callbacks.stxm.steps.lines import Image

FloatArray = NDArray[np.floating]

WHOLE = 0.8  # share of its lines that an image must have to be registered and analysed
FIRST_REFINEMENT, ROUNDS = 16, 2  # images that there must be; rounds of a refinement


@dataclass
class _Aligned:
    """An image, where it lies, and what it is once moved there."""

    image: Image
    shifts: list[Shift]
    status: str
    rate: FloatArray
    variance: FloatArray
    drifted: NDArray[np.bool_]


class AlignedStack(Step):
    """Register each image against the aligned images before it, region by region, and keep it.

    When the number of images has doubled, and with the last one, all are registered once more, against all: the first
    ones had little to go by. `generation` counts how often that was done. The first image stays where it is.

    Attributes
    ----------
    energies : list of float
        eV, of each image in the order of measurement.
    """

    kept = (
        ImageOutput.INDEX,
        ImageOutput.ENERGY,
        ImageOutput.LINES,
        ImageOutput.SHIFT,
        ImageOutput.SHIFT_SIGMA,
        ImageOutput.IMAGE_STATUS,
    )

    def __init__(self, grid: StxmGrid, settings: RegistrationSettings) -> None:
        self._settings = settings
        self._planned = len(grid.energies)
        self._to_be_registered = grid.is_image
        edges = np.cumsum([0, *(region.rows for region in grid.regions)])
        self._regions = [slice(int(begin), int(end)) for begin, end in pairwise(edges)]
        self._images: list[_Aligned] = []
        self._appearance = [Appearance() for _ in self._regions]
        self._refine_at = FIRST_REFINEMENT
        self.planned_energies = np.sort(np.array(grid.energies))
        self.energies: list[float] = []
        self.generation = 0

    def __len__(self) -> int:
        return len(self._images)

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take an image; give its shift, shape (regions, 2), and whether it can be used."""
        image: Image = event["image"]
        self.energies.append(image.energy)
        self._images.append(self._align(image, *self._register(image)))
        self._remember(self._images[-1])
        if self._to_be_registered and len(self) in (self._refine_at, self._planned) and len(self) >= FIRST_REFINEMENT:
            self._refine_at = 2 * len(self)
            self._refine()
        newest = self._images[-1]
        return {
            ImageOutput.INDEX: image.index,
            ImageOutput.ENERGY: image.energy,
            ImageOutput.LINES: image.measured,
            ImageOutput.SHIFT: np.array([shift.shift for shift in newest.shifts]),
            ImageOutput.SHIFT_SIGMA: np.array([shift.sigma for shift in newest.shifts]),
            ImageOutput.IMAGE_STATUS: newest.status,
        }

    @property
    def shape(self) -> tuple[int, ...]:
        """Lines and columns of the images; empty before the first one."""
        return self._images[0].rate.shape if self._images else ()

    @property
    def order(self) -> NDArray[np.intp]:
        """The images by ascending energy."""
        return np.argsort(self.energies, kind="stable")

    @property
    def usable(self) -> NDArray[np.intp]:
        """The images that can be analysed, by ascending energy."""
        return np.array([image for image in self.order if self._images[image].status == "ok"], dtype=int)

    def rates(self, images: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
        """Give some aligned images and their variance, counts/s, shape (images, lines, columns); NaN: not known."""
        chosen = [self._images[image] for image in images]
        return np.array([one.rate for one in chosen]), np.array([one.variance for one in chosen])

    def drifted(self, images: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Tell which pixels of some images drift has taken out of the field, shape (images, lines, columns)."""
        return np.array([self._images[image].drifted for image in images])

    @property
    def result(self) -> AlignmentResult:
        """Energies and shifts of all images, by ascending energy."""
        order, regions = self.order, len(self._regions)
        shifts = [[one.shift for one in image.shifts] for image in self._images]
        sigmas = [[one.sigma for one in image.shifts] for image in self._images]
        return AlignmentResult(
            stack_energy=np.array(self.energies)[order],
            drift=np.array(shifts).reshape(-1, regions, 2)[order],
            drift_sigma=np.array(sigmas).reshape(-1, regions, 2)[order],
            image_status=np.array([image.status for image in self._images], dtype=str)[order],
        )

    def _register(self, image: Image) -> tuple[list[Shift], str]:
        """Find the shift of an image in each region, or why it cannot be used."""
        here = Shift(np.zeros(2), np.zeros(2), "ok")
        nowhere = Shift(np.full(2, np.nan), np.full(2, np.nan), "")
        if image.share < WHOLE:
            return [nowhere for _ in self._regions], f"{image.share:.0%} of the lines measured, expected {WHOLE:.0%}"
        if not self._to_be_registered or self._appearance[0].empty:
            return [here for _ in self._regions], "ok"
        last = next(one for one in reversed(self._images) if one.status == "ok")
        shifts = []
        for appearance, rows, before in zip(self._appearance, self._regions, last.shifts, strict=True):
            shift = appearance.register(image.rate[rows], self._settings, before.shift)
            jump, largest = np.abs(shift.shift - before.shift).max(), self._settings.largest_step
            if shift.status == "ok" and jump > largest:
                reason = f"a jump of {jump:.1f} pixels, more than {largest:g}, is not drift"
                shift = Shift(nowhere.shift, nowhere.sigma, reason)
            shifts.append(shift)
        problems = [shift.status for shift in shifts if shift.status != "ok"]
        return shifts, f"not registered: {problems[0]}" if problems else "ok"

    def _align(self, image: Image, shifts: list[Shift], status: str) -> _Aligned:
        rate, variance = np.full(image.rate.shape, np.nan), np.full(image.rate.shape, np.nan)
        drifted = np.zeros(image.rate.shape, dtype=bool)
        if status == "ok":
            for rows, shift in zip(self._regions, shifts, strict=True):
                uncertain = np.hypot(shift.sigma, self._settings.position_noise)
                placed = put_in_place(
                    image.rate[rows], image.variance[rows], image.off_place[:, rows], uncertain=uncertain
                )
                rate[rows], variance[rows] = shifted(*placed, shift.shift)
                inside, _ = shifted(np.zeros(rate[rows].shape), np.zeros(rate[rows].shape), shift.shift)
                drifted[rows] = np.isnan(inside)
        return _Aligned(image, shifts, status, rate, variance, drifted)

    def _remember(self, aligned: _Aligned) -> None:
        if aligned.status == "ok":
            for appearance, rows in zip(self._appearance, self._regions, strict=True):
                appearance.add(aligned.rate[rows])

    def _refine(self) -> None:
        """Register all images once more, each against all, and keep the first one where it is."""
        self.generation += 1
        for _ in range(ROUNDS):
            for number, rows in enumerate(self._regions):
                found = [self._again(number, rows, one) for one in self._images]
                first = next(shift for shift, one in zip(found, self._images, strict=True) if one.status == "ok")
                for one, shift in zip(self._images, found, strict=True):
                    one.shifts[number] = Shift(shift.shift - first.shift, shift.sigma, shift.status)
            self._images = [self._align(one.image, one.shifts, one.status) for one in self._images]
            self._appearance = [Appearance() for _ in self._regions]
            for one in self._images:
                self._remember(one)

    def _again(self, number: int, rows: slice, one: _Aligned) -> Shift:
        """Register an image once more; where that fails, what was found before stands."""
        before = one.shifts[number]
        if one.status != "ok":
            return before
        found = self._appearance[number].register(one.image.rate[rows], self._settings, before.shift)
        return found if found.status == "ok" else before
