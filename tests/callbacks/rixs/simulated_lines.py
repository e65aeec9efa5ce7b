"""Simulated spectra of a RIXS map with known truth: elastic lines among emission."""

import numpy as np

from callbacks.rixs.calibration import Displacements
from callbacks.rixs.elastic_line import ElasticLine, ElasticLineSettings
from callbacks.rixs.integration import spectrum_variance
from callbacks.rixs.line_fit import FWHM_PER_SIGMA
from callbacks.rixs.repeats import Row

COLUMNS, FWHM, ROWS, PHOTON, NOISE = 2048, 5.0, 64, 110.0, 4.0
ENERGY, DISPERSION, PIVOT, BEND = 530.0, 0.107, 1100.0, -0.8e-4  # truth: as a grating has it
EXCITATIONS = np.arange(527.0, 545.0, 1.5)
LIT = {"elastic": 300.0, "emission": 8000.0}  # photons a spectrum
WITHOUT_ELASTIC_LINE = (
    {"elastic": 0.0, "emission": 8000.0},  # fluorescence only
    {"elastic": 3.0, "emission": 8000.0},  # too weak to see
    {"elastic": 0.0, "emission": 0.0},  # nothing
    {"elastic": 0.0, "emission": 8000.0, "raman": 400.0},  # constant energy loss, but wider than the instrument
)


def gaussian(centre, fwhm, area):
    sigma = fwhm / FWHM_PER_SIGMA
    return area / (sigma * np.sqrt(2 * np.pi)) * np.exp(-0.5 * ((np.arange(COLUMNS) - centre) / sigma) ** 2)


def column(energy):
    way = ENERGY / DISPERSION * (1 - ENERGY / energy)
    return PIVOT + 2 * way / (1 + np.sqrt(1 + 2 * BEND * way))


def true_energy(column):
    way = column - PIVOT
    return ENERGY / (1 - DISPERSION / ENERGY * (way + 0.5 * BEND * way**2))


def expected_photons(excitation, *, elastic, emission, raman=0.0):
    """Elastic line, valence emission of constant energy that grows at resonance, features of constant loss."""
    resonance = np.exp(-0.5 * ((excitation - 531.0) / 1.0) ** 2) + 0.6 / (1 + np.exp(536.0 - excitation))
    photons = np.full(COLUMNS, 0.15) + gaussian(column(excitation), FWHM, elastic)
    photons += gaussian(column(524.5), 22, emission * (0.02 + resonance))
    photons += gaussian(column(522.0), 30, 0.5 * emission * (0.02 + resonance))
    return photons + gaussian(column(excitation - 6.0), 12, raman)


def measure(excitation, rng, **light):
    photons = rng.poisson(expected_photons(excitation, **light))
    spectrum = PHOTON * photons + NOISE * np.sqrt(ROWS) * rng.standard_normal(COLUMNS)
    return spectrum, spectrum_variance(spectrum, photon_counts=PHOTON, read_noise=NOISE * np.sqrt(ROWS))


def calibrate(energies, spectra, settings=None, *, at_once=True):
    """Send all rows with one event, which calibrates once, or each with its own, as they are measured."""
    step = ElasticLine(settings or ElasticLineSettings())
    rows = [
        Row(index, energy=float(energy), spectrum=spectrum, variance=variance)
        for index, (energy, (spectrum, variance)) in enumerate(zip(energies, spectra, strict=True))
    ]
    for event in [tuple(rows)] if at_once else [(row,) for row in rows]:
        still = Displacements(np.zeros(len(rows)), np.zeros((len(rows), 1)))  # the chip does not drift
        step.push({"rows": event, "row": event[-1].index, "row_displacements": still})
    return step


def simulated_map(seed, *, at_once=True, settings=None, **light):
    rng = np.random.default_rng(seed)
    spectra = [measure(energy, rng, **light) for energy in EXCITATIONS]
    return calibrate(EXCITATIONS, spectra, settings, at_once=at_once)
