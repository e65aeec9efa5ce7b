"""What the steps of a stack hand on: an image of lines, the same image aligned, and the stack that these make."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from callbacks.arrays import array_in_file, fits_in_memory, release
from callbacks.stxm.alignment.appearance import Appearance
from callbacks.stxm.alignment.drift import Drift
from callbacks.stxm.alignment.registration import (
    RegistrationSettings,
    Shift,
    left_field,
    no_shift,
    put_in_place,
    shifted,
    with_position_noise,
)

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

# Where a step finds an `Image`, the `AlignedStack`, and the list of `Placement` in its event.
IMAGE, ALIGNED_STACK, PLACEMENTS = "image", "aligned_stack", "placements"
FIRST_REFINEMENT = 8  # images that there must be to register one again
REFINEMENTS = 2  # of a whole stack: what one finds of the contrast's pull is in the images that the next compares with
NOT_REGISTERED = "not registered"


@dataclass
class Image:
    """All lines at one energy, regions one below the other.

    Attributes
    ----------
    index : int
        Of the energy, from 0.
    energy : float
        eV, the mean that was read back.
    rate, variance : numpy.ndarray, shape (lines, columns)
        counts/s; NaN for lines that were not measured.
    off_place : numpy.ndarray, shape (2, lines, columns)
        Pixel: how far rows and columns were from where they should have been, by the encoders; their mean is ignored.
    measured : int
        Lines so far.
    moments : numpy.ndarray, shape (lines,), optional
        s since 1970, when each line was measured; NaN where it was not.
    shared : numpy.ndarray, shape (lines,), optional
        Relative variance that all pixels of a line share, that of the incident flux from line to line.
    """

    index: int
    energy: float
    rate: FloatArray
    variance: FloatArray
    off_place: FloatArray
    measured: int = 0
    moments: FloatArray | None = None
    shared: FloatArray | None = None

    @property
    def share(self) -> float:
        """Share of the lines that are there."""
        return float(np.isfinite(self.rate).any(axis=1).mean())


@dataclass(frozen=True)
class AlignedImage:
    """An image where registration puts it.

    Attributes
    ----------
    index : int
        Of the energy, from 0.
    energy : float
        eV.
    status : str
        "ok", or why the image is not used; then rate and variance are NaN.
    rate, variance : numpy.ndarray, shape (lines, columns)
        counts/s; NaN where not known.
    drifted : numpy.ndarray of bool, shape (lines, columns)
        Pixels that drift has taken out of the field.
    shared : numpy.ndarray, shape (lines,)
        Relative variance that all pixels of a line share.
    """

    index: int
    energy: float
    status: str
    rate: FloatArray
    variance: FloatArray
    drifted: BoolArray
    shared: FloatArray


@dataclass(frozen=True)
class Placement:
    """An image that was put in its place, or in another one.

    Attributes
    ----------
    place : int
        Of the image in the order of measurement.
    before : AlignedImage or None
        As it lay before; None for an image that is new.
    after : AlignedImage
        As it lies now; `before` itself where it did not move.
    """

    place: int
    before: AlignedImage | None
    after: AlignedImage


class AlignedStack:
    """The images so far, in the order of measurement, and where registration puts them.

    Registration alone changes it; the steps behind read it, and are handed the same object with every image. Images are
    kept once, as measured and in float32: a value has a relative error of 6e-8, its noise is 1e-4 of it with as many as
    10^8 counts. They are aligned when they are asked for. Where the images do not fit in memory they lie in a file.

    Parameters
    ----------
    regions : sequence of slice
        Lines of each region.
    settings : RegistrationSettings
    registered : bool
        Whether images are registered at all.
    """

    def __init__(self, regions: Sequence[slice], settings: RegistrationSettings, *, registered: bool) -> None:
        self.regions = tuple(regions)
        self.settings = settings
        self._registered = registered
        self._kept: list[NDArray[np.float32]] = []  # rate and variance, shape (2, lines, columns)
        self._index: list[int] = []
        self._energies: list[float] = []
        self._moments: list[FloatArray] = []  # of the lines
        self._shared: list[FloatArray] = []
        self._shifts: list[tuple[Shift, ...]] = []
        self._rates: list[FloatArray] = []  # of drift, pixel/s, shape (regions, 2)
        self._status: list[str] = []
        self._final: AlignedStack | None = None

    def __len__(self) -> int:
        """Give how many images there are."""
        return len(self._kept)

    def append(self, image: Image) -> None:
        """Keep the newest image; it is not used until it is put in its place."""
        self._final = None
        kept = np.array([image.rate, image.variance], dtype=np.float32)
        for rows in self.regions:
            kept[0, rows] = put_in_place(image.rate[rows], image.off_place[:, rows])
        if not fits_in_memory((len(self) + 1, *kept.shape)):
            in_file = array_in_file(kept.shape, np.float32)
            in_file[:] = kept
            release(in_file)
            kept = in_file
        self._kept.append(kept)
        self._index.append(image.index)
        self._energies.append(image.energy)
        self._moments.append(np.full(len(image.rate), np.nan) if image.moments is None else image.moments)
        self._shared.append(np.zeros(len(image.rate)) if image.shared is None else image.shared)
        self._rates.append(np.zeros((len(self.regions), 2)))
        self._shifts.append(tuple(no_shift("") for _ in self.regions))
        self._status.append(NOT_REGISTERED)

    def put(self, place: int, shifts: Sequence[Shift], status: str) -> AlignedImage:
        """Put an image in its place, or say why it is not used; give it as it lies there."""
        self._final = None
        self._shifts[place], self._status[place] = tuple(shifts), status
        return self.aligned(place)

    def measured(self, place: int) -> tuple[FloatArray, FloatArray]:
        """Give rate and variance of an image, counts/s, put right for its encoders and not moved."""
        rate, variance = self._kept[place].astype(np.float64)
        release(self._kept[place])
        return rate, variance

    def aligned(self, place: int) -> AlignedImage:
        """Give an image where registration puts it."""
        rate, variance = self.measured(place)
        drifted, status = np.zeros(rate.shape, dtype=bool), self._status[place]
        if status != "ok":
            rate[:] = variance[:] = np.nan
        else:
            for region, (rows, shift) in enumerate(zip(self.regions, self._shifts[place], strict=True)):
                noise = with_position_noise(rate[rows], variance[rows], shift.sigma)
                moves = shift.shift + self._within(place, region)
                drifted[rows] = left_field(noise.shape, moves)
                rate[rows], variance[rows] = shifted(rate[rows], noise, moves)
        shared = self._shared[place]
        return AlignedImage(self._index[place], self._energies[place], status, rate, variance, drifted, shared)

    def _within(self, place: int, region: int) -> FloatArray:
        """Give how far each line of a region lies from its place in the image, for it drifts on; shape (lines, 2).

        None does where an image was interrupted for so long that one would lie a pixel or more from the line before:
        the drift meanwhile is not known.
        """
        moments = self._moments[place][self.regions[region]]
        moves = np.outer(np.nan_to_num(moments - _middle(moments)), self._rates[place][region])
        return moves if np.abs(np.diff(moves, axis=0)).max(initial=0.0) < 1.0 else np.zeros_like(moves)

    def shifts(self, place: int) -> tuple[Shift, ...]:
        """Give the shift of each region of an image."""
        return self._shifts[place]

    def status(self, place: int) -> str:
        """Give "ok", or why an image is not used."""
        return self._status[place]

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and columns of the images there are."""
        _, lines, columns = self._kept[0].shape
        return lines, columns

    @property
    def energies(self) -> FloatArray:
        """Energies, eV, in the order of measurement."""
        return np.array(self._energies)

    @property
    def order(self) -> NDArray[np.intp]:
        """Places of all images, by ascending energy."""
        return np.argsort(self.energies, kind="stable")

    @property
    def usable(self) -> NDArray[np.intp]:
        """Places of the images that can be analysed, in the order of measurement."""
        return np.flatnonzero(np.array(self._status) == "ok")

    @property
    def not_used(self) -> tuple[FloatArray, list[str]]:
        """Energies, eV, of the images that cannot be analysed, and why each cannot."""
        status = [each for each in self._status if each != "ok"]
        return self.energies[np.array(self._status) != "ok"], status

    @property
    def can_be_refined(self) -> bool:
        """Whether there are images enough that registering one again would do better."""
        return self._registered and len(self.usable) >= FIRST_REFINEMENT

    @property
    def final(self) -> AlignedStack:
        """All images registered once more, each against all; the first one stays where it is.

        Made when it is first asked for, of the images as they are then; this stack stays as it is.
        """
        if not self.can_be_refined:
            return self
        if self._final is None:
            self._final = copy.copy(self)
            self._final.refine()
        return self._final

    def refine(self) -> None:
        """Put all images where they lie against all the others, for good: they are not registered again."""
        self._registered = False
        for _ in range(REFINEMENTS):
            self._shifts = self._shifts_of_all()

    def _shifts_of_all(self) -> list[tuple[Shift, ...]]:
        """Register all images once more, each against the others as they lie now."""
        appearances = [Appearance(self.settings, complete=True) for _ in self.regions]
        places = self.usable.tolist()
        for place in places:
            aligned = self.aligned(place)
            for appearance, rows in zip(appearances, self.regions, strict=True):
                appearance.add(aligned.rate[rows], place)
        found = [list(self.registered_again(place, appearances)) for place in places]
        drifts = [
            self.settle(appearance, places, [shifts[region] for shifts in found])
            for region, appearance in enumerate(appearances)
        ]
        all_shifts = list(self._shifts)
        self._rates = list(self._rates)
        for number, place in enumerate(places):
            self._rates[place] = np.array([drift.rate[number] for drift in drifts])
            all_shifts[place] = tuple(
                replace(one, shift=drift.shift[number] - drift.shift[0], sigma=drift.sigma[number])
                for drift, one in zip(drifts, found[number], strict=True)
            )
        return all_shifts

    def settle(self, appearance: Appearance, places: Sequence[int], shifts: Sequence[Shift]) -> Drift:
        """Tell the drift of a region from what follows the contrast, given the shifts of images of the appearance."""
        moments = np.array([_middle(self._moments[place]) for place in places])
        if not (np.diff(moments) > 0).all():  # not recorded, or not image by image
            moments = np.array(places, dtype=float)
        return appearance.settle(shifts, moments, self.energies[places])

    def registered_again(self, place: int, appearances: Sequence[Appearance]) -> Iterator[Shift]:
        """Register an image once more, region by region; where that fails, what was found before stands."""
        rate, variance = self.measured(place)
        for region, (appearance, before) in enumerate(zip(appearances, self._shifts[place], strict=True)):
            rows, within = self.regions[region], self._within(place, region)
            straight, _ = shifted(rate[rows], variance[rows], within) if within.any() else (rate[rows], None)
            shift = appearance.register(straight, before.shift, place)
            yield shift if shift.status == "ok" else before


def _middle(moments: FloatArray) -> float:
    """Give the mean of moments, s; those of lines that were not measured are NaN, as is the mean of none."""
    known = moments[np.isfinite(moments)]
    return float(known.mean()) if len(known) else math.nan


def less(shifts: Sequence[Shift], moved: Sequence[FloatArray]) -> tuple[Shift, ...]:
    """Give the shifts of some regions less what each of these has moved."""
    return tuple(replace(one, shift=one.shift - by) for one, by in zip(shifts, moved, strict=True))
