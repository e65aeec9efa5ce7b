"""A recipe: what an analysis does with runs, as a file says it and as the derived run keeps it."""

from __future__ import annotations

import base64
import re
import zlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from callbacks.analysis.measured import Reference
from callbacks.analysis.measures import Measure, Window
from callbacks.stxm.edges import edge_of
from callbacks.xas.background import Form

TAKEN = (
    "energy",
    "spectrum",
    "difference",
    "measured",
    "pooled",
    "correlation",
    "row",
    "run",
    "map",
    "quantity",
    "assumed",
    "corrected",
)  # names begin with these
OF_A_RUN = re.compile(r"run ([0-9a-f-]{36})(, .*)?")  # the source of a reference


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReferenceSpectrum(_Table):
    """A reference spectrum, as the recipe keeps it."""

    energy: tuple[float, ...]  # eV, ascending
    values: tuple[float, ...]
    sigma: tuple[float, ...] = ()  # standard uncertainty; none: not known, and not counted
    source: str  # the run or file it is from
    gaps: tuple[tuple[float, float], ...] = ()  # eV, between which nothing was measured at the energies that were set

    @model_validator(mode="after")
    def _is_a_spectrum(self) -> ReferenceSpectrum:
        if len(self.energy) != len(self.values) or len(self.energy) < 4:
            raise ValueError(f"{len(self.energy)} energies and {len(self.values)} values: expected as many, 4 or more")
        if self.sigma and len(self.sigma) != len(self.energy):
            raise ValueError(f"{len(self.energy)} energies and {len(self.sigma)} uncertainties: expected as many")
        if not np.isfinite([*self.energy, *self.values, *self.sigma]).all():
            raise ValueError("a number is not finite")
        if not np.all(np.diff(self.energy) > 0):
            raise ValueError("the energies do not ascend")
        return self

    @property
    def run(self) -> str:
        """Uid of the run that it is from; "" of a file."""
        named = OF_A_RUN.fullmatch(self.source)
        return named.group(1) if named else ""

    def spectrum(self) -> Reference:
        """Give it as measures take it."""
        sigma = np.array(self.sigma) if self.sigma else np.zeros(len(self.energy))
        return Reference(np.array(self.energy), np.array(self.values), sigma**2, self.gaps)


class Normalisation(_Table):
    """Taken off and divided by, in each spectrum; windows in eV.

    By area, windows that are not given are those of the edge (`callbacks.stxm.edges`); else the ends of the range.
    """

    pre_edge: Window | None = None
    post_edge: Window | None = None
    background: Form = "linear"
    by: Literal["edge", "area"] = "edge"

    def at(self, edge: str, energy: NDArray[np.floating]) -> Normalisation:
        """Give it with the windows of an edge, of spectra at energies in eV."""
        if self.by == "edge" or not len(energy):
            return self
        own = edge_of(edge, energy)
        windows = {"pre_edge": self.pre_edge or own.background, "post_edge": self.post_edge or own.area}
        return self.model_copy(update=windows)


class Alignment(_Table):
    """How the energies of the runs are brought together.

    By a channel of a reference that was measured with the samples, against that of the first run or, where its energy
    is tabulated, by its peak or edge.
    """

    channel: str  # `reference`, or the sample's own where nothing in it moves
    by: Literal["spectrum", "peak", "edge"] = "spectrum"
    expected: float | None = None  # eV, of the peak or edge
    expected_sigma: float = Field(0.0, ge=0)  # eV
    largest: float = Field(2.0, gt=0)  # eV to either side

    @model_validator(mode="after")
    def _known(self) -> Alignment:
        if (self.by == "spectrum") != (self.expected is None):
            raise ValueError(f"by {self.by}: expected {'no' if self.by == 'spectrum' else 'an'} energy `expected`")
        return self


class MaskedPixels(_Table):
    """The pixels of a mask, as the recipe keeps them."""

    lines: int = Field(ge=1)
    columns: int = Field(ge=1)
    pixels: str  # a bit for each, line by line, compressed, in base 64

    @model_validator(mode="after")
    def _is_a_mask(self) -> MaskedPixels:
        try:
            length = len(self._packed())
        except (ValueError, zlib.error):  # no base 64, or nothing compressed
            length = 0
        if length != self._length:
            raise ValueError(f"pixels: are not those of a mask of {self.lines} x {self.columns}, as one is kept")
        return self

    @property
    def _length(self) -> int:
        """Number of bytes that the pixels take."""
        return (self.lines * self.columns + 7) // 8

    def _packed(self) -> bytes:
        """Give them decompressed: one byte more than there should be at most, whatever they claim to be."""
        return zlib.decompressobj().decompress(base64.b64decode(self.pixels, validate=True), self._length + 1)

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> MaskedPixels:
        """Keep a mask of shape (lines, columns)."""
        packed = base64.b64encode(zlib.compress(np.packbits(mask).tobytes())).decode()
        return cls(lines=mask.shape[0], columns=mask.shape[1], pixels=packed)

    def mask(self) -> NDArray[np.bool_]:
        """Give it as it was, (lines, columns)."""
        packed = np.frombuffer(self._packed(), dtype=np.uint8)
        return np.unpackbits(packed, count=self.lines * self.columns).reshape(self.lines, self.columns).astype(bool)


class Region(_Table):
    """Pixels of a stack: what lies in all that is given."""

    above: float | None = None  # of `quantity`
    below: float | None = None
    quantity: Literal["edge_jump", "optical_density", "brightness"] = "edge_jump"
    at: float | None = None  # eV, of the optical density
    x: Window | None = None  # um
    y: Window | None = None
    mask: str = ""  # image or .npy file: pixels that are not zero
    masked: MaskedPixels | None = None  # what it holds, by which an analysis is made again
    cluster: str = ""  # name of a cluster of the reduction

    @model_validator(mode="after")
    def _limits(self) -> Region:
        if (self.quantity == "optical_density") != (self.at is not None):
            raise ValueError("`at`: the energy of the optical density, expected with that quantity and no other")
        return self


class Cut(_Table):
    """A spectrum taken out of a RIXS map: the mean over all that is given, eV.

    Over excitation energies it is a spectrum of emission or, with `against`, of energy loss; over emission energies or
    losses a spectrum of excitation (a partial yield).
    """

    excitation: Window | None = None
    emission: Window | None = None
    loss: Window | None = None
    inverse: bool = False  # 1 over the partial yield
    against: Literal["emission", "loss"] = "emission"  # of a cut at excitation energies

    @model_validator(mode="after")
    def _one(self) -> Cut:
        given = [name for name in ("excitation", "emission", "loss") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"{len(given)} of excitation, emission, loss: expected one of them")
        if self.inverse and given == ["excitation"]:
            raise ValueError("inverse: is of a partial yield, over emission or loss")
        return self


class SelfAbsorption(_Table):
    """What a sample absorbs of the light that excites it and of its own emission; that is taken off maps and yields.

    Angles are to the surface; where not given, as the run has them.
    """

    formula: str  # of the whole sample, as Li1.2Mn0.54Co0.13Ni0.13O2
    incidence: float | None = Field(None, gt=0, le=90)  # degrees
    exit: float | None = Field(None, gt=0, le=90)  # degrees, of the light that is measured
    angle_sigma: float = Field(0.0, ge=0)  # degrees, of each
    edge: str = ""  # as "O K"; that of the run
    thickness: float | None = Field(None, gt=0)  # um; thicker than light reaches where not given
    density: float | None = Field(None, gt=0)  # g/cm3, where the thickness counts
    step_sigma: float | None = Field(None, ge=0, lt=1)  # relative, of the tabulated step; as its tables say
    # Of maps: an inverse cut, a run with the absorption of the sample, or several, each for the maps of its sample.
    absorption: str | tuple[str, ...] = ""
    channel: str = ""  # of these runs; tey where there is one, else the first
    emission: float | None = Field(None, gt=0)  # eV, of yields of absorption spectra; the strongest line's
    pre_edge: Window | None = None  # eV, of the absorption
    post_edge: Window | None = None
    background: Literal["constant", "linear"] = "linear"

    @model_validator(mode="after")
    def _whole(self) -> SelfAbsorption:
        if (self.thickness is None) != (self.density is None):
            raise ValueError("thickness (um) and density (g/cm3): expected both, or neither")
        if self.angle_sigma >= min(self.incidence or 90.0, self.exit or 90.0):
            raise ValueError(f"angle_sigma: is {self.angle_sigma:g} degrees, as much as an angle")
        return self


class MapPair(_Table):
    """Two maps that are compared pixel by pixel, by the number of the run and the name of what was read off it."""

    first: str = Field(pattern=r"^\d+\.\w+$")  # 1.half_jump_energy: of the first of the runs
    second: str = Field(pattern=r"^\d+\.\w+$")

    def names(self) -> tuple[str, str]:
        """Give the names that the two maps have in the result."""
        return f"map{self.first.replace('.', '_')}", f"map{self.second.replace('.', '_')}"


class Recipe(_Table):
    """What an analysis does."""

    technique: Literal["xas", "stxm", "rixs"]
    channel: str = ""  # of absorption spectra; tey where there is one, else the first
    as_measured: bool = False  # absorption spectra over I0, not normalised
    normalise: Normalisation | None = None  # as the recipe says; absorption spectra else as their reduction did it
    align: Alignment | None = None
    references: dict[str, ReferenceSpectrum] = Field(default_factory=dict)
    regions: dict[str, Region] = Field(default_factory=dict)
    cuts: dict[str, Cut] = Field(default_factory=dict)
    # Of several maps: by the lines of all, on common axes, or each by its own; pooled where that can be.
    calibration: Literal["pooled", "own"] | None = None
    self_absorption: SelfAbsorption | None = None
    measures: dict[str, Measure] = Field(default_factory=dict)
    correlations: dict[str, MapPair] = Field(default_factory=dict)
    difference_from: str = ""  # name of a sample or uid of a run; the first run where not given
    maps: bool = True  # of stacks: whether measures are taken of every pixel, too

    @field_validator("references", "regions", "cuts", "measures", "correlations")
    @classmethod
    def _names(cls, named: dict[str, object]) -> dict[str, object]:
        for name in named:
            if not name.isidentifier():
                raise ValueError(f"{name!r}: expected a name of letters, digits and _")
        return named

    @field_validator("measures")
    @classmethod
    def _apart(cls, measures: dict[str, Measure]) -> dict[str, Measure]:
        """Refuse names by which what two measures find could not be told apart."""
        for name in measures:
            for other in [*TAKEN, *measures]:
                if name != other and name.startswith(other if other in TAKEN else f"{other}_"):
                    raise ValueError(f"{name!r}: begins with {other!r}, by whose name other things are known")
                if name == other and other in TAKEN:
                    raise ValueError(f"{name!r}: other things have this name")
        return measures

    @model_validator(mode="after")
    def _of_its_technique(self) -> Recipe:
        of = {"regions": "stxm", "correlations": "stxm", "cuts": "rixs", "calibration": "rixs", "align": "xas"}
        for table, technique in of.items():
            if getattr(self, table) and self.technique != technique:
                raise ValueError(f"{table}: are of {technique}, and the recipe is of {self.technique}")
        for name, measure in self.measures.items():
            try:
                measure.check(self.references)
            except ValueError as error:
                raise ValueError(f"measures.{name}: {error}") from error
        if self.as_measured and self.normalise is not None:
            raise ValueError("as_measured: is not normalised, which [normalise] does; expected one of them")
        if self.self_absorption is not None:
            self._of_what_is_corrected(self.self_absorption)
        return self

    def _of_what_is_corrected(self, how: SelfAbsorption) -> None:
        if self.technique == "stxm":
            raise ValueError("self_absorption: is of fluorescence, and the recipe is of stxm")
        if self.technique == "xas" and how.absorption:
            raise ValueError("self_absorption: absorption: is of RIXS maps; a yield tells its own")
        if self.as_measured:
            raise ValueError("as_measured: is with self-absorption, which [self_absorption] takes off; expected one")
        if self.technique == "xas" and self.channel in ("", "tey"):
            raise ValueError('channel: expected that of a yield of fluorescence, such as "tfy", to correct it')
        if self.technique == "rixs" and not how.absorption:
            raise ValueError(
                "self_absorption: absorption: expected an inverse cut, or runs with the sample's absorption"
            )
        if isinstance(how.absorption, str) and how.absorption in self.cuts:
            if not self.cuts[how.absorption].inverse:
                raise ValueError(f"self_absorption: absorption: the cut {how.absorption} is no inverse partial yield")
            if how.thickness is not None:
                raise ValueError(
                    "self_absorption: absorption: an inverse partial yield tells it of a thick sample only"
                )
