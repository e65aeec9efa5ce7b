"""The measures of a recipe: what is read off each spectrum, alike of an absorption spectrum, a pixel, or a cut.

Adding one: a class with its settings and `measure`, and its name in `Measure`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from scipy.special import chdtrc

from callbacks.analysis.measured import Measured, Reference, Spectra, Value
from callbacks.fitting.linear_combination import fit_linear_combination, moved_references
from callbacks.fitting.normal_equations import dependent_references
from callbacks.fitting.ranking import Combination, rank_combinations
from callbacks.fitting.supports import MOST_REFERENCES
from callbacks.wording import number_of
from callbacks.xas.background import SIGMAS
from callbacks.xas.derivative import derivative
from callbacks.xas.edge_position import edge_position
from callbacks.xas.mlls import fit_mlls
from callbacks.xas.moments import Background, Moments, moments
from callbacks.xas.white_lines import white_line_ratio

FloatArray = NDArray[np.floating]


def _ascending(window: tuple[float, float]) -> tuple[float, float]:
    if not window[0] < window[1]:
        raise ValueError(f"window {window[0]:g} to {window[1]:g}: expected the lower end first")
    return window


Window = Annotated[tuple[float, float], AfterValidator(_ascending)]  # eV, from and to
References = Mapping[str, Reference]

COMMON = {"by", "of", "edge"}  # keys that all measures have
NO_MEAN = "the sum of the fractions does not stand out of its noise: no mean"
BY_NOISE = 0.0027  # of good fits have as large a chi square: three standard deviations
MOST_CHOSEN_FROM = 100  # references
MOST_LISTED = 10  # combinations of references that are kept, the best first


class _Measure(BaseModel):
    """Settings of a measure: what is common to all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    of: tuple[str, ...] = ()  # parts (channels, regions, cuts) it is taken of; all where empty
    edge: str = ""  # of the runs it is taken of, as "O K"; all where empty

    is_energy: ClassVar[bool] = False  # whether it reads an energy off, which is as uncertain as the scale

    def check(self, references: Mapping[str, object]) -> None:
        """Check that a recipe with these references has what it needs.

        Raises
        ------
        ValueError
            When it does not.
        """

    @abstractmethod
    def measure(self, spectra: Spectra, references: References) -> Measured:
        """Read it off spectra.

        Raises
        ------
        ValueError
            When it cannot be read off any spectrum of these energies.
        """

    def near(self, found: Measured) -> Measure:
        """Give the measure that reads the same off spectra that differ by little from the one with this answer."""
        return cast("Measure", self)


class EdgePositionMeasure(_Measure):
    """Where the rising edge passes half the edge jump; see `callbacks.xas.edge_position`."""

    is_energy = True
    by: Literal["edge_position"]
    pre_edge: Window | None = None
    post_edge: Window | None = None
    post_edge_form: Literal["mean", "line"] | None = None
    search: Window | None = None
    points: int | None = Field(None, ge=2)  # around the crossing; as many as are needed where not given

    def measure(self, spectra: Spectra, references: References) -> Measured:
        """Read it off spectra."""
        settings = self.model_dump(exclude=COMMON)
        found = edge_position(spectra.energy, spectra.values, spectra.variance, alike=spectra.alike, **settings)
        values = {
            "energy": Value(found.position, found.sigma, "energy at half of the edge jump", "eV"),
            "jump": Value(found.jump, found.jump_sigma, "edge jump there", scaled=True),
        }
        return Measured(values, found.status)


class InflectionMeasure(_Measure):
    """Derivative of the spectrum, and where it is largest; see `callbacks.xas.derivative`."""

    is_energy = True
    by: Literal["derivative"]
    half_width: float = Field(0.5, gt=0)  # eV
    search: Window | None = None

    def measure(self, spectra: Spectra, references: References) -> Measured:
        """Read it off spectra."""
        found = derivative(
            spectra.energy, spectra.values, spectra.variance, half_width=self.half_width, search=self.search
        )
        values = {"energy": Value(found.inflection, found.inflection_sigma, "energy of the largest slope", "eV")}
        slope = Value(found.slope, found.slope_sigma, "derivative", "1/eV", scaled=True)
        return Measured(values, found.status, curves={"slope": slope})


class WhiteLinesMeasure(_Measure):
    """Ratio of the areas of the white lines L3 and L2; see `callbacks.xas.white_lines`."""

    by: Literal["white_lines"]
    edges: tuple[float, float]  # eV, where the continuum steps up
    l3_window: Window
    l2_window: Window
    pre_edge: Window | None = None
    post_edge: Window | None = None
    step: Literal["arctan", "sharp"] = "arctan"
    width: float = Field(1.0, gt=0)  # eV
    background: Literal["linear", "power_law"] = "linear"  # the latter beneath energy-loss spectra

    def measure(self, spectra: Spectra, references: References) -> Measured:
        """Read it off spectra."""
        settings = self.model_dump(exclude=COMMON | {"background"})
        found = white_line_ratio(
            spectra.energy, spectra.values, spectra.variance, form=self.background, alike=spectra.alike, **settings
        )
        areas, sigma = found.areas, np.sqrt(np.einsum("...ii->...i", found.areas_covariance))
        values = {
            "ratio": Value(found.ratio, found.sigma, "area of L3 over that of L2"),
            "l3": Value(areas[..., 0], sigma[..., 0], "area of L3", "eV", scaled=True),
            "l2": Value(areas[..., 1], sigma[..., 1], "area of L2", "eV", scaled=True),
        }
        return Measured(values, found.status)


class _InWindow(_Measure):
    """What is in a window, above a background; see `callbacks.xas.moments`."""

    window: Window  # eV
    background: Background = "none"
    pre_edge: Window | None = None

    def _moments(self, spectra: Spectra) -> Moments:
        return moments(
            spectra.energy, spectra.values, spectra.variance,
            window=self.window, form=self.background, pre_edge=self.pre_edge, alike=spectra.alike,
        )  # fmt: skip

    @property
    def _where(self) -> str:
        return f"from {self.window[0]:g} to {self.window[1]:g} eV"


class IntegralMeasure(_InWindow):
    """Integral over a window."""

    by: Literal["integral"]

    def measure(self, spectra: Spectra, references: References) -> Measured:
        """Read it off spectra."""
        found = self._moments(spectra)
        area = Value(found.area, found.area_sigma, f"integral {self._where}", "eV", scaled=True)
        return Measured({"area": area}, found.area_status)


class CentroidMeasure(_InWindow):
    """Centroid of what is in a window."""

    is_energy = True
    by: Literal["centroid"]

    def measure(self, spectra: Spectra, references: References) -> Measured:
        """Read it off spectra."""
        found = self._moments(spectra)
        energy = Value(found.centroid, found.centroid_sigma, f"centroid {self._where}", "eV")
        return Measured({"energy": energy}, found.status)


class _Fit(_Measure):
    """A fit of references; `values` are numbers that belong to them, such as valences, of which the mean is taken."""

    references: tuple[str, ...] = ()  # all of the recipe where not given
    window: Window | None = None
    values: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _values_of_references(self) -> _Fit:
        if self.values and self.references and set(self.values) != set(self.references):
            raise ValueError(f"values of {', '.join(self.values)}: expected of {', '.join(self.references)}")
        return self

    @property
    def most(self) -> int:
        """Number of references that can be fitted at most."""
        return MOST_REFERENCES

    def check(self, references: Mapping[str, object]) -> None:
        """Check that the recipe has the references of this fit, neither none nor too many."""
        names = self.references or tuple(references)
        if unknown := [name for name in names if name not in references]:
            known = ", ".join(references) or "none"
            raise ValueError(f"reference {unknown[0]!r} is not among those of the recipe: {known}")
        if not 1 <= len(names) <= self.most:
            raise ValueError(f"{number_of(len(names), 'reference')}: expected 1 to {self.most}")
        if self.values and set(self.values) != set(names):
            raise ValueError(f"values of {', '.join(self.values)}: expected of {', '.join(names)}")

    def _chosen(self, references: References) -> dict[str, Reference]:
        """Give the references of this fit by name."""
        self.check(references)
        return {name: references[name] for name in self.references or references}

    def _common(self, spectra: Spectra, chosen: References) -> Spectra:
        """Give spectra in the window; where none is given, without ends that a reference misses by less than a step.

        What the encoders of two runs read of the same energies differs by some meV.
        """
        if self.window is not None or len(spectra.energy) < 2:
            return spectra.within(self.window)
        energy, inside = spectra.energy, np.ones(len(spectra.energy), dtype=bool)
        for reference in chosen.values():
            own = reference.energy
            for beyond, step in (
                (own[0] - energy, max(own[1] - own[0], energy[1] - energy[0])),
                (energy - own[-1], max(own[-1] - own[-2], energy[-1] - energy[-2])),
            ):
                inside &= (beyond <= 0) | (beyond.max() > step)
        return spectra if inside.all() or inside.sum() < 2 else spectra.within((energy[inside][0], energy[inside][-1]))

    def _at(self, spectra: Spectra, chosen: References, *, margin: float = 0.0, together: int = 0) -> _Fitted:
        """Give spectra beside the references of this fit, without energies at which one was not measured.

        Nor are those less than a margin (eV) beside. As many references are fitted `together`; 0: all.

        Raises
        ------
        ValueError
            When a reference does not reach as far, or some cannot be told apart.
        """
        part = self._common(spectra, chosen)
        table = np.stack([reference.at(part.energy, name) for name, reference in chosen.items()])
        noise = np.stack([reference.variance_at(part.energy) for reference in chosen.values()])
        missing = {name: reference.is_missing(part.energy, margin) for name, reference in chosen.items()}
        notes = [
            f"{number_of(int(each.sum()), 'energy')} from {part.energy[each].min():g} to {part.energy[each].max():g} eV"
            f" left out, where reference {name} was not measured"
            for name, each in missing.items()
            if each.any()
        ]
        used = ~np.any(list(missing.values()), axis=0)
        alike = [list(chosen)[place] for place in dependent_references(table[:, used], together or len(chosen))]
        if len(alike) == 1:
            raise ValueError(f"reference {alike[0]} is zero at all energies of the fit")
        if alike:
            raise ValueError(f"references {', '.join(alike)} cannot be told apart: one is a sum of the others")
        if not used.all():
            part = replace(part, values=np.where(used, part.values, np.nan))
        return _Fitted(part, table, noise, used, "; ".join(notes))

    def _mean(
        self, names: Sequence[str], fractions: FloatArray, covariance: FloatArray, status: NDArray[np.str_]
    ) -> tuple[dict[str, Value], NDArray[np.str_]]:
        """Give the mean of `values`, weighted by the fractions, nothing where there are none; and the status with it.

        As of other ratios, there is none where what divides does not stand out of its noise.
        """
        if not self.values:
            return {}, status
        numbers = np.array([self.values[name] for name in names])
        total = fractions.sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            stands_out = total > SIGMAS * np.sqrt(covariance.sum(axis=(-2, -1)))
            mean = np.where(stands_out, (fractions @ numbers) / total, np.nan)
            gradient = (numbers - mean[..., None]) / total[..., None]
            sigma = np.sqrt(np.einsum("...i,...ij,...j->...", gradient, covariance, gradient))
        found = {"mean": Value(mean, sigma, "mean of the values of the references, by their fractions")}
        return found, np.where((status == "ok") & ~stands_out, NO_MEAN, status)


class LcfMeasure(_Fit):
    """Fractions of references; see `callbacks.fitting.linear_combination` and `callbacks.fitting.ranking`."""

    by: Literal["lcf"]
    non_negative: bool = True
    shift: bool = False  # whether one shift of the energy, common to the references, is fitted
    max_shift: float = Field(1.0, gt=0)  # eV
    combinations: int = Field(0, ge=0, le=MOST_REFERENCES)  # at most so many of the references together; 0: all at once

    @property
    def most(self) -> int:
        """Number of references that can be fitted, or chosen from, at most."""
        return MOST_CHOSEN_FROM if self.combinations else MOST_REFERENCES

    def near(self, found: Measured) -> Measure:
        """Give the fit of the references that are in the best combination, instead of comparing all once more."""
        if not self.combinations:
            return self
        chosen = [key for key, value in found.values.items() if value.sigma is not None and value.sigma > 0]
        names = tuple(key.removeprefix("of_") for key in chosen)
        return self.model_copy(update={"combinations": 0, "references": names, "values": {}})

    def measure(self, spectra: Spectra, references: References) -> Measured:
        """Read it off spectra; of a few, combinations of references are ranked where that is asked for."""
        chosen = self._chosen(references)
        margin = self.max_shift if self.shift else 0.0
        fitted = self._at(spectra, chosen, margin=margin, together=self.combinations)
        part, table, noise = fitted.spectra, fitted.table, fitted.noise
        if self.combinations:
            return self._ranked(spectra, fitted, tuple(chosen))
        found = fit_linear_combination(
            part.energy, part.values, table, part.variance, reference_variance=noise,
            non_negative=self.non_negative, shift=self.shift, max_shift=self.max_shift,
        )  # fmt: skip
        mean, status = self._mean(tuple(chosen), found.fractions, found.covariance, found.status)
        values = {
            **{
                f"of_{name}": Value(found.fractions[..., place], found.sigma[..., place], f"fraction of {name}")
                for place, name in enumerate(chosen)
            },
            "sum": _sum(found.fractions, found.covariance),
            **mean,
            **({"shift": Value(found.shift, found.shift_sigma, "shift of the references", "eV")} if self.shift else {}),
            "residual": Value(found.residual, None, "2-norm of the residual", scaled=True),
        }
        model = fitted.whole(_model(part.energy, table, found.fractions, found.shift if self.shift else None))
        misfit = _misfit(part, model, found.fractions, table, noise, further=int(self.shift))
        return Measured(
            values | misfit.values, status, curves={"fit": _back(spectra, part, model, "fit")},
            note=_notes(fitted.note, misfit.note),
        )  # fmt: skip

    def _ranked(self, spectra: Spectra, fitted: _Fitted, names: tuple[str, ...]) -> Measured:
        part, table, noise = fitted.spectra, fitted.table, fitted.noise
        if spectra.shape and int(np.prod(spectra.shape)) > MOST_LISTED**2:
            raise ValueError("combinations of references are compared for single spectra, not for pixels")
        fractions, sigma = np.zeros((2, *spectra.shape, len(names)))
        p_value, reduced = (np.full(spectra.shape, np.nan) for _ in range(2))
        listed = np.full((*spectra.shape, MOST_LISTED), "", dtype="<U200")
        chi_squares, p_values = np.full((2, *spectra.shape, MOST_LISTED), np.nan)
        status = np.full(spectra.shape, "ok", dtype="<U80")
        curve = np.full(part.values.shape, np.nan)
        for place in np.ndindex(spectra.shape):
            ranking = rank_combinations(
                part.energy, part.values[place], table, part.variance[place], reference_variance=noise,
                most=self.combinations, shift=self.shift, max_shift=self.max_shift,
            )  # fmt: skip
            for number, each in enumerate(ranking.combinations[:MOST_LISTED]):
                listed[(*place, number)] = _told(each, names)
                chi_squares[(*place, number)] = each.reduced_chi_square
                p_values[(*place, number)] = each.p_value
            if ranking.best is None:
                status[place] = str(ranking.combinations[0].fit.status)
                fractions[place], sigma[place] = np.nan, np.nan
                continue
            best = ranking.combinations[ranking.best]
            fractions[place][list(best.references)] = best.fit.fractions
            sigma[place][list(best.references)] = best.fit.sigma
            p_value[place], reduced[place] = best.p_value, best.reduced_chi_square
            shift = best.fit.shift if self.shift else None
            curve[place] = fitted.whole(_model(part.energy, table[list(best.references)], best.fit.fractions, shift))
        values = {
            **{
                f"of_{name}": Value(
                    fractions[..., place], sigma[..., place], f"fraction of {name}; 0 ± 0: not in the best combination"
                )
                for place, name in enumerate(names)
            },
            "reduced_chi_square": Value(reduced, None, "reduced chi square of the best combination"),
            "p_value": Value(p_value, None, "how often noise alone calls for its last reference"),
        }
        kept = {
            "combination": Value(listed, None, "combinations of references, the best first"),
            "combination_reduced_chi_square": Value(chi_squares, None, "their reduced chi square"),
            "combination_p_value": Value(
                p_values, None, "of the F test against the best with one reference less; NaN of one"
            ),
        }
        return Measured(
            values, status, curves={"fit": _back(spectra, part, curve, "fit")}, table=kept, note=fitted.note
        )


class MllsMeasure(_Fit):
    """Coefficients of references beside a power law; see `callbacks.xas.mlls`."""

    by: Literal["mlls"]
    exponent: Literal["joint", "pre-edge"] | float = "joint"
    pre_edge: Window | None = None
    non_negative: bool = False

    @property
    def most(self) -> int:
        """Number of references that can be fitted at most, beside a power law."""
        return MOST_REFERENCES - 1

    def measure(self, spectra: Spectra, references: References) -> Measured:
        """Read it off spectra."""
        chosen = self._chosen(references)
        fitted = self._at(spectra, chosen)
        needed, own, own_noise = fitted.spectra, fitted.table, fitted.noise
        low, high = needed.energy[0], needed.energy[-1]
        # The references are needed where they are fitted; before, they are zero by assumption.
        inside = (spectra.energy >= low) & (spectra.energy <= high)
        table, noise = np.zeros((2, len(chosen), len(spectra.energy)))
        table[:, inside], noise[:, inside] = own, own_noise
        values = spectra.values
        if fitted.note:
            values = values.copy()
            values[..., inside] = needed.values
        found = fit_mlls(
            spectra.energy, values, table, spectra.variance, reference_variance=noise,
            window=(float(low), float(high)),
            exponent=self.exponent, pre_edge=self.pre_edge, non_negative=self.non_negative,
        )  # fmt: skip
        mean, status = self._mean(tuple(chosen), found.coefficients, found.covariance[..., 1:, 1:], found.status)
        quantities = {
            **{
                f"of_{name}": Value(found.coefficients[..., place], found.sigma[..., place], f"coefficient of {name}")
                for place, name in enumerate(chosen)
            },
            **mean,
            "exponent": Value(found.exponent, found.exponent_sigma, "exponent of the power law"),
            "background": Value(
                found.background, found.background_sigma, f"power law at {found.reference_energy:g} eV", scaled=True
            ),
            "residual": Value(found.residual, None, "2-norm of the residual", scaled=True),
        }
        law = found.background[..., None] * np.exp(
            -found.exponent[..., None] * np.log(needed.energy / found.reference_energy)
        )
        model = fitted.whole(law + found.coefficients @ own)
        curves = {
            "fit": _back(spectra, needed, model, "fit"),
            "power_law": _back(spectra, needed, law, "power law of the fit"),
        }
        further = 1 + (self.exponent == "joint")
        misfit = _misfit(needed, model, found.coefficients, own, own_noise, further=further)
        return Measured(quantities | misfit.values, status, curves=curves, note=_notes(fitted.note, misfit.note))


Measure = Annotated[
    EdgePositionMeasure
    | InflectionMeasure
    | WhiteLinesMeasure
    | IntegralMeasure
    | CentroidMeasure
    | LcfMeasure
    | MllsMeasure,
    Field(discriminator="by"),
]


class _Fitted(NamedTuple):
    """Spectra, NaN at energies that are left out, and references at the same energies, (references, n_energies)."""

    spectra: Spectra
    table: FloatArray
    noise: FloatArray
    used: NDArray[np.bool_]  # energies that are not left out
    note: str  # which are; "" for none

    def whole(self, model: FloatArray) -> FloatArray:
        """Give what was fitted, not known at energies that were left out."""
        return np.where(self.used, model, np.nan)


def _notes(*notes: str) -> str:
    return "; ".join(filter(None, notes))


class _Misfit(NamedTuple):
    values: dict[str, Value]
    note: str


def _misfit(
    spectra: Spectra, model: FloatArray, fractions: FloatArray, table: FloatArray, noise: FloatArray, *, further: int
) -> _Misfit:
    """Tell how far spectra are from what was fitted, in the noise of both; of one, whether noise can explain that.

    `further` parameters were fitted beside the fractions of the references (references, n_energies) in `table`. What a
    background that was taken off may hold of the noise is fitted here together with them.
    """
    variance = spectra.variance + fractions**2 @ noise
    left = spectra.values - model
    known = np.isfinite(left) & (variance > 0)
    weight = np.divide(1.0, variance, out=np.zeros(model.shape), where=known)
    left = np.where(known, left, 0.0)
    chi_square, parameters = (weight * left**2).sum(axis=-1), len(table) + further
    if spectra.background is not None:
        functions = np.vstack([table, spectra.background])
        parameters += len(spectra.background)
        normal = np.einsum("qe,...e,re->...qr", functions, weight, functions)
        pull = np.einsum("qe,...e->...q", functions, weight * left)
        inverse = np.linalg.pinv(normal, rcond=1e-12, hermitian=True)
        chi_square = chi_square - np.einsum("...q,...qr,...r->...", pull, inverse, pull)
    freedom = known.sum(axis=-1) - parameters
    reduced = np.divide(chi_square, freedom, out=np.full(spectra.shape, np.nan), where=freedom > 0)
    values = {"reduced_chi_square": Value(reduced, None, "reduced chi square of the fit; 1 where all is noise")}
    if spectra.shape or not chdtrc(freedom, chi_square) < BY_NOISE:
        return _Misfit(values, "")
    told = f"reduced chi square {reduced:.3g}: the references do not explain all of the spectrum"
    return _Misfit(values, f"{told}, and what is quoted is of noise alone")


def _sum(fractions: FloatArray, covariance: FloatArray) -> Value:
    return Value(fractions.sum(axis=-1), np.sqrt(covariance.sum(axis=(-2, -1))), "sum of the fractions")


def _told(each: Combination, names: Sequence[str]) -> str:
    """Say a combination in words: 0.62 NiO + 0.40 LiNiO2."""
    fractions = np.atleast_1d(each.fit.fractions)
    return " + ".join(f"{value:.3f} {names[place]}" for place, value in zip(each.references, fractions, strict=True))


def _model(energy: FloatArray, references: FloatArray, fractions: FloatArray, shift: FloatArray | None) -> FloatArray:
    """Give the fitted spectra, shape (..., n_energies)."""
    if shift is None:
        return np.asarray(fractions @ references)
    flat = np.atleast_1d(shift).ravel()
    moved = moved_references(energy, references, energy)(np.where(np.isfinite(flat), flat, 0.0))[0]
    model = np.einsum("nk,nke->ne", fractions.reshape(len(flat), -1), moved)
    return np.asarray(model.reshape(*np.shape(shift), len(energy)))


def _back(spectra: Spectra, part: Spectra, curve: FloatArray, meaning: str) -> Value:
    """Put a curve over a part of the energies among all of them."""
    whole = np.full(spectra.values.shape, np.nan)
    first = int(np.searchsorted(spectra.energy, part.energy[0]))
    whole[..., first : first + len(part.energy)] = curve
    return Value(whole, None, meaning, scaled=True)
