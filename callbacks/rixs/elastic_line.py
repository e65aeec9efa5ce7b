"""Step 6 of a RIXS map: find the elastic line in each spectrum and calibrate emission energy with all of them.

How a line is found in one spectrum, and when it is refused, stands in `callbacks.rixs.elastic_peak`; the fit of the
calibration in `callbacks.rixs.calibration`. Here is the state of a run: all rows so far, and where their lines are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from callbacks.contract import CalibrationResult, RixsOutput
from callbacks.rixs.calibration import (
    BEND,
    BEND_SIGMA,
    CONSENSUS_SIGMAS,
    Calibration,
    Displacements,
    KnownLine,
    energy_at,
    fit_calibration,
    refused,
)
from callbacks.rixs.drift import UNKNOWN_TIME, DriftSettings, find_drift, find_lines, line_centre
from callbacks.rixs.elastic_peak import LineCriteria, Peak, find_elastic_line, no_peak
from callbacks.step import Step

FloatArray = NDArray[np.floating]

HC_EV_MM = 1.239841984e-3
TABULATED_SIGMA = 1.0  # eV: emission of compounds lies within about that of the element's
WINDOW = 29  # columns around a line that are kept, for drawing
SEARCH = 0.6  # FWHM on either side of where the calibration expects a line
LARGEST_PULL = 3.0  # of a known line against all others; beyond, an alarm says that they disagree

# Emission at resonance has all but the energy of the elastic line and cannot be told from it: the line then is stronger
# than off the resonance, and lies between the two. One so many times as strong is emission.
MOST_RESONANT = 5.0
# By how much emission pulls a line that is nothing but emission, FWHM rms: what is common to all lines of a map, and
# what each has of its own. Of two measured maps, lines 3 to 5 times as strong lay 0.3 to 0.7 pixels off, of 5 wide.
COMMON_PULL, OWN_PULL = 0.15, 0.05
FEW_WEAKEST = 3  # lines, or a fifth of them, that tell how strong the elastic line is off the resonance
# Light at the end of the chip against that before it, by so many sigmas and times: it goes on beyond.
END_COLUMNS, BEFORE_END, END_SIGMAS, END_TIMES = 16, (150, 60), 8.0, 2.0


Row3 = tuple[float, float, float]


class LoadedCalibration(BaseModel):
    """A calibration from before: to compare with, or with a covariance, to take dispersion and bend from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pivot: float
    coefficients: Row3  # as `Calibration.coefficients`
    sigma_ev: float = Field(0.1, gt=0)  # uncertainty of the energies it gives, where they are compared
    covariance: tuple[Row3, Row3, Row3] | None = None  # of the coefficients
    source: str = ""  # where it is from
    runs: tuple[str, ...] = ()  # uids of the maps whose lines it is made of, which it must not calibrate

    @field_validator("coefficients")
    @classmethod
    def _disperses(cls, coefficients: Row3) -> Row3:
        if not (coefficients[0] > 0 and coefficients[1] > 0):
            raise ValueError(f"{list(coefficients)}: expected an energy (eV) and a dispersion (eV/pixel) above 0")
        return coefficients

    @field_validator("covariance")
    @classmethod
    def _positive(cls, covariance: tuple[Row3, Row3, Row3] | None) -> tuple[Row3, Row3, Row3] | None:
        if covariance is not None:
            matrix = np.array(covariance)
            if not np.allclose(matrix, matrix.T) or not (np.diag(matrix) > 0).all() or np.linalg.det(matrix) <= 0:
                raise ValueError("is no covariance: expected a symmetric matrix that is positive definite")
        return covariance

    @model_validator(mode="after")
    def _credible(self) -> Self:
        """Refuse a dispersion that is known better than where on the chip it holds: drift and emission move lines."""
        energy, dispersion, bend = self.coefficients
        least = dispersion * (2 * dispersion / energy + abs(bend))  # what it changes by from one pixel to the next
        if self.covariance is not None and (sigma := math.sqrt(self.covariance[1][1])) < least:
            raise ValueError(
                f"covariance: the dispersion is said to be known to {sigma:.1g} eV/pixel, expected {least:.1g} or more,"
                " by which it changes from one pixel to the next"
            )
        return self

    @property
    def calibration(self) -> Calibration | None:
        """Dispersion and bend as they were known; None where there is no covariance."""
        if self.covariance is None:
            return None
        coefficients, covariance = np.array(self.coefficients), np.array(self.covariance)
        return Calibration(coefficients, self.pivot, covariance, np.zeros(0, bool), "ok", math.nan)


class Bend(BaseModel):
    """What is known of how the dispersion in wavelength changes along the chip."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float = BEND  # 1/pixel
    sigma: float = Field(BEND_SIGMA, gt=0)


class Grating(BaseModel):
    """The geometry of a spectrometer, by which the bend is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lines_per_mm: float = Field(gt=0)
    incidence: float = Field(gt=0, lt=90)  # glancing angle of incidence, degrees
    order: int = 1  # below zero: the outside order, whose light leaves nearer to the surface
    inclination: float = Field(0.0, ge=-85, le=85)  # of the chip, degrees; above zero: higher columns lie farther away

    @field_validator("order")
    @classmethod
    def _dispersed(cls, order: int) -> int:
        if not order:
            raise ValueError("light of the order 0 is not dispersed")
        return order

    def bend(self, energy: float, dispersion: float) -> tuple[float, float]:
        """Give the bend (1/pixel) where an energy (eV) is seen with a dispersion (eV/pixel), and its uncertainty.

        Raises
        ------
        ValueError
            When no light of this energy leaves the grating.

        Notes
        -----
        With the glancing exit angle g, ``m N wavelength = cos a - cos g``, and the distance of the chip follows from
        the dispersion. A tenth is left for what else the geometry is off by, and for curved gratings' line spacing.
        """
        ratio = self.order * self.lines_per_mm * HC_EV_MM / energy
        cosine = math.cos(math.radians(self.incidence)) - ratio
        if not -1 < cosine < 1:
            raise ValueError(
                f"a grating of {self.lines_per_mm:g} lines/mm at {self.incidence:g} degrees sends no light of"
                f" {energy:.1f} eV into the order {self.order}: check [processing.rixs.elastic_line.grating]"
            )
        angle = math.acos(cosine)
        turned = abs(ratio) * dispersion / energy / math.sin(angle)  # rad/pixel
        towards = math.copysign(1.0, ratio)
        bend = -turned * (towards / math.tan(angle) + 2 * math.tan(math.radians(self.inclination)))
        return bend, max(0.1 * abs(bend), 1e-6)


class ElasticLineSettings(LineCriteria):
    """Settings of `ElasticLine`."""

    # The loaded calibration is off where it differs by more than this, and by more than a pixel; with a covariance,
    # where the lines alone give a dispersion that differs by more.
    alarm_sigmas: float = Field(5.0, gt=0)
    loaded: LoadedCalibration | None = None
    bend: Bend = Bend()
    # Fluorescence lines that join the fit: name -> energy and its standard uncertainty, eV.
    known_lines: dict[str, tuple[float, float]] = Field(default_factory=dict)
    grating: Grating | None = None  # in place of `bend`

    @field_validator("known_lines", mode="before")
    @classmethod
    def _energies(cls, lines: Any) -> dict[str, tuple[float, float]]:
        """Take names alone, whose energies are tabulated, or energy and uncertainty of each name."""
        match lines:
            case list() | tuple() if all(isinstance(name, str) for name in lines):
                return {name: tabulated_line(name) for name in lines}
            case dict():
                return {str(name): _energy_and_sigma(name, value) for name, value in lines.items()}
        raise ValueError(
            f"{lines!r:.80}: expected a list of names, as "
            '["Fe La", "O K"], or a table of energies and uncertainties in eV, as { "Fe La" = [705.0, 1.0] }'
        )

    @model_validator(mode="after")
    def _one_bend(self) -> Self:
        if self.grating and "bend" in self.model_fields_set:
            raise ValueError("bend and grating are both given, expected one of them: a grating tells the bend")
        return self

    def bend_at(self, energy: float, dispersion: float) -> tuple[float, float]:
        """Give what is known of the bend where an energy is seen, and its standard uncertainty, 1/pixel."""
        return self.grating.bend(energy, dispersion) if self.grating else (self.bend.value, self.bend.sigma)


def _energy_and_sigma(name: str, value: Any) -> tuple[float, float]:
    """Give the energy of a line and its uncertainty, eV, as they were set."""
    match value:
        case [int() | float() as energy, int() | float() as sigma] if (
            0 < energy < math.inf and 0 < sigma < math.inf and not {type(energy), type(sigma)} & {bool}
        ):
            return float(energy), float(sigma)
    raise ValueError(
        f"{name!r} is {value!r:.80}, expected its energy and the uncertainty of that, two numbers above 0 eV, as"
        " [705.0, 1.0]"
    )


def tabulated_line(name: str) -> tuple[float, float]:
    """Give the energy of an emission line and its standard uncertainty, eV.

    Parameters
    ----------
    name : str
        Element and line, as ``Fe La1``; ``Fe La`` and ``Fe L`` are the same.

    Raises
    ------
    ValueError
        When there is no such element, or it has no such line.

    Notes
    -----
    Energies are those of W. T. Elam, B. D. Ravel and J. R. Sieber, Radiat. Phys. Chem. 63 (2002) 121, of the elements;
    emission of compounds lies within about an electronvolt.
    """
    import xraydb  # noqa: PLC0415 - 1.3 s, and few runs name an element

    element, _, line = name.partition(" ")
    try:
        lines = xraydb.xray_lines(element)
    except ValueError:
        raise ValueError(f"{name!r}: there is no element {element!r}, expected a name as 'O K' or 'Fe La'") from None
    for key in (line, f"{line}1", f"{line}a1"):
        if key in lines:
            return float(lines[key].energy), TABULATED_SIGMA
    raise ValueError(f"{name!r}: expected {element!r}, a space and one of its lines: {', '.join(sorted(lines))}")


@dataclass
class _Row:
    energy: float
    spectrum: FloatArray
    variance: FloatArray
    scale: float  # from counts to what is normalised to I0; NaN where I0 is lost
    blind: Peak  # found without knowing where to look
    peak: Peak  # used: this one, or the one found where the calibration expects it
    moved: float = 0.0  # columns that drift and emission have moved it, as all lines together tell

    @property
    def strength(self) -> float:
        """Strength of the line that is used, normalised to I0; NaN where that is lost."""
        return self.peak.amplitude * self.peak.fwhm * self.scale


class ElasticLine(Step):
    """Find the elastic line of every row, and calibrate with all rows so far.

    Lines are first looked for without a calibration. As soon as enough of them agree, the rows that gave none are
    looked at again where the calibration expects their line.
    """

    kept = (
        RixsOutput.ELASTIC_LINE_PIXEL,
        RixsOutput.ELASTIC_LINE_SIGMA,
        RixsOutput.ELASTIC_LINE_SIGNIFICANCE,
        RixsOutput.ELASTIC_LINE_REASON,
        RixsOutput.CALIBRATION_NOW,
        RixsOutput.CALIBRATION_NOW_PARAMETERS,
        RixsOutput.CALIBRATION_NOW_PIVOT,
    )

    def __init__(self, settings: ElasticLineSettings) -> None:
        self._settings = settings
        self._rows: dict[int, _Row] = {}
        self._calibration = self._by_lines = fit_calibration([], [], [])  # by the lines alone, where one is loaded
        self._found: dict[tuple[int, int], Peak] = {}  # by row and expected column
        self._displacements = Displacements.none(0)  # of the rows
        self._factor = np.zeros((0, 1))  # how far drift and (last) emission may displace the lines
        self._line_sigma = np.zeros(0)  # of the lines, what emission does to each of its own included
        self._bend = settings.bend.value, settings.bend.sigma
        self._known: tuple[KnownLine, ...] = ()
        self._left_out: dict[str, str] = {}  # known lines that are not used, and why
        self._weakest = math.nan  # strength of the elastic lines off the resonance; NaN where not known

    def push(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take the rows that a frame changed; give the line of the frame's row and the calibration so far."""
        for row in event[RixsOutput.ROWS]:
            blind = find_elastic_line(row.spectrum, row.variance, settings=self._settings)
            scale = getattr(row, "scale", math.nan)  # rows that another program makes may lack it
            self._rows[row.index] = _Row(row.energy, row.spectrum, row.variance, scale, blind, blind)
            self._found = {key: peak for key, peak in self._found.items() if key[0] != row.index}
        self._displacements = event.get(RixsOutput.ROW_DISPLACEMENTS) or self._untracked()
        self._calibrate()
        peak = self._rows[event[RixsOutput.ROW]].peak
        coefficients = self._calibration.coefficients
        return {
            RixsOutput.ROW_SHIFTS: self._shifts(),
            RixsOutput.ELASTIC_LINE_PIXEL: peak.pixel,
            RixsOutput.ELASTIC_LINE_SIGMA: peak.sigma,
            RixsOutput.ELASTIC_LINE_SIGNIFICANCE: peak.significance,
            RixsOutput.ELASTIC_LINE_REASON: peak.reason,
            RixsOutput.CALIBRATION: self._calibration,
            RixsOutput.CALIBRATION_NOW: self._calibration.status,
            RixsOutput.CALIBRATION_NOW_PARAMETERS: coefficients,
            RixsOutput.CALIBRATION_NOW_PIVOT: self._calibration.pivot,
        }

    @property
    def calibration(self) -> Calibration:
        """The calibration by all rows so far."""
        return self._calibration

    @property
    def result(self) -> CalibrationResult:
        """The calibration and the line of each row, in the order of first visits."""
        rows = [self._rows[index] for index in sorted(self._rows)]
        peaks = [row.peak for row in rows]
        accepted = self._calibration.accepted
        columns = np.stack([_window(row) for row in rows]) if rows else np.zeros((0, WINDOW), dtype=int)
        pulls = self._pulls()
        return CalibrationResult(
            calibration_status=self._calibration.status,
            calibration_alarm="; ".join(filter(None, (self._alarm(), self._disagreement(pulls)))),
            calibration_parameters=self._calibration.coefficients,
            calibration_covariance=self._calibration.covariance,
            calibration_pivot=self._calibration.pivot,
            calibration_dispersion_ev_per_pixel=self._calibration.dispersion,
            calibration_dispersion_sigma=self._calibration.dispersion_sigma,
            calibration_rms_ev=self._calibration.rms,
            calibration_accepted=int(accepted.sum()),
            calibration_rejected=int(len(rows) - accepted.sum()),
            calibration_common=self._calibration.common,
            **self._against_loaded(),
            known_names=np.array([line.name for line in self._known], dtype=str),
            known_energy=np.array([line.energy for line in self._known]),
            known_energy_sigma=np.array([line.energy_sigma for line in self._known]),
            known_pixel=np.array([line.pixel for line in self._known]),
            known_pixel_sigma=np.array([line.pixel_sigma for line in self._known]),
            known_displacement=np.array([line.factor for line in self._known]).reshape(-1, self._factor.shape[1]),
            known_pull=pulls,
            known_left_out=np.array(list(self._left_out), dtype=str),
            known_left_out_reasons=np.array(list(self._left_out.values()), dtype=str),
            elastic_energy=np.array([row.energy for row in rows]),
            elastic_pixel=np.array([peak.pixel for peak in peaks]),
            elastic_sigma=np.array([peak.sigma for peak in peaks]),
            elastic_moved=np.array([row.moved for row in rows]),
            elastic_fit_sigma=self._line_sigma.copy(),
            elastic_displacement=self._factor.copy(),
            elastic_significance=np.array([peak.significance for peak in peaks]),
            elastic_fwhm=np.array([peak.fwhm for peak in peaks]),
            elastic_accepted=accepted.copy(),
            elastic_reason=np.array(
                [
                    peak.reason or ("" if used else "disagrees with the other lines")
                    for peak, used in zip(peaks, accepted, strict=True)
                ],
                dtype=str,
            ),
            elastic_window_column=columns,
            elastic_window_counts=np.array([row.spectrum[at] for row, at in zip(rows, columns, strict=True)]),
            elastic_window_sigma=np.sqrt([row.variance[at] for row, at in zip(rows, columns, strict=True)]),
            elastic_window_model=np.array([row.peak.model(at) for row, at in zip(rows, columns, strict=True)]),
        )

    def _calibrate(self) -> None:
        rows = list(self._rows.values())
        for row in rows:
            row.peak = row.blind
        self._known, self._weakest = (), math.nan
        self._left_out = dict.fromkeys(self._settings.known_lines, "there is no calibration by the elastic lines")
        self._weakest = _weakest(rows, self._fit(rows)[0].accepted)
        self._calibration, self._by_lines = self._fit(rows)
        if self._calibration.status != "ok":
            return
        for _ in range(2):  # the second time the lines found by the first guide the others
            before = self._used(rows)
            pixels = self._calibration.pixel(np.array([row.energy for row in rows])) + self._shifts()[list(self._rows)]
            sigmas = self._calibration.sigma(pixels) / self._calibration.dispersion
            for (index, row), pixel, sigma in zip(self._rows.items(), pixels, sigmas, strict=True):
                if row.blind.reason or abs(row.blind.pixel - pixel) >= self._settings.fwhm:
                    row.peak = self._expected(index, float(pixel), float(sigma))
            self._known = self._find_known(rows)
            if self._used(rows) == before:
                return
            again, by_lines = self._fit(rows)
            if again.status != "ok":
                return
            self._calibration, self._by_lines = again, by_lines

    def _used(self, rows: list[_Row]) -> tuple[list[Peak], list[tuple[str, float]]]:
        """Give the lines of the rows, and names and places of the known ones."""
        return [row.peak for row in rows], [(line.name, line.pixel) for line in self._known]

    def _fit(self, rows: list[_Row]) -> tuple[Calibration, Calibration]:
        """Calibrate with the lines that are elastic, and with these alone where a calibration is loaded.

        Of the others it is said that they are resonant emission.
        """
        strength = np.array([math.nan if row.peak.reason else row.strength for row in rows])
        above = np.nan_to_num(strength / self._weakest, nan=1.0)
        share = 1 - 1 / np.maximum(above, 1.0)
        for row, times in zip(rows, above, strict=True):
            if not row.peak.reason and times > MOST_RESONANT:
                reason = f"resonant emission: {times:.1f} times as strong as the weakest elastic lines"
                row.peak = replace(row.peak, reason=reason)
        own = OWN_PULL * self._settings.fwhm * share
        pull = np.hypot(COMMON_PULL * self._settings.fwhm * share, [row.peak.pull for row in rows])
        self._factor = np.column_stack([self._displacements.factor[list(self._rows)], pull])
        self._line_sigma = np.hypot([row.peak.sigma for row in rows], own)
        self._bend = self._settings.bend.value, self._settings.bend.sigma
        found = self._fit_lines(rows, self._known)
        if self._settings.grating and found.status == "ok":
            try:
                self._bend = self._settings.bend_at(float(found.coefficients[0]), found.dispersion)
            except ValueError as error:
                found = refused(len(rows), str(error))
                return found, found
            found = self._fit_lines(rows, self._known)
        by_lines = found
        if (loaded := self._loaded) is not None and not self._contradicts(found, loaded):
            found = self._fit_lines(rows, self._known, loaded)
        moved = self._factor @ found.common if len(found.common) else np.zeros(len(rows))
        for row, by in zip(rows, moved, strict=True):
            row.moved = float(by)
        if found.status != "ok" and (beyond := _light_at_the_end(rows)):
            return replace(found, status=f"{beyond}; {found.status}"), by_lines
        return found, by_lines

    def _fit_lines(
        self, rows: list[_Row], known: tuple[KnownLine, ...], loaded: Calibration | None = None
    ) -> Calibration:
        """Calibrate with the lines of the rows that have no reason not to be used, and with known ones."""
        return fit_calibration(
            [math.nan if row.peak.reason else row.peak.pixel for row in rows],
            [row.energy for row in rows],
            self._line_sigma,
            displacements=Displacements(self._displacements.mean[list(self._rows)], self._factor),
            known=known,
            bend=self._bend,
            loaded=loaded,
        )

    @property
    def _loaded(self) -> Calibration | None:
        """The calibration that dispersion and bend are taken from."""
        return self._settings.loaded.calibration if self._settings.loaded else None

    def _contradicts(self, found: Calibration, loaded: Calibration) -> bool:
        """Tell whether lines that are fitted by themselves have another dispersion than the loaded one."""
        if found.status != "ok":
            return False
        expected, sigma = loaded.dispersion_at(float(found.coefficients[0]))
        off = abs(found.dispersion - expected)
        return off > self._settings.alarm_sigmas * math.hypot(found.dispersion_sigma, sigma)

    def _against_loaded(self) -> dict[str, Any]:
        """Give by how far the lines lie from where the calibration that the dispersion is from had them."""
        loaded, found = self._loaded, self._calibration
        if loaded is None or found.status != "ok" or self._contradicts(self._by_lines, loaded):
            return {}
        energy = float(found.coefficients[0])
        before = float(loaded.pixel(energy))
        sigma = math.hypot(float(found.sigma(found.pivot)), float(loaded.sigma(before))) / found.dispersion
        assert self._settings.loaded is not None
        return {
            "calibration_loaded": self._settings.loaded.source or "settings",
            "calibration_loaded_offset": found.pivot - before,
            "calibration_loaded_offset_sigma": sigma,
        }

    def _untracked(self) -> Displacements:
        """Give what is known of the drift of rows whose times are not."""
        hours = UNKNOWN_TIME / 3600 * np.arange(max(self._rows) + 1)
        return find_drift(hours, [], DriftSettings())

    def _shifts(self) -> FloatArray:
        """Give by how many columns each row lies off the scale of the first frame, as its elastic line tells."""
        factor = self._displacements.factor
        common = self._calibration.common[: factor.shape[1]]
        return np.asarray(factor @ common) if len(common) else np.zeros(len(factor))

    def _expected(self, index: int, pixel: float, sigma: float) -> Peak:
        """Find the line of a row near the column at which the calibration expects it."""
        row = self._rows[index]
        if math.isnan(pixel):
            return no_peak("expected beyond the end of the spectrum")
        if not -WINDOW < pixel < len(row.spectrum) + WINDOW:
            return no_peak(f"expected at column {pixel:.0f}, off the detector")
        if sigma > self._settings.fwhm:
            return no_peak("the calibration does not say well enough where to look")
        key = (index, round(pixel))
        if key not in self._found:
            search = SEARCH * self._settings.fwhm
            self._found[key] = find_elastic_line(
                row.spectrum, row.variance, settings=self._settings, expected_pixel=float(key[1]), search=search
            )
        return self._found[key]

    def _find_known(self, rows: list[_Row]) -> tuple[KnownLine, ...]:
        """Find the known lines in the sum of all rows: the brightest where the calibration so far allows each."""
        self._left_out = {}
        if not self._settings.known_lines:
            return ()
        spectrum, variance = (
            np.sum([row.spectrum for row in rows], axis=0),
            np.sum([row.variance for row in rows], axis=0),
        )
        found = []
        factor = self._factor.mean(axis=0)  # as far as the sum of the rows is displaced
        factor[-1] = 0.0  # by drift only
        windows = find_lines(spectrum, variance)
        for name, (energy, sigma) in self._settings.known_lines.items():
            candidates: list[tuple[float, KnownLine, float]] = []
            others: list[tuple[float, KnownLine, float]] = []
            for window in windows:
                pixel, pixel_sigma = line_centre(spectrum[window], variance[window])
                pixel += window.start
                line = KnownLine(name, energy, sigma, pixel, pixel_sigma, factor)
                off = (float(self._calibration.energy(pixel)) - energy) / math.hypot(
                    float(self._calibration.sigma(pixel)), sigma
                )
                (candidates if abs(off) < CONSENSUS_SIGMAS else others).append((spectrum[window].max(), line, off))
            if candidates:
                found.append(max(candidates, key=lambda each: each[0])[1])
            else:
                self._left_out[name] = self._why_not_seen(energy, len(spectrum), [each[1:] for each in others])
        return tuple(found)

    def _why_not_seen(self, energy: float, columns: int, others: list[tuple[KnownLine, float]]) -> str:
        """Say why no line that stands out may be the one of this energy."""
        expected = float(self._calibration.pixel(energy))
        if not 0 <= expected < columns:
            return "expected off the chip" + (f", at column {expected:.0f}" if math.isfinite(expected) else "")
        where = f"expected at column {expected:.0f}"
        credible = [each for each in others if math.isfinite(each[1])]
        if not credible:
            return f"{where}; no line stands out"
        nearest, off = min(credible, key=lambda each: abs(each[1]))
        seen = float(self._calibration.energy(nearest.pixel))
        return f"{where}; the nearest line, at column {nearest.pixel:.1f} ({seen:.1f} eV), is off by {off:+.1f} sigmas"

    def _pulls(self) -> FloatArray:
        """Give by how many standard uncertainties the energy of each known line is off what all other lines give it."""
        rows = list(self._rows.values())
        loaded = self._loaded
        if loaded is not None and self._contradicts(self._by_lines, loaded):
            loaded = None
        pulls = []
        for line in self._known:
            others = tuple(each for each in self._known if each is not line)
            found = self._fit_lines(rows, others, loaded)
            seen = float(found.energy(line.pixel))
            place = float(np.sqrt(line.pixel_sigma**2 + line.factor @ line.factor)) * found.dispersion  # eV
            pulls.append((line.energy - seen) / math.hypot(line.energy_sigma, float(found.sigma(line.pixel)), place))
        return np.array(pulls)

    def _disagreement(self, pulls: FloatArray) -> str:
        """Say which known lines disagree with all others; empty where none does."""
        off = [
            f"{line.name}, {line.energy:.2f} ± {line.energy_sigma:.2f} eV at column {line.pixel:.1f}, by {pull:+.1f}"
            for line, pull in zip(self._known, pulls, strict=True)
            if abs(pull) > LARGEST_PULL
        ]
        return f"known lines disagree with the other lines: {'; '.join(off)} sigmas" if off else ""

    def _alarm(self) -> str:
        """Say how far the calibration of this run lies from the loaded one, where that is too far."""
        loaded, found = self._settings.loaded, self._calibration
        if loaded is None or found.status != "ok":
            return ""
        if (known := loaded.calibration) is not None:
            found = self._by_lines
            if not self._contradicts(found, known):
                return ""
            expected, sigma = known.dispersion_at(float(found.coefficients[0]))
            return (
                f"the loaded dispersion is not used: {expected:.4f} ± {sigma:.4f} eV/pixel loaded,"
                f" {found.dispersion:.4f} ± {found.dispersion_sigma:.4f} by the lines"
            )
        pixel = found.pivot
        expected = float(energy_at(np.array(pixel - loaded.pivot), np.array(loaded.coefficients)))
        seen, sigma = float(found.coefficients[0]), math.hypot(float(found.sigma(pixel)), loaded.sigma_ev)
        if abs(seen - expected) <= max(self._settings.alarm_sigmas * sigma, found.dispersion):
            return ""
        return (
            f"the loaded calibration is off by {seen - expected:+.2f} eV"
            f" ({(seen - expected) / found.dispersion:+.1f} pixels) at column {pixel:.0f}:"
            f" {seen:.2f} eV measured, {expected:.2f} eV loaded"
        )


def _weakest(rows: list[_Row], accepted: NDArray[np.bool_]) -> float:
    """Give the strength of the weakest of the lines that agree: off the resonance all are as strong; NaN without I0."""
    strength = np.array([row.strength for row in rows])[accepted]
    known = np.sort(strength[np.isfinite(strength)])
    return float(np.median(known[: max(FEW_WEAKEST, len(known) // 5)])) if known.size else math.nan


def _light_at_the_end(rows: list[_Row]) -> str:
    """Say where light rises towards the high-energy end of the chip, that the elastic lines lie beyond it."""
    spectrum, variance = (np.sum([getattr(row, name) for row in rows], axis=0) for name in ("spectrum", "variance"))
    end, before = spectrum[-END_COLUMNS:], spectrum[-BEFORE_END[0] : -BEFORE_END[1]]
    noise = math.sqrt(float(variance[-END_COLUMNS:].sum())) / END_COLUMNS
    level = max(float(np.median(before)), 0.0)
    if float(end.mean()) - level > END_SIGMAS * noise and float(end.mean()) > END_TIMES * level:
        return "light rises towards the high-energy end of the chip: the elastic line lies off the chip"
    return ""


def _window(row: _Row) -> NDArray[np.int_]:
    """Give the columns around a row's line that are kept: a few more on the low-energy side, where emission is."""
    centre = row.peak.pixel if np.isfinite(row.peak.pixel) else len(row.spectrum) / 2
    first = int(np.clip(round(centre) - WINDOW // 2 - 3, 0, len(row.spectrum) - WINDOW))
    return np.arange(first, first + WINDOW)
