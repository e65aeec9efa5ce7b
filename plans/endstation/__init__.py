"""What plans measure with: the devices of an endstation, what is asked of each, and when there is light."""

from plans.endstation.devices import (
    CLOSED,
    OPEN,
    Ccd,
    Feedback,
    LineScanner,
    Positioner,
    Question,
    Ring,
    SampleHolder,
    Scaler,
    ZonePlate,
)
from plans.endstation.endstation import DEVICE_NAMES, Devices, Endstation
from plans.endstation.light import Light, below
from plans.endstation.truth import Truth

__all__ = [
    "CLOSED",
    "DEVICE_NAMES",
    "OPEN",
    "Ccd",
    "Devices",
    "Endstation",
    "Feedback",
    "Light",
    "LineScanner",
    "Positioner",
    "Question",
    "Ring",
    "SampleHolder",
    "Scaler",
    "Truth",
    "ZonePlate",
    "below",
]
