"""Several RIXS maps as one: one dispersion and bend, an offset and a drift each; maps on one axis, to be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, erfc

from callbacks.contract import RixsResult
from callbacks.rixs.calibration import (
    BEND,
    BEND_SIGMA,
    SCATTER_P_VALUE,
    Calibration,
    Fit,
    KnownLine,
    Lines,
    Prior,
    accepted_lines,
    calibration_of,
    energy_at,
    scaled_fit,
)
from callbacks.rixs.curvature import straighten

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

# Columns between two maps: the elastic lines of five maps of one day lay within 15. Another grating or angle moves them
# by hundreds.
LARGEST_OFFSET = 60.0
LARGEST_RATIO = 1.5  # of two dispersions of one setting: none that is used is uncertain by more than a tenth
DISAGREEMENT = 3.0  # sigmas by which the dispersion of a map is off that of the others
SAME_EXCITATION = 0.05  # eV: excitations that differ by less are one row; two measured maps differ by up to 0.02
FIXED_BEND = 1e-9  # 1/pixel: as good as no uncertainty


@dataclass(frozen=True)
class MapLines:
    """The lines that a map was calibrated with.

    Attributes
    ----------
    name : str
        Of the map.
    energies, pixels, sigmas : numpy.ndarray, shape (n,)
        eV and columns, of the elastic line of every row; NaN where none was found.
    factor : numpy.ndarray, shape (n, k)
        As of `callbacks.rixs.calibration.Displacements`: drift and (last) emission.
    known : tuple of KnownLine
    calibration : Calibration
    """

    name: str
    energies: FloatArray
    pixels: FloatArray
    sigmas: FloatArray
    factor: FloatArray
    known: tuple[KnownLine, ...]
    calibration: Calibration

    @classmethod
    def of(cls, name: str, result: RixsResult) -> MapLines:
        """Give those of a reduced map.

        Raises
        ------
        ValueError
            When its reduction does not tell them, as one of an earlier version.
        """
        if len(result.elastic_displacement) != len(result.elastic_energy):
            raise ValueError("its reduction does not tell what displaces its lines; reduce it again")
        known = zip(
            (str(each) for each in result.known_names), result.known_energy, result.known_energy_sigma,
            result.known_pixel, result.known_pixel_sigma, result.known_displacement, strict=True,
        )  # fmt: skip
        return cls(
            name,
            result.elastic_energy,
            result.elastic_pixel,
            result.elastic_fit_sigma,
            result.elastic_displacement,
            tuple(KnownLine(*line) for line in known),
            replace(calibration_of(result), common=result.calibration_common),
        )


@dataclass(frozen=True)
class Pooled:
    """What several maps say of the spectrograph.

    Attributes
    ----------
    calibration : Calibration
        As the chip lay at the first frame of the first map. `accepted` and `rms` are those of the lines of all maps,
        one map after the other.
    offsets, offset_sigmas : numpy.ndarray, shape (maps,)
        By how many columns the chip lay off at the first frame of each map.
    shifts : list of numpy.ndarray, shape (rows,)
        Of each map and row: by how many columns it lies off the first map, what the lines tell of its drift included.
    factors : list of numpy.ndarray, shape (rows, k)
        How the k causes that are not known displace each row of each map, pixels.
    covariance : numpy.ndarray, shape (k, k)
        Of these causes.
    drifts, drift_sigmas : numpy.ndarray, shape (maps,)
        By how many columns the last row of each map lies off its first frame, beyond what was undone; standard
        uncertainty of all its drift.
    pixels : list of numpy.ndarray, shape (rows,)
        The elastic lines of each map as the first frame of the first map would have them.
    dispersions, dispersion_sigmas : numpy.ndarray, shape (maps,)
        What the lines of each map tell where the dispersion of all is given, eV/pixel; bend, emission's pull and known
        lines are those of all.
    pulls : numpy.ndarray, shape (maps,)
        By how many sigmas that is off what the others tell.
    chi_square : float
        Of these dispersions about their mean.
    freedom : int
    lines_chi_square : float
        Of all lines about the common calibration.
    lines_freedom : int
    alarm : str
        Which maps disagree; else empty.
    """

    calibration: Calibration
    offsets: FloatArray
    offset_sigmas: FloatArray
    shifts: list[FloatArray]
    factors: list[FloatArray]
    covariance: FloatArray
    drifts: FloatArray
    drift_sigmas: FloatArray
    pixels: list[FloatArray]
    dispersions: FloatArray
    dispersion_sigmas: FloatArray
    pulls: FloatArray
    chi_square: float
    freedom: int
    lines_chi_square: float
    lines_freedom: int
    alarm: str


def _one_setting(maps: Sequence[MapLines]) -> None:
    """Check that maps are of one setting of the spectrograph.

    Raises
    ------
    ValueError
        When a map is of another one than the first.
    """
    first = maps[0]
    energy = float(first.calibration.coefficients[0])
    for one in maps[1:]:
        pixel = float(one.calibration.pixel(energy))
        offset = pixel - first.calibration.pivot
        dispersion = one.calibration.dispersion_at(energy)[0]
        ratio, sigma = dispersion / first.calibration.dispersion, float(one.calibration.sigma(pixel)) / dispersion
        if not abs(offset) <= LARGEST_OFFSET or not 1 / LARGEST_RATIO <= ratio <= LARGEST_RATIO:
            where = f"{offset:+.0f} columns off" if np.isfinite(offset) else "nowhere on the chip"
            raise ValueError(
                f"{one.name}: is of another setting of the spectrograph than {first.name}: {energy:.1f} eV lies"
                f" {where}, dispersed {ratio:.2f} times as much; expected within {LARGEST_OFFSET:.0f} columns and"
                f" {LARGEST_RATIO} times"
            )
        if not sigma <= LARGEST_OFFSET / 2:
            raise ValueError(
                f"{one.name}: it cannot be told whether the setting of the spectrograph is that of {first.name}: where"
                f" {energy:.1f} eV lies is known to {sigma:.0f} columns, expected {LARGEST_OFFSET / 2:.0f} or less"
            )


def pool_calibrations(maps: Sequence[MapLines], *, bend: tuple[float, float] = (BEND, BEND_SIGMA)) -> Pooled:
    """Calibrate maps together: one dispersion and bend, an offset and a drift each.

    Parameters
    ----------
    maps : sequence of MapLines
        Two or more, each with a calibration of its own.
    bend : (float, float)
        What is known of the bend, and its standard uncertainty, 1/pixel.

    Raises
    ------
    ValueError
        When there are fewer than two, or one is of another setting of the spectrograph.

    Notes
    -----
    The lines that the maps were calibrated with are fitted together (`callbacks.rixs.calibration`). The offset of each
    map against the first is one more displacement of all its lines, of which nothing is known before. Each map has a
    drift of its own, with what its fluorescence has told of it; by how much resonant emission pulls the lines, and by
    how much the energy given for a fluorescence line is off, are the same numbers in all maps, and do not become better
    known by more of them.

    Whether the maps agree is told by the dispersion of each, found where what all maps share is what they have found
    together: chi square about the weighted mean, with a degree of freedom less than there are maps. Where that is less
    likely than `SCATTER_P_VALUE`, the covariance is scaled up by the reduced chi square (R. T. Birge, Phys. Rev. 40
    (1932) 207).
    """
    if len(maps) < 2:
        raise ValueError(f"calibrated maps: {len(maps)}, expected 2 or more")
    _one_setting(maps)
    energy = float(np.mean(np.concatenate([one.energies[one.calibration.accepted] for one in maps])))
    begin = np.array([float(one.calibration.pixel(energy)) for one in maps])
    stacked = _Stacked.of(maps, begin - begin[0])
    pivot = float(np.round(begin[0]))
    known = stacked.known
    prior = Prior.of_bend(*bend)
    fit, accepted = accepted_lines(stacked.lines, stacked.accepted, pivot, known, prior)
    shared = stacked.lines.factor.shape[1]
    off = dict(zip(dict.fromkeys(line.name for line in known), fit.common[shared:], strict=True))
    offsets = stacked.begin + np.r_[0.0, fit.common[: len(maps) - 1]]
    own = [
        _own_dispersion(one, pivot + offset, fit.coefficients[2], fit.common[len(maps) - 1], off)
        for one, offset in zip(maps, offsets, strict=True)
    ]
    values, sigmas = np.array(own).T
    weight = sigmas**-2.0
    mean = weight @ values / weight.sum()
    pulls = (values - mean) / np.sqrt(sigmas**2 - 1 / weight.sum())
    chi_square, freedom = float(weight @ (values - mean) ** 2), len(maps) - 1
    unlikely = chdtrc(freedom, chi_square) < SCATTER_P_VALUE
    covariance = fit.covariance * (chi_square / freedom if unlikely else 1.0)
    left = stacked.lines.y - energy_at(
        stacked.lines.x - stacked.lines.factor @ fit.common[:shared] - pivot, fit.coefficients
    )
    rms = float(np.sqrt(np.mean(left[accepted] ** 2)))
    root = covariance[3 : 3 + shared, 3 : 3 + shared]
    factors = [stacked.of_chip(one, number) for number, one in enumerate(maps)]
    shifts = [begin + rows @ fit.common[:shared] for begin, rows in zip(stacked.begin, factors, strict=True)]
    last = np.array([rows[-1] for rows in factors])
    last[:, : stacked.lines.free] = 0.0  # against their own first frames
    variances = np.diag(covariance)[3 : len(maps) + 2]
    return Pooled(
        calibration=Calibration(
            fit.coefficients, pivot, covariance[:3, :3], stacked.among_all(accepted), "ok", rms, fit.common
        ),
        offsets=offsets,
        offset_sigmas=np.sqrt(np.r_[0.0, variances]),
        shifts=shifts,
        factors=factors,
        covariance=root,
        drifts=last @ fit.common[:shared],
        drift_sigmas=_sigma(last, root),
        pixels=[
            one.pixels - shift - fit.common[len(maps) - 1] * one.factor[:, -1]
            for one, shift in zip(maps, shifts, strict=True)
        ],
        dispersions=values,
        dispersion_sigmas=sigmas,
        pulls=pulls,
        chi_square=chi_square,
        freedom=freedom,
        lines_chi_square=fit.chi_square,
        lines_freedom=fit.freedom,
        alarm=_alarm(maps, pulls, chi_square, fit),
    )


def _alarm(maps: Sequence[MapLines], pulls: FloatArray, chi_square: float, fit: Fit) -> str:
    """Name the maps whose dispersion is far off that of the others, and lines that scatter about what all tell."""
    told = []
    far = [f"{one.name} by {pull:+.1f}" for one, pull in zip(maps, pulls, strict=True) if abs(pull) > DISAGREEMENT]
    if far:
        of_all = f"chi square {chi_square:.1f} for {len(maps) - 1}"
        told.append(f"the maps disagree in dispersion ({of_all}; sigmas off the others: {', '.join(far)})")
    if chdtrc(fit.freedom, fit.chi_square) < erfc(DISAGREEMENT / math.sqrt(2)):
        times = math.sqrt(fit.chi_square / fit.freedom)
        told.append(
            f"the lines of all maps scatter by {times:.1f} times their uncertainty about what they tell together"
            f" (chi square {fit.chi_square:.0f} for {fit.freedom})"
        )
    return "; ".join(told)


def _own_dispersion(
    one: MapLines, pivot: float, bend: float, emission: float, off: dict[str, float]
) -> tuple[float, float]:
    """Give the dispersion (eV/pixel) by the lines of a map; bend, emission's pull and known lines are those of all."""
    used = one.calibration.accepted
    pulled = one.pixels[used] - emission * one.factor[used, -1]
    lines = Lines(pulled, one.energies[used], one.sigmas[used], one.factor[used, :-1])
    known = [
        replace(
            line, energy=line.energy + off[line.name] * line.energy_sigma, energy_sigma=0.0, factor=line.factor[:-1]
        )
        for line in one.known
    ]
    fit = scaled_fit(lines, pivot, known, Prior.of_bend(bend, FIXED_BEND))
    return float(fit.coefficients[1]), math.sqrt(fit.covariance[1, 1])


@dataclass(frozen=True)
class _Stacked:
    """The lines of all maps, brought near those of the first by offsets to begin with.

    The columns of the factor are the offsets of all maps but the first, emission, and the drift of each map.
    """

    begin: FloatArray  # columns, of each map
    lines: Lines
    rows: list[NDArray[np.intp]]  # which rows of each map they are of
    columns: list[slice]  # of the factor, with the drift of each map
    known: tuple[KnownLine, ...]
    numbers: tuple[int, ...]  # lines of each map

    @classmethod
    def of(cls, maps: Sequence[MapLines], begin: FloatArray) -> _Stacked:
        drifts = [one.factor.shape[1] - 1 for one in maps]
        ends = len(maps) + np.cumsum(drifts)
        columns = [slice(int(end) - number, int(end)) for end, number in zip(ends, drifts, strict=True)]
        rows, blocks, known = [], [], []
        for number, one in enumerate(maps):
            used = np.flatnonzero(one.calibration.accepted)
            rows.append(used)
            spread = _spread(one.factor, number, len(maps), columns[number], int(ends[-1]))
            blocks.append((one.pixels[used] - begin[number], one.energies[used], one.sigmas[used], spread[used]))
            for line in one.known:
                factor = _spread(line.factor[None], number, len(maps), columns[number], int(ends[-1]))[0]
                known.append(replace(line, pixel=line.pixel - begin[number], factor=factor))
        x, y, sigmas, factor = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        lines = Lines(x, y, sigmas, factor, len(maps) - 1)
        return cls(begin, lines, rows, columns, tuple(known), tuple(len(one.energies) for one in maps))

    @property
    def accepted(self) -> BoolArray:
        """All lines."""
        return np.ones(len(self.lines.x), dtype=bool)

    def among_all(self, accepted: BoolArray) -> BoolArray:
        """Tell of every row of every map whether its line is accepted."""
        places = np.concatenate(
            [first + rows for first, rows in zip(np.r_[0, np.cumsum(self.numbers)[:-1]], self.rows, strict=True)]
        )
        found = np.zeros(sum(self.numbers), dtype=bool)
        found[places[accepted]] = True
        return found

    def of_chip(self, one: MapLines, number: int) -> FloatArray:
        """Give how each row of a map is displaced by all but emission, which moves the line and not the chip."""
        others = self.lines.free
        spread = _spread(one.factor, number, others + 1, self.columns[number], self.lines.factor.shape[1])
        spread[:, others] = 0.0
        return spread


def _sigma(factor: FloatArray, covariance: FloatArray) -> FloatArray:
    """Give the standard uncertainty of displacements by causes with a covariance."""
    return np.asarray(np.sqrt(np.einsum("...i,ij,...j->...", factor, covariance, factor)))


def _spread(factor: FloatArray, number: int, maps: int, columns: slice, width: int) -> FloatArray:
    """Put the factor of one map among the columns of all."""
    spread = np.zeros((len(factor), width))
    if number:
        spread[:, number - 1] = 1.0
    spread[:, maps - 1] = factor[:, -1]
    spread[:, columns] = factor[:, :-1]
    return spread


@dataclass(frozen=True)
class OneAxis:
    """Maps on the columns of the first, and how they differ from it.

    Attributes
    ----------
    excitation : numpy.ndarray, shape (rows,)
        eV, ascending.
    intensity, variance : numpy.ndarray, shape (maps, rows, columns)
        NaN where a map has no such excitation, or its chip does not reach.
    difference, difference_variance : numpy.ndarray, shape (maps - 1, rows, columns)
        Of each further map less the first; the variance is that of noise, bin by bin.
    difference_by_offset : numpy.ndarray, shape (maps - 1, rows, columns)
        What a shift of the map against the first by one standard uncertainty does to the difference, with its sign: the
        same error in all columns of a row. Of a row that the first map lacks, what it does to the map itself.
    """

    excitation: FloatArray
    intensity: FloatArray
    variance: FloatArray
    difference: FloatArray
    difference_variance: FloatArray
    difference_by_offset: FloatArray


def on_one_axis(results: Sequence[RixsResult], pooled: Pooled) -> OneAxis:
    """Bring maps to the columns of the first one, and compare them with it.

    Parameters
    ----------
    results : sequence of RixsResult
        The maps, in the order in which they were pooled.
    pooled : Pooled

    Notes
    -----
    Emission energies of maps of one setting differ by a displacement of the chip: each row is moved back by it, its
    counts and variance split between the two columns they fall on (`callbacks.rixs.straighten`). The common calibration
    moves all maps alike, and is no part of the uncertainty of a difference.
    """
    excitation, places = _rows([np.asarray(result.excitation_energy) for result in results])
    columns = results[0].map.shape[1]
    shape = (len(results), len(excitation), columns)
    intensity, variance = np.full(shape, np.nan), np.full(shape, np.nan)
    slope = np.full(shape, np.nan)
    factors = np.zeros((*shape[:2], len(pooled.covariance)))
    for number, (result, rows) in enumerate(zip(results, places, strict=True)):
        order = np.argsort(result.elastic_energy, kind="stable")  # rows of the map are by energy
        undone = result.elastic_displacement[:, :-1] @ result.calibration_common[:-1]
        shift = (pooled.shifts[number] - undone)[order]
        intensity[number, rows] = _moved(result.map, shift)
        variance[number, rows] = _moved(result.map_variance, shift)
        slope[number, rows] = np.gradient(intensity[number, rows], axis=1)
        factors[number, rows] = pooled.factors[number][order]
    against = _sigma(factors[1:] - factors[0], pooled.covariance)[:, :, None]
    of_first = np.where(np.isfinite(intensity[0]).any(axis=1)[:, None], slope[0], slope[1:])  # or its own
    return OneAxis(
        excitation=excitation,
        intensity=intensity,
        variance=variance,
        difference=intensity[1:] - intensity[0],
        difference_variance=variance[1:] + variance[0],
        difference_by_offset=against * 0.5 * (slope[1:] + of_first),
    )


def _rows(excitations: Sequence[FloatArray]) -> tuple[FloatArray, list[NDArray[np.intp]]]:
    """Give the excitations of all maps, and the row of each of every map among them."""
    axis: list[float] = []
    places = []
    for energies in excitations:
        before, taken, rows = np.array(axis), set[int](), []
        for energy in energies:
            free = [row for row in np.flatnonzero(np.abs(before - energy) <= SAME_EXCITATION) if row not in taken]
            if free:
                row = int(min(free, key=lambda one: abs(before[one] - energy)))
                taken.add(row)
            else:
                row = len(axis)
                axis.append(float(energy))
            rows.append(row)
        places.append(np.array(rows, dtype=np.intp))
    order = np.argsort(axis, kind="stable")
    rank = np.empty(len(axis), dtype=np.intp)
    rank[order] = np.arange(len(axis))
    return np.array(axis)[order], [rank[rows] for rows in places]


def _moved(values: FloatArray, shift: FloatArray) -> FloatArray:
    """Move each row back by its shift; NaN where the chip did not reach."""
    columns = np.arange(values.shape[1])
    at = columns + shift[:, None]
    return np.where((at >= 0) & (at <= columns[-1]), straighten(values, shift), np.nan)
