"""The optical density of a whole stack, image after image, and its pixels at all energies, block after block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from callbacks.arrays import array_for, release
from callbacks.stxm.density.blank import Blank
from callbacks.stxm.density.incident import IncidentFlux
from callbacks.stxm.density.masks import EdgeJump, MaskSettings, edge_jump, pixel_mask, top_of_edge
from callbacks.stxm.density.optical_density import DensityMap, density_image
from callbacks.stxm.density.sums import Brightness, DensitySums
from callbacks.stxm.edges import Window
from callbacks.stxm.stack import AlignedStack

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

BLOCK_VALUES = 2**18  # of the pixels that are worked on at a time: 2 MB in float64, with a dozen of copies


@dataclass(frozen=True)
class WholeDensity:
    """Optical density of all images of a stack, by ascending energy.

    Attributes
    ----------
    energies : numpy.ndarray, shape (images,)
        eV.
    usable : numpy.ndarray of bool, shape (images,)
        Which of them can be used; all numbers of the others are NaN.
    not_used : numpy.ndarray, shape (n,), and list of str
        Energies of the others, eV, and why each cannot be used.
    status : str
        "ok", or why there is no I0: then there is no optical density.
    blank : Blank
        Sample-free pixels; none where I0 was given.
    incident, incident_sigma : numpy.ndarray, shape (images,)
        I0 and its standard uncertainty, counts/s.
    density, sigma : numpy.ndarray, shape (images, lines, columns)
        Optical density and its standard uncertainty, in float32: to 6e-8 of themselves. Where they do not fit in
        memory they lie in a file.
    mask : numpy.ndarray of int, shape (lines, columns)
        Index of `MASK_REASONS`.
    edge_jump : EdgeJump
    """

    energies: FloatArray
    usable: BoolArray
    not_used: tuple[FloatArray, list[str]]
    status: str
    blank: Blank
    incident: FloatArray
    incident_sigma: FloatArray
    density: FloatArray
    sigma: FloatArray
    mask: NDArray[np.intp]
    edge_jump: EdgeJump

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and columns."""
        _, lines, columns = self.density.shape
        return lines, columns

    @property
    def common_variance(self) -> FloatArray:
        """Of the variance of the optical density, what all pixels of an image share, shape (images,): that of I0."""
        return np.square(self.incident_sigma / self.incident)

    def blocks(self, reasons: Sequence[int], *, without: BoolArray | None = None) -> tuple[PixelBlocks, PixelBlocks]:
        """Give the pixels at the usable energies, in blocks.

        Parameters
        ----------
        reasons : sequence of int
            What the mask may say of a pixel; all others are NaN.
        without : numpy.ndarray of bool, shape (lines, columns), optional
            Further pixels to leave out.

        Returns
        -------
        density, variance : PixelBlocks
        """
        chosen = np.isin(self.mask, reasons)
        if without is not None:
            chosen &= ~without
        return PixelBlocks(self.density, self.usable, chosen), PixelBlocks(self.sigma, self.usable, chosen, square=True)

    def spectrum(self, pixels: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Give mean and standard uncertainty of the optical density of some pixels, shape (images,)."""
        common = np.nan_to_num(self.common_variance)
        number, mean, sigma = pixels.sum(), np.full(len(self.energies), np.nan), np.full(len(self.energies), np.nan)
        for place in range(len(self.energies)) if number else ():
            mean[place] = self.density[place][pixels].mean(dtype=np.float64)
            own = np.square(self.sigma[place][pixels], dtype=np.float64).mean() - common[place]
            sigma[place] = np.sqrt(own / number + common[place])
            release(self.density)
            release(self.sigma)
        return mean, sigma

    def mean_square(self, pixels: BoolArray) -> FloatArray:
        """Give the mean square of the optical density of some pixels, less that of the noise, shape (images,)."""
        found = np.full(len(self.energies), np.nan)
        for place in range(len(self.energies)) if pixels.any() else ():
            density, sigma = (each[place][pixels].astype(np.float64) for each in (self.density, self.sigma))
            found[place] = np.mean(density**2 - sigma**2)
            release(self.density)
            release(self.sigma)
        return found


class PixelBlocks(Sequence[FloatArray]):
    """Pixels of a stack, shape (pixels, energies) in float64, made a block at a time from its images.

    Parameters
    ----------
    images : numpy.ndarray, shape (images, lines, columns)
    usable : numpy.ndarray of bool, shape (images,)
    chosen : numpy.ndarray of bool, shape (lines, columns)
        All other pixels are NaN.
    square : bool
        Give the squares.
    """

    def __init__(self, images: FloatArray, usable: BoolArray, chosen: BoolArray, *, square: bool = False) -> None:
        self._images = images
        self._usable = np.flatnonzero(usable)
        self._chosen = chosen.ravel()
        self._square = square
        self._size = max(1, BLOCK_VALUES // max(1, len(self._usable)))

    def __len__(self) -> int:
        """Give the number of blocks."""
        return math.ceil(len(self._chosen) / self._size)

    @overload
    def __getitem__(self, number: int) -> FloatArray: ...
    @overload
    def __getitem__(self, number: slice) -> list[FloatArray]: ...
    def __getitem__(self, number: int | slice) -> FloatArray | list[FloatArray]:
        if isinstance(number, slice):
            return [self[each] for each in range(len(self))[number]]
        first = range(len(self))[number] * self._size
        pixels = slice(first, first + self._size)
        rows = self._images.reshape(len(self._images), -1)
        block = np.array([rows[image, pixels] for image in self._usable], dtype=np.float64)
        release(self._images)
        if self._square:
            block *= block
        block[:, ~self._chosen[pixels]] = np.nan
        return block.T


def whole_density(stack: AlignedStack, flux: IncidentFlux, settings: MaskSettings, *, pre_edge: Window) -> WholeDensity:
    """Make the optical density of all images of a stack.

    Parameters
    ----------
    stack : AlignedStack
        With an image or more.
    flux : IncidentFlux
    settings : MaskSettings
    pre_edge : (float, float)
        eV.

    Returns
    -------
    WholeDensity

    Notes
    -----
    One image is in memory at a time: they are gone through for the sample-free pixels, then for the optical density,
    and those above the edge for the mean of the field.
    """
    order, shape = stack.order, (len(stack), *stack.shape)
    usable = np.isin(order, stack.usable)
    blank = Blank(np.zeros(stack.shape, dtype=bool), "no image can be used")
    if not flux.is_given and usable.any():
        blank = _blank(stack, flux)
    status = flux.status(blank)
    density, sigma = array_for(shape), array_for(shape)
    incident, incident_sigma = np.empty(len(order)), np.empty(len(order))
    sums = DensitySums(
        stack.shape,
        opaque_above=settings.opaque_above,
        saturated_above=settings.saturated_above,
        pre_edge=pre_edge,
    )
    for number, place in enumerate(order.tolist()):
        aligned = stack.aligned(place)
        incident[number], incident_sigma[number] = flux.of(aligned, blank)
        image = density_image(place, aligned, float(incident[number]), float(incident_sigma[number]))
        density[number], sigma[number] = image.density, np.sqrt(image.variance)
        release(density)
        release(sigma)
        if usable[number]:
            sums.add(image)
    nothing = np.full(stack.shape, np.nan)
    found = WholeDensity(
        energies=stack.energies[order],
        usable=usable,
        not_used=stack.not_used,
        status=status,
        blank=blank,
        incident=incident,
        incident_sigma=incident_sigma,
        density=density,
        sigma=sigma,
        mask=np.zeros(stack.shape, dtype=int),
        edge_jump=EdgeJump(nothing, nothing, np.zeros(0)),
    )
    edge = edge_jump(_top(found, stack, order, sums, pre_edge[1]), sums)
    mask = pixel_mask(sums, edge.jump, settings, incident_known=status == "ok")
    return replace(found, edge_jump=edge, mask=mask)


def _blank(stack: AlignedStack, flux: IncidentFlux) -> Blank:
    """Find the sample-free pixels in all images that can be used."""
    brightness = Brightness(stack.shape)
    for place in stack.usable.tolist():
        brightness.add(stack.aligned(place))
    return flux.find(brightness)


def _top(
    whole: WholeDensity, stack: AlignedStack, order: NDArray[np.intp], sums: DensitySums, above: float
) -> list[DensityMap]:
    """Give the images at the top of the edge."""
    numbers = np.flatnonzero(whole.usable)
    means, _ = whole.spectrum(sums.known_throughout)
    chosen = numbers[top_of_edge(whole.energies[numbers], np.nan_to_num(means[numbers]), above)]
    return [
        density_image(
            int(order[number]),
            stack.aligned(int(order[number])),
            float(whole.incident[number]),
            float(whole.incident_sigma[number]),
        ).map
        for number in chosen
    ]
