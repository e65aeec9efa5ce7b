"""What a step gives: the form in which outputs and results are declared.

An *output* is a value that a step gives for one event; it is named by a member of an enumeration that also holds its
type, unit and meaning. A *result* is what a step knows after all events so far; it is a model, read by attribute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

DataKey = dict[str, Any]  # event_model's: dtype, shape, units
Dtype = Literal["number", "integer", "string", "boolean", "array"]


class Output(StrEnum):
    """Names of the outputs of steps; the base class of each technique's own.

    A member is ``NAME = "key", "dtype", "unit", "meaning"``.

    Attributes
    ----------
    dtype : str
        Of event-model: "number", "integer", "string", "boolean" or "array".
    units, meaning : str
    """

    dtype: Dtype
    units: str
    meaning: str

    def __new__(cls, key: str, dtype: Dtype, units: str, meaning: str) -> Self:
        """Make a member."""
        member = str.__new__(cls, key)
        member._value_ = key
        member.dtype, member.units, member.meaning = dtype, units, meaning
        return member

    @property
    def data_key(self) -> DataKey:
        """The entry of a descriptor, without the shape, which the first value tells."""
        return {"dtype": self.dtype, "units": self.units}


@dataclass(frozen=True)
class Described:
    """What a field of a result is.

    Attributes
    ----------
    meaning : str
    units : str
        "" for what has none.
    shape : tuple of str
        Names of the axes; none for a single value. Fields of one result that share an axis are in one order along it.
    is_axis : bool
        Whether its values are the positions along its only axis, by which other fields are looked up and drawn.
    of : str
        Name of the field that this is the standard uncertainty of, where it is not that with `_sigma` behind.
    """

    meaning: str
    units: str = ""
    shape: tuple[str, ...] = ()
    is_axis: bool = False
    of: str = ""


def _empty(axes: int, dtype: Any = float) -> Any:
    """Give the array that stands for one that is not known."""
    array = np.zeros((0,) * axes, dtype=dtype)
    array.flags.writeable = False
    return array


class Result(BaseModel):
    """What a step knows after all events so far; the base class of each step's own.

    One convention for what is not known: every field is there, a number that is not known is NaN (a count -1, a text
    "", an array empty), and the field whose name ends in ``status`` says why, or "ok". Fields that a step leaves out
    are not known, and are not written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Read the result from the values of a derived run; what is not among them is not known."""
        known = {
            name: np.asarray(values[name]) if field.shape else values[name]
            for name, field in cls.describe().items()
            if name in values
        }
        return cast("Self", cls.model_construct(set(known), **known))

    def as_dict(self) -> dict[str, Any]:
        """Give the fields that the step knows, by name, in the order in which they are declared."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}

    @classmethod
    def describe(cls) -> dict[str, Described]:
        """Give meaning, unit and axes of every field."""
        return {
            name: next(each for each in field.metadata if isinstance(each, Described))
            for name, field in cls.model_fields.items()
        }

    def described(self) -> dict[str, Described]:
        """Give the same with what only this result has; each of what `as_dict` gives is there."""
        return type(self).describe()

    def positions(self) -> dict[str, tuple[Described, Any]]:
        """Give what is known of positions along the axes beside the fields: by name, described, with the values."""
        return {}


Floats = NDArray[np.floating]
Integers = NDArray[np.integer]
Booleans = NDArray[np.bool_]
Texts = NDArray[np.str_]

NOT_KNOWN_1D, NOT_KNOWN_2D, NOT_KNOWN_3D = (_empty(axes) for axes in (1, 2, 3))
NO_TEXTS = _empty(1, str)
NO_INTEGERS, NO_INTEGERS_2D = _empty(1, int), _empty(2, int)
NAN = float("nan")


class Marks(Result):
    """Events that are not to be trusted as the others are; a part of the result of every technique."""

    marked_frames: Annotated[
        Integers, Described("number of each marked event, from 1", "", ("marks",), is_axis=True)
    ] = NO_INTEGERS
    marks: Annotated[Texts, Described("why it is marked", shape=("marks",))] = NO_TEXTS


class Account(Result):
    """What the reduction itself went through."""

    frames: Annotated[int, Described("events of the stream `primary`")] = -1
    problem_frames: Annotated[
        Integers, Described("number of each event that failed; 0: dark", "", ("problems",), is_axis=True)
    ] = NO_INTEGERS
    problems: Annotated[Texts, Described("which step failed, and why", shape=("problems",))] = NO_TEXTS
