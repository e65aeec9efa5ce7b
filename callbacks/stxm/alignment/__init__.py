"""Alignment of the images of a stack: by how much an image has drifted, and how to undo it."""

from callbacks.stxm.alignment.appearance import Appearance
from callbacks.stxm.alignment.drift import Drift, Pull, drift_of
from callbacks.stxm.alignment.registration import (
    RegistrationSettings,
    Shift,
    left_field,
    no_shift,
    put_in_place,
    register,
    shifted,
    with_position_noise,
)

__all__ = [
    "Appearance",
    "Drift",
    "Pull",
    "RegistrationSettings",
    "Shift",
    "drift_of",
    "left_field",
    "no_shift",
    "put_in_place",
    "register",
    "shifted",
    "with_position_noise",
]
