"""Registration of a stack: each image is put where the images before it lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callbacks.contract import AlignmentResult, ImageOutput, StxmGrid
from callbacks.step import Step
from callbacks.stxm.alignment.appearance import Appearance
from callbacks.stxm.alignment.registration import RegistrationSettings, Shift, put_in_place, shifted
from callbacks.stxm.stack import ALIGNED_STACK, IMAGE, AlignedImage, AlignedStack, Image

FloatArray = NDArray[np.floating]

LEAST_SHARE = 0.8  # of its lines that an image must have to be registered and analysed
FIRST_REFINEMENT, ROUNDS = 16, 2  # images that there must be; rounds of a refinement


class Registration(Step):
    """Register each image against the aligned images before it, region by region, and keep it.

    When the number of images has doubled, and with the last one, all are registered once more, against all: the first
    ones had little to go by. The first image stays where it is.
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
        self._stack = AlignedStack()
        self._appearance = [Appearance() for _ in self._regions]
        self._refine_at = FIRST_REFINEMENT

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take an image; give its shift, shape (regions, 2), whether it can be used, and the stack so far."""
        image: Image = event[IMAGE]
        self._stack.append(self._align(image, *self._register(image)))
        self._add_to_appearance(self._stack[-1])
        number = len(self._stack)
        if self._to_be_registered and number in (self._refine_at, self._planned) and number >= FIRST_REFINEMENT:
            self._refine_at = 2 * number
            self._refine()
        newest = self._stack[-1]
        return {
            ImageOutput.INDEX: image.index,
            ImageOutput.ENERGY: image.energy,
            ImageOutput.LINES: image.measured,
            ImageOutput.SHIFT: np.array([shift.shift for shift in newest.shifts]),
            ImageOutput.SHIFT_SIGMA: np.array([shift.sigma for shift in newest.shifts]),
            ImageOutput.IMAGE_STATUS: newest.status,
            ALIGNED_STACK: self._stack,
        }

    @property
    def result(self) -> AlignmentResult:
        """Energies and shifts of all images, by ascending energy."""
        order, regions = self._stack.order, len(self._regions)
        shifts = [[one.shift for one in image.shifts] for image in self._stack]
        sigmas = [[one.sigma for one in image.shifts] for image in self._stack]
        return AlignmentResult(
            stack_energy=self._stack.energies[order],
            drift=np.array(shifts).reshape(-1, regions, 2)[order],
            drift_sigma=np.array(sigmas).reshape(-1, regions, 2)[order],
            image_status=np.array([image.status for image in self._stack], dtype=str)[order],
        )

    def _register(self, image: Image) -> tuple[list[Shift], str]:
        """Find the shift of an image in each region, or why it cannot be used."""
        if image.share < LEAST_SHARE:
            return (
                [_no_shift("") for _ in self._regions],
                f"{image.share:.0%} of the lines measured, expected {LEAST_SHARE:.0%}",
            )
        if not self._to_be_registered or self._appearance[0].empty:
            return [Shift(np.zeros(2), np.zeros(2), "ok") for _ in self._regions], "ok"
        last = next(one for one in reversed(self._stack) if one.status == "ok")
        shifts = []
        for appearance, rows, before in zip(self._appearance, self._regions, last.shifts, strict=True):
            shift = appearance.register(image.rate[rows], self._settings, before.shift)
            jump, largest = np.abs(shift.shift - before.shift).max(), self._settings.largest_step
            if shift.status == "ok" and jump > largest:
                shift = _no_shift(f"a jump of {jump:.1f} pixels, more than {largest:g}, is not drift")
            shifts.append(shift)
        problems = [shift.status for shift in shifts if shift.status != "ok"]
        return shifts, f"not registered: {problems[0]}" if problems else "ok"

    def _align(self, image: Image, shifts: Sequence[Shift], status: str) -> AlignedImage:
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
        return AlignedImage(image, tuple(shifts), status, rate, variance, drifted)

    def _add_to_appearance(self, aligned: AlignedImage) -> None:
        if aligned.status == "ok":
            for appearance, rows in zip(self._appearance, self._regions, strict=True):
                appearance.add(aligned.rate[rows])

    def _refine(self) -> None:
        """Register all images once more, each against all, and keep the first one where it is."""
        for _ in range(ROUNDS):
            found = [self._again(number) for number in range(len(self._regions))]
            shifts = zip(*found, strict=True)
            self._stack.replace(
                self._align(one.image, moved, one.status) for one, moved in zip(self._stack, shifts, strict=True)
            )
            self._appearance = [Appearance() for _ in self._regions]
            for one in self._stack:
                self._add_to_appearance(one)

    def _again(self, region: int) -> list[Shift]:
        """Register one region of all images once more; where that fails, what was found before stands."""
        found = []
        for one in self._stack:
            shift = before = one.shifts[region]
            if one.status == "ok":
                rate = one.image.rate[self._regions[region]]
                shift = self._appearance[region].register(rate, self._settings, before.shift)
            found.append(shift if shift.status == "ok" else before)
        first = next(shift for shift, one in zip(found, self._stack, strict=True) if one.status == "ok")
        return [Shift(shift.shift - first.shift, shift.sigma, shift.status) for shift in found]


def _no_shift(reason: str) -> Shift:
    return Shift(np.full(2, np.nan), np.full(2, np.nan), reason)
