"""The samples on the holder: spectra of a Li-rich oxide at several states of charge, and of a magnetised iron film.

Positions follow the supplement of the reference paper: hybridised metal-oxygen states at 528 to 533 eV, the band of
the metals' 4sp states above 535 eV, valence emission at 522 to 526 eV, and, along the charge plateau, the oxidised
oxygen: absorption at 530.8 eV with a narrow emission at 523.75 eV. Nickel and cobalt are oxidised before the plateau,
manganese stays 4+ (`simulated_devices.physics.metal_edges`).

The dichroism of the iron film is that of its moments, by the sum rules, with the values of C. T. Chen et al., Phys.
Rev. Lett. 75 (1995) 152: with p and q the integrals of the difference C+ less C- over L3, and over both edges, and r
that of the sum over both, the orbital moment is -4/3 q/r of the holes, and that of the spin -(6p - 4q)/r of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulated_devices.physics.lineshapes import FWHM_PER_SIGMA, line, peak, step
from simulated_devices.physics.metal_edges import metal_l
from simulated_devices.physics.undulator import HORIZONTAL, Stokes

FloatArray = NDArray[np.floating]

OXIDISED_ABSORPTION, OXIDISED_EMISSION = 530.8, 523.75  # eV
RUTILE = (530.7, 533.3)  # eV; lines of the reference
EDGE = 535.0  # eV; onset of the 4sp band
OPERANDO = "LRNMC operando"
OPEN_BEAM = "open beam"  # a place of the holder where there is nothing
IRON = "Fe film"
IRON_L3, IRON_L2 = (707.9, 1.7, 4.5), (720.9, 2.6, 1.7)  # white lines: centre and FWHM, eV, height in steps
IRON_ONSETS, IRON_STEPS = (707.9, 720.9), (2 / 3, 1 / 3)  # eV; shares of the step, as of the electrons at each edge
HOLES, SPIN_MOMENT, ORBITAL_MOMENT = 3.39, 1.98, 0.085  # of an iron atom, moments in Bohr magnetons
# Of L3, in steps, for horizontal less vertical light: magnetic linear dichroism, some per cent of the white line.
LINEAR_DICHROISM, LINEAR_SPLITTING = 0.12, 1.1  # and eV between its two signs
RESONANT_SHARE, RESONANT_LOSS = 0.06, 0.9  # of the hybridised states' emission; eV


@dataclass(frozen=True)
class Sample:
    """A sample, by the components of its spectra.

    Attributes
    ----------
    oxide : float
        Share of Li-rich oxide in the beam's footprint.
    carbon : float
        Share of carbon and binder.
    oxidised : float
        Oxidised oxygen: 0 before the plateau, 1 at its end.
    hybridised : float
        Holes in the hybridised states, relative to the pristine oxide: they grow with charge.
    metals : float
        Share of nickel and cobalt that is oxidised: 0 as it is made, 1 from the beginning of the plateau on.
    shell : float
        Mean thickness of the reduced layer at the surface of the particles, um.
    form : {"particles", "slab"}
        What the microscope sees: agglomerates with binder, or a flat piece of one material beside nothing.
    iron : float
        Share of iron, magnetised along the beam, to saturation.
    """

    oxide: float = 1.0
    carbon: float = 0.15
    oxidised: float = 0.0
    hybridised: float = 1.0
    metals: float = 0.0
    shell: float = 0.02
    form: Literal["particles", "slab"] = "particles"
    iron: float = 0.0

    def absorption(self, energy: ArrayLike, light: Stokes = HORIZONTAL) -> FloatArray:
        """Absorption near the O K edge and the L edges of the metals, relative to the oxide's step at the O K edge.

        Of the bulk: what yields see more of at the surface is left out. That of iron is relative to its own step.

        Parameters
        ----------
        energy : array_like
            Photon energy, eV.
        light : Stokes
            How it is polarised.
        """
        e = np.asarray(energy, dtype=float)
        background = 0.12 * (520.0 / e) ** 3
        result: FloatArray = background + self.oxygen_absorption(e)
        if self.oxide:
            result = result + self.oxide * metal_l(e, oxidised=self.metals)
        if self.iron:
            result = result + self.iron * sum(iron_l(e, light))
        return result

    def oxygen_absorption(self, energy: ArrayLike) -> FloatArray:
        """Give what of the absorption is that of oxygen at its K edge."""
        oxide = oxide_o_k(energy, oxidised=self.oxidised, hybridised=self.hybridised)
        return self.oxide * oxide + self.carbon * binder_o_k(energy)

    def emission(self, excitation: float, emission: ArrayLike) -> FloatArray:
        """Fluorescence and resonant emission at one excitation energy.

        Parameters
        ----------
        excitation : float
            eV.
        emission : array_like
            Emission energy, eV.

        Returns
        -------
        numpy.ndarray
            Relative to the valence emission of the oxide well above its edge, whose area is 1; per eV.
        """
        e = np.asarray(emission, dtype=float)
        hybridised = self.hybridised * (0.30 * peak(excitation, 529.0, 1.1) + 0.40 * peak(excitation, 531.4, 1.5))
        band = step(excitation, EDGE, 1.2)
        valence = hybridised * (0.6 * line(e, 525.2, 1.8) + 0.4 * line(e, 522.6, 2.4))
        itinerant = band * (0.55 * line(e, 525.6, 2.6) + 0.45 * line(e, 522.3, 3.4))
        resonant = 0.30 * self.oxidised * peak(excitation, OXIDISED_ABSORPTION, 0.8)
        # Beside the elastic line at resonance, as strong as it: losses of an eV, which pull the line that is fitted.
        beside = RESONANT_SHARE * hybridised * line(e, excitation - RESONANT_LOSS, 1.4)
        oxide = valence + itinerant + beside + resonant * line(e, OXIDISED_EMISSION, 0.9) + 0.004 * line(e, 524.5, 3.0)
        binder = 0.3 * step(excitation, 536.5, 2.0) * line(e, 526.2, 3.2)
        return self.oxide * oxide + self.carbon * binder


def oxide_o_k(energy: ArrayLike, *, oxidised: float, hybridised: float) -> FloatArray:
    """Give the O K absorption of the oxide relative to its step.

    Parameters
    ----------
    energy : array_like
        Photon energy, eV.
    oxidised, hybridised : float
        As in `Sample`.
    """
    e = np.asarray(energy, dtype=float)
    result: FloatArray = (
        hybridised * (0.55 * peak(e, 529.0, 1.1) + 0.60 * peak(e, 531.4, 1.5))
        + 0.45 * oxidised * peak(e, OXIDISED_ABSORPTION, 1.1)
        + step(e, EDGE, 1.2)
        + 0.45 * peak(e, 537.5, 3.0)
        + 0.40 * peak(e, 542.5, 5.0)
    )
    return result


def binder_o_k(energy: ArrayLike) -> FloatArray:
    """Give the O K absorption of carbon and binder relative to the step of as much oxide in `Sample`.

    That of a polymer with carboxylate and ether groups, carboxymethyl cellulose: nothing below the C=O pi* resonance at
    532.2 eV, and broad sigma* resonances of C-O and C=O at and above the edge (positions: S. Urquhart and H. Ade,
    J. Phys. Chem. B 106 (2002) 8531; O. Dhez, H. Ade and S. Urquhart, J. Electron Spectrosc. 128 (2003) 85).
    """
    shape = step(energy, 536.5, 2.0) + 0.9 * peak(energy, 537.8, 4.0) + 0.35 * peak(energy, 543.0, 6.0)
    result: FloatArray = 0.5 * (shape + 0.5 * peak(energy, 532.2, 1.3))
    return result


def rutile_o_k(energy: ArrayLike) -> FloatArray:
    """Give the O K absorption of rutile, a reference, relative to its step.

    The two lines of its 3d states, split by the crystal field, and broad ones of 4sp above them; nothing depends on how
    well they stand for a measured spectrum.
    """
    e = np.asarray(energy, dtype=float)
    lines = 1.3 * peak(e, RUTILE[0], 0.9) + 1.1 * peak(e, RUTILE[1], 1.3)
    result: FloatArray = 0.1 + lines + step(e, 536.0, 1.5) + 0.5 * peak(e, 540.0, 3.0) + 0.4 * peak(e, 545.5, 4.0)
    return result


def iron_l(energy: ArrayLike, light: Stokes) -> tuple[FloatArray, FloatArray]:
    """Give the absorption of magnetised iron at L3 and at L2, relative to the step of both."""
    e = np.asarray(energy, dtype=float)
    circular, linear = light.circular / 2, light.horizontal / 2  # half of the difference each
    found = []
    for line_shape, onset, share, area in zip((IRON_L3, IRON_L2), IRON_ONSETS, IRON_STEPS, iron_areas(), strict=True):
        centre, fwhm, height = line_shape
        own = share * step(e, onset, 0.8) + height * peak(e, centre, fwhm)
        found.append(own + circular * area * line(e, centre, 0.9 * fwhm))
    at, width, _ = IRON_L3
    lower, upper = (peak(e, at + sign * LINEAR_SPLITTING / 2, width / 2) for sign in (-1, 1))
    return found[0] + linear * LINEAR_DICHROISM * (lower - upper), found[1]


def iron_areas() -> tuple[float, float]:
    """Give the areas of C+ less C- at L3 and L2, eV steps, that the sum rules ask for."""
    both = 2 * sum(height * fwhm for _, fwhm, height in (IRON_L3, IRON_L2)) * np.sqrt(2 * np.pi) / FWHM_PER_SIGMA
    q = -3 / 4 * ORBITAL_MOMENT / HOLES * both
    p = (4 * q - SPIN_MOMENT / HOLES * both) / 6
    return float(p), float(q - p)


def charged(capacity: float) -> Sample:
    """Li-rich NMC charged to a capacity, mAh/g: metals up to about 120, oxygen on the plateau from there to 311."""
    plateau, slope = np.clip((capacity - 120.0) / (311.0 - 120.0), 0.0, 1.0), min(capacity, 120.0) / 120.0
    return Sample(oxidised=float(plateau), hybridised=1.0 + 0.25 * slope, metals=slope)


SAMPLES: dict[str, Sample] = {
    "LRNMC pristine": Sample(),
    **{f"LRNMC {capacity} mAh/g": charged(capacity) for capacity in (131, 179, 230, 257, 280, 311)},
    "LRNMC powder reference": Sample(carbon=0.0, shell=0.0, form="slab"),
    "LRNMC oxidised reference": Sample(carbon=0.0, oxidised=1.0, hybridised=1.25, metals=1.0, shell=0.0, form="slab"),
    "carbon": Sample(oxide=0.02, carbon=1.0, shell=0.0, form="slab"),
    OPERANDO: Sample(),  # charged as the potentiostat has it
    OPEN_BEAM: Sample(oxide=0.0, carbon=0.0, shell=0.0, form="slab"),
    IRON: Sample(oxide=0.0, carbon=0.0, shell=0.0, form="slab", iron=1.0),
    "LRNMC discharged": Sample(oxidised=0.1, hybridised=1.05, metals=0.2, shell=0.05),
    # Other electrodes of the same charge: other particles, and the same spectra.
    "LRNMC 311 mAh/g, sonicated": charged(311.0),
    "LRNMC 311 mAh/g, coin cell": charged(311.0),
}
# Positions of the manipulator at which each is in the beam, mm along x, y and z: columns of a copper holder, in pairs.
IN_PAIR = 14  # samples in two columns
PLACES: dict[str, tuple[float, float, float]] = {
    name: (8.0 * (index // IN_PAIR) + 4.0 * (index % 2) - 2.0, 5.0 * (index % IN_PAIR // 2) - 10.0, 0.0)
    for index, name in enumerate(SAMPLES)
}


def sample_called(name: str) -> Sample:
    """Give a sample by its name: one of `SAMPLES`, or "LRNMC 150 mAh/g" at any charge; `KeyError` for another."""
    if name in SAMPLES:
        return SAMPLES[name]
    words = name.split()
    if len(words) != 3 or words[::2] != ["LRNMC", "mAh/g"]:
        raise KeyError(name)
    return charged(float(words[1]))
