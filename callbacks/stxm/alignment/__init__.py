"""Alignment of the images of a stack: by how much an image has drifted, and how to undo it."""

from callbacks.stxm.alignment.appearance import Appearance, absorbance
from callbacks.stxm.alignment.registration import (
    RegistrationSettings,
    Shift,
    edge_image,
    left_field,
    put_in_place,
    register,
    shifted,
    with_position_noise,
)

__all__ = [
    "Appearance",
    "RegistrationSettings",
    "Shift",
    "absorbance",
    "edge_image",
    "left_field",
    "put_in_place",
    "register",
    "shifted",
    "with_position_noise",
]
