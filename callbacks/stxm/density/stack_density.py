"""The optical density of a growing stack: sums over its images, brought up to date with each that comes or moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callbacks.stxm.density.blank import Blank
from callbacks.stxm.density.incident import IncidentFlux
from callbacks.stxm.density.masks import EdgeJump, MaskSettings, edge_jump, pixel_mask, top_of_edge
from callbacks.stxm.density.optical_density import DensityImage, DensityMap, density_image
from callbacks.stxm.density.sums import Brightness, DensitySums
from callbacks.stxm.density.whole import WholeDensity, whole_density
from callbacks.stxm.edges import Window
from callbacks.stxm.stack import AlignedStack, Placement

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

# Where a step finds the `StackDensity`, and the list of `Change` in its event.
STACK_DENSITY, CHANGES = "stack_density", "density_changes"


@dataclass(frozen=True)
class Change:
    """The optical density of an image that is new or was made again.

    Attributes
    ----------
    before : DensityImage or None
        As it was made before; None for one that was not.
    after : DensityImage
    """

    before: DensityImage | None
    after: DensityImage


class StackDensity:
    """Optical density of the images of a stack that can be used, and which of their pixels.

    The absorbance step alone changes it; the steps behind read it, and are handed the same object with every image. It
    holds sums over the images, and a few images at the top of the edge.

    Attributes
    ----------
    status : str
        "ok", or why there is no I0: then there is no optical density.
    generation : int
        Counts how often all images were forgotten, since there was no I0 any more.
    blank : Blank
        Sample-free pixels; none where I0 was given.
    pre_edge, post_edge : (float, float)
        eV.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        flux: IncidentFlux,
        settings: MaskSettings,
        *,
        pre_edge: Window,
        post_edge: Window,
    ) -> None:
        self.shape = shape
        self.pre_edge, self.post_edge = pre_edge, post_edge
        self.generation = 0
        self.blank = Blank(np.zeros(shape, dtype=bool), "no image yet")
        self._flux = flux
        self._settings = settings
        self._stack: AlignedStack | None = None
        self._brightness = Brightness(shape)
        self._searched_at = 0
        self._whole: WholeDensity | None = None
        self._start_anew()

    def _start_anew(self) -> None:
        self._sums = DensitySums(
            self.shape,
            opaque_above=self._settings.opaque_above,
            saturated_above=self._settings.saturated_above,
            pre_edge=self.pre_edge,
        )
        self._energies: dict[int, float] = {}  # of the images in the sums, by place
        self._incident: dict[int, tuple[float, float]] = {}  # I0 that they were made with
        self._means: dict[int, float] = {}  # of their optical density over the pixels known at that time
        self._top: dict[int, DensityMap] = {}
        self._forget()

    def _forget(self) -> None:
        self._edge_jump: EdgeJump | None = None
        self._mask: NDArray[np.intp] | None = None
        self._whole = None

    @property
    def status(self) -> str:
        """Why there is no optical density, or "ok"."""
        return self._flux.status(self.blank)

    @property
    def number(self) -> int:
        """Images that there is an optical density of."""
        return self._sums.number

    def update(self, stack: AlignedStack, placements: Sequence[Placement]) -> list[Change]:
        """Take in the images that are new or were looked at again.

        Parameters
        ----------
        stack : AlignedStack
        placements : sequence of Placement

        Returns
        -------
        list of Change
            The images whose optical density changed by that; none without an I0.
        """
        self._stack = stack
        self._forget()
        usable = [each for each in placements if each.after.status == "ok"]
        for each in usable:
            if each.before is not None:
                self._brightness.add(each.before, -1)
            self._brightness.add(each.after)
        self._search(len(stack))
        if self.status != "ok":
            if self._incident:
                self.generation += 1
                self._start_anew()
            return []
        return [change for each in usable if (change := self._replace(each)) is not None]

    def incident(self, placement: Placement) -> tuple[float, float]:
        """Give I0 of an image and its standard uncertainty, counts/s."""
        return self._flux.of(placement.after, self.blank)

    @property
    def edge_jump(self) -> EdgeJump:
        """Edge jump of each pixel."""
        if self._edge_jump is None:
            self._edge_jump = edge_jump(self._images_at_the_top(), self._sums)
        return self._edge_jump

    @property
    def mask(self) -> NDArray[np.intp]:
        """Why each pixel is left out: an index of `MASK_REASONS`, shape (lines, columns)."""
        if self._mask is None:
            known = self.status == "ok"
            self._mask = pixel_mask(self._sums, self.edge_jump.jump, self._settings, incident_known=known)
        return self._mask

    @property
    def final(self) -> WholeDensity | None:
        """The optical density of the whole stack as it is now, all images registered once more; None without images.

        Made when it is first asked for; what was given so far stays as it is.
        """
        if self._stack is None:
            return None
        if self._whole is None:
            self._whole = whole_density(self._stack.final, self._flux, self._settings, pre_edge=self.pre_edge)
        return self._whole

    def _search(self, images: int) -> None:
        """Look for the sample-free pixels in all images so far, where there are none or images have doubled."""
        due = self.blank.status != "ok" or images >= 2 * self._searched_at
        if self._flux.is_given or not due or not self._brightness.number:
            return
        self._searched_at = images
        self.blank = self._flux.find(self._brightness)

    def _replace(self, placed: Placement) -> Change | None:
        """Put an image into the sums in place of what it was before; None where nothing changes."""
        place, incident = placed.place, self.incident(placed)
        known = self._incident.get(place)
        if known == incident and placed.before is placed.after:
            return None
        before = None
        if known is not None and placed.before is not None:
            before = density_image(place, placed.before, *known)
            self._sums.add(before, -1)
        after = density_image(place, placed.after, *incident)
        self._sums.add(after)
        self._energies[place], self._incident[place] = after.energy, incident
        throughout = self._sums.known_throughout
        self._means[place] = float(after.density[throughout].mean()) if throughout.any() else 0.0
        if before is None or place in self._top:
            self._top[place] = after.map
        return Change(before, after)

    def _images_at_the_top(self) -> list[DensityMap]:
        """Give the images at the top of the edge; keep them, and no other, for the next time."""
        places = sorted(self._energies, key=lambda place: (self._energies[place], place))
        energies, means = (np.array([of[place] for place in places]) for of in (self._energies, self._means))
        chosen = [places[number] for number in top_of_edge(energies, means, self.pre_edge[1])]
        assert self._stack is not None
        self._top = {
            place: self._top.get(place) or density_image(place, self._stack.aligned(place), *self._incident[place]).map
            for place in chosen
        }
        return list(self._top.values())
