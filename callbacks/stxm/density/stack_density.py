"""The optical density of a stack, image by image: what components and chemical maps are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from callbacks.stxm.density.blank import Blank
from callbacks.stxm.density.masks import EdgeJump, MaskSettings, edge_jump, pixel_mask
from callbacks.stxm.density.optical_density import DensityImage, density_image
from callbacks.stxm.edges import Window
from callbacks.stxm.stack import AlignedStack

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

STACK_DENSITY = "stack_density"  # where a step finds the `StackDensity` in its event


class StackDensity:
    """Optical density of the images of a stack that can be used, and which of their pixels.

    The absorbance step alone changes it; the steps behind read it, and are handed the same object with every image.

    Attributes
    ----------
    images : tuple of DensityImage
        By ascending energy. An image is made once, and again when it moved or its I0 changed.
    status : str
        "ok", or why there is no I0: then optical densities are NaN.
    generation : int
        Counts how often images that were there already were made again.
    blank : numpy.ndarray of bool, shape (lines, columns)
        Sample-free pixels; none where I0 was given.
    pre_edge, post_edge : (float, float)
        eV.
    """

    def __init__(self, shape: tuple[int, int], settings: MaskSettings, *, pre_edge: Window, post_edge: Window) -> None:
        self.shape = shape
        self.pre_edge, self.post_edge = pre_edge, post_edge
        self.images: tuple[DensityImage, ...] = ()
        self.status = "no image yet"
        self.generation = 0
        self.blank: BoolArray = np.zeros(shape, dtype=bool)
        self._settings = settings
        self._stack_generation = 0
        self._blank = Blank(self.blank, self.status)
        self._edge_jump: EdgeJump | None = None
        self._mask: NDArray[np.intp] | None = None

    def update(
        self, stack: AlignedStack, blank: Blank, status: str, incident: FloatArray, incident_sigma: FloatArray
    ) -> None:
        """Take in the images of a stack as it is now.

        Parameters
        ----------
        stack : AlignedStack
        blank : Blank
        status : str
            "ok", or why there is no I0.
        incident, incident_sigma : numpy.ndarray, shape (images,)
            Of the usable images, by ascending energy, counts/s.
        """
        moved = stack.generation != self._stack_generation
        if moved or blank is not self._blank:
            self.generation += 1
        self._stack_generation, self._blank = stack.generation, blank
        self.status = status
        self.blank = blank.pixels if blank.status == "ok" else np.zeros(self.shape, dtype=bool)
        made = {} if moved else {image.place: image for image in self.images}
        unknown = np.full(self.shape, np.nan)
        images = []
        for place, rate, sigma in zip(stack.usable.tolist(), incident.tolist(), incident_sigma.tolist(), strict=True):
            image = made.get(place)
            if status != "ok":
                image = DensityImage(place, stack[place], rate, sigma, unknown, unknown)
            elif image is None or (image.incident, image.incident_sigma) != (rate, sigma):
                image = density_image(place, stack[place], rate, sigma)
            images.append(image)
        self.images = tuple(images)
        self._edge_jump = self._mask = None

    @property
    def energies(self) -> FloatArray:
        """Energies of the images, eV, ascending."""
        return np.array([image.energy for image in self.images])

    @property
    def edge_jump(self) -> EdgeJump:
        """Edge jump of each pixel."""
        if self._edge_jump is None:
            self._edge_jump = edge_jump(self.images, self.shape, self.pre_edge)
        return self._edge_jump

    @property
    def mask(self) -> NDArray[np.intp]:
        """Why each pixel is left out: an index of `MASK_REASONS`, shape (lines, columns)."""
        if self._mask is None:
            known = self.status == "ok"
            self._mask = pixel_mask(self.images, self.edge_jump.jump, self._settings, incident_known=known)
        return self._mask
