"""What an analysis by a recipe found: quantities whose names the recipe makes, each with its meaning, unit and axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from callbacks.contract.outputs import NO_TEXTS, Described, Result, Texts

NOT_TAKEN = "not taken of this part"  # status of a measure that the recipe does not ask for there


@dataclass(frozen=True)
class Quantity:
    """Something that an analysis found.

    Attributes
    ----------
    values : numpy.ndarray
        One number for each place on the axes; what is not known is NaN, or "".
    meaning, units : str
    axes : tuple of str
        Names of the axes.
    """

    values: NDArray[Any]
    meaning: str
    units: str = ""
    axes: tuple[str, ...] = ()


class AnalysedResult(Result):
    """Spectra and what was read off them: a row for each, and maps for each run that has pixels.

    Beside the fields here there are `quantities`; in documents each stands under its own name. A row is a spectrum of a
    run: of an absorption spectrum the run itself, of a stack one of its regions, of a RIXS map one of its cuts.
    """

    runs: Annotated[Texts, Described("uids", shape=("runs",))] = NO_TEXTS
    row_run: Annotated[Texts, Described("uid of the run of each row", shape=("rows",))] = NO_TEXTS
    row_sample: Annotated[Texts, Described("its sample", shape=("rows",))] = NO_TEXTS
    row_part: Annotated[Texts, Described("which of its spectra: channel, region or cut", shape=("rows",))] = NO_TEXTS
    row_edge: Annotated[Texts, Described("absorption edge of its run, as in O K", shape=("rows",))] = NO_TEXTS
    row_axis: Annotated[Texts, Described("what its energies are", shape=("rows",))] = NO_TEXTS
    row_units: Annotated[Texts, Described("unit of its spectrum", shape=("rows",))] = NO_TEXTS
    assumed: Annotated[Texts, Described("what was assumed, left out or refused", shape=("notes",))] = NO_TEXTS
    corrected: Annotated[Texts, Described("what was taken off, and how well it is known", shape=("corrections",))] = (
        NO_TEXTS
    )
    quantity_names: Annotated[Texts, Described("names of the quantities", shape=("quantities",))] = NO_TEXTS
    quantity_meanings: Annotated[Texts, Described("what each is", shape=("quantities",))] = NO_TEXTS
    quantity_units: Annotated[Texts, Described("its unit", shape=("quantities",))] = NO_TEXTS
    quantity_axes: Annotated[Texts, Described("its axes, with blanks between", shape=("quantities",))] = NO_TEXTS
    quantities: dict[str, Quantity] = Field(default_factory=dict)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Read the result, with its quantities."""
        found = super().read(values)
        said = zip(
            found.quantity_names, found.quantity_meanings, found.quantity_units, found.quantity_axes, strict=True
        )
        quantities = {
            str(name): Quantity(np.asarray(values[str(name)]), str(meaning), str(units), tuple(str(axes).split()))
            for name, meaning, units, axes in said
        }
        return found.model_copy(update={"quantities": quantities})

    def as_dict(self) -> dict[str, Any]:
        """Give the fields, and each quantity by its name."""
        own = super().as_dict()
        own.pop("quantities", None)
        return (
            own
            | {
                "quantity_names": np.array(list(self.quantities), dtype=str),
                "quantity_meanings": np.array([each.meaning for each in self.quantities.values()], dtype=str),
                "quantity_units": np.array([each.units for each in self.quantities.values()], dtype=str),
                "quantity_axes": np.array([" ".join(each.axes) for each in self.quantities.values()], dtype=str),
            }
            | {name: each.values[()] for name, each in self.quantities.items()}  # a single number, not an array of it
        )

    @classmethod
    def describe(cls) -> dict[str, Described]:
        """Give meaning, unit and axes of the fields; the quantities say theirs themselves."""
        return {
            name: next(each for each in field.metadata if isinstance(each, Described))
            for name, field in cls.model_fields.items()
            if name != "quantities"
        }

    def described(self) -> dict[str, Described]:
        """Give meaning, unit and axes of the fields and of the quantities."""
        own = {
            name: Described(each.meaning, each.units, each.axes, is_axis=_is_position(each))
            for name, each in self.quantities.items()
        }
        return {**type(self).describe(), **own}


def _is_position(quantity: Quantity) -> bool:
    """Tell whether a quantity is where the lines or the columns of a map are."""
    return len(quantity.axes) == 1 and quantity.axes[0].startswith(("lines_", "columns_"))
