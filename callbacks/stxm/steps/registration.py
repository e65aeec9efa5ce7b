"""Registration of a stack: each image is put where the images before it lie."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from callbacks.contract import AlignmentResult, ImageOutput, StxmGrid
from callbacks.step import Step
from callbacks.stxm.alignment.appearance import Appearance
from callbacks.stxm.alignment.registration import RegistrationSettings, Shift, no_shift
from callbacks.stxm.stack import (
    ALIGNED_STACK,
    FIRST_REFINEMENT,
    IMAGE,
    PLACEMENTS,
    AlignedImage,
    AlignedStack,
    Image,
    Placement,
    less,
)

FloatArray = NDArray[np.floating]

AGAIN = 2  # images that are registered once more with each that comes
LEAST_SHARE = 0.8  # of its lines that an image must have to be registered and analysed


class Registration(Step):
    """Register each image against the aligned images before it, region by region, and keep it.

    The first images had little to go by. So with each image some of the earlier ones are registered once more, in
    rounds: those of a round against the images as they lay when it began, less what the first image is found to have
    moved, which stays where it is. In the result all are registered once more, each against all.
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
        self._to_be_registered = grid.is_image
        edges = np.cumsum([0, *(region.rows for region in grid.regions)])
        self._regions = [slice(int(begin), int(end)) for begin, end in pairwise(edges)]
        self._stack = AlignedStack(self._regions, settings, registered=grid.is_image)
        self._appearance = self._empty()  # what images are registered against
        self._coming: list[Appearance] | None = (
            None  # of the round under way: what the next round is registered against
        )
        self._round: deque[int] = deque()  # places of the images that it is still to come to
        self._anchor: list[FloatArray] = [
            np.zeros(2) for _ in self._regions
        ]  # by how much the first image was found to have moved
        self._last: int | None = None  # place of the last image that can be used

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take an image; give its shift, shape (regions, 2), whether it can be used, and the stack so far."""
        image: Image = event[IMAGE]
        place = len(self._stack)
        self._stack.append(image)
        shifts, status = self._register(place, image.share)
        newest = self._stack.put(place, shifts, status)
        if status == "ok":
            self._last = place
            self._add(newest, place, self._appearance)
            if self._coming is not None:
                self._add(newest, place, self._coming)
        placements = [Placement(place, None, newest)]
        placements += [self._again(each) for each in self._next_in_turn()]
        return {
            ImageOutput.INDEX: image.index,
            ImageOutput.ENERGY: image.energy,
            ImageOutput.LINES: image.measured,
            ImageOutput.SHIFT: np.array([shift.shift for shift in shifts]),
            ImageOutput.SHIFT_SIGMA: np.array([shift.sigma for shift in shifts]),
            ImageOutput.IMAGE_STATUS: status,
            ALIGNED_STACK: self._stack,
            PLACEMENTS: placements,
        }

    @property
    def result(self) -> AlignmentResult:
        """Energies and shifts of all images from the first one on, by ascending energy, all registered once more."""
        stack = self._stack.final
        order, regions = stack.order, len(self._regions)
        shifts = [[one.shift for one in stack.shifts(place)] for place in order]
        sigmas = np.array([[one.sigma for one in stack.shifts(place)] for place in order]).reshape(-1, regions, 2)
        if len(stack.usable):  # what the first image was found by is as uncertain
            first = int(stack.usable[0])
            sigmas = np.hypot(sigmas, [one.sigma for one in stack.shifts(first)])
            sigmas[order == first] = 0.0
        return AlignmentResult(
            stack_energy=stack.energies[order],
            drift=np.array(shifts).reshape(-1, regions, 2),
            drift_sigma=sigmas,
            image_status=np.array([stack.status(place) for place in order], dtype=str),
        )

    def _register(self, place: int, share: float) -> tuple[list[Shift], str]:
        """Find the shift of an image in each region, or why it cannot be used."""
        if share < LEAST_SHARE:
            return (
                [no_shift("") for _ in self._regions],
                f"{share:.0%} of the lines measured, expected {LEAST_SHARE:.0%}",
            )
        if not self._to_be_registered or self._last is None:
            return [Shift(np.zeros(2), np.zeros(2), np.zeros(2), "ok") for _ in self._regions], "ok"
        rate, _ = self._stack.measured(place)
        last = self._stack.shifts(self._last)
        shifts = []
        for appearance, rows, before, anchor in zip(self._appearance, self._regions, last, self._anchor, strict=True):
            (shift,) = less([appearance.register(rate[rows], before.shift)], [anchor])
            jump, largest = np.abs(shift.shift - before.shift).max(), self._settings.largest_step
            if shift.status == "ok" and jump > largest:
                shift = no_shift(f"a jump of {jump:.1f} pixels, more than {largest:g}, is not drift")
            shifts.append(shift)
        problems = [shift.status for shift in shifts if shift.status != "ok"]
        return shifts, f"not registered: {problems[0]}" if problems else "ok"

    def _next_in_turn(self) -> Iterator[int]:
        """Give the places of the images whose turn it is; begin a round over all but the newest where one has ended."""
        for _ in range(AGAIN):
            if not self._round:
                self._round.extend(self._stack.usable[:-1].tolist())
                if self._coming is not None:
                    self._appearance = self._coming
                    self._settle()
                self._coming = self._empty() if self._stack.can_be_refined else None
            if self._round:
                yield self._round.popleft()

    def _settle(self) -> None:
        """Tell the drift so far from what follows the contrast, for the round that begins."""
        for number, appearance in enumerate(self._appearance):
            places = appearance.names
            if len(places) < FIRST_REFINEMENT:  # too few images could be used
                continue
            self._stack.settle(appearance, places, [self._stack.shifts(place)[number] for place in places])

    def _again(self, place: int) -> Placement:
        """Register an image once more, where there are enough; the first one tells how all have moved together."""
        before = self._stack.aligned(place)
        if self._coming is None:
            return Placement(place, before, before)
        found = list(self._stack.registered_again(place, self._appearance))
        if place == self._stack.usable[0]:
            self._anchor = [shift.shift for shift in found]
        after = self._stack.put(place, less(found, self._anchor), "ok")
        self._add(after, place, self._coming)
        return Placement(place, before, after)

    def _add(self, aligned: AlignedImage, place: int, appearances: Sequence[Appearance]) -> None:
        for appearance, rows in zip(appearances, self._regions, strict=True):
            appearance.add(aligned.rate[rows], place)

    def _empty(self) -> list[Appearance]:
        return [Appearance(self._settings) for _ in self._regions]
