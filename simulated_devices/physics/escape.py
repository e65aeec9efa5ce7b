"""What of its fluorescence leaves a thick sample: it absorbs the light that excites it, and its own emission.

For light that comes in and leaves at angles a and b to the surface, fluorescence is in proportion to
1 / (mu(E1) / sin a + mu(E2) / sin b) (L. Tröger et al., Phys. Rev. B 46 (1992) 3283).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulated_devices.physics.materials import ENERGIES, Material, optical_density_per_um, step_per_um
from simulated_devices.physics.samples import IRON_STEPS, Sample, binder_o_k, iron_l, oxide_o_k
from simulated_devices.physics.undulator import HORIZONTAL, Stokes

FloatArray = NDArray[np.floating]

GRID = np.arange(*ENERGIES, 0.25)  # eV; absorption beside the edges of `Sample` is smooth, but for edges of others
O_K, IRON = 543.1, {"L3": 706.8, "L2": 719.9}  # eV, as tabulated
O_LINE, IRON_LINE = 524.9, 705.0  # eV, of their fluorescence as tabulated


@dataclass(frozen=True)
class Escape:
    """Angles to the surface of the sample, degrees: of the light that comes in, and of the emission that is seen."""

    incidence: float
    exit: float

    def share(
        self, sample: Sample, excitation: ArrayLike, emission: ArrayLike | None = None, light: Stokes = HORIZONTAL
    ) -> FloatArray:
        """Give what is seen of fluorescence, relative to the sample before its edge.

        Parameters
        ----------
        sample : Sample
        excitation, emission : array_like
            eV, of shapes that broadcast; the emission is that of the fluorescence where not given.
        light : Stokes
            How the light that comes in is polarised.
        """
        before, line = (IRON["L3"], IRON_LINE) if sample.iron else (O_K, O_LINE)
        into, out = (1 / math.sin(math.radians(angle)) for angle in (self.incidence, self.exit))
        lost = into * absorbed_per_um(sample, excitation, light)
        lost = lost + out * absorbed_per_um(sample, line if emission is None else emission)
        none = _rest(sample, np.array(before)) * (into + out)
        return np.asarray(np.divide(none, lost, out=np.ones_like(lost), where=lost > 0))


def absorbed_per_um(sample: Sample, energy: ArrayLike, light: Stokes = HORIZONTAL) -> FloatArray:
    """Give the absorption of a sample, 1/um of its oxide, with the near-edge structure that `Sample.absorption` has."""
    e = np.asarray(energy, dtype=float)
    o_k = (O_K / e) ** 2.5 * step_per_um("reduced", "O", "K")
    near = sample.oxide * oxide_o_k(e, oxidised=sample.oxidised, hybridised=sample.hybridised)
    absorbed = _rest(sample, e) + o_k * (near + sample.carbon * binder_o_k(e))
    if sample.iron:
        absorbed = absorbed + sample.iron * _iron_l_per_um(e, light)
    return np.asarray(absorbed)


def _rest(sample: Sample, energy: FloatArray) -> FloatArray:
    """Give what a sample absorbs without the edges that `Sample.absorption` has, 1/um."""
    binder = 0.5 * step_per_um("reduced", "O", "K") / step_per_um("binder", "O", "K")  # um for a `carbon` of 1
    parts: tuple[tuple[float, Material], ...] = (
        (sample.oxide, "reduced"), (sample.carbon * binder, "binder"), (sample.iron, "iron")
    )  # fmt: skip
    amounts = [share * np.interp(energy, GRID, _smooth(material)) for share, material in parts if share]
    return np.asarray(sum(amounts, np.zeros(energy.shape)))


def _iron_l_per_um(energy: FloatArray, light: Stokes) -> FloatArray:
    """Give the absorption of iron by its L3 and L2 edges, 1/um; each has the tabulated height."""
    shapes = zip(IRON.items(), iron_l(energy, light), IRON_STEPS, strict=True)
    return np.asarray(
        sum((at / energy) ** 2.5 * step_per_um("iron", "Fe", edge) * own / share for (edge, at), own, share in shapes)
    )


@lru_cache(maxsize=3)
def _smooth(material: Material) -> FloatArray:
    """Give the absorption of 1 um at the energies of the grid, without the edge that `Sample.absorption` has."""
    whole = optical_density_per_um(material, GRID)
    if material == "iron":
        return np.asarray(whole - _iron_l_per_um(GRID, HORIZONTAL))
    near = oxide_o_k(GRID, oxidised=0.0, hybridised=1.0) if material == "reduced" else 2 * binder_o_k(GRID)
    return np.asarray(whole - (O_K / GRID) ** 2.5 * step_per_um(material, "O", "K") * near)
