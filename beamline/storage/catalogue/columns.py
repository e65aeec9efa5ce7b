"""Convert the values of events to the types that their descriptor declares, as the columns of a database need."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamline.storage.log import Doc


class WrongDescriptionError(Exception):
    """A value does not fit the type that its data key declares.

    Attributes
    ----------
    change : dict
        What the data key should declare instead.
    """

    def __init__(self, message: str, change: Doc) -> None:
        super().__init__(message)
        self.change = change


def to_column(value: Any, data_key: Mapping[str, Any]) -> Any:
    """Convert a value of an event to the type that its data key declares, without changing it numerically.

    Parameters
    ----------
    value : object
        As the device read it.
    data_key : mapping
        From the descriptor.

    Returns
    -------
    float, int, bool, str, None or numpy.ndarray
        A number that is None becomes NaN.

    Raises
    ------
    WrongDescriptionError
        When the declared type cannot hold the value.
    """
    match data_key["dtype"]:
        case "array":
            return _to_array(np.asarray(value), data_key)
        case "number":
            return math.nan if value is None else float(value)
        case "integer":
            if value is None or not math.isfinite(value) or int(value) != value:
                raise WrongDescriptionError(f"{value!r} is not an integer", {"dtype": "number", "dtype_numpy": "<f8"})
            return int(value)
        case "boolean":
            if value is None:
                raise WrongDescriptionError("it holds None", {"dtype": "number", "dtype_numpy": "<f8"})
            return bool(value)
        case _:
            return None if value is None else str(value)


def _to_array(array: NDArray[Any], data_key: Mapping[str, Any]) -> NDArray[Any]:
    if list(array.shape) != list(data_key["shape"]):
        raise WrongDescriptionError(
            f"its shape {array.shape} is not {tuple(data_key['shape'])}", {"shape": list(array.shape)}
        )
    declared = np.dtype(data_key.get("dtype_numpy", array.dtype))
    if array.dtype.kind in "US" and (declared.kind != array.dtype.kind or declared.itemsize < array.dtype.itemsize):
        # Twice the length, as each longer string would cost another attempt at the whole run.
        longer = array.dtype.kind + str(2 * np.char.str_len(array).max(initial=1))
        raise WrongDescriptionError(
            f"its strings are {array.dtype}, not {declared}", {"dtype_numpy": np.dtype(longer).str}
        )
    with np.errstate(invalid="ignore"):  # a conversion that changes a value is detected below
        converted = array.astype(declared)
    if not np.array_equal(converted, array, equal_nan=array.dtype.kind in "fc" and declared.kind in "fc"):
        wider = np.result_type(array, declared)
        raise WrongDescriptionError(f"it holds {array.dtype}, not {declared}", {"dtype_numpy": wider.str})
    return converted
